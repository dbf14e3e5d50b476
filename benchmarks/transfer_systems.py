"""What style transfer is compared with: systems ``(x (C, T), reference (C, T'), sample_rate, rng) -> y (C, T)``.

Baselines are written anew from what is published of them. Those that learn are told which fold's songs they may see.
"""

import math
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.interpolate
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.transfer_content import RATE, Recording, folds, piece
from benchmarks.transfer_styles import KINDS, Samples, Style, at_peak, compress, draw, mean_style
from diffmix.data import audio
from diffmix.kernels.brickwall import brickwall
from diffmix.kernels.dynamics import compressor
from diffmix.kernels.loudness import integrated_loudness

System = Callable[[Tensor, Tensor, int, np.random.Generator], Tensor]


def _array(x: Tensor) -> Samples:
    return x.double().numpy()


def _tensor(x: Samples) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).float()


def _lufs(x: Samples, sample_rate: float) -> float:
    return float(integrated_loudness(torch.from_numpy(x)[None], sample_rate))


# ------------------------------------------------------------------ that need no reference


def untouched(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """The input itself."""
    return x


def in_style(x: Tensor, style: Style, sample_rate: int) -> Tensor:
    """A preset, whatever the reference."""
    return _tensor(style.render(_array(x), sample_rate))


def mean_preset(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """The mean settings of the styles that trials are drawn from."""
    return in_style(x, _mean(), sample_rate)


def random_preset(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """A style drawn as trials draw theirs."""
    return in_style(x, draw(str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng), sample_rate)


@cache
def _mean() -> Style:
    return mean_style()


# ------------------------------------------------------------------ that match what they measure


def rule_based(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """DeepAFx-ST's baseline: a filter of 63 taps towards the reference's spectrum, then a compressor until as loud."""
    y, wanted = at_peak(_array(x)), at_peak(_array(reference))
    response = _smooth_ratio(y, wanted, 65536, 1025)
    taps = scipy.signal.firwin2(63, np.linspace(0, 1, len(response)), response)
    y = at_peak(scipy.signal.lfilter(taps, 1, y))
    target = _lufs(wanted, sample_rate)

    def squeezed(threshold_db: float) -> Samples:
        return at_peak(compress(y, threshold_db, 3.0, 0.001, 0.05, sample_rate, knee_db=6.0))

    return _tensor(_until_as_loud(y, squeezed, target, 0.5, sample_rate))


def rule_based_2048(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """ST-ITO's variant: 2048 taps, Pedalboard's compressor (3:1, 1 ms, 100 ms) until 0.25 LU are missing."""
    y, wanted = at_peak(_array(x)), at_peak(_array(reference))
    response = _smooth_ratio(y, wanted, 16384, 257)
    taps = scipy.signal.firwin2(2047, np.linspace(0, 1, len(response)), response)
    y = at_peak(scipy.signal.lfilter(taps, 1, y))
    target = _lufs(wanted, sample_rate)
    ratio, attack, release = (torch.tensor([v]) for v in (3.0, 1.0, 100.0))

    def squeezed(threshold_db: float) -> Samples:
        out = compressor(_tensor(y)[None], torch.tensor([threshold_db]), ratio, attack, release, sample_rate)
        return at_peak(_array(out[0]))

    return _tensor(_until_as_loud(y, squeezed, target, 0.25, sample_rate))


def _until_as_loud(
    y: Samples, squeezed: Callable[[float], Samples], target: float, near: float, sample_rate: float
) -> Samples:
    """Lower the threshold by 0.5 dB at a time until less than ``near`` LU are missing."""
    threshold_db = 0.0
    while target - _lufs(y, sample_rate) > near and threshold_db > -80:
        y = squeezed(threshold_db)
        threshold_db -= 0.5
    return y


def _smooth_ratio(x: Samples, reference: Samples, n_fft: int, width: int) -> Samples:
    """The ratio of smoothed mean magnitudes of frames without a window, 0 at the end."""
    spectra = []
    for part in (x, reference):
        frames = torch.stft(
            torch.from_numpy(part), n_fft, n_fft // 4, window=torch.ones(n_fft).double(), return_complex=True
        )
        spectra.append(scipy.signal.savgol_filter(frames.abs().mean((0, 2)).numpy(), width, 2))
    response = np.maximum(spectra[1], 0) / np.maximum(spectra[0], 1e-8)
    response[-1] = 0
    return response


def matching(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
    """As matchering 2.0 is described to work: level and spectrum of the loudest pieces, middle and side, a limiter.

    Pieces of at most 15 s; those at least as loud as the mean count. The ratio of their mean spectra (frames of 4096,
    no window), smoothed by local lines over 3.75 % of a logarithmic axis, is a filter of 4096 taps with linear phase;
    four turns set the level right behind a clip.
    """
    stereo = [_array(a.expand(2, -1) if len(a) == 1 else a) for a in (x, reference)]
    ceiling = (2**15 - 61) / 2**15
    peak = float(np.abs(stereo[1]).max())
    final = min(1.0, peak / ceiling)
    stereo[1] = stereo[1] * (ceiling / peak if peak < ceiling else 1.0)
    (mid, side), (ref_mid, ref_side) = (((a[0] + a[1]) / 2, (a[0] - a[1]) / 2) for a in stereo)
    loud, ref_loud = (_loudest(m, sample_rate) for m in (mid, ref_mid))
    wanted = _level(ref_mid, ref_loud)
    gain = wanted / max(_level(mid, loud), 1e-9)
    mid, side = mid * gain, side * gain
    parts = []
    for own, other in ((mid, ref_mid), (side, ref_side)):
        taps = _matching_taps(_spectrum(own, loud), _spectrum(other, ref_loud))
        parts.append(scipy.signal.fftconvolve(own, taps, "same"))
    mid, side = parts
    for _ in range(4):
        correction = wanted / max(_level(np.clip(mid, -1, 1), loud), 1e-9)
        mid, side = mid * correction, side * correction
    y = _tensor(np.stack([mid + side, mid - side]))[None]
    ceiling_db, release, ahead = (torch.tensor([v]) for v in (20 * math.log10(ceiling), 600.0, 1.0))
    limited = brickwall(y, ceiling_db, release, ahead, sample_rate)[0]
    return (limited * final)[: len(x)] if len(x) == 2 else limited.mean(0, keepdim=True) * final


def _loudest(mid: Samples, sample_rate: int) -> list[slice]:
    """The pieces that are at least as loud as the mean of all."""
    count = len(mid) // (15 * sample_rate) + 1
    size = len(mid) // count
    pieces = [slice(n * size, (n + 1) * size) for n in range(count)]
    rms = np.array([np.sqrt(np.square(mid[p]).mean()) for p in pieces])
    return [p for p, r in zip(pieces, rms, strict=True) if r >= np.sqrt(np.square(rms).mean()) - 1e-12]


def _level(x: Samples, pieces: Sequence[slice]) -> float:
    return float(np.sqrt(np.mean([np.square(x[p]).mean() for p in pieces])))


def _spectrum(x: Samples, pieces: Sequence[slice]) -> Samples:
    """Mean magnitudes (2049,) of frames of 4096 that do not overlap."""
    frames = [x[p][: len(x[p]) // 4096 * 4096].reshape(-1, 4096) for p in pieces]
    return np.abs(np.fft.rfft(np.concatenate(frames))).mean(0)


def _matching_taps(own: Samples, other: Samples) -> Samples:
    ratio = other / np.maximum(own, 1e-6)
    linear = np.linspace(0, 1, 2049)
    log = np.logspace(math.log10(4 / 4096), 0, 2048 * 4 + 1)
    curve = local_lines(scipy.interpolate.interp1d(linear, ratio, "cubic")(log), 0.0375)
    smooth = scipy.interpolate.interp1d(log, curve, "cubic", fill_value="extrapolate")(linear)
    smooth[0], smooth[1] = 0, ratio[1]
    return np.fft.fftshift(np.fft.irfft(np.maximum(smooth, 0))) * np.hanning(4096)


def local_lines(values: Samples, share: float) -> Samples:
    """Values on an even grid, each replaced by a line through the ``share`` of all that is nearest.

    Weights fall with the cube of the distance (W. S. Cleveland's LOWESS without repetition, 1979).
    """
    count = int(share * len(values) + 1e-10)
    half = count // 2

    def weights(distance: NDArray[np.int64], widest: float) -> Samples:
        return np.clip(1 - np.abs(distance / widest) ** 3, 0, None) ** 3

    kernel = weights(np.arange(-half, half + 1), half + 1e-3)
    found = np.convolve(values, kernel / kernel.sum(), "same")
    for n in (*range(half), *range(len(values) - half, len(values))):
        first = min(max(0, n - half), len(values) - count)
        place = np.arange(first, first + count) - n
        w = weights(place, float(np.abs(place).max()))
        found[n] = np.polynomial.polynomial.polyfit(place, values[first : first + count], 1, w=np.sqrt(w))[0]
    return found


MATCHERING = """
import matchering, sys
for job in sys.stdin:
    target, reference, result = job.split()
    try:
        matchering.process(target=target, reference=reference, results=[matchering.pcm24(result)])
    except Exception:  # it refuses a reference that is the target
        print("refused", flush=True)
    else:
        print("done", flush=True)
"""


@dataclass
class Matchering:
    """The program matchering, run by an interpreter that has it; never imported here (it is under the GPL)."""

    python: Path

    def __post_init__(self) -> None:
        """Start it."""
        pipe = subprocess.PIPE
        command = [str(self.python), "-c", MATCHERING]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def __call__(self, x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        """Through files at 44.1 kHz, stereo, as it wants them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as scratch:
            names = [Path(scratch) / f"{name}.wav" for name in ("target", "reference", "result")]
            for path, part in zip(names, (x, reference), strict=False):
                wide = audio.resample(part.expand(2, -1), sample_rate, 44_100)
                audio.write_wav(path, wide / max(1.0, float(wide.abs().max())), 44_100)
            self.process.stdin.write(" ".join(map(str, names)) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
            if answer == "refused":
                return x
            if answer != "done":
                raise RuntimeError("matchering stopped")
            y, rate = audio.read(names[2])
        y = audio.resample(y, rate, sample_rate)[:, : x.shape[-1]]
        y = torch.nn.functional.pad(y, (0, x.shape[-1] - y.shape[-1]))
        return y if len(x) == 2 else y.mean(0, keepdim=True)


# ------------------------------------------------------------------ that know presets


def mfcc(x: Tensor, sample_rate: int) -> Tensor:
    """25 cepstral coefficients of 128 mel bands over time, their mean, spread and maximum (B, 75), of length 1.

    The features of ST-ITO's baseline (C. J. Steinmetz et al., ISMIR 2024) of audio (B, C, T), their middle.
    """
    from diffmix.metrics.style import mel_weights

    window = torch.hann_window(2048).to(x)
    spectrum = torch.stft(x.mean(1), 2048, 1024, window=window, return_complex=True).abs().square()
    db = 10 * (mel_weights(2048, sample_rate).T.to(x) @ spectrum).clamp_min(1e-10).log10()
    k, n = torch.arange(25.0)[:, None], torch.arange(128.0)
    basis = torch.cos(math.pi * k * (n + 0.5) / 128) * math.sqrt(2 / 128)
    basis[0] /= math.sqrt(2)
    coefficients = basis.to(x) @ db  # (B, 25, F)
    features = torch.cat([coefficients.mean(2), coefficients.std(2), coefficients.amax(2)], 1)
    return torch.nn.functional.normalize(features, dim=1)


@dataclass(frozen=True)
class NearestPreset:
    """The style of the library whose example sounds most like the reference, by `mfcc`."""

    styles: Sequence[Style]
    features: Tensor

    @classmethod
    def of(cls, found: Sequence[Recording], count: int = 256, seed: int = 5) -> "NearestPreset":
        """A library of ``count`` styles, each on a random recording of those that may be known."""
        styles, features = [], []
        for n in range(count):
            rng = np.random.default_rng([seed, n])
            styles.append(draw(str(rng.choice(list(KINDS), p=list(KINDS.values()))), rng))
            wet = styles[-1].render(piece(found[int(rng.integers(len(found)))].audio, rng), RATE)
            features.append(mfcc(_tensor(wet)[None], RATE))
        return cls(styles, torch.cat(features))

    def __call__(self, x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        """Its style on the input."""
        near = self.features @ mfcc(_tensor(at_peak(_array(reference)))[None], sample_rate)[0]
        return in_style(x, self.styles[int(near.argmax())], sample_rate)


@cache
def libraries(found: tuple[Recording, ...]) -> dict[str, NearestPreset]:
    """Of each fold the library of the other fold's songs."""
    fold = folds(found)
    return {f: NearestPreset.of([r for r in found if fold[r.song] != f] or found) for f in "AB"}


@dataclass(frozen=True)
class Nearest:
    """`NearestPreset` with a library of the songs of the other fold, made when it is first asked."""

    found: tuple[Recording, ...]
    fold: str

    def __call__(self, x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        """The nearest preset on the input."""
        return libraries(self.found)[self.fold](x, reference, sample_rate, rng)


# ------------------------------------------------------------------ ours


class Translated:
    """The translator's treatment, decided by a gate ("none" for all of it without one), on its curves.

    ``expected`` is the ratio to the input's distance that the last decision counted on.
    """

    def __init__(self, model: Path | None, gate: float | str) -> None:
        """``model`` is a folder of weights; None takes those that ship."""
        self.model, self.gate = model, gate
        self.expected: float | None = None

    def __call__(self, x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        """Mono, as the curves are."""
        from diffmix.transferring.decision import decide, render

        posterior = believed(x, reference, sample_rate, self.model)
        treatment = posterior.median
        if self.gate != "none":
            decision = decide(x, sample_rate, posterior, gate=self.gate)
            self.expected = decision.expected
            if not decision.acted:
                return x
            treatment = decision.treatment
        one = type(treatment)(*(part[None] for part in treatment))
        return render(_tensor(at_peak(_array(x.mean(0, keepdim=True))))[0], one)


class _Memory:
    """The last answer: four gates ask the same."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.asked: tuple[Any, ...] = ()
        self.answer: Any = None


_last = _Memory()


def believed(x: Tensor, reference: Tensor, sample_rate: int, model: Path | None) -> Any:
    """The posterior of the treatment that the reference had."""
    from diffmix.estimators.style_features import style_features, windows
    from diffmix.estimators.translator import Translator

    asked = (x, reference, sample_rate, model)
    if len(_last.asked) != len(asked) or any(a is not b for a, b in zip(_last.asked, asked, strict=True)):
        features = [style_features(windows(a, sample_rate), sample_rate) for a in (x, reference)]
        _last.asked, _last.answer = asked, Translator.load(model).predict(features[0], features[1])
    return _last.answer


class Product:
    """The whole of `diffmix.transfer`, with the weights of a folder in place of those that ship."""

    def __init__(self, model: Path | None, **options: Any) -> None:
        """Options of `diffmix.transfer`."""
        self.model, self.options = model, options
        self.expected: float | None = None

    def __call__(self, x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        """At its rate and length, on its own knobs."""
        import diffmix
        from diffmix.estimators import translator

        model = translator.Translator.load(self.model)
        with mock.patch.object(translator, "_shipped", return_value=model):
            made = diffmix.transfer(x, reference, sample_rate=sample_rate, **self.options)
        self.expected = made.belief.expected
        return torch.atleast_2d(torch.as_tensor(made.audio))


class DeepAFx:
    """A model of ``recipe=style_transfer``, from the folder that its training wrote."""

    def __init__(self, folder: Path) -> None:
        """Load it at the rate of the trials."""
        from diffmix.systems.style_transfer import StyleTransfer

        self.model = StyleTransfer.load(folder, RATE).eval()

    def __call__(self, x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        """One pass."""
        u = self.model.knobs(x, reference)
        with torch.no_grad():
            return self.model.play(_tensor(at_peak(_array(x)))[None], u)[0]


def oracle(style: Style) -> System:
    """The truth's own curves through what renders ours: what the description of a treatment leaves out."""
    from diffmix.estimators.treatment import EQ_HZ, Knobs, Treatment
    from diffmix.transferring.decision import render

    def system(x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator) -> Tensor:
        response = _tensor(style.response_db(np.array(EQ_HZ), sample_rate))
        slower = 2 * math.pi / math.log(9)  # their times are of 10 to 90 %, the compressor's of 2 pi constants
        times = [torch.tensor(min(max(t * 1000 * slower, 0.1), 2000.0)) for t in (style.attack_s, style.release_s)]
        ratio = torch.tensor(style.ratio)
        treatment = Treatment.of(response, Knobs(torch.tensor(style.threshold_db), ratio, *times))
        one = Treatment(*(part[None] for part in treatment))
        return render(_tensor(at_peak(_array(x.mean(0, keepdim=True))))[0], one)

    return system


def baselines(python: Path | None = None) -> dict[str, System]:
    """Systems that learn nothing and are quick."""
    found: dict[str, System] = {
        "input": untouched,
        "mean preset": mean_preset,
        "random preset": random_preset,
        "rule-based (DeepAFx-ST)": rule_based,
        "rule-based (ST-ITO)": rule_based_2048,
        "matchering-like": matching,
    }
    return found | ({"matchering 2.0": Matchering(python)} if python else {})


GATES: tuple[float | str, ...] = ("none", "bold", "default", "cautious")


def ours(model: Path | None) -> dict[str, System]:
    """Our systems with one model, ungated and at each gate."""
    return {f"diffmix, {'ungated' if gate == 'none' else gate}": Translated(model, gate) for gate in GATES}
