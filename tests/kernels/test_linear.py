import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import dlsim, lfilter
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import linear, stream
from diffmix.kernels.backend import backend
from diffmix.kernels.linear import all_pole, one_pole, state_space

SAMPLES = [1, 2, 127, 129, 512, 1300]


def stable(items: int, order: int) -> Tensor:
    """Coefficients (B, N) of filters with poles inside the unit circle."""
    poles = 0.9 * np.random.default_rng(order).uniform(-1, 1, (items, order))
    return torch.from_numpy(np.stack([np.poly(p)[1:] for p in poles]))


def system(items: int, states: int = 3, inputs: int = 2, outputs: int = 4) -> list[Tensor]:
    a = torch.randn(items, states, states, dtype=torch.float64)
    a = 0.9 * a / torch.linalg.eigvals(a).abs().amax(-1)[:, None, None]
    shapes = (states, inputs), (outputs, states), (outputs, inputs)
    return [a, *(torch.randn(items, *shape, dtype=torch.float64) for shape in shapes)]


def moving(values: Tensor, samples: int) -> Tensor:
    """Values (B, ...) that change each sample, (B, T, ...)."""
    part = 1 - 0.3 * torch.rand(len(values), samples, *[1] * (values.ndim - 1), dtype=values.dtype)
    return values[:, None] * part


