"""The same-source route: two recordings of one performance, or of parts of one song, brought to the same statistics.

Equaliser and compressor, the twins, are descended through by Adam from several starts at once, with what the translator
predicts as one of them and as the prior. Where both play the same, moment by moment, the statistics have to be equal;
else they are compared as far as parts of one song usually are alike (whitened by the covariance of such differences).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffmix.descent import Adam
from diffmix.estimators.style_features import RATE
from diffmix.estimators.treatment import ASPECTS, EQ_HZ, EXTRAS, STEEPEST, Knobs, Treatment
from diffmix.kernels.biquad import frequency_response
from diffmix.metrics import width_db
from diffmix.playback import Progress
from diffmix.processors import Compressor, ParametricEQ
from diffmix.transferring.decision import CROP, Decision, gate_limit, judged, render
from diffmix.transferring.kinship import Kinship
from diffmix.transferring.knobs import equaliser_for
from diffmix.transferring.listening import Recording
from diffmix.transferring.statistics import statistics, whitening

PIECES = {"fast": 2, "balanced": 3, "best": 6}
STEPS = {"fast": 30, "balanced": 80, "best": 250}
ALIGNED_DB = 1.0
"""How unequal statistics of the same moments may be."""

ALIKE = 0.02
"""Distance below which there is nothing to do."""

CONTENT = 0.2, 0.3
"""Distances of two untouched parts of a song: up to the first nothing is done, from the second on all that was found.

Of ten recordings, halves were 0.02 to 0.39 apart (median 0.23; one faded chord 1.8), styled ones 0.2 to 2.4.
"""

FOREIGN = 0.7, 0.9
"""Distances that are left: beyond the first no effect explains the difference, so that less is done, then nothing."""

EXPLAINED: Mapping[str, float] = {"cautious": 0.35, "default": 0.5}
"""The largest share of the distance between parts of one song that may be left, by gate; a bold one asks for none.

Of 150 styled halves of 28 recordings, 1 % came out worse by a gate of 0.35, 3 % by 0.5 and 16 % without one; mel
spectra ended at 0.54, 0.50 and 0.44 of the input's distance.
"""

PRIOR = 0.01
LASSO = 0.01
RATE_OF_LEARNING = 0.08
PROBATION, BEHIND = 0.375, 1.5
"""Share of the steps after which a start is given up whose loss is this much larger than that of another.

Of 36 searches on real recordings 23 had one so far behind; none would have come out ahead by more than 0.0003.
"""

WIDEST_DB = 6.0
HARM: Mapping[str, float] = {"cautious": 0.01, "default": 0.03, "bold": 0.16}
"""How often such a result was further away than the input, by gate: of the trials of `EXPLAINED`."""

_EQ = ("cutoff_frequency_hz", "gain_db", "q")


def matched(
    heard: Recording,
    other: Recording,
    kin: Kinship,
    median: Treatment,
    allowed: Mapping[str, float],
    quality: str,
    gate: str | float,
    say: Progress,
) -> Decision:
    """What brings a recording to the statistics of another of the same performance."""
    mine, theirs = paired(heard, other, kin, PIECES[quality])
    aim = statistics(theirs)
    if not kin.same:
        aim = aim.mean(0, keepdim=True)
    white = torch.eye(aim.shape[1]) / ALIGNED_DB if kin.same else whitening()
    search = Search(mine, aim, white, median, bool(allowed["tone"]), bool(allowed["dynamics"]))
    treatment, untouched, left = search.run(STEPS[quality], say)
    share, most = 1.0, gate_limit(gate)
    if not kin.same and gate != "bold":
        share = _between(untouched, *CONTENT) * (1 - _between(left, *FOREIGN))
        most = EXPLAINED.get(str(gate), most)
    ratio = left / untouched if untouched > ALIKE else 1.0
    expected = 1 - share * (1 - ratio)
    parts = {name: allowed[name] for name in ("tone", "dynamics")}
    acts = share > 0 and ratio < most
    if acts and ratio < 1 and any(0 < part < 1 for part in parts.values()):
        expected = 1 - share * (1 - search.left(treatment.scaled(**parts)) / untouched)
    extras = torch.zeros(len(EXTRAS))
    if allowed["width"]:
        ours, wanted = (float(width_db(r.audio[None])) for r in (heard, other))
        if ours > -50:
            extras[0] = min(max(wanted - ours, -4 * WIDEST_DB), WIDEST_DB)
    amounts = dict.fromkeys(ASPECTS, 0.0)
    if acts:
        amounts |= {name: share * part for name, part in parts.items()}
    if abs(float(extras[0])) >= 1:
        amounts["width"] = allowed["width"]
    acted = any(amounts.values())
    found = treatment._replace(extras=extras).scaled(**amounts) if acted else Treatment.neutral()
    return Decision(amounts, found, expected, HARM.get(str(gate), HARM["default"]), acted)


def _between(value: float, low: float, high: float) -> float:
    """Where a value lies from ``low``, 0, to ``high``, 1."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def paired(heard: Recording, other: Recording, kin: Kinship, count: int) -> tuple[Tensor, Tensor]:
    """Pieces (K, n) of the middles at 24 kHz, peaking at -12 dBFS: of the same moments where both play the same."""
    if not kin.same:
        return _loudest(heard, count), _loudest(other, count)
    start_s = max(0.0, kin.delay_s)
    stop_s = min(heard.seconds, kin.delay_s + other.seconds)
    mine = heard.audio[:, round(start_s * heard.sample_rate) : round(stop_s * heard.sample_rate)]
    starts = _starts(mine, heard.sample_rate, count)
    found = []
    for recording, shift_s in ((heard, start_s), (other, start_s - kin.delay_s)):
        rate = recording.sample_rate
        size = min(round(CROP / RATE * rate), round((stop_s - start_s) * rate))
        parts = [recording.audio[:, (at := round((shift_s + s) * rate)) : at + size] for s in starts]
        shortest = min(part.shape[-1] for part in parts)
        found.append(_heard(torch.stack([part[:, :shortest] for part in parts]), rate))
    return found[0], found[1]


