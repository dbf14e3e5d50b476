"""Raw tracks beside a mix of them, for systems that learn from how a mix sounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset, default_collate

from diffmix.balance import balanced
from diffmix.console import Console, shipped
from diffmix.data.datasets import training_and_held_out
from diffmix.data.degrade import degrade
from diffmix.data.knowledge import engineer
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.roles import ROLES
from diffmix.data.songs import Song
from diffmix.data.synthetic import VALIDATION_SEED, SyntheticSongs
from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.losses import SumDifferenceLoss, imbalance_loss
from diffmix.mix import grouped, ordered
from diffmix.progress import progress
from diffmix.systems.training import loader, numbers_ahead, weighted

MIX_LUFS = -16.0
"""The loudness at which mixes are compared."""

PEAK_DB = -12.0
"""The peak that tracks are brought to in front of a network, dBFS: how they were recorded tells it nothing."""

SILENT_RMS = 1e-3
"""A track or a mix below -60 dBFS RMS in a segment is not there."""


class Mixed(NamedTuple):
    """Tracks (C, T) each, in the order of their roles; the mix (2, T); the loudness of each in it, (N,) LUFS or NaN."""

    tracks: tuple[Tensor, ...]
    mix: Tensor
    loudness_lufs: Tensor


class Batch(NamedTuple):
    """Mono (B, N1, 1, T) and stereo (B, N2, 2, T) tracks, mask and loudness (B, N1 + N2), mixes (B, 2, T)."""

    mono: Tensor
    stereo: Tensor
    mask: Tensor
    mix: Tensor
    loudness_lufs: Tensor


def engineered(piece: Multitrack, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A sensible mix (2, T) of a piece, made with a whole console, and the loudness of its tracks in it, (N,) LUFS."""
    console = _console(piece.sample_rate)
    intent = engineer(piece, seed).intent
    settings = balanced(console, piece, intent)
    tracks, order = grouped(piece)
    values = console.numbers(ordered(settings, [piece.tracks[n].name for n in order]))
    with torch.no_grad():
        mix = console.mix(tracks, values)[0]
    return mix, torch.tensor([MIX_LUFS + intent.loudness_lu[track.name] for track in piece.tracks])


@cache
def _console(sample_rate: int) -> Console:
    """The console that engineers know."""
    return Console.from_layout(shipped("automix"), sample_rate)


