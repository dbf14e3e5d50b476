import ctypes
import itertools
import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.kernels import _tanh_numba, waveshape
from diffmix.kernels._antiderivative_numba import _mean
from diffmix.kernels.backend import backend
from diffmix.kernels.waveshape import bitcrush, clip, distortion, waveshaper
from tests.jacobians import check_gradients

RATE = 44100
METHODS = get_args(waveshape.Antialiasing)
Curve = Callable[[Tensor, Tensor], Tensor]
TWINS: dict[str, tuple[Curve, type, tuple[float, float]]] = {
    "Clipping": (clip, pedalboard.Clipping, (-100, 12)),
    "Distortion": (distortion, pedalboard.Distortion, (-40, 60)),
    "Bitcrush": (bitcrush, pedalboard.Bitcrush, (0, 32)),
}


def signals(samples: int = 3000) -> dict[str, Tensor]:
    impulse = torch.zeros(2, samples)
    impulse[..., 0] = 1
    swell = torch.linspace(0, 1.5, samples) * torch.sin(torch.arange(samples) / 20)
    return {
        "noise": torch.randn(2, samples) / 4,
        "impulse": impulse,
        "silence": torch.zeros(2, samples),
        "full scale": torch.ones(2, samples),
        "swell": torch.stack([swell, swell.flip(0)]),
        "tiny": torch.randn(2, samples) * 1e-20,
    }


def value(*numbers: float, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.tensor([v], dtype=dtype, requires_grad=True) for v in numbers]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_pedalboard(name: str, channels: int) -> None:
    function, plugin, (low, high) = TWINS[name]
    settings = torch.cat([low + (high - low) * torch.rand(12), torch.tensor([low, 0.0, 8.0, high])])
    for kind, x in signals().items():
        y = function(x[:channels].expand(len(settings), -1, -1), settings)
        for item, v in zip(y, settings.tolist(), strict=True):
            assert np.array_equal(item.numpy(), plugin(v)(x[:channels].numpy(), RATE)), (kind, v)


def test_tanh_is_the_c_librarys() -> None:
    """The reason why the distortion equals Pedalboard; libraries that round otherwise are called, one by one."""
    library = ctypes.CDLL(None).tanhf
    library.restype, library.argtypes = ctypes.c_float, [ctypes.c_float]
    values = torch.cat([torch.rand(100_000) * 25, 10 ** (torch.rand(60_000) * 50 - 45), torch.tensor([0, 1, math.inf])])
    values = values[: len(values) // 8 * 8].numpy()
    fast, slopes = values.copy(), np.empty_like(values)
    _tanh_numba.tanh_in_place(fast)
    expected = np.array([library(v) for v in values.tolist()], np.float32)
    assert np.array_equal(fast, expected) == _tanh_numba.is_libms()
    np.testing.assert_allclose(fast, np.tanh(values.astype(np.float64)), rtol=2e-7)
    again = values.copy()
    _tanh_numba.tanh_and_slope(again, slopes)
    assert np.array_equal(again, fast)
    # also where tanh is nearly 1, and 1 - tanh^2 would be 0
    np.testing.assert_allclose(slopes[values < 20], np.cosh(values[values < 20].astype(np.float64)) ** -2, rtol=2e-6)


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tanh_numba, "is_libms", lambda: False)
    x, drive = torch.randn(1, 2, 3000), torch.tensor([7.0])
    assert np.array_equal(distortion(x, drive)[0].numpy(), pedalboard.Distortion(7)(x[0].numpy(), RATE))


