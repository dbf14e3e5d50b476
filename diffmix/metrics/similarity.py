"""How far one signal is from another, sample by sample."""

import torch
from torch import Tensor

from diffmix.losses._audio import alike


def error_to_signal(y: Tensor, reference: Tensor) -> Tensor:
    """Energy of ``y - reference`` relative to the reference's, (scalar): 0 if they are equal, 1 for silence.

    Shape: any, that of both. Raises AudioError for two.
    """
    alike(y, reference)
    error = (y.double() - reference.double()).square().sum()
    return error / reference.double().square().sum().clamp_min(1e-300)


def residual_db(y: Tensor, reference: Tensor) -> float:
    """Energy of ``y - reference`` relative to the reference's, in dB; -inf if they are equal."""
    return float(10 * torch.log10(error_to_signal(y, reference)))
