import itertools
import math

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.kernels import dynamics
from diffmix.kernels.backend import backend
from diffmix.kernels.dynamics import compressor, limiter, noise_gate, static_curve_db
from diffmix.kernels.stream import streaming
from tests import reference
from tests.jacobians import check_gradients

RATE = 44100
TYPICAL = (-24.0, 4.0, 5.0, 100.0)  # threshold_db, ratio, attack_ms, release_ms
EFFECTS = {  # function, twin, settings that act on the signals below
    "compressor": (compressor, pedalboard.Compressor, TYPICAL),
    "gate": (noise_gate, pedalboard.NoiseGate, (-6.0, 3.0, 5.0, 40.0)),
    "limiter": (limiter, pedalboard.Limiter, (-20.0, 30.0)),
}
effects = pytest.mark.parametrize("effect", EFFECTS)


def settings(*values: float, items: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.full((items,), v, dtype=dtype, requires_grad=True) for v in values]


def random_settings(number: int, effect: str = "compressor") -> list[Tensor]:
    u = torch.rand(4, number)
    values = -60 * u[0], 20 ** u[1], 0.1 * 2000 ** u[2], 5 * 400 ** u[3]
    return [v.clone() for v in (values if effect != "limiter" else (values[0] / 2, values[3]))]


def signals(samples: int) -> dict[str, Tensor]:
    impulse = torch.zeros(2, samples)
    impulse[..., 0] = 1
    swell = torch.linspace(0, 1, samples) * torch.sin(torch.arange(samples) / 20)
    return {
        "noise": torch.randn(2, samples) / 4,
        "impulse": impulse,
        "silence": torch.zeros(2, samples),
        "full scale": torch.ones(2, samples),
        "swell": torch.stack([swell, swell.flip(0)]),
    }


def expected(effect: str, x: Tensor, values: list[Tensor], item: int = 0, sample_rate: float = RATE) -> np.ndarray:
    """Pedalboard's output of x (C, T)."""
    return EFFECTS[effect][1](*(float(v[item]) for v in values))(x.numpy(), sample_rate)


@effects
@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_equals_pedalboard(effect: str, sample_rate: int) -> None:
    values = random_settings(12, effect)
    if effect == "limiter":
        values[0][0], values[1][1] = 0, 0
    else:
        values[1][0], values[0][1], values[2][2], values[3][3] = 1, 0, 0, 0  # ratio 1, 0 dB, instant times
    for name, x in signals(20000).items():
        y = EFFECTS[effect][0](x.expand(12, 2, -1), *values, sample_rate)
        for item in range(12):
            assert np.array_equal(y[item].numpy(), expected(effect, x, values, item, sample_rate)), (name, item)


@effects
def test_a_long_decay_equals_pedalboard(effect: str) -> None:
    """Envelopes below the normal numbers, gains below the smallest one, and the noise that comes after."""
    x = torch.zeros(2, 60000)
    x[:, :100], x[0, 50000:50100], x[1, 59990:] = 1, 1e-30, 0.5
    values = [v.detach() for v in settings(*EFFECTS[effect][2])]
    values[-1].fill_(5)
    y = EFFECTS[effect][0](x[None], *values, RATE)[0]
    assert np.array_equal(y.numpy(), expected(effect, x, values))


def test_powers_equal_the_c_librarys() -> None:
    """A constant level gives the gain's bits: many levels, above and below the threshold, and down to the smallest."""
    x = np.exp(np.random.default_rng(0).uniform(-100, 2, 40000)).astype(np.float32)
    for twin, function in ((pedalboard.Compressor, compressor), (pedalboard.NoiseGate, noise_gate)):
        for values in ((-60.0, 1.7, 0.0, 0.0), (-20.0, 9.3, 0.0, 0.0)):
            y = function(torch.from_numpy(x)[None, None], *(torch.tensor([v]) for v in values), RATE)
            assert np.array_equal(y[0, 0].numpy(), twin(*values)(x, RATE)), (twin, values)


