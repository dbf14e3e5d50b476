import math

import numpy as np
import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.kernels.stereo import PAN_LAWS, pan_matrix
from diffmix.processors import BalanceWidth, Imager, MidSideMerge, MidSideSplit, Pan

RATE = 44100
CENTRE_DB = {"constant power": -3.0103, "-4.5 dB": -4.5155, "linear": -6.0206, "balanced": 0.0}


@pytest.mark.parametrize("law", PAN_LAWS)
def test_pan_laws(law: str) -> None:
    pan = torch.linspace(-1, 1, 21, dtype=torch.float64, requires_grad=True)
    left, right = pan_matrix(pan, law)[..., 0].unbind(-1)
    assert (left[0].item(), right[0].item()) == (1, 0)
    assert (left[-1].item(), right[-1].item()) == (0, 1)
    torch.testing.assert_close(left, right.flip(0), rtol=0, atol=1e-15)
    assert 20 * math.log10(left[10].item()) == pytest.approx(CENTRE_DB[law], abs=1e-4)
    assert (right.diff() >= 0).all()
    constant = {"constant power": left**2 + right**2, "linear": left + right, "balanced": left.maximum(right)}
    if law in constant:
        torch.testing.assert_close(constant[law], torch.ones_like(pan))
    (gradient,) = torch.autograd.grad((left + 2 * right).sum(), pan)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("law", PAN_LAWS)
def test_a_pan_exports_the_gains_it_applies(law: str) -> None:
    effect = Pan(RATE, law=law)
    x = torch.randn(1, 1, 100)
    y = effect.process(x, pan=torch.tensor([0.37]))
    rows = np.float32(effect.matrix({"pan": 0.37}))
    assert np.array_equal(y[0].numpy(), rows * x[0].numpy())
    assert effect.plugins({"pan": 0.37}) == []


def test_pan_says_which_laws_there_are() -> None:
    with pytest.raises(
        SettingsError, match=r"law is one of 'constant power', '-4.5 dB', 'linear', 'balanced', got 'sin'"
    ):
        Pan(RATE, law="sin")


def test_imager_is_the_width_of_balance_width() -> None:
    x, width = torch.randn(3, 2, 200), torch.tensor([0.0, 0.7, 2.0])
    y = Imager(RATE).process(x, width=width)
    assert torch.equal(y, BalanceWidth(RATE).process(x, balance=torch.zeros(3), width=width))
    assert torch.equal(y[0, 0], y[0, 1])
    mid, side = (x[:, 0] + x[:, 1]) / 2, width[:, None] * (x[:, 0] - x[:, 1]) / 2
    torch.testing.assert_close(y, torch.stack([mid + side, mid - side], 1))


def test_merge_undoes_split() -> None:
    x = torch.randn(2, 2, 5000, generator=torch.Generator().manual_seed(0))
    split, merge = MidSideSplit(RATE), MidSideMerge(RATE)
    mid, side = split.process(x)
    assert mid.shape == side.shape == (2, 1, 5000)
    assert torch.equal(mid[:, 0], (x[:, 0] + x[:, 1]) / 2)
    assert torch.equal(side[:, 0], (x[:, 0] - x[:, 1]) / 2)
    again = merge.process(mid, side=side)
    loudest = x.abs().amax(1, keepdim=True)  # the rounding is that of the louder channel
    assert ((again - x).abs() <= 2**-23 * loudest).all()
    pcm = (x.clamp(-1, 1) * 32767).round() / 32768
    mid, side = split.process(pcm)
    assert torch.equal(merge.process(mid, side=side), pcm)


def test_split_and_merge_are_matrices() -> None:
    split, merge = MidSideSplit(RATE).matrix({}), MidSideMerge(RATE).matrix({})
    assert np.array_equal(np.array(merge) @ np.array(split), np.eye(2))
