"""Tensors that are kept for later calls can be differentiated through, whoever asked for them first."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffmix.data.knowledge.spectrum import band_powers
from diffmix.estimators.features import mel_weights
from diffmix.losses import AudioFeatureLoss, StereoInvariantLoss

RATE = 44100 - 1  # which no other test asks for
USES: dict[str, Callable[[Tensor], Tensor]] = {
    "bands": lambda x: band_powers(x[0], RATE),
    "bark": lambda x: AudioFeatureLoss(RATE)(x, x.detach().flip(1) / 2),
    "mel": lambda x: x[..., :513] @ mel_weights(1024, RATE),
    "prefilter": lambda x: StereoInvariantLoss(RATE)(x, x.detach() / 2),
}


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_what_inference_asked_for_first_passes_gradients_later(use: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(1, 2, 3 * RATE // 2) - 0.5
    with torch.inference_mode():
        use(x)
    use(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
