import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pedalboard
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import delay
from diffmix.kernels.biquad import frequency_response
from diffmix.kernels.delay import echo, filtered_echo, ping_pong
from diffmix.kernels.stream import State, streaming
from tests.jacobians import check_gradients

RATE = 44100


def settings(*values: float, items: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.full((items,), v, dtype=dtype, requires_grad=True) for v in values]


def signals(samples: int) -> dict[str, Tensor]:
    impulse = torch.zeros(2, samples)
    impulse[..., 3] = 1
    hits = torch.randn(2, samples) * torch.exp(-torch.arange(samples) % 3000 / 300)
    return {"noise": torch.randn(2, samples) / 4, "impulse": impulse, "silence": torch.zeros(2, samples), "hits": hits}


def smooth_noise(samples: int, cutoff_hz: float) -> Tensor:
    """Noise with little above a frequency, near full scale."""
    pole = math.exp(-2 * math.pi * cutoff_hz / RATE)
    b, a = [(1 - pole) ** 3], np.poly([pole] * 3)
    x = torch.tensor(lfilter(b, a, torch.randn(samples).numpy()), dtype=torch.float32)
    return x / x.std() / 4


def in_chunks(effect: Callable[[Tensor], Tensor], x: Tensor, cuts: list[int]) -> Tensor:
    state: State | None = None
    parts = []
    for part in torch.tensor_split(x, cuts, -1):
        with streaming(state) as tape:
            parts.append(effect(part))
        state = tuple(tape.after)
    return torch.cat(parts, -1)


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_echo_equals_pedalboard(sample_rate: int) -> None:
    u = torch.rand(3, 12)
    values = [0.0002 * 1000 ** u[0], u[1].clone(), u[2].clone()]
    # nothing, less than a sample, one sample, longer than the signal, a whole number that float32 misses
    values[0][:5] = torch.tensor([0, 0.3 / sample_rate, 1.5 / sample_rate, 0.9, 0.7 / 5])
    values[1][5], values[2][6], values[2][7] = 1, 0, 1
    for name, x in signals(9000).items():
        y = echo(x.expand(12, 2, -1), *values, sample_rate)
        for item, *v in zip(y, *values, strict=True):
            assert np.array_equal(item.numpy(), pedalboard.Delay(*map(float, v))(x.numpy(), sample_rate)), (name, v)


@pytest.mark.parametrize("samples", [1, 3, 50])
def test_short_mono_signals_equal_pedalboard(samples: int) -> None:
    x, values = torch.randn(samples), (20.5 / RATE, 0.6, 0.4)
    expected = pedalboard.Delay(*values)(x.numpy(), RATE)
    assert np.array_equal(echo(x[None, None], *settings(*values), RATE)[0, 0].detach().numpy(), expected)


def test_float64_echo_equals_scipys_recursion() -> None:
    x = torch.randn(2, 3000, dtype=torch.float64)
    a = np.zeros(124)
    a[0], a[123] = 1, -0.7
    wet = lfilter(np.eye(124)[123], a, x.numpy())
    y = echo(x[None], *settings(123.4 / RATE, 0.7, 0.3, dtype=torch.float64), RATE)
    np.testing.assert_allclose(y[0].detach().numpy(), 0.7 * x.numpy() + 0.3 * wet, rtol=0, atol=1e-13)


