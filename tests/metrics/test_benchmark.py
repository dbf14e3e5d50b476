"""The benchmark of automatic mixing at work on a song of two seconds."""

from pathlib import Path

import pytest

from benchmarks import automix, mixers, mixing_ways, recipes
from benchmarks.automix import COLUMNS
from benchmarks.mixing import Case, case, console, judged, portrait, relabelled, unlabelled
from diffmix.balance import balanced
from diffmix.console import Console, shipped
from diffmix.data.knowledge import engineer
from diffmix.data.synthetic import generate_song
from diffmix.systems.automixer import Automixer
from diffmix.systems.dmc import DMC
from diffmix.systems.mix_style_transfer import MixStyleTransfer
from diffmix.systems.mixwaveunet import MixWaveUNet
from diffmix.systems.stem_mixer import StemMixer


@pytest.fixture(scope="module")
def made() -> Case:
    return case(generate_song(7, 2.0, tracks=(4, 5)), 7)


@pytest.fixture(scope="module")
def lessons() -> list[mixers.Lesson]:
    return [mixers.lesson(generate_song(seed, 1.0, tracks=(4, 5)), seed) for seed in range(5)]


def test_the_true_engineer_makes_no_error(made: Case) -> None:
    assert max(judged(made, mixers.nearly_true(7, 0, 0), labels=True).values()) < 0.02
    off = judged(made, mixers.nearly_true(7), labels=True)
    assert 0.1 < off["balance_error_db"] < 2
    assert off["eq_error_db"] < 0.01


def test_a_system_without_labels_is_told_nothing_and_loses_nothing(made: Case) -> None:
    blind = unlabelled(made.song, 7)
    assert {track.role for track in blind.tracks} == {None}
    assert not {track.name for track in blind.tracks} & {track.name for track in made.song.tracks}
    settings = balanced(console(44_100), made.song, engineer(made.song, [7, 1]).intent)
    numbered = {f"track {n}": settings["tracks"][track.name] for n, track in enumerate(made.song.tracks)}
    assert relabelled({**settings, "tracks": numbered}, made.song) == settings


def test_every_system_is_scored_and_tabled(made: Case, lessons: list[mixers.Lesson], tmp_path: Path) -> None:
    Automixer(console(44_100), 1.0, width=32, layers=1, heads=2).save(tmp_path / "model")
    rivals = automix.Rivals(automix.learned_systems(lessons), tmp_path / "model")
    found = {name: judged(made, *system) for name, system in automix.systems(7, rivals).items()}
    assert {automix.US, automix.US_TOLD, automix.EQUAL, automix.RIDGE} < found.keys()
    assert found["usual for the role, labels"]["balance_error_db"] < found["raw sum, centre"]["balance_error_db"]
    rows = automix.summary([found, found])
    assert [len(row) for row in rows] == [len(automix.COLUMNS) + 2] * len(found)
    against = {row[0]: row for row in automix.beside([found, found], draws=50)}
    difference = found[automix.US]["balance_error_db"] - found[automix.EQUAL]["balance_error_db"]
    assert against[automix.EQUAL][1:4] == pytest.approx([difference] * 3)
    assert len(automix.flaws_table([{"none": found, "tape": found}])) == 2


def test_ridge_learns_what_it_is_shown(lessons: list[mixers.Lesson]) -> None:
    ridge = mixers.KernelRidge.of(lessons)
    assert lessons[0].x.shape[1] == 2 * mixers.COUNT
    song = generate_song(0, 1.0, tracks=(4, 5))
    seen = case(song, 0)
    assert judged(seen, ridge)["balance_error_db"] < 0.8 * judged(seen, mixers.equal_loudness)["balance_error_db"]


def test_features_do_not_hear_the_level() -> None:
    track = generate_song(3, 1.0, tracks=(4, 5)).tracks[0]
    quiet = type(track)(track.name, 0.01 * track.audio)
    assert mixers.features(quiet, 44_100) == pytest.approx(mixers.features(track, 44_100), abs=1e-3)


def test_songs_are_repeated_to_any_number_of_tracks(made: Case) -> None:
    many = mixing_ways.repeated(made.song, 11)
    assert len({track.name for track in many.tracks}) == 11


def test_a_mix_without_a_target_has_a_portrait(made: Case) -> None:
    found = portrait(made.song, mixers.equal_loudness(made.song))
    assert 0 < found["audible"] <= 1
    powers = [10 ** (found[band] / 10) for band in ("low", "low_mid", "high_mid", "high")]
    assert sum(powers) == pytest.approx(1, abs=1e-3)


def test_recipes_are_judged_by_what_they_give(tmp_path: Path) -> None:
    rate = recipes.RATE
    for name, layout in (("dmc", "dmc"), ("dmc_channel", "dmc_channel"), ("dmc_by_proxy", "dmc_channel")):
        desk = Console.from_layout(shipped(layout), rate)
        DMC(desk, width=4, hidden=16).save(tmp_path / name / "model")
    encoder = {"width": 2, "embedding": 16, "norm": "group", "n_fft": 512, "hop": 256}
    sizes = {"encoder": encoder, "controller": {"layers": 1, "heads": 2, "feedforward": 16}}
    MixStyleTransfer(Console.from_layout(shipped("diffmst"), rate), 0.5, **sizes).save(tmp_path / "diffmst" / "model")
    MixWaveUNet(rate, inputs=recipes.CHANNELS, levels=2, step=2).save(tmp_path / "mixwaveunet" / "model")
    network = {"filters": 8, "kernel": 16, "smoothing": 16, "pool": 16, "bottleneck": 8, "skip": 8, "blocks": 1}
    StemMixer(None, rate, **network, repeats=1, lstm_layers=1, squeeze=8).save(tmp_path / "fxnorm" / "model")
    song = recipes.held_out(0)
    found = recipes.scores(song, tmp_path)
    rows = {str(row[0]): row[1:] for row in recipes.summary([found, found])}
    titles = {recipe.title for recipe in recipes.RECIPES.values() if recipe.title}
    assert titles <= rows.keys()
    assert rows["dmc: fader and pan"][0] == found["dmc: fader and pan"]["balance_error_db"]
    balance, spectrum = list(COLUMNS).index("balance, dB"), list(COLUMNS).index("SD-MRSTFT")
    for name, row in rows.items():
        assert (row[balance] is None) == (name in ("mixwaveunet", "fxnorm, labels"))
        assert isinstance(row[spectrum], float)
        assert row[spectrum] > 0
