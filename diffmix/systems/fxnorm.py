"""Training of a mixer from finished stems, whose effects are normalised first (FxNorm-automix)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffmix.balance import balanced
from diffmix.console import Console
from diffmix.data.knowledge import engineer
from diffmix.data.multitrack import Multitrack
from diffmix.data.normalise import (
    CLASSES,
    STEMS,
    TREATMENTS,
    Averages,
    averages,
    empty_averages,
    normalise,
    reverberated,
    stems_of,
)
from diffmix.data.songs import Song
from diffmix.data.synthetic import VALIDATION_SEED, cache_root
from diffmix.errors import AudioError, CheckpointError, OutputError, SettingsError
from diffmix.files import replacing
from diffmix.kernels.loudness import SILENCE_LUFS, integrated_loudness
from diffmix.losses import StereoInvariantLoss, SumDifferenceLoss
from diffmix.mix import grouped, ordered
from diffmix.progress import progress
from diffmix.settings import Settings
from diffmix.systems.mixes import at_loudness, finished_mix, read_mix, songs_of
from diffmix.systems.stem_mixer import StemMixer
from diffmix.systems.training import Numbers, Training, numbers_ahead

MIX_LUFS, CEILING = -18.0, 0.98
"""Loudness of the mixes to learn, and the peak that they do not pass: the network ends in tanh."""

DECAY = ((150, 1.0), (50, 1 / 3), (50, 1 / 10), (25, 1 / 30), (25, 1 / 100), (10, 1 / 1000))
"""Parts of a run, of 310, and what the learning rate is multiplied by: the paper's."""

