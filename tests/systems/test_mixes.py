"""Examples of tracks and a mix of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from diffmix.data import audio
from diffmix.data.audio import write_wav
from diffmix.data.datasets import open_dataset
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.songs import Song
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.systems.mixes import (
    Mixes,
    MixLoss,
    batched,
    engineered,
    equally_loud,
    fitted,
    in_order,
    peak_gain_db,
    songs_of,
)
from tests.systems.recorded import GAINS, RATE, library, record


@pytest.fixture(name="mixed", scope="module")
def _mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(name="raw", scope="module")
def _raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("raw"), mixed=False)


def examples(root: Path, **changes: Any) -> Mixes:
    return Mixes(open_dataset(root), **{"sample_rate": RATE, "seconds": 1.0, "max_tracks": 4, "seed": 0} | changes)


def test_audio_is_brought_to_a_length() -> None:
    x = torch.ones(2, 5)
    assert fitted(x, 3).tolist() == [[1, 1, 1]] * 2
    assert fitted(x, 7).tolist() == [[1, 1, 1, 1, 1, 0, 0]] * 2


def test_an_example_is_a_function_of_its_number(raw: Path) -> None:
    first, again, other = examples(raw)[5], examples(raw)[5], examples(raw, seed=1)[5]
    assert torch.equal(first.mix, again.mix)
    assert all(torch.equal(a, b) for a, b in zip(first.tracks, again.tracks, strict=True))
    assert not torch.equal(first.mix, other.mix)
    assert first.mix.shape == (2, RATE)
    assert len(first.tracks) == len(first.loudness_lufs)
    assert torch.isfinite(first.loudness_lufs).all()
    assert float(integrated_loudness(first.mix[None], RATE)) == pytest.approx(-16, abs=0.05)


def test_a_finished_mix_is_learned_from_as_it_is(mixed: Path) -> None:
    example = examples(mixed)[0]
    assert torch.isnan(example.loudness_lufs).all()
    gains = [GAINS[name] for name in ("lead vocal", "kick", "bass", "guitar")]  # in the order of roles
    made = sum(x.expand(2, -1) * torch.tensor(g)[:, None] for x, g in zip(example.tracks, gains, strict=True))
    made = made * (example.mix * made).sum() / made.square().sum()
    assert (made - example.mix).square().mean() < 1e-5 * example.mix.square().mean()


def test_of_a_mixed_song_the_loudest_tracks_stay(mixed: Path) -> None:
    kept = {tuple(x.square().mean() for x in examples(mixed, max_tracks=3)[k].tracks) for k in range(3)}
    assert all(len(k) == 3 for k in kept)


def test_channels_are_counted(raw: Path) -> None:
    for k in range(6):
        assert sum(map(len, examples(raw, max_channels=3)[k].tracks)) <= 3


def test_mixes_are_found_by_name(tmp_path: Path) -> None:
    song = record(tmp_path / "song", mixed=False)
    for name, expected in (
        ("", None),
        ("Song_MASTER.wav", "Song_MASTER.wav"),
        ("A remix.wav", "Song_MASTER.wav"),
        ("Song_Mix.flac", "Song_Mix.flac"),
        ("mixture.wav", "mixture.wav"),
        ("mix.txt", "mixture.wav"),
        ("MIX.wav", "MIX.wav"),
    ):
        if name:
            soundfile.write(song / name, [0.1] * 100, RATE, format="WAV")
        found = open_dataset(tmp_path)[0].mix
        assert (found and found.files[0].name) == expected


def test_of_long_songs_a_piece_is_read(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = examples(mixed, seconds=0.2)[0]
    monkeypatch.setattr(audio, "read", None)
    monkeypatch.setattr(Song, "whole", None)
    found = examples(mixed, seconds=0.2)[0]
    assert torch.equal(found.mix, expected.mix)
    assert found.mix.shape == (2, RATE // 5)


def test_mixes_of_another_rate_and_length(tmp_path: Path) -> None:
    record(tmp_path / "song", mixed=False)
    write_wav(tmp_path / "song" / "mix.wav", 0.1 * torch.randn(1, 11025).clamp(-5, 5), 22050)
    example = examples(tmp_path, seconds=3.0)[0]
    assert example.mix.shape == (2, 3 * RATE)
    assert torch.equal(example.mix[0], example.mix[1])
    assert example.mix[:, 9000:].abs().max() == 0


def test_songs_without_sound_are_named(tmp_path: Path) -> None:
    record(tmp_path / "song", mixed=False)
    write_wav(tmp_path / "song" / "mix.wav", torch.zeros(2, RATE), RATE)
    with pytest.raises(AudioError, match="no 1 s segment with a mix and two sounding tracks was found in 1 songs"):
        _ = examples(tmp_path)[0]


def test_batches_are_padded_by_kind(raw: Path) -> None:
    made = [examples(raw, max_tracks=n)[k] for k, n in enumerate((2, 4))]
    batch = batched(made)
    assert batch.mask.sum(1).tolist() == [len(e.tracks) for e in made]
    for i, example in enumerate(made):
        kinds = sorted(range(len(example.tracks)), key=lambda n: len(example.tracks[n]))
        tracks = [*batch.mono[i], *batch.stereo[i]]
        kept = [n for n, there in enumerate(batch.mask[i]) if there]
        assert all(torch.equal(tracks[n], example.tracks[k]) for n, k in zip(kept, kinds, strict=True))
        assert torch.equal(batch.loudness_lufs[i][kept], example.loudness_lufs[kinds])
        assert all(tracks[n].abs().max() == 0 for n in range(len(tracks)) if n not in kept)


def test_an_engineers_mix_says_how_loud_each_track_is(raw: Path) -> None:
    piece = open_dataset(raw)[0].whole()
    mix, loudness = engineered(piece, [1])
    again, same = engineered(replace(piece, tracks=piece.tracks[::-1]), [1])
    assert torch.allclose(mix, again, atol=1e-5)
    assert torch.allclose(loudness, same.flip(0), atol=1e-3)
    assert loudness.max() - loudness.min() > 1


def test_roles_decide_the_order() -> None:
    x = torch.zeros(1, 10)
    tracks = [Track("b", x), Track("x", x, "bass"), Track("a", x), Track("v", x, "lead_vocal")]
    assert [t.name for t in in_order(tracks)] == ["v", "x", "a", "b"]
    assert in_order(Multitrack("m", RATE, tuple(tracks[::-1])).tracks) == in_order(tracks)


def test_levels() -> None:
    x = torch.stack([torch.full((1, 9), 0.5), torch.zeros(1, 9)])
    assert peak_gain_db(x).tolist() == pytest.approx([-12 + 6.0206, 0], abs=1e-3)
    noise = [0.1 * torch.randn(2, RATE), 0.001 * torch.randn(1, RATE)]
    mix = equally_loud(noise, RATE)
    shares = [float((mix * y.expand(2, -1)).sum() / y.expand(2, -1).square().sum()) for y in noise]
    loud = [float(integrated_loudness((g * y).expand(2, -1)[None], RATE)) for g, y in zip(shares, noise, strict=True)]
    assert loud == pytest.approx([-23, -23], abs=0.5)


def test_losses_are_zero_of_equals_and_named() -> None:
    x, z = torch.randn(2, 1, 2, RATE).unbind()
    loss = MixLoss({"sum_difference": 1, "imbalance": 2, "l1": 0.5}, (256,), RATE)
    terms = loss(x, x)
    assert all(float(v) < 1e-5 for v in terms.values())
    terms = loss(x, z)
    weighted = terms["sum_difference"] + 2 * terms["imbalance"] + 0.5 * terms["l1"]
    assert torch.allclose(loss.total(terms), weighted)
    assert set(MixLoss({"l1": 1, "imbalance": 0}, (256,), RATE)(x, z)) == {"l1"}
    for weights, message in (({"l2": 1}, "there is no loss 'l2'"), ({"l1": 0}, "not all 0"), ({"l1": -1}, "0 or more")):
        with pytest.raises(SettingsError, match=message):
            MixLoss(weights, (256,), RATE)


def test_songs_are_split_by_their_data_set(tmp_path: Path) -> None:
    train, held_out = songs_of({"root": str(library(tmp_path, 6, mixed=False)), "kind": "auto"}, RATE)
    assert train
    assert held_out
    assert not {s.name for s in train} & {s.name for s in held_out}
    one = songs_of({"root": str(tmp_path / "song 1"), "kind": "folder"}, RATE)
    assert [s.name for part in one for s in part] == ["song 1", "song 1"]
