"""Effects in series and in parallel, beside Pedalboard's Chain and Mix."""

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.errors import AudioError, SettingsError
from diffmix.export.preset import assembled, entry
from diffmix.processors import (
    BrickwallLimiter,
    Chain,
    Compressor,
    Crossover,
    Gain,
    HighpassFilter,
    Imager,
    KneeCompressor,
    MidSideMerge,
    Mix,
    Pan,
    PeakFilter,
    PingPongDelay,
    Processor,
    Reverb,
)
from tests.jacobians import check_gradients

RATE = 44100


def parallel() -> Mix:
    return Mix(
        dry=Gain(RATE),
        wet=Chain(cut=HighpassFilter(RATE), bell=PeakFilter(RATE), level=Gain(RATE)),
        crushed=Chain(comp=Compressor(RATE), room=Reverb(RATE)),
    )


def test_a_mix_equals_pedalboards_and_exports_as_one() -> None:
    effect, x = parallel(), torch.randn(1, 2, 9000, generator=torch.Generator().manual_seed(1)) / 4
    for u in effect.spec.sample(8, torch.Generator().manual_seed(2)):
        values = {name: v.item() for name, v in effect.spec.denormalize(u).items()}
        (kind, arguments), *rest = effect.plugins(values)
        assert (kind, rest) == ("Mix", [])
        chains = [
            pedalboard.Chain([getattr(pedalboard, name)(**params) for name, params in inner["plugins"]])
            for _, inner in arguments["plugins"]
        ]
        theirs = pedalboard.Mix(chains)(x[0].numpy(), RATE)
        assert np.array_equal(effect(x, u[None])[0].numpy(), theirs)


def test_a_mix_runs_in_chunks_and_has_exact_gradients() -> None:
    effect, x = parallel(), torch.randn(1, 2, 3000, generator=torch.Generator().manual_seed(1)) / 4
    u = effect.spec.sample(1, torch.Generator().manual_seed(3))
    values, state, parts = effect.spec.denormalize(u), None, []
    for chunk in x.split(700, -1):
        y, state = effect.process_chunk(chunk, state, **values)
        parts.append(y)
    assert torch.equal(torch.cat(parts, -1), effect(x, u))
    short = x[..., :30].double().requires_grad_()
    check_gradients(effect, (short, (0.2 + 0.6 * u).double().requires_grad_()), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [Chain, Mix])
def test_what_cannot_be_put_together_is_refused(kind: type[Chain] | type[Mix]) -> None:
    with pytest.raises(ValueError, match=f"a {kind.__name__} needs at least one effect"):
        kind()
    with pytest.raises(ValueError, match=r"run at one sample rate, got \[44100.0, 48000.0\] Hz"):
        kind(a=Gain(44100), b=Gain(48000))


@pytest.mark.parametrize("kind", [Chain, Mix])
def test_effects_of_a_container_have_one_way_in_and_out(kind: type[Chain] | type[Mix]) -> None:
    for effect in (Crossover(RATE), MidSideMerge(RATE)):
        with pytest.raises(SettingsError, match=r"split is a \w+ with more than one inlet or outlet"):
            kind(gain=Gain(RATE), split=effect)
    for name in ("spec", "a.b"):
        with pytest.raises(SettingsError, match=f"'{name}' cannot be the name of an effect"):
            kind(**{name: Gain(RATE)})
    kind(comp=KneeCompressor(RATE))  # whose side chain is optional


def test_channels_fit_along_a_chain() -> None:
    effect = Chain(gain=Gain(RATE), pan=Pan(RATE), trim=Gain(RATE), image=Imager(RATE), echo=PingPongDelay(RATE))
    assert effect(torch.ones(1, 1, 50), effect.spec.default()[None]).shape == (1, 2, 50)
    with pytest.raises(SettingsError, match="pan takes 1 channels, what comes before it gives 2"):
        Chain(image=Imager(RATE), trim=Gain(RATE), pan=Pan(RATE))


def test_a_curve_runs_from_the_first_sample_to_the_last() -> None:
    x = torch.ones(1, 1, 101)
    y = Gain(RATE).process(x, gain_db=torch.tensor([[-60.0, 0.0, 0.0]]))
    assert (20 * y[0, 0, [0, 25, 50, 100]].log10()).tolist() == pytest.approx([-60, -30, 0, 0], abs=1e-3)


def test_branches_that_look_ahead_stay_together_in_chunks() -> None:
    effect = Mix(dry=Gain(RATE), limited=BrickwallLimiter(RATE))
    x = torch.randn(1, 2, 4000, generator=torch.Generator().manual_seed(1))
    values = {name: torch.tensor([float(p.default)]) for name, p in effect.spec}
    late = effect.latency_samples({name: v.item() for name, v in values.items()})
    assert late == 220
    state, parts = None, []
    for chunk in torch.nn.functional.pad(x, (0, late)).split(900, -1):
        y, state = effect.process_chunk(chunk, state, **values)
        parts.append(y)
    assert torch.equal(torch.cat(parts, -1)[..., late:], effect.process(x, **values))


def test_branches_of_a_batch_look_ahead_alike_in_chunks() -> None:
    effect = Mix(dry=Gain(RATE), limited=BrickwallLimiter(RATE))
    values = {name: torch.full((2,), float(p.default)) for name, p in effect.spec}
    effect.process_chunk(torch.zeros(2, 2, 50), None, **values)
    values["limited.lookahead_ms"] = torch.tensor([1.0, 5.0])
    with pytest.raises(AudioError, match=r"look ahead by 44, 220 samples in limited; chunks of a Mix allow one"):
        effect.process_chunk(torch.zeros(2, 2, 50), None, **values)
    effect.process(torch.zeros(2, 2, 50), **values)  # where it is compensated


def test_a_preset_says_which_pedalboard_it_needs() -> None:
    def needed(effect: Processor) -> str:
        values = {name: float(p.default) for name, p in effect.spec}
        node = {"name": "a", "source": {"files": ["a.wav"], "channels": 2}, "inputs": []}
        return assembled([{**node, "plugins": [entry(*plugin) for plugin in effect.plugins(values)]}], RATE)[
            "pedalboard"
        ]

    assert needed(Gain(RATE)) == ">=0.9.16"
    assert needed(Mix(a=Gain(RATE), b=BrickwallLimiter(RATE))) == ">=0.9.26"