@effects
def test_what_is_not_a_number_stays_so(effect: str) -> None:
    x = torch.randn(2, 1500) / 4
    x[0, 700] = torch.nan
    values = [v.detach() for v in settings(*EFFECTS[effect][2])]
    y = EFFECTS[effect][0](x[None], *values, RATE)[0]
    assert y[0, 700:].isnan().all()
    assert y[0, :700].isfinite().all()
    assert np.array_equal(y[1:].numpy(), expected(effect, x[1:], values))


@effects
@pytest.mark.parametrize("rows", [1, 2, 9, 17])
def test_rows_side_by_side_equal_rows_alone(effect: str, rows: int) -> None:
    function = EFFECTS[effect][0]
    x = (torch.randn(rows, 1, 700) / 4).requires_grad_()
    values = [v.requires_grad_() for v in random_settings(rows, effect)]
    w = torch.randn(rows, 1, 700)
    y = function(x, *values, RATE)
    gradients = torch.autograd.grad(y, (x, *values), w)
    for r in range(rows):
        part = slice(r, r + 1)
        alone = function(x[part], *(v[part] for v in values), RATE)
        assert torch.equal(alone, y[part])
        for one, all_ in zip(torch.autograd.grad(alone, (x, *values), w[part]), gradients, strict=True):
            assert torch.equal(one[part], all_[part])


@effects
def test_chunks_equal_the_whole(effect: str) -> None:
    function, _, typical = EFFECTS[effect]
    x, values = torch.randn(2, 2, 3000) / 4, settings(*typical, items=2)
    state, parts = None, []
    for part in x.split([1, 511, 8, 1500, 980], -1):
        with streaming(state) as tape:
            parts.append(function(part, *values, RATE))
        state = tuple(tape.after)
    assert torch.equal(torch.cat(parts, -1), function(x, *values, RATE))


def test_memories_equal_pedalboards() -> None:
    """Four samples after an impulse show both coefficients; many times find the rare differences in rounding."""
    values = random_settings(300)
    values[0].fill_(-40)
    x = torch.tensor([[1.0, 0.3, 0.7, 0.2, 0.9, 0.1]])
    y = compressor(x.expand(300, 1, -1), *values, RATE)
    for item, *v in zip(y, *values, strict=True):
        assert np.array_equal(item.numpy(), pedalboard.Compressor(*map(float, v))(x.numpy(), RATE)), v


@pytest.mark.parametrize("samples", [1, 3, 511, 512, 513])
def test_short_mono_signals_equal_pedalboard(samples: int) -> None:
    x = torch.randn(samples)
    expected = pedalboard.Compressor(*TYPICAL)(x.numpy(), RATE)
    assert np.array_equal(compressor(x[None, None], *settings(*TYPICAL), RATE)[0, 0].detach().numpy(), expected)


def ideal(effect: str, x: np.ndarray) -> np.ndarray:
    """The float64 reference at the effect's typical settings."""

    def memory(ms: float) -> float:
        return math.exp(-2 * math.pi * 1000 / RATE / ms)

    def compressed(x: np.ndarray, db: float, ratio: float, *times: float) -> np.ndarray:
        return reference.compressor(x, 10 ** (db / 20), 1 / ratio - 1, *map(memory, times))

    typical = EFFECTS[effect][2]
    if effect == "compressor":
        return compressed(x, *typical)
    if effect == "gate":
        db, ratio, *times = typical
        return reference.noise_gate(x, 10 ** (db / 20), ratio - 1, *map(memory, (*times, 50)))
    db, release = typical
    held = compressed(compressed(x, -10, 4, 2, 200), db, 1000, 1e-3, release)
    return np.clip(10 ** ((3.75 - db) / 20) * held, -1, 1)


@effects
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_float64_equals_the_reference(effect: str, name: str) -> None:
    for x in signals(3000).values():
        x = x.double()
        with backend(name), torch.no_grad():  # type: ignore[arg-type]
            y = EFFECTS[effect][0](x[None], *settings(*EFFECTS[effect][2], dtype=torch.float64), RATE)
        np.testing.assert_allclose(y[0].numpy(), ideal(effect, x.numpy()), rtol=0, atol=1e-13)


