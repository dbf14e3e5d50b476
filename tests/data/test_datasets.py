"""Data sets as they lie on disk, fabricated with the traps that real copies hold."""

import json
import pickle
import sys
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from diffmix.data import audio
from diffmix.data.alignment import aligned, lag
from diffmix.data.datasets import KINDS, address, open_dataset, song_at, training_and_held_out
from diffmix.data.datasets.musdb import VALIDATION
from diffmix.data.recordings import Recordings
from diffmix.data.roles import ROLES
from diffmix.errors import AudioError
from tests.fabricate import RATE, put, tone

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
STEMS = ("drums", "bass", "other", "vocals")


def noise(seed, seconds=0.5, channels=1):
    """A crackle that is like nothing but itself, (T, C)."""
    return 0.2 * np.random.default_rng(seed).standard_normal((round(seconds * RATE), channels)).astype("f4")


def musdb(root):
    for part, name in (
        ("train", "Artist & Co - Don't Stop"),
        ("train", "Meaxic - Take A Step"),
        ("test", "Ängström - Ünïcode"),
    ):
        folder = root / part / name
        for number, stem in enumerate(STEMS):
            put(folder / f"{stem}.wav", tone(100.0 * (1 + number), channels=2))
        put(folder / "mixture.wav", tone(channels=2))
    (root / "test" / "Ängström - Ünïcode" / "vocals.wav").unlink()
    put(root / "test" / "Ängström - Ünïcode" / "drums.wav", tone(sample_rate=16_000), 16_000)
    (root / "train" / "Meaxic - Take A Step" / "bass.wav").write_bytes(b"")
    (root / "train" / "Meaxic - Take A Step" / "other.wav").write_text(LFS)
    (root / "train" / "Meaxic - Take A Step" / "._drums.wav").write_bytes(b"\0\5\x16\7")
    return root


def dsd100(root):
    for part, mixed, name in (("Dev", "051", "051 - A - One"), ("Dev", "053", "052 - B - Two"), ("Test", "1", "1 - C")):
        title = name.partition(" - ")[2]
        for stem in STEMS:
            put(root / "Sources" / part / name / f"{stem}.wav")
        put(
            root / "Mixtures" / part / f"{mixed} - {title}" / "mixture.wav", tone(seconds=0.5 if part == "Dev" else 0.4)
        )
    return root


def medleydb(root):
    audio_of = root / "Audio"
    name, raw = "ThePoor_LoneWolf", "ThePoor_LoneWolf_RAW"
    put(audio_of / name / f"{name}_MIX.wav", tone(channels=2))
    for number in ("01_01", "01_02", "02_01"):
        put(audio_of / name / raw / f"{raw}_{number}.wav")
    (audio_of / name / raw / f"._{raw}_01_01.wav").write_bytes(b"\0\5\x16\7")
    for number in ("01", "02"):
        put(audio_of / name / f"{name}_STEMS" / f"{name}_STEM_{number}.wav", tone(channels=2))
    (audio_of / name / f"{name}_METADATA.yaml").write_text(f"""
artist: The Poor
has_bleed: 'yes'
mix_filename: {name}_MIX.wav
raw_dir: {raw}
stem_dir: {name}_STEMS
stems:
  S02: {{component: melody, filename: {name}_STEM_02.wav, instrument: male singer,
        raw: {{R01: {{filename: {raw}_02_01.wav, instrument: male singer}},
              R02: {{filename: {raw}_02_02.wav, instrument: male singer}}}}}}
  S01: {{component: '', filename: {name}_STEM_01.wav, instrument: [drum set, claps],
        raw: {{R01: {{filename: {raw}_01_01.wav, instrument: kick drum}},
              R02: {{filename: {raw}_01_02.wav, instrument: euphonium}}}}}}
""")
    put(audio_of / "ThePoor_Other" / "ThePoor_Other_RAW" / "ThePoor_Other_RAW_01_01.wav")
    put(audio_of / "Duo_Song" / "Duo_Song_STEMS" / "Duo_Song_STEM_01.wav")
    metadata = root / "Metadata" / "Duo_Song_METADATA.yaml"
    metadata.parent.mkdir()
    metadata.write_text("Duo_Song_STEM_01.wav: erhu\ngenre: Jazz\n")
    return root


