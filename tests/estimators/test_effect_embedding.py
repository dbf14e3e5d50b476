"""Where recordings lie among others by what was done to them."""

import json
from pathlib import Path

import pytest
import torch

from diffmix.data.effect_chains import Effect, render
from diffmix.errors import CheckpointError, SettingsError
from diffmix.estimators.effect_embedding import (
    COMPARING,
    MIDDLE,
    SHIPPED,
    SIDE,
    EffectEncoder,
    Place,
    heard,
    similarity,
)
from diffmix.estimators.style_features import style_features

RATE = 24_000


def noise(seed: int, channels: int = 2, seconds: float = 6.0) -> torch.Tensor:
    x = torch.randn(1, channels, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))
    return 0.1 * x * (1.2 + torch.sin(torch.arange(x.shape[-1]) / 3000))


def test_neither_level_nor_a_second_equal_channel_matters() -> None:
    x = noise(0)
    a, b = heard(x, RATE), heard(0.01 * x, RATE)
    assert bool(a.wide)
    assert torch.allclose(a.middle, b.middle, atol=0.02)
    assert torch.allclose(a.side, b.side, atol=0.02)
    mono = x.mean(1, keepdim=True)
    one, two = heard(mono, RATE), heard(mono.expand(-1, 2, -1), RATE)
    assert not bool(one.wide)
    assert not bool(two.wide)
    assert torch.allclose(one.middle, two.middle, atol=1e-4)
    assert torch.equal(two.side, torch.zeros(1, SIDE))
    both = heard(torch.cat([x, mono.expand(-1, 2, -1)]), RATE)
    assert both.wide.tolist() == [True, False]
    assert torch.allclose(both.side[0], a.side[0], atol=1e-4)


def test_middle_and_side_are_the_style_features_of_each() -> None:
    x = noise(1)
    found, whole = heard(x, RATE), style_features(x, RATE)
    difference = style_features((x[:, :1] - x[:, 1:]) / 2, RATE)
    rest = [n for n in range(whole.shape[1]) if not COMPARING.start <= n < COMPARING.stop]
    assert torch.equal(found.middle, whole[:, rest])
    assert torch.allclose(found.side, torch.cat([difference[:, rest], whole[:, COMPARING]], 1), atol=1e-4)
    # the numbers that compare channels are these: all others are the same of the middle alone
    alone = style_features(x.mean(1, keepdim=True), RATE)
    moved = torch.nonzero((alone - whole).abs()[0] > 1e-3)[:, 0]
    assert len(moved) > 8
    assert moved.min() >= COMPARING.start
    assert moved.max() < COMPARING.stop


def test_places_are_unit_vectors_and_compared_by_what_both_have() -> None:
    encoder = EffectEncoder(hidden=16, size=8).eval()
    numbers = heard(torch.cat([noise(2), noise(3), noise(2).mean(1, keepdim=True).expand(-1, 2, -1)]), RATE)
    with torch.no_grad():
        place = encoder(numbers)
    assert place.middle.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert place.side.norm(dim=1).tolist() == pytest.approx([1, 1, 0], abs=1e-5)
    told = similarity(place, place)
    assert torch.allclose(told.diagonal(), torch.ones(3), atol=1e-5)
    assert float(told[0, 2]) == pytest.approx(float(place.middle[0] @ place.middle[2]), abs=1e-6)
    wanted = (place.middle[0] @ place.middle[1] + place.side[0] @ place.side[1]) / 2
    assert float(told[0, 1]) == pytest.approx(float(wanted), abs=1e-6)


def test_a_long_recording_has_one_place() -> None:
    encoder = EffectEncoder(hidden=16, size=8).eval()
    place = encoder.embed(noise(4, seconds=30.0)[0], RATE)
    assert isinstance(place, Place)
    assert place.middle.shape == place.side.shape == (1, 8)
    assert float(place.middle.norm()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_silence_and_scraps_have_places_too(seconds: float) -> None:
    encoder = EffectEncoder(hidden=16, size=8).eval()
    for x in (torch.zeros(2, round(seconds * RATE)), noise(5, 1, seconds)[0], torch.full((1, 9), torch.nan)):
        assert encoder.embed(x, RATE).middle.isfinite().all()


def test_what_ships_is_small_and_hears_the_same_effect_on_other_noise() -> None:
    encoder = EffectEncoder.load()
    assert sum(part.numel() for part in encoder.state_dict().values()) < 300_000
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 1_000_000

    def through(x: torch.Tensor) -> torch.Tensor:
        """Five styles of it."""
        chains = (
            [("HighpassFilter", {"cutoff_frequency_hz": 900.0})],
            [("LowpassFilter", {"cutoff_frequency_hz": 1200.0})],
            [("Distortion", {"drive_db": 36.0})],
            [("Delay", {"delay_seconds": 0.11, "feedback": 0.5, "mix": 0.6})],
            [("Bitcrush", {"bit_depth": 3.0})],
        )
        return torch.cat([render([Effect(k, v, {}) for k, v in chain], x, RATE) for chain in chains])

    places = [encoder(heard(through(noise(seed)), RATE)) for seed in (7, 8)]
    assert similarity(*places).argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_a_folder_holds_an_encoder(tmp_path: Path) -> None:
    encoder = EffectEncoder(hidden=16, size=8).eval()
    encoder.middle.center.fill_(0.5)
    encoder.save(tmp_path / "model", recipe="effect_embedding")
    again = EffectEncoder.load(tmp_path / "model")
    assert again.about["recipe"] == "effect_embedding"
    numbers = heard(noise(6), RATE)
    assert torch.equal(again(numbers).middle, encoder(numbers).middle)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    for change, message in (
        ({"features": 3}, "3 features"),
        ({"shape": {"size": 0}}, "size of 1"),
        ({"shape": {**encoder.shape, "size": 9}}, "size mismatch"),
        ({"format": "other"}, "does not hold an encoder"),
    ):
        (tmp_path / "model" / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CheckpointError, match=message):
            EffectEncoder.load(tmp_path / "model")
    with pytest.raises(SettingsError, match="dropout"):
        EffectEncoder(dropout=1.0)
    assert len(encoder.middle.center) == MIDDLE
