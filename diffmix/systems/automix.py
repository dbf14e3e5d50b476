"""Training of the automatic mixer: to intend what an engineer would intend."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from diffmix.balance import balanced, placed_loudness, trims_db
from diffmix.console import Console
from diffmix.data.datasets import address, training_and_held_out
from diffmix.data.knowledge import STYLE, THIRD_OCTAVES_HZ
from diffmix.data.multitrack import Multitrack
from diffmix.data.recordings import Recordings
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import CheckpointError, SettingsError
from diffmix.estimators import Heard
from diffmix.estimators.features import FRAME_S, band_hz, level_free
from diffmix.intent import Intent
from diffmix.kernels.loudness import integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.losses import SumDifferenceLoss
from diffmix.metrics import balance_error_db, pan_error, pan_width_error
from diffmix.mix import grouped, ordered, render
from diffmix.progress import progress
from diffmix.settings import Settings
from diffmix.systems.automixer import Automixer, refuse_other_specs
from diffmix.systems.intents import LOUDNESS, Vectors, on_console
from diffmix.systems.lessons import Lesson, Lessons
from diffmix.systems.training import Training, numbers_ahead

MIX_LUFS = -16.0


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/automix.yaml`` describes.

    Any console will do whose strip has a ``trim`` and whose master has a ``gain``. Lessons name no groups: their tracks
    go to the master, and the knobs of groups stay where they are.
    """
    console = Console.from_layout(config["console"])
    try:
        trims_db(console, torch.zeros(1))
        _ = console.loudness_knob
    except SettingsError as error:
        raise SettingsError(f"recipe automix cannot train for this console: {error}") from None
    system = Automix(
        console,
        config["estimator"],
        seed=config["seed"],
        total_steps=config["trainer"]["max_steps"],
        listen_seconds=config["data"]["seconds"],
        **config["system"],
    )
    data = AutomixData.from_config(config["data"], console, config["seed"])
    return Training(system, data, cast(Automixer, system.average.module).save)


class Batch(NamedTuple):
    """Lessons of one length, tracks padded: as `Lesson`, with a leading dimension, and what is told with them.

    ``mask`` (B, N) is 0 where a track is padding or does not play; ``labels`` (B, N) are 0 where a role is not told;
    ``shift_db`` (B, N, 28) is what the equalisers' curves have to do beyond ``wanted``, at `THIRD_OCTAVES_HZ`;
    ``wished`` (B, 6) says which numbers of the style are told; the reference (B, 2, 64, F') and (B, 2, 4) is a mix of
    another song in the same style, or None for all.
    """

    mel_db: Tensor
    measured: Tensor
    mask: Tensor
    labels: Tensor
    wanted: Vectors
    shift_db: Tensor
    style: Tensor
    wished: Tensor
    reference: tuple[Tensor, Tensor] | None


class Drawn(NamedTuple):
    """A lesson as it is used once."""

    lesson: Lesson
    shift_db: Tensor
    playing: Tensor
    labels: Tensor
    wished: Tensor
    reference: tuple[Tensor, Tensor]
    told_reference: bool


class Draws(Dataset[Drawn]):
    """Draw number i of a seed is always the same: a piece of a lesson, and what the mixer is told with it.

    Of each draw the style is told with a chance of one half (then each number of it with three quarters), the roles
    with one of six tenths (then each with nine). Some tracks come through another microphone, some with noise, and
    some bands and frames are blotted out (Park et al., "SpecAugment", 2019).
    """

    def __init__(self, lessons: Lessons, seconds: float, seed: int) -> None:
        self.lessons = [lessons[k] for k in range(len(lessons))]
        self.alike = [lessons.alike(k) for k in range(len(lessons))]
        self.frames, self.seed = round(seconds / FRAME_S), seed

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, number: int) -> Drawn:
        """Draw number ``number``, of any size."""
        rng = np.random.default_rng([self.seed, number])
        which = int(rng.integers(len(self.lessons)))
        lesson = self.lessons[which]
        mel_db = lesson.mel_db.float()
        start = int(rng.integers(max(mel_db.shape[2] - self.frames, 0) + 1))
        piece = mel_db[..., start : start + self.frames]
        level_db = 10 * (10 ** (mel_db / 10)).sum(1).log10()
        playing = level_db[:, start : start + self.frames].amax(1) > level_db.amax(1) - 30
        piece, shift_db = _coloured(piece, rng)
        piece = _blotted(_noisy(piece, rng), rng)
        n = len(piece)
        told = (rng.random(n) < 0.9) & (rng.random() < 0.6)
        wished = (rng.random(STYLE.size) < 0.75) & (rng.random() < 0.5)
        others = [k for k in self.alike[which] if k != which] or [which]
        other = self.lessons[others[int(rng.integers(len(others)))]]
        return Drawn(
            lesson._replace(mel_db=piece),
            shift_db,
            playing if playing.any() else torch.ones(n, dtype=torch.bool),
            lesson.labels * torch.from_numpy(told),
            torch.from_numpy(wished).float(),
            (other.mix_mel_db.float(), other.mix_measured),
            bool(rng.random() < 0.4),
        )