@pytest.mark.parametrize("name", ["auto", "torch"])
@pytest.mark.parametrize("samples", SAMPLES)
def test_constant_recursions_equal_scipy(samples: int, name: str) -> None:
    x = torch.randn(3, 2, samples, dtype=torch.float64)
    pole, poles = torch.tensor([0.9, -0.5, 0.999], dtype=torch.float64), stable(3, 7)
    matrices = system(3)
    with backend(name):  # type: ignore[arg-type]
        first, seventh, mixed = one_pole(x, pole), all_pole(x, poles), state_space(x, *matrices)
    for b in range(3):
        expected = lfilter([1], [1, -float(pole[b])], x[b])
        np.testing.assert_allclose(first[b], expected, rtol=0, atol=1e-11 * np.abs(expected).max())
        expected = lfilter([1], np.r_[1, poles[b]], x[b])
        np.testing.assert_allclose(seventh[b], expected, rtol=0, atol=1e-11 * np.abs(expected).max())
        _, expected, _ = dlsim((*(m[b].numpy() for m in matrices), 1), x[b].T.numpy())
        np.testing.assert_allclose(mixed[b], expected.T, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_moving_recursions_equal_their_definitions() -> None:
    x = torch.randn(2, 2, 700, dtype=torch.float64)
    poles = moving(stable(2, 3), 700)
    matrices = [moving(m, 700) for m in system(2)]
    first, third, mixed = one_pole(x, -poles[..., 0]), all_pole(x, poles), state_space(x, *matrices)
    a, b, c, d = matrices
    state, past = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 2, 703, dtype=torch.float64)
    alone = torch.zeros(2, 2, dtype=torch.float64)
    for n in range(700):
        alone = x[..., n] - poles[:, n, :1] * alone
        past[..., n + 3] = x[..., n] - (past[..., n : n + 3].flip(-1) * poles[:, None, n]).sum(-1)
        y = torch.einsum("bos,bs->bo", c[:, n], state) + torch.einsum("boi,bi->bo", d[:, n], x[..., n])
        state = torch.einsum("bsr,br->bs", a[:, n], state) + torch.einsum("bsi,bi->bs", b[:, n], x[..., n])
        torch.testing.assert_close(first[..., n], alone, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(third[..., n], past[..., n + 3], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mixed[..., n], y, rtol=1e-12, atol=1e-12)
    with backend("torch"):
        torch.testing.assert_close(one_pole(x, -poles[..., 0]), first, rtol=0, atol=1e-12)


Case = tuple[Callable[..., Tensor], list[Tensor]]


def cases(samples: int) -> list[Case]:
    """Every primitive, constant and moving, with coefficients that learn."""
    found: list[Case] = []
    for function, values in ((one_pole, [torch.tensor([0.8, -0.3]).double()]), (all_pole, [stable(2, 3)])):
        found += [(function, values), (function, [moving(values[0], samples)])]
    found += [(state_space, system(2)), (state_space, [moving(m, samples) for m in system(2)])]
    return [(function, [v.requires_grad_() for v in values]) for function, values in found]


@pytest.mark.parametrize("name", ["auto", "torch"])
@pytest.mark.parametrize("samples", [1, 6])
def test_gradcheck(samples: int, name: str) -> None:
    x = torch.randn(2, 2, samples, dtype=torch.float64, requires_grad=True)
    for function, values in cases(samples):
        with backend(name):  # type: ignore[arg-type]
            assert torch.autograd.gradcheck(function, (x, *values), fast_mode=samples > 1)


def test_gradcheck_over_several_tiles() -> None:
    x = torch.randn(2, 2, 1100, dtype=torch.float64, requires_grad=True)
    for function, values in cases(1100):
        assert torch.autograd.gradcheck(function, (x, *values), fast_mode=True)


def test_paths_agree_in_gradient() -> None:
    x = torch.randn(2, 2, 1100, dtype=torch.float64, requires_grad=True)
    for function, values in cases(1100):
        y = function(x, *values)
        w = torch.randn_like(y)
        expected = torch.autograd.grad(y, (x, *values), w)
        with backend("torch"):
            got = torch.autograd.grad(function(x, *values), (x, *values), w)
        for a, b in zip(got, expected, strict=True):
            assert (a - b).abs().max() <= 1e-9 * b.abs().max()


def test_second_derivatives_on_the_portable_path() -> None:
    x = torch.randn(2, 2, 6, dtype=torch.float64, requires_grad=True)
    for function, values in [case for case in cases(6) if case[1][0].ndim == (3 if case[0] is state_space else 1)]:
        with backend("torch"):
            assert torch.autograd.gradgradcheck(function, (x, *values), fast_mode=True)


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_chunks_equal_the_whole(name: str) -> None:
    x = torch.randn(2, 2, 1300)
    for function, values in cases(1300):
        whole, parts = function(x, *values), []
        state: stream.State | None = None
        assert whole.dtype == torch.float32
        for a, b in itertools.pairwise((0, 1, 2, 513, 1300)):
            moves = values[0].ndim > 1 and values[0].shape[1] == 1300
            with backend(name), stream.streaming(state) as tape:  # type: ignore[arg-type]
                parts.append(function(x[..., a:b], *(v[:, a:b] if moves else v for v in values)))
            state = tuple(tape.after)
        assert torch.equal(torch.cat(parts, -1), whole)


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_what_loops_would_misread_is_refused(name: str) -> None:
    x, (a, b, c, d) = torch.randn(2, 2, 9, dtype=torch.float64), system(2)
    with backend(name):  # type: ignore[arg-type]
        for wrong in ((a, b, c, d[:, :1]), (a, b, c[..., :2], d), (a, b[..., :1], c, d), (a[:1], b, c, d)):
            with pytest.raises(AudioError, match="and the input has 2 channels; allowed are"):
                state_space(x, *wrong)
        for values in (torch.tensor(0.5), torch.rand(2, 9, 1)):
            with pytest.raises(AudioError, match=r"allowed are \(B,\), or \(B, T\)"):
                one_pole(x, values)
        with pytest.raises(AudioError, match=r"allowed are \(B, N\), or \(B, T, N\)"):
            all_pole(x, torch.rand(2))
        with pytest.raises(AudioError, match="settings are of 2 items and 5 samples"):
            one_pole(x, torch.rand(2, 5))
        with pytest.raises(AudioError, match=r"the signal is \(2, 2, 9\) torch.int64; allowed are floats"):
            one_pole(x.long(), torch.rand(2))


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_no_samples_and_no_items(name: str) -> None:
    poles, matrices = stable(2, 3), system(2)
    with backend(name):  # type: ignore[arg-type]
        for x in (torch.zeros(2, 2, 0), torch.zeros(0, 2, 9), torch.zeros(2, 0, 9)):
            assert one_pole(x, poles[: len(x), 0]).shape == all_pole(x, poles[: len(x)]).shape == x.shape
            if x.shape[1]:
                assert state_space(x, *(m[: len(x)] for m in matrices)).shape == (len(x), 4, x.shape[-1])


def test_an_envelope_is_learned_through_float32() -> None:
    """The memory of a follower, found from its output by gradient descent."""
    x, target = torch.rand(1, 1, 2000), torch.tensor([0.95])
    wanted = one_pole(x, target)
    guess = torch.tensor([0.0], requires_grad=True)
    optimiser = torch.optim.Adam([guess], 0.2)
    for _ in range(100):
        optimiser.zero_grad()
        (one_pole(x, torch.sigmoid(guess)) - wanted).square().mean().backward()
        optimiser.step()
    assert torch.sigmoid(guess).item() == pytest.approx(0.95, abs=1e-3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    x = torch.randn(2, 1, 600, dtype=torch.float64, requires_grad=True)
    c = stable(2, 3)[:, None].requires_grad_()
    start = torch.zeros(2, 3, dtype=torch.float64)
    torch.library.opcheck(linear._all_pole.overload, (x, c, start, 1, []))
    packed = torch.cat([m.flatten(1) for m in system(2, inputs=1)], -1)[:, None].requires_grad_()
    torch.library.opcheck(linear._state_space.overload, (x, packed, start, 4, []))
