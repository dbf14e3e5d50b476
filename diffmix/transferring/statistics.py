"""Statistics of recordings that do not depend on where in the song one listens, with gradients."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from diffmix.estimators.style_features import BANDS, LEVEL_PERCENT, N_FFT, RATE, mel

SIZE = 2 * BANDS + len(LEVEL_PERCENT) + 2
"""Numbers of one recording."""

FILE = Path(__file__).resolve().parent.parent / "weights" / "same_source" / "whitening.safetensors"
"""What `learned` made of the recordings that the card beside it names."""

HOP, HALF = N_FFT // 2, RATE // 40
SHRINKAGE, FLOOR_DB = 0.1, 0.5


def statistics(x: Tensor) -> Tensor:
    """Numbers (B, 88) of audio (B, T) at 24 kHz, in dB; they do not depend on its level.

    40 mel band levels below the whole, how much each changes over time, 6 percentiles of the level in 50 ms below the
    whole, crest of the whole and mean crest of 50 ms.
    """
    parts = x[:, : x.shape[1] // HOP * HOP].unflatten(1, (-1, HOP))  # frames are two of these: quicker than unfolding
    frames = torch.cat([parts[:, :-1], parts[:, 1:]], 2) * torch.hann_window(2 * HOP).to(x)
    power = (torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1) @ mel().to(x)).mT  # (B, 40, F)
    relative = power / power.sum(1).mean(1)[:, None, None].clamp_min(1e-12)
    mean_db = 10 * (relative.mean(2) + 1e-8).log10()
    spread = (10 * (relative + 1e-6).log10()).std(2, correction=0)
    total = x.square().mean(1, keepdim=True).clamp_min(1e-12)
    halves = x[:, : x.shape[1] // HALF * HALF].unflatten(1, (-1, HALF))  # frames of 50 ms are two of these
    square, highest = halves.square().mean(2), halves.abs().amax(2)
    level = 10 * ((square[:, 1:] + square[:, :-1]) / (2 * total) + 1e-6).log10()
    places = [round(p / 100 * (level.shape[1] - 1)) for p in LEVEL_PERCENT]
    peak = 20 * (torch.maximum(highest[:, 1:], highest[:, :-1]) / total.sqrt() + 1e-3).log10()
    crest = 20 * (highest.amax(1, keepdim=True) / total.sqrt() + 1e-3).log10()
    return torch.cat([mean_db, spread, level.sort(1).values[:, places], crest, (peak - level).mean(1, keepdim=True)], 1)


def learned(differences: Tensor, songs: Sequence[str]) -> Tensor:
    """What makes differences of statistics (N, 88) between two parts of each of the ``songs`` (N,) unit numbers.

    The inverse's Cholesky factor (88, 88), to multiply with from the right, of their covariance: every song counts the
    same, what is beyond three deviations as much as these, and a tenth is the diagonal alone.
    """
    deviation = 1.4826 * differences.abs().median(0).values
    held = differences.clamp(-3 * deviation - 1e-3, 3 * deviation + 1e-3).double()
    names = sorted(set(songs))
    rows = [held[torch.tensor([song == name for song in songs])] for name in names]
    covariance = torch.stack([row.T @ row / len(row) for row in rows]).mean(0)
    diagonal = covariance.diagonal().diag()
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal + FLOOR_DB**2 * torch.eye(SIZE)
    return torch.linalg.cholesky(torch.linalg.inv(covariance)).float()


@lru_cache(maxsize=1)
def whitening() -> Tensor:
    """What makes the differences of two parts of a song unit numbers, (88, 88), by multiplication from the right."""
    from safetensors.torch import load_file

    return load_file(FILE)["whitening"].float()
