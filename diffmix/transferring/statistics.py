"""Statistics of recordings that do not depend on where in the song one listens, with gradients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffmix.estimators.style_features import BANDS, LEVEL_PERCENT, N_FFT, RATE, mel
from diffmix.keeping import kept

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
    power, square, highest = _Heard.apply(x)[:3]
    relative = power / power.sum(2).mean(1)[:, None, None].clamp_min(1e-12)
    mean_db = 10 * (relative.mean(1) + 1e-8).log10()
    spread = (10 * (relative + 1e-6).log10()).std(1, correction=0)
    rest = x[:, square.shape[1] * HALF :].square().sum(1)
    total = ((square.sum(1) * HALF + rest) / x.shape[1]).clamp_min(1e-12)[:, None]
    level = 10 * ((square[:, 1:] + square[:, :-1]) / (2 * total) + 1e-6).log10()
    places = [round(p / 100 * (level.shape[1] - 1)) for p in LEVEL_PERCENT]
    peak = 20 * (torch.maximum(highest[:, 1:], highest[:, :-1]) / total.sqrt() + 1e-3).log10()
    crest = 20 * (highest.amax(1, keepdim=True) / total.sqrt() + 1e-3).log10()
    return torch.cat([mean_db, spread, level.sort(1).values[:, places], crest, (peak - level).mean(1, keepdim=True)], 1)


class _Heard(torch.autograd.Function):
    """Energy (B, F, 40) of mel bands in frames of audio (B, T), mean square and highest magnitude (B, H) of its 25 ms.

    Torch's own gradient of these takes three times as long: it transforms spectra of both halves, and goes over the
    audio once for each step.
    """

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, ...]:
        frames = x.unfold(1, N_FFT, HOP) * torch.hann_window(N_FFT).to(x)
        spectra = torch.view_as_real(torch.fft.rfft(frames))
        halves = x[:, : x.shape[1] // HALF * HALF].unflatten(1, (-1, HALF))  # frames of 50 ms are two of these
        highest, at = halves.abs().max(2, keepdim=True)
        weights = _parts_to_bands().to(x).expand(len(x), -1, -1)
        power = torch.bmm(spectra.square().flatten(2), weights)  # unlike @, the same on any number of threads
        return power, halves.square().mean(2), highest[..., 0], spectra, at

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, *output[3:])
        ctx.mark_non_differentiable(*output[3:])

    @staticmethod
    def backward(ctx: Any, g_power: Tensor, g_square: Tensor, g_highest: Tensor, *_: Tensor) -> Tensor:
        x, spectra, at = ctx.saved_tensors
        slopes = (g_power @ _parts_to_bands().to(x).T).view(spectra.shape).mul_(spectra)
        frames = torch.fft.irfft(torch.view_as_complex(slopes), N_FFT, norm="forward")  # no band reaches both ends
        frames *= torch.hann_window(N_FFT).to(x)
        gx = torch.zeros_like(x)
        halves, found = (a[:, : a.shape[1] // HALF * HALF].unflatten(1, (-1, HALF)) for a in (x, gx))
        torch.mul(halves, (g_square * (2 / HALF))[..., None], out=found)
        found.scatter_add_(2, at, halves.gather(2, at).sign() * g_highest[..., None])
        length = frames.shape[1] * HOP
        gx[:, :length] += frames[..., :HOP].flatten(1)
        gx[:, HOP : HOP + length] += frames[..., HOP:].flatten(1)
        return gx


@kept(1)
def _parts_to_bands() -> Tensor:
    """What makes bands of the squares of real and imaginary parts in turn, (2050, 40)."""
    return mel().repeat_interleave(2, 0)


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


@kept(1)
def whitening() -> Tensor:
    """What makes the differences of two parts of a song unit numbers, (88, 88), by multiplication from the right."""
    from safetensors.torch import load_file

    return load_file(FILE)["whitening"].float()
