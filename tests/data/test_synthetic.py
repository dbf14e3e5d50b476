import json
import os
from collections import Counter

import numpy as np
import pytest
import torch

from diffmix.data import synthetic
from diffmix.data.composition import compose, perform, player
from diffmix.data.datasets import open_dataset
from diffmix.data.engines import ENGINES
from diffmix.data.genres import GENRES, PARTS, SHARES
from diffmix.data.multitrack import Multitrack
from diffmix.data.roles import ROLES, guess_role
from diffmix.data.synthetic import VALIDATION_SEED, SyntheticSongs, generate_song
from diffmix.errors import AudioError, OutputError

SR = 44_100


def equal(a: Multitrack, b: Multitrack) -> bool:
    return len(a.tracks) == len(b.tracks) and all(
        x.name == y.name and torch.equal(x.audio, y.audio) for x, y in zip(a.tracks, b.tracks, strict=True)
    )


# ------------------------------------------------------------------ songs


@pytest.mark.parametrize("genre", GENRES)
def test_songs_are_what_they_promise(genre):
    song = generate_song(7, 2.0, 22_050, genre)
    assert 4 <= len(song.tracks) <= 16
    assert (song.sample_rate, song.seconds) == (22_050, 2.0)
    for track in song.tracks:
        assert torch.isfinite(track.audio).all()
        assert -18.01 <= 20 * track.audio.abs().max().log10() <= -2.99
        assert track.audio[:, -1].abs().max() < 1e-3
        if track.audio.shape[0] == 2:
            assert not torch.equal(track.audio[0], track.audio[1])


def test_names_tell_the_roles_and_no_two_tracks_pair_up():
    for part in PARTS.values():
        assert part.role in ROLES
        assert guess_role(part.name) == part.role
        assert part.style == "drums" or part.kind in ENGINES
        assert part.double == "" or part.double in PARTS
    assert {p for genre in GENRES.values() for p in genre.parts} <= set(PARTS)
    assert set(SHARES) == {part.role for part in PARTS.values()}  # all of them occur in large sessions


def test_scores_of_many_seeds_are_in_range():
    counts, genres = [], set()
    for seed in range(60):
        score = compose(seed, 10.0)
        counts.append(len(score.parts))
        genres.add(score.genre_name)
        assert sum(s.bars for s in score.sections) == len(score.chords)
        assert score.time(len(score.chords) - 1, 15) > 10.0 - 2 * score.step_s
        for part in score.parts:
            notes = perform(score, part)
            assert all(n.start_s >= 0 and 0 < n.velocity <= 1 and n.held_s > 0 and 0 <= n.pitch < 110 for n in notes)
            assert notes
    assert min(counts) >= 4
    assert max(counts) <= 16
    assert 8 <= np.median(counts) <= 13
    assert genres == set(GENRES)


def test_sessions_are_as_large_as_asked_for_and_made_of_what_sessions_are_made_of():
    sizes = [len(compose(seed, 10.0, tracks=(4, 48)).parts) for seed in range(200)]
    assert 4 <= min(sizes) < 9
    assert 40 < max(sizes) <= 48
    assert 16 <= np.median(sizes) <= 24
    large = [compose(seed, 20.0, tracks=(64, 100)) for seed in range(8)]
    roles = Counter(part.role for score in large for part in score.parts)
    total = sum(roles.values())
    assert all(64 <= len(score.parts) <= 100 for score in large)
    assert 0.12 < roles["guitar"] / total < 0.35
    assert 0.08 < roles["backing_vocal"] / total < 0.25
    assert set(roles) == set(ROLES)
    for score in large:
        assert len({part.name for part in score.parts}) == len(score.parts)
        for part in score.parts:
            assert guess_role(part.name) == part.role
            if model := next((p for p in score.parts if p.name == part.double), None):
                pairs = zip(score.plays[part.name], score.plays[model.name], strict=True)
                assert all(its or not own for own, its in pairs)
                assert {n.pitch for n in perform(score, part)} <= {n.pitch for n in perform(score, model)}


def test_long_songs_have_sections_in_which_tracks_rest_and_never_too_few_play():
    score = compose(8, 120.0, tracks=(24, 24))
    assert len(score.sections) >= 6
    rests = [1 - np.mean(row) for row in score.plays.values()]
    assert np.mean([0.3 <= share <= 0.95 for share in rests]) > 0.5
    for k in range(len(score.sections)):
        assert sum(row[k] for row in score.plays.values()) >= 3
    assert all(any(score.plays[player(part)]) for part in score.parts)