def _loudest(recording: Recording, count: int) -> Tensor:
    x, rate = recording.audio, recording.sample_rate
    size = min(x.shape[-1], round(CROP / RATE * rate))
    return _heard(torch.stack([x[:, (at := round(s * rate)) : at + size] for s in _starts(x, rate, count)]), rate)


def _starts(x: Tensor, rate: int, count: int) -> list[float]:
    """Where the loudest pieces of audio (C, T) begin that do not overlap, in seconds."""
    size = round(CROP / RATE * rate)
    parts = x.shape[-1] // size
    if parts < 1:
        return [0.0]
    energy = x[:, : parts * size].reshape(len(x), parts, size).square().mean((0, 2))
    heard = energy > 1e-3 * energy.max()
    chosen = [int(n) for n in energy.topk(min(count, parts)).indices if heard[n]]
    return [n * size / rate for n in sorted(chosen)]


def _heard(pieces: Tensor, rate: float) -> Tensor:
    """Pieces (K, C, n), less what stands still (DC), as they are judged, (K, 65536)."""
    return judged(pieces - pieces.mean(-1, keepdim=True), rate)


@dataclass
class Search:
    """Equaliser and compressor while they are looked for.

    ``x`` (K, n) are pieces at 24 kHz, ``aim`` their statistics (K, 88), or (1, 88) of no particular moments, ``white``
    (88, 88) makes differences of statistics unit numbers.
    """

    x: Tensor
    aim: Tensor
    white: Tensor
    median: Treatment
    tone: bool
    dynamics: bool

    def __post_init__(self) -> None:
        """Lay out the unknowns: three for each of six bands, then threshold, slope, attack and release."""
        self.eq, self.compressor = ParametricEQ(RATE), Compressor(RATE)
        self.spectra = torch.fft.rfft(self.x)
        names = [f"{band}_{kind}" for band in self.eq.BANDS for kind in _EQ]
        params = [self.eq.spec.params[name] for name in names]
        self.names = names
        self.log = torch.tensor([p.scale == "log" for p in params])
        ends = [[min(getattr(p, end), 11_000.0) if p.unit == "Hz" else getattr(p, end) for p in params]
                for end in ("low", "high")]  # fmt: skip
        self.low, self.high = (torch.where(self.log, torch.tensor(end).abs().log(), torch.tensor(end)) for end in ends)
        self.unit = torch.tensor([{"Hz": 0.4, "dB": 4.0}.get(p.unit, 0.4) for p in params] + [8.0, 0.2, 0.8, 0.6])
        self.gains = torch.tensor([p.unit == "dB" for p in params])

    def starts(self) -> Tensor:
        """What is predicted, and nothing done, (2, 22)."""
        knobs = self.median.compressor()
        slope = 1 - 1 / knobs.ratio
        rows = []
        for share in (1.0, 0.0):
            bands = equaliser_for(self.median.eq_db.double() * share, RATE)
            row = torch.tensor([bands[name] for name in self.names])
            row = torch.where(self.log, row.abs().log(), row)
            threshold = knobs.threshold_db if share and float(slope) > 0.05 else torch.tensor(-24.0)
            times = [knobs.attack_ms.log(), knobs.release_ms.log()]
            rows.append(torch.cat([row, torch.stack([threshold, (slope * share).clamp(0.02, 0.8), *times])]))
        return torch.stack(rows).float()

    def values(self, z: Tensor) -> tuple[dict[str, Tensor], Knobs]:
        """Settings (B,) of equaliser and compressor from the unknowns (B, 22)."""
        bands = torch.minimum(torch.maximum(z[:, :18], self.low), self.high)
        bands = torch.where(self.log, bands.exp(), bands)
        if not self.tone:
            bands = torch.where(self.gains, 0.0, bands)
        slope = z[:, 19].clamp(0, STEEPEST) if self.dynamics else torch.zeros(len(z))
        times = [z[:, 20].exp().clamp(0.1, 200), z[:, 21].exp().clamp(5, 2000)]
        knobs = Knobs(z[:, 18].clamp(-50, -4), 1 / (1 - slope), *times)
        return {name: bands[:, k] for k, name in enumerate(self.names)}, knobs

    def heard(self, z: Tensor) -> Tensor:
        """Statistics (B, K, 88) of what B settings make of the pieces.

        The equaliser is applied to the spectra, by its exact response: it is the compressor that needs the samples.
        """
        bands, knobs = self.values(z)
        count, length = self.x.shape
        sections = self.eq.sections(False, **bands)  # (B, 6, 5)
        response = _on_grid(sections, length)
        y = torch.fft.irfft(self.spectra * response[:, None], length).flatten(0, 1)[:, None]
        times = {name: value.repeat_interleave(count) for name, value in knobs._asdict().items()}
        if self.dynamics:
            y = self.compressor.process(y, **times)
        return statistics(y[:, 0]).unflatten(0, (len(z), count))

    def distance(self, found: Tensor) -> Tensor:
        """How far statistics (B, K, 88) are from the aim, (B,)."""
        if len(self.aim) == 1:
            found = found.mean(1, keepdim=True)
        away = (found - self.aim) @ self.white
        return torch.nn.functional.smooth_l1_loss(away, torch.zeros_like(away), reduction="none").mean((1, 2))

    def left(self, treatment: Treatment) -> float:
        """How far the pieces are from the aim under a treatment."""
        one = Treatment(*(part[None] for part in treatment))
        with torch.no_grad():
            return float(self.distance(statistics(torch.cat([render(piece, one) for piece in self.x]))[None]))

    def run(self, steps: int, say: Progress) -> tuple[Treatment, float, float]:
        """The best treatment that was found, and the distances without and with it."""
        first = self.starts()
        moved = torch.zeros_like(first).requires_grad_()
        adam = Adam([moved], RATE_OF_LEARNING, (0.9, 0.98), steps, 0.1 * RATE_OF_LEARNING)
        with torch.no_grad():
            untouched = float(self.distance(statistics(self.x)[None]))
        if untouched < ALIKE:
            return Treatment.neutral(), untouched, untouched
        best, kept, going = torch.full((len(first),), float("inf")), first.clone(), torch.arange(len(first))
        for step in range(steps + 1):
            z = (first + moved * self.unit)[going]
            away = self.distance(self.heard(z))
            bands, knobs = self.values(z)
            sizes = torch.stack([v for n, v in bands.items() if n.endswith("gain_db")], 1).abs().mean(1) / 6
            lasso = sizes + (1 - 1 / knobs.ratio)
            loss = away + PRIOR * moved[going].square().mean(1) + LASSO * untouched * lasso
            with torch.no_grad():
                better = loss.detach() < best[going]
                best[going] = torch.where(better, loss.detach(), best[going])
                kept[going] = torch.where(better[:, None], z.detach(), kept[going])
                if step == round(PROBATION * steps):
                    going = torch.nonzero(best < BEHIND * best.min())[:, 0]
            if step % 10 == 0:
                say("matching", 0.25 + 0.2 * step / steps)
            if step == steps:
                break
            loss.sum().backward()
            torch.nn.utils.clip_grad_norm_([moved], 10.0)
            adam.step()
        z = kept[int(best.argmin())][None]
        with torch.no_grad():
            left = float(self.distance(self.heard(z)))
            bands, knobs = self.values(z)
            numbers = {name: float(value) for name, value in bands.items()}
            response = self.eq.response_db(torch.tensor(EQ_HZ, dtype=torch.float64), numbers).float()
            treatment = Treatment.of(response, Knobs(*(value[0] for value in knobs)))
        return treatment, untouched, left


def _on_grid(sections: Tensor, length: int) -> Tensor:
    """Complex response (B, length // 2 + 1) of cascades (B, S, 5) at the bins of a spectrum.

    Read at every bin of the lowest 128th and half as often in each octave beyond, as bands are a share of their
    frequency wide; drawn straight between.
    """
    edges = [0, *(length >> n for n in range(7, 0, -1))]
    steps = [1 << n for n in range(7)]
    parts = [torch.arange(*part) for part in zip(edges[:-1], edges[1:], steps, strict=True)]
    hz = torch.cat([*parts, torch.tensor(edges[-1:])]) * (RATE / length)
    at = frequency_response(sections, hz, RATE).to(torch.complex64)
    counts = [len(part) for part in parts]
    lines = zip(at[:, :-1].split(counts, 1), at.diff(dim=1).split(counts, 1), steps, strict=True)
    drawn = [(begin[..., None] + rise[..., None] * (torch.arange(n) / n)).flatten(1) for begin, rise, n in lines]
    return torch.cat([*drawn, at[:, -1:]], 1)
