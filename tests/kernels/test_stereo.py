import numpy as np
import pytest
import torch

from diffmix.kernels import stereo
from diffmix.kernels.stereo import apply_matrix, balance_width, balance_width_matrix, pan, pan_matrix

F64 = torch.float64


def test_pan_law_has_constant_power_and_exact_ends() -> None:
    position = torch.linspace(-1, 1, 41, dtype=F64)
    m = pan_matrix(position)[..., 0]
    theta = (position + 1) * np.pi / 4
    torch.testing.assert_close(m, torch.stack([theta.cos(), theta.sin()], -1), rtol=0, atol=1e-15)
    torch.testing.assert_close(m.square().sum(-1), torch.ones(41, dtype=F64))
    assert m[0].tolist() == [1.0, 0.0]
    assert m[-1].tolist() == [0.0, 1.0]
    assert m[20, 0] == m[20, 1]


def test_balance_and_width_follow_their_definition() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, 100, generator=g, dtype=F64)
    b, w = torch.tensor([-1.0, -0.3, 0.0, 0.6, 1.0], dtype=F64), torch.tensor([0.0, 0.5, 1.3, 2.0, 1.0], dtype=F64)
    mid, side = x.sum(1) / 2, (x[:, 0] - x[:, 1]) / 2 * w[:, None]
    left = (mid + side) * torch.cos(b.clamp_min(0) * np.pi / 2)[:, None]
    right = (mid - side) * torch.cos((-b).clamp_min(0) * np.pi / 2)[:, None]
    torch.testing.assert_close(balance_width(x, b, w), torch.stack([left, right], 1), rtol=0, atol=1e-14)


def test_neutral_is_the_identity() -> None:
    x = torch.randn(3, 2, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(balance_width(x, torch.zeros(3), torch.ones(3)), x)


@pytest.mark.parametrize("channels", [1, 2])
def test_numpy_float32_in_the_stated_order_gives_the_same_samples(channels: int) -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, channels, 1000, generator=g)
    m = pan_matrix(torch.tensor([0.37])) if channels == 1 else balance_width_matrix(*torch.tensor([[0.3], [1.7]]))
    y = apply_matrix(x, m)[0].numpy()
    a, rows = x[0].numpy(), np.float32(m[0].tolist())
    for o in range(2):
        expected = rows[o][0] * a[0]
        for i in range(1, channels):
            expected = expected + rows[o][i] * a[i]
        assert np.array_equal(y[o], expected)


def test_gradients_are_exact_and_finite_at_the_ends() -> None:
    g = torch.Generator().manual_seed(2)
    mono, both = (torch.randn(3, c, 4, generator=g, dtype=F64, requires_grad=True) for c in (1, 2))
    p = torch.tensor([-0.7, 0.1, 0.9], dtype=F64, requires_grad=True)
    w = torch.tensor([0.2, 1.0, 1.8], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(pan, (mono, p))
    assert torch.autograd.gradcheck(balance_width, (both, p, w))
    assert torch.autograd.gradgradcheck(balance_width, (both, p, w))
    for end in (-1.0, 0.0, 1.0):
        b = torch.full((3,), end, dtype=F64, requires_grad=True)
        (pan(mono, b).sum() + balance_width(both, b, w).sum()).backward()
        assert b.grad.isfinite().all()


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 2), (1, 2), (3, 1), (2, 3)])
def test_gradients_of_any_matrix_equal_those_of_a_product(inputs: int, outputs: int) -> None:
    g = torch.Generator().manual_seed(5)
    x = torch.randn(2, inputs, 5000, generator=g, dtype=F64, requires_grad=True)
    m = torch.randn(2, outputs, inputs, generator=g, dtype=F64, requires_grad=True)
    w = torch.randn(2, outputs, 5000, generator=g, dtype=F64)
    ours, theirs = (torch.autograd.grad((y * w).sum(), (x, m)) for y in (apply_matrix(x, m), m @ x))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operator_is_well_formed() -> None:
    x, m = torch.randn(2, 2, 16, requires_grad=True), torch.randn(2, 2, 2, requires_grad=True)
    torch.library.opcheck(stereo._mix.overload, (x, m))


def test_an_item_of_a_batch_equals_it_alone() -> None:
    g = torch.Generator().manual_seed(3)
    x, b, w = torch.randn(4, 2, 33, generator=g), torch.rand(4, generator=g) * 2 - 1, torch.rand(4, generator=g) * 2
    y = balance_width(x, b, w)
    for i in range(4):
        assert torch.equal(y[i : i + 1], balance_width(x[i : i + 1], b[i : i + 1], w[i : i + 1]))


def test_compiles() -> None:
    x, p = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(4)), torch.tensor([-0.2, 0.9])
    assert torch.equal(torch.compile(pan, fullgraph=True, backend="aot_eager")(x, p), pan(x, p))
