import itertools
import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import AudioError
from diffmix.kernels import ballistics as family
from diffmix.kernels import stream
from diffmix.kernels.ballistics import (
    ballistics,
    delayed,
    expansion_db,
    gain_computer,
    gate_db,
    held,
    knee,
    level_db,
    memory,
    power_db,
    sliding_maximum,
)

RATE = 44100
F64 = torch.float64


def smoothed(level: np.ndarray, attack: np.ndarray, release: np.ndarray) -> np.ndarray:
    """The textbook's recursion, one channel, one sample at a time."""
    y, e = np.empty_like(level), 0.0
    for n, r in enumerate(level):
        k = attack[n] if r > e else release[n]
        e = k * e + (1 - k) * r
        y[n] = e
    return y


def values(*numbers: float, shape: tuple[int, ...] = (1,)) -> list[Tensor]:
    return [torch.full(shape, v, dtype=F64, requires_grad=True) for v in numbers]


def test_a_step_is_followed_to_63_percent() -> None:
    for time_ms in (1.0, 20.0):
        samples = round(RATE * time_ms / 1000)
        k = memory(torch.tensor([time_ms]), RATE)
        step = torch.ones(1, 1, samples)
        assert ballistics(step, k, k)[0, 0, -1] == pytest.approx(1 - 1 / math.e, abs=1e-3)


def test_memory_of_no_time_is_none() -> None:
    time = torch.tensor([0.0, 1e-4, 5.0], dtype=F64, requires_grad=True)
    k = memory(time, RATE)
    assert k[:2].tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(k.sum(), time)
    assert gradient[:2].tolist() == [0, 0]
    assert k[2] == math.exp(-1000 / RATE / 5)
    assert torch.autograd.gradcheck(lambda t: memory(t, RATE), torch.tensor([0.5, 30.0], dtype=F64, requires_grad=True))


@pytest.mark.parametrize("moving", [False, True])
def test_equals_the_textbook(moving: bool) -> None:
    level = torch.randn(2, 2, 1300, dtype=F64)  # also negative ones, as decibels are
    shape = (2, 1300) if moving else (2, 1)
    attack, release = torch.rand(2, *shape, dtype=F64)
    y = ballistics(level, *((attack, release) if moving else (attack[:, 0], release[:, 0])))
    for b, c in itertools.product(range(2), range(2)):
        expected = smoothed(level[b, c].numpy(), *(k[b].expand(1300).numpy() for k in (attack, release)))
        np.testing.assert_allclose(y[b, c].numpy(), expected, atol=1e-13)
    single = ballistics(level.float(), *((attack, release) if moving else (attack[:, 0], release[:, 0])))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), y, rtol=0, atol=2e-6)


@pytest.mark.parametrize("samples", [1, 9, 1100])
def test_gradcheck(samples: int) -> None:
    level = torch.randn(2, 2, samples, dtype=F64, requires_grad=True)
    steady, moving = torch.rand(2, dtype=F64), torch.rand(2, samples, dtype=F64)
    for attack, release in ((steady, 0.9 * steady), (moving, steady), (moving, 0.5 + moving / 2)):
        inputs = level, attack.clone().requires_grad_(), release.clone().requires_grad_()
        assert torch.autograd.gradcheck(ballistics, inputs, eps=1e-8, fast_mode=samples > 20, atol=1e-6)
    if samples > 1:
        inputs = level, *values(0.0, 0.0, shape=(2,))  # a time of zero
        assert torch.autograd.gradcheck(lambda x, a, r: ballistics(x, a, r), inputs, eps=1e-8, fast_mode=True)


@pytest.mark.parametrize("length", [1, 2, 7, 300])
def test_sliding_maximum_equals_scipys(length: int) -> None:
    level = torch.rand(2, 3, 900, dtype=F64)
    level[..., 400:600] = 0.5  # equal ones
    origin = (length - 1) // 2
    expected = scipy.ndimage.maximum_filter1d(level.numpy(), length, mode="constant", origin=origin)
    y = sliding_maximum(level, length)
    assert np.array_equal(y.numpy(), expected)
    assert torch.equal(sliding_maximum(level[..., :5], length), y[..., :5])


