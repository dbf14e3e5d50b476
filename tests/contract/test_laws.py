"""The laws that every effect obeys, run over every registered one."""

import copy
import itertools
from collections.abc import Callable

import pedalboard
import pytest
import torch
from torch.nn.functional import pad

from diffmix.errors import AudioError, SettingsError
from diffmix.params import Param
from diffmix.processors import REGISTRY, Chain, Compressor, Gain, HighpassFilter, ParametricEQ, Processor

RATE = 44100


def strip() -> Chain:
    return Chain(
        trim=Gain(RATE), highpass=HighpassFilter(RATE), eq=ParametricEQ(RATE), comp=Compressor(RATE), out=Gain(RATE)
    )


def maker(kind: type[Processor]) -> Callable[[], Processor]:
    """An effect whose echoes, if it has some, come within a test's signal."""
    return lambda: kind(RATE, {"delay_seconds": (0.001, 0.05)} if "delay_seconds" in kind.declared else None)


MAKERS = {name: maker(kind) for name, kind in sorted(REGISTRY.items())} | {"Chain": strip}


@pytest.fixture(params=MAKERS, name="effect")
def _effect(request: pytest.FixtureRequest) -> Processor:
    return MAKERS[request.param]()


def noise(effect: Processor, batch: int = 2, length: int = 600, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = batch, effect.inlets[0].channels or 2, length
    return 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def further(effect: Processor, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the other inlets of an effect get: the input backwards, in as many channels as they take."""
    return {port.name: x.flip(-1)[:, : port.channels or x.shape[1]] for port in effect.inlets[1:] if not port.optional}


def run(effect: Processor, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """All outlets of an effect under controls, one after the other in the channels."""
    y = effect(x, u, **further(effect, x))
    return torch.cat(y, 1) if isinstance(y, tuple) else y


def outputs(effect: Processor, x: torch.Tensor) -> int:
    return sum(port.channels or x.shape[1] for port in effect.outlets)


def controls(effect: Processor, batch: int = 2, seed: int = 2) -> torch.Tensor:
    return effect.spec.sample(batch, torch.Generator().manual_seed(seed))


def test_every_builtin_of_pedalboard_has_a_twin_or_a_node() -> None:
    """Mix and Chain hold effects; the rest hosts plugins or is abstract."""
    import diffmix.plugins

    other = {
        "Plugin",
        "PluginContainer",
        "Pedalboard",
        "Mix",
        "Chain",
        "VST3Plugin",
        "AudioUnitPlugin",
        "ExternalPlugin",
        "IIRFilter",
    }
    theirs = {
        name
        for name, kind in vars(pedalboard).items()
        if isinstance(kind, type) and issubclass(kind, pedalboard.Plugin) and not name.startswith("_")
    }
    ours = {name for name, kind in REGISTRY.items() if kind.pedalboard} | set(diffmix.plugins.__all__)
    assert theirs - other - ours == set()


def test_shape_and_dtype_are_kept(effect: Processor) -> None:
    for length in (1, 7, 600):
        x, u = noise(effect, length=length), controls(effect)
        y = run(effect, x, u)
        assert y.shape == (2, outputs(effect, x), length)
        assert y.dtype == x.dtype
        assert run(effect, x.double(), u.double()).dtype == torch.float64
    assert run(effect, x, u.double()).dtype == x.dtype


def test_shapes_are_told_without_data(effect: Processor) -> None:
    x, u = noise(effect, length=50).to("meta").requires_grad_(), controls(effect).to("meta")
    y = run(effect.to("meta"), x, u)
    assert y.is_meta
    assert y.shape == (2, outputs(effect, x), 50)
    if y.requires_grad:
        y.sum().backward()
        assert x.grad is None or x.grad.shape == x.shape


def test_items_do_not_see_each_other(effect: Processor) -> None:
    x, u = noise(effect, 3), controls(effect, 3)
    together = run(effect, x, u)
    for i in range(3):
        assert torch.equal(run(effect, x[i : i + 1], u[i : i + 1]), together[i : i + 1])


def test_same_in_same_out_and_input_untouched(effect: Processor) -> None:
    x, u = noise(effect), controls(effect)
    kept = x.clone(), u.clone()
    assert torch.equal(run(effect, x, u), run(effect, x, u))
    assert torch.equal(x, kept[0])
    assert torch.equal(u, kept[1])


def test_normalize_inverts_denormalize(effect: Processor) -> None:
    u = controls(effect, 50)
    assert torch.allclose(effect.spec.normalize(effect.spec.denormalize(u)), u, atol=3e-6)
    for edge in (0.0, 1.0):
        values = effect.spec.denormalize(torch.full((1, effect.spec.size), edge))
        for (name, p), v in zip(effect.spec, values.values(), strict=True):
            assert v.item() == pytest.approx(p.low if edge == 0 else p.high, rel=1e-6), name


def test_default_is_what_is_declared(effect: Processor) -> None:
    values = effect.spec.denormalize(effect.spec.default())
    for name, p in effect.spec:
        assert values[name].item() == pytest.approx(p.default, rel=1e-5, abs=2e-5), name


def test_neutral_default_is_the_identity(effect: Processor) -> None:
    if not effect.neutral:
        pytest.skip("this effect has no neutral point at its defaults")
    x = noise(effect, length=4000)
    values = {name: torch.full((2,), p.default) for name, p in effect.spec}
    y = effect.process(x, **further(effect, x), **values)
    # one rounding of float32 per section is all that may differ
    assert (y - x).abs().max() <= 4e-7


@pytest.mark.parametrize("signal", ["silence", "impulse", "full scale"])
def test_gradients_are_finite(effect: Processor, signal: str) -> None:
    still = torch.zeros(1, effect.inlets[0].channels or 2, 400)
    if signal == "impulse":
        still[..., 3] = 1
    if signal == "full scale":
        still += torch.where(torch.arange(400) % 50 < 25, 1.0, -1.0)
    size = effect.spec.size
    settings = {"default": effect.spec.default(), "zeros": torch.zeros(size), "ones": torch.ones(size)}
    for setting, u in settings.items():
        x, v = still.clone().requires_grad_(), u[None].clone().requires_grad_()
        run(effect, x, v).square().sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all(), setting
        if size:
            assert v.grad is not None
            assert torch.isfinite(v.grad).all(), setting


@pytest.mark.slow
def test_a_million_samples_have_finite_gradients(effect: Processor) -> None:
    x, v = noise(effect, 1, 1_000_000).requires_grad_(), controls(effect, 1).requires_grad_()
    y = run(effect, x, v)
    y.square().mean().backward()
    assert x.grad is not None
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert v.grad is None or torch.isfinite(v.grad).all()


def test_no_dead_parameter(effect: Processor) -> None:
    if not effect.spec.size:
        pytest.skip("this effect has no parameters")
    # in the upper half of every range; four items hot, so that compressors work, and four soft, so that gates do
    x = noise(effect, 8, 3000) * torch.tensor([2.0, 0.1]).repeat_interleave(4)[:, None, None]
    u = (0.5 + 0.4 * controls(effect, 4)).requires_grad_()
    weight = torch.randn(4, outputs(effect, x), 3000, generator=torch.Generator().manual_seed(5)).repeat(2, 1, 1)
    modulation = {port.name: x.flip(-1) for port in effect.inlets[1:] if port.optional and port.kind == "control"}
    y = effect(x, u.repeat(2, 1), **further(effect, x), **modulation)
    ((torch.cat(y, 1) if isinstance(y, tuple) else y) * weight).sum().backward()
    assert u.grad is not None
    for column, name in enumerate(effect.spec.names):
        assert u.grad[:, column].abs().max() > 1e-7, f"{name} has no effect"


def test_gradients_equal_finite_differences(effect: Processor) -> None:
    """Of the input and of every parameter with a true gradient; the others' surrogates have tests of their own."""
    x = noise(effect, 1, 300, torch.float64)
    u = (0.2 + 0.6 * controls(effect, 1)).double()
    true = [i for i, name in enumerate(effect.spec.names) if name not in effect.surrogate]
    columns = torch.eye(effect.spec.size, dtype=torch.float64)[true]

    def some(x: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        return run(effect, x, u + moved @ columns)

    if not true and "x" in effect.surrogate:
        pytest.skip("all its gradients are surrogates")
    x.requires_grad_("x" not in effect.surrogate)
    moved = torch.zeros(1, len(true), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(some, (x, moved), eps=1e-6, atol=2e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.slow
def test_torch_func_gives_the_gradient_of_each_item(effect: Processor) -> None:
    x, u = noise(effect, length=100), controls(effect).requires_grad_(effect.spec.size > 0)
    run(effect, x.requires_grad_(), u).square().sum().backward()

    def loss(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return run(effect, x[None], u[None]).square().sum()

    found = torch.func.vmap(torch.func.grad(loss, (0, 1)))(x.detach(), u.detach())
    for gradient, expected in zip(found, (x.grad, u.grad if u.requires_grad else u), strict=True):
        # sums of a network's layers and over channels, in another order
        assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_settings_round_trip(effect: Processor) -> None:
    u = controls(effect, 1)
    values = {k: v.item() for k, v in effect.spec.denormalize(u).items()}
    assert effect.spec.check(values) == values
    x = noise(effect, 1)
    again = effect.process(x, **further(effect, x), **{k: torch.tensor([v]) for k, v in values.items()})
    again = torch.cat(again, 1) if isinstance(again, tuple) else again
    assert torch.equal(again, run(effect, x, u))


def test_precision_is_that_of_float64_audio(effect: Processor) -> None:
    if isinstance(effect, Chain):
        pytest.skip("a chain's stages have precisions of their own")
    x, u = noise(effect), controls(effect)
    ranges = {name: (p.low, p.high, p.default) for name, p in effect.spec}
    ideal = type(effect)(RATE, ranges, precision="float64")
    values = {name: v.double() for name, v in effect.spec.denormalize(u).items()}
    expected = effect.process(x.double(), **further(effect, x.double()), **values)
    expected = torch.cat(expected, 1) if isinstance(expected, tuple) else expected
    assert torch.equal(run(ideal, x, u), expected.float())


def test_half_precision_rounds_what_comes_and_nothing_else(effect: Processor) -> None:
    """Neither a model that is cast, nor half-precise controls, as autocast gives them, move a range or a value."""
    x, u = noise(effect), controls(effect)
    cast = copy.deepcopy(effect).half()
    assert cast.spec.low.dtype == torch.float32
    if not list(effect.parameters()):  # weights, unlike constants, are rounded
        assert torch.equal(run(cast, x, u), run(effect, x, u))
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(run(effect, x, u.to(dtype)), run(effect, x, u.to(dtype).float()))
    values = {name: v.bfloat16() for name, v in effect.spec.denormalize(u).items()}
    rounded = {name: v.float() for name, v in values.items()}
    some, same = (effect.process(x, **further(effect, x), **v) for v in (values, rounded))
    assert all(torch.equal(a, b) for a, b in zip(some, same, strict=True))


def test_values_are_checked(effect: Processor) -> None:
    x = noise(effect)
    values, signals = effect.spec.denormalize(controls(effect)), further(effect, x)
    with pytest.raises(SettingsError, match="no parameter 'loudness_of_moon'"):
        effect.process(x, **signals, **values, loudness_of_moon=torch.zeros(2))
    with pytest.raises(AudioError, match="is ndarray; allowed are tensors"):
        effect.process(x.numpy(), **signals, **values)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="controls are no tensor but list, allowed are"):
        effect(x, [0.5] * effect.spec.size)
    for far in (-2.0, 5.0, torch.nan) if effect.spec.size else ():
        with pytest.raises(SettingsError, match=r"controls are .* to .*, allowed are 0 to 1"):
            effect(x, torch.cat([controls(effect)[:, 1:], torch.full((len(x), 1), far)], 1))
    for name in effect.spec.names[:1]:
        with pytest.raises(SettingsError, match=f"{name} is 0.5; a tensor .* is expected"):
            effect.process(x, **signals, **{**values, name: 0.5})  # type: ignore[arg-type]
        del values[name]
        with pytest.raises(SettingsError, match=f"{name} is missing; a tensor .* is expected"):
            effect.process(x, **signals, **values)


@pytest.mark.parametrize("cuts", [(1, 2, 600, 8200), (4096,)])
def test_chunks_equal_the_whole(effect: Processor, cuts: tuple[int, ...]) -> None:
    x, u = noise(effect, 1, 9000), controls(effect, 1)
    values = effect.spec.denormalize(u)
    if not effect.streams:
        with pytest.raises(AudioError, match="needs the whole signal"):
            effect.process_chunk(x, None, **values)
        return
    signals = further(effect, x)
    late = effect.latency_samples({k: v.item() for k, v in values.items()})
    state, parts = None, []
    for a, b in itertools.pairwise((0, *cuts, 9000, 9000 + late) if late else (0, *cuts, 9000)):
        chunk, *more = (pad(s, (0, late))[..., a:b] for s in (x, *signals.values()))
        y, state = effect.process_chunk(chunk, state, **dict(zip(signals, more, strict=True)), **values)
        parts.append(torch.cat(y, 1) if isinstance(y, tuple) else y)
    whole = run(effect, x, u)
    streamed = torch.cat(parts, -1)[..., late:]
    # convolutions by FFT of different lengths round differently: -120 dB of full scale
    assert torch.equal(streamed, whole) if effect.exact_chunks else (streamed - whole).abs().max() <= 1e-6


def test_a_state_of_something_else_is_refused() -> None:
    x = torch.randn(1, 2, 50)
    compressor, values = Compressor(RATE), {n: torch.tensor([p.default]) for n, p in Compressor.declared.items()}
    _, state = compressor.process_chunk(x, None, **values)
    with pytest.raises(AudioError, match=r"memory 1 needs \(1, 1\)"):
        compressor.process_chunk(x[:, :1], state, **values)


def test_curves(effect: Processor) -> None:
    """A constant curve is a constant; a curve that steps gives each side's samples where nothing is remembered."""
    x, u = noise(effect, 1, 2000), controls(effect, 1)
    values, signals = effect.spec.denormalize(u), further(effect, x)

    def play(**changed: torch.Tensor) -> torch.Tensor:
        y = effect.process(x, **signals, **{**values, **changed})
        return torch.cat(y, 1) if isinstance(y, tuple) else y

    whole = play()
    for name, p in effect.spec:
        flat = values[name][:, None].expand(-1, 5)
        if not p.modulatable:
            with pytest.raises(SettingsError, match=f"{name} takes one value per item, not a curve"):
                play(**{name: flat})
            continue
        # a curve's coefficients are ideal, a constant's are Pedalboard's float32 ones
        assert (play(**{name: flat}) - whole).abs().max() <= 2e-4 * max(1, whole.abs().max()), name
        ends = torch.tensor([[p.low, p.high]], dtype=torch.float32).requires_grad_()
        moved = play(**{name: 0.5 * values[name].detach()[:, None] + 0.5 * ends})
        assert torch.isfinite(moved).all(), name
        (gradient,) = torch.autograd.grad(moved.square().sum(), ends)
        assert torch.isfinite(gradient).all(), name


@pytest.mark.parametrize("name", sorted(n for n, kind in REGISTRY.items() if kind.pedalboard))
def test_twins_have_pedalboards_names_and_defaults(name: str) -> None:
    required = {"Convolution": (torch.ones(64).numpy(), 1.0, RATE)}
    theirs = getattr(pedalboard, name)(*required.get(name, ()))
    for parameter, p in REGISTRY[name].declared.items():
        assert p.default == pytest.approx(getattr(theirs, parameter), rel=1e-6), parameter
        for value in (p.low, p.high):
            setattr(theirs, parameter, value)
            assert getattr(theirs, parameter) == pytest.approx(value, rel=1e-5, abs=1e-5), parameter


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo's own, of further inlets
def test_compiles_whole_and_equal(effect: Processor) -> None:
    x, u = noise(effect), controls(effect)
    # not the energy of the output, which a constant-power pan does not change
    weight = torch.randn(run(effect, x, u).shape, generator=torch.Generator().manual_seed(3))
    torch._dynamo.reset()
    compiled = torch.compile(effect, fullgraph=True)
    results = []
    for f in (effect, compiled):
        a, b = x.clone().requires_grad_(), u.clone().requires_grad_()
        y = run(f, a, b)
        (y * weight).sum().backward()
        results.append((y.detach(), a.grad, b.grad if effect.spec.size else b))
    for eager, fast in zip(*results, strict=True):
        # inductor may reorder the few float64 operations around the recursions: last bits of float32
        assert torch.allclose(eager, fast, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["Chorus", "Compressor", "KneeCompressor", "LFO", "ParametricEQ"])
def test_exports_for_any_batch_and_length(name: str) -> None:
    effect = REGISTRY[name](RATE)
    x, u = noise(effect), controls(effect)
    items, samples = torch.export.Dim("items", max=64), torch.export.Dim("samples", max=100_000)
    exported = torch.export.export(effect, (x, u), dynamic_shapes=({0: items, 2: samples}, {0: items}))
    other = 0.1 * torch.randn(3, 2, 777), torch.rand(3, effect.spec.size)
    for made in (exported.module(), torch.jit.trace(effect, (x, u))):
        assert torch.equal(made(*other), effect(*other))


LOOPS = {
    **dict.fromkeys(["Chorus", "Phaser", "Flanger", "ModulatedChorus", "ModulatedPhaser"], ("feedback", -0.99, 0.99)),
    **dict.fromkeys(["Delay", "FilteredDelay", "PingPongDelay"], ("feedback", -1.0, 1.0)),
    "FeedbackDelayNetwork": ("high_ratio", 1.0, 1.0),
    "Reverb": ("room_size", 1.0, 1.0),
}


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_grows_where_a_step_led_outside(name: str) -> None:
    effect = REGISTRY[name](RATE)
    knob, *ends = LOOPS[name]
    x, at = noise(effect), effect.spec.index(knob)
    for outside, end in zip((-0.25, 1.25), ends, strict=True):
        u = controls(effect)
        u[:, at] = outside
        values = effect.spec.denormalize(u)
        if values[knob].abs().min() > 1:
            assert torch.equal(run(effect, x, u), effect.process(x, **values | {knob: torch.full((2,), end)}))


def test_names_are_checked_at_import() -> None:
    with pytest.raises(TypeError, match=r"takes \['cutoff'\], but the class declares \['cutoff_hz'\], each a keyword"):

        class Wrong(Processor):
            cutoff_hz = Param(20, 20000, 1000, "Hz", "log")

            def process(self, x: torch.Tensor, *, cutoff: torch.Tensor) -> torch.Tensor:
                return x

    assert "Wrong" not in REGISTRY
    with pytest.raises(TypeError, match=r"Gain is an effect of diffmix\.processors\.gain; one of your own needs"):
        type("Gain", (Processor,), {"process": lambda self, x: x})
    assert REGISTRY["Gain"] is Gain
