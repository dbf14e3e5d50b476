"""Numbers that say how close one sound is to another."""

import torch
from torch import Tensor


def balance_error_db(loudness_lufs: Tensor, target_lufs: Tensor, mask: Tensor) -> Tensor:
    """How far the balance of the tracks is off, (B,) dB.

    ``loudness_lufs`` and ``target_lufs`` (B, N): loudness of each track in the two mixes; ``mask`` (B, N). The mean
    over tracks of |difference - median difference|: an overall level change costs nothing.
    """
    difference = torch.where(mask > 0.5, loudness_lufs - target_lufs, torch.nan)
    centred = difference - difference.nanmedian(1, keepdim=True).values
    return centred.abs().nanmean(1)


def pan_error(pan: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean distance of pan positions in [-1, 1], (B,), to the target or its mirror image, whichever is nearer."""
    count = mask.sum(1).clamp_min(1)
    same = ((pan - target).abs() * mask).sum(1) / count
    mirrored = ((pan + target).abs() * mask).sum(1) / count
    return torch.minimum(same, mirrored)


def pan_width_error(pan: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean difference of the distances from the centre, (B,): as `pan_error`, whichever side a track is on."""
    return ((pan.abs() - target.abs()).abs() * mask).sum(1) / mask.sum(1).clamp_min(1)


def error_to_signal(y: Tensor, reference: Tensor) -> Tensor:
    """Energy of ``y - reference`` relative to the reference's, (scalar): 0 if they are equal, 1 for silence."""
    error = (y.double() - reference.double()).square().sum()
    return error / reference.double().square().sum().clamp_min(1e-300)


def residual_db(y: Tensor, reference: Tensor) -> float:
    """Energy of ``y - reference`` relative to the reference's, in dB; -inf if they are equal."""
    return float(10 * torch.log10(error_to_signal(y, reference)))
