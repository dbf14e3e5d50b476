"""Whether to act on what is believed of a treatment, and how much of it: the least expected distance, or nothing.

The truth is unknown, but samples of what it could be are not. Each is rendered on a piece of the recording, and so are
some amounts of the median; the amount whose mean distance to the samples is least is taken if it is so much less than
that of the untouched recording that acting on it did harm seldom enough before. The distance is that of the benchmark:
mel spectra of 65536 samples, in magnitude and in log magnitude.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import SettingsError
from diffmix.estimators.style_features import RATE, at_peak, at_rate, listened
from diffmix.estimators.translator import GATED, Posterior
from diffmix.estimators.treatment import ASPECTS, EXTRAS, Treatment
from diffmix.keeping import kept
from diffmix.kernels.dynamics import compressor
from diffmix.metrics.style import mel_weights

FFT, BANDS = 65_536, 128
CROP = 65_536
"""Samples at 24 kHz, 2.7 s, that are rendered."""

SAMPLES = 40
"""Treatments drawn from the posterior."""

TONE, DYNAMICS = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.5, 1.0)
"""Amounts that are tried."""

HARM = 1.05
"""A distance larger by this factor than the input's is harm."""

GATES: Mapping[str, float] = {"cautious": 0.6, "default": 0.8, "bold": 1.0}
"""Largest expected ratio to the input's distance at which is acted, unless a belief knows what its own should be."""


class Decision(NamedTuple):
    """How much of which aspect, and what it leads to.

    Fields:
        amounts: what is done of each aspect of `ASPECTS`, 0 to what was allowed.
        treatment: the median in these amounts.
        expected: mean distance to the truth that could be, over that of the input, of the best amounts that were found.
        harm: how often acting on such an expectation made it worse by 5 % or more, on songs never heard.
        acted: whether anything is done; where not, the treatment is neutral.
    """

    amounts: dict[str, float]
    treatment: Treatment
    expected: float
    harm: float
    acted: bool


class Outcomes(NamedTuple):
    """Amounts of a median (A, 2), of tone and dynamics, their spectra (A, frames, 128), distances to samples (A, S)."""

    amounts: Tensor
    spectra: Tensor
    distance: Tensor

    @property
    def expected(self) -> Tensor:
        """Mean distance of each amount over that of the first, which is nothing at all, (A,)."""
        mean = self.distance.mean(1)
        return mean / mean[0].clamp_min(1e-9)

    @property
    def best(self) -> int:
        """The amounts with the least expected distance."""
        return int(self.distance.mean(1).argmin())

    @property
    def least(self) -> float:
        """What is `expected` of these, 1 of nothing at all, be the piece silent."""
        return float(self.expected[self.best]) if self.best else 1.0


