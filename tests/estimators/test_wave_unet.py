"""The Wave-U-Net."""

import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.estimators.wave_unet import WaveUNet


def test_the_papers_sizes() -> None:
    assert round(sum(p.numel() for p in WaveUNet(8, 12, 24).parameters()) / 1e6, 1) == 17.8


@pytest.mark.parametrize("length", [1, 255, 256, 1000])
def test_any_length(length: int) -> None:
    assert WaveUNet(3, 8, 2).eval()(torch.randn(2, 3, length)).shape == (2, 2, length)


def test_it_reaches_as_far_as_it_says() -> None:
    network = WaveUNet(2, 3, 4).double().eval()
    reached = []
    for at in range(496, 504):
        x = torch.randn(1, 2, 1000, dtype=torch.float64, requires_grad=True)
        (touched,) = torch.autograd.grad(network(x)[..., at].sum(), x)
        where = touched.abs().sum((0, 1)).nonzero().flatten()
        reached.append(max(at - int(where.min()), int(where.max()) - at))
    assert 0.9 * network.reach < max(reached) <= network.reach


def test_every_weight_learns() -> None:
    network = WaveUNet(2, 3, 4)
    network(torch.randn(2, 2, 200)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("sizes", [(0, 6, 8), (8, 17, 8), (8, 6, 2.5)])
def test_sizes_that_cannot_be_are_named(sizes: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match="of a Wave-U-Net is"):
        WaveUNet(*sizes)