def line(delay_samples: float, section: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A delay on the straight line between two samples, then a section, as (b, a) polynomials of z^-1."""
    whole, part = int(delay_samples), delay_samples % 1
    taps = np.zeros(whole + 2)
    taps[whole:] = 1 - part, part
    return np.convolve(taps, section[:3]), np.array([1, *section[3:]])


def added(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.pad(p, (0, max(0, len(q) - len(p)))) + np.pad(q, (0, max(0, len(p) - len(q))))


@pytest.mark.parametrize("loop", ["low-pass", "band-pass"])
def test_filtered_echo_equals_scipys_recursion(loop: delay.Loop) -> None:
    x = torch.randn(2, 2000, dtype=torch.float64)
    seconds, feedback, mix, cutoff, q = 57.3 / RATE, 0.8, 0.4, 3000.0, 1.7
    section = delay.evaluate(delay._FORMULAS[loop], settings(cutoff, q, dtype=torch.float64), RATE, False)
    b, a = line(57.3, section[0].detach().numpy())
    wet = lfilter(b, added(a, -feedback * b), x.numpy())
    y = filtered_echo(x[None], *settings(seconds, feedback, mix, cutoff, q, dtype=torch.float64), RATE, loop)
    np.testing.assert_allclose(y[0].detach().numpy(), 0.6 * x.numpy() + 0.4 * wet, rtol=0, atol=1e-12)
    single = filtered_echo(x[None].float(), *settings(seconds, feedback, mix, cutoff, q), RATE, loop)
    assert (single - y).abs().max() <= 2e-5


def test_ping_pong_equals_scipys_recursion() -> None:
    x = torch.randn(2, 2000, dtype=torch.float64)
    seconds, feedback, mix, cutoff, q, offset = 50 / RATE, 0.8, 0.4, 3000.0, 1.7, 0.23
    section = delay.evaluate("_loop_lowpass", settings(cutoff, q, dtype=torch.float64), RATE, False)
    (left, a), (right, _) = (line(50 * (1 + sign * offset), section[0].detach().numpy()) for sign in (-1, 1))
    # l = left/a (mean + feedback r), r = right/a feedback l
    loop = added(np.convolve(a, a), -(feedback**2) * np.convolve(left, right))
    wet_left = lfilter(np.convolve(left, a), loop, x.numpy().mean(0))
    wet_right = lfilter(feedback * right, a, wet_left)
    y = ping_pong(x[None], *settings(seconds, feedback, mix, cutoff, q, offset, dtype=torch.float64), RATE)
    expected = 0.6 * x.numpy() + 0.4 * np.stack([wet_left, wet_right])
    np.testing.assert_allclose(y[0].detach().numpy(), expected, rtol=0, atol=1e-12)


def test_echoes_come_when_they_should_and_nowhere_else() -> None:
    """A long feedback in a short signal: what is later than the end is lost, not folded to the start."""
    x = torch.zeros(1, 2, 2000)
    x[..., 10] = 1
    y = ping_pong(x, *settings(300 / RATE, 0.9, 1, 18000, 0.7, 0), RATE).detach()
    left, right = (y[0, c].abs() > 1e-3 for c in range(2))
    for side, first in ((left, 310), (right, 610)):
        assert not side[:first].any()
        for n in range(first, 1900, 600):
            assert side[n : n + 20].any()
            assert not side[n + 100 : min(n + 590, 2000)].any()


@pytest.mark.parametrize("loop", ["low-pass", "band-pass"])
def test_the_loop_never_amplifies(loop: delay.Loop) -> None:
    """The greatest gain of the filter is one, reached: so every feedback below one decays."""
    q = torch.logspace(-0.5, 0.9, 20, dtype=torch.float64)
    for cutoff in (100.0, 3000.0, 18000.0):
        frequency = torch.linspace(0, min(2 * cutoff, RATE / 2), 2001)
        section = delay.evaluate(delay._FORMULAS[loop], (torch.full_like(q, cutoff), q), RATE, False)
        peak = frequency_response(section[:, None], frequency, RATE).abs().amax(-1)
        torch.testing.assert_close(peak, torch.ones_like(peak), rtol=0, atol=2e-4)


EFFECTS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "echo": (echo, (7.4 / RATE, 0.6, 0.3)),
    "filtered": (filtered_echo, (5.4 / RATE, 0.6, 0.3, 3000, 1.3)),
    "flat q": (filtered_echo, (5.4 / RATE, 0.6, 0.3, 3000, 0.5)),
    "band": (partial(filtered_echo, loop="band-pass"), (5.4 / RATE, 0.6, 0.3, 3000, 1.3)),
    "ping-pong": (ping_pong, (5.4 / RATE, 0.6, 0.3, 3000, 1.3, 0.2)),
}


@pytest.mark.parametrize("samples", [1, 24])
@pytest.mark.parametrize("name", EFFECTS)
def test_gradcheck(name: str, samples: int) -> None:
    effect, values = EFFECTS[name]
    x = torch.randn(2, 2, samples, dtype=torch.float64, requires_grad=True)
    leaves = settings(*values, items=2, dtype=torch.float64)
    if name == "echo":  # the gradient of its delay is a surrogate
        leaves[0].requires_grad_(False)
    check_gradients(lambda x, *v: effect(x, *v, RATE), (x, *leaves), eps=1e-8, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EFFECTS)
def test_moving_settings(name: str) -> None:
    """Constant curves give the constant's samples, and gradients of moving ones are exact."""
    effect, values = EFFECTS[name]
    x = torch.randn(1, 2, 24, dtype=torch.float64, requires_grad=True)
    leaves = settings(*values, dtype=torch.float64)
    first = 1 if name == "echo" else 0  # whole samples do not move
    curves = [v.detach()[:, None].expand(-1, 24).clone() if i >= first else v for i, v in enumerate(leaves)]
    assert torch.equal(effect(x, *curves, RATE), effect(x, *leaves, RATE))
    moved = [
        (v * (1 + 0.05 * torch.rand(1, 24))).requires_grad_() if i >= first else v.detach()
        for i, v in enumerate(curves)
    ]
    check_gradients(lambda x, *v: effect(x, *v, RATE), (x, *moved), eps=1e-8, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EFFECTS)
def test_chunks_equal_the_whole(name: str, dtype: torch.dtype) -> None:
    effect, values = EFFECTS[name]
    x = torch.randn(2, 2, 3000, dtype=dtype)
    fixed = [v.detach() for v in settings(700.3 / RATE, *values[1:], items=2, dtype=dtype)]
    chunks = in_chunks(lambda part: effect(part, *fixed, RATE, longest_seconds=0.05), x, [1, 2, 900, 2999])
    assert torch.equal(chunks, effect(x, *fixed, RATE))


@pytest.mark.parametrize("seconds", [-5.0, -1e30, float("-inf"), float("nan"), float("inf")])
def test_a_delay_that_is_none_gives_no_echo(seconds: float) -> None:
    """It is no place in memory: nothing may be read or written there, forward or backward."""
    x = torch.randn(2, 1, 100, generator=torch.Generator().manual_seed(1)).requires_grad_()
    settings = [torch.tensor(v).requires_grad_() for v in ([seconds, 1e-3], [0.5, 0.5], [0.25, 0.25])]
    y = delay.echo(x, *settings, 44100)
    assert torch.equal(y[0], 0.75 * x[0])
    y.sum().backward()
    assert torch.equal(x.grad[0], torch.full((1, 100), 0.75))


def test_two_sides_are_needed_to_jump_between() -> None:
    settings = (torch.tensor([v]) for v in (0.1, 0.5, 0.5, 1000.0, 0.7, 0.0))
    with pytest.raises(AudioError, match=r"stereo audio \(B, 2, T\), got 1 channels"):
        delay.ping_pong(torch.zeros(1, 1, 100), *settings, 44100)


def test_what_is_too_long_for_the_line_gives_no_echo_in_chunks_or_whole() -> None:
    x, fixed = torch.randn(1, 1, 3000), [v.detach() for v in settings(0.02, 0.5, 1)]
    assert torch.equal(echo(x, *fixed, RATE, longest_seconds=0.01), torch.zeros_like(x))
    chunks = in_chunks(lambda part: echo(part, *fixed, RATE, longest_seconds=0.01), x, [500, 1500])
    assert torch.equal(chunks, torch.zeros_like(x))


@pytest.mark.parametrize("name", EFFECTS)
def test_gradients_are_finite_everywhere(name: str) -> None:
    effect, values = EFFECTS[name]
    for seconds in (0.0, 1e-5, 5.0, *values[:1]):
        for feedback, mix in ((0, 0), (0.95, 1)):
            leaves = settings(seconds, feedback, mix, *values[3:])
            for x in signals(300).values():
                x = x[None].clone().requires_grad_()
                gradients = torch.autograd.grad(effect(x, *leaves, RATE).square().sum(), (x, *leaves))
                assert all(g.isfinite().all() for g in gradients)


def test_float32_gradients_match_float64_ones() -> None:
    x, w = torch.randn(2, 1, 2, 4000)
    for effect, values in EFFECTS.values():
        single, exact = (settings(*values, dtype=dtype) for dtype in (torch.float32, torch.float64))
        gradients = torch.autograd.grad(effect(x, *single, RATE), single, w)
        expected = torch.autograd.grad(effect(x.double(), *exact, RATE), exact, w.double())
        for a, b in zip(gradients, expected, strict=True):
            assert float(a) == pytest.approx(float(b), rel=2e-4)


def fitted(effect: Callable[..., Tensor], x: Tensor, aim: list[float], start: list[float], steps: int) -> list[float]:
    """Where Adam arrives from wrong settings, with time on a log scale; the loss is the squared error."""
    target = effect(x, *(torch.tensor([v]) for v in aim), RATE)
    free = [
        torch.tensor([math.log(start[0])]).requires_grad_(),
        *(torch.tensor([v]).requires_grad_() for v in start[1:]),
    ]
    optimizer = torch.optim.Adam([{"params": free[:1], "lr": 2e-3}, {"params": free[1:], "lr": 0.02}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (effect(x, free[0].exp(), *free[1:], RATE) - target).square().sum().backward()
        optimizer.step()
        schedule.step()
    return [float(free[0].detach().exp()), *(float(v.detach()) for v in free[1:])]


@pytest.mark.parametrize(("effect", "off", "cutoff"), [(echo, 300, 40), (echo, -300, 40), (echo, 30, 400)])
def test_the_surrogate_finds_the_delay(effect: Callable[..., Tensor], off: int, cutoff: int) -> None:
    """From 300 samples away in a signal without much above 40 Hz, 30 above 400 Hz: a quarter of the shortest wave.

    Above 100 Hz it was found from 0.8 of that wave in nine of nine draws, and from 1.2 in six of nine.
    """
    x = smooth_noise(8000, cutoff)[None, None]
    aim = [2000.5 / RATE, 0.5, 0.4]
    seconds, feedback, mix = fitted(effect, x, aim, [(2000.5 + off) / RATE, 0.2, 0.6], 250)
    assert abs(seconds * RATE - 2000.5) < 1.5
    assert feedback == pytest.approx(0.5, abs=0.02)
    assert mix == pytest.approx(0.4, abs=0.02)


def test_the_filtered_delay_is_found_between_samples() -> None:
    x = smooth_noise(6000, 400)[None, None]

    def effect(x: Tensor, seconds: Tensor, feedback: Tensor, mix: Tensor, rate: float) -> Tensor:
        return filtered_echo(x, seconds, feedback, mix, torch.tensor([2000.0]), torch.tensor([0.7]), rate)

    aim = [1000.3 / RATE, 0.5, 0.4]
    seconds, feedback, mix = fitted(effect, x, aim, [1030 / RATE, 0.2, 0.6], 250)
    assert abs(seconds * RATE - 1000.3) < 0.1
    assert feedback == pytest.approx(0.5, abs=0.01)
    assert mix == pytest.approx(0.4, abs=0.01)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    for operation, c, memory, options in (
        (delay._echo, [7.0, 0.5, 0.5], 20, []),
        (delay._filtered_echo, [7.3, 0.5, 0.5, 0.2, 0.3, 0.2, -0.5, 0.2], 22, [20]),
    ):
        x = torch.randn(2, 1, 50, dtype=torch.float64, requires_grad=True)
        coefficients = torch.tensor(c, dtype=torch.float64).repeat(2, 1, 1).requires_grad_()
        start = torch.zeros(2, memory, dtype=torch.float64)
        torch.library.opcheck(operation.overload, (x, coefficients, start, 1, options))