def moisesdb(root):
    def song(number, artist, stems):
        folder = root / "moisesdb_v0.1" / f"{number:08d}"
        for stem in stems:
            for track in stem["tracks"]:
                put(
                    folder / stem["stemName"] / f"{track['id']}.wav",
                    tone(seconds=0.1 * len(stem["tracks"]), channels=2),
                )
        about = {"song": "Song", "artist": artist, "genre": "pop", "stems": stems}
        (folder / "data.json").write_text(json.dumps(about))

    def track(number, kind):
        return {"id": f"id{number}", "trackType": kind, "extension": "wav", "has_bleed": False}

    song(1, "A", [
        {"stemName": "vocals", "tracks": [track(1, "lead female singer"), track(2, "lead female singer")]},
        {"stemName": "vocals", "tracks": [track(3, "background vocals")]},
        {"stemName": "percussion", "tracks": [track(4, "a-tonal percussion (claps, shakers, congas, cowbell etc)")]},
        {"stemName": "other", "tracks": [track(5, "click track")]},
        {"stemName": "other_keys", "tracks": [track(6, "other sounds (hapischord, melotron etc)")]},
    ])  # fmt: skip
    song(2, "A", [{"stemName": "bass", "tracks": [track(7, "contrabass/double bass (bass of instrings)")]}])
    song(3, "B", [{"stemName": "drums", "tracks": [track(8, "full acoustic drumkit")]}])
    return root


def slakh(root):
    for part, name in (("train", "Track00001"), ("validation", "Track01501"), ("omitted", "Track00002")):
        folder = root / "slakh2100_flac_redux" / part / name
        stems = {"S00": ("Piano", False), "S02": ("Drums", True), "S03": ("Chromatic Percussion", False)}  # no S01
        for number in stems:
            put(folder / "stems" / f"{number}.flac")
        put(folder / "mix.flac")
        (folder / "stems" / "S03.flac").unlink()
        lines = [
            f"  {n}: {{inst_class: {c}, is_drum: {str(d).lower()}, midi_program_name: {c}}}"
            for n, (c, d) in stems.items()
        ]
        (folder / "metadata.yaml").write_text("\n".join(["audio_dir: stems", "stems:", *lines]))
    return root


def enst(root):
    folders = ("kick", "snare", "hi-hat", "overhead_L", "overhead_R", "dry_mix", "wet_mix", "accompaniment")
    for drummer, toms in (("drummer_1", ("tom_1",)), ("drummer_2", ())):
        for take in ("036_phrase_disco_simple_slow_sticks", "001_hits_snare-drum_sticks_x6", "036_phrase_norm"):
            for number, folder in enumerate((*folders, *toms)):
                put(root / drummer / "audio" / folder / f"{take}.wav", tone(100.0 * (1 + number)))
    return root


def cambridge(root):
    put(root / "AnArtist_ASong_Full" / "01_KickIn.wav")
    put(root / "AnArtist_ASong_Full" / "07_LeadVox.wav", tone(seconds=0.3))
    put(root / "AnArtist_ASong_Full" / "08_Broken.wav").write_text("oops")
    put(root / "AnArtist_ASong_Full" / "09_OH L.wav", tone(channels=2))
    tracks = root / "00055" / "tracks" / "Band_Tune_Full"
    for name in ("01_Kick.wav", "02_OverheadsL.wav", "KICK - U48 - LaChappel.wav"):
        put(tracks / name)
    for name in ("Band_Tune_UnmasteredExcerpt.wav", "Band_Tune_Full_Preview.wav", "Other.wav"):
        put(root / "00055" / "mixes" / name, tone(channels=2))
    staged = root / "Trio_Piece"
    for name in ("01_Thing.wav", "02_Bass.wav"):
        put(staged / "dry" / name)
    put(staged / "mix.wav")
    put(staged / "rough_mix.wav")
    (staged / "correspondence.yaml").write_text("LeadVox: [01_Thing.wav]\nBass: [02_Bass.wav]\n")
    (staged / "alignment.pickle").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    return root


