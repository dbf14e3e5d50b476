"""Training of the automatic mixer: to intend what an engineer would intend."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from diffmix.balance import balanced, placed_loudness
from diffmix.console import Console
from diffmix.data.datasets import address, training_and_held_out
from diffmix.data.multitrack import Multitrack
from diffmix.data.recordings import Recordings
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import CheckpointError, SettingsError
from diffmix.estimators import Heard
from diffmix.estimators.features import level_free
from diffmix.intent import Intent
from diffmix.losses import SumDifferenceLoss
from diffmix.metrics import balance_error_db, pan_error, pan_width_error
from diffmix.mix import grouped, ordered, render
from diffmix.progress import progress
from diffmix.settings import Settings
from diffmix.systems.automixer import Automixer, refuse_other_specs
from diffmix.systems.draws import Batch, Draws, collate
from diffmix.systems.intents import LOUDNESS, Vectors, on_console
from diffmix.systems.lessons import Lessons
from diffmix.systems.mixes import at_loudness
from diffmix.systems.solos import prepare as prepare_solos
from diffmix.systems.training import AveragedMixer, Training, averaged, loader, numbers_ahead, optimizers, weighted

SHIPPED = Path(__file__).parents[1] / "weights" / "automix"


def beginning(start: str, sample_rate: float) -> Automixer:
    """The mixer in the folder ``start``; "shipped" is the one that comes with the package."""
    return Automixer.load(SHIPPED if start == "shipped" else start, sample_rate)


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/automix.yaml`` describes.

    Any console will do whose strip has a ``trim`` and whose master has a ``gain``. Lessons name no groups: their tracks
    go to the master, and the knobs of groups stay where they are.
    """
    console = Console.from_layout(config["console"])
    try:
        console.trims_db(torch.zeros(1))
        _ = console.loudness_knob
    except SettingsError as error:
        raise SettingsError(f"recipe automix cannot train for this console: {error}") from None
    system = Automix(
        console,
        config["estimator"],
        seed=config["seed"],
        total_steps=config["trainer"]["max_steps"],
        **config["system"],
    )
    data = AutomixData.from_config(config["data"], console, config["seed"])
    return Training(system, data, cast(Automixer, system.average.module).save)