@effects
def test_paths_agree_in_value_and_gradient(effect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 against float64 over several tiles and chunks: only the order of summation differs.

    Not at a constant level, where the envelope equals it but for roundoff: either branch is right there, and only the
    value is continuous.
    """
    monkeypatch.setattr(dynamics, "_CHUNK", 5000)
    x = torch.cat([v for name, v in signals(3000).items() if name != "full scale"], -1)[None].double().requires_grad_()
    w = torch.randn_like(x)
    function, _, typical = EFFECTS[effect]
    constant = settings(*typical, dtype=torch.float64)
    moving = [(v.detach() * (1 + 0.3 * torch.rand(1, x.shape[-1]))).requires_grad_() for v in constant]
    for values in (constant, moving):
        results = []
        for name in ("auto", "torch"):
            with backend(name):  # type: ignore[arg-type]
                y = function(x, *values, RATE)
            results.append((y, *torch.autograd.grad(y, (x, *values), w)))
        for a, b in zip(*results, strict=True):
            assert (a - b).abs().max() <= 1e-11 * a.abs().max()


@effects
def test_settings_that_move(effect: str) -> None:
    """The float32 loops against the float64 ones; and curves that stand still are settings."""
    function, _, typical = EFFECTS[effect]
    x, w = torch.randn(2, 2, 2, 1200) / 4
    flat = settings(*typical, items=2)
    values = [(v.detach()[:, None] * (1 + 0.3 * torch.rand(2, 1200))).requires_grad_() for v in flat]
    exact = [v.detach().double().requires_grad_() for v in values]
    y, ideal = function(x, *values, RATE), function(x.double(), *exact, RATE)
    assert (y - ideal).abs().max() <= 2e-5
    ours, theirs = torch.autograd.grad(y, values, w), torch.autograd.grad(ideal, exact, w.double())
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-3 * b.abs().max()
    still = settings(*typical, items=2, dtype=torch.float64)
    y = function(x.double(), *(v[:, None].expand(-1, 1200) for v in still), RATE)
    assert torch.equal(y, function(x.double(), *still, RATE))


def test_portable_branches_hold_for_any_times() -> None:
    """Attack slower than release, and both instant: the fixed point is the sequential recursion's still."""
    x = torch.randn(4, 2, 2000, dtype=torch.float64)
    values = [torch.tensor(v) for v in ([-30.0] * 4, [8.0] * 4, [50.0, 0, 1, 0], [1.0, 100, 0, 0])]
    expected = compressor(x, *values, RATE)
    with backend("torch"):
        torch.testing.assert_close(compressor(x, *values, RATE), expected, rtol=0, atol=1e-13)


SHORT = {"compressor": (-12, 3, 0.5, 2), "gate": (3, 2.5, 0.5, 2), "limiter": (-20, 2)}  # act within milliseconds


@effects
@pytest.mark.parametrize("samples", [1, 9])
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_gradcheck(effect: str, name: str, samples: int) -> None:
    x = torch.randn(2, 2, samples, dtype=torch.float64, requires_grad=True)
    values = settings(*SHORT[effect], items=2, dtype=torch.float64)
    with backend(name):  # type: ignore[arg-type]
        check_gradients(lambda x, *v: EFFECTS[effect][0](x, *v, RATE), (x, *values))


@effects
def test_gradcheck_over_several_tiles(effect: str) -> None:
    # a decay, in which the gate closes
    decay = torch.exp(-torch.arange(1100) / 200.0).double()
    x = (torch.randn(1, 2, 1100, dtype=torch.float64) * decay).requires_grad_()
    values = settings(*SHORT[effect], dtype=torch.float64)
    if effect == "gate":
        values[0].data.fill_(-12)
    assert torch.autograd.gradcheck(
        lambda x, *v: EFFECTS[effect][0](x, *v, RATE), (x, *values), eps=1e-8, fast_mode=True
    )


def test_second_derivatives_on_the_portable_path() -> None:
    x = torch.randn(1, 1, 7, dtype=torch.float64, requires_grad=True)
    values = settings(-12, 3, 0.5, 2, dtype=torch.float64)
    with backend("torch"):
        assert torch.autograd.gradgradcheck(lambda x, *v: compressor(x, *v, RATE), (x, *values), fast_mode=True)
    (first,) = torch.autograd.grad(compressor(x, *values, RATE).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        first.sum().backward()


@effects
def test_float32_gradients_of_settings_match_float64_differences(effect: str) -> None:
    function, _, typical = EFFECTS[effect]
    x, w = torch.randn(2, 1, 2, 8000)
    x = x / 4
    values = settings(*typical)
    gradients = torch.autograd.grad(function(x, *values, RATE), values, w)
    exact = [v.detach().double() for v in values]
    for i, gradient in enumerate(gradients):
        ends = []
        for sign in (1, -1):
            moved = [v * (1 + sign * 1e-6) if i == j else v for j, v in enumerate(exact)]
            ends.append((function(x.double(), *moved, RATE) * w).sum())
        difference = float(ends[0] - ends[1]) / (2e-6 * typical[i])
        # a sample next to the limiter's clip may lie on its other side in float32
        assert float(gradient) == pytest.approx(difference, rel=1e-3 if effect == "limiter" else 1e-4)


@effects
def test_float32_gradient_of_the_signal_matches_float64(effect: str) -> None:
    """The adjoint's dot product <w, J v> = <J* w, v>, with J v from central differences in float64."""
    function, _, typical = EFFECTS[effect]
    x, w, v = torch.randn(3, 1, 2, 4000)
    x = (x / 4).requires_grad_()
    values = settings(*typical)
    (back,) = torch.autograd.grad(function(x, *values, RATE), x, w)
    with torch.no_grad():
        ends = [function(x.double() + h * v.double(), *values, RATE) for h in (1e-8, -1e-8)]
    forward = ((ends[0] - ends[1]) / 2e-8 * w).sum()
    assert float((back.double() * v).sum()) == pytest.approx(float(forward), rel=1e-4)


@pytest.mark.parametrize("effect", ["gate", "limiter"])
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_gradients_are_finite_at_the_ends_of_the_ranges(effect: str, name: str) -> None:
    ends = {"gate": ((-100, 0), (1, 20), (0, 200), (0, 2000)), "limiter": ((-40, 0), (0, 2000))}[effect]
    decay = torch.exp(-torch.arange(300.0)).expand(2, -1)  # to where its square, and then itself, are zero
    extremes = [signals(300)[name] for name in ("impulse", "silence", "full scale")]
    for values in itertools.product(*ends):
        leaves = settings(*values)
        for x in (*extremes, decay):
            x = x[None].clone().requires_grad_()
            with backend(name):  # type: ignore[arg-type]
                y = EFFECTS[effect][0](x, *leaves, RATE)
            assert y.isfinite().all()
            assert all(g.isfinite().all() for g in torch.autograd.grad(y.square().sum(), (x, *leaves)))


@pytest.mark.parametrize("name", ["auto", "torch"])
@pytest.mark.parametrize("values", [(-24, 4, 5, 100), (-24, 1, 5, 100), (0, 4, 5, 100), (-60, 100, 0, 0), (0, 1, 0, 0)])
def test_gradients_are_finite_everywhere(values: tuple[float, ...], name: str) -> None:
    leaves = settings(*values)
    for x in signals(600).values():
        for part in (x, x[..., :1]):
            part = part[None].clone().requires_grad_()
            with backend(name):  # type: ignore[arg-type]
                y = compressor(part, *leaves, RATE)
            gradients = torch.autograd.grad(y.square().sum(), (part, *leaves))
            assert all(g.isfinite().all() for g in gradients)
            if values[2] == 0:
                assert gradients[3] == 0  # an instant attack has no time to learn


def test_layout_and_dtype_of_the_input_do_not_matter() -> None:
    values = settings(*TYPICAL, items=2)
    x = torch.randn(2, 600, 2).transpose(1, 2)
    y = compressor(x, *values, RATE)
    assert torch.equal(y, compressor(x.contiguous(), *values, RATE))
    from_sum = torch.autograd.grad(y.sum(), values, retain_graph=True)  # a gradient of stride 0
    from_ones = torch.autograd.grad(y, values, torch.ones_like(y))
    assert all(map(torch.equal, from_sum, from_ones))
    half = x.to(torch.float16)
    assert torch.equal(compressor(half, *values, RATE), compressor(half.float(), *values, RATE).half())


def test_a_steady_level_follows_the_static_curve() -> None:
    level_db = torch.arange(-60.0, 1, 3)
    x = (10 ** (level_db / 20))[:, None, None].expand(-1, 1, 4000)
    y = compressor(x, *settings(-20, 4, 1, 100, items=len(level_db)), RATE)[:, 0, -1]
    expected = static_curve_db(level_db, torch.tensor(-20.0), torch.tensor(4.0))
    torch.testing.assert_close((20 * y.log10()).detach(), expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    for samples, dtype in ((600, torch.float32), (3, torch.float64)):
        x = torch.randn(4, 1, samples, dtype=dtype, requires_grad=True)
        coefficients = torch.tensor([0.1, -0.7, 0.5, 0.9], dtype=torch.float64).repeat(4, 1, 1).requires_grad_()
        start = torch.zeros(4, 1, dtype=dtype)
        torch.library.opcheck(dynamics._dynamics.overload, (x, coefficients, start, 1, []))
        states = dynamics._dynamics(x, coefficients, start, 1, [])[1].detach()
        arguments = (torch.randn_like(x), x.detach(), coefficients.detach(), states, 1, [])
        torch.library.opcheck(torch.ops.diffmix.dynamics_backward.default, arguments)
    squares = torch.tensor([0.1, 2, 0.5, 0.9, 0.8], dtype=torch.float64).repeat(4, 1, 1)
    torch.library.opcheck(dynamics._dynamics.overload, (x.detach(), squares, torch.zeros(4, 2, dtype=x.dtype), 1, []))
    level = torch.rand(2, 2, 50, dtype=torch.float64)
    torch.library.opcheck(dynamics._attacks.overload, (level, level[:, :1, :1], level[:, :1, 1:2]))
    for gain in (level[:, :1, :1], level[:, :1]):
        torch.library.opcheck(dynamics._raised.overload, tuple(v.clone().requires_grad_() for v in (level, gain)))


def test_the_gradient_of_a_limiters_gain_does_not_hang_on_the_order_of_a_sum() -> None:
    x, gy = (torch.randn(1, 2, 50_000, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4))
    gain = torch.full((1, 1, 1), 0.7, dtype=torch.float64, requires_grad=True)
    turned = [(x, gy), (x.flip(-1), gy.flip(-1))]
    found = [torch.autograd.grad(dynamics._raised(v, gain), gain, w)[0] for v, w in turned]
    passed = x.double() * gy * ((0.7 * x).abs() <= 1)
    assert torch.allclose(found[0], found[1], rtol=1e-12)
    assert (found[0] - passed.sum()).abs() <= 1e-8 * passed.abs().sum()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compiler"), [("auto", "inductor"), ("torch", "aot_eager")])
def test_compiles_as_one_graph(name: str, compiler: str) -> None:
    def loss(x: Tensor, *values: Tensor) -> Tensor:
        return compressor(x, *values, RATE).square().sum()

    x = torch.randn(2, 2, 600, requires_grad=True)
    values = settings(*TYPICAL, items=2)
    torch._dynamo.reset()
    with backend(name):  # type: ignore[arg-type]
        eager = torch.autograd.grad(loss(x, *values), (x, *values))
        together = torch.compile(loss, fullgraph=True, backend=compiler)
        compiled = torch.autograd.grad(together(x, *values), (x, *values))
    torch.testing.assert_close(compiled, eager)
