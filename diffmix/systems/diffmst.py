"""Training of mix style transfer, by both of Diff-MST's methods."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffmix.console import Console, Controls
from diffmix.data import audio
from diffmix.data.degrade import degrade
from diffmix.data.multitrack import Multitrack
from diffmix.data.songs import Song
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.losses import AudioFeatureLoss, SumDifferenceLoss, multi_resolution_stft
from diffmix.mix import grouped
from diffmix.params import ParamSpec
from diffmix.systems.mix_style_transfer import MixStyleTransfer
from diffmix.systems.mixes import (
    SILENT_RMS,
    MixData,
    Mixed,
    as_strong_as,
    at_loudness,
    batched,
    engineered,
    equally_loud,
    fitted,
    songs_of,
)
from diffmix.systems.training import OwnSpecs, Training, optimizers

METHODS = ("self-supervised", "reference")
MIXES = ("random", "engineered")
FADERS = ("input.gain_db", "gain.gain_db")
"""Knobs that random mixes leave alone: what they do to the loudness of a whole mix is not heard in it."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/diffmst.yaml`` describes; raises SettingsError for a console it cannot set."""
    options, data = dict(config["system"]), config["data"]
    network = {name: options.pop(name) for name in ("encoder", "controller", "sum_and_difference")}
    try:
        model = MixStyleTransfer(Console.from_layout(config["console"]), data["seconds"], **network)
    except SettingsError as error:
        raise SettingsError(f"recipe diffmst cannot train for this console: {error}") from None
    system = DiffMST(model, total_steps=config["trainer"]["max_steps"], **options)
    return Training(system, style_data(data, model, system.method, config["seed"]), model.save)


class StyleExample(NamedTuple):
    """Tracks (C, T) each, their loudness (N,) in LUFS, the mix to be like and the mix to make of them, (2, T) each."""

    tracks: tuple[Tensor, ...]
    loudness_lufs: Tensor
    reference: Tensor
    target: Tensor


class StyleBatch(NamedTuple):
    """Mono (B, N1, 1, T), stereo (B, N2, 2, T), mask and loudness (B, N1 + N2), reference and target (B, 2, T)."""

    mono: Tensor
    stereo: Tensor
    mask: Tensor
    loudness_lufs: Tensor
    reference: Tensor
    target: Tensor