def test_the_gradient_of_a_maximum_goes_to_the_largest() -> None:
    level = torch.tensor([[[1.0, 3, 2, 2, 0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(sliding_maximum(level, 3), level, torch.tensor([[[1.0, 10, 100, 1000, 10000]]]))
    assert gradient.tolist() == [[[1, 1110, 0, 10000, 0]]]
    random = torch.rand(2, 2, 60, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sliding_maximum(x, 9), random, eps=1e-8, atol=1e-6)


def test_chunks_equal_the_whole() -> None:
    x = torch.randn(1, 2, 1500)
    attack, release = torch.tensor([0.3]), torch.tensor([0.999])

    def effect(x: Tensor) -> Tensor:
        return delayed(ballistics(sliding_maximum(x.abs(), 40), attack, release), 33)

    state, parts = None, []
    for a, b in itertools.pairwise((0, 1, 20, 520, 1500)):
        with stream.streaming(state) as tape:
            parts.append(effect(x[..., a:b]))
        state = tuple(tape.after)
    assert torch.equal(torch.cat(parts, -1), effect(x))


def test_no_samples_and_other_shapes() -> None:
    empty, k = torch.zeros(2, 3, 0), torch.tensor([0.5, 0.9])
    assert ballistics(empty, k, k).shape == sliding_maximum(empty, 4).shape == (2, 3, 0)
    assert family.detected(empty, k, k).shape == (2, 1, 0)
    assert family.detected(empty, k, k, link=False).shape == (2, 3, 0)
    with pytest.raises(AudioError, match=r"release is \(\); allowed are \(B,\), or \(B, T\)"):
        ballistics(torch.zeros(2, 3, 4), k, k[0])
    with pytest.raises(AudioError, match="a delay is -1 samples, allowed are 0 or more"):
        delayed(empty, -1)
    with pytest.raises(AudioError, match="the last 0 samples is asked for"):
        sliding_maximum(empty, 0)


def test_delayed_and_held() -> None:
    x = torch.randn(1, 2, 10)
    assert torch.equal(delayed(x, 3), pad(x, (3, 0))[..., :10])
    assert torch.equal(delayed(x, 30), torch.zeros(1, 2, 10))
    assert delayed(x, 0) is x
    assert held(torch.tensor([[1.0, 2.0]]), 2).tolist() == [[1, 2, 2, 2]]
    assert held(torch.tensor([1.0]), 2).tolist() == [1]


def test_levels() -> None:
    assert level_db(torch.tensor(0.1)) == pytest.approx(-20, abs=1e-5)
    assert power_db(torch.tensor(0.01)) == pytest.approx(-20, abs=1e-5)
    silence = torch.zeros(3, requires_grad=True)
    for measure in (level_db, power_db):
        level = measure(silence)
        assert level[0].item() == pytest.approx(family.FLOOR_DB, abs=1e-4)
        assert torch.autograd.grad(level.sum(), silence)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("width", [0.0, 1e-9, 0.01, 6.0, 24.0])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_knee_is_the_textbooks_and_finite(width: float, dtype: torch.dtype) -> None:
    over = torch.linspace(-40, 40, 321, dtype=dtype).requires_grad_()  # with 0 and, for 6 and 24, both joints
    knee_db = torch.tensor(width, dtype=dtype, requires_grad=True)
    y = knee(over, knee_db)
    x = over.detach().double().numpy()
    soft = (x + width / 2) ** 2 / (2 * width) if width else x
    expected = np.where(2 * x < -width, 0, np.where(2 * np.abs(x) <= width, soft, x))
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=3e-6 if dtype == torch.float32 else 2e-7)
    by_over, by_knee = torch.autograd.grad(y.sum(), (over, knee_db))
    assert torch.isfinite(by_over).all()
    assert torch.isfinite(by_knee)
    slope = np.clip((x + width / 2) / width, 0, 1) if width > 1e-6 else np.where(x == 0, 0.5, x > 0)
    np.testing.assert_allclose(by_over.numpy(), slope, atol=1e-5)


@pytest.mark.parametrize("width", [0.0, 6.0])
def test_gain_computer_gradcheck(width: float) -> None:
    level = torch.linspace(-61.3, 3, 40, dtype=F64).requires_grad_()
    settings = values(-24, 4)
    knee_db = torch.tensor([width], dtype=F64, requires_grad=width > 0)
    assert torch.autograd.gradcheck(gain_computer, (level, *settings, knee_db))
    if width:
        assert torch.autograd.gradcheck(expansion_db, (level, *settings, knee_db, *values(40)))
        assert torch.autograd.gradcheck(gate_db, (level, *values(-24), knee_db, *values(40)))


def test_static_curves() -> None:
    level = torch.tensor([-100.0, -50, -30, -20, 0], dtype=F64)
    hard = torch.zeros(1, dtype=F64)
    threshold, ratio, range_db = (torch.tensor(v, dtype=F64) for v in (-30, 4, 50))
    assert gain_computer(level, threshold, ratio, hard).tolist() == pytest.approx([0, 0, 0, -7.5, -22.5], abs=1e-5)
    assert expansion_db(level, threshold, ratio, hard, range_db).tolist() == pytest.approx(
        [-50, -50, 0, 0, 0], abs=1e-5
    )
    assert gate_db(level, threshold, hard + 6, range_db).tolist() == [-50, -50, -25, 0, 0]
    assert torch.isfinite(gate_db(level, threshold, hard, range_db)).all()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    x = torch.rand(2, 1, 600, requires_grad=True)
    c = torch.rand(2, 1, 2, dtype=F64, requires_grad=True)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(family._smooth.overload, (x, c, torch.zeros(2, 1), 1, [0]), test_utils=tests)
    torch.library.opcheck(
        family._maximum.overload, (x, c.detach()[..., :1], torch.zeros(2, 4), 1, [5]), test_utils=tests
    )
