import math

import numpy as np
import pedalboard
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.kernels import ladder as module
from diffmix.kernels import stream
from diffmix.kernels.ladder import MODES, Mode, ladder
from tests.jacobians import check_gradients

RATE = 44100
TYPICAL = (1500.0, 0.6, 3.0)  # cutoff_hz, resonance, drive


def settings(*values: float, items: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.full((items,), v, dtype=dtype, requires_grad=True) for v in values]


def signals(samples: int) -> dict[str, Tensor]:
    impulse = torch.zeros(2, samples)
    impulse[..., 0] = 1
    swell = torch.linspace(0, 1, samples) * torch.sin(torch.arange(samples) ** 1.5 / 1000)
    return {
        "noise": torch.randn(2, samples) / 4,
        "impulse": impulse,
        "silence": torch.zeros(2, samples),
        "full scale": torch.ones(2, samples),
        "swell": torch.stack([swell, swell.flip(0)]),
    }


def theirs(mode: Mode, *values: float) -> pedalboard.LadderFilter:
    return pedalboard.LadderFilter(getattr(pedalboard.LadderFilter, mode), *values)


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
@pytest.mark.parametrize("mode", MODES)
def test_equals_pedalboard(mode: Mode, sample_rate: int) -> None:
    u = torch.rand(3, 10)
    values = [20 * 1000 ** u[0], u[1], 25 ** u[2]]
    for v, (low, high) in zip(values, ((20, 20000), (0, 1), (1, 25)), strict=True):
        v[0], v[1] = low, high
    for name, x in signals(2000).items():
        for channels in (1, 2):
            y = ladder(x[:channels].expand(10, -1, -1), *values, sample_rate, mode)
            for item, *v in zip(y, *values, strict=True):
                expected = theirs(mode, *map(float, v))(x[:channels].numpy(), sample_rate)
                assert np.array_equal(item.numpy(), expected), (name, channels, v)


def test_coefficients_equal_pedalboards() -> None:
    """Many settings find the rare differences in rounding."""
    u = torch.rand(3, 500)
    values = [20 * 1000 ** u[0], u[1], 25 ** u[2]]
    x = torch.randn(1, 60) / 2
    y = ladder(x.expand(500, 1, -1), *values, RATE, "LPF24")
    for item, *v in zip(y, *values, strict=True):
        assert np.array_equal(item.numpy(), theirs("LPF24", *map(float, v))(x.numpy(), RATE)), v


@pytest.mark.parametrize("samples", [1, 3, 255, 256, 257])
def test_short_mono_signals_equal_pedalboard(samples: int) -> None:
    x = torch.randn(samples)
    y = ladder(x[None, None], *settings(*TYPICAL), RATE).detach()[0, 0]
    assert np.array_equal(y.numpy(), theirs("LPF12", *TYPICAL)(x.numpy(), RATE))


def reference(x: NDArray[np.float64], cutoff_hz: float, resonance: float, drive: float, mode: Mode) -> list[float]:
    """One channel, as the formulas stand."""
    taps = {
        "LPF12": [0, 0, 1, 0, 0], "HPF12": [1, -2, 1, 0, 0], "BPF12": [0, 0, -1, 1, 0],
        "LPF24": [0, 0, 0, 0, 1], "HPF24": [1, -4, 6, -4, 1], "BPF24": [0, 0, 1, -2, 1],
    }[mode]  # fmt: skip
    kept = 0 if mode.startswith("HPF") else 0.5
    grid = np.linspace(-5, 5, 128)
    memory = math.exp(-2 * math.pi * cutoff_hz / RATE)
    now, before = 0.76923076923 * (1 - memory), 0.23076923076 * (1 - memory)

    def saturate(v: float, drive: float) -> float:
        return (0.6103 * drive**-2.642 + 0.3903) * np.interp(drive * v, grid, np.tanh(grid))

    s, y = [0.0] * 5, []
    for v in x:
        u = saturate(v, drive)
        new = [u - 4 * (0.1 + 0.9 * resonance) * (saturate(s[4], 0.04 * drive + 0.96) - kept * u)]
        for j in range(1, 5):
            new.append(before * s[j - 1] + memory * s[j] + now * new[j - 1])
        s = new
        y.append(1.2 * float(np.dot(taps, s)))
    return y