class Automix(AveragedMixer):
    """Learns to intend what the engineer of a lesson intends.

    Loss: the error of the tracks' loudness in the mix in dB, less its mean over the song; of the equalisers' curves, in
    dB at third octaves (different knobs make equal curves); of the pan's distance from the centre; of every other knob
    in [0, 1]; the cross entropy of the guess at what a track is, and of that at what solos are; each with a weight.
    What is kept is an exponential average of the weights.
    """

    def __init__(
        self,
        console: Console,
        estimator: dict[str, Any],
        *,
        learning_rate: float = 1e-3,
        warmup_steps: int = 50,
        weight_decay: float = 0.02,
        average: float = 0.998,
        weights: dict[str, float] | None = None,
        total_steps: int = 1000,
        start: str | None = None,
        seed: int = 0,
    ) -> None:
        """Untrained, or with the weights in the folder ``start``; "shipped" are those that come with the package."""
        super().__init__()
        self.seed = seed
        self.mixer = Automixer(console, **estimator)
        if start:
            begin = beginning(start, console.sample_rate)
            if begin.shape != self.mixer.shape:
                raise CheckpointError(
                    f"{start} holds an estimator of {begin.shape}, the run asks for {self.mixer.shape}"
                )
            refuse_other_specs(self.mixer.specs, {k: v.to_dict() for k, v in begin.specs.items()}, start)
            self.mixer.load_state_dict(begin.state_dict())
        self.average = averaged(self.mixer, average)
        self.distance = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps
        self.weight_decay = weight_decay
        own = {"balance": 0.5, "curve": 0.25, "pan": 4.0, "knobs": 8.0, "master": 4.0, "role": 0.5, "solo": 0.5}
        self.weights = own | dict(weights or {})

    def forward(self, batch: Batch) -> tuple[Vectors, Tensor]:
        """What the mixer wants of a batch, and what it takes the tracks for, as logits (B, N, roles)."""
        return self.mixer(_heard(batch))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch; what dropout leaves out follows from the seed and the step, also in a resumed run."""
        torch.manual_seed(self.seed + 1_000_003 * self.global_step)
        losses = self.losses(batch, *self(batch))
        self.log_losses(losses, len(batch.mask))
        return weighted(losses, self.weights)

    def losses(self, batch: Batch, answer: Vectors, guess: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, unweighted."""
        code, wanted, mask = self.mixer.code, batch.wanted, batch.mask
        spec = code.specs["tracks"]
        count = mask.sum().clamp_min(1)
        own, theirs = answer.tracks, wanted.tracks
        level = spec.index(LOUDNESS)
        error_db = (own[..., level] - theirs[..., level]) * (spec.high[level] - spec.low[level]) * mask
        mean = error_db.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)
        stereo = batch.measured[..., 3] > 0.5
        of_pan = torch.tensor([name.startswith("pan.") for name in spec.names], device=mask.device)
        of_image = torch.tensor([name.startswith("image.") for name in spec.names], device=mask.device)
        curve = code.is_equaliser("tracks").to(mask.device)
        rest = ~(of_pan | curve)
        rest[level] = False
        distance = (own - theirs).abs()
        relevant = rest & ~(of_image & ~stereo[..., None])
        losses = {
            "balance": (((error_db - mean).abs() + 0.1 * error_db.abs()) * mask).sum() / count,
            "pan": (distance[..., code.amount] * mask * ~stereo).sum() / (mask * ~stereo).sum().clamp_min(1),
            "knobs": (distance * relevant * mask[..., None]).sum() / (relevant * mask[..., None]).sum().clamp_min(1),
        }
        known = (mask > 0.5) & (batch.true_labels > 0)
        if known.any():
            losses["role"] = cross_entropy(guess[known], batch.true_labels[known] - 1)
        if batch.solos is not None and (batch.solos.labels > 0).any():
            heard = level_free(batch.solos.mel_db, batch.solos.measured)
            wanted_roles = batch.solos.labels - 1  # -1: it rests, and is not counted
            losses["solo"] = cross_entropy(self.mixer.estimator.guesses(*heard), wanted_roles, ignore_index=-1)
        if (curves_db := code.distance_db("tracks", own, theirs, batch.shift_db)) is not None:
            losses["curve"] = (curves_db * mask).sum() / count
        master = [(a - b).abs().mean() for a, b in zip(answer[1:], wanted[1:], strict=True) if a.shape[-1]]
        if (curve_db := code.distance_db("master", answer.master, wanted.master)) is not None:
            master.append(0.05 * curve_db.mean())
        if master:
            losses["master"] = torch.stack(master).sum()
        return losses

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Lessons go to the device; held-out songs stay where they are, and so does their console."""
        return super().transfer_batch_to_device(batch, device, dataloader_idx) if isinstance(batch, Batch) else batch

    @torch.no_grad()
    def validation_step(self, batch: "HeldOut", _: int) -> None:
        """Scores of the mixer, and of equal loudness, on a held-out song."""
        mixer = cast(Automixer, self.average.module)
        recording, truth = batch
        console = mixer.console
        intents = {"model": mixer.cpu().eval().intend(recording), "equal_loudness": equal_loudness(recording)}
        wanted = balanced(console, recording, truth)
        for name, intent in intents.items():
            scores = self.scores(console, recording, balanced(console, recording, intent), wanted)
            self.log_scores(name, scores, 1)

    def scores(self, console: Console, recording: Multitrack, own: Settings, wanted: Settings) -> dict[str, Tensor]:
        """How far a mix is from the one that was wanted."""
        tracks, order = grouped(recording)
        names = [recording.tracks[n].name for n in order]
        mono = torch.tensor([[float(recording.tracks[n].audio.shape[0] == 1) for n in order]])
        heard: list[Tensor] = []
        pans: list[Tensor] = []
        mixes: list[Tensor] = []
        for settings in (own, wanted):
            values = console.numbers(ordered(settings, names))
            heard.append(placed_loudness(console, tracks, values))
            pans.append(values.tracks["pan.pan"])
            mixes.append(at_loudness(render(console, recording, settings)[None], console.sample_rate))
        return {
            "balance_error_db": balance_error_db(heard[0], heard[1], torch.ones_like(mono)).mean(),
            "stft_distance": self.distance(*mixes),
            "pan_error": pan_error(pans[0], pans[1], mono).mean(),
            "pan_width_error": pan_width_error(pans[0], pans[1], mono).mean(),
        }

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine decay over ``total_steps``."""
        return optimizers(self.mixer, self.learning_rate, self.warmup_steps, self.total_steps, self.weight_decay)