def curve(v: float, knee: float) -> float:
    bent = knee + (1 - knee) * math.tanh((abs(v) - knee) / (1 - knee)) if abs(v) > knee else abs(v)
    return math.copysign(bent, v)


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_float64_equals_the_formulas(name: str) -> None:
    x = torch.randn(1, 2, 300, dtype=torch.float64)
    gain_db, hardness, asymmetry = (v.detach() for v in value(7, 0.4, -0.3, dtype=torch.float64))
    g = 10 ** (7 / 20)
    with backend(name):  # type: ignore[arg-type]
        shaped = waveshaper(x, gain_db, hardness, asymmetry)
        clipped, crushed = clip(x, gain_db - 10), bitcrush(x, gain_db)
    expected = [curve(g * v - 0.3, 0.4) - curve(-0.3, 0.4) for v in x.flatten().tolist()]
    np.testing.assert_allclose(shaped.flatten().numpy(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(clipped.numpy(), np.clip(x.numpy(), -(10**-0.15), 10**-0.15), rtol=1e-14)
    np.testing.assert_allclose(crushed.numpy(), np.round(x.numpy() * 128) / 128, rtol=0, atol=1e-15)


def mean(function: Callable[[float], float], start: float, end: float, knee: float) -> float:
    """Of a function on a way, by Gauss-Legendre quadrature between points that crowd where the curve bends."""
    if start == end:
        return function(start)
    bends = [side * (knee + (1 - knee) * z) for side in (-1, 1) for z in (0, 0.5, 1, 2, 4, 8, 16, 32)]
    low, high = min(start, end), max(start, end)
    edges = [low, *sorted(v for v in bends if low < v < high), high]
    nodes, weights = (v.tolist() for v in np.polynomial.legendre.leggauss(16))
    return math.fsum(
        (b - a) / (high - low) * w / 2 * function(a + (b - a) * (t + 1) / 2)
        for a, b in itertools.pairwise(edges)
        for t, w in zip(nodes, weights, strict=True)
    )


@pytest.mark.parametrize("knee", [0, 0.3, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("way", [3.0, -2.5, 0.1, 4e-3, -2e-3, 1e-5, -1e-9, 1e-13, 0.0])
def test_the_mean_of_the_curve(knee: float, way: float) -> None:
    """And its derivatives: nothing cancels over any length of way, and 0/0 is the value itself."""

    def slope(v: float) -> float:
        return math.cosh(min(max(0, (abs(v) - knee) / (1 - knee)), 300)) ** -2

    def by_knee(v: float) -> float:
        z = (abs(v) - knee) / (1 - knee)
        return 0.0 if z <= 0 else math.copysign(1 - math.tanh(z) + (z - 1) * slope(v), v)

    for start in (-2.1, -knee, -0.2, 0.0, knee, 0.95, 1.2, 30.0):
        end = start + way

        def part(v: float, start: float = start, end: float = end) -> float:
            return (v - start) / (end - start) if end != start else 0.5

        functions = (
            lambda v: curve(v, knee),
            lambda v, part=part: slope(v) * (1 - part(v)),
            lambda v, part=part: slope(v) * part(v),
            by_knee,
        )
        expected = [mean(f, start, end, knee) for f in functions]
        np.testing.assert_allclose(_mean(start, end, knee), expected, rtol=0, atol=1e-10, err_msg=f"from {start}")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("moving", [False, True])
def test_gradcheck_of_the_waveshaper(method: waveshape.Antialiasing, moving: bool) -> None:
    x = torch.randn(2, 2, 20, dtype=torch.float64)
    x[0, 0, 5:8] = x[0, 0, 4]  # standing still
    settings = [torch.tensor(v, dtype=torch.float64) for v in ([3.0, 9], [0.3, 0.8], [0.2, -0.5])]
    if moving:
        settings[0] = settings[0][:, None] + torch.randn(2, 20, dtype=torch.float64)
    inputs = tuple(v.requires_grad_() for v in (x, *settings))
    check_gradients(lambda x, *v: waveshaper(x, *v, antialiasing=method), inputs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS[:2])
def test_gradcheck_of_moving_settings(method: waveshape.Antialiasing) -> None:
    inputs = [torch.rand(2, 9, dtype=torch.float64).requires_grad_() for _ in range(3)]
    x = torch.randn(2, 1, 9, dtype=torch.float64, requires_grad=True)
    check_gradients(lambda x, *v: waveshaper(x, *v, antialiasing=method), (x, *inputs))


def test_gradcheck_of_clipping() -> None:
    x = torch.randn(2, 2, 1100, dtype=torch.float64, requires_grad=True)
    for threshold in (torch.tensor([-6.0, -20]), torch.randn(2, 1100)):
        assert torch.autograd.gradcheck(clip, (x, threshold.double().requires_grad_()), eps=1e-8, fast_mode=True)


def test_gradients_of_long_float32_signals() -> None:
    """Over several buffers, against float64."""
    x, w = torch.randn(2, 1, 2, 3000)
    for constant in (True, False):
        settings = [torch.tensor([v]) for v in (9.0, 0.4, -0.2)]
        if not constant:
            settings[0] = settings[0][:, None] + torch.linspace(-6, 6, 3000)
        for method in METHODS:
            results = []
            for dtype in (torch.float32, torch.float64):
                leaves = [v.to(dtype).requires_grad_() for v in (x, *settings)]
                y = waveshaper(*leaves, antialiasing=method)  # type: ignore[misc]
                results.append((y, *torch.autograd.grad(y, leaves, w.to(dtype))))
            for single, double in zip(*results, strict=True):
                assert (single - double).abs().max() <= 2e-5 * double.abs().max()


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_the_surrogate_of_the_bit_depth(name: str) -> None:
    x, w = torch.randn(2, 2, 2, 1000)
    bits = torch.tensor([3.0, 7.5], requires_grad=True)
    x.requires_grad_()
    with backend(name):  # type: ignore[arg-type]
        y = bitcrush(x, bits)
    by_x, by_bits = torch.autograd.grad(y, (x, bits), w)
    assert torch.equal(by_x, w)
    torch.testing.assert_close(by_bits, -math.log(2) * ((y - x) * w).sum((1, 2)))


@pytest.mark.parametrize("settings", [(0, 0, 0), (60, 1, 1), (60, 0, -1), (-24, 1, 1), (20, 1, 0), (12, 0.5, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_silence_stays_silent_and_gradients_finite(method: waveshape.Antialiasing, settings: tuple[float, ...]) -> None:
    for kind, x in signals(600).items():
        leaves = [x[None].clone().requires_grad_(), *value(*settings)]
        y = waveshaper(*leaves, antialiasing=method)  # type: ignore[misc]
        assert y.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(y.square().sum(), leaves)), kind
        if kind == "silence":
            assert y.abs().max() == 0


def test_what_is_not_a_number_stays_so() -> None:
    x = torch.tensor([[[0.1, math.nan, math.inf, -math.inf]]])
    for y in (distortion(x, torch.zeros(1)), clip(x, torch.zeros(1))):
        assert y[0, 0, 1].isnan()
        assert y[0, 0, 2] == -y[0, 0, 3] == 1


def aliases_db(method: waveshape.Antialiasing, gain_db: float, hardness: float) -> float:
    """What a sine of 5 kHz brings beside its harmonics, dB against the fundamental."""
    t = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    x = torch.sin(2 * torch.pi * 5000 * t).float()[None, None]
    y = waveshaper(x, torch.tensor([gain_db]), torch.tensor([hardness]), torch.zeros(1), method)
    power = torch.fft.rfft(y[0, 0, 20000 : 20000 + RATE].double()).abs().square()
    harmonics = power[::5000].clone()
    return 10 * math.log10((power.sum() - harmonics.sum()) / harmonics[1])


def test_antialiasing() -> None:
    tanh = [aliases_db(method, 12.0, 0.0) for method in METHODS]
    assert tanh[0] > -19  # or the remedies would have no need
    assert tanh[1] < -24
    assert tanh[2] < -100
    clipped = [aliases_db(method, 12.0, 1.0) for method in METHODS]
    assert clipped[0] > -16
    assert clipped[1] < -21
    assert clipped[2] < -45


@pytest.mark.parametrize(("method", "delay"), [("none", 0), ("antiderivative", 0.5), ("oversampling", 0)])
def test_small_signals_are_only_amplified_and_delayed(method: waveshape.Antialiasing, delay: float) -> None:
    n = torch.arange(4000, dtype=torch.float64)
    w = 2 * math.pi * 1000 / RATE
    x = 1e-4 * torch.sin(w * n)[None, None]
    y = waveshaper(x, *(v.detach() for v in value(20, 0.5, 0, dtype=torch.float64)), method)[0, 0]
    expected = 1e-3 * math.cos(w * delay) * torch.sin(w * (n - delay))
    assert (y - expected)[200:-200].abs().max() < 1e-7


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    c = torch.tensor([2.0, 0.3, 0.1], dtype=torch.float64).repeat(2, 1, 1)
    x = torch.randn(2, 1, 600, requires_grad=True)
    operators = (
        (waveshape._shape, 3, 0), (waveshape._shape_mean, 3, 1), (waveshape._clip, 1, 0), (waveshape._quantize, 1, 0),
    )  # fmt: skip
    for operator, count, memory in operators:
        coefficients = c[..., :count].clone().requires_grad_()
        torch.library.opcheck(operator.overload, (x, coefficients, torch.zeros(2, memory), 1, []))
