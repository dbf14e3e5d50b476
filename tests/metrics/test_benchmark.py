"""The benchmark of automatic mixing at work on a song of two seconds."""

from pathlib import Path

import pytest

from benchmarks import automix, mixers
from benchmarks.mixing import Case, case, console, judged, portrait, relabelled, unlabelled
from diffmix.balance import balanced
from diffmix.data.knowledge import engineer
from diffmix.data.synthetic import generate_song
from diffmix.systems.automixer import Automixer


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
    many = automix.repeated(made.song, 11)
    assert len({track.name for track in many.tracks}) == 11


def test_a_mix_without_a_target_has_a_portrait(made: Case) -> None:
    found = portrait(made.song, mixers.equal_loudness(made.song))
    assert 0 < found["audible"] <= 1
    powers = [10 ** (found[band] / 10) for band in ("low", "low_mid", "high_mid", "high")]
    assert sum(powers) == pytest.approx(1, abs=1e-3)