def folder(root):
    for name in ("a song", "b song"):
        for stem in ("kick.wav", "bass.wav"):
            put(root / name / "tracks" / stem)
    put(root / "a song" / "mix.wav", tone(channels=2))
    put(root / "b song" / "b song_MASTER.wav")
    return root


def manifest(root):
    put(root / "V1" / "X" / "X_RAW" / "X_RAW_01_01.wav")
    put(root / "V1" / "X" / "X_MIX.wav")
    put(root / "V2" / "Y" / "Y_RAW" / "Y_RAW_01_01.wav")
    (root / "manifest.yaml").write_text("""
train:
  V1/X/X_RAW: {X_RAW_01_01.wav: kick drum, X_RAW_01_02.wav: toms}
val:
  V2/Y/Y_RAW: {Y_RAW_01_01.wav: Main System}
""")
    return root


FABRICATED = {
    "musdb18": (musdb, 3),
    "dsd100": (dsd100, 3),
    "medleydb": (medleydb, 3),
    "moisesdb": (moisesdb, 3),
    "slakh": (slakh, 2),
    "enst": (enst, 2),
    "cambridge": (cambridge, 3),
    "folder": (folder, 2),
    "manifest": (manifest, 2),
}


def roles(song):
    return {source.name: source.role for source in song.sources}


@pytest.mark.parametrize("kind", FABRICATED)
def test_every_data_set_is_recognised_and_read_in_one_way(tmp_path, kind, monkeypatch):
    make, count = FABRICATED[kind]
    root = make(tmp_path / "data")
    dataset = open_dataset(root, kind="auto")
    assert (dataset.kind, len(dataset)) == (kind, count)
    assert str(dataset) == f"{root}: {count} songs ({kind})"
    assert [s.name for s in open_dataset(root, kind)] == [s.name for s in dataset]
    assert [s.name for s in dataset[1:]] == [s.name for s in dataset][1:]
    by_split = {split: {p.name for p in dataset.places if p.split == split} for split in ("train", "valid", "test")}
    assert set.union(*by_split.values()) == {song.name for song in dataset}
    for split, names in by_split.items():
        if names:
            assert {song.name for song in open_dataset(root, split=split)} == names
        else:
            with pytest.raises(AudioError, match=f"none of its {count} songs is for {split}"):
                open_dataset(root, split=split)
    monkeypatch.setattr(audio, "read", None)  # the whole of a file is never read
    for song in dataset:
        piece = song.segment(0.05, 0.2, 16_000)
        assert {track.audio.shape[1] for track in piece.tracks} == {3_200}
        assert all(source.role is None or source.role in ROLES for source in song.sources)
        assert all(torch.isfinite(track.audio).all() for track in piece.tracks)
        if song.is_paired:
            assert song.mixed(0.05, 0.2, 16_000).shape == (2, 3_200)
            assert song.mixed(0.05, 0.2, 16_000).any()
    if kind not in ("slakh", "enst", "moisesdb", "manifest", "dsd100", "musdb18"):
        return
    (tmp_path / "around").mkdir()
    root.rename(tmp_path / "around" / "data")
    assert open_dataset(tmp_path / "around").kind == kind


