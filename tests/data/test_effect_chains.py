"""Chains of effects with random settings."""

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.data.effect_chains import CHAINS, EFFECTS, RANGES, Effect, draw_chain, draw_effect, render
from diffmix.errors import SettingsError
from diffmix.processors import REGISTRY

RATE = 24_000


def beats(channels: int = 1) -> torch.Tensor:
    rng = np.random.default_rng(3)
    t = np.arange(RATE)
    x = rng.standard_normal((1, channels, RATE)) * np.exp(-(t % 6000) / 900) * 0.2
    return torch.from_numpy(x).float()


@pytest.mark.parametrize("kind", EFFECTS)
def test_every_effect_is_heard_and_keeps_to_its_ranges(kind: str) -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_effect(kind, rng) for _ in range(5)]
    for effect in drawn:
        REGISTRY[kind](RATE).spec.check(effect.values, kind)
    x = beats(2)
    made = torch.cat([render([effect], x, RATE) for effect in drawn])
    assert made.isfinite().all()
    assert made.abs().amax((1, 2)) == pytest.approx(10 ** (-12 / 20), rel=1e-4)
    plain = render([], x, RATE)
    assert sum(float((y - plain[0]).abs().max()) > 1e-3 for y in made) >= 4
    for effect in drawn:
        limits = {name: RANGES[key] for name in effect.values if (key := f"{kind}.{name}") in RANGES}
        assert all(low <= effect.values[name] <= high for name, (low, high) in limits.items())


def test_chains_are_pedalboards() -> None:
    values = {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0}
    chain = [Effect("HighpassFilter", {"cutoff_frequency_hz": 300.0}, {}), Effect("Compressor", values, {})]
    board = pedalboard.Pedalboard([pedalboard.HighpassFilter(300), pedalboard.Compressor(*values.values())])
    x = render([], beats(), RATE)
    theirs = torch.from_numpy(board(x[0].numpy(), RATE))
    theirs = theirs * (10 ** (-12 / 20) / theirs.abs().max())
    assert torch.allclose(render(chain, x, RATE)[0], theirs, atol=1e-6)


def test_drawn_chains_are_of_all_sorts_and_the_same_for_a_seed() -> None:
    drawn = [draw_chain(np.random.default_rng(n)) for n in range(300)]
    assert drawn == [draw_chain(np.random.default_rng(n)) for n in range(300)]
    kinds = [tuple(effect.kind for effect in chain) for chain in drawn]
    assert () in kinds
    assert all(name in kinds for name in CHAINS.values())
    assert {len(k) for k in kinds} == {0, 1, 2, 3, 4, 5}
    assert {effect for k in kinds for effect in k} == set(EFFECTS)
    with pytest.raises(SettingsError, match="no effect 'Gain'"):
        draw_effect("Gain", np.random.default_rng(0))
