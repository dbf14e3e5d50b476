import math
from collections.abc import Callable

import numpy as np
import pedalboard
import pytest
import torch
from numpy.typing import NDArray
from scipy.interpolate import lagrange
from scipy.signal import lfilter
from torch import Tensor

from diffmix.kernels import modulation, oscillator
from diffmix.kernels.modulation import allpass_gain, chorus, modulated_allpasses, modulated_delay, phaser
from diffmix.kernels.oscillator import phase_cycles, wave
from diffmix.kernels.stream import State, streaming
from tests.jacobians import check_gradients

RATE = 44100
Array = NDArray[np.float64]


def settings(*values: float, items: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.full((items,), v, dtype=dtype, requires_grad=True) for v in values]


def signals(samples: int) -> dict[str, Tensor]:
    impulse = torch.zeros(2, samples)
    impulse[..., 3] = 1
    hits = torch.randn(2, samples) * torch.exp(-torch.arange(samples) % 3000 / 300)
    return {"noise": torch.randn(2, samples) / 4, "impulse": impulse, "silence": torch.zeros(2, samples), "hits": hits}


def random_settings(number: int, low: float, high: float) -> list[Tensor]:
    """Rate, depth, centre, feedback, mix; the first rows lie on the ends of ranges."""
    u = torch.rand(5, number)
    values = [0.01 * 2000 ** u[0], u[1], low * (high / low) ** u[2], 1.8 * u[3] - 0.9, u[4]]
    values = [v.clone() for v in values]
    values[0][:3], values[1][1], values[1][2] = torch.tensor([0, 100, 20]), 1, 0
    values[2][3], values[2][4], values[4][5], values[4][6] = low, high, 0, 1
    return values


def in_chunks(effect: Callable[..., Tensor], cuts: list[int], *signals: Tensor) -> Tensor:
    state: State | None = None
    parts = []
    for part in zip(*(torch.tensor_split(s, cuts, -1) for s in signals), strict=True):
        with streaming(state) as tape:
            parts.append(effect(*part))
        state = tuple(tape.after)
    return torch.cat(parts, -1)


TWINS = {
    "Chorus": (chorus, 1.0, 100.0, (3.0, 0.4, 7.0, 0.5, 0.6)),
    "Phaser": (phaser, 50.0, 10000.0, (3.0, 0.4, 1300.0, 0.5, 0.6)),
}


@pytest.mark.parametrize("sample_rate", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("name", TWINS)
def test_equals_pedalboard(name: str, sample_rate: int) -> None:
    effect, low, high, _ = TWINS[name]
    values = random_settings(12, low, high)
    for signal, x in signals(9001).items():
        y = effect(x.expand(12, 2, -1), *values, sample_rate)
        for item, *v in zip(y, *values, strict=True):
            plugin = getattr(pedalboard, name)(*map(float, v))
            assert np.array_equal(item.numpy(), plugin(x.numpy(), sample_rate)), (signal, v)


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 511, 513])
@pytest.mark.parametrize("name", TWINS)
def test_short_mono_signals_equal_pedalboard(name: str, samples: int) -> None:
    effect, *_, values = TWINS[name]
    x = torch.randn(samples)
    expected = getattr(pedalboard, name)(*values)(x.numpy(), RATE)
    assert np.array_equal(effect(x[None, None], *settings(*values), RATE)[0, 0].detach().numpy(), expected)


def read(line: list[float], at: int, delay: float, points: tuple[int, ...]) -> float:
    """A line through samples whole + point before ``at``, by SciPy's Lagrange polynomial."""
    whole = int(delay)
    values = [line[at - whole - p] if at >= whole + p else 0.0 for p in points]
    return float(lagrange(points, values)(delay - whole))


def delay_reference(x: Array, delay: Array, feedback: float, mix: float, late: bool) -> Array:
    y, line, echo = np.zeros_like(x), [], 0.0
    for n, v in enumerate(x):
        if late:
            line.append(v - echo)
        wet = read([*line, 0.0], n, delay[n], (0, 1) if late else (-1, 0, 1, 2))
        if not late:
            line.append(v + feedback * wet)
        echo = feedback * wet
        y[n] = (1 - mix) * v + mix * wet
    return y