def decide(
    excerpt: Tensor,
    sample_rate: float,
    posterior: Posterior,
    *,
    gate: float | str = "default",
    aspects: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Decision:
    """Choose how much of the median treatment a recording gets.

    Args:
        excerpt: a telling piece (C, T) of the recording, 5.46 s of which are used, at ``sample_rate`` Hz.
        posterior: what is believed of the treatment, for one recording.
        gate: largest expected ratio at which is acted, a number above 0; or "cautious", "default" or "bold": the ratio
            up to which 2 %, 5 % or any share of all transfers between songs left out in training came out worse. Of
            aspects that may be done in part it is the ratio if they might be done in whole: to want less of what is
            surely measured is no reason against it.
        aspects: the most that may be done of each aspect of `ASPECTS`, 1 unless given, 0 to leave it alone.
        seed: of the samples.

    Raises SettingsError for an unknown aspect or gate.
    """
    limit = gate_limit(gate)
    own = getattr(posterior.harm, str(gate)) if gate in GATED else limit
    allowed = {**dict.fromkeys(ASPECTS, 1.0), **dict(aspects or {})}
    if unknown := set(allowed) - set(ASPECTS):
        raise SettingsError(f"there is no aspect {', '.join(sorted(unknown))}; there are {', '.join(ASPECTS)}")
    drawn = posterior.samples(SAMPLES, seed)
    piece = heard_piece(excerpt, sample_rate)
    found = outcomes(piece, posterior.median, drawn, allowed["tone"], allowed["dynamics"])
    expected = whole = found.least
    if any(0 < allowed[aspect] < 1 for aspect in ("tone", "dynamics")):
        whole = outcomes(piece, posterior.median, drawn, allowed["tone"] > 0, allowed["dynamics"] > 0).least
    amounts = dict.fromkeys(ASPECTS, 0.0)
    if whole < own:
        chosen = (round(amount, 6) for amount in found.amounts[found.best].tolist())
        amounts |= dict(zip(ASPECTS, chosen, strict=False))
    amounts |= extra_amounts(posterior.median, drawn, allowed, limit)
    acted = any(amounts.values())
    treatment = posterior.median.scaled(**amounts) if acted else Treatment.neutral()
    return Decision(amounts, treatment, expected, posterior.harm.at(whole), acted)


def gate_limit(gate: float | str) -> float:
    """The largest expected ratio of a gate by name or number. Raises SettingsError for another."""
    if isinstance(gate, str):
        if gate not in GATES:
            raise SettingsError(f"there is no gate {gate!r}; there are {', '.join(GATES)}, or a number above 0")
        return GATES[gate]
    if isinstance(gate, bool) or not isinstance(gate, Real) or not (math.isfinite(gate) and gate > 0):
        names = ", ".join(map(repr, GATES))
        raise SettingsError(f"a gate is {names}, or a number above 0, the largest expected ratio; got {gate!r}")
    return float(gate)


def outcomes(piece: Tensor, median: Treatment, drawn: Treatment, tone: float = 1.0, dynamics: float = 1.0) -> Outcomes:
    """Render amounts of a median up to ``tone`` and ``dynamics``, and samples of the truth; compare the two.

    The piece (T,) is at 24 kHz and peaks near -12 dBFS.
    """
    tones = [tone * part for part in TONE] if tone else [0.0]
    parts = [dynamics * part for part in DYNAMICS] if dynamics else [0.0]
    amounts = torch.tensor([(a, b) for a in tones for b in parts])
    candidates = Treatment(*(part.expand(len(amounts), -1) for part in median)).scaled(amounts[:, 0], amounts[:, 1])
    return Outcomes(amounts, *_compared(piece, candidates, drawn))


def expectations(
    excerpt: Tensor, sample_rate: float, treatments: Treatment, posterior: Posterior, seed: int = 0
) -> list[float]:
    """For each of N treatments the mean distance to the truth that could be, over that of the untouched excerpt."""
    drawn = posterior.samples(SAMPLES, seed)
    tried = Treatment(*(torch.cat([torch.zeros_like(part[:1]), part]) for part in treatments))
    mean = _compared(heard_piece(excerpt, sample_rate), tried, drawn)[1].mean(1)
    return (mean[1:] / mean[0].clamp_min(1e-9)).tolist()


def _compared(piece: Tensor, tried: Treatment, drawn: Treatment) -> tuple[Tensor, Tensor]:
    """Spectra (A, frames, 128) of a piece (T,) under A treatments, and their distances (A, S) to it under S others."""
    together = Treatment(*(torch.cat(pair) for pair in zip(tried, drawn, strict=True)))
    spectra, truth = mel_magnitude(render(piece, together)).split([len(tried.eq_db), len(drawn.eq_db)])
    return spectra, mel_distance(spectra[:, None], truth[None])


def extra_amounts(median: Treatment, drawn: Treatment, allowed: Mapping[str, float], limit: float) -> dict[str, float]:
    """How much of width, drive and space: all that is allowed or a half of it, or nothing unless that clearly pays.

    The same rule with the numbers themselves as the distance.
    """
    amounts = {}
    for k, aspect in enumerate(ASPECTS[2:]):
        value, truth = median.extras[..., k], drawn.extras[:, k]
        nothing = truth.abs().mean().clamp_min(1e-6)
        tried = {part * allowed[aspect]: float((part * value - truth).abs().mean() / nothing) for part in (0.5, 1.0)}
        best = min(tried, key=lambda amount: tried[amount])
        amounts[aspect] = best if tried[best] < limit and float(value.abs()) > SMALLEST[k] else 0.0
    return amounts


SMALLEST = (1.0, 2.0, 3.0)
"""Width, drive and space, dB, below which nothing is done."""
assert len(SMALLEST) == len(EXTRAS)


def heard_piece(excerpt: Tensor, sample_rate: float) -> Tensor:
    """The loudest 2.7 s of an excerpt (C, T), of its middle, at 24 kHz and as loud as treatments are read for: (T,)."""
    middle = listened(excerpt[None], sample_rate).mean(1)[0]
    energy = middle.square().unfold(0, CROP // 16, CROP // 16).mean(1).unfold(0, 16, 1).mean(1)
    start = int(energy.argmax()) * (CROP // 16)
    return middle[start : start + CROP]


def judged(x: Tensor, sample_rate: float) -> Tensor:
    """The first 2.7 s of audio (N, C, T), repeated if shorter: mono at 24 kHz, its peak at -12 dBFS, (N, 65536)."""
    y = at_rate(x.float(), sample_rate)
    if y.shape[-1] < CROP:
        y = y.repeat(1, 1, -(-CROP // y.shape[-1]))
    return at_peak(y[..., :CROP]).mean(1)


def render(x: Tensor, treatment: Treatment) -> Tensor:
    """A piece (T,) at 24 kHz under N treatments: equaliser, of least phase, and compressor; (N, T) at -12 dBFS peak."""
    length = x.shape[-1]
    response = _least_phase(treatment.response_db(_grid_hz()))
    taps = torch.fft.irfft(response)
    spectrum = torch.fft.rfft(x) * torch.fft.rfft(taps[..., :length], length)
    knobs = treatment.compressor()
    y = compressor(torch.fft.irfft(spectrum, length)[:, None], *knobs, RATE)
    return at_peak(y)[:, 0]


def mel_magnitude(x: Tensor) -> Tensor:
    """Mel spectra (N, frames, 128) of audio (N, T) at 24 kHz in frames of 65536, the first around the first sample."""
    padded = pad(x[:, None], (FFT // 2, FFT // 2), mode="reflect" if x.shape[-1] > FFT // 2 else "constant")[:, 0]
    frames = padded.unfold(1, FFT, FFT) * torch.hann_window(FFT).to(x)
    spectrum = torch.fft.rfft(frames)
    magnitude = (spectrum.real.square() + spectrum.imag.square()).clamp_min(1e-8).sqrt()
    return magnitude @ mel_weights(FFT, RATE, BANDS).to(x)


def mel_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean difference of mel spectra (..., frames, 128) plus that of their logarithms, (...)."""
    linear = (a - b).abs().mean((-1, -2))
    return linear + (a.clamp_min(1e-8).log() - b.clamp_min(1e-8).log()).abs().mean((-1, -2))


_GRID = 8192


@kept(1)
def _grid_hz() -> Tensor:
    return torch.fft.rfftfreq(_GRID, 1 / RATE)


def _least_phase(response_db: Tensor) -> Tensor:
    """The complex response of least phase with these magnitudes (..., bins), by folding the cepstrum.

    A. V. Oppenheim and R. W. Schafer, "Discrete-Time Signal Processing", chapter 13.
    """
    cepstrum = torch.fft.irfft(response_db * (math.log(10) / 20))
    fold = torch.zeros(_GRID).to(cepstrum)
    fold[0] = fold[_GRID // 2] = 1
    fold[1 : _GRID // 2] = 2
    return torch.fft.rfft(cepstrum * fold).exp()
