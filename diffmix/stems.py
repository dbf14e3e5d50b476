"""What of a mix reaches its master, track by track and bus by bus: how loud it is, and as files."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffmix.data.audio import WavWriter
from diffmix.graph.plan import Value
from diffmix.kernels.loudness import LoudnessMeter
from diffmix.playback import Player

if TYPE_CHECKING:
    from diffmix.mix import Mix

Level = tuple[float, float]
"""Loudness in LUFS and highest sample in dBFS."""


def levels(mix: "Mix", hear: Callable[[Mapping[Value, Tensor]], None] | None = None) -> list[Level]:
    """Of each track, in their order, and of each bus of effects, as they reach their groups or the master.

    ``hear`` is called with the signals (2, n) of each piece, by their places.
    """
    player = Player(mix.console, mix.multitrack, mix.muted)
    ends, meter = _ends(mix, player), LoudnessMeter(mix.sample_rate)
    for found in player.played(mix.settings, ends):
        meter.add(torch.stack([found[end] for end in ends]))
        if hear:
            hear(found)
    loudness, peaks = meter.loudness().float().tolist(), meter.peaks().float().tolist()
    return [(lufs, 20 * math.log10(max(peak, 1e-6))) for lufs, peak in zip(loudness, peaks, strict=True)]


def write_stems(mix: "Mix", files: Sequence[Path]) -> list[Level]:
    """Write new ``files``, one for each of the `levels`, which are returned: both take one pass.

    They are in 24 bits; those that turn out to pass 0 dBFS are written once more, in floating point. Raises
    OutputError.
    """
    player = Player(mix.console, mix.multitrack, mix.muted)
    ends = _ends(mix, player)

    def writing(loudest: Iterable[float]) -> dict[Value, WavWriter]:
        every = zip(ends, files, loudest, strict=True)
        return {end: WavWriter(file, mix.sample_rate, 2, peak) for end, file, peak in every if peak}

    def write(writers: Mapping[Value, WavWriter], found: Mapping[Value, Tensor]) -> None:
        for end, writer in writers.items():
            writer.write(found[end])

    writers = writing(1.0 for _ in ends)
    measured = levels(mix, lambda found: write(writers, found))
    for writer in writers.values():
        writer.close()
    if over := writing(10 ** (peak_db / 20) if peak_db > 0 else 0.0 for _, peak_db in measured):
        for found in player.played(mix.settings, list(over)):
            write(over, found)
        for writer in over.values():
            writer.close()
    return measured


def _ends(mix: "Mix", player: Player) -> list[Value]:
    own = dict(zip(player.names, player.wired.ends, strict=True))
    return [*(own[track.name] for track in mix.multitrack.tracks), *player.wired.returns.values()]
