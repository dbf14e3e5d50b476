"""Searches without gradients: the strategy itself, chains of plugins, and words."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import diffmix
from diffmix.errors import CheckpointError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.transferring import describing
from diffmix.transferring.describing import describe
from diffmix.transferring.evolution import evolve, perturb
from diffmix.transferring.through import PluginChain
from tests.transferring.stand_in import RATE, Brightness, StandIn, song, treatment


@pytest.mark.parametrize("size", [3, 12])
def test_the_strategy_finds_a_minimum_and_gives_nothing_worse_than_the_start(size: int) -> None:
    aim = torch.rand(size, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(0, 2, size)

    def score(points: Tensor) -> Tensor:
        return ((points - aim).square() * scale).sum(1)

    best, least = evolve(score, torch.full((size,), 0.5), generations=100)
    assert torch.allclose(best, aim, atol=0.01)
    assert least == pytest.approx(float(score(best[None])[0]), abs=1e-6)
    again, _ = evolve(score, torch.full((size,), 0.5), generations=100)
    assert torch.equal(best, again)
    kept, _ = evolve(lambda p: score(p) * torch.where((p == aim).all(1), 1, torch.nan), aim, generations=3)
    assert torch.equal(kept, aim)


def test_perturbing_finds_a_minimum_and_gives_nothing_worse_than_the_start() -> None:
    aim = torch.rand(12, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(0, 2, 12)

    def score(points: Tensor) -> Tensor:
        return ((points - aim).square() * scale).sum(1)

    start = torch.full((12,), 0.5)
    best, least = perturb(score, start, generations=100)
    assert least < 0.01 * float(score(start[None])[0])
    assert least == pytest.approx(float(score(best[None])[0]), abs=1e-6)
    assert torch.equal(best, perturb(score, start, generations=100)[0])
    kept, _ = perturb(lambda p: score(p) * torch.where((p == aim).all(1), 1, torch.nan), aim, generations=3)
    assert torch.equal(kept, aim)


def test_a_chain_of_plugins_comes_near_what_is_believed(believing: Callable[..., StandIn]) -> None:
    believing(treatment(8, ratio=1.0))
    x, reference = song(4.0), 0.5 * song(4.0, seed=3)
    chain = [("HighShelfFilter", ["gain_db"]), ("LowShelfFilter", ["gain_db"]), ("Clipping", ["threshold_db"])]
    asked = {"chain": chain, "quality": "fast", "only": "tone,loudness"}
    told: list[float] = []
    made = diffmix.transfer(x, reference, sample_rate=RATE, progress=lambda what, done: told.append(done), **asked)
    assert made.after < 0.7 * made.before
    assert told == sorted(told)
    assert told[3] > 0.5
    assert told[-1] == pytest.approx(0.95)
    assert set(made.settings) | set(made.left_out) == {"HighShelfFilter", "LowShelfFilter", "Clipping"}
    assert np.allclose(made.to_pedalboard()(x, RATE), made.audio, atol=1e-5)
    other = diffmix.transfer(x, reference, sample_rate=RATE, search="spsa", **asked)
    assert other.after < 0.8 * other.before
    assert other.settings != made.settings
    loud = [float(integrated_loudness(torch.from_numpy(y)[None], RATE)) for y in (made.audio, reference)]
    assert loud[0] <= loud[1] + 0.1
    played = PluginChain(chain, RATE).play(torch.from_numpy(x), torch.zeros(1, 6))
    assert np.array_equal(played[0].numpy(), x)  # all left out
    assert list(PluginChain("Gain", RATE).nodes) == ["Gain"]
    with pytest.raises(SettingsError, match="search is one of cma-es, spsa, got 'random'"):
        diffmix.transfer(x, reference, sample_rate=RATE, chain="Gain", search="random")
    with pytest.raises(SettingsError, match="the search spsa is for plugins"):
        diffmix.transfer(x, reference, sample_rate=RATE, search="spsa")
    with pytest.raises(SettingsError, match="the chain holds 3"):
        diffmix.transfer(x, reference, sample_rate=RATE, chain=[3])
    with pytest.raises(SettingsError, match="the chain holds \\('Gain', \\['gain_db'\\], 3\\); names"):
        diffmix.transfer(x, reference, sample_rate=RATE, chain=[("Gain", ["gain_db"], 3)])
    assert PluginChain([("Compressor", "ratio")], RATE).nodes["Compressor"].spec.names == ("ratio",)
    with pytest.raises(SettingsError, match="searched for tone, dynamics, loudness, of which nothing is asked for"):
        diffmix.transfer(x, reference, sample_rate=RATE, chain="Gain", only="width,space")


def test_a_chain_is_written_with_its_knobs(believing: Callable[..., StandIn], tmp_path: Path) -> None:
    believing(treatment(8, ratio=1.0), scale=30.0)
    made = diffmix.transfer(song(2.0), song(2.0, seed=3), sample_rate=RATE, chain=["Gain"], quality="fast", only="tone")
    assert made.after == made.before
    assert made.left_out == ("Gain",)  # a gain does nothing at one peak
    assert {file.name for file in made.save(tmp_path).values()} == {"transfer.wav", "before.wav", "settings.json"}
    assert np.array_equal(*made.level_matched)
    for name in ("settings.json", "report.json", "style.json", "preset.json"):  # of a transfer without plugins
        (tmp_path / name).write_text('{"a": 1}', encoding="utf-8")
    made_at = (tmp_path / "report.json").stat().st_mtime_ns
    os.utime(tmp_path / "settings.json", ns=(made_at + 10**9,) * 2)  # and edited since
    os.utime(tmp_path / "preset.json", ns=(made_at - 10**9,) * 2)
    assert "settings.edited.json" in made.save(tmp_path)
    assert (tmp_path / "settings.edited.json").read_text(encoding="utf-8") == '{"a": 1}'
    assert len(list(tmp_path.iterdir())) == 4


def share_above(x: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(x.mean(0))) ** 2
    return float(power[np.fft.rfftfreq(x.shape[1], 1 / RATE) > hz].sum() / power.sum())


def test_words_move_the_knobs_keep_the_loudness_and_are_done_again(tmp_path: Path) -> None:
    x = song(3.0)
    bright, dark = (describe(x, words, Brightness(), sample_rate=RATE, quality="fast") for words in ("bright", "dull"))
    assert share_above(bright.audio, 2000) > 1.5 * share_above(x, 2000)
    assert share_above(dark.audio, 2000) < 0.8 * share_above(x, 2000)
    assert bright.belief.route == "text"
    assert bright.belief.expected < 1
    loud = [float(integrated_loudness(torch.from_numpy(y)[None], RATE)) for y in (x, bright.audio)]
    assert loud[1] == pytest.approx(loud[0], abs=0.2)
    assert np.array_equal(bright.to_pedalboard().render({"mix": x}), bright.audio)
    mono = describe(x[0], "bright", Brightness(), sample_rate=RATE, quality="fast")
    assert "imager" not in mono.settings["master"]  # a width of what is mono does nothing
    untouched = describe(x, "bright", Brightness(), sample_rate=RATE, quality="fast", amount=0)
    assert np.array_equal(untouched.audio, x)
    assert not untouched.notes
    other = song(2.0, seed=7)
    again = diffmix.transfer(other, bright.style.save(tmp_path / "bright.json"), sample_rate=RATE)
    assert again.style.name == "bright"
    assert share_above(again.audio, 2000) > 1.3 * share_above(other, 2000)
    loud = [float(integrated_loudness(torch.from_numpy(y)[None], RATE)) for y in (other, again.audio)]
    assert loud[1] == pytest.approx(loud[0], abs=0.2)
    with pytest.raises(SettingsError, match="the style of 'bright' was made of words"):
        diffmix.transfer(other, bright.style, sample_rate=RATE, mode="different-source")


def test_words_and_models_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no words"):
        describe(song(1.0), " ", Brightness(), sample_rate=RATE)
    with pytest.raises(SettingsError, match="the embedding is None; a folder with a CLAP model, or an object"):
        describe(song(1.0), "warm", None, sample_rate=RATE)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no folder with a CLAP model"):
        describe(song(1.0), "warm", tmp_path / "none", sample_rate=RATE)
    with pytest.raises(CheckpointError, match=r"transformers|no usable CLAP"):
        describe(song(1.0), "warm", tmp_path, sample_rate=RATE)
    with pytest.raises(SettingsError, match=r"no words to go by, got \['warm'\]"):
        describe(song(1.0), ["warm"], Brightness(), sample_rate=RATE)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="the embedding is <class"):
        describe(song(1.0), "warm", Brightness, sample_rate=RATE)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"the amount is \{.tone.: 1\}, a number is expected"):
        describe(song(1.0), "warm", Brightness(), sample_rate=RATE, amount={"tone": 1})  # type: ignore[arg-type]


class Hears(Brightness):
    """An embedding of which a test says what it makes of sounds."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        self.change = change

    def audio(self, x: Tensor) -> Any:
        """As the other, changed."""
        return self.change(super().audio(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points[:, 0], r"points of shape \(1,\), \(1, E\) is expected"),
        (lambda points: points.repeat(1, 2), "sounds as 4 numbers and texts as 2; as many are needed"),
        (lambda points: points * torch.nan, "no finite number"),
    ],
)
def test_an_embedding_that_is_none_is_refused(change: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        describe(song(1.0), "warm", Hears(change), sample_rate=RATE)


def test_words_that_nothing_comes_nearer_to_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "GENERATIONS", {"fast": 1})
    deaf = Hears(lambda points: np.ones(points.shape))
    made = describe(song(1.0), "warm", deaf, sample_rate=RATE, quality="fast")
    assert np.array_equal(made.audio, song(1.0))
    assert "No knobs were found that bring it nearer to the words: the recording is as it came." in made.notes
