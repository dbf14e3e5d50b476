"""Pictures and pages of effects: everything registered has what its declaration promises."""

import numpy as np
import pytest

from diffmix import portraits
from diffmix.processors import REGISTRY, Gain, MidSideSplit, ParametricEQ, Vibrato
from scripts import effect_pages


@pytest.mark.parametrize("name", ["PeakFilter", "Compressor", "Distortion", "LFO", "PingPongDelay", "Pan", "Resample"])
def test_a_portrait_draws_something(name: str) -> None:
    kind = REGISTRY[name]
    figure = portraits.portrait(kind(44100), effect_pages.telling(kind))
    assert len(figure.axes) == len(portraits.pictures(kind)) > 0
    for axes in figure.axes:
        assert axes.has_data()
        assert axes.get_title(loc="left")


def test_a_response_is_that_of_the_filter() -> None:
    effect = ParametricEQ(44100)
    values = {name: p.default for name, p in effect.spec} | {"peak3_gain_db": 12.0}
    (axes,) = portraits.portrait(effect, values).axes
    hz, db = axes.lines[0].get_data()
    assert np.max(db) == pytest.approx(12, abs=0.05)
    assert hz[np.argmax(db)] == pytest.approx(values["peak3_cutoff_frequency_hz"], rel=0.03)


def test_a_voice_is_drawn_where_its_delay_is() -> None:
    effect = Vibrato(8000)
    (axes,) = portraits.portrait(effect, {"delay_ms": 10.0, "depth_ms": 5.0}).axes
    later_ms = axes.collections[0].get_array().argmax(0) / 4  # of impulses every 20 ms, moved by a sine of 1 Hz
    arrived_s = np.arange(100) / 50 + later_ms / 1000
    np.testing.assert_allclose(later_ms, 10 + 5 * np.sin(2 * np.pi * arrived_s), atol=0.5)


def test_effects_without_knobs_have_no_portrait() -> None:
    with pytest.raises(ValueError, match="no picture is known for MidSideSplit"):
        portraits.portrait(MidSideSplit(44100), {})


def test_every_family_of_effects_has_its_pictures() -> None:
    """But networks, which sound like anything; settings for a picture are those of an effect."""
    kinds = effect_pages.effects()
    families = {kind.__module__.rsplit(".", 1)[1] for kind in kinds.values() if kind.declared}
    assert families - {"neural"} == portraits.PICTURES.keys() - kinds.keys()
    for name, values in effect_pages.TELLING.items():
        assert values.keys() <= kinds[name].declared.keys(), name


def test_the_pages_are_those_of_the_declarations() -> None:
    """``python scripts/effect_pages.py`` writes them anew."""
    stale = [path.name for path, text in effect_pages.texts().items() if not path.is_file() or path.read_text() != text]
    assert not stale
    assert "| `gain_db` | -100..60 dB | 1 | lin | yes | level change |" in effect_pages.page(Gain)
