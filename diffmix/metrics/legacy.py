"""The feature errors in percent that earlier publications on automatic mixing report, for comparison with them.

Definitions of M. A. Martínez-Ramírez et al., "Automatic music mixing with deep learning and out-of-domain data" (ISMIR
2022). Prefer the other metrics: a percentage of decibels depends on where 0 dB is (1 dB is 3 % at -33 dB and 10 % at
-10 dB), and the crest factor is a ratio of two decibel values.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from diffmix.errors import AudioError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.losses._audio import heard
from diffmix.metrics.stereo import panning_mape

N_FFT, HOP = 4096, 1024
LONGEST_S, TRIM_DB, PEAK_DB, RUNNING = 30.0, -45.0, -1.0, 40


def feature_mape(mix: Tensor, target: Tensor, sample_rate: float) -> dict[str, float]:
    """Mean absolute percentage errors / 100 of loudness, spectrum, panning and dynamics of a mix (2, T).

    Of the first 30 s behind the silence at the target's ends (below -45 dBFS). ``mape_<feature>`` for every feature,
    ``mape_<group>`` for the mean of each of the four groups, and ``mape`` for the mean of these. Levels count as they
    are: both mixes are to have one loudness. Raises AudioError for a silent target, other shapes and short mixes.
    """
    mix, target = (heard(x[None], N_FFT)[0] for x in (mix, target))
    loud = (target.abs().amax(0) > 10 ** (TRIM_DB / 20)).nonzero()
    if not len(loud):
        raise AudioError("the target mix is silent: there is nothing to compare with")
    first, last = int(loud[0]), int(loud[-1]) + 1
    last = max(min(last, first + round(LONGEST_S * sample_rate)), min(first + 2 * N_FFT, target.shape[-1]))
    first = max(0, min(first, last - 2 * N_FFT))
    y, x = mix[:, first:last].double(), target[:, first:last].double()
    groups = {
        "loudness": _errors(_loudness(y, sample_rate), _loudness(x, sample_rate)),
        "spectrum": _errors(_spectrum(_peaking(y), sample_rate), _spectrum(_peaking(x), sample_rate)),
        "panning": {"sps": panning_mape(y[None], x[None], sample_rate).item()},
        "dynamics": _errors(_dynamics(_peaking(y)), _dynamics(_peaking(x))),
    }
    found = {f"mape_{name}": error for errors in groups.values() for name, error in errors.items()}
    means = {f"mape_{name}": sum(errors.values()) / len(errors) for name, errors in groups.items()}
    return {**found, **means, "mape": sum(means.values()) / len(means)}


def _errors(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Mean absolute percentage errors of running means over 40 frames (channels, frames)."""
    found = {}
    for name, a in mine.items():
        a, b = (avg_pool1d(v[:, None], min(RUNNING, v.shape[-1]), 1) for v in (a, theirs[name]))
        found[name] = float(((a - b).abs() / b.abs().clamp_min(1e-10)).mean())
    return found


def _peaking(x: Tensor) -> Tensor:
    return x * (10 ** (PEAK_DB / 20) / x.abs().amax().clamp_min(1e-9))


def _loudness(x: Tensor, sample_rate: float) -> dict[str, Tensor]:
    """Loudness and peak level (1, frames) of frames of 0.4 s, every 0.2 s."""
    size = min(round(0.4 * sample_rate), x.shape[-1])
    frames = x.unfold(-1, size, max(1, round(0.2 * sample_rate))).transpose(0, 1)  # (frames, 2, size)
    peak = 20 * frames.abs().amax((1, 2)).clamp_min(1e-6).log10()
    return {"lufs": integrated_loudness(frames, sample_rate)[None], "peak": peak[None]}


def _spectrum(x: Tensor, sample_rate: float) -> dict[str, Tensor]:
    """Features (2, frames) of the magnitude spectra of the channels, as librosa defines them."""
    window = torch.hann_window(N_FFT, dtype=x.dtype).sqrt()
    s = torch.stft(x, N_FFT, HOP, window=window, center=False, return_complex=True).abs()  # (2, bins, frames)
    hz = torch.linspace(0, sample_rate / 2, N_FFT // 2 + 1, dtype=x.dtype)[:, None]
    share = s / s.sum(1, keepdim=True).clamp_min(1e-12)
    centroid = (hz * share).sum(1)
    bandwidth = ((hz - centroid[:, None]).square() * share).sum(1).sqrt()
    roll = hz[(s.cumsum(1) >= 0.85 * s.sum(1, keepdim=True)).to(torch.int8).argmax(1), 0]
    power = s.square().clamp_min(1e-10)
    flatness_db = 10 * (power.log().mean(1).exp() / power.mean(1)).log10()
    contrast = _contrast(s, hz[:, 0])
    return {
        "centroid": centroid + 1,
        "bandwidth": bandwidth + 1,
        "contrast_lows": contrast[:, 0],
        "contrast_mids": contrast[:, 1:4].mean(1),
        "contrast_highs": contrast[:, -1],
        "rolloff": roll + 1,
        "flatness": 1 - flatness_db,
    }


def _contrast(s: Tensor, hz: Tensor) -> Tensor:
    """Peak over valley (2, 5, frames) in dB: of the 2 % largest and smallest magnitudes in five bands."""
    edges = [0.0, *(250.0 * 2**k for k in range(5))]
    peaks, valleys = [], []
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = ((hz >= low) & (hz <= high)).nonzero()[:, 0]
        first, last = int(inside[0]) - (k > 0), len(hz) if k == 4 else int(inside[-1]) + 1
        count = max(1, round(0.02 * (last - first)))
        ordered = s[:, first : last - (k < 4)].sort(1).values
        peaks.append(ordered[:, -count:].mean(1))
        valleys.append(ordered[:, :count].mean(1))

    def level_db(values: list[Tensor]) -> Tensor:
        db = 10 * torch.stack(values, 1).clamp_min(1e-10).log10()
        return torch.maximum(db, db.amax((1, 2), keepdim=True) - 80)

    return level_db(peaks) - level_db(valleys)


def _dynamics(x: Tensor) -> dict[str, Tensor]:
    """RMS level, dynamic spread and crest (1, frames) of frames of 4096 samples, means of the channels."""
    frames = x.unfold(-1, N_FFT, HOP)  # (2, frames, N_FFT)
    rms = 20 * (frames.square().mean(-1).sqrt() + 1e-30).log10()
    level = 20 * (frames.abs() + 1e-30).log10()
    spread, crest = (level - rms[..., None]).mean(-1), level.amax(-1) / rms
    return {"rms": 1 - rms.mean(0)[None], "spread": 1 - spread.mean(0)[None], "crest": crest.mean(0)[None]}
