"""Training of the automatic mixer."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from diffmix.console import Console, Controls, DeskValues, Tracks
from diffmix.data.examples import Batch, MixExamples, collate
from diffmix.data.songs import Song, SongIndex
from diffmix.data.synthetic import VALIDATION_SEED, SyntheticSongs
from diffmix.errors import CheckpointError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.losses import SumDifferenceLoss, imbalance_loss
from diffmix.metrics import balance_error_db, pan_error, pan_width_error
from diffmix.processors import Compressor, HighpassFilter, KneeCompressor, ParametricEQ, Processor, Reverb
from diffmix.progress import progress
from diffmix.settings import Settings
from diffmix.systems.automixer import Automixer, refuse_other_specs
from diffmix.systems.training import Numbers, Training, numbers_ahead

MIX_LUFS = -16.0


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/automix.yaml`` describes.

    Any console will do whose strip has a ``trim`` and whose master has a ``gain``, see `on_console`. Examples name no
    groups: their tracks go to the master, and the knobs of groups are learned where they change nothing.
    """
    console = Console.from_layout(config["console"])
    try:
        console.trimmed(console.default(1, 1), torch.zeros(1, 1))
        _ = console.loudness_knob
    except SettingsError as error:
        raise SettingsError(f"recipe automix cannot train for this console: {error}") from None
    system = Automix(
        console,
        config["estimator"],
        total_steps=config["trainer"]["max_steps"],
        listen_seconds=config["data"]["seconds"],
        **config["system"],
    )
    data = AutomixData.from_config(config["data"], console, config["seed"])
    return Training(system, data, system.mixer.save)


KINDS: dict[str, tuple[type[Processor], ...]] = {
    "highpass": (HighpassFilter,),
    "eq": (ParametricEQ,),
    "compressor": (Compressor, KneeCompressor),
    "reverb": (Reverb,),
}
"""Which effects take the settings of a stage of `sample_mix`; what stands behind the effects has a name of its own."""


