"""Mixing from effect-normalised stems: the network's sizes, and that it learns, keeps its best and resumes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffmix import train
from diffmix.data.datasets import open_dataset
from diffmix.data.multitrack import load
from diffmix.data.normalise import CLASSES
from diffmix.data.songs import Song
from diffmix.errors import AudioError, CheckpointError, SettingsError
from diffmix.estimators.crafx import CRAFx
from diffmix.losses import StereoInvariantLoss
from diffmix.systems import fxnorm, normalised_stems, stem_mixer
from diffmix.systems.fxnorm import FxNorm
from diffmix.systems.normalised_stems import Part, StemBatch, StemExamples, engineered_stems
from diffmix.systems.stem_mixer import StemMixer
from tests.systems.recorded import RATE, library
from tests.systems.runs import DATA, broken_and_resumed, configured, same_weights

NETWORK = {
    "filters": 8, "kernel": 16, "smoothing": 16, "pool": 16, "bottleneck": 8, "skip": 8, "blocks": 2, "repeats": 1,
    "lstm_layers": 2, "squeeze": 8, "dropout": 0.1,
}  # fmt: skip
config = configured(
    "recipe=fxnorm",
    f"data.sample_rate={RATE}",
    "data.seconds=0.5",
    *DATA,
    *(f"system.network.{name}={size}" for name, size in NETWORK.items()),
    "system.pretrain_steps=2",
    "system.evaluate_every=2",
)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.root={library(tmp_path_factory.mktemp('songs'), 2)}"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stems are normalised once for this file, away from the user's own cache."""
    monkeypatch.setenv("DIFFMIX_CACHE", str(tmp_path_factory.getbasetemp() / "fxnorm-cache"))


def test_the_network_has_the_papers_sizes() -> None:
    net = CRAFx()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(2.75e6, rel=0.002)
    assert net.guard == 32446


def test_the_network_keeps_length_and_time() -> None:
    net = CRAFx(**NETWORK).eval()
    for length in (1600, 1603, 10):
        assert net(torch.randn(2, 8, length)).shape == (2, 2, length)
    # the filter bank and its transpose have no delay: what they give back of an impulse is symmetric about it
    x = torch.zeros(1, 8, 101)
    x[0, 3, 50] = 1
    y = net.reconstruction(x)[0, 3]
    assert torch.allclose(y, y.flip(0), atol=1e-6)
    with pytest.raises(SettingsError, match="even number"):
        CRAFx(filters=7)


@pytest.mark.parametrize("kind", ["La", "Lb"])
def test_the_loss_swaps_channels_freely_and_hears_no_guard(kind: Any) -> None:
    distance = StereoInvariantLoss(RATE, kind, guard=1000)
    y, target = (0.1 * torch.randn(2, 2, 12000) for _ in range(2))
    assert float(distance(target, target)) < 1e-6
    assert torch.allclose(distance(y, target), distance(y.flip(1), target), rtol=1e-5)
    changed = y.clone()
    changed[..., :1000], changed[..., -1000:] = 1, -1
    assert distance(changed, target) == distance(y, target)
    x = y.clone().requires_grad_()
    distance(x, target).backward()
    assert x.grad is not None
    assert x.grad[..., :1000].abs().max() == 0
    assert x.grad[..., 1000:-1000].abs().max() > 0
    with pytest.raises(SettingsError, match="longer examples"):
        distance(y[..., :6000], target[..., :6000])