def allpass_reference(x: Array, frequency: Array, feedback: float, mix: float, stages: int) -> Array:
    """Stages with a gain that moves: the trapezoidal integrator s, solved for its output."""
    y, s, echo = np.zeros_like(x), np.zeros(stages), 0.0
    for n, v in enumerate(x):
        g = math.tan(math.pi * frequency[n] / RATE)
        u = v + echo
        for k in range(stages):
            low = (s[k] + g * u) / (1 + g)  # low = s + g (u - low)
            s[k] = 2 * low - s[k]
            u = 2 * low - u
        echo = feedback * u
        y[n] = (1 - mix) * v + mix * u
    return y


def sine(rate_hz: float, samples: int, hold: int = 1) -> Array:
    held = np.arange(samples) // hold * hold
    return -np.sin(2 * np.pi * rate_hz * held / RATE)


def test_float64_chorus_equals_the_reference() -> None:
    x, (rate_hz, depth, centre, feedback, mix) = torch.randn(400, dtype=torch.float64), (25, 0.9, 3.0, 0.7, 0.6)
    delay = np.maximum(1, 10 * depth * sine(rate_hz, 400) + centre) * RATE / 1000
    expected = delay_reference(x.numpy(), delay, feedback, mix, True)
    y = chorus(x[None, None], *settings(rate_hz, depth, centre, feedback, mix, dtype=torch.float64), RATE)
    np.testing.assert_allclose(y[0, 0].detach().numpy(), expected, rtol=0, atol=1e-10)


def test_float64_phaser_equals_the_reference() -> None:
    x, (rate_hz, depth, centre, feedback, mix) = torch.randn(2000, dtype=torch.float64), (25, 0.9, 3000, 0.7, 0.6)
    level = np.log10(centre / 20) / 3 + depth / 2 * sine(rate_hz, 2000, hold=4)
    expected = allpass_reference(x.numpy(), 20 * 1000 ** np.clip(level, 0, 1), -feedback, mix, 6)
    y = phaser(x[None, None], *settings(rate_hz, depth, centre, feedback, mix, dtype=torch.float64), RATE)
    np.testing.assert_allclose(y[0, 0].detach().numpy(), expected, rtol=0, atol=1e-11)


