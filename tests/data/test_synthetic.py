import json
import os

import numpy as np
import pytest
import torch
from scipy import signal

from diffmix.data import synthetic
from diffmix.data.composition import compose, perform
from diffmix.data.degrade import degrade
from diffmix.data.drums import PIECES, Kit
from diffmix.data.genres import GENRES, PARTS
from diffmix.data.instruments import INSTRUMENTS
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.roles import ROLES, guess_role
from diffmix.data.songs import SongIndex
from diffmix.data.synthesis import modes, pluck, saw, stream
from diffmix.data.synthetic import VALIDATION_SEED, SyntheticSongs, generate_song
from diffmix.errors import AudioError, OutputError, SettingsError

SR = 44_100


def equal(a: Multitrack, b: Multitrack) -> bool:
    return len(a.tracks) == len(b.tracks) and all(
        x.name == y.name and torch.equal(x.audio, y.audio) for x, y in zip(a.tracks, b.tracks, strict=True)
    )


# ------------------------------------------------------------------ building blocks


def test_streams_depend_on_their_words_only():
    assert stream(3, "a").random() == stream(3, "a").random()
    assert len({stream(*key).random() for key in ((3, "a"), (3, "b"), (4, "a"), (3, "a", 0), ("a", 3))}) == 5
    # the published FNV-1a value of "foobar"
    assert stream("foobar").random() == stream(0x85944171F73967E8).random()


def test_modes_are_a_sum_of_decaying_sines():
    f, tau, a = np.array([100.0, 440.5, 30_000.0]), np.array([0.1, 0.3, 1.0]), np.array([1.0, -0.5, 9.0])
    t = np.arange(4_410) / SR
    expected = sum(a[k] * np.sin(2 * np.pi * f[k] * t) * np.exp(-t / tau[k]) for k in (0, 1))  # the third is inaudible
    assert modes(f, tau, a, 0.1, SR) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("frequency_hz", [41.2, 196.0, 987.77])
def test_a_plucked_string_is_in_tune_and_decays(frequency_hz):
    x = pluck(frequency_hz, 2, SR, stream(1), decay_s=3.0, damping_hz=1_000, brightness_hz=2_000, position=0.2)
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 20))
    f = np.arange(len(spectrum)) * SR / (1 << 20)
    near = (f > 0.9 * frequency_hz) & (f < 1.1 * frequency_hz)
    peak_hz = f[near][spectrum[near].argmax()]
    assert abs(1_200 * np.log2(peak_hz / frequency_hz)) < 1.0  # cents
    sos = signal.butter(2, [0.8 * frequency_hz, 1.2 * frequency_hz], "band", fs=SR, output="sos")
    early, late = (np.sqrt(np.mean(signal.sosfilt(sos, x)[int(s * SR) : int((s + 0.4) * SR)] ** 2)) for s in (0.5, 1.5))
    expected_db = 20 * (1 + frequency_hz / 1_000)  # 60 dB in 3 s at low frequencies
    assert 20 * np.log10(early / late) == pytest.approx(expected_db, rel=0.1)


def test_saw_has_little_aliasing():
    step = 3_001.0 / SR
    spectrum = np.abs(np.fft.rfft(saw(step * np.arange(SR), step) * signal.windows.blackmanharris(SR)))
    harmonics = np.zeros(len(spectrum), bool)
    for k in range(1, 8):
        harmonics[3_001 * k - 5 : 3_001 * k + 6] = True
    aliases = spectrum[:10_000][~harmonics[:10_000]].max()
    naive = np.abs(np.fft.rfft((2 * ((step * np.arange(SR)) % 1) - 1) * signal.windows.blackmanharris(SR)))
    assert 20 * np.log10(aliases / spectrum.max()) < -40
    assert aliases < 0.1 * naive[:10_000][~harmonics[:10_000]].max()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_instrument_plays_loud_and_soft_low_and_high(name):
    instrument = INSTRUMENTS[name](stream(2, name), SR)
    for frequency_hz, velocity in ((50.0, 0.25), (1_000.0, 1.0)):
        x = instrument.play(frequency_hz, 0.25, velocity, stream(0))
        y = instrument.amp(x) if instrument.amp else x
        assert np.isfinite(y).all()
        assert 0.01 < np.abs(y).max() < 10
        assert x.shape[-1] >= 0.25 * SR - 1


