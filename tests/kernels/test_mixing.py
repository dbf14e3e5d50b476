import numpy as np
import pytest
import torch

from diffmix.kernels.backend import backend
from diffmix.kernels.mixing import add_tracks


def inputs(
    batch: int, n: int, channels: int, length: int, dtype: torch.dtype = torch.float32, buses: int = 1
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    sums, sends = (batch, 2 + 2 * buses, length), (batch, n, buses)
    shapes = sums, (batch, n, channels, length), (batch, n), (batch, n, 2, channels), sends
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [1, 2047, 5000])
@pytest.mark.parametrize("buses", [0, 1, 3])
def test_sums_equal_numpy_track_by_track(channels: int, length: int, buses: int) -> None:
    sums, y, fader, matrix, send = inputs(2, 5, channels, length, buses=buses)
    mixed = add_tracks(sums, y, fader, matrix, send)
    for item in range(2):
        total = sums[item].numpy().copy()
        for k in range(5):
            behind = fader[item, k].numpy() * y[item, k].numpy()
            placed = sum(matrix[item, k, :, c : c + 1].numpy() * behind[c] for c in range(channels))
            total[:2] += placed
            for bus in range(buses):
                total[2 + 2 * bus : 4 + 2 * bus] += send[item, k, bus].numpy() * placed
        assert np.array_equal(mixed[item].numpy(), total)


@pytest.mark.parametrize("buses", [0, 1, 3])
def test_gradients_equal_finite_differences(buses: int) -> None:
    x = [part.requires_grad_() for part in inputs(2, 3, 2, 9, torch.float64, buses)]
    assert torch.autograd.gradcheck(add_tracks, x)


def test_long_dot_products_are_exact() -> None:
    x = [part.requires_grad_() for part in inputs(1, 3, 2, 50000)]
    exact = [part.detach().double().requires_grad_() for part in x]
    for parts in (x, exact):
        add_tracks(*parts).square().mean().backward()
    for a, b in zip(x, exact, strict=True):
        assert torch.allclose(a.grad.double(), b.grad, rtol=2e-5, atol=1e-6 * float(b.grad.abs().max()))


def test_portable_path_is_the_same_and_twice_differentiable() -> None:
    x, short = inputs(2, 3, 1, 500, torch.float64), inputs(1, 2, 2, 4, torch.float64)
    with backend("torch"):
        portable = add_tracks(*x)
        assert torch.autograd.gradgradcheck(add_tracks, [part.requires_grad_() for part in short])
    assert torch.allclose(portable, add_tracks(*x), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_operator_is_well_formed() -> None:
    x = [part.requires_grad_() for part in inputs(1, 2, 2, 64)]
    torch.library.opcheck(torch.ops.diffmix.add_tracks.default, x)
