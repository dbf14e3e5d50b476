"""Where most of a song plays: the seconds and moments by which the whole is judged."""

from dataclasses import replace

import numpy as np
import torch

from diffmix.data.multitrack import Multitrack

PLAYS = 0.5
"""A track plays where its level (rms) is at least this share of what it is at its fullest."""


def fullest(multitrack: Multitrack, seconds: float) -> tuple[int, int]:
    """The seconds in which most tracks play, (start, stop) in samples; the start is a whole second."""
    rate = multitrack.sample_rate
    size = min(multitrack.length, round(seconds * rate))
    if multitrack.length // rate * rate <= size:
        return 0, size
    window = max(1, size // rate)
    start = int(np.convolve(_fullness(multitrack, rate), np.ones(window), "valid").argmax()) * rate
    return start, min(start + size, multitrack.length)


def excerpts(multitrack: Multitrack, seconds: float) -> Multitrack:
    """Each track's own fullest seconds: tracks of one length, but not at one time."""
    alone = [(t, fullest(replace(multitrack, tracks=(t,)), seconds)) for t in multitrack.tracks]
    tracks = tuple(replace(t, audio=t.audio[:, start:stop]) for t, (start, stop) in alone)
    return replace(multitrack, tracks=tracks)


def loudest(x: torch.Tensor, seconds: float, rate: int) -> tuple[int, int]:
    """The seconds of audio (C, T) with the most energy, (start, stop) in samples; they start at whole seconds or end
    with the audio."""
    size = min(round(seconds * rate), x.shape[-1])
    energy = torch.stack([part.double().square().sum() for part in x.split(rate, -1)])
    total = torch.cat([energy.new_zeros(1), energy.cumsum(0)])
    window = max(1, size // rate)
    start = min(int((total[window:] - total[:-window]).argmax()) * rate, x.shape[-1] - size)
    return start, start + size


def moments(multitrack: Multitrack, size: int, count: int) -> list[int]:
    """Where, in samples, the up to ``count`` pieces of ``size`` samples begin in which most tracks play, in order."""
    if multitrack.length < size:
        return [0]
    order = np.argsort(-_fullness(multitrack, size), kind="stable")
    return [int(n) * size for n in np.sort(order[:count])]


def covering(multitrack: Multitrack, size: int, count: int) -> list[int]:
    """As `moments`, and so many more that every track that plays at all plays in one of them."""
    first = moments(multitrack, size, count)
    if multitrack.length < size:
        return first
    shares = np.stack([_fullness(replace(multitrack, tracks=(track,)), size) for track in multitrack.tracks])
    chosen = [start // size for start in first]
    while True:
        missing = (shares.max(1) >= PLAYS) & (shares[:, chosen].max(1) < PLAYS)
        if not missing.any():
            return [size * piece for piece in sorted(chosen)]
        chosen.append(int((shares[missing] >= PLAYS).sum(0).argmax()))


def _fullness(multitrack: Multitrack, size: int) -> np.ndarray:
    """How much of the tracks is there in each piece of ``size`` samples, (pieces,): beside their own fullest ones."""
    count = multitrack.length // size
    total = np.zeros(count)
    for track in multitrack.tracks:
        parts = track.audio[:, : count * size].split(32 * size, -1)  # an hour has no room for copies
        energy = torch.cat([part.unflatten(-1, (-1, size)).square().sum((0, 2)) for part in parts])
        total += (energy / energy.max().clamp_min(1e-12)).sqrt().numpy()
    return total
