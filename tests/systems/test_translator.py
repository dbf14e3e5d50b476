"""Training of the translator."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffmix.data import styles
from diffmix.data.style_content import Content
from diffmix.errors import SettingsError
from diffmix.estimators import style_features
from diffmix.estimators.translator import Translator
from diffmix.estimators.treatment import EQ_HZ, LEVELS_DB, Treatment
from diffmix.systems import style_examples, translator
from diffmix.systems.style_examples import Examples, examples, joined, treatment_of
from diffmix.systems.translator import StyleLearner, learn, pairs_of
from diffmix.train import run
from diffmix.transferring.decision import mel_distance, mel_magnitude, render
from tests.systems.recorded import beats


def recorded(count: int = 4) -> list[Content]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, 100_000, generator=generator) * (1 + torch.sin(torch.arange(100_000) / 2000)) * 0.1
    return [Content(f"r{n}", f"song {n}", "harmony", x[n], True) for n in range(count)]


def shorter(patch: pytest.MonkeyPatch) -> None:
    """2.7 s of a recording are heard, which is as long as the crop of an example."""
    for module in (style_examples, style_features):
        patch.setattr(module, "WINDOW", style_examples.CROP)


def cheap(patch: pytest.MonkeyPatch) -> None:
    """Pieces of recordings that cost nothing to make; one test has those of the generator."""

    def generated(seed: int, *args: Any, **options: Any) -> Iterator[Content]:
        yield beats(seed + 100, "harmony")

    shorter(patch)
    patch.setattr(style_examples, "generated", generated)
    patch.setattr(style_examples, "talker", lambda seed: beats(seed + 500, "speech"))
    patch.setattr(style_examples, "SHARES", {"harmony": 0.8, "speech": 0.2})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    with pytest.MonkeyPatch.context() as patch:
        cheap(patch)
        for name, value in (("GROUPS", 12), ("SONGS", 1), ("TALKERS", 2), ("REAL", 8)):
            patch.setattr(style_examples, name, value)
        return examples(recorded(), 2, 0, tmp_path_factory.mktemp("styles"))


def test_examples_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap(monkeypatch)
    for name, value in (("GROUPS", 2), ("SONGS", 1), ("TALKERS", 1), ("REAL", 4)):
        monkeypatch.setattr(style_examples, name, value)
    first = examples(recorded(), 1, 3, tmp_path)
    monkeypatch.setattr(style_examples, "_piece", None)
    again = examples(recorded(), 1, 3, tmp_path)
    assert torch.equal(first.features, again.features)
    with pytest.raises(TypeError):
        examples(recorded(2), 1, 3, tmp_path)


def test_joined_examples_keep_their_songs_and_groups(made: Examples) -> None:
    both = joined([made, made])
    assert both.songs == made.songs
    assert int(both.group.max()) == 2 * int(made.group.max()) + 1
    assert torch.equal(both.song[both.of][len(made.of) :], made.song[made.of])


def test_pairs_share_the_style_and_not_the_song(made: Examples) -> None:
    pairs = pairs_of(made)
    assert len(pairs.dry) > 100
    assert bool((made.group[pairs.styled] == made.group[pairs.same]).all())
    assert bool((made.song[pairs.dry] != made.song[made.of[pairs.styled]]).all())
    assert torch.equal(made.of[pairs.same], pairs.dry)
    assert torch.equal(made.target[pairs.styled], made.target[pairs.same])


@pytest.mark.parametrize("seed", range(6))
def test_what_is_to_be_predicted_does_what_the_style_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    style = styles.draw(rng, "family" if seed % 2 else "random", legacy=False)
    x = styles.at_peak(recorded(1)[0].audio[None, :, :65536])
    truth = style.render(x, 24000, rng)[0]
    treatment = Treatment(*(part[None] for part in treatment_of(style)))
    mine = render(x[0, 0], treatment)
    spectra = [mel_magnitude(y) for y in (mine, truth, x[0])]
    assert float(mel_distance(spectra[0], spectra[1])) < 0.4 * float(mel_distance(spectra[2], spectra[1]))


def test_a_treatments_curves_are_the_styles() -> None:
    style = styles.random_style(np.random.default_rng(2))
    treatment = treatment_of(style)
    assert torch.allclose(treatment.eq_db, style.response_db(torch.tensor(EQ_HZ), 24000))
    assert torch.allclose(treatment.reduction_db, style.reduction_db(torch.tensor(LEVELS_DB)))
    assert float(treatment_of(styles.NOTHING).to_vector().abs().max()) < 1e-6


def test_members_are_not_taught_the_songs_they_leave_out(made: Examples) -> None:
    system = StyleLearner(made, members=3, hidden=8, components=10, total_steps=2)
    for member, pools in enumerate(system.pools):
        rows = torch.cat(pools)
        heard = torch.cat([made.song[system.pairs.dry[rows]], made.song[made.of[system.pairs.styled[rows]]]])
        assert not bool((system.fold[heard] == member).any())


def test_songs_left_out_have_no_part_at_all(made: Examples) -> None:
    system = StyleLearner(made, without=["song 1"], members=3, hidden=8, components=10, total_steps=2)
    left = made.songs.index("song 1")
    used = torch.cat([made.song[system.pairs.dry], made.song[made.of[system.pairs.styled]]])
    assert not bool((used == left).any())


def test_it_learns_and_is_calibrated(made: Examples) -> None:
    sizes = {"members": 2, "hidden": 32, "components": 20, "done": 0.0, "treated": 0.0, "seed": 1}
    before = loss_of(StyleLearner(made, total_steps=1, **sizes), made)
    system = learn(made, steps=60, trials=6, **sizes)
    learner = StyleLearner(made, total_steps=1, **sizes)
    learner.translator = system
    assert loss_of(learner, made) < 0.8 * before
    assert "music" in system.harm
    assert len(system.residuals_music) > 10
    assert all(0 < rate < 1 for rate in system.harm["music"].rate)
    assert not system.training


def loss_of(system: StyleLearner, made: Examples) -> float:
    system.eval()
    with torch.no_grad():
        _, z, target = system.drawn(99)
        median, _ = system.translator(z)
    return float((median - target).abs().mean())


def test_too_few_songs_are_named(made: Examples) -> None:
    with pytest.raises(SettingsError, match="too few"):
        StyleLearner(made, without=made.songs[1:], members=2, hidden=8, components=10, total_steps=1)


def test_harm_is_counted_by_what_was_expected() -> None:
    told = [translator.Trial(0.35, 1.0, 0.5)] * 40 + [translator.Trial(0.75, 1.0, 1.2)] * 40
    harm = translator._harm_table(told)
    assert harm.at(0.35) < 0.05
    assert harm.at(0.75) > 0.9
    scores = translator.scores(told, 0.6)
    assert scores["distance_ratio"] == pytest.approx(0.75)
    assert scores["acted"] == 0.5
    assert scores["harm"] == 0


def test_a_gate_is_where_little_enough_harm_was_done() -> None:
    told = [translator.Trial(0.4, 1.0, 0.5)] * 90 + [translator.Trial(0.7, 1.0, 1.2)] * 5
    told += [translator.Trial(0.9, 1.0, 1.2)] * 5
    assert translator.limit_of(told, 0.06) == 0.9  # below it stand those at 0.7 alone
    assert translator.limit_of(told, 0.03) == 0.7
    assert translator.limit_of(told, 0.2) == translator.LIMITS[-1]
    assert translator.limit_of([translator.Trial(0.1, 1.0, 1.2)] * 9, 0.05) == translator.LIMITS[0]


def test_nothing_is_left_to_do_to_what_is_in_the_style_already(made: Examples) -> None:
    system = StyleLearner(made, members=2, hidden=8, components=10, noise=0.0, done=1.0, treated=0.0, total_steps=1)
    _, z, target = system.drawn(0)
    spread, center = system.translator.target_spread, system.translator.target_center
    assert float((target * spread + center).abs().max()) < 1e-4
    plain = StyleLearner(made, members=2, hidden=8, components=10, noise=0.0, done=0.0, treated=0.0, total_steps=1)
    _, dry, wanted = plain.drawn(0)
    assert float((wanted * spread + center).abs().max()) > 5
    assert not torch.allclose(z, dry)  # it hears the recording in the style, not the dry one


def test_what_is_left_to_do_to_what_is_in_another_style(made: Examples) -> None:
    system = StyleLearner(made, members=2, hidden=8, components=10, noise=0.0, done=0.0, treated=1.0, total_steps=1)
    plain = StyleLearner(made, members=2, hidden=8, components=10, noise=0.0, done=0.0, treated=0.0, total_steps=1)
    dry, _, left = system.drawn(3)
    again, _, wanted = plain.drawn(3)
    assert torch.equal(dry, again)
    had = (wanted - left) * system.translator.target_spread
    styles_of = [made.target[made.of == d][:, :40] for d in dry.flatten().tolist()]
    nearest = [float((s - h).abs().amax(1).min()) for s, h in zip(styles_of, had.flatten(0, 1)[:, :40], strict=True)]
    assert max(nearest) < 1e-3


def test_recorded_music_is_there_again_under_generated_music() -> None:
    rng = np.random.default_rng(0)
    x = [styles.at_peak(c.audio[None, :, :65536])[0] for c in recorded(2)]
    real, other = (style_examples._Dry(y, 7, f"s{n}", "drums", n == 0) for n, y in enumerate(x))
    found = [style_examples._laid_over([real, other], rng) for _ in range(20)]
    assert 5 < sum(map(len, found)) < 20  # three fifths
    for one in (one for some in found for one in some):
        assert (one.song, one.kind, one.real, one.start) == ("s0", "drums", True, 7)
        assert float(one.x.abs().max()) == pytest.approx(10 ** (-12 / 20), rel=1e-5)
        weights = torch.linalg.lstsq(torch.stack([real.x[0], other.x[0]], 1), one.x[0]).solution
        left = one.x[0] - torch.stack([real.x[0], other.x[0]], 1) @ weights
        assert float(left.abs().max()) < 1e-5
        assert -15.1 < float(20 * (weights[1] / weights[0] * x[1].norm() / x[0].norm()).log10()) < 5.1
    assert style_examples._laid_over([other, other], rng) == []
    assert style_examples._laid_over([real], rng) == []


def test_speech_is_there_again_elsewhere() -> None:
    rng = np.random.default_rng(0)
    x = styles.at_peak(recorded(1)[0].audio[None, :, :65536])[0]
    talk = style_examples._Dry(x, 0, "talker 1", "speech", False)
    found = [one for _ in range(20) for one in style_examples._elsewhere([talk], rng)]
    assert 6 < len(found) < 20
    assert {one.song for one in found} == {"talker 1"}
    apart = [float((one.x / one.x.norm() - x / x.norm()).norm()) for one in found]
    assert 1e-3 < min(apart) < 0.06 < max(apart) < 1  # little noise, or a room
    assert style_examples._elsewhere([talk._replace(kind="drums")] * 9, rng) == []


def test_the_recipe_trains_from_generated_songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter(monkeypatch)
    monkeypatch.setattr(style_examples, "generated", partial(style_examples.generated, seconds=4.0))
    monkeypatch.setattr(style_examples, "talker", partial(style_examples.talker, seconds=4.0))
    for name, value in (("GROUPS", 10), ("SONGS", 3), ("TALKERS", 4)):
        monkeypatch.setattr(style_examples, name, value)
    config = {
        "recipe_name": "transfer",
        "system_name": "translator",
        "seed": 0,
        "resume": "none",
        "output": str(tmp_path / "run"),
        "data": {"recordings": None, "without": ["talker 0"], "pieces": 1, "root": str(tmp_path / "styles"),
                 "engines": "train"},
        "system": {"members": 2, "hidden": 8, "components": 10, "trials": 4},
        "trainer": {"max_steps": 3, "checkpoint_every": 2, "validate_every": 0, "threads": None, "accelerator": "cpu",
                    "precision": "32-true", "gradient_clip": 0.0},
    }  # fmt: skip
    found = run(config)
    assert any(name.endswith("distance_ratio") for name in found)
    assert Translator.load(tmp_path / "run" / "model").about["recipe"] == "transfer"
    config["data"]["without"] = ["song 9"]  # type: ignore[index]
    with pytest.raises(SettingsError, match="no song is called song 9"):
        translator.prepare(config)


def test_unheard_talkers_are_as_far_off_as_recorded_music_is_from_generated(monkeypatch):
    count = translator.FEWEST
    real = torch.tensor([True, False])  # one recorded and one generated song, each paired with its like
    made = SimpleNamespace(kind=torch.tensor([1, 1]), real=real, of=torch.tensor([0, 1]))
    song = torch.arange(2).repeat_interleave(count)
    own = torch.zeros(2 * count, dtype=torch.long), torch.zeros(2 * count, dtype=torch.long)
    far = {True: 3.0, False: 2.0}
    monkeypatch.setattr(
        translator,
        "_residuals",
        lambda _, made, pairs, rows, member: torch.tensor([[far[bool(real[pairs.dry[r]])]] for r in rows.tolist()]),
    )
    assert translator._unlike(None, made, translator.Pairs(song, song, song), own) == pytest.approx(1.5)
    far[True] = 1.0
    assert translator._unlike(None, made, translator.Pairs(song, song, song), own) == 1.0
    few = song[1:]
    assert (
        translator._unlike(None, made, translator.Pairs(few, few, few), tuple(o[1:] for o in own)) == translator.UNLIKE
    )
