"""Training of the encoder of effects."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffmix import train
from diffmix.data.effect_chains import EFFECTS, draw_effect
from diffmix.data.style_content import CLASSES, Content, picked
from diffmix.errors import OutputError, SettingsError
from diffmix.estimators import style_features
from diffmix.estimators.effect_embedding import EffectEncoder
from diffmix.systems import effect_embedding, effect_examples, style_examples
from diffmix.systems.effect_embedding import EffectLearner, discriminant, found_among, nearest
from diffmix.systems.effect_examples import PRESETS, EffectExamples, examples, joined, presets
from tests.systems.recorded import beats
from tests.systems.runs import broken_and_resumed, configured, same_weights

config = configured("recipe=effect_embedding", "data.pieces=2", "data.held_out_pieces=1", "system.size=8")


@pytest.fixture(scope="module")
def small() -> Iterator[pytest.MonkeyPatch]:
    """Pieces of a few cheap recordings, heard for 1.4 s."""

    def generated(seed: int, *args: Any, **options: Any) -> Iterator[Content]:
        yield beats(seed + 100)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SONGS", 2), ("TALKERS", 2), ("REAL", 3), ("STYLES", 8), ("TOGETHER", 4)):
            patch.setattr(effect_examples, name, value)
        for module in (effect_examples, style_features):
            patch.setattr(module, "WINDOW", 32_768)
        patch.setattr(effect_examples, "generated", generated)
        patch.setattr(effect_examples, "talker", lambda seed: beats(seed + 500))
        rng = np.random.default_rng(0)
        patch.setattr(effect_examples, "presets", lambda kind, probe: [draw_effect(kind, rng) for _ in range(3)])
        yield patch


@pytest.fixture(scope="module")
def made(small: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> EffectExamples:
    return examples([beats(n, real=True) for n in range(3)], 3, 0, tmp_path_factory.mktemp("effects"))


def test_examples_say_what_was_done(made: EffectExamples) -> None:
    own = made.effect < 0
    assert torch.equal(made.style[~own], made.effect[~own] * PRESETS + made.preset[~own])
    assert int(made.style[own].min()) >= len(EFFECTS) * PRESETS
    for style in made.style[own].unique():
        songs = made.song[made.style == style].tolist()
        assert len(set(songs)) == len(songs)
    assert {made.songs[n] for n in made.song.tolist()} > {"song 0", "song 1", "song 2"}
    assert made.wet.middle.isfinite().all()
    assert made.wet.wide.any()
    assert not made.wet.wide.all()
    change = (made.wet.middle - made.dry.middle[made.before]).abs().mean(1)
    assert float(change.median()) > 0.3


def test_examples_are_kept_and_found_again(
    small: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = examples([], 1, 3, tmp_path)
    monkeypatch.setattr(effect_examples, "_piece", None)
    again = examples([], 1, 3, tmp_path)
    assert torch.equal(first.wet.middle, again.wet.middle)
    both = joined([first, again])
    own = both.style >= len(EFFECTS) * PRESETS
    assert len(both.style[own].unique()) == 2 * len(first.style[first.effect < 0].unique())
    half = len(first.song)
    assert torch.equal(both.dry.middle[both.before[half:]], first.dry.middle[first.before])


def test_presets_sound_different() -> None:
    probe = beats(1).audio[:1, :60_000]
    chosen = presets("LowpassFilter", probe, 3, 12)
    corners = sorted(effect.values["cutoff_frequency_hz"] for effect in chosen)
    assert len(corners) == 3
    assert corners[1] > 1.3 * corners[0]
    assert corners[2] > 1.3 * corners[1]
    assert chosen == presets("LowpassFilter", probe, 3, 12)


def test_the_loss_is_least_where_styles_meet_and_songs_do_not_count() -> None:
    style, song = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    by_style, by_song = torch.eye(2)[style], torch.eye(2)[song]
    assert float(nearest(by_style, style, song, 0.1)) < 0.01
    assert float(nearest(by_song, style, song, 0.1)) > 5
    alone = torch.tensor([0, 0, 0, 0])  # one song: nobody has a partner
    place = by_style.clone().requires_grad_()
    nearest(place, style, alone, 0.1).backward()
    assert float(place.grad.abs().max()) == 0  # type: ignore[union-attr]
    three = torch.tensor([0, 0, 0, 1])
    far = torch.stack([by_style[0], -by_style[0], by_style[0], by_style[2]])
    # rows 0 and 1 are of one song: that they are far apart is nobody's fault
    assert float(nearest(far[[0, 2, 3]], three[[0, 2, 3]], torch.tensor([0, 1, 0]), 0.1)) < 0.01


def test_the_discriminant_turns_away_from_contents() -> None:
    generator = torch.Generator().manual_seed(0)
    style = torch.arange(60).repeat_interleave(6)
    contents = torch.randn(360, 5, generator=generator) * torch.tensor([9.0, 1.0, 1.0, 1.0, 1.0])
    z = contents.clone()
    z[:, 1] += 2 * torch.randn(60, generator=generator)[style]
    z[:, 2] += 0.8 * contents[:, 0]  # what content does to one number it does to another
    directions, ratio = discriminant(z, style, 0.0)
    assert ratio[0] > 2
    assert ratio[1:].max() < 0.5
    first = directions[:, 0].abs() * z.std(0)
    assert int(first.argmax()) == 1
    along = z @ directions
    inside = along - torch.stack([along[style == n].mean(0) for n in range(60)])[style]
    assert torch.allclose(inside.T @ inside / 300, torch.eye(5), atol=1e-3)


def test_retrieval_is_counted(made: EffectExamples) -> None:
    same = (made.style[:, None] == made.style).float()
    assert set(found_among(same, made).values()) == {1.0}
    chance = found_among(torch.rand(same.shape, generator=torch.Generator().manual_seed(0)), made)
    assert 0.35 < chance[1] < 0.65
    assert 0.1 < chance[4] < 0.35


@pytest.mark.parametrize("pretext", ["contrastive", "presets"])
def test_it_learns(made: EffectExamples, pretext: Any) -> None:
    torch.manual_seed(0)
    system = EffectLearner(made, made, pretext=pretext, hidden=32, size=16, noise=0.1, dropout=0.0)
    optimizer = torch.optim.Adam(system.parameters(), 0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = system.loss(0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


def test_songs_left_out_have_no_part(made: EffectExamples) -> None:
    system = EffectLearner(made, made, without=["song 1"], hidden=8, size=4)
    left = made.songs.index("song 1")
    assert all(left not in made.song[rows].tolist() for rows in system.by_piece)
    with pytest.raises(SettingsError, match="too few"):
        EffectLearner(made, made, without=made.songs[1:])
    with pytest.raises(SettingsError, match="no pretext 'magic'"):
        EffectLearner(made, made, pretext="magic")  # type: ignore[arg-type]


def test_the_recipe_trains_stops_and_goes_on(small: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = f"data.root={tmp_path / 'effects'}"
    whole, broken = broken_and_resumed(config, EffectLearner, tmp_path, root)
    assert same_weights(whole, broken)
    about = EffectEncoder.load(whole).about
    assert about["recipe"] == "effect_embedding"
    assert any(name.startswith("embedding/among") for name in about["scores"])
    with pytest.raises(SettingsError, match="no song is called song 9"):
        effect_embedding.prepare(config(root, "data.without=[song 9]"))


@pytest.mark.parametrize(
    "wrong", ["data.pieces=0", "data.held_out_pieces=0", "system.pieces=0", "system.temperature=0"]
)
def test_a_recipe_of_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match=f"{wrong}: a (whole )?number in"):
        train.check(config(wrong))


def test_recordings_are_picked_by_classes_in_turn_then_songs() -> None:
    kinds = ("drums", "drums", "drums", "vocals", "harmony")
    contents = [replace(beats(n), kind=kind, song=f"song {n // 2}") for n, kind in enumerate(kinds)]
    chosen = picked(contents, 300, np.random.default_rng(0))
    there = [kind for kind in CLASSES if kind in kinds]
    assert [content.kind for content in chosen] == 100 * there
    alone = sum(content is contents[2] for content in chosen)
    assert 35 < alone < 65  # of the 100 with drums: as likely as the two others of them, of one song, together
    assert picked([], 3, np.random.default_rng(0)) == []


@pytest.mark.parametrize("make", [examples, style_examples.examples], ids=["effects", "styles"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, make: Callable[..., object]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write to .*file"):
        make([], 1, 0, tmp_path / "file")