CACHE_VERSION = 1


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/fxnorm.yaml`` describes; stems are normalised now unless they are cached."""
    options, data = dict(config["system"]), config["data"]
    network = options.pop("network")
    rate = data["sample_rate"]
    train, held_out = songs_of(data, rate)
    stored = NormalisedStems.made(train, held_out, data, config["seed"])
    model = StemMixer(stored.averages, rate, **network)
    system = FxNorm(model, total_steps=config["trainer"]["max_steps"], seed=config["seed"], **options)
    return Training(system, StemData(stored, data, config["seed"]), model.save)


class StemBatch(NamedTuple):
    """Normalised stems (B, 8, T) and the mixes they come from (B, 2, T)."""

    stems: Tensor
    mix: Tensor


class FxNorm(lightning.LightningModule):
    """Learns to mix normalised stems as the mix that they were taken from.

    In the first ``pretrain_steps`` the filter bank learns to give back what it gets (mean absolute error). After that
    the loss is `StereoInvariantLoss`, without the ends that lack context. Every ``evaluate_every`` steps the held-out
    examples are heard, and what did best on them is kept: trained on a hundred songs the network forgets how to mix
    others after some hours. After ``patience`` evaluations without a better one the run ends (0: never).

    Args:
        model: what learns.
        loss: ``"La"`` or ``"Lb"``.
        learning_rate: of Adam (AMSGrad), with a linear warm-up of ``warmup_steps`` and the steps of ``DECAY``.
        warmup_steps, pretrain_steps, evaluate_every, patience: see above.
        total_steps: length of the run.
        seed: of the dropout.
    """

    def __init__(
        self,
        model: StemMixer,
        *,
        loss: Literal["La", "Lb"] = "Lb",
        learning_rate: float = 1e-3,
        warmup_steps: int = 20,
        pretrain_steps: int = 50,
        evaluate_every: int = 25,
        patience: int = 0,
        total_steps: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if evaluate_every < 1 or min(patience, pretrain_steps, warmup_steps) < 0:
            raise SettingsError("evaluate_every is 1 or more; patience, pretrain_steps and warmup_steps are 0 or more")
        self.model, self.seed = model, seed
        self.distance = StereoInvariantLoss(model.sample_rate, loss, model.net.guard)
        self.sides = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.pretrain_steps = learning_rate, warmup_steps, pretrain_steps
        self.evaluate_every, self.patience, self.total_steps = evaluate_every, patience, total_steps
        self.best: dict[str, Tensor] = {}
        self.heard: dict[int, float] = {}

    def forward(self, batch: StemBatch) -> Tensor:
        """The mix of a batch."""
        return self.model(batch.stems)

    def training_step(self, batch: StemBatch, _: int) -> Tensor:
        """Loss of one batch."""
        if self.global_step < self.pretrain_steps:
            loss = (self.model.net.reconstruction(batch.stems) - batch.stems).abs().mean()
        else:
            loss = self.distance(self(batch), batch.mix)
        self.log("train/loss", loss.detach(), batch_size=len(batch.mix), prog_bar=True)
        return loss

    def on_train_batch_start(self, *_: Any) -> None:
        """Hear the held-out examples when it is time.

        What dropout drops follows from the step, so that a resumed run goes on as if it had not stopped.
        """
        if self.global_step > self.pretrain_steps and self.global_step % self.evaluate_every == 0:
            self._evaluate()
        torch.manual_seed((self.seed << 32) + self.global_step)

    def on_train_end(self) -> None:
        """End with what did best on the held-out examples."""
        self._evaluate()
        if self.best:
            self.model.load_state_dict(self.best)

    @torch.no_grad()
    def _evaluate(self) -> None:
        step = self.global_step
        if step in self.heard:
            return
        was_training = self.model.training
        self.model.eval()
        loader = self.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        losses = []
        for batch in loader:
            batch = StemBatch(*(x.to(self.device) for x in batch))
            losses.append(float(self.distance(self(batch), batch.mix)))
        self.model.train(was_training)
        loss = sum(losses) / len(losses)
        if loss < min(self.heard.values(), default=float("inf")):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.heard[step] = loss
        since = list(self.heard.values())
        if self.patience and len(since) - 1 - since.index(min(since)) >= self.patience:
            self.trainer.should_stop = True

    @torch.no_grad()
    def validation_step(self, batch: StemBatch, _: int) -> None:
        """Scores of the model, and of the sum of the normalised stems at equal and at their classes' loudness."""
        rate, stems = self.model.sample_rate, batch.stems.unflatten(1, (-1, 2))
        alike = at_loudness(stems.flatten(0, 1), rate).unflatten(0, stems.shape[:2])
        sounding = stems.square().mean((2, 3), keepdim=True) > 1e-10
        mixes = {"model": self(batch), "equal_loudness": (alike * sounding).sum(1), "plain_sum": stems.sum(1)}
        target = at_loudness(batch.mix, rate)
        for name, mix in mixes.items():
            mix = at_loudness(mix, rate)
            scores = {"loss": self.distance(mix, target), "stft_distance": self.sides(mix, target)}
            logged = {f"val/{name}/{k}": v for k, v in scores.items()}
            self.log_dict(logged, batch_size=len(batch.mix), on_epoch=True, on_step=False)

    def configure_optimizers(self) -> Any:
        """Adam, AMSGrad, with the paper's steps of the learning rate, as parts of ``total_steps``."""
        optimizer = torch.optim.Adam(self.model.parameters(), self.learning_rate, weight_decay=1e-7, amsgrad=True)
        ends = np.cumsum([part for part, _ in DECAY]) / sum(part for part, _ in DECAY)

        def factor(step: int) -> float:
            place = int(np.searchsorted(ends, step / self.total_steps, "right"))
            return min(1.0, (step + 1) / (self.warmup_steps + 1)) * DECAY[min(place, len(DECAY) - 1)][1]

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the network's sizes, what did best so far, and how well."""
        checkpoint["network"] = self.model.description
        checkpoint["best"], checkpoint["heard"] = self.best, self.heard

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another network or sample rate."""
        stored, mine = checkpoint.get("network"), self.model.description
        if stored != mine:
            raise CheckpointError(f"the checkpoint is of another run: it holds {stored}, this one needs {mine}")
        self.best, self.heard = checkpoint["best"], checkpoint["heard"]


# -- data ----------------------------------------------------------------------------------------------------------


class NormalisedStems(NamedTuple):
    """Files of normalised stems and their mixes, for training and held out, and the averages they were brought to."""

    train: Sequence[Path]
    held_out: Sequence[Path]
    averages: dict[str, Averages]

    @classmethod
    def made(
        cls, train: Sequence[Song], held_out: Sequence[Song], data: Mapping[str, Any], seed: int
    ) -> "NormalisedStems":
        """Normalise the stems of all songs to the averages of some for training; what is cached is not made again."""
        from safetensors.torch import load_file, save_file

        wet = bool(data["root"]) and data["wet"]
        rate = data["sample_rate"]
        made_of = {
            "version": CACHE_VERSION,
            "sample_rate": rate,
            "wet": wet,
            "reverb": data["reverb"],
            "average_songs": data["average_songs"],
            "seed": seed,
            "songs": [_identity(song) for song in train],
        }
        digest = hashlib.sha1(json.dumps(made_of).encode(), usedforsecurity=False).hexdigest()[:12]
        folder = cache_root() / "fxnorm" / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = folder / "averages.safetensors"
            if not known.is_file():
                found = _averages_of(list(train)[: data["average_songs"]], rate, wet)
                flat = {f"{c}.{name}": v for c, a in found.items() for name, v in a._asdict().items()}
                with replacing(known) as temporary:
                    save_file(flat, temporary)
            flat = load_file(known)
            means = {c: Averages(*(flat[f"{c}.{name}"] for name in Averages._fields)) for c in CLASSES}
            files = [
                [folder / f"{hashlib.sha1(_identity(s).encode(), usedforsecurity=False).hexdigest()[:16]}.safetensors"
                 for s in part]
                for part in (train, held_out)
            ]  # fmt: skip
            missing = [
                (file, song)
                for part, songs in zip(files, (train, held_out), strict=True)
                for file, song in zip(part, songs, strict=True)
                if not file.is_file()
            ]
            with progress("Normalising", len(missing)) as advance:
                for done, (file, song) in enumerate(missing):
                    tensors = _normalised(song, rate, wet, means, data["reverb"])
                    with replacing(file) as temporary:
                        save_file(tensors, temporary)
                    advance(done + 1, song.name)
        except OSError as error:
            raise OutputError(f"{folder}: normalised stems cannot be kept there ({error.strerror})") from error
        return cls(files[0], files[1], means)


def _identity(song: Song) -> str:
    """A song's files, with their sizes and times, as text."""
    files = [file for source in song.sources for file in source.files]
    return "|".join(f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


def _wet_stems(song: Song, rate: int, wet: bool) -> tuple[dict[str, Tensor], Tensor]:
    """The stems (2, T) of a song as they are in its mix, and the mix (2, T)."""
    whole = song.whole(rate)
    stems = stems_of(whole) if wet else engineered_stems(whole, [whole.length, len(whole.tracks)])
    file = finished_mix(song.folder) if wet else None
    mix = read_mix(file, 0.0, whole.seconds, rate) if file else torch.stack(list(stems.values())).sum(0)
    return stems, mix


def engineered_stems(multitrack: Multitrack, seed: Sequence[int]) -> dict[str, Tensor]:
    """The stems (2, T) of raw tracks as an engineer mixes them, reverberation included; their sum is the mix.

    The master is left out, so that it is.
    """
    console = Console(multitrack.sample_rate, master={})
    intent = engineer(multitrack, seed).intent
    intent = intent._replace(settings=Settings({**intent.settings, "master": {}}))
    settings = balanced(console, multitrack, intent)
    tracks, order = grouped(multitrack)
    names = [multitrack.tracks[n].name for n in order]
    values = console.numbers(ordered(settings, names))
    roles = [multitrack.tracks[n].role or "" for n in order]
    stems = {}
    for stem in CLASSES:
        mask = torch.tensor([[float(STEMS.get(role, "other") == stem) for role in roles]])
        with torch.no_grad():
            stems[stem] = console.mix(tracks, values, mask)[0] if mask.any() else torch.zeros(2, multitrack.length)
    return stems


def _averages_of(songs: Sequence[Song], rate: int, wet: bool) -> dict[str, Averages]:
    with progress("Reading stems", len(songs)) as advance:
        found = []
        for done, song in enumerate(songs):
            found.append(_wet_stems(song, rate, wet)[0])
            advance(done + 1, song.name)
    means = {}
    with progress("Averaging stems", len(CLASSES)) as advance:
        for done, stem in enumerate(CLASSES):
            sounding = [stems[stem] for stems in found if bool(stems[stem].any())]
            means[stem] = averages(sounding, rate, TREATMENTS[stem]) if sounding else empty_averages(rate)
            advance(done + 1, stem)
    return means


def _normalised(song: Song, rate: int, wet: bool, means: Mapping[str, Averages], reverb: float) -> dict[str, Tensor]:
    """Normalised stems (8, T) and the mix (2, T) of a song, as 16-bit floats, which halves the space."""
    stems, mix = _wet_stems(song, rate, wet)
    name = hashlib.sha1(song.name.encode(), usedforsecurity=False).digest()
    rng = np.random.default_rng(int.from_bytes(name[:8], "big"))
    for stem in CLASSES:
        seed, chance = int(rng.integers(2**31)), float(rng.random())
        if TREATMENTS[stem].reverb and chance < reverb and bool(stems[stem].any()):
            stems[stem] = reverberated(stems[stem], rate, seed, wet=float(rng.uniform(0.1, 0.5)))
    loudness = float(integrated_loudness(mix[None], rate))
    if loudness > SILENCE_LUFS + 1:
        mix = mix * min(10 ** ((MIX_LUFS - loudness) / 20), CEILING / float(mix.abs().max()))
    ready = torch.cat([normalise(stems[c], rate, means[c], TREATMENTS[c]) for c in CLASSES])
    return {"stems": ready.half(), "mix": mix.half().contiguous()}


class StemExamples(Dataset[StemBatch]):
    """Pieces of normalised songs; example number i of a seed is always the same.

    With ``swap``, left and right change places in half of them.
    """

    def __init__(self, files: Sequence[Path], length: int, seed: int, swap: bool) -> None:
        self.files, self.length, self.seed, self.swap = files, length, seed, swap

    def __getitem__(self, index: int) -> StemBatch:
        """Example ``index``; pieces whose mix is silent are passed over."""
        from safetensors import safe_open

        rng = np.random.default_rng(np.random.SeedSequence([self.seed, index]))
        for _ in range(20):
            with safe_open(self.files[int(rng.integers(len(self.files)))], "pt") as file:
                stems, mix = file.get_slice("stems"), file.get_slice("mix")
                start = int(rng.integers(max(1, mix.get_shape()[1] - self.length + 1)))
                cut = [part[:, start : start + self.length].float() for part in (stems, mix)]
            if float(cut[1].square().mean()) > 1e-6:
                break
        else:
            raise AudioError("no piece with a mix that sounds was found")
        x, y = (torch.nn.functional.pad(part, (0, self.length - part.shape[1])) for part in cut)
        if self.swap and rng.random() < 0.5:
            x, y = x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1), y.flip(0)
        return StemBatch(x, y)


class StemData(lightning.LightningDataModule):
    """Examples for training, numbered by step so that a resumed run goes on where it stopped, and held-out ones."""

    def __init__(self, stored: NormalisedStems, data: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        length = round(data["seconds"] * data["sample_rate"])
        self.train = StemExamples(stored.train, length, seed, swap=True)
        self.held_out = StemExamples(stored.held_out, length, VALIDATION_SEED, swap=False)
        self.batch_size, self.examples = data["batch_size"], data["held_out_examples"]
        self.workers = data["workers"]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return self._loader(self.train, numbers_ahead(self, self.batch_size))

    def val_dataloader(self) -> DataLoader[Any]:
        """The same held-out examples each time."""
        return self._loader(self.held_out, range(self.examples))

    def _loader(self, dataset: StemExamples, numbers: Numbers | range) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=numbers,
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,
        )
