"""Styles, and recordings to learn them from."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import sosfilt

from diffmix.data import audio, styles
from diffmix.data.style_content import generated, kind_of, recordings_in, song_of, talker
from diffmix.data.styles import EXTRAS, FAMILIES, NOTHING, Style, draw, family
from diffmix.errors import AudioError, SettingsError

RATE = 24_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.1


def published(x: np.ndarray, style: Style) -> np.ndarray:
    """The published rendering, sample by sample: filters, then a reduction in dB that follows with two times."""
    y = x * 10 ** (styles.PEAK_DB / 20) / np.abs(x).max()
    sections = style.sections(RATE).numpy()
    y = sosfilt(np.insert(sections, 3, 1.0, axis=1), y)
    rise, fall = (math.exp(-math.log(9) / (RATE * t)) for t in (style.attack_s, style.release_s))
    held, out = 0.0, np.empty_like(y)
    for n, sample in enumerate(y):
        over = max(20 * math.log10(abs(sample) + 1e-8), -96) - style.threshold_db
        wanted = max(over, 0) * (1 - 1 / style.ratio)
        keep = rise if wanted > held else fall
        held = keep * held + (1 - keep) * wanted
        out[n] = sample * 10 ** (-held / 20)
    return out * 10 ** (styles.PEAK_DB / 20) / np.abs(out).max()


@pytest.mark.parametrize("name", FAMILIES)
def test_families_sound_as_published(name: str) -> None:
    style = family(name, rng(1))
    x = noise(1, 1, 4000)
    y = style.render(x, RATE, rng())[0, 0]
    assert torch.allclose(y.double(), torch.from_numpy(published(x[0, 0].double().numpy(), style)), atol=2e-5)


def test_ranges_of_the_families() -> None:
    for name in FAMILIES:
        for seed in range(20):
            style = family(name, rng(seed))
            (low_hz, low), (_, middle), (high_hz, high) = style.bands
            assert 80 <= low_hz <= 400
            assert 4000 <= high_hz <= 10000
            assert (abs(middle) > 0) == (name == "telephone")
            assert abs(low) <= 26
            assert abs(high) <= 26
            assert (style.ratio == 1) == (name in ("bright", "warm"))
    assert family("warm", rng()).bands[2][1] < -19
    assert 13 < family("warm", rng(), legacy=True).bands[2][1] < 21


@pytest.mark.parametrize("kind", ["family", "random", "subtle", "extra", "none", None])
def test_every_kind_is_drawn_and_repeats(kind: str | None) -> None:
    for seed in range(12):
        style = draw(rng(seed), kind)
        assert style == draw(rng(seed), kind)
        y = style.render(noise(2, 2, 3000), RATE, rng(seed))
        assert y.shape == (2, 2, 3000)
        assert bool(y.isfinite().all())
        assert torch.allclose(y.abs().amax((1, 2)), torch.tensor(10 ** (-12 / 20)), atol=1e-4)


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_does_something(name: str) -> None:
    plain = NOTHING.render(noise(1, 2, 9000), RATE, rng())
    wet = styles.with_extra(NOTHING, name, rng()).render(noise(1, 2, 9000), RATE, rng())
    assert float((wet - plain).square().mean()) > 0.001 * float(plain.square().mean())


def test_width_is_the_sides_level() -> None:
    x = noise(1, 2, 9000)
    y = styles.replace(NOTHING, side_db=6.0).render(x, RATE, rng())
    ratios = [float((z[0, 0] - z[0, 1]).square().mean() / (z[0, 0] + z[0, 1]).square().mean()) for z in (x, y)]
    assert 10 * math.log10(ratios[1] / ratios[0]) == pytest.approx(6, abs=0.01)


def test_nothing_is_nothing() -> None:
    x = styles.at_peak(noise(1, 1, 3000))
    assert torch.allclose(NOTHING.render(x, RATE, rng()), x, atol=1e-6)


def test_subtle_is_a_quarter() -> None:
    style = draw(rng(3), "random").scaled(styles.SUBTLE)
    whole = draw(rng(3), "random")
    assert style.bands[0][1] == whole.bands[0][1] / 4
    assert style.ratio - 1 == pytest.approx((whole.ratio - 1) / 4)


@pytest.mark.parametrize("wrong", ["family", "extra", "kind"])
def test_unknown_names(wrong: str) -> None:
    with pytest.raises(SettingsError, match="there is no"):
        {
            "family": lambda: family("cold", rng()),
            "extra": lambda: styles.with_extra(NOTHING, "loud", rng()),
            "kind": lambda: draw(rng(), "loud"),
        }[wrong]()


def test_a_generated_song_comes_whole_and_by_class() -> None:
    found = {content.kind: content for content in generated(3, 2.0)}
    assert {"mix", "drums", "harmony"} <= set(found)
    assert len({content.song for content in found.values()}) == 1
    parts = sum(found[kind].audio for kind in found if kind != "mix")
    assert torch.allclose(parts, found["mix"].audio, atol=1e-4)


def test_a_talker_pauses_and_is_another_each_time() -> None:
    a, b = talker(0, 4.0), talker(1, 4.0)
    assert torch.equal(a.audio, talker(0, 4.0).audio)
    level = a.audio[0].unfold(0, 1200, 1200).square().mean(1)
    assert float(level.amin()) < 0.01 * float(level.amax())
    assert float((a.audio - b.audio).abs().max()) > 0.1


def test_a_folder_is_grouped_into_songs(tmp_path: Path) -> None:
    stems = tmp_path / "multitrack" / "song one"
    stems.mkdir(parents=True)
    for name in ("drums", "bass", "vocals"):
        audio.write_wav(stems / f"{name}.wav", noise(1, 44100), 44100)
    for n, name in enumerate(("speech-male", "cello-high", "cello-low", "loop_a", "loop_b")):
        audio.write_wav(tmp_path / f"{name}.wav", noise(2, 48000 + 5000 * n), 48000)
    audio.write_wav(tmp_path / "short.wav", noise(1, 4800), 48000)
    found = recordings_in(tmp_path)
    songs = {item.name: item.song for item in found}
    assert songs["cello-high"] == songs["cello-low"] == "cello"
    assert songs["loop_a"] != songs["loop_b"]
    assert "short" not in songs
    kinds = {item.name: item.kind for item in found}
    assert kinds["speech-male"] == "speech"
    assert kinds["song one, drums"] == "drums"
    whole = next(item for item in found if item.name == "song one, mix")
    assert whole.audio.shape == (2, 24000)
    alone = [item.audio for item in found if item.song == "song one" and item.name.split(", ")[1] in
             ("drums", "vocals", "harmony")]  # fmt: skip
    assert torch.allclose(whole.audio, sum(x.expand(2, -1) for x in alone), atol=1e-4)
    assert song_of("cello-high") == "cello"
    assert kind_of("Somebody_The_Long_Title") == "mix"


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio file"):
        recordings_in(tmp_path)