def on_console(console: Console, settings: Settings) -> Settings:
    """Settings that `sample_mix` made for the default console, on one of any layout.

    Each stage's go to the first effect of its class, as far as that has such knobs and inside their ranges; the send
    goes to the bus with a reverb. What the console lacks is left out, what it has beyond stays at its defaults.
    """
    wet = [bus for bus, stages in console.buses.items() if any(isinstance(e, Reverb) for e in stages.values())]
    send = next((send for send, bus in console.layout["sends"].items() if bus in wet), None)

    def chain(stages: Mapping[str, Processor], wanted: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for role, knobs in wanted.items():
            names = [n for n, effect in stages.items() if isinstance(effect, KINDS[role])] if role in KINDS else [role]
            for name in names[:1]:
                found[name] = _inside(stages[name], knobs)
        return found

    strip = {**console.strip, "fader": console.fader, "pan": console.pan, "image": console.image}
    tracks = {}
    for track, wanted in settings["tracks"].items():
        tracks[track] = chain(strip, {role: knobs for role, knobs in wanted.items() if role != "send"})
        if send is not None:
            tracks[track][send] = _inside(console.sends[send], wanted["send"])
    buses = {wet[0]: chain(console.buses[wet[0]], settings["buses"]["reverb"])} if wet else {}
    return Settings(tracks=tracks, buses=buses, master=chain(console.master, settings["master"]))


def _inside(effect: Processor, knobs: Mapping[str, float]) -> dict[str, float]:
    params = effect.spec.params
    return {knob: min(max(v, params[knob].low), params[knob].high) for knob, v in knobs.items() if knob in params}


def at_loudness(mix: Tensor, sample_rate: float, loudness_lufs: float = MIX_LUFS) -> Tensor:
    """Mixes (B, 2, T) scaled to one loudness; the gain carries no gradient."""
    with torch.no_grad():
        gain_db = (loudness_lufs - integrated_loudness(mix, sample_rate)).clamp(-40, 40)
    return mix * db_to_gain(gain_db)[:, None, None]


class Automix(lightning.LightningModule):
    """Learns to set a console as the examples' mixes were set.

    Loss: sum/difference STFT distance of the loudness-matched mixes, plus the side of each band (`imbalance_loss`),
    plus the distance of the knobs themselves (the pan as distance from the centre), each with a weight. The estimator
    listens to the whole example; the mixes are compared on its first ``heard_seconds``, which costs less.
    """

    def __init__(
        self,
        console: Console,
        estimator: dict[str, Any],
        *,
        learning_rate: float = 2e-3,
        warmup_steps: int = 20,
        weights: dict[str, float] | None = None,
        listen_seconds: float = 3.0,
        heard_seconds: float = 1.5,
        total_steps: int = 1000,
    ) -> None:
        super().__init__()
        self.mixer = Automixer(console, listen_seconds, **estimator)
        self.distance = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps
        self.heard = round(heard_seconds * console.sample_rate)
        self.weights = {"stft": 1.0, "imbalance": 1.0, "knobs": 8.0} | dict(weights or {})

    def forward(self, batch: Batch) -> Controls:
        """The controls that the mixer chooses for a batch."""
        return self.mixer(_tracks(batch), batch.loudness_lufs, batch.mask)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        losses = self.losses(batch, self(batch))
        self.log_dict({f"train/{k}": v.detach() for k, v in losses.items()}, batch_size=len(batch.mask), prog_bar=True)
        return torch.stack([self.weights[k] * v for k, v in losses.items()]).sum()

    def losses(self, batch: Batch, chosen: Controls) -> dict[str, Tensor]:
        """The terms of the loss, unweighted."""
        console, rate = self.mixer.console, self.mixer.console.sample_rate
        wanted = self.target(batch)
        heard = batch.mono[..., : self.heard], batch.stereo[..., : self.heard]
        with torch.autocast(self.device.type, enabled=False):  # audio stays in float32
            with torch.no_grad():
                target = at_loudness(console(heard, wanted, batch.mask), rate)
            mix = at_loudness(console(heard, Controls(*(u.float() for u in chosen)), batch.mask), rate)
            return {
                "stft": self.distance(mix, target),
                "imbalance": imbalance_loss(mix, target, rate),
                "knobs": self.knob_distance(chosen, wanted, batch.mask),
            }

    def target(self, batch: Batch) -> Controls:
        """The controls of the mix to imitate, with the trims that both mixes share."""
        return self.mixer.console.trimmed(Controls(batch.tracks, batch.bus, batch.master), batch.loudness_lufs)

    def knob_distance(self, chosen: Controls, wanted: Controls, mask: Tensor) -> Tensor:
        """Mean absolute distance of the knobs in [0, 1]; the level and the pan of a track count most."""
        spec = self.mixer.console.track_spec
        weight = torch.ones(spec.size, device=mask.device)
        weight[[spec.index("fader.gain_db"), spec.index("pan.pan")]] = torch.tensor([12.0, 2.0], device=mask.device)
        at = spec.index("pan.pan")
        difference = (chosen.tracks - wanted.tracks).abs()
        amount = ((chosen.tracks[..., at] - 0.5).abs() - (wanted.tracks[..., at] - 0.5).abs()).abs()
        difference = torch.cat([difference[..., :at], amount[..., None], difference[..., at + 1 :]], -1)
        tracks = (difference * weight * mask[..., None]).sum() / (mask.sum() * spec.size)
        return tracks + 0.1 * sum(
            (a - b).abs().mean() for a, b in zip(chosen[1:], wanted[1:], strict=True) if a.shape[-1]
        )

    @torch.no_grad()
    def validation_step(self, batch: Batch, _: int) -> None:
        """Scores of the mixer, and of equal loudness, on held-out songs."""
        for name, chosen in (("model", self(batch)), ("equal_loudness", self.equal_loudness(batch))):
            scores = self.scores(batch, chosen)
            self.log_dict(
                {f"val/{name}/{k}": v for k, v in scores.items()},
                batch_size=len(batch.mask),
                on_epoch=True,
                on_step=False,
            )

    def equal_loudness(self, batch: Batch) -> Controls:
        """The rule to beat: every track equally loud, in the centre, untreated."""
        plain = self.mixer.console.default(*batch.mask.shape)
        return self.mixer.console.trimmed(plain, batch.loudness_lufs)

    def scores(self, batch: Batch, chosen: Controls) -> dict[str, Tensor]:
        """How far the mixes of controls are from the batch's mixes; each score is a mean over the batch."""
        console, tracks = self.mixer.console, _tracks(batch)
        target, values = console.values(self.target(batch)), console.values(chosen)
        loud, wanted = (_loudness_in_mix(console, tracks, v) for v in (values, target))
        mixes = [at_loudness(console.mix(tracks, v, batch.mask), console.sample_rate) for v in (values, target)]
        is_mono = torch.zeros_like(batch.mask)
        is_mono[:, : batch.mono.shape[1]] = 1
        pans = values.tracks["pan.pan"], target.tracks["pan.pan"], batch.mask * is_mono
        return {
            "balance_error_db": balance_error_db(loud, wanted, batch.mask).mean(),
            "stft_distance": self.distance(*mixes),
            "pan_error": pan_error(*pans).mean(),
            "pan_width_error": pan_width_error(*pans).mean(),
        }

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine decay over ``total_steps``."""
        optimizer = torch.optim.AdamW(self.mixer.parameters(), self.learning_rate, weight_decay=1e-3)
        warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=self.warmup_steps)
        cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, self.total_steps - self.warmup_steps))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [self.warmup_steps])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the parameters' declarations with the weights."""
        checkpoint["specs"] = {part: spec.to_dict() for part, spec in self.mixer.console.specs.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other parameters, naming the differing lines."""
        if "specs" not in checkpoint:
            raise CheckpointError("the checkpoint holds no parameter specs: it was not written by this system")
        refuse_other_specs(self.mixer.console.specs, checkpoint["specs"], "the checkpoint")


def _tracks(batch: Batch) -> Tracks:
    return batch.mono, batch.stereo


def _loudness_in_mix(console: Console, tracks: Tracks, values: DeskValues) -> Tensor:
    """Loudness (B, N) of each track as it reaches the sum."""
    placed = [integrated_loudness(y, console.sample_rate) for y in console.placed(tracks, values)]
    return torch.stack(placed, 1)


class AutomixData(lightning.LightningDataModule):
    """Examples for training, numbered by step so that a resumed run goes on where it stopped, and held-out ones."""

    def __init__(
        self, train: MixExamples, held_out: MixExamples, *, batch_size: int, examples: int, workers: int
    ) -> None:
        super().__init__()
        self.train, self.held_out = train, held_out
        self.batch_size, self.examples, self.workers = batch_size, examples, workers

    @classmethod
    def from_config(cls, config: Mapping[str, Any], console: Console, seed: int) -> "AutomixData":
        """Data as ``conf/data`` describes it: generated songs (made now unless cached) or a folder of songs."""
        rate = round(console.sample_rate)
        train: Sequence[Song]
        held_out: Sequence[Song]
        if config["root"]:
            songs = list(SongIndex(config["root"]))
            held_out = songs[::5] if len(songs) > 1 else songs
            train = [song for song in songs if song not in held_out] or songs
        else:
            length = config["song_seconds"]
            train = SyntheticSongs(config["songs"], length, sample_rate=rate)
            held_out = SyntheticSongs(config["held_out_songs"], length, VALIDATION_SEED, sample_rate=rate)
            for title, source in (("Generating songs", train), ("Generating tests", held_out)):
                with progress(title, len(source)) as advance:
                    source.prepare(lambda done, total: advance(done, ""), workers=2)
        copy = deepcopy(console)  # workers stay on the CPU when the system's console moves to a GPU

        def encode(settings: Settings) -> Controls:
            return copy.encode(on_console(copy, settings))

        shared = {"sample_rate": rate, "seconds": config["seconds"], "max_tracks": config["max_tracks"]}
        return cls(
            MixExamples(train, encode, seed=seed, degraded=config["degraded"], **shared),
            MixExamples(held_out, encode, seed=VALIDATION_SEED, degraded=config["degraded"], **shared),
            batch_size=config["batch_size"],
            examples=config["held_out_examples"],
            workers=config["workers"],
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return self._loader(self.train, numbers_ahead(self, self.batch_size))

    def val_dataloader(self) -> DataLoader[Any]:
        """The same held-out examples each time."""
        return self._loader(self.held_out, range(self.examples))

    def _loader(self, dataset: MixExamples, numbers: Numbers | range) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=numbers,
            collate_fn=collate,
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,
        )