class Mixes(Dataset[Mixed]):
    """Example number i of a seed is always the same, whichever process asks for it and whatever came before.

    A song with a finished mix (`Song.is_paired`) has that as its mix, and its tracks stay as they are; of more than
    ``max_tracks`` the loudest are kept. For a song without one, tracks are drawn, made to sound like raw recordings in
    ``degraded`` of the examples, and mixed by `engineered`. No example has more than ``max_channels`` channels in all,
    if that is given. Of songs on disk only the seconds of the example are read.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        *,
        sample_rate: int,
        seconds: float,
        max_tracks: int,
        seed: int,
        degraded: float = 0.8,
        max_channels: int | None = None,
    ) -> None:
        self.songs, self.sample_rate, self.seconds = songs, sample_rate, seconds
        self.max_tracks, self.max_channels = max_tracks, max_channels
        self.seed, self.degraded = seed, degraded

    def __getitem__(self, index: int) -> Mixed:
        """Example ``index``; segments in which fewer than two tracks sound, or whose mix is silent, are passed over."""
        rng = np.random.default_rng([self.seed, index])
        for _ in range(20):
            song = self.songs[int(rng.integers(len(self.songs)))]
            start_s = float(rng.uniform(0, max(song.seconds - self.seconds, 0)))
            piece = song.segment(start_s, self.seconds, self.sample_rate)
            finished = song.is_paired
            drawn = [piece.tracks[k] for k in rng.permutation(len(piece.tracks))]
            kept = self._kept(sorted(drawn, key=_power, reverse=True) if finished else drawn)
            if kept and not finished and rng.random() < self.degraded:
                recorded = degrade(replace(piece, tracks=tuple(kept)), seed=int(rng.integers(2**31)))
                kept = self._kept(recorded.tracks)  # some are stereo now
            if len(kept) < 2:
                continue
            piece = replace(piece, tracks=tuple(kept))
            if finished:
                mix = song.mixed(start_s, self.seconds, self.sample_rate)
                loudness = torch.full((len(kept),), torch.nan)
            else:
                mix, loudness = engineered(piece, [self.seed, index, 1])
            if mix.square().mean() > SILENT_RMS**2:
                mix = at_loudness(mix[None], self.sample_rate)[0]
                return Mixed(tuple(track.audio for track in piece.tracks), mix, loudness)
        raise AudioError(
            f"no {self.seconds:g} s segment with a mix and two sounding tracks was found in {len(self.songs)} songs"
        )

    def _kept(self, tracks: Sequence[Track]) -> list[Track]:
        """As many of the sounding tracks as there is room for, in the order of their roles."""
        kept: list[Track] = []
        room = self.max_channels or 2 * self.max_tracks
        for track in tracks:
            channels = len(track.audio)
            if _power(track) > SILENT_RMS**2 and len(kept) < self.max_tracks and channels <= room:
                kept.append(track)
                room -= channels
        return in_order(kept)


def _power(track: Track) -> float:
    return float(track.audio.square().mean())


def in_order(tracks: Sequence[Track]) -> list[Track]:
    """Tracks by role, then by name: the same instrument comes at about the same place in every song."""
    last = len(ROLES)
    return sorted(tracks, key=lambda t: (ROLES.index(t.role) if t.role in ROLES else last, t.name))


def batched(examples: Sequence[Mixed]) -> Batch:
    """Pad every example to the same number of mono and of stereo tracks."""
    kinds: list[list[Tensor]] = [[], []]
    masks: list[list[Tensor]] = [[], []]
    loudness: list[list[Tensor]] = [[], []]
    for channels in (1, 2):
        of = [[n for n, x in enumerate(e.tracks) if len(x) == channels] for e in examples]
        most = max(map(len, of))
        for example, chosen in zip(examples, of, strict=True):
            empty = most - len(chosen)
            silence = [torch.zeros(channels, example.mix.shape[1])] * empty
            audio_of = [*(example.tracks[n] for n in chosen), *silence]
            length = example.mix.shape[1]
            kinds[channels - 1].append(torch.stack(audio_of) if audio_of else torch.zeros(0, channels, length))
            masks[channels - 1].append(torch.tensor([1.0] * len(chosen) + [0.0] * empty))
            loudness[channels - 1].append(pad(example.loudness_lufs[chosen], (0, empty), value=torch.nan))
    mono, stereo = (torch.stack(kind) for kind in kinds)
    mask, placed = (torch.cat([torch.stack(kind) for kind in part], 1) for part in (masks, loudness))
    return Batch(mono, stereo, mask, torch.stack([e.mix for e in examples]), placed)


def at_loudness(mix: Tensor, sample_rate: float, loudness_lufs: float = MIX_LUFS) -> Tensor:
    """Mixes (B, 2, T) scaled to one loudness; the gain carries no gradient."""
    with torch.no_grad():
        gain_db = (loudness_lufs - integrated_loudness(mix, sample_rate)).clamp(-40, 40)
    return mix * db_to_gain(gain_db)[:, None, None]


def fitted(x: Tensor, length: int) -> Tensor:
    """Audio (C, T) of exactly this length, cut off or followed by silence."""
    return pad(x[:, :length], (0, max(0, length - x.shape[1])))


def as_strong_as(mix: Tensor, target: Tensor) -> Tensor:
    """Mixes (B, 2, T) scaled to the power of their targets; the gain carries its gradient.

    So the level of a mix costs nothing and gets no gradient. A gain without gradient would push it, and with it all
    faders, to one end.
    """
    power = mix.square().mean((1, 2), keepdim=True)
    return mix * (target.square().mean((1, 2), keepdim=True) / power.clamp_min(1e-10)).sqrt()


def equally_loud(tracks: Sequence[Tensor], sample_rate: float) -> Tensor:
    """The rule to beat, as audio: tracks (C, T) at one loudness, in the centre, as one (2, T)."""
    total = torch.zeros(2, tracks[0].shape[-1])
    for x in tracks:
        total += at_loudness(x.expand(2, -1)[None], sample_rate, -23.0)[0]
    return total


def peak_gain_db(x: Tensor) -> Tensor:
    """The gain (...) in dB that brings audio (..., C, T) to a peak of ``PEAK_DB``; 0 below -100 dBFS."""
    peak_db = 20 * x.abs().amax((-2, -1)).clamp_min(1e-6).log10()
    return torch.where(peak_db > -100, PEAK_DB - peak_db, 0.0)


class MixLoss(torch.nn.Module):
    """Distance of mixes (B, 2, T) from their targets, as terms by name: those whose weight is not 0.

    ``sum_difference``: spectra of the sum and of the difference, at ``fft_sizes``; ``imbalance``: the side of each
    band, which the former hardly hears, for the better of the target and its mirror image; ``l1``: of the samples.
    """

    def __init__(self, weights: Mapping[str, float], fft_sizes: Sequence[int], sample_rate: float) -> None:
        """Raises SettingsError for a weight of another name or below 0, or if all are 0."""
        super().__init__()
        allowed = ("sum_difference", "imbalance", "l1")
        if unknown := [name for name in weights if name not in allowed]:
            raise SettingsError(f"there is no loss {unknown[0]!r}; there are: {', '.join(allowed)}")
        if min(weights.values(), default=0) < 0 or not any(weights.values()):
            raise SettingsError(f"weights of the losses are 0 or more and not all 0, got {dict(weights)}")
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.sample_rate = sample_rate
        self.distance = SumDifferenceLoss(fft_sizes)

    def forward(self, mix: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms, unweighted."""
        terms: dict[str, Callable[[], Tensor]] = {
            "sum_difference": lambda: self.distance(mix, target),
            "imbalance": lambda: imbalance_loss(mix, target, self.sample_rate),
            "l1": lambda: (mix - target).abs().mean(),
        }
        return {name: terms[name]() for name in self.weights}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Their weighted sum."""
        return weighted(losses, self.weights)


class MixData(lightning.LightningDataModule):
    """Examples for training, numbered by step so that a resumed run goes on where it stopped, and held-out ones."""

    def __init__(
        self,
        train: Dataset[Any],
        held_out: Dataset[Any],
        collate: Callable[[Any], Any],
        *,
        batch_size: int,
        examples: int,
        workers: int,
    ) -> None:
        super().__init__()
        self.train, self.held_out, self.collate = train, held_out, collate
        self.batch_size, self.examples, self.workers = batch_size, examples, workers

    @classmethod
    def sized(
        cls,
        config: Mapping[str, Any],
        train: Dataset[Any],
        held_out: Dataset[Any],
        collate: Callable[[Any], Any] = default_collate,
    ) -> "MixData":
        """Examples in batches, and as many held-out ones, as ``conf/data/*.yaml`` ask for."""
        sizes = {"batch_size": config["batch_size"], "examples": config["held_out_examples"]}
        return cls(train, held_out, collate, **sizes, workers=config["workers"])

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        sample_rate: int,
        seed: int,
        collate: Callable[[Any], Any] = batched,
        max_channels: int | None = None,
    ) -> "MixData":
        """Data as ``conf/data/mixes.yaml`` describes it: generated songs, made now unless cached, or a folder."""
        train, held_out = songs_of(config, sample_rate)
        shared = {name: config[name] for name in ("seconds", "max_tracks", "degraded")}
        shared |= {"sample_rate": sample_rate, "max_channels": max_channels}
        mine, others = Mixes(train, seed=seed, **shared), Mixes(held_out, seed=VALIDATION_SEED, **shared)
        return cls.sized(config, mine, others, collate)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return loader(self.train, numbers_ahead(self, self.batch_size), self.batch_size, self.collate, self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """The same held-out examples each time."""
        return loader(self.held_out, range(self.examples), self.batch_size, self.collate, self.workers)


def songs_of(config: Mapping[str, Any], sample_rate: int) -> tuple[Sequence[Song], Sequence[Song]]:
    """Songs for training and held-out ones: generated, or those of the data set in ``root``, by its splits."""
    if config["root"]:
        return training_and_held_out(config["root"], config.get("kind"))
    length = config["song_seconds"]
    train = SyntheticSongs(config["songs"], length, sample_rate=sample_rate)
    test = SyntheticSongs(config["held_out_songs"], length, VALIDATION_SEED, sample_rate=sample_rate)
    for title, source in (("Generating songs", train), ("Generating tests", test)):
        with progress(title, len(source)) as advance:
            source.prepare(lambda done, total: advance(done, ""), workers=2)
    return train, test
