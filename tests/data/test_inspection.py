"""What is wrong with recordings, and mixes among them, found by looking."""

from dataclasses import replace

import torch

from diffmix.data.inspection import inspect, without_mixes
from diffmix.data.multitrack import Multitrack, Track, load
from tests.fabricate import song


def kinds(multitrack: Multitrack, track: str) -> set[str]:
    return {finding.kind for finding in inspect(multitrack) if finding.track == track}


def test_faults_are_found_and_sound_tracks_are_not() -> None:
    multitrack = song(4.0)
    assert inspect(multitrack) == []
    snare = next(t for t in multitrack.tracks if t.name == "snare").audio
    faults = {
        "empty": 0 * snare,
        "inverted": -snare,
        "clipped": (8 * snare).clamp(-1, 1),
        "dc": snare + 0.1,
        "left only": torch.cat([snare, 0 * snare]),
    }
    found = {name: kinds(song(4.0, {name: x}), name) for name, x in faults.items()}
    expected = {"empty": "silent", "inverted": "polarity", "clipped": "clipping", "dc": "offset"}
    for name, kind in {**expected, "left only": "one_sided"}.items():
        assert kind in found[name]
    assert kinds(song(4.0, {"copy": 0.5 * snare}), "copy") == {"copy"}
    multitrack = song(4.0, {"snare 2": 0.5 * snare})
    assert kinds(replace(multitrack, tracks=multitrack.tracks[::-1]), "snare 2") == {"copy"}
    late = torch.roll(snare, 40, -1)
    assert kinds(song(4.0, {"late": late}), "late") == {"delay"}
    assert kinds(song(4.0, {"room": late}), "room") == set()  # it is to be late
    assert kinds(song(4.0, {"far": -torch.roll(snare, 300, -1)}), "far") == set()
    several = song(4.0, {"Bottom": -snare, "OH": 0.9 * snare + 0.001 * torch.randn_like(snare)})
    for tracks in (several.tracks, several.tracks[::-1]):
        found = [finding.track for finding in inspect(replace(several, tracks=tracks))]
        assert found == ["Bottom"]  # the one that is opposite to both others


def test_a_mix_among_the_stems_is_left_out() -> None:
    multitrack = song(4.0)
    total = sum(t.audio.mean(0, keepdim=True) for t in multitrack.tracks)
    bus = torch.tanh(2 * torch.as_tensor(total))
    with_mix = song(4.0, {"song 24bit": torch.nn.functional.pad(bus, (90, 0))[:, : bus.shape[1]]})
    kept, found = without_mixes(with_mix)
    assert [t.name for t in kept.tracks] == [t.name for t in multitrack.tracks]
    assert "it is a mix of the others" in found[0].text
    submix = multitrack.tracks[0].audio + multitrack.tracks[1].audio
    assert without_mixes(song(4.0, {"drums": submix}))[1] == []


def test_hum_and_noise_are_heard_in_short_pauses_and_low_notes_and_echoes_are_neither() -> None:
    rate = 8000
    t = torch.arange(16 * rate) / rate
    sung = ((t % 2) < 1.2) * torch.sign(torch.sin(2 * torch.pi * 220 * t)) / 10
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(0))

    def tone(hz: float) -> torch.Tensor:
        return 0.003 * sum(torch.sin(2 * torch.pi * hz * n * t) / n for n in range(1, 6))

    held = {"fifty": tone(50), "sixty": tone(60.1), "a G": tone(49), "a B": tone(61.7), "hiss": 0.002 * noise}
    softly = (0.4 + 1.2 * ((t // 0.125) * 0.37 % 1)) * noise  # notes that differ by some decibels
    held["soft notes"] = 0.004 * softly
    held["echo"] = 0.02 * noise * torch.exp(-7 * ((t - 1.2) % 2)) * ((t % 2) < 1.8)
    found = {name: kinds(Multitrack("", rate, (Track(name, (sung + x)[None]),)), name) for name, x in held.items()}
    wrong = {name: kinds for name, kinds in found.items() if kinds}
    assert wrong == {"fifty": {"hum"}, "sixty": {"hum"}, "hiss": {"noise"}}


def test_the_polarity_of_two_microphones_at_a_drum_is_told_by_its_body() -> None:
    rate = 44100
    t = torch.arange(6 * rate) / rate
    body = 0.3 * torch.sin(2 * torch.pi * 190 * t) * torch.exp(-15 * (t % 0.75))
    hiss = 0.1 * torch.randn(2, len(t), generator=torch.Generator().manual_seed(0)) * torch.exp(-15 * (t % 0.75))
    for sign, expected in ((-1, {"polarity"}), (1, set())):
        under = sign * torch.roll(body, 20) + hiss[1]
        tracks = {"Snare Top": body + hiss[0], "Snare Bottom": under}
        found = inspect(load({name: x[None] for name, x in tracks.items()}, rate))
        assert {finding.kind for finding in found} == expected
