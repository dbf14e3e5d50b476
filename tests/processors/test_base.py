"""What the base does for every effect before its `process` runs: shapes, precision, curves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diffmix.errors import AudioError, SettingsError
from diffmix.params import Param
from diffmix.processors import REGISTRY, BalanceWidth, Compressor, Gain, KneeCompressor, Processor, Reverb

RATE = 44100
KINDS = {name: kind for name, kind in sorted(REGISTRY.items()) if kind.__module__.startswith("diffmix.processors.")}


@pytest.fixture(params=KINDS, name="effect")
def _effect(request: pytest.FixtureRequest) -> Processor:
    return KINDS[request.param](RATE)


def noise(effect: Processor, items: int = 2, samples: int = 600) -> Tensor:
    shape = items, effect.inlets[0].channels or 2, samples
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


def settings(effect: Processor, items: int = 2) -> dict[str, Tensor]:
    return effect.spec.denormalize(effect.spec.sample(items, torch.Generator().manual_seed(2)))


def play(effect: Processor, x: Tensor, values: dict[str, Tensor]) -> Tensor:
    """All outlets as channels; what must come in beside the audio is the audio."""
    y = effect.process(x, **{port.name: x for port in effect.inlets[1:] if not port.optional}, **values)
    return torch.cat(y, 1) if isinstance(y, tuple) else y


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(effect: Processor, dtype: torch.dtype) -> None:
    x, values = noise(effect).to(dtype), settings(effect)
    x[..., 200:400] = 0  # levels near silence are too small for float16
    assert torch.equal(play(effect, x, values), play(effect, x.float(), values).to(dtype))


def test_audio_that_does_not_fit_is_refused(effect: Processor) -> None:
    x, values = noise(effect), settings(effect)
    for wrong in (x[0], x[..., :0], x[:0], x[:, :0], (1000 * x).short()):
        with pytest.raises(AudioError, match=r"the audio is .*; allowed are floats \(B, C, T\), at least one of each"):
            play(effect, wrong, values)
    if (channels := effect.inlets[0].channels) is not None:
        with pytest.raises(AudioError, match=rf"the audio has 3 channels, allowed is {channels}"):
            play(effect, torch.zeros(2, 3, 600), values)


def test_one_setting_is_that_of_all_items(effect: Processor) -> None:
    x, one = noise(effect), settings(effect, 1)
    assert torch.equal(play(effect, x, one), play(effect, x, {name: v.repeat(2) for name, v in one.items()}))


def test_settings_that_do_not_fit_are_refused(effect: Processor) -> None:
    values = settings(effect, 3)
    for name, p in effect.spec:
        for items in (1, 2):
            x, others = noise(effect, items), settings(effect, items)
            shapes = [values[name], values[name][0]] + ([values[name][:items, None][:, :0]] if p.modulatable else [])
            for wrong in shapes:
                with pytest.raises(SettingsError, match=rf"{name} is .*; allowed are as many values as items"):
                    play(effect, x, {**others, name: wrong})


def test_every_setting_moves_alone(effect: Processor) -> None:
    """A curve that stays where it is, beside settings that are no curves."""
    x, values = noise(effect).double(), {name: v.double() for name, v in settings(effect).items()}
    still = play(effect, x, values)
    for name, p in effect.spec:
        if p.modulatable:
            moving = {**values, name: values[name][:, None].expand(-1, 2)}
            torch.testing.assert_close(play(effect, x, moving), still, rtol=1e-9, atol=1e-9)


def test_a_side_chain_that_does_not_fit_is_refused() -> None:
    effect = KneeCompressor(RATE)
    x, values = noise(effect), settings(effect)
    for wrong in (x[..., :1], x[..., :-1], x[:1].expand(3, -1, -1)):
        with pytest.raises(AudioError, match=r"side_chain is \(.*\), the audio \(2, 2, 600\); allowed are"):
            effect.process(x, side_chain=wrong, **values)
    assert torch.equal(
        effect.process(x, side_chain=x[:1], **values), effect.process(x, side_chain=x[:1].expand(2, -1, -1), **values)
    )


@pytest.mark.parametrize("sample_rate", [0, -44100, float("nan"), float("inf")])
def test_a_sample_rate_that_is_none_is_refused(sample_rate: float) -> None:
    with pytest.raises(SettingsError, match="allowed is more than 0 Hz"):
        Gain(sample_rate)


def test_one_of_two_settings_moves() -> None:
    """By hand: the side fades in, or the tail does, while the other setting stands still."""
    x = torch.stack([torch.ones(3), torch.zeros(3)])[None]
    y = BalanceWidth(RATE).process(x, balance=torch.zeros(1), width=torch.tensor([[0.0, 1.0, 2.0]]))
    assert y.tolist() == [[[0.5, 1.0, 1.5], [0.5, 0.0, -0.5]]]
    effect = Reverb(RATE)
    wet = {name: torch.tensor([float(p.default)]) for name, p in effect.spec} | {"dry_level": torch.zeros(1)}
    impulse = torch.eye(1, 3000).expand(1, 2, -1)
    full = effect.process(impulse, **wet)
    faded = effect.process(impulse, **wet | {"wet_level": torch.tensor([[0.33, 0.0]])})
    torch.testing.assert_close(faded, full * torch.linspace(1, 0, 3000), rtol=1e-4, atol=1e-7)


def test_a_state_with_more_in_it_is_of_another_effect() -> None:
    effect, x = Compressor(RATE), torch.zeros(1, 1, 50)
    values = settings(effect, 1)
    _, state = effect.process_chunk(x, None, **values)
    effect.process_chunk(x, state, **values)
    with pytest.raises(AudioError, match=r"of another effect: it holds 2 memories, not 1"):
        effect.process_chunk(x, (*state, state[0]), **values)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda x: None, "Slip gave NoneType; a tensor"),
        (lambda x: x[..., 1:], r"gave \(2, 2, 599\) of audio \(2, 2, 600\); expected are \(2, C, 600\)"),
        (lambda x: x[:1], r"gave \(1, 2, 600\)"),
        (lambda x: x[0], r"gave \(2, 600\)"),
        (lambda x: (x, x), r"gave 2 signals; it has 1 outlet"),
        (lambda x: x.mul_(2), "changes the audio it is given"),
    ],
)
def test_slips_of_ones_own_effects_are_named(made: Callable[[Tensor], Any], said: str) -> None:
    slip = type("Slip", (Processor,), {"process": lambda self, x: made(x)})(RATE)
    try:
        with pytest.raises(AudioError, match=said):
            slip.process(torch.ones(2, 2, 600))
    finally:
        del REGISTRY["Slip"]


def test_an_effect_may_use_that_which_it_extends() -> None:
    class Parallel(Compressor):
        dry = Param(0, 1, 0, "")

        def process(
            self, x: Tensor, *, threshold_db: Tensor, ratio: Tensor, attack_ms: Tensor, release_ms: Tensor, dry: Tensor
        ) -> Tensor:
            knobs = {"threshold_db": threshold_db, "ratio": ratio, "attack_ms": attack_ms, "release_ms": release_ms}
            return super().process(x, **knobs) + dry[:, None, None] * x

    try:
        x = noise(effect := Parallel(RATE))
        values = settings(effect)
        wet = Compressor(RATE).process(x, **{name: values[name] for name in Compressor.declared})
        assert torch.equal(effect.process(x, **values), wet + values["dry"][:, None, None] * x)
    finally:
        del REGISTRY["Parallel"]
