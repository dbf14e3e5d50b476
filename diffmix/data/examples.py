"""Training examples: raw tracks and a sensible mix of them, each example a function of its number alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffmix.data.degrade import degrade
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.targets import sample_mix
from diffmix.errors import AudioError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.settings import Settings

SOUNDING_RMS = 1e-3
"""Tracks below -60 dBFS RMS in a segment are left out of the example."""


class SongSource(Protocol):
    """A song of known length of which any segment can be read."""

    @property
    def seconds(self) -> float:
        """Length of the song."""
        ...

    def segment(self, start_s: float, seconds: float, sample_rate: int | None = None) -> Multitrack:
        """Every track of the song between two times."""
        ...


class Example(NamedTuple):
    """Raw tracks, mono first: mono (N1, 1, T), stereo (N2, 2, T), loudness (N,), and the target's controls."""

    mono: Tensor
    stereo: Tensor
    loudness_lufs: Tensor
    tracks: Tensor
    bus: Tensor
    master: Tensor


class Batch(NamedTuple):
    """As `Example`, with a leading batch dimension; ``mask`` (B, N) is 0 where a track is padding."""

    mono: Tensor
    stereo: Tensor
    loudness_lufs: Tensor
    mask: Tensor
    tracks: Tensor
    bus: Tensor
    master: Tensor


class MixExamples(Dataset[Example]):
    """Example number i of a seed is always the same, whichever process asks for it and whatever came before.

    ``encode`` turns settings into controls (tracks (1, N, P), bus (1, Q), master (1, R)); ``degraded`` is the share
    of examples whose tracks are made to sound like raw recordings.
    """

    def __init__(
        self,
        songs: Sequence[SongSource],
        encode: Callable[[Settings], tuple[Tensor, Tensor, Tensor]],
        *,
        sample_rate: int,
        seconds: float,
        max_tracks: int,
        seed: int,
        degraded: float = 0.8,
    ) -> None:
        self.songs, self.encode = songs, encode
        self.sample_rate, self.seconds, self.max_tracks = sample_rate, seconds, max_tracks
        self.seed, self.degraded = seed, degraded

    def __getitem__(self, index: int) -> Example:
        """Example ``index``; segments in which fewer than two tracks sound are passed over."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, index]))
        for _ in range(20):
            song = self.songs[int(rng.integers(len(self.songs)))]
            start_s = float(rng.uniform(0, max(song.seconds - self.seconds, 0)))
            piece = song.segment(start_s, self.seconds, self.sample_rate)
            order = rng.permutation(len(piece.tracks))
            sounding = [t for t in (piece.tracks[k] for k in order) if t.audio.square().mean() > SOUNDING_RMS**2]
            if len(sounding) >= 2:
                kept = sounding[: self.max_tracks]
                piece = replace(piece, tracks=tuple(_recorded_otherwise(t, rng) for t in kept))
                if rng.random() < self.degraded:
                    piece = degrade(piece, seed=int(rng.integers(2**31)))
                return self._example(piece, [self.seed, index, 1])
        raise AudioError(f"no {self.seconds:g} s segment with two sounding tracks was found in {len(self.songs)} songs")

    def _example(self, piece: Multitrack, seed: list[int]) -> Example:
        tracks = sorted(piece.tracks, key=lambda t: t.audio.shape[0])  # stable: mono first
        stereo = [t.audio.shape[0] == 2 for t in tracks]
        names = [str(n) for n in range(len(tracks))]
        target = self.encode(sample_mix(names, [t.role for t in tracks], stereo, seed))
        groups = []
        for c in (1, 2):
            audio = [t.audio for t in tracks if t.audio.shape[0] == c]
            groups.append(torch.stack(audio) if audio else torch.zeros(0, c, piece.length))
        loudness = torch.cat([integrated_loudness(t.audio[None], piece.sample_rate) for t in tracks])
        return Example(groups[0], groups[1], loudness, *(part[0] for part in target))


def _recorded_otherwise(track: Track, rng: np.random.Generator) -> Track:
    """Some mono tracks in stereo and some stereo ones in mono, so that the width does not tell the instrument."""
    if track.audio.shape[0] == 2:
        return replace(track, audio=track.audio.mean(0, keepdim=True)) if rng.random() < 0.5 else track
    if rng.random() >= 0.25:
        return track
    # a delayed copy as side signal (Lauridsen, 1954): wide, and the sum of both channels is the track again
    delay = int(rng.integers(8, 600))
    side = float(rng.uniform(0.1, 0.8)) * torch.nn.functional.pad(track.audio, (delay, 0))[:, : track.audio.shape[1]]
    return replace(track, audio=torch.cat([track.audio + side, track.audio - side]))


def collate(examples: Sequence[Example]) -> Batch:
    """Pad every example of a batch to the same number of mono and of stereo tracks."""
    n_mono = max(e.mono.shape[0] for e in examples)
    n_stereo = max(e.stereo.shape[0] for e in examples)

    def padded(x: Tensor, n: int, fill: float = 0.0) -> Tensor:
        return torch.cat([x, x.new_full((n - x.shape[0], *x.shape[1:]), fill)])

    def per_track(e: Example, x: Tensor, fill: float) -> Tensor:
        m = e.mono.shape[0]
        return torch.cat([padded(x[:m], n_mono, fill), padded(x[m:], n_stereo, fill)])

    return Batch(
        mono=torch.stack([padded(e.mono, n_mono) for e in examples]),
        stereo=torch.stack([padded(e.stereo, n_stereo) for e in examples]),
        loudness_lufs=torch.stack([per_track(e, e.loudness_lufs, -70.0) for e in examples]),
        mask=torch.stack([per_track(e, torch.ones_like(e.loudness_lufs), 0.0) for e in examples]),
        tracks=torch.stack([per_track(e, e.tracks, 0.5) for e in examples]),
        bus=torch.stack([e.bus for e in examples]),
        master=torch.stack([e.master for e in examples]),
    )
