"""The brickwall limiter against Pedalboard, a slow reference and finite differences."""

import itertools

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels import brickwall as module
from diffmix.kernels.brickwall import brickwall, lookahead_samples
from diffmix.kernels.stream import streaming
from diffmix.processors import BrickwallLimiter
from tests.jacobians import check_gradients

RATE = 44100
TYPICAL = (-6.0, 30.0, 2.0)  # ceiling_db, release_ms, lookahead_ms


def settings(*values: float, items: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.full((items,), v, dtype=dtype, requires_grad=True) for v in values]


def random_settings(number: int) -> list[Tensor]:
    u = torch.rand(3, number)
    return [-24 * u[0], 0.1 * 20000 ** u[1], 0.01 * 3000 ** u[2]]


def signals(samples: int) -> dict[str, Tensor]:
    n = torch.arange(samples)
    bursts = torch.randn(2, samples) * torch.exp(-(n % 3000) / 400.0)  # loud hits, each with a tail to recover in
    impulse = torch.zeros(2, samples)
    impulse[0, samples // 3], impulse[1, -1] = 1, -1
    return {"bursts": bursts, "noise": torch.randn(2, samples) / 4, "impulse": impulse, "ones": torch.ones(2, samples)}


def expected(x: Tensor, values: list[Tensor], item: int = 0, sample_rate: float = RATE) -> np.ndarray:
    """Pedalboard's output of x (C, T)."""
    return pedalboard.BrickwallLimiter(*(float(v[item]) for v in values))(x.numpy(), sample_rate)


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_equals_pedalboard(sample_rate: int) -> None:
    values = random_settings(12)
    values[0][0], values[1][1], values[2][2] = 0, 2000, 100
    for name, x in signals(12000).items():
        for part in (x, x[:1]):
            y = brickwall(part.expand(12, -1, -1), *values, sample_rate)
            for item in range(12):
                assert np.array_equal(y[item].numpy(), expected(part, values, item, sample_rate)), (name, item)


def test_coefficients_equal_pedalboards() -> None:
    """Many settings find the rare differences in rounding: of the ceiling, of the memory, of times in samples."""
    values = random_settings(300)
    values[1][:150] = torch.arange(1, 151) * 1000 / RATE  # whole samples, or one less
    values[2][:150] = torch.arange(150, 0, -1) * 1000 / RATE
    x = torch.zeros(1, 1500)
    x[0, 200], x[0, 201:] = 3, 0.01
    y = brickwall(x.expand(300, 1, -1), *values, RATE)
    for item in range(300):
        assert np.array_equal(y[item].numpy(), expected(x, values, item)), [float(v[item]) for v in values]


def test_a_release_of_less_than_a_sample_is_one_sample() -> None:
    x = torch.randn(2, 3000, generator=torch.Generator().manual_seed(1))
    values = [torch.tensor([v, v]) for v in TYPICAL]
    values[1] = torch.tensor([0.001, 0.022])
    y = brickwall(x.expand(2, -1, -1), *values, RATE)
    for item in range(2):
        assert np.array_equal(y[item].numpy(), expected(x, values, item))
    assert torch.equal(y[0], y[1])


@pytest.mark.parametrize("samples", [1, 2, 87, 88, 89])  # the look-ahead is 88 samples
def test_signals_shorter_than_the_lookahead(samples: int) -> None:
    x = 2 * torch.randn(2 if samples > 2 else 1, samples)  # Pedalboard takes (2, 1) for two samples
    values = [v.detach() for v in settings(*TYPICAL)]
    assert np.array_equal(brickwall(x[None], *values, RATE)[0].numpy(), expected(x, values))


def test_nothing_passes_the_ceiling_and_the_quiet_is_untouched() -> None:
    x = torch.cat([0.4 * torch.rand(1, 2, 2000), 3 * torch.randn(1, 2, 2000)], -1)
    y = brickwall(x, *settings(*TYPICAL), RATE).detach()
    assert y.abs().max() <= 10 ** (TYPICAL[0] / 20)
    assert torch.equal(y[..., :1900], x[..., :1900])


def reference(x: np.ndarray, ceiling: float, memory: float, ahead: int) -> np.ndarray:
    """One sample at a time, x (C, T): the gain of n + ahead, which had `ahead` samples to fall."""
    later = np.concatenate([x, np.zeros((len(x), ahead))], 1)
    y, gain, since = np.empty_like(x), 1.0, ahead
    for n, peak in enumerate(np.abs(later).max(0)):
        wanted = min(ceiling / max(peak, 1e-300), 1)
        since = 0 if wanted < 1 else since + 1
        gain = min(gain, wanted) if wanted < 1 or since <= ahead else gain + (1 - memory) * (1 - gain)
        if n >= ahead:
            y[:, n - ahead] = np.clip(x[:, n - ahead] * gain, -ceiling, ceiling)
    return y


def test_float64_equals_the_reference() -> None:
    ceiling_db, release_ms, _ = TYPICAL
    memory = np.exp(-1000 / (RATE * release_ms))
    for x in signals(6000).values():
        x = x.double()
        y = brickwall(x[None], *settings(*TYPICAL, dtype=torch.float64), RATE)[0].detach()
        np.testing.assert_allclose(
            y.numpy(), reference(x.numpy(), 10 ** (ceiling_db / 20), memory, 88), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("cuts", [(1, 500), (100, 2000, 41)])
def test_chunks_are_the_whole_delayed(cuts: tuple[int, ...]) -> None:
    values = [torch.tensor([v, w]) for v, w in zip(TYPICAL, (-12, 5, 7), strict=True)]
    x = signals(4000)["bursts"].expand(2, 2, -1)
    edges = (0, *itertools.accumulate(cuts), 4000)
    state, parts = None, []
    for a, b in itertools.pairwise(edges):
        with streaming(state) as tape:
            parts.append(brickwall(x[..., a:b], *values, RATE))
        state = tuple(tape.after)
    streamed, whole = torch.cat(parts, -1), brickwall(x, *values, RATE)
    for item in range(2):
        late = lookahead_samples(float(values[2][item]), RATE)
        assert late == (88, 308)[item]
        assert torch.equal(streamed[item, :, late:], whole[item, :, : 4000 - late])
        assert not streamed[item, :, :late].any()


def test_gradcheck_of_what_has_a_derivative() -> None:
    """Through held, caught and released gains, for one channel and two."""
    for x in (1.5 * torch.randn(2, 1, 40), 1.5 * torch.randn(1, 2, 300) * torch.exp(-torch.arange(300) / 60.0)):
        x = x.double().requires_grad_()
        *values, lookahead_ms = settings(-6, 0.5, 0.1, items=len(x), dtype=torch.float64)
        check_gradients(lambda *v: brickwall(*v, RATE), (x, *values, lookahead_ms.detach()))


def test_gradients_within_a_stream() -> None:
    """Of one chunk from silence: those of the whole, of which the chunk has heard all but the end."""
    x, w = signals(2000)["bursts"][None].double().requires_grad_(), torch.randn(1, 2, 2000).double()
    values = settings(*TYPICAL, dtype=torch.float64)
    with streaming(None):
        late = torch.autograd.grad(brickwall(x, *values, RATE), (x, *values), w)
    shifted = torch.cat([w[..., 88:], torch.zeros(1, 2, 88).double()], -1)
    whole = torch.autograd.grad(brickwall(x, *values, RATE), (x, *values), shifted)
    for a, b in zip(late[:3], whole[:3], strict=True):
        assert (a - b).abs().max() <= 1e-12 * b.abs().max()


def test_the_surrogate_is_half_the_difference_of_the_neighbours() -> None:
    x, w = signals(5000)["bursts"][None].double(), torch.randn(1, 2, 5000).double()
    values = settings(*TYPICAL[:2], 88.5 * 1000 / RATE, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(brickwall(x, *values, RATE), values[2], w)
    with torch.no_grad():
        more, less = (brickwall(x, *values[:2], values[2] + d * 1000 / RATE, RATE) for d in (1, -1))
    per_ms = RATE / 1000
    assert float(gradient) == pytest.approx(float(((more - less) / 2 * w).sum()) * per_ms, rel=1e-9)


@pytest.mark.parametrize("start", [(-3, 300, 1.5), (-1, 40, 5), (-9, 400, 5), (-9, 40, 0.5), (-9, 40, 30)])
def test_wrong_settings_are_recovered(start: tuple[float, ...]) -> None:
    """Gradient descent on the error of a sound over which hits make holes, from one or all settings wrong."""
    true = {"ceiling_db": -9.0, "release_ms": 40.0, "lookahead_ms": 5.0}
    effect = BrickwallLimiter(RATE)
    hits = torch.randn(1, 2, 12000) * torch.exp(-(torch.arange(12000) % 1500) / 100.0)
    x = hits + 0.1 * torch.randn(1, 2, 12000)
    target = effect(x, effect.spec.normalize(true)[None])
    u = effect.spec.normalize(dict(zip(true, start, strict=True)))[None].requires_grad_()
    wrong = torch.tensor([a != b for a, b in zip(start, true.values(), strict=True)])
    optimiser = torch.optim.Adam([u])
    for step in range(150):
        optimiser.param_groups[0]["lr"] = 0.04 * 0.97**step
        loss = ((effect(x, u) - target).square().mean() + 1e-14).sqrt()
        (u.grad,) = torch.autograd.grad(loss, u)
        u.grad *= wrong
        optimiser.step()
    found = effect.spec.denormalize(u[0].detach())
    assert found["ceiling_db"].item() == pytest.approx(-9, abs=0.1)
    assert found["release_ms"].item() == pytest.approx(40, rel=0.05)  # whole samples
    assert found["lookahead_ms"].item() == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("values", list(itertools.product((-24.0, 0.0), (1.0, 2000.0), (0.1, 100.0))))
def test_gradients_are_finite_everywhere(values: tuple[float, ...]) -> None:
    leaves = settings(*values)
    for x in (*signals(600).values(), torch.zeros(2, 600), torch.ones(1, 1)):
        x = x[None].clone().requires_grad_()
        y = brickwall(x, *leaves, RATE)
        assert all(g.isfinite().all() for g in torch.autograd.grad(y.square().sum(), (x, *leaves)))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operator_is_registered_properly() -> None:
    x = torch.randn(2, 2, 300, requires_grad=True)
    c = torch.tensor([0.5, 0.9, 20], dtype=torch.float64).repeat(2, 1, 1).requires_grad_()
    torch.library.opcheck(module._operation.overload, (x, c, torch.zeros(2, 2), 2, [0]))
    torch.library.opcheck(module._operation.overload, (x, c, torch.zeros(2, 2 + 2 * 50), 2, [1]))


def test_detection_between_samples_is_refused() -> None:
    with pytest.raises(SettingsError, match="true_peak is False only"):
        BrickwallLimiter(RATE, true_peak=True)
    assert BrickwallLimiter(RATE).latency_samples({"lookahead_ms": 5.0}) == 220