@pytest.mark.parametrize("electronic", [False, True])
def test_drums_differ_by_velocity_and_take(electronic):
    kit = Kit(1, electronic, SR)
    for piece in PIECES:
        soft, loud, other = kit.hit(piece, 0.2, 0), kit.hit(piece, 0.9, 0), kit.hit(piece, 0.9, 1)
        assert np.abs(soft).max() < 0.6 * np.abs(loud).max() <= 0.6
        assert np.array_equal(loud, kit.hit(piece, 0.9, 2))
        if piece != "crash":
            assert not np.array_equal(loud, other)


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
        assert part.instrument in INSTRUMENTS or part.style == "drums" or part.instrument in ("voice", "")
    assert {p for genre in GENRES.values() for p in genre.parts} == set(PARTS)


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
            assert notes or part.style == "drums"
    assert min(counts) >= 5
    assert max(counts) <= 16
    assert 8 <= np.median(counts) <= 12
    assert genres == set(GENRES)


def test_many_tracks_rest_for_a_good_part():
    active = []
    for seed in (11, 12, 13):
        for track in generate_song(seed, 8.0, 8_000).tracks:
            level = track.audio.mean(0).unfold(0, 800, 800).square().mean(1).sqrt()
            active.append(float((level > level.max() * 10 ** (-45 / 20)).float().mean()))
    assert 0.3 < np.median(active) < 0.8
    assert np.mean(np.array(active) < 0.7) > 0.4


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


# ------------------------------------------------------------------ raw recordings


def _session() -> Multitrack:
    t = torch.arange(SR) / SR
    tracks = [Track(f"t{k}", 0.5 * torch.sin(2 * torch.pi * 220 * (k + 1) * t)[None], "bass") for k in range(12)]
    return Multitrack("x", SR, (*tracks, Track("wide", torch.randn(2, SR) * 0.1), Track("silent", torch.zeros(1, SR))))


def test_degraded_tracks_look_like_raw_recordings():
    clean = _session()
    raw = degrade(clean, seed=1)
    assert equal(raw, degrade(clean, seed=1))
    assert not equal(raw, degrade(clean, seed=2))
    assert [(t.name, t.role, t.audio.shape) for t in raw.tracks] == [
        (t.name, t.role, t.audio.shape) for t in clean.tracks
    ]
    peaks_db = [float(20 * t.audio.abs().max().log10()) for t in raw.tracks[:-1]]
    assert -36.5 < min(peaks_db) < -20
    assert -12 < max(peaks_db) < -2.5
    silent_db = float(10 * raw.tracks[-1].audio.square().mean().log10())
    assert -85 < silent_db < -55  # noise floor, maybe hum
    assert torch.equal(clean.tracks[0].audio, _session().tracks[0].audio)


def test_a_track_is_degraded_alike_in_any_company():
    clean = _session()
    alone = Multitrack("x", SR, clean.tracks[3:4])
    assert torch.equal(degrade(alone, 5).tracks[0].audio, degrade(clean, 5).tracks[3].audio)


def test_strength_scales_the_damage():
    clean = _session()
    assert degrade(clean, 1, 0.0) is clean
    change = [
        float(
            sum(
                (a.audio - b.audio).square().mean()
                for a, b in zip(clean.tracks, degrade(clean, 1, s).tracks, strict=True)
            )
        )
        for s in (0.02, 0.3, 1.0)
    ]
    assert change[0] < change[1] < change[2]
    with pytest.raises(SettingsError, match="strength is 2; allowed are"):
        degrade(clean, 1, 2)


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
    found = SongIndex(songs.folder)[0]  # the cache is an ordinary folder of songs too
    assert {(s.name, s.role) for s in found.sources} == {(s.name, s.role) for s in songs[0].sources}


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("DIFFMIX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert SyntheticSongs(1).folder.is_relative_to(tmp_path / "xdg" / "diffmix" / "procedural" / "v1")
    monkeypatch.setenv("DIFFMIX_CACHE", str(tmp_path / "own"))
    assert SyntheticSongs(1).folder.is_relative_to(tmp_path / "own" / "procedural")
    assert SyntheticSongs(1, 5.0).folder != SyntheticSongs(1, 6.0).folder
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

    def slow(*arguments):
        monkeypatch.setattr(synthetic, "generate_song", make)
        other.prepare()
        return make(*arguments)

    monkeypatch.setattr(synthetic, "generate_song", slow)
    songs.prepare()
    assert [f.name for f in songs.folder.iterdir()] == ["0"]
    assert equal(songs[0].whole(), other[0].whole())


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path):
    songs = SyntheticSongs(4, 0.5, seed=VALIDATION_SEED, root=tmp_path, sample_rate=8_000)
    steps = []
    songs.prepare(lambda done, total: steps.append((done, total)), workers=2)
    assert steps[-1] == (4, 4)
    assert sorted(f.name for f in songs.folder.iterdir()) == [str(VALIDATION_SEED + k) for k in range(4)]
    alone = SyntheticSongs(4, 0.5, VALIDATION_SEED, tmp_path / "alone", 8_000)
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
