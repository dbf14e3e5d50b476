from pathlib import Path

import numpy as np
import pytest
import torch

from diffmix.data import audio
from diffmix.data.datasets import open_dataset
from diffmix.data.folders import holds_tracks, song_folder
from diffmix.data.multitrack import Multitrack, Track, load
from diffmix.data.roles import ROLES, guess_role, is_cue
from diffmix.data.songs import songs
from diffmix.errors import AudioError
from tests.fabricate import RATE, library, put, session, stamped, tone


def named(multitrack):
    return {track.name: track for track in multitrack.tracks}


def test_a_real_session_is_read_and_everything_done_is_noted(tmp_path):
    folder = session(tmp_path / "My Song")
    (folder / "16_Gone.wav").symlink_to(tmp_path / "nowhere.wav")
    put(folder / "Vocals" / "lead" / "a.wav")
    put(folder / "Vocals" / "backing" / "a.wav")
    put(folder / "out" / "stems" / "a.wav")  # of a mix that was made
    (folder / "out" / "settings.json").touch()
    song = load(tmp_path / "My Song")
    tracks = named(song)
    assert (song.name, song.sample_rate, song.length) == ("My Song", RATE, RATE // 2)
    assert list(tracks) == [
        "01_Kick",
        "2 Snare",
        "10_Bass DI",
        "11_Gtr",
        "12_OH",
        "13_Piano",
        "14_Vöx & 'Lead'",
        "15_Silence",
    ]
    assert {n: t.audio.shape[0] for n, t in tracks.items() if t.audio.shape[0] == 2} == {"12_OH": 2, "13_Piano": 2}
    assert tracks["12_OH"].audio.numpy() == pytest.approx(np.concatenate([tone(1000.0), tone(1500.0)], 1).T, abs=1e-4)
    assert len(tracks["12_OH"].files) == 2
    assert not tracks["15_Silence"].audio.any()
    assert [t.role for t in song.tracks[:6]] == ["kick", "snare", "bass", "guitar", "overhead", "piano"]
    notes = "\n".join(song.notes)
    for expected in (
        "._01_Kick.wav, .DS_Store: left out, hidden file",
        "empty.wav: left out, empty file (0 bytes)",
        "17_Nothing.wav: left out, holds no samples",
        "Vocals/: left out, tracks lie beside; name folders and files to mix all",
        "16_Gone.wav: left out, a link to a file that does not exist",
        "tambourine.wav: left out, Git LFS pointer",
        "notes.txt: left out, not an audio file",
        "Song_MIX.wav: left out, a finished mix",
        "12_OH_L.wav + 12_OH_R.wav: joined to one stereo track",
        "11_Gtr.wav: both channels are identical, used as mono",
        "10_Bass DI.wav: resampled from 16000 to 8000 Hz",
        "14_Vöx & 'Lead'.wav: 0.30 s, padded with silence to 0.50 s",
    ):
        assert expected in notes
    assert "out/" not in notes


def test_folders_in_a_list_are_groups_of_one_song(tmp_path, monkeypatch):
    song = tmp_path / "My Song"
    put(song / "Drums" / "Room_L.wav")
    put(song / "Gtr" / "Room_R.wav")
    (song / "Drums" / "take.txt").touch()
    for name in ("Drums/close/Kick.wav", "Drums/OH_L.wav", "Drums/OH_R.wav", "Gtr/OH_L.wav", "バス & Keys/ベース.wav"):
        put(song / name)
    put(song / "Drums" / "bounced" / "Old.wav")
    (song / "Drums" / "bounced" / "settings.json").touch()  # a result of ours
    (song / "Gtr" / "._OH_L.wav").write_bytes(b"")
    put(song / "Gtr" / "stems" / "OH_L.wav")  # of a result that lies among the tracks
    (song / "Gtr" / "settings.json").touch()
    (song / "Drums" / "close" / "back").symlink_to(song / "Drums")
    twice = (song / "Gtr" / "OH_L.wav", song / "Drums" / "take.txt")
    read = load([song / "Drums", song / "Gtr", *twice, song / "バス & Keys" / "ベース.wav"])
    assert read.name == "My Song"
    assert repr(read).startswith("Multitrack('My Song', ")
    assert repr(read.tracks[0]) == f"Track('OH', 1 x {read.length}, overhead)"
    files = {"OH": 2, "Room_L": 1, "Kick": 1, "OH_L": 1, "Room_R": 1, "ベース": 1}
    assert {t.name: len(t.files) for t in read.tracks} == files
    assert all("Drums" in file for file in read.tracks[0].files)
    assert [note for note in read.notes if "txt" in note] == ["take.txt, settings.json: left out, not an audio file"]
    monkeypatch.chdir(song)
    assert [t.name for t in load(["Drums"]).tracks] == ["OH", "Room_L", "Kick"]


def test_the_session_rate_is_the_most_common_the_higher_of_two_or_the_one_asked_for(tmp_path):
    for i, rate in enumerate((8_000, 8_000, 16_000, 16_000, 22_050)):
        put(tmp_path / f"{i}.wav", sample_rate=rate)
    assert load(tmp_path).sample_rate == 16_000
    asked = load(tmp_path, sample_rate=22_050)
    assert asked.sample_rate == 22_050
    assert asked.notes == (  # what was done alike is one note
        "0.wav, 1.wav: resampled from 8000 to 22050 Hz",
        "2.wav, 3.wav: resampled from 16000 to 22050 Hz",
    )
    assert load(asked) is asked
    assert load(asked, 11_025).length == asked.length // 2 + asked.length % 2
    with pytest.raises(AudioError, match="sample_rate: the sample rate is 4000 Hz"):
        load(tmp_path, sample_rate=4_000)


def test_left_and_right_join_only_when_they_fit(tmp_path):
    names = ("a.L.wav", "a.R.wav", "b%L.wav", "b%R.wav", "c-left.wav", "c-Right.wav", "d (L).wav", "d (R).wav")
    names += ("e links.wav", "e rechts.wav", "fL.wav", "fR.wav", "choral.wav", "chorar.wav")
    for i, name in enumerate(names):
        put(tmp_path / name, tone(100.0 * (1 + i)))
    for name, seconds in {"long_L.wav": 1.0, "long_R.wav": 0.5}.items():
        put(tmp_path / name, tone(seconds=seconds))
    put(tmp_path / "wide_L.wav", tone(channels=2))
    put(tmp_path / "wide_R.wav")
    put(tmp_path / "alone_L.wav")
    put(tmp_path / "vocal.wav")
    song = load(tmp_path)
    expected = [
        "a",
        "alone_L",
        "b",
        "c",
        "choral",
        "chorar",
        "d",
        "e",
        "f",
        "long_L",
        "long_R",
        "vocal",
        "wide_L",
        "wide_R",
    ]
    assert [track.name for track in song.tracks] == expected
    assert [track.audio.shape[0] for track in song.tracks] == [2, 1, 2, 2, 1, 1, 2, 2, 2, 1, 1, 1, 2, 1]
    assert any("long_L.wav and long_R.wav: kept as two tracks, 1.00 and 0.50 s long" in note for note in song.notes)
    assert any("wide_L.wav and wide_R.wav: kept as two tracks, not both mono" in note for note in song.notes)


def test_equal_names_become_distinct(tmp_path):
    files = [put(tmp_path / d / n) for d, n in (("a", "kick.wav"), ("a", "kick.flac"), ("b", "Kick.wav"))]
    assert [track.name for track in load(files).tracks] == ["a kick", "a kick_2", "b Kick"]
    assert [track.name for track in load(files[::-1]).tracks] == ["b Kick", "a kick", "a kick_2"]
    assert [track.name for track in load(tmp_path / "a").tracks] == ["kick", "kick_2"]
    deep = [put(tmp_path / d / "take 1" / "Audio_L.wav") for d in ("Drums", "Vox")]
    deep += [put(tmp_path / "Vox" / "take 1" / n) for n in ("Audio_R.wav", "Room.wav", "Click.wav")]
    told = [(track.name, track.role) for track in load(deep, keep=["take 1 Click"]).tracks]
    assert told == [
        ("Audio_L", None),
        ("Audio", None),
        ("Room", "room"),
        ("Click", None),
    ]
    both = [(track.name, track.role) for track in load([*deep, put(tmp_path / "Drums/take 1/Audio_R.wav")]).tracks]
    assert both == [("Drums take 1 Audio", "drums"), ("Vox take 1 Audio", "lead_vocal"), ("Room", "room")]


@pytest.mark.parametrize("nested", ["tracks", "Stems", "RAW", "Song_RAW", "tracks/Song_Full", "anything"])
def test_tracks_may_lie_in_a_nested_folder(tmp_path, nested):
    put(tmp_path / nested / "kick.wav")
    put(tmp_path / "Song_MIX.wav")
    song = load(tmp_path)
    assert [track.name for track in song.tracks] == ["kick"]
    assert song.notes[0] == f"tracks read from {nested}/"


def test_tracks_are_looked_for_three_folders_down_and_in_none_that_is_hidden(tmp_path):
    put(tmp_path / "a" / "b" / "c" / "d" / "kick.wav")
    put(tmp_path / ".old" / "kick.wav")
    assert (song_folder(tmp_path), holds_tracks(tmp_path)) == (None, False)
    assert song_folder(tmp_path / "a") == tmp_path / "a" / "b" / "c" / "d"
    assert holds_tracks(tmp_path / "a")
    put(tmp_path / "a" / "b" / "tracks" / "Audio" / "raw" / "kick.wav")
    assert song_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b" / "tracks" / "Audio" / "raw"
    assert song_folder(tmp_path / "a") == tmp_path / "a" / "b" / "c" / "d"  # the other is too far down


def test_raw_tracks_are_preferred_to_stems(tmp_path):
    put(tmp_path / "Song_STEMS" / "stem.wav")
    put(tmp_path / "Song_RAW" / "raw.wav")
    assert [track.name for track in load(tmp_path).tracks] == ["raw"]


def _empty(folder):
    folder.mkdir()
    return folder


def _several(folder):
    put(folder / "monday" / "a.wav")
    put(folder / "tuesday" / "a.wav")
    return folder


def _only_a_mix(folder):
    put(folder / "mix.wav")
    return folder


def _only_a_click(folder):
    put(folder / "Click.wav")
    return folder


def _broken_among_good(folder):
    put(folder / "good.wav")
    (folder / "bad.wav").write_text("oops")
    return folder


def _several_broken(folder):
    put(_unread(_broken_among_good(folder)) / "nan.wav").write_bytes(b"RIFF")
    return folder


def _several_undecodable(folder):
    for name in ("a.wav", "b.wav"):
        put(folder / name, np.full(800, np.nan, "f4"), subtype="FLOAT")
    return folder


def _unread(folder):
    put(folder / "good.wav")
    (folder / "vox.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    return folder


samples = np.zeros(800, "f4")
UNUSABLE = {
    "missing": (lambda d: d / "gone", {}, "gone: no such folder"),
    "empty": (lambda d: _empty(d / "void"), {}, r"no audio files in it \(read are wav, "),
    "file": (lambda d: put(d / "kick.wav"), {}, "is a file; a folder"),
    "several": (lambda d: _several(d / "x"), {}, "its folders monday, tuesday hold audio: name one"),
    "only a mix": (lambda d: _only_a_mix(d / "x"), {}, "no audio files in it besides a finished mix"),
    "only a click": (lambda d: _only_a_click(d / "x"), {}, "Click.wav, which by its name only the players hear"),
    "broken": (lambda d: _broken_among_good(d / "x"), {}, r"bad\.wav: is not audio"),
    "several broken": (
        lambda d: _several_broken(d / "x"),
        {},
        r"^3 files cannot be read, replace them or move them away: .*vox.m4a: .*; .*bad.wav: is not .*; .*nan.wav: ",
    ),
    "several undecodable": (
        lambda d: _several_undecodable(d / "x"),
        {},
        r"^2 files .*a.wav: 800.*; .*b.wav: 800",
    ),
    "m4a": (lambda d: _unread(d / "x"), {}, r"vox\.m4a: m4a audio is not read; convert it"),
    "no files": (lambda d: [], {}, "no audio files"),
    "list skipped": (lambda d: [put(d / "mix.wav")], {}, r"no usable audio file: mix\.wav: left out"),
    "list missing": (lambda d: [d / "gone.wav"], {}, r"gone\.wav: no such file"),
    "list of empty folder": (lambda d: [_empty(d / "void")], {}, "the list of files: no audio files in it"),
    "list of arrays": (lambda d: [samples], {}, r"holds a ndarray; paths are needed"),
    "nameless": (lambda d: "", {}, "the name of the folder of stems is empty"),
    "number": (lambda d: 3, {}, "got int"),
    "array": (lambda d: samples, {}, "got ndarray"),
    "no rate": (lambda d: {"a": samples}, {}, "need sample_rate="),
    "no arrays": (lambda d: {}, {"sample_rate": 8_000}, "dict of tracks is empty"),
    "shape": (lambda d: {"a": np.zeros((3, 800))}, {"sample_rate": 8_000}, r"'a': shape \(3, 800\) is not audio"),
    "no samples": (lambda d: {"a": np.zeros((1, 0))}, {"sample_rate": 8_000}, r"shape \(1, 0\) is not audio"),
    "integers": (lambda d: {"a": np.zeros(8, "i2")}, {"sample_rate": 8_000}, r"torch\.int16; floating-point"),
    "nan": (lambda d: {"a": np.array([0.0, np.nan, 1e30])}, {"sample_rate": 8_000}, "'a': 2 samples are NaN"),
    "words": (lambda d: {"a": ["x"]}, {"sample_rate": 8_000}, "'a': not an array of numbers"),
    "name": (lambda d: {3: samples}, {"sample_rate": 8_000}, "got 3"),
    "rate": (lambda d: {"a": samples}, {"sample_rate": 500_000}, "500000 Hz; allowed are"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path, case):
    make, options, reason = UNUSABLE[case]
    with pytest.raises(AudioError, match=reason) as error:
        load(make(tmp_path), **options)
    assert "\n" not in str(error.value)


def test_arrays_of_all_shapes(tmp_path):
    stereo = torch.randn(2, 800).tolist()
    song = load(
        {
            "kick": np.zeros(800),
            "wide": np.array(stereo),
            "rows": np.array(stereo).T,
            "short": torch.randn(1, 80, dtype=torch.float64, requires_grad=True),
            "same": torch.ones(2, 800),
            "read-only": np.broadcast_to(np.float32(0.5), 800),
            "swapped": np.array(stereo).astype(">f8"),
            "backwards": np.array(stereo)[:, ::-1],
        },
        sample_rate=8_000,
    )
    assert [track.audio.shape[0] for track in song.tracks] == [1, 2, 2, 1, 1, 1, 2, 2]
    assert torch.equal(song.tracks[1].audio, song.tracks[2].audio)
    assert torch.equal(song.tracks[1].audio, song.tracks[6].audio)
    assert torch.equal(song.tracks[1].audio, song.tracks[7].audio.flip(1))
    assert {(t.audio.dtype, t.audio.shape[1], t.audio.requires_grad) for t in song.tracks} == {
        (torch.float32, 800, False)
    }
    assert song.tracks[0].role == "kick"
    assert song.tracks[0].files == ()


def test_a_multitrack_refuses_what_cannot_be_mixed():
    kick = Track("kick", torch.zeros(1, 10))
    with pytest.raises(AudioError, match="at least one track"):
        Multitrack("x", 8_000, ())
    with pytest.raises(AudioError, match="two tracks are named 'kick'"):
        Multitrack("x", 8_000, (kick, kick))
    with pytest.raises(AudioError, match=r"'bass' has shape \(1, 9\)"):
        Multitrack("x", 8_000, (kick, Track("bass", torch.zeros(1, 9))))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("01_KickIn", "kick"),
        ("bass drum", "kick"),
        ("02_Snare Bottom", "snare"),
        ("HiHat", "hihat"),
        ("OHs", "overhead"),
        ("DrumRoomL", "room"),
        ("FloorTom2", "tom"),
        ("Ride 22in", "cymbal"),
        ("Shaker", "percussion"),
        ("drums_2", "drums"),
        ("pad_and_bass", "bass"),
        ("ElecGtr1", "guitar"),
        ("07_LeadVoxDT", "lead_vocal"),
        ("Lead Vöx [comp]", "lead_vocal"),
        ("Lead Guitar", "guitar"),
        ("BGVox3", "backing_vocal"),
        ("vox double", "backing_vocal"),
        ("Rhodes", "keys"),
        ("Electric Piano", "keys"),
        ("Acoustic Piano", "piano"),
        ("Moog Lead", "synth"),
        ("Sax", "woodwind"),
        ("Horns", "brass"),
        ("Violin", "strings"),
        ("Riser", "fx"),
        ("custom", None),
        ("другое", None),
        ("02 LV", "lead_vocal"),
        ("LV Dbl L", "backing_vocal"),
        ("Voix lead", "lead_vocal"),
        ("Chœurs_2", "backing_vocal"),
        ("E-Gitarre links", "guitar"),
        ("Bassgitarre", "bass"),
        ("Caja arriba", "snare"),
        ("Violão 1", "guitar"),
        ("03_бас-гитара", "bass"),
        ("Бас-бочка", "kick"),
        ("リードボーカル", "lead_vocal"),
        ("ｼﾝｾ パッド", "synth"),
        ("스네어 탑", "snare"),
        ("贝斯DI", "bass"),
    ],
)
def test_roles_are_guessed_from_names(name, role):
    assert guess_role(name) == role
    assert role is None or role in ROLES


CUES = "Click|03_ClickTrack_L|CLICK 120bpm|Klick|Metronome|Métronome|Guide|Guía|Click & Cues|Talkback mic|Talk Back"
CUES += "|Timecode|Song_LTC|SMPTE 25|Band - Click Track|メトロノーム|クリック音|Метроном"
MUSIC = "Clicky Perc|Guide Vox|Kick Click|Guide Melody|Rescue|LTC Guitar|Cue Vox|Track 1|L|click-clack|Metronomy bass"


def test_what_only_players_hear_is_known_by_its_whole_name():
    assert [name for name in CUES.split("|") if not is_cue(name)] == []
    assert [name for name in MUSIC.split("|") if is_cue(name)] == []


APPLE_DOUBLES = ("._1.wav", "._2.wav", "._3.wav", "._4.wav", "._5.wav")


def test_what_only_players_hear_is_left_out_and_had_in_by_name(tmp_path):
    for name in ("Click.wav", "LTC_L.wav", "LTC_R.wav", "Guide Vox.wav", *APPLE_DOUBLES):
        put(tmp_path / name, tone(seconds=0.1 if "Vox" in name else 0.2))
    song = load(tmp_path)
    assert [track.name for track in song.tracks] == ["Guide Vox"]
    assert song.seconds == pytest.approx(0.1)  # a click that goes on does not make it longer
    assert any("Click.wav: left out, by its name only the players hear it" in note for note in song.notes)
    notes = "\n".join(song.notes)
    assert "'Click=percussion'" in notes
    assert "LTC_L.wav + LTC_R.wav: left out" in notes
    assert "'LTC=percussion'" in notes
    assert "._1.wav, ._2.wav, ._3.wav and 2 more: left out, hidden file" in notes
    assert len(song.notes) == 3
    assert [track.name for track in load(sorted(tmp_path.iterdir())).tracks] == ["Guide Vox"]
    assert [track.name for track in load(tmp_path, keep=["Click", "LTC"]).tracks] == ["Click", "Guide Vox", "LTC"]
    (tmp_path / "Guide Vox.wav").unlink()
    assert [track.name for track in load(tmp_path, keep=["LTC"]).tracks] == ["LTC"]


def test_tracks_are_placed_by_their_time_stamps(tmp_path):
    hour = 3600 * RATE
    stamped(put(tmp_path / "b.wav"), hour + 1_000)
    stamped(put(tmp_path / "c_L.wav"), hour)
    stamped(put(tmp_path / "c_R.wav"), hour)
    stamped(put(tmp_path / "d.wav", tone(sample_rate=2 * RATE), 2 * RATE), 2 * hour + 4_001)
    song = named(load(tmp_path, RATE))
    assert {name: track.start_s for name, track in song.items()} == {"b": 0.125, "c": 0.0, "d": 4_001 / 2 / RATE}
    assert song["b"].audio[0, 1_000:5_000].numpy() == pytest.approx(tone()[:, 0], abs=1e-4)
    assert not song["b"].audio[0, :1_000].any()
    assert song["d"].audio.shape[1] == 6_001
    assert load(tmp_path).notes[1] == "placed by the time stamps in the files: b.wav at 0.125 s, d.wav at 0.250 s"
    piece = open_dataset(tmp_path)[0].segment(0.2, 0.1)
    assert torch.equal(piece.tracks[0].audio, song["b"].audio[:, 1_600:2_400])
    stamped(put(tmp_path / "c_R.wav"), hour + 7)  # less than a millisecond
    assert "c" in named(load(tmp_path))
    stamped(put(tmp_path / "c_R.wav"), hour + 800)  # no stereo track, then
    apart = load(tmp_path)
    assert apart.notes[0] == "c_L.wav and c_R.wav: kept as two tracks, 0.100 s apart by their time stamps"
    assert {name: track.start_s for name, track in named(apart).items() if "c" in name} == {"c_L": 0.0, "c_R": 0.1}


@pytest.mark.parametrize(
    ("stamps", "why"),
    [
        ({"a": 0, "b": 100, "c": None, "d": None}, "c.wav, d.wav have none"),
        ({"a": 0, "b": 100, "c": None}, "c.wav has none"),
        ({"a": 0, "b": 100, "c": 3 * 3600 * RATE}, "they are 3.0 hours apart"),
        ({"a": 0, "b": 100, "c": 2 * RATE}, "with a gap in which nothing plays"),
        ({"a": 5, "b": 5, "c": None}, ""),
        ({"a": 5, "b": 6, "c": 5}, ""),
    ],
)
def test_time_stamps_that_place_nothing_are_told(tmp_path, stamps, why):
    for name, stamp in stamps.items():
        put(tmp_path / f"{name}.wav")
        if stamp is not None:
            stamped(tmp_path / f"{name}.wav", stamp)
    song = load(tmp_path)
    assert (song.length, {track.start_s for track in song.tracks}) == (RATE // 2, {0.0})
    told = f"the files have time stamps that differ, but {why}: all tracks begin together"
    assert song.notes == ((told,) if why else ())


def test_a_broken_or_foreign_head_has_no_time_stamp(tmp_path):
    whole = stamped(put(tmp_path / "a.wav"), 7).read_bytes()
    assert audio.time_stamp(tmp_path / "a.wav") == 7
    for part in (whole[:300], whole[:12], b"RIFF", whole[12:]):
        (tmp_path / "b.wav").write_bytes(part)
        assert audio.time_stamp(tmp_path / "b.wav") is None
    assert audio.time_stamp(put(tmp_path / "a.flac")) is None
    assert audio.time_stamp(tmp_path / "gone.wav") is None


def test_songs_are_found_in_any_layout(tmp_path):
    root = library(tmp_path)
    assert [song.name for song in songs(root)] == ["Artist_Title", "song 2", "song 10"]
    assert songs(root / "song 2") == [root / "song 2"]
    for path, reason in ((root / "papers", "no song in it"), (root / "gone", "no such folder")):
        with pytest.raises(AudioError, match=reason):
            songs(path)


def test_pieces_equal_the_slice_of_the_whole(tmp_path, monkeypatch):
    song = session(tmp_path / "song")
    whole = load(song)
    index = open_dataset(tmp_path)
    monkeypatch.setattr(audio, "read", None)  # the whole is never read
    piece = index[0].segment(0.1, 0.2)
    assert [t.name for t in piece.tracks] == [t.name for t in whole.tracks]
    for part, full in zip(piece.tracks, whole.tracks, strict=True):
        inner = slice(100, 1_500)  # the resampling filter sees the cut at both ends
        assert part.audio.numpy()[:, inner] == pytest.approx(full.audio.numpy()[:, 800 + 100 : 800 + 1_500], abs=1e-4)
    drawn = [index.draw(0.25, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert drawn[0].length == 2_000
    assert torch.equal(drawn[0].tracks[0].audio, drawn[1].tracks[0].audio)
    assert not torch.equal(drawn[0].tracks[0].audio, drawn[2].tracks[0].audio)
    assert index.draw(3.0, torch.Generator()).length == 24_000
    assert open_dataset(tmp_path, sample_rate=11_025).draw(0.123, torch.Generator()).length == round(0.123 * 11_025)


def test_many_tracks_and_a_tenth_of_a_second(tmp_path):
    for i in range(70):
        put(tmp_path / f"t{i}.wav", tone(seconds=0.1))
    song = load(tmp_path)
    assert len(song.tracks) == 70
    assert song.tracks[10].name == "t10"
    assert song.seconds == pytest.approx(0.1)


def test_the_bundled_example_is_complete():
    folder = Path(__file__).resolve().parents[2] / "recipes" / "automix" / "example"
    song = load(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4_000_000
    assert (song.sample_rate, song.seconds, len(song.tracks)) == (48_000, 12.0, 8)
    assert {"drums", "bass", "lead_vocal", "synth"} <= {track.role for track in song.tracks}
    level = torch.stack([t.audio.unfold(1, 4_800, 4_800).square().mean((0, 2)).sqrt() for t in song.tracks])
    assert ((level > 10 ** (-50 / 20)).float().mean(1) > 0.1).sum() == 8
