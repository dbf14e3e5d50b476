"""A preset reads a song's files as the mix did: where they begin, at which rate, in which format, how long."""

from pathlib import Path

import numpy as np
import soundfile

import diffmix
from diffmix.data.multitrack import load
from diffmix.export import standalone
from diffmix.export.preset import validate
from tests.fabricate import stamped

RATE = 16000


def test_a_preset_places_the_files_as_the_mix_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, channels in enumerate((2, 1)):
        soundfile.write(tmp_path / f"track {number}.wav", rng.uniform(-0.5, 0.5, (RATE, channels)), RATE, "PCM_24")
        stamped(tmp_path / f"track {number}.wav", 1234 * number)
    song = load(tmp_path)
    mix = diffmix.render(song, diffmix.Settings(tracks={track.name: {} for track in song.tracks}))
    preset = mix.preset()
    validate(preset)
    sources = [node for node in preset["nodes"] if "source" in node]
    assert [node["source"].get("start_s", 0) * RATE for node in sources] == [1234, 0]
    for node, track in zip(sources, reversed(song.tracks), strict=True):
        played = standalone.pad(standalone.read(tmp_path, node, RATE), song.length)
        assert np.array_equal(played, track.audio)


def test_a_preset_hears_the_files_as_the_mix_does(tmp_path: Path) -> None:
    """Other rates and formats, a pair of unequal length, and what is muted makes the mix as long as it is."""
    rng = np.random.default_rng(0)
    files = {"kick.wav": (1, 1.0, 1), "bass.ogg": (1, 0.9, 1), "vox.wav": (2, 0.8, 2), "hat.flac": (0.5, 0.7, 1)}
    files |= {"OH_L.wav": (1.5, 0.62, 1), "OH_R.wav": (1.5, 0.6, 1), "pad.mp3": (2, 0.7, 2), "keys.mp3": (1, 0.7, 1)}
    for name, (times, seconds, channels) in files.items():
        noise = rng.uniform(-0.5, 0.5, (int(times * RATE * seconds), channels))
        soundfile.write(tmp_path / name, noise, int(times * RATE))
    song = load(tmp_path, RATE)
    mix = diffmix.render(song, diffmix.Settings(tracks={track.name: {} for track in song.tracks}))
    for node in mix.preset()["nodes"]:
        if track := next((t for t in song.tracks if t.name == node["name"]), None):
            played = standalone.read(tmp_path, node, RATE)
            assert played.shape[1] == (track.end or song.length)
            assert np.array_equal(standalone.pad(played, song.length), track.audio), track.name
    assert "tail_s" not in mix.rendered(mute="bass").preset()
    solo = mix.rendered(solo="hat").preset()
    validate(solo)
    assert round(solo["tail_s"] * RATE) == song.length - int(0.7 * RATE)