class DiffMST(OwnSpecs):
    """Learns to mix in the style of a reference.

    ``method="self-supervised"``: a piece is mixed at random and cut in two; from the mix of its first half and the raw
    tracks of its second the network is to make the mix of the second half. Loss: multi-resolution STFT distance of left
    and right. ``method="reference"``: the reference is of another song, and the loss is `AudioFeatureLoss` between the
    two. Mixes are compared at one level, and scored at one loudness.

    Args:
        model: what learns.
        method: one of ``METHODS``.
        learning_rate: of Adam, with a linear warm-up and a cosine decay over ``total_steps``.
        warmup_steps: of the learning rate.
        features: weights of the audio features, where they are not the paper's.
        legacy: audio features exactly as in the paper.
        total_steps: length of the run.
    """

    def __init__(
        self,
        model: MixStyleTransfer,
        *,
        method: Literal["self-supervised", "reference"] = "self-supervised",
        learning_rate: float = 3e-4,
        warmup_steps: int = 20,
        features: Mapping[str, float] | None = None,
        legacy: bool = False,
        total_steps: int = 1000,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise SettingsError(f"method is one of {', '.join(METHODS)}, got {method!r}")
        self.model, self.method = model, method
        self.rate = model.console.sample_rate
        self.distance = multi_resolution_stft()
        self.features = AudioFeatureLoss(self.rate, features, legacy)
        self.sides = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps

    def forward(self, batch: StyleBatch) -> Controls:
        """The controls that the model chooses for a batch."""
        return self.model((batch.mono, batch.stereo), batch.loudness_lufs, batch.reference, batch.mask)

    def training_step(self, batch: StyleBatch, _: int) -> Tensor:
        """Loss of one batch."""
        loss = self.loss(batch, self(batch))
        self.log_losses({"loss": loss}, len(batch.mask))
        return loss

    def loss(self, batch: StyleBatch, chosen: Controls) -> Tensor:
        """Distance of the mix under some controls from the target, or from the reference."""
        with torch.autocast(self.device.type, enabled=False):  # audio stays in float32
            mix = self.mixed(batch, Controls(*(u.float() for u in chosen)))
            if self.method == "reference":
                return self.features(as_strong_as(mix, batch.reference), batch.reference)
            pair = as_strong_as(mix, batch.target), batch.target
            return self.distance(*(x.flatten(0, 1)[:, None] for x in pair))

    def mixed(self, batch: StyleBatch, controls: Controls) -> Tensor:
        """The mix (B, 2, T) of a batch."""
        return self.model.console((batch.mono, batch.stereo), controls, batch.mask)

    @torch.no_grad()
    def validation_step(self, batch: StyleBatch, _: int) -> None:
        """Scores of the model, of equal loudness and of the plain sum, on held-out pieces."""
        plain = torch.cat([batch.mono.expand(-1, -1, 2, -1), batch.stereo], 1).sum(1)
        mixes = {
            "model": at_loudness(self.mixed(batch, self(batch)), self.rate),
            "equal_loudness": at_loudness(self._equally_loud(batch), self.rate),
            "plain_sum": at_loudness(plain, self.rate),
        }
        for name, mix in mixes.items():
            scores = {
                "stft_distance": self.sides(mix, batch.target),
                "audio_features": self.features(mix, batch.reference),
            }
            self.log_scores(name, scores, len(batch.mask))

    def _equally_loud(self, batch: StyleBatch) -> Tensor:
        mixes = []
        for mono, stereo, mask in zip(batch.mono, batch.stereo, batch.mask > 0.5, strict=True):
            here = mask.split([len(mono), len(stereo)])
            mixes.append(equally_loud([*mono[here[0]], *stereo[here[1]]], self.rate))
        return torch.stack(mixes)

    def configure_optimizers(self) -> Any:
        """Adam with a linear warm-up and a cosine decay over ``total_steps``."""
        return optimizers(self.model, self.learning_rate, self.warmup_steps, self.total_steps, weight_decay=0)

    @property
    def specs(self) -> Mapping[str, ParamSpec]:
        """The parameters by part: weights for others would be useless."""
        return self.model.console.specs


class StyleExamples(Dataset[StyleExample]):
    """Example number i of a seed is always the same, whichever process asks for it and whatever came before.

    A piece of twice ``seconds`` is cut in two: the mix of the first half is the reference, that of the second the
    target, both at one loudness. The mix is the song's finished one if it has one (`Song.is_paired`); else
    ``mixes="random"`` draws every knob of the model's console evenly, but for faders, and ``"engineered"`` mixes as
    `mixes.engineered` does. With ``references``, files of finished songs, or with ``unpaired``, the reference is a
    segment of one of them, or the mix of another song.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        model: MixStyleTransfer,
        *,
        seconds: float,
        max_tracks: int,
        seed: int,
        mixes: str = "random",
        degraded: float = 0.8,
        unpaired: bool = False,
        references: Sequence[Path] = (),
    ) -> None:
        if mixes not in MIXES:
            raise SettingsError(f"data.mixes is one of {', '.join(MIXES)}, got {mixes!r}")
        self.songs, self.model, self.mixes = songs, model, mixes
        self.sample_rate = round(model.console.sample_rate)
        self.length = round(seconds * self.sample_rate)
        self.seconds = self.length / self.sample_rate
        self.max_tracks, self.seed, self.degraded = max_tracks, seed, degraded
        self.unpaired, self.references = unpaired, references

    def __getitem__(self, index: int) -> StyleExample:
        """Example ``index``; segments in which fewer than two tracks sound, or a mix is silent, are passed over."""
        rng = np.random.default_rng([self.seed, index])
        for _ in range(20):
            if (found := self._drawn(rng, [self.seed, index, 1])) is None:
                continue
            piece, (reference, target) = found
            if self.references:
                reference = self._read(rng)
            elif self.unpaired:
                if (other := self._drawn(rng, [self.seed, index, 2])) is None:
                    continue
                reference = other[1][0]
            loud = integrated_loudness(torch.stack([reference, target]), self.sample_rate)
            if loud.min() <= -60:
                continue
            tracks = tuple(track.audio[:, self.length :] for track in piece.tracks)
            loudness = torch.cat([integrated_loudness(x[None], self.sample_rate) for x in tracks])
            reference, target = at_loudness(torch.stack([reference, target]), self.sample_rate)
            return StyleExample(tracks, loudness, reference, target)
        raise AudioError(
            f"no {2 * self.seconds:g} s segment with a mix and two sounding tracks was found in {len(self.songs)} songs"
        )

    def _drawn(self, rng: np.random.Generator, seed: list[int]) -> tuple[Multitrack, Tensor] | None:
        """A piece of twice the length, and the mixes of its halves (2, 2, T); None if fewer than two tracks sound."""
        song = self.songs[int(rng.integers(len(self.songs)))]
        start_s = float(rng.uniform(0, max(song.seconds - 2 * self.seconds, 0)))
        piece = song.segment(start_s, 2 * self.seconds, self.sample_rate)
        drawn = [piece.tracks[n] for n in rng.permutation(len(piece.tracks))]
        sounding = [t for t in drawn if t.audio[:, self.length :].square().mean() > SILENT_RMS**2]
        if len(sounding) < 2:
            return None
        if song.is_paired:  # its mix holds every track: the louder ones explain most of it
            sounding = sorted(sounding, key=lambda track: -float(track.audio.square().mean()))
        kept = tuple(replace(t, audio=fitted(t.audio, 2 * self.length)) for t in sounding[: self.max_tracks])
        piece = replace(piece, tracks=kept)
        if song.is_paired:
            mix = fitted(song.mixed(start_s, 2 * self.seconds, self.sample_rate), 2 * self.length)
            return piece, torch.stack(mix.split(self.length, -1))
        if rng.random() < self.degraded:
            piece = degrade(piece, seed=int(rng.integers(2**31)))
        if self.mixes == "engineered":
            return piece, torch.stack(engineered(piece, seed)[0].split(self.length, -1))
        return piece, self._random_mix(piece, int(rng.integers(2**31)))

    @torch.no_grad()
    def _random_mix(self, piece: Multitrack, seed: int) -> Tensor:
        """Both halves (2, 2, T) of a piece under one random setting, each from rest as the network's mix will be."""
        console = self.model.console
        (mono, stereo), _ = grouped(piece)
        halves = tuple(torch.cat(x.split(self.length, -1)) for x in (mono, stereo))
        second = tuple(x[1:] for x in halves)
        loudness = [integrated_loudness(x.flatten(0, 1), self.sample_rate) for x in second if x.shape[1]]
        drawn = console.sample(1, len(piece.tracks), torch.Generator().manual_seed(seed))
        parts = []
        for spec, u in zip(console.specs.values(), drawn, strict=True):
            kept = torch.tensor([name in FADERS for name in spec.names])
            parts.append(torch.where(kept, spec.default(), u))
        controls = console.with_trims(Controls(*parts), self.model.trim_db(torch.cat(loudness)[None]))
        return console((halves[0], halves[1]), Controls(*(u.expand(2, *u.shape[1:]) for u in controls)))

    def _read(self, rng: np.random.Generator) -> Tensor:
        """A segment (2, T) of one of the reference files."""
        file = self.references[int(rng.integers(len(self.references)))]
        start_s = float(rng.uniform(0, max(audio.info(file).seconds - self.seconds, 0)))
        x, rate = audio.read_segment(file, start_s, self.seconds)
        return fitted(audio.resample(x, rate, self.sample_rate), self.length).expand(2, -1)


def collate(examples: Sequence[StyleExample]) -> StyleBatch:
    """Pad every example of a batch to the same number of mono and of stereo tracks."""
    batch = batched([Mixed(e.tracks, e.target, e.loudness_lufs) for e in examples])
    references = torch.stack([e.reference for e in examples])
    return StyleBatch(batch.mono, batch.stereo, batch.mask, batch.loudness_lufs, references, batch.mix)


def style_data(config: Mapping[str, Any], model: MixStyleTransfer, method: str, seed: int) -> MixData:
    """Data as ``conf/data/style.yaml`` describes it; examples that are held out are those of the first method."""
    train, held_out = songs_of(config, round(model.console.sample_rate))
    copy = deepcopy(model)  # workers stay on the CPU when the system's console moves to a GPU
    shared: dict[str, Any] = {name: config[name] for name in ("seconds", "max_tracks", "mixes", "degraded")}
    references: list[Path] = []
    if config["references"]:
        found = Path(config["references"]).rglob("*") if Path(config["references"]).is_dir() else ()
        references = sorted(file for file in found if file.suffix.lower() in audio.EXTENSIONS)
        if not references:
            raise AudioError(f"{config['references']}: no folder with audio files, which references are")
    unpaired: dict[str, Any] = {"unpaired": True, "references": references} if method == "reference" else {}
    return MixData.sized(
        config,
        StyleExamples(train, copy, seed=seed, **shared, **unpaired),
        StyleExamples(held_out, copy, seed=VALIDATION_SEED, **shared),
        collate,
    )
