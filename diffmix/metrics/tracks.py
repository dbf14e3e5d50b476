"""Numbers of the tracks inside a mix: balance, position, tone, audibility."""

import math

import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.metrics.spectrum import bark_bands, power_spectrum

AUDIBLE_DB = -6.0
"""A track is heard in a band while it is no further below everything else."""

PRESENT_DB = -60.0
"""A track plays in a band while it is no further below its own loudest band."""


def balance_error_db(loudness_lufs: Tensor, target_lufs: Tensor, mask: Tensor) -> Tensor:
    """How far the balance of the tracks is off, (B,) dB.

    ``loudness_lufs`` and ``target_lufs`` (B, N): loudness of each track in the two mixes; ``mask`` (B, N). The mean
    over tracks of |difference - median difference|: an overall level change costs nothing.
    """
    difference = torch.where(mask > 0.5, loudness_lufs - target_lufs, torch.nan)
    centred = difference - difference.nanmedian(1, keepdim=True).values
    return centred.abs().nanmean(1)


def pan_error(pan: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean distance of pan positions in [-1, 1], (B,), to the target or its mirror image, whichever is nearer.

    ``mask`` (B, N) is 0 where a track is left out; other values are weights. Half of it is the error on a scale from 0
    (left) to 1 (right), in which some publications report.
    """
    weight = mask / mask.sum(1, keepdim=True).clamp_min(1e-9)
    same = ((pan - target).abs() * weight).sum(1)
    mirrored = ((pan + target).abs() * weight).sum(1)
    return torch.minimum(same, mirrored)


def pan_width_error(pan: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean difference of the distances from the centre, (B,): as `pan_error`, whichever side a track is on."""
    return ((pan.abs() - target.abs()).abs() * mask).sum(1) / mask.sum(1).clamp_min(1)


def pan_position(x: Tensor) -> Tensor:
    """Where stereo signals (..., 2, T) are, (...): -1 left, 0 centre, 1 right.

    From the levels of the two sides, ``4 / pi * atan2(right, left) - 1``: the knob of a mono track that was panned
    with constant power. Silence is in the centre. Raises AudioError for other shapes.
    """
    if x.shape[-2:-1] != (2,) or not x.is_floating_point():
        raise AudioError(f"the audio is {tuple(x.shape)} {x.dtype}; allowed are floats (..., 2, T)")
    level = torch.linalg.vector_norm(x, dim=-1)
    at = torch.atan2(level[..., 1], level[..., 0]) * (4 / math.pi) - 1
    return torch.where(level.sum(-1) > 1e-9, at, 0.0)


def loudness_weight(loudness_lufs: Tensor, mask: Tensor) -> Tensor:
    """Weights (B, N) that say how loud tracks are to the ear: 10 LU double it (Stevens, 1955); the loudest weighs 1."""
    top = torch.where(mask > 0.5, loudness_lufs, -torch.inf).amax(1, keepdim=True)
    return torch.where(mask > 0.5, 2 ** ((loudness_lufs - top) / 10), 0.0)


def eq_error_db(curve_db: Tensor, target_db: Tensor, mask: Tensor) -> Tensor:
    """Mean difference of the tracks' frequency responses, (B,) dB.

    ``curve_db`` and ``target_db`` (B, N, F): levels at frequencies that are evenly spaced to the ear, as third octaves;
    ``mask`` (B, N). Each track's mean difference is the fader's business and costs nothing.
    """
    difference = curve_db - target_db
    shape = (difference - difference.mean(-1, keepdim=True)).abs().mean(-1)
    return (shape * mask).sum(1) / mask.sum(1).clamp_min(1)


def audible_share(x: Tensor, rest: Tensor, sample_rate: float) -> Tensor:
    """How much of a sound is heard through the rest of the mix, (B,) from 0 (masked) to 1.

    The share of cells, 24 Bark bands by frames of about 46 ms, in which ``x`` (B, 2, T) is more than -6 dB above
    ``rest`` (B, 2, T), among those in which it plays: no more than 60 dB below its loudest. 0 for silence.
    """
    n_fft = 1 << round(math.log2(sample_rate * 0.0464))

    def cells(y: Tensor) -> Tensor:
        return bark_bands(power_spectrum(y, n_fft).sum(1), sample_rate)  # (B, 24, frames)

    own, other = cells(x), cells(rest)
    loudest = own.amax((1, 2), keepdim=True)
    present = (own > loudest * 10 ** (PRESENT_DB / 10)) & (loudest > 1e-12)
    heard = present & (own > other * 10 ** (AUDIBLE_DB / 10))
    return heard.sum((1, 2)) / present.sum((1, 2)).clamp_min(1)
