"""The gain of a curve, tile by tile, against the same written as one expression that torch differentiates."""

import pytest
import torch
from torch import Tensor

from diffmix.kernels import gain_curve
from diffmix.kernels.backend import backend
from diffmix.kernels.ballistics import detected
from diffmix.kernels.gain_curve import CURVES, followed, shaped
from diffmix.kernels.stream import streaming

SETTINGS = {
    "compression": (-24.0, 3.0, 6.0, 2.0),
    "expansion": (-30.0, 2.5, 6.0, 20.0),
    "gate": (-30.0, 8.0, 15.0),
}


def arguments(
    curve: str,
    length: int,
    channels: int = 2,
    link: bool = True,
    moving: bool = False,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, channels, length, generator=generator, dtype=torch.float64)
    spread = torch.rand(3, 1 if link else channels, length, generator=generator, dtype=torch.float64)
    level = 10 ** (-3.5 * spread)  # from 0 dB to -70 dB: on both sides of every threshold, and in every knee
    shape = (3, length) if moving else (3,)
    near = [v * (1 + 0.1 * torch.rand(shape, generator=generator, dtype=torch.float64)) for v in SETTINGS[curve]]
    return [part.to(dtype).requires_grad_() for part in (x, level, *near)]


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize(("link", "moving"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("length", [1, 30000])
def test_values_and_gradients_are_those_of_one_expression(
    curve: str, power: bool, link: bool, moving: bool, length: int
) -> None:
    parts = arguments(curve, length, link=link, moving=moving)
    w = torch.randn(3, 2, length, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for name in ("auto", "torch"):
        with backend(name):  # type: ignore[arg-type]
            y = shaped(*parts[:2], curve, *parts[2:], power=power)
        found.append((y.detach(), *torch.autograd.grad((y * w).sum(), parts)))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-12, atol=0)
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-11 * float(theirs.abs().max()))


@pytest.mark.parametrize("curve", CURVES)
def test_gradients_equal_finite_differences(curve: str) -> None:
    parts = arguments(curve, 9)
    assert torch.autograd.gradcheck(lambda x, level, *s: shaped(x, level, curve, *s), parts, atol=1e-7)


@pytest.mark.parametrize(("link", "moving"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("power", [False, True])
def test_to_follow_is_to_detect_and_shape(link: bool, moving: bool, power: bool) -> None:
    x, _, *settings = arguments("compression", 1300, link=link, moving=moving)
    x = torch.cat([x, 0.5 * x, 2 * x, 0.1 * x]).detach().requires_grad_()  # 12 rows: more than run side by side
    settings = [torch.cat([s] * 4).detach().requires_grad_() for s in settings]
    shape = (12, 1300) if moving else (12,)
    memories = [(0.9 + 0.1 * torch.rand(shape, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    parts = [x, *memories, *settings]
    w = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    together = followed(x, *memories, "compression", *settings, power=power, link=link)
    apart = shaped(x, detected(x, *memories, power, link), "compression", *settings, power=power)
    assert torch.equal(together, apart)
    ours, theirs = (torch.autograd.grad((y * w).sum(), parts) for y in (together, apart))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-13 * float(b.abs().max()))
    single = [part.detach().float() for part in parts]
    state, found = None, []
    for piece in range(0, 1300, 500):
        cut = slice(piece, piece + 500)
        knobs = [part[:, cut] if part.ndim == 2 else part for part in single[1:]]
        with streaming(state) as tape:
            found.append(followed(single[0][..., cut], *knobs[:2], "compression", *knobs[2:], power=power, link=link))
        state = tuple(tape.after)
    whole = followed(*single[:3], "compression", *single[3:], power=power, link=link)
    assert torch.equal(torch.cat(found, -1), whole)


def test_float32_sums_of_long_signals_are_exact() -> None:
    single = [p.detach().requires_grad_() for p in arguments("compression", 200000, dtype=torch.float32)]
    double = [p.detach().double().requires_grad_() for p in single]
    for parts in (single, double):
        shaped(*parts[:2], "compression", *parts[2:]).square().sum().backward()
    for a, b in zip(single[2:], double[2:], strict=True):
        assert torch.allclose(a.grad.double(), b.grad, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operator_is_well_formed() -> None:
    x, level, *settings = arguments("compression", 40, dtype=torch.float32)
    stacked = torch.stack([s.detach() for s in settings], 1)[..., None].requires_grad_()
    torch.library.opcheck(gain_curve._shaped.overload, (x, level[:, 0].detach().requires_grad_(), stacked, 0, False))
    memories = torch.rand(3, 1, 2, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(gain_curve._followed.overload, (x, memories, stacked, torch.zeros(3, 1), 0, True))