def test_musdb_has_its_official_splits_and_notes_what_is_missing(tmp_path):
    root = musdb(tmp_path)
    assert len(VALIDATION) == 14
    (train,), (valid,), (test,) = (open_dataset(root, split=split) for split in ("train", "valid", "test"))
    assert (train.name, valid.name, test.name) == (
        "Artist & Co - Don't Stop",
        "Meaxic - Take A Step",
        "Ängström - Ünïcode",
    )
    assert roles(train) == {"drums": "drums", "bass": "bass", "other": None, "vocals": "lead_vocal"}
    assert list(roles(valid)) == ["drums", "vocals"]
    assert valid.notes == (
        "bass.wav: left out, empty file (0 bytes)",
        "other.wav: left out, Git LFS pointer (fetch it with `git lfs pull`)",
    )
    assert "vocals.wav: is missing" in test.notes
    assert test.sample_rate == RATE
    assert {t.audio.shape for t in test.whole().tracks} == {(1, RATE // 2), (2, RATE // 2)}
    assert train.mix.files[0].name == "mixture.wav"
    assert train.mixed(0, 0.5).numpy() == pytest.approx(tone(channels=2).T, abs=1e-4)


def test_a_data_set_like_musdb_with_further_tracks_keeps_them(tmp_path):
    for name in (*STEMS, "guitar"):
        put(tmp_path / "train" / "A" / f"{name}.wav")
    (song,) = open_dataset(tmp_path)
    assert "guitar" in roles(song)


def test_compressed_musdb_names_the_way_out(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "A - B.stem.mp4").write_bytes(b"\0\0\0\x20ftypM4A ")
    with pytest.raises(AudioError, match=r"A - B\.stem\.mp4: .*MUSDB18-HQ, .*ffmpeg"):
        open_dataset(tmp_path)


def test_dsd100_matches_mixtures_by_name_not_by_number(tmp_path):
    dataset = open_dataset(dsd100(tmp_path))
    assert {s.name: s.mix.files[0].parent.name for s in dataset} == {
        "A - One": "051 - A - One",
        "B - Two": "053 - B - Two",
        "C": "1 - C",
    }
    assert [song.split for song in dataset][2] == "test"


def test_medleydb_takes_files_and_roles_from_the_description(tmp_path):
    dataset = open_dataset(medleydb(tmp_path))
    song = dataset.named("ThePoor_LoneWolf")
    assert roles(song) == {"01_01 kick drum": "kick", "01_02 euphonium": "brass", "02_01 male singer": "lead_vocal"}
    assert "microphones heard each other (has_bleed)" in song.notes
    assert "ThePoor_LoneWolf_RAW_02_02.wav: is missing" in song.notes
    assert song.mix.files[0].name == "ThePoor_LoneWolf_MIX.wav"
    assert roles(dataset.named("Duo_Song")) == {"01 erhu": "strings"}
    assert roles(dataset.named("ThePoor_Other")) == {"01_01": None}
    assert "is missing, the tracks have no roles" in dataset.named("ThePoor_Other").notes[0]
    assert len({song.split for song in dataset if song.name.startswith("ThePoor")}) == 1  # an artist is never divided
    stems = open_dataset(tmp_path, "medleydb-stems")
    assert len(stems) == 2
    assert roles(stems.named("ThePoor_LoneWolf")) == {"01 drum set": "drums", "02 male singer": "lead_vocal"}


def test_moisesdb_merges_stems_that_come_twice_and_sums_up(tmp_path):
    dataset = open_dataset(moisesdb(tmp_path))
    assert [song.name for song in dataset] == ["A - Song", "A - Song (2)", "B - Song"]
    song = dataset[0]
    assert roles(song) == {
        "lead female singer": "lead_vocal",
        "lead female singer_2": "lead_vocal",
        "background vocals": "backing_vocal",
        "a-tonal percussion (claps, shakers, congas, cowbell etc)": "percussion",
        "other sounds (hapischord, melotron etc)": "keys",
    }
    assert "id5: left out, click track" in song.notes
    assert (song.mix, song.is_paired, song.seconds) == (None, True, 0.2)  # tracks differ in length
    total = sum(track.audio for track in song.whole().tracks)
    assert torch.equal(song.mixed(0, 0.2), total)
    (tmp_path / "moisesdb_v0.1" / "00000003" / "data.json").write_text('{"stems": [{}]}')
    with pytest.raises(AudioError, match=r"data\.json: is not a song of MoisesDB"):
        open_dataset(tmp_path)[2]


def test_slakh_reads_only_stems_that_are_there(tmp_path):
    dataset = open_dataset(slakh(tmp_path))
    assert [(song.name, song.split) for song in dataset] == [("Track00001", "train"), ("Track01501", "valid")]
    assert roles(dataset[0]) == {"S00 Piano": "piano", "S02 Drums": "drums"}
    assert "S03.flac: is missing" in dataset[0].notes
    assert dataset[0].mix.files[0].name == "mix.flac"


def test_enst_joins_overheads_and_leaves_strokes_out(tmp_path):
    first, second = open_dataset(enst(tmp_path))
    assert first.name == "drummer_1 036_phrase_disco_simple_slow_sticks"
    assert roles(first) == {
        n: n.replace("-", "").partition("_")[0] for n in ("kick", "snare", "hi-hat", "tom_1", "overhead")
    }
    assert "tom_1" not in roles(second)
    assert first.whole().tracks[-1].audio.shape[0] == 2
    assert [mix.files[0].parent.name for mix in first.mixes] == ["dry_mix", "wet_mix"]


def test_cambridge_in_its_three_layouts(tmp_path):
    dataset = open_dataset(cambridge(tmp_path))
    plain, copied, staged = (dataset.named(n) for n in ("AnArtist_ASong", "Band_Tune", "Trio_Piece"))
    assert roles(plain) == {"01_KickIn": "kick", "07_LeadVox": "lead_vocal", "09_OH L": "overhead"}
    assert any(note.startswith("08_Broken.wav: left out, is not audio") for note in plain.notes)
    assert plain.mix is None
    assert not plain.is_paired
    assert [m.files[0].name for m in copied.mixes][:2] == [
        "Band_Tune_Full_Preview.wav",
        "Band_Tune_UnmasteredExcerpt.wav",
    ]
    assert len(copied.sources) == 3
    assert roles(staged) == {"01_Thing": "lead_vocal", "02_Bass": "bass"}
    assert [m.files[0].name for m in staged.mixes] == ["mix.wav", "rough_mix.wav"]


def test_a_mix_that_begins_elsewhere_is_put_in_step(tmp_path):
    whole = [noise(number, seconds=24) for number in range(3)]
    for number, x in enumerate(whole):
        put(tmp_path / "A_B_Full" / "tracks" / f"0{number}.wav", x, subtype="FLOAT")
    mixed = 0.5 * whole[0] + 0.3 * whole[1] + 0.1 * whole[2]
    late = np.concatenate([np.zeros((700, 1), "f4"), mixed])
    put(tmp_path / "A_B_Full" / "mixes" / "A_B_Full.wav", late.repeat(2, 1), subtype="FLOAT")
    song = open_dataset(tmp_path)[0]
    assert song.mix_start_s == pytest.approx(-700 / RATE)
    assert song.mixed(3.0, 1.0).numpy() == pytest.approx(mixed[3 * RATE : 4 * RATE].repeat(2, 1).T, abs=1e-6)
    put(tmp_path / "A_B_Full" / "mixes" / "A_B_Full.wav", noise(9, 24), subtype="FLOAT")
    song = open_dataset(tmp_path)[0]
    assert not song.is_paired
    with pytest.raises(AudioError, match=r"A_B_Full\.wav does not fit its tracks anywhere"):
        song.mixed(0, 1)
    put(tmp_path / "A_B_Full" / "mixes" / "A_B_Full.wav", np.zeros((RATE, 1), "f4"))
    assert not open_dataset(tmp_path)[0].is_paired


@pytest.mark.parametrize("late", [-3_000, -1, 0, 1, 2_500])
def test_lag_finds_any_place_through_an_equaliser_and_either_polarity(late):
    reference = torch.from_numpy(noise(1, seconds=2.0).T)
    darker = torch.nn.functional.conv1d(reference[None], torch.tensor([[[-0.6, -0.3, -0.1]]]))[0]
    mix = torch.cat([torch.zeros(1, max(late, 0)), darker[:, max(-late, 0) :]], 1).expand(2, -1)
    found = lag(mix, reference, 4_000)
    assert found.samples == late
    assert found.agreement > 0.3
    assert lag(aligned(mix, reference, 4_000), reference, 50).samples == 0
    assert aligned(mix, reference).shape == (2, reference.shape[1])


def test_lag_of_silence_and_of_very_short_recordings():
    assert lag(torch.zeros(2, 100), torch.ones(1, 100), 10) == (0, 0.0)
    assert lag(torch.ones(1, 1), torch.ones(1, 1), 1_000) == (0, 1.0)


def test_labels_override_names_and_say_what_is_wrong(tmp_path):
    root = folder(tmp_path)
    put(root / "a song" / "tracks" / "click.wav")
    put(root / "a song" / "tracks" / "best.wav")
    (root / "a song" / "labels.yaml").write_text(
        "kick.wav: {role: tom, gain_db: -6.0206, start_s: 0.25, name: Boom}\nclick.wav: skip\nbest.wav: mix\n"
    )
    (root / "labels.csv").write_text(
        "song,file,role\na song,bass.wav,synth\nb song,kick.wav,thing\nb song,gone.wav,kick\n"
    )
    for name in ("Click.wav", "tracks/Cues.wav", "tracks/LTC.wav"):  # of some the label knows better than the name
        put(root / "b song" / name)
    with open(root / "labels.csv", "a") as file:
        file.write("b song,Cues.wav,percussion\nb song,Click.wav,percussion\nb song,drums.wav,skip\n")
    with pytest.warns(UserWarning, match="has a label, but is no file|is no role that is known"):
        a, b = open_dataset(root)
    assert roles(a) == {"bass": "synth", "Boom": "tom"}
    assert roles(b)["Cues"] == roles(b)["Click"] == "percussion"
    assert "LTC" not in roles(b)
    assert [note[:15] for note in b.notes if "only the players" in note] == ["LTC.wav: left o"]
    assert a.mix.files[0].name == "best.wav"
    assert a.seconds == 0.75
    boom = a.whole().tracks[1].audio
    assert not boom[:, : RATE // 4].any()
    assert boom[0, RATE // 4 : RATE // 4 + 4_000].numpy() == pytest.approx(0.5 * tone()[:, 0], abs=1e-4)
    assert "kick.wav: 'thing' is no role that is known" in b.notes
    for name in ("gone.wav", "drums.wav"):
        assert f"{name}: has a label, but is no file of the song" in b.notes
    for text, reason in (
        ("kick.wav: {gain: 3}", r"'gain' is not known; known are role, name, gain_db, start_s"),
        ("kick.wav: {gain_db: loud}", "'loud' is not a number"),
        ("- kick.wav", "the file is not a mapping"),
        ("kick: [", "is not YAML"),
        ("kick.wav: !!python/object/apply:os.system [false]", "is not YAML"),
        ("kick.wav: skip\nbass.wav: skip\nclick.wav: skip\nbest.wav: mix", "its labels leave no track"),
    ):
        (root / "a song" / "labels.yaml").write_text(text)
        with pytest.raises(AudioError, match=reason):
            open_dataset(root)[0]
    (root / "labels.csv").write_text("song,track\na,b\n")
    with pytest.raises(AudioError, match="there is no column 'file'"):
        open_dataset(root)[1]


def test_a_manifest_file_lists_songs_and_splits(tmp_path):
    root = manifest(tmp_path)
    dataset = open_dataset(root / "manifest.yaml")
    assert [(s.name, s.split, s.mix is not None) for s in dataset] == [
        ("V1/X/X_RAW", "train", True),
        ("V2/Y/Y_RAW", "valid", False),
    ]
    assert roles(dataset[0]) == {"X_RAW_01_01": "kick"}
    assert dataset[0].notes == ("X_RAW_01_02.wav: is missing",)
    csv = root / "manifest.csv"
    csv.write_text("split,song,file,role,gain_db\ntest,V1/X/X_RAW,X_RAW_01_01.wav,snare,\n")
    (song,) = open_dataset(csv)
    assert (song.split, roles(song)) == ("test", {"X_RAW_01_01": "snare"})


def test_names_decide_splits_and_small_folders_still_have_all_three(tmp_path):
    root = tmp_path / "songs"
    for number in range(40):
        for stem in ("a.wav", "b.wav"):
            put(root / f"song {number}" / stem, tone(seconds=0.01))
    first = {place.name: place.split for place in open_dataset(root).places}
    assert [list(first.values()).count(split) for split in ("train", "valid", "test")] == [35, 3, 2]
    for stem in ("a.wav", "b.wav"):
        put(root / "another" / stem, tone(seconds=0.01))
    again = {place.name: place.split for place in open_dataset(root).places}
    assert first.items() <= again.items()
    few = folder(tmp_path / "few")
    train, held_out = training_and_held_out(few)
    assert (len(train), len(held_out), train.split, held_out.split) == (1, 1, "train", "valid")
    alone = tmp_path / "few" / "a song"
    train, held_out = training_and_held_out(alone)
    assert train[0].folder == held_out[0].folder == alone


def test_workers_and_orders_read_the_same(tmp_path):
    root = musdb(tmp_path)
    dataset = open_dataset(root, sample_rate=RATE)
    by_hand = [song.segment(0.1, 0.1).tracks[0].audio for song in open_dataset(root)]
    loader = DataLoader(pickle.loads(pickle.dumps(dataset)), None, collate_fn=_first, num_workers=2)
    for x, expected in zip(loader, by_hand, strict=True):
        assert torch.equal(x, expected)
    draw = [dataset.draw(0.1, torch.Generator().manual_seed(3)).tracks[0].audio for _ in range(2)]
    assert torch.equal(*draw)


def _first(song):
    return song.segment(0.1, 0.1).tracks[0].audio


def test_silent_tracks_stay_and_not_a_number_is_named(tmp_path):
    put(tmp_path / "song" / "a.wav", np.zeros((RATE, 1), "f4"))
    bad = tone(seconds=1.0)
    bad[6_000] = np.nan
    put(tmp_path / "song" / "b.wav", bad, subtype="FLOAT")
    for number in range(70):
        put(tmp_path / "song" / f"t{number}.wav", tone(seconds=0.05))
    (song,) = open_dataset(tmp_path)
    assert len(song.segment(0, 0.5).tracks) == 72
    with pytest.raises(AudioError, match=r"b\.wav: 1 samples are NaN, infinite or beyond ±1e12, the first at 0\.750 s"):
        song.segment(0.5, 0.5)
    (tmp_path / "song" / "labels.yaml").write_text("b.wav: skip\n")
    assert len(open_dataset(tmp_path)[0].segment(0.5, 0.5).tracks) == 71


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("gone", {}, "gone: no such folder"),
        ("", {}, r"no data set in it that is known \(looked for a manifest: manifest\.yaml .*; MUSDB18-HQ: train/ and"),
        ("", {"kind": "musdb18"}, r"looked for MUSDB18-HQ: train/ and test/ with song folders that hold mixture\.wav"),
        ("", {"kind": "cds"}, "no kind of data set 'cds'; there are auto, manifest, musdb18"),
        ("", {"split": "dev"}, "no split 'dev'; there are train, valid, test"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, path, options, reason):
    with pytest.raises(AudioError, match=reason):
        open_dataset(tmp_path / path, **options)


def test_a_song_of_which_nothing_is_usable_is_named(tmp_path):
    root = musdb(tmp_path)
    for stem in STEMS:
        (root / "train" / "Meaxic - Take A Step" / f"{stem}.wav").write_bytes(b"")
    song = open_dataset(root, split="valid")
    with pytest.raises(AudioError, match=r"Take A Step: no usable track: .*empty file"):
        _ = song[0]


def test_every_kind_tells_its_licence_and_that_nothing_is_downloaded():
    for kind in KINDS.values():
        find = kind.find.func if isinstance(kind.find, partial) else kind.find
        about = " ".join((sys.modules[find.__module__].__doc__ or "").split())
        if kind.name != "manifest":
            assert "othing is downloaded" in about
            assert any(word in about for word in ("CC BY", "educational", "research", "belong to"))


def test_recordings_are_pieces_of_a_data_set_that_another_process_finds_again(tmp_path):
    root = musdb(tmp_path)
    train, held_out = training_and_held_out(root)
    found = tuple(address(songs, place.name) for songs in (train, held_out) for place in songs.places)
    assert song_at(found[0]).sources == train[0].sources
    recordings = Recordings(len(found), 2, 0, 0.45, RATE, recording={"strength": 0.0}, folders=found)
    again = Recordings(**json.loads(json.dumps(asdict(recordings))))
    first, second = list(recordings.of(0)), list(again.of(0))
    assert [track.role for track in first[0].tracks] == ["drums", "bass", "lead_vocal", None]
    assert all(
        torch.equal(a.audio, b.audio)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x.tracks, y.tracks, strict=True)
    )