def test_many_tracks_rest_for_a_good_part_and_six_seconds_always_hold_several():
    active, fewest = [], []
    for seed in (11, 12, 13, 14):
        song = generate_song(seed, 18.0, 8_000)
        sounding = []
        for track in song.tracks:
            level = track.audio.mean(0).unfold(0, 800, 800).square().mean(1).sqrt()
            sounding.append((level > level.max() * 10 ** (-45 / 20)).numpy())
            active.append(sounding[-1].mean())
        fewest.append(min(sum(row[k : k + 60].any() for row in sounding) for k in range(0, 120, 5)))
    assert 0.2 < np.median(active) < 0.7
    assert np.mean(np.array(active) < 0.6) > 0.4
    assert min(fewest) >= 3


@pytest.fixture(name="low", scope="module")
def _low():
    return generate_song(21, 1.5, 22_050, "rock", tracks=(6, 6))


@pytest.mark.parametrize("sample_rate", [44_100, 48_000, 88_200, 96_000])
def test_a_song_is_the_same_music_at_every_rate(sample_rate, low):
    song = generate_song(21, 1.5, sample_rate, "rock", tracks=(6, 6))
    assert song.length == round(1.5 * sample_rate)
    assert [t.name for t in song.tracks] == [t.name for t in low.tracks]
    for a, b in zip(song.tracks, low.tracks, strict=True):
        assert a.audio.shape[0] == b.audio.shape[0]
        assert float(20 * a.audio.abs().max().log10()) == pytest.approx(
            float(20 * b.audio.abs().max().log10()), abs=0.1
        )


def test_doubles_and_microphones_are_the_same_performance_recorded_again():
    score = compose(5, 8.0, "rock", (64, 70))
    assert any(part.double for part in score.parts)
    song = generate_song(5, 6.0, 8_000, "rock", tracks=(30, 40))
    by_name = {track.name: track.audio[0].numpy() for track in song.tracks}
    assert not set(by_name) - {part.name for part in compose(5, 6.0, "rock", (30, 40)).parts}
    top, bottom = by_name["snare_top"], by_name["snare_bottom"]
    assert np.corrcoef(top, bottom)[0, 1] < -0.2  # it looks at the drum from below


def test_held_out_engines_play_the_same_song_otherwise():
    train, held_out = (generate_song(7, 1.5, 22_050, "rock", engines=e) for e in ("train", "held_out"))
    assert [t.name for t in train.tracks] == [t.name for t in held_out.tracks]
    for a, b in zip(train.tracks, held_out.tracks, strict=True):
        n = min(a.audio.shape[0], b.audio.shape[0])
        x, y = a.audio[:n].flatten().numpy(), b.audio[:n].flatten().numpy()
        assert abs(np.dot(x, y)) < 0.9 * np.linalg.norm(x) * np.linalg.norm(y), a.name


def test_a_seed_gives_the_same_samples_in_any_order():
    first = generate_song(3, 1.0, 22_050)
    generate_song(4, 1.0, 22_050)
    assert equal(first, generate_song(3, 1.0, 22_050))
    assert not equal(first, generate_song(5, 1.0, 22_050))


def test_wrong_requests_are_refused():
    for arguments, reason in (
        ((1, 0.1), "at least 0.5 s"),
        ((-1, 1.0), "seed of 0 or more"),
        ((1, 1.0, 4_000), "4000 Hz"),
        ((1, 1.0, SR, "polka"), "no genre 'polka'; there are rock, pop"),
    ):
        with pytest.raises(AudioError, match=reason):
            generate_song(*arguments)
    with pytest.raises(AudioError, match="no engines 'test'; there are train, held_out, all"):
        SyntheticSongs(1, engines="test")
    with pytest.raises(AudioError, match="1 to 200 tracks, two numbers, the least number first; got 96"):
        generate_song(1, tracks=96)
    with pytest.raises(AudioError, match="the least number first"):
        generate_song(1, 1.0, tracks=(9, 4))


# ------------------------------------------------------------------ the cache