def test_it_learns_one_song(root: str) -> None:
    torch.manual_seed(0)
    made = fxnorm.prepare(config(root, "system.pretrain_steps=0"))
    system = made.system
    assert isinstance(system, FxNorm)
    batch = StemBatch(*(part[None] for part in made.data.train[0]))
    optimizer = torch.optim.Adam(system.model.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = system.distance(system(batch), batch.mix)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_stopped_run_resumes_to_the_same_model(tmp_path: Path, root: str) -> None:
    whole, broken = broken_and_resumed(config, FxNorm, tmp_path, root)
    assert same_weights(whole, broken)
    assert set(json.loads((broken.parent / "scores.json").read_text())) == {
        f"{who}/{what}" for who in ("model", "equal_loudness", "plain_sum") for what in ("loss", "stft_distance")
    }
    with pytest.raises(CheckpointError, match="of another run"):
        train.run(config(root, f"output={broken.parent}", "resume=auto", "system.network.filters=10"))


def test_the_best_is_kept_and_a_run_without_progress_ends(
    tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[int, dict[str, torch.Tensor]] = {}
    losses: dict[int, float] = {}
    evaluate = FxNorm._evaluate

    def listens(self: FxNorm) -> None:
        heard[self.global_step] = {k: v.clone() for k, v in self.model.state_dict().items()}
        evaluate(self)
        losses.update(self.heard)

    monkeypatch.setattr(FxNorm, "_evaluate", listens)
    tries = ["system.pretrain_steps=0", "system.warmup_steps=0", "trainer.max_steps=8"]
    train.run(config(root, f"output={tmp_path / 'wild'}", "system.learning_rate=0.3", *tries))
    assert set(losses) == {2, 4, 6, 8}
    best = min(losses, key=losses.get)
    learned = StemMixer.load(tmp_path / "wild" / "model").state_dict()
    assert all(torch.equal(learned[name], heard[best][name]) for name in learned)
    losses.clear()
    idle = ["system.learning_rate=0", "system.patience=2", "trainer.max_steps=20"]
    train.run(config(root, f"output={tmp_path / 'idle'}", *tries, *idle))
    assert 6 <= max(losses) < 20, "it went on to the end"


def test_a_model_mixes_songs_of_any_length(tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem_mixer, "PIECE_S", 0.5)
    made = fxnorm.prepare(config(root))
    made.save(tmp_path / "model", seed=0)
    model = StemMixer.load(tmp_path / "model")
    song = load({name: 0.1 * torch.randn(19777) for name in ("kick", "vox", "gtr")}, RATE)
    y = model.mix(song)
    assert y.shape == (2, 19777)
    assert y.isfinite().all()
    assert y.abs().max() <= 1
    assert torch.equal(y, model.mix(song))
    assert not torch.equal(y, model.mix(song, reverb=True))
    with pytest.raises(AudioError, match="works at 16000 Hz"):
        model.mix(load({"kick": torch.randn(5000)}, 44100))
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not hold a stem mixer"):
        StemMixer.load(tmp_path / "model")


def test_an_engineers_stems_are_those_of_one_mix() -> None:
    noise = {name: 0.1 * torch.randn(RATE) for name in ("kick", "snare", "bass", "lead vocal", "piano")}
    song = load(noise, RATE)
    stems = engineered_stems(song, [3])
    assert list(stems) == list(CLASSES)
    assert all(x.shape == (2, RATE) and bool(x.any()) for x in stems.values())
    without = engineered_stems(load({"kick": noise["kick"], "snare": noise["snare"]}, RATE), [3])
    assert not without["vocals"].any()


def test_a_long_song_is_normalised_in_parts(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    song = open_dataset(root.partition("=")[2])[0]
    monkeypatch.setattr(normalised_stems, "PART_S", 1.1)
    monkeypatch.setattr(Song, "whole", None)
    parts = list(Part.all_of(song))
    assert [(p.start_s, p.seconds) for p in parts] == [(0, 1), (1, 1), (2, 1)]
    assert len({p.identity for p in parts}) == 3
    made = [part.stems(RATE, wet=True) for part in parts]
    stems, mix = Part(song, 0, song.seconds).stems(RATE, wet=True)
    assert torch.equal(torch.cat([m for _, m in made], -1), mix)
    for name, stem in stems.items():
        assert torch.equal(torch.cat([s[name] for s, _ in made], -1), stem)


def test_examples_swap_channels_together(root: str) -> None:
    data = fxnorm.prepare(config(root)).data.train
    assert isinstance(data, StemExamples)
    plain = StemExamples(data.files, data.length, data.seed, swap=False)
    swapped = 0
    for number in range(8):
        (x, y), (a, b) = data[number], plain[number]
        if torch.equal(x, a):
            assert torch.equal(y, b)
        else:
            swapped += 1
            assert torch.equal(x[0::2], a[1::2])
            assert torch.equal(y, b.flip(0))
    assert 0 < swapped < 8


@pytest.mark.slow
def test_generated_songs_are_learned_from(tmp_path: Path) -> None:
    small = ["data.songs=2", "data.held_out_songs=1", "data.song_seconds=3", "trainer.max_steps=2"]
    scores = train.run(config(f"output={tmp_path}", *small))
    assert all(torch.isfinite(torch.tensor(v)) for v in scores.values())