def test_modulated_delay_equals_the_reference() -> None:
    x = torch.randn(1, 2, 200, dtype=torch.float64)
    delay = 15 + 12.9 * torch.sin(torch.arange(200) / 9 + torch.tensor([[0.0], [1]]))[None].double()
    y = modulated_delay(x, delay, *settings(-0.8, 0.7, dtype=torch.float64), longest=30)
    for item, motion, channel in zip(y[0], delay[0], x[0], strict=True):
        expected = delay_reference(channel.numpy(), motion.numpy(), -0.8, 0.7, False)
        np.testing.assert_allclose(item.detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stages", [2, 5, 12])
def test_standing_allpasses_equal_scipys_recursion(stages: int) -> None:
    """First-order all-passes by the bilinear transform, (t - 1 + (t + 1) z^-1) / (t + 1 + (t - 1) z^-1)."""
    x = torch.randn(1, 1, 2000, dtype=torch.float64)
    gain = allpass_gain(torch.tensor(900.0, dtype=torch.float64), RATE).expand(1, 1, 2000)
    t = math.tan(math.pi * 900 / RATE)
    wet = x.numpy()
    for _ in range(stages):
        wet = lfilter([t - 1, t + 1], [t + 1, t - 1], wet)
    y = modulated_allpasses(x, gain, *settings(0, 0.5, dtype=torch.float64), stages)
    np.testing.assert_allclose(y.detach().numpy(), 0.5 * x.numpy() + 0.5 * wet, rtol=0, atol=1e-10)


def test_the_cubic_keeps_treble_that_a_straight_line_loses() -> None:
    """Half between two samples at a quarter of the sample rate: 3 dB lost by the line, 1.1 dB by the cubic."""
    x = torch.sin(torch.arange(400) * math.pi / 2 + 0.3)[None, None].double()
    delay = torch.full_like(x, 10.5)
    for late, loss_db in ((True, -3.01), (False, -1.07)):
        y = modulated_delay(x, delay, *settings(0, 1, dtype=torch.float64), 20, late)[..., 100:].detach()
        assert float(10 * torch.log10(y.square().mean() / x.square().mean())) == pytest.approx(loss_db, abs=0.05)


@pytest.mark.parametrize("samples", [1, 21])
@pytest.mark.parametrize("name", TWINS)
def test_gradcheck(name: str, samples: int) -> None:
    effect, *_, (rate_hz, *values) = TWINS[name]
    x = torch.randn(2, 2, samples, dtype=torch.float64, requires_grad=True)
    leaves = settings(200 * rate_hz, *values, items=2, dtype=torch.float64)
    if name == "Chorus":
        leaves[2] = torch.full((2,), 1.2, dtype=torch.float64, requires_grad=True)

    def fast(x: Tensor, *v: Tensor) -> Tensor:  # at a rate where the delay lies within the signal
        return effect(x, *v, 8000 if name == "Chorus" else RATE)

    check_gradients(fast, (x, *leaves), eps=1e-7, atol=1e-6, rtol=1e-5)
    x = x.detach()[:1].requires_grad_()
    curves = [v.detach()[:1, None] * (1 + 0.1 * torch.rand(1, samples)).double() for v in leaves]
    moved = [v.requires_grad_() for v in curves]
    check_gradients(fast, (x, *moved), eps=1e-7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("late", [True, False])
def test_gradcheck_of_the_modulated_delay(late: bool, channels: int) -> None:
    x = torch.randn(1, 2, 24, dtype=torch.float64, requires_grad=True)
    delay = (torch.rand(1, channels, 24, dtype=torch.float64) * 9 + 2.1).requires_grad_()
    feedback, mix = settings(-0.6, 0.7, dtype=torch.float64)
    curve = (0.5 + 0.3 * torch.rand(1, 24, dtype=torch.float64)).requires_grad_()
    for f, m in ((feedback, mix), (curve, mix), (feedback, curve)):
        inputs = x, delay, f, m
        check_gradients(lambda *v: modulated_delay(*v, 12, late), inputs, eps=1e-7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_gradcheck_of_the_allpasses_over_several_tiles(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 2, 1100, dtype=torch.float64, requires_grad=True)
    gain = (0.1 + 0.3 * torch.rand(1, channels, 1100, dtype=torch.float64)).requires_grad_()
    curve = (0.5 + 0.3 * torch.rand(1, 1100, dtype=torch.float64)).requires_grad_()
    feedback, mix = settings(-0.6, 0.7, dtype=torch.float64)
    for values in ((feedback, mix), (curve, mix)):
        inputs = x, gain, *values
        assert torch.autograd.gradcheck(lambda *v: modulated_allpasses(*v, 4), inputs, eps=1e-7, fast_mode=True)


@pytest.mark.parametrize("name", TWINS)
def test_float32_gradients_match_float64_ones(name: str) -> None:
    effect, *_, values = TWINS[name]
    poles = np.poly([0.98, 0.98])  # smooth: Pedalboard's phase runs a little off
    x, w = torch.tensor(lfilter([1e-3], poles, torch.randn(2, 1, 2, 3000).numpy()), dtype=torch.float32)
    single, exact = (settings(*values, dtype=dtype) for dtype in (torch.float32, torch.float64))
    gradients = torch.autograd.grad(effect(x, *single, RATE), single, w)
    expected = torch.autograd.grad(effect(x.double(), *exact, RATE), exact, w.double())
    for a, b in zip(gradients, expected, strict=True):
        assert float(a) == pytest.approx(float(b), rel=2e-3)


@pytest.mark.parametrize("name", TWINS)
def test_gradients_are_finite_everywhere(name: str) -> None:
    effect, low, high, _ = TWINS[name]
    for values in ((0, 0, low, 0, 0), (100, 1, high, 0.95, 1), (20, 1, low, -0.95, 1)):
        leaves = settings(*values)
        for x in signals(300).values():
            for part in (x, x[..., :1]):
                part = part[None].clone().requires_grad_()
                gradients = torch.autograd.grad(effect(part, *leaves, RATE).square().sum(), (part, *leaves))
                assert all(g.isfinite().all() for g in gradients)


def test_delays_that_the_line_cannot_hold_are_cut() -> None:
    x = torch.randn(1, 1, 50, dtype=torch.float64)
    fixed = settings(0.3, 1, dtype=torch.float64)
    for wrong, nearest in ((-5, 2), (0.5, 2), (99, 20), (math.inf, 20), (math.nan, 2)):
        delay = torch.full_like(x, wrong).requires_grad_()
        y = modulated_delay(x, delay, *fixed, longest=20)
        assert torch.equal(y, modulated_delay(x, torch.full_like(x, nearest), *fixed, longest=20))
        (gradient,) = torch.autograd.grad(y.sum(), delay)
        assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_equal_the_whole(dtype: torch.dtype) -> None:
    x = torch.randn(2, 2, 3000, dtype=dtype)
    motion = torch.sin(torch.arange(3000) / 200).to(dtype).expand(2, 1, -1)
    cuts = [1, 3, 4, 900, 2999]
    for effect, *_, values in TWINS.values():
        fixed = [v.detach() for v in settings(*values, items=2, dtype=dtype)]
        chunks = in_chunks(lambda part, e=effect, f=fixed: e(part, *f, RATE), cuts, x)
        assert torch.equal(chunks, effect(x, *fixed, RATE))
    fixed = [v.detach() for v in settings(0.7, 0.5, items=2, dtype=dtype)]
    for effect in (
        lambda x, m: modulated_delay(x, 50 + 40 * m, *fixed, longest=100),
        lambda x, m: modulated_allpasses(x, 0.3 + 0.2 * m, *fixed, 6),
    ):
        assert torch.equal(in_chunks(effect, cuts, x, motion), effect(x, motion))


@pytest.mark.parametrize("shape", ["sine", "triangle", "saw", "square"])
def test_waves(shape: oscillator.Shape) -> None:
    cycles = torch.linspace(0, 2, 1001, dtype=torch.float64)[:-1]
    expected = {
        "sine": np.sin(2 * np.pi * cycles.numpy()),
        "triangle": 2 / np.pi * np.arcsin(np.sin(2 * np.pi * cycles.numpy())),
        "saw": 2 * (cycles.numpy() % 1) - 1,
        "square": np.where(cycles.numpy() % 1 < 0.5, 1, -1),
    }
    np.testing.assert_allclose(wave(cycles, shape).numpy(), expected[shape], rtol=0, atol=1e-7)
    smooth = (cycles[1:200:7] + 1e-3).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: wave(c, shape), (smooth,))


def test_phases_add_the_rate_up_without_jumps() -> None:
    rate = 5 + 4 * torch.sin(torch.arange(20000) / 3000)[None].double()
    y = phase_cycles(torch.zeros(1, 1, 20000), rate, RATE)
    expected = (np.cumsum(rate.numpy(), 1) - rate.numpy()) / RATE % 1
    np.testing.assert_allclose(y[0].numpy(), expected, rtol=0, atol=1e-9)
    assert float(rate.sum() / RATE) > 2  # it went round
    constant = phase_cycles(torch.zeros(1, 1, 20000), torch.tensor([7.0]), RATE)
    off = constant[0, 0].numpy() - np.arange(20000) * 7 / RATE
    np.testing.assert_allclose(off, np.round(off), rtol=0, atol=1e-9)


def test_gradcheck_of_the_phase() -> None:
    x = torch.randn(2, 2, 30, dtype=torch.float64, requires_grad=True)
    for rate in (torch.tensor([700.0, 30]).double(), 500 + 300 * torch.rand(2, 30).double()):

        def moved(x: Tensor, rate: Tensor) -> Tensor:
            return wave(phase_cycles(x, rate, 8000), "sine")

        assert torch.autograd.gradcheck(moved, (x, rate.requires_grad_()), eps=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    for operation, c, inputs, outputs, memory, options in (
        (oscillator._oscillate, [0.1, 0.3, 5, RATE], 1, 1, 3, [oscillator.DELAY, 1]),
        (modulation._delay, [0.5, 0.5], 2, 1, 0, [20, 0]),
        (modulation._allpasses, [0.5, 0.5], 2, 1, 5, [4]),
    ):
        x = torch.rand(2, inputs, 50, dtype=torch.float64, requires_grad=True)
        coefficients = torch.tensor(c, dtype=torch.float64).repeat(2, 1, 1).requires_grad_()
        start = torch.zeros(2, memory, dtype=torch.float64)
        torch.library.opcheck(operation.overload, (x, coefficients, start, outputs, options))