def test_cached_songs_are_the_generated_ones(tmp_path, monkeypatch):
    songs = SyntheticSongs(2, 1.0, seed=20, root=tmp_path, sample_rate=22_050)
    steps = []
    songs.prepare(lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    monkeypatch.setattr(synthetic, "generate_song", None)  # everything is on disk now
    songs.prepare(lambda *_: pytest.fail("nothing was missing"))
    whole = songs[1].whole()
    assert [song.name for song in songs] == [songs[0].name, songs[1].name]
    monkeypatch.undo()
    expected = generate_song(21, 1.0, 22_050)
    assert [(t.name, t.role) for t in whole.tracks] == [(t.name, t.role) for t in expected.tracks]
    for a, b in zip(whole.tracks, expected.tracks, strict=True):
        assert (a.audio - b.audio).abs().max() < 2**-14
    piece = songs[1].segment(0.25, 0.5, 22_050)
    assert torch.equal(piece.tracks[0].audio, whole.tracks[0].audio[:, 5_512 : 5_512 + 11_025])
    found = open_dataset(songs.folder)[0]  # the cache is an ordinary folder of songs too
    assert {(s.name, s.role) for s in found.sources} == {(s.name, s.role) for s in songs[0].sources}


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("DIFFMIX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert SyntheticSongs(1).folder.is_relative_to(tmp_path / "xdg" / "diffmix" / "procedural" / "v2")
    monkeypatch.setenv("DIFFMIX_CACHE", str(tmp_path / "own"))
    assert SyntheticSongs(1).folder.is_relative_to(tmp_path / "own" / "procedural")
    assert SyntheticSongs(1, 5.0).folder != SyntheticSongs(1, 6.0).folder
    assert SyntheticSongs(1).folder != SyntheticSongs(1, tracks=(4, 48)).folder
    assert SyntheticSongs(1, engines="held_out").folder.name.startswith("held_out")
    monkeypatch.delenv("DIFFMIX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SyntheticSongs(1).folder.is_relative_to(tmp_path / ".cache" / "diffmix")


def test_a_killed_run_leaves_nothing_half_written(tmp_path, monkeypatch):
    songs = SyntheticSongs(1, 1.0, root=tmp_path, sample_rate=22_050)
    write, written = synthetic.audio.write_wav, []

    def killed(*arguments, **options):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(*arguments, **options))

    monkeypatch.setattr(synthetic.audio, "write_wav", killed)
    with pytest.raises(KeyboardInterrupt):
        songs.prepare()
    monkeypatch.undo()
    assert list(songs.folder.iterdir()) == []
    stale = songs.folder / ".0-x.part"  # what a kill -9 leaves
    stale.mkdir()
    os.utime(stale, (0, 0))
    songs.prepare()
    assert [f.name for f in songs.folder.iterdir()] == ["0"]
    next(songs.folder.glob("0/*.wav")).unlink()  # somebody tidied up
    assert len(songs[0].whole().tracks) == len(json.loads((songs.folder / "0" / "song.json").read_text())["tracks"])


def test_the_first_of_two_programs_wins(tmp_path, monkeypatch):
    songs = SyntheticSongs(1, 1.0, root=tmp_path, sample_rate=22_050)
    other = SyntheticSongs(1, 1.0, root=tmp_path, sample_rate=22_050)
    make = synthetic.generate_song

    def slow(*arguments, **options):
        monkeypatch.setattr(synthetic, "generate_song", make)
        other.prepare()
        return make(*arguments, **options)

    monkeypatch.setattr(synthetic, "generate_song", slow)
    songs.prepare()
    assert [f.name for f in songs.folder.iterdir()] == ["0"]
    assert equal(songs[0].whole(), other[0].whole())


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path):
    options = {"engines": "held_out", "tracks": (4, 6)}
    songs = SyntheticSongs(4, 0.5, VALIDATION_SEED, tmp_path, 8_000, **options)
    steps = []
    songs.prepare(lambda done, total: steps.append((done, total)), workers=2)
    assert steps[-1] == (4, 4)
    assert sorted(f.name for f in songs.folder.iterdir()) == [str(VALIDATION_SEED + k) for k in range(4)]
    alone = SyntheticSongs(4, 0.5, VALIDATION_SEED, tmp_path / "alone", 8_000, **options)
    assert all(equal(alone[k].whole(), songs[k].whole()) for k in (3, 2, 1, 0))  # made here, in another order


def test_training_never_reaches_validation_seeds(tmp_path):
    with pytest.raises(AudioError, match="reach into those for validation"):
        SyntheticSongs(2, seed=VALIDATION_SEED - 1, root=tmp_path)
    SyntheticSongs(1, seed=VALIDATION_SEED - 1, root=tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_that_cannot_be_written_is_said(tmp_path, workers):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="generated songs cannot be kept there"):
        SyntheticSongs(2, 0.5, root=tmp_path / "file", sample_rate=8_000).prepare(workers=workers)
