"""Tensors that are kept for later calls can be differentiated through, whoever asked for them first."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffmix.data.knowledge.spectrum import band_powers
from diffmix.estimators.features import mel_weights
from diffmix.losses import AudioFeatureLoss, StereoInvariantLoss
from diffmix.processors import Gain, NoiseReverb, Processor, named

RATE = 44100 - 1  # which no other test asks for
USES: dict[str, Callable[[Tensor], Tensor]] = {
    "bands": lambda x: band_powers(x[0], RATE),
    "bark": lambda x: AudioFeatureLoss(RATE)(x, x.detach().flip(1) / 2),
    "mel": lambda x: x[..., :513] @ mel_weights(1024, RATE),
    "noise": lambda x: NoiseReverb(RATE, length_s=0.1)(x, x[:, 0, :19] + 0.5),
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


@pytest.mark.usefixtures("declaring")
def test_an_effect_with_a_name_that_inference_asked_for_first_learns_later() -> None:
    class Learned(Gain):
        def __init__(self, sample_rate: float) -> None:
            super().__init__(sample_rate)
            self.weight = torch.nn.Parameter(torch.ones(()))

        def process(self, x: Tensor, **values: Tensor) -> Tensor:
            return self.weight * super().process(x, **values)

    kind = named("Kept", Learned)
    with torch.inference_mode():
        kind(RATE)
    effect: Processor = kind(RATE)
    effect(torch.ones(1, 1, 9, requires_grad=True), effect.spec.default()[None]).sum().backward()
    assert kind(RATE).effect.weight.grad


@pytest.mark.slow
def test_what_an_export_asked_for_first_holds_numbers_later() -> None:
    class Bands(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ mel_weights(64, RATE)

    x = torch.ones(1, 33)
    exported = torch.export.export(Bands(), (x,)).module()
    assert torch.equal(Bands()(x), exported(x))