def _coloured(mel_db: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Every other track through another microphone, and what an engineer's equaliser then does otherwise, (N, 28) dB.

    The colour is a tilt of up to 1.5 dB per octave and two bumps of up to 8 dB. An engineer undoes about 0.55 of it
    where the track sounds (`diffmix.data.knowledge`).
    """
    n = len(mel_db)
    some = (rng.random(n) < 0.5)[:, None]
    tilt = rng.uniform(-1.5, 1.5, (n, 1))
    centre, width = rng.uniform(-4, 4, (2, n, 1)), rng.uniform(0.4, 1.2, (2, n, 1))
    height = rng.uniform(-8, 8, (2, n, 1))

    def colour_db(octave: np.ndarray) -> np.ndarray:
        bumps = (height * np.exp(-(((octave - centre) / width) ** 2))).sum(0)
        return np.where(some, tilt * octave + bumps, 0.0)

    bands, points = np.log2(band_hz().numpy() / 1000), np.log2(np.array(THIRD_OCTAVES_HZ) / 1000)
    power_db = 10 * np.log10((10 ** (mel_db.numpy() / 10)).mean(2) + 1e-12)
    spectrum_db = np.stack([np.interp(points, bands, row) for row in power_db]) + 10 * np.log10(2.0) * points
    audible = np.clip((spectrum_db - spectrum_db.max(1, keepdims=True) + 50) / 25, 0.05, 1)
    added_db = colour_db(points)
    added_db -= (added_db * audible**2).sum(1, keepdims=True) / (audible**2).sum(1, keepdims=True)
    coloured = mel_db + torch.from_numpy(colour_db(bands)).float()[..., None]
    return coloured, torch.from_numpy(-0.55 * added_db * audible).float()


def _noisy(mel_db: Tensor, rng: np.random.Generator) -> Tensor:
    """Every third track with a noise floor of 20 to 60 dB under its loudest band, flat or falling."""
    noise_db = torch.tensor(rng.uniform(-60, -20, len(mel_db)), dtype=torch.float32)
    slope = torch.tensor(rng.uniform(-20, 0, len(mel_db)), dtype=torch.float32)[:, None] * torch.linspace(0, 1, 64)
    some = torch.from_numpy(rng.random(len(mel_db)) < 1 / 3)
    floor = mel_db.amax((1, 2))[:, None] + noise_db[:, None] + slope
    floor = torch.where(some[:, None], floor, -200.0)[..., None]
    return torch.logaddexp(mel_db * 0.230258509, floor * 0.230258509) / 0.230258509


def _blotted(mel_db: Tensor, rng: np.random.Generator) -> Tensor:
    """Every other track without up to eight bands or twenty frames in a row, which are at the track's mean."""
    mel_db = mel_db.clone()
    for row in mel_db:
        if rng.random() < 0.5:
            mean = row.mean()
            if rng.random() < 0.5:
                first = int(rng.integers(64))
                row[first : first + int(rng.integers(1, 9))] = mean
            else:
                first = int(rng.integers(row.shape[1]))
                row[:, first : first + int(rng.integers(1, 21))] = mean
    return mel_db


def collate(drawn: Sequence[Drawn]) -> Batch:
    """Pad all to the same number of tracks; a reference is told to all or to none of a batch."""
    most = max(len(d.playing) for d in drawn)
    frames = min(d.lesson.mel_db.shape[2] for d in drawn)

    def padded(parts: Sequence[Tensor], fill: float = 0.0) -> Tensor:
        return torch.stack([torch.cat([x, x.new_full((most - len(x), *x.shape[1:]), fill)]) for x in parts])

    lessons = [d.lesson for d in drawn]
    reference = None
    if drawn[0].told_reference:
        heard = min(d.reference[0].shape[2] for d in drawn)
        reference = (
            torch.stack([d.reference[0][..., :heard] for d in drawn]),
            torch.stack([d.reference[1] for d in drawn]),
        )
    return Batch(
        mel_db=padded([x.mel_db[..., :frames] for x in lessons], -120.0),
        measured=padded([x.measured for x in lessons]),
        mask=padded([d.playing.float() for d in drawn]),
        labels=padded([d.labels for d in drawn]),
        wanted=Vectors(
            padded([x.tracks for x in lessons], 0.5),
            torch.stack([x.bus for x in lessons]),
            torch.stack([x.master for x in lessons]),
        ),
        shift_db=padded([d.shift_db for d in drawn]),
        style=torch.stack([x.style for x in lessons]),
        wished=torch.stack([d.wished for d in drawn]),
        reference=reference,
    )


class Automix(lightning.LightningModule):
    """Learns to intend what the engineer of a lesson intends.

    Loss: the error of the tracks' loudness in the mix in dB, less its mean over the song; of the equalisers' curves, in
    dB at third octaves (different knobs make equal curves); of the pan's distance from the centre; of every other knob
    in [0, 1]; each with a weight. What is kept is an exponential average of the weights.
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
        listen_seconds: float = 6.0,
        total_steps: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.mixer = Automixer(console, listen_seconds, **estimator)

        def moved(mean: Tensor, now: Tensor, count: Any) -> Tensor:
            keep = min(average, (1 + float(count)) / (10 + float(count)))  # at first the average follows faster
            return keep * mean + (1 - keep) * now

        self.average = AveragedModel(self.mixer, avg_fn=moved)
        self.distance = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps
        self.weight_decay = weight_decay
        self.weights = {"balance": 0.5, "curve": 0.25, "pan": 4.0, "knobs": 8.0, "master": 4.0} | dict(weights or {})

    def forward(self, batch: Batch) -> Vectors:
        """What the mixer wants of a batch."""
        return self.mixer(_heard(batch))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch; what dropout leaves out follows from the seed and the step, also in a resumed run."""
        torch.manual_seed(self.seed + 1_000_003 * self.global_step)
        losses = self.losses(batch, self(batch))
        self.log_dict({f"train/{k}": v.detach() for k, v in losses.items()}, batch_size=len(batch.mask), prog_bar=True)
        return torch.stack([self.weights[k] * v for k, v in losses.items()]).sum()

    def losses(self, batch: Batch, answer: Vectors) -> dict[str, Tensor]:
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
        if (curves_db := code.distance_db("tracks", own, theirs, batch.shift_db)) is not None:
            losses["curve"] = (curves_db * mask).sum() / count
        master = [(a - b).abs().mean() for a, b in zip(answer[1:], wanted[1:], strict=True) if a.shape[-1]]
        if (curve_db := code.distance_db("master", answer.master, wanted.master)) is not None:
            master.append(0.05 * curve_db.mean())
        if master:
            losses["master"] = torch.stack(master).sum()
        return losses

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """One step, after which the average moves."""
        super().optimizer_step(*arguments, **options)
        self.average.update_parameters(self.mixer)

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
            self.log_dict({f"val/{name}/{k}": v for k, v in scores.items()}, batch_size=1, on_epoch=True, on_step=False)

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
        optimizer = torch.optim.AdamW(self.mixer.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=self.warmup_steps)
        cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.total_steps - self.warmup_steps))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [self.warmup_steps])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the parameters' declarations with the weights."""
        checkpoint["specs"] = {part: spec.to_dict() for part, spec in self.mixer.specs.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other parameters, naming the differing lines."""
        if "specs" not in checkpoint:
            raise CheckpointError("the checkpoint holds no parameter specs: it was not written by this system")
        refuse_other_specs(self.mixer.specs, checkpoint["specs"], "the checkpoint")


def equal_loudness(multitrack: Multitrack) -> Intent:
    """The rule to beat: every track equally loud, in the centre, untreated."""
    level_lu = -10 * float(np.log10(len(multitrack.tracks)))
    names = [track.name for track in multitrack.tracks]
    return Intent(Settings(tracks={n: {} for n in names}, buses={}, master={}), dict.fromkeys(names, level_lu))


def at_loudness(mix: Tensor, sample_rate: float, loudness_lufs: float = MIX_LUFS) -> Tensor:
    """Mixes (B, 2, T) scaled to one loudness; the gain carries no gradient."""
    with torch.no_grad():
        gain_db = (loudness_lufs - integrated_loudness(mix, sample_rate)).clamp(-40, 40)
    return mix * db_to_gain(gain_db)[:, None, None]


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
        shared: dict[str, Any] = {"song": dict(config["song"] or {}), "recording": dict(config["recording"] or {})}
        if config["root"]:
            sets = training_and_held_out(config["root"], config.get("kind"))
            train_on, kept = (tuple(address(songs, place.name) for place in songs.places) for songs in sets)
            train = Recordings(len(train_on), config["takes"], 0, length, rate, folders=train_on, **shared)
            held = Recordings(len(kept), 1, VALIDATION_SEED, length, rate, folders=kept, **shared)
        else:
            train = Recordings(config["songs"], config["takes"], 0, length, rate, **shared)
            held = Recordings(config["held_out_songs"], 1, VALIDATION_SEED, length, rate, **shared)
        lessons = Lessons(console, train)
        with progress("Making lessons", train.count) as advance:
            lessons.prepare(lambda done, total: advance(train.count - total + done, ""), workers=2)
            advance(train.count, "")
        return cls(
            Draws(lessons, config["seconds"], seed),
            HeldOutSongs(Lessons(console, held)),
            batch_size=config["batch_size"],
            workers=config["workers"],
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return DataLoader(
            self.train,
            self.batch_size,
            sampler=numbers_ahead(self, self.batch_size),
            collate_fn=collate,
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """The held-out songs, one by one."""
        return DataLoader(self.held_out, batch_size=None)