def equal_loudness(multitrack: Multitrack) -> Intent:
    """The rule to beat: every track equally loud, in the centre, untreated."""
    level_lu = -10 * float(np.log10(len(multitrack.tracks)))
    names = [track.name for track in multitrack.tracks]
    return Intent(Settings(tracks={n: {} for n in names}, buses={}, master={}), dict.fromkeys(names, level_lu))


def _heard(batch: Batch) -> Heard:
    shape = batch.measured.shape[:2]
    mel, scalars = level_free(batch.mel_db.flatten(0, 1), batch.measured.flatten(0, 1))
    reference = None
    if batch.reference is not None:
        mel_db, measured = batch.reference
        mix, numbers = level_free(mel_db.flatten(0, 1), measured.flatten(0, 1))
        reference = mix.view(len(batch.style), 2, *mix.shape[1:]), numbers.view(len(batch.style), 2, -1)
    return Heard(
        mel.view(*shape, *mel.shape[1:]),
        scalars.view(*shape, -1),
        batch.mask,
        batch.labels,
        batch.style,
        batch.wished,
        reference,
    )


HeldOut = tuple[Multitrack, Intent]


class HeldOutSongs(Dataset[HeldOut]):
    """Recordings that were never trained on, each with the mix that is wanted of it."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons

    def __len__(self) -> int:
        return self.lessons.recordings.count

    def __getitem__(self, number: int) -> HeldOut:
        """The first take of a song, and what its engineer intends for the console."""
        recording = next(self.lessons.recordings.of(number))
        intent = self.lessons.engineered(number, 0, recording).intent
        return recording, intent._replace(settings=on_console(self.lessons.console, intent.settings))


class AutomixData(lightning.LightningDataModule):
    """Lessons for training, numbered by step so that a resumed run goes on where it stopped, and held-out songs."""

    def __init__(self, train: Draws, held_out: HeldOutSongs, *, batch_size: int, workers: int) -> None:
        super().__init__()
        self.train, self.held_out = train, held_out
        self.batch_size, self.workers = batch_size, workers

    @classmethod
    def from_config(cls, config: Mapping[str, Any], console: Console, seed: int) -> "AutomixData":
        """Data as ``conf/data`` describes it: generated songs, or a folder of songs; lessons are made unless kept."""
        rate, length = round(console.sample_rate), float(config["song_seconds"])
        shared: dict[str, Any] = {"song": config["song"] or {}, "recording": config["recording"] or {}}
        if config["root"]:
            sets = training_and_held_out(config["root"], config.get("kind"))
            train_on, kept = (tuple(address(songs, place.name) for place in songs.places) for songs in sets)
            train = Recordings(len(train_on), config["takes"], 0, length, rate, folders=train_on, **shared)
            held = Recordings(len(kept), 1, VALIDATION_SEED, length, rate, folders=kept, **shared)
        else:
            train = Recordings(config["songs"], config["takes"], 0, length, rate, **shared)
            held = Recordings(config["held_out_songs"], 1, VALIDATION_SEED, length, rate, **shared)
        solos, folders = None, config["solos"] or ()
        if folders:
            with progress("Making solos", config["solo_count"]) as advance:
                names = (folders,) if isinstance(folders, str) else tuple(folders)
                solos = prepare_solos(names, config["solo_count"], length, rate, progress=lambda n, _: advance(n, ""))
                advance(config["solo_count"], "")
        lessons = Lessons(console, train)
        with progress("Making lessons", train.count) as advance:
            lessons.prepare(lambda done, total: advance(train.count - total + done, ""), workers=2)
            advance(train.count, "")
        return cls(
            Draws(lessons, config["seconds"], seed, solos, config["solos_each"]),
            HeldOutSongs(Lessons(console, held)),
            batch_size=config["batch_size"],
            workers=config["workers"],
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return loader(self.train, numbers_ahead(self, self.batch_size), self.batch_size, collate, self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """The held-out songs, one by one."""
        return DataLoader(self.held_out, batch_size=None)