@pytest.mark.parametrize("mode", MODES)
def test_float64_equals_the_reference(mode: Mode) -> None:
    x = torch.randn(1, 1, 700, dtype=torch.float64)
    with torch.no_grad():
        y = ladder(x, *settings(*TYPICAL, dtype=torch.float64), RATE, mode)
    np.testing.assert_allclose(y[0, 0], reference(x[0, 0].numpy(), *TYPICAL, mode), rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_gradcheck(mode: Mode) -> None:
    x = torch.randn(2, 2, 9, dtype=torch.float64, requires_grad=True)
    values = settings(*TYPICAL, items=2, dtype=torch.float64)
    check_gradients(lambda x, *v: ladder(x, *v, RATE, mode), (x, *values), eps=1e-7, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 600])
def test_gradcheck_over_several_tiles(samples: int) -> None:
    x = torch.randn(1, 3, samples, dtype=torch.float64, requires_grad=True)
    values = settings(*TYPICAL, dtype=torch.float64)
    f = lambda x, *v: ladder(x, *v, RATE, "BPF24")  # noqa: E731
    assert torch.autograd.gradcheck(f, (x, *values), eps=1e-8, fast_mode=True)


def test_gradcheck_of_moving_settings() -> None:
    x = torch.randn(2, 2, 300, dtype=torch.float64, requires_grad=True)
    curves = [torch.linspace(0.8, 1.2, 300).double() * v for v in TYPICAL]
    values = [c.expand(2, -1).clone().requires_grad_() for c in curves]
    f = lambda x, *v: ladder(x, *v, RATE, "LPF24")  # noqa: E731
    assert torch.autograd.gradcheck(f, (x, *values), eps=1e-8, fast_mode=True)


def test_float32_gradients_match_float64() -> None:
    """In the straight middle piece of the table, since rounding may choose another piece at its corners."""
    x, w = torch.randn(2, 1, 2, 4000)
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [(x / 200).to(dtype).requires_grad_(), *settings(1500, 0.6, 1, dtype=dtype)]
        y = ladder(*leaves, RATE, "BPF12")  # type: ignore[misc]
        results.append(torch.autograd.grad(y, leaves, w.to(dtype)))
    for single, double in zip(*results, strict=True):
        assert (single - double).abs().max() <= 1e-4 * double.abs().max()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("values", [TYPICAL, (20, 0, 1), (20000, 1, 25), (20, 1, 25), (5000, 1, 1)])
def test_gradients_are_finite_everywhere(values: tuple[float, ...], mode: Mode) -> None:
    leaves = settings(*values)
    for x in signals(600).values():
        for part in (x, x[..., :1], x * 100):
            part = part[None].clone().requires_grad_()
            y = ladder(part, *leaves, RATE, mode)
            gradients = torch.autograd.grad(y.square().sum(), (part, *leaves))
            assert all(g.isfinite().all() for g in gradients)


def test_what_is_not_a_number_does_no_harm() -> None:
    """It must not become an index of the table; Pedalboard's own result is undefined."""
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0]).repeat(300).requires_grad_()
    y = ladder(x[None, None], *settings(*TYPICAL), RATE)
    y.sum().backward()
    assert y.isfinite().all()


def test_rows_do_not_see_each_other() -> None:
    """They run in pairs, the last of an odd number beside itself."""
    values = [v.detach() for v in settings(*TYPICAL, items=5)]
    values[0] *= torch.arange(1, 6)
    x = torch.randn(5, 1, 700)
    y = ladder(x, *values, RATE)
    for i in range(5):
        assert torch.equal(ladder(x[i : i + 1], *(v[i : i + 1] for v in values), RATE)[0], y[i])


def test_chunks_equal_the_whole() -> None:
    x, values = torch.randn(3, 1, 1000), [v.detach() for v in settings(*TYPICAL, items=3)]
    state, parts = None, []
    for chunk in x.split([1, 255, 300, 444], -1):
        with stream.streaming(state) as tape:
            parts.append(ladder(chunk, *values, RATE))
        state = tuple(tape.after)
    assert torch.equal(torch.cat(parts, -1), ladder(x, *values, RATE))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    x = torch.randn(3, 1, 300, requires_grad=True)
    c = torch.tensor([0.9, 0.07, 0.02, 1.2, 2, 0.5, 1.04, 0.9], dtype=torch.float64).repeat(3, 1, 1).requires_grad_()
    torch.library.opcheck(module._ladder_filter.overload, (x, c, torch.zeros(3, 5), 1, [2]))
