"""Gradient descent on the knobs themselves."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from diffmix.console import Console, Controls, Limits, Specs, Tracks, fits
from diffmix.data.fullness import fullest
from diffmix.data.multitrack import Multitrack
from diffmix.descent import Adam
from diffmix.errors import SettingsError
from diffmix.graph.fitting import opened
from diffmix.graph.run import Sources
from diffmix.losses import MixLoss
from diffmix.settings import Settings


def locked_knobs(console: Console, names: Sequence[str], lock: Sequence[str]) -> Controls:
    """Boolean controls (1, N, P), (1, Q), (1, R): True where a knob's name matches one of the patterns.

    Knobs are named ``vox.eq.peak1_q`` (track, stage, parameter), ``reverb.reverb.room_size``, ``master.gain.gain_db``.
    Raises SettingsError for a pattern that matches nothing.
    """

    def named(part: str, knobs: Sequence[str]) -> list[str]:
        return [f"{part}.{knob}" for knob in knobs]

    def matched(knobs: Sequence[str]) -> list[bool]:
        return [any(fits(knob, pattern) for pattern in lock) for knob in knobs]

    tracks = [named(name, console.track_spec.names) for name in names]
    bus, master = console.bus_spec.names, named("master", console.master_spec.names)
    every = [*(knob for row in tracks for knob in row), *bus, *master]
    for pattern in lock:
        if not any(fits(knob, pattern) for knob in every):
            hint = "; a knob is held at a value by a limit" if "=" in pattern else ""
            raise SettingsError(
                f"nothing to lock matches {pattern!r}; knobs are named like {every[0]!r}, {every[-1]!r}{hint}"
            )
    rows = [matched(row) for row in tracks]
    return Controls(*(torch.tensor([part], dtype=torch.bool) for part in (rows, matched(bus), matched(master))))


def with_locked(found: Settings, start: Settings, lock: Sequence[str]) -> Settings:
    """Settings in which every locked knob is exactly where it started, not rounded on its way through [0, 1]."""
    kept = Settings(deepcopy(dict(found)))
    for path, _ in found.flat():
        if any(fits(".".join(path if path[0] == "master" else path[1:]), pattern) for pattern in lock):
            here, there = kept, start
            for step in path[:-1]:
                here, there = here[step], there[step]
            here[path[-1]] = there[path[-1]]
    return kept


OPENING_S = 6.0
"""So much of a song says where thresholds begin."""


def opened_settings(console: Console, multitrack: Multitrack, settings: Settings, limits: Limits) -> Settings:
    """Complete settings with effects and sends that do nothing a little open, see `diffmix.graph.fitting.opened`.

    The levels are those of the seconds in which most tracks play. A console with weights of its own stays as it is.
    """
    if console.learned:
        return settings
    titles = console.titles([track.name for track in multitrack.tracks])
    first, end = fullest(multitrack, OPENING_S)
    heard: Sources = {titles[t.name]: t.audio[None, :, first:end] for t in multitrack.tracks}
    channels = {t.name: len(t.audio) for t in multitrack.tracks}
    whole = console.to_graph(channels, settings, limits=limits)
    graph = opened(whole, heard, multitrack.sample_rate)
    found = Settings(deepcopy(dict(settings)))
    strips = [*((titles[name], stages) for name, stages in found["tracks"].items()), *found.get("buses", {}).items()]
    for strip, stages in (*strips, ("master", found.get("master", {}))):
        for stage, knobs in stages.items():
            if (name := f"{strip}.{stage}") in graph and graph[name] != whole[name]:
                knobs |= graph[name].settings
            for edge in graph.edges if stage in console.sends else ():
                bus = console.layout["sends"][stage]
                if edge.gain_db is not None and edge.source.node.startswith(f"{strip}.") and edge.target.node == bus:
                    knobs["gain_db"] = edge.gain_db
    return found


def fit_controls(
    console: Console,
    tracks: Tracks,
    target: Tensor,
    start: Controls,
    *,
    specs: Specs | None = None,
    names: Sequence[str] = (),
    locked: Controls | None = None,
    steps: int = 200,
    learning_rate: float = 0.1,
    window_s: float = 6.0,
    progress: Callable[[int, float], None] | None = None,
) -> Controls:
    """Controls whose mix of ``tracks`` is near ``target`` (1, 2, T), found by Adam from ``start``.

    Each knob moves on the logit of its control, so that it stays in its range; ``locked`` knobs stay exactly where
    they start. ``specs`` are narrower ranges, of `Console.limited`; ``names`` of the tracks say which groups they go
    through. The distance is that of multi-resolution spectra of left, right, sum and difference, and of the side
    of each band. Longer songs are heard through a window of ``window_s`` seconds that walks over them.
    """
    rate, length = console.sample_rate, target.shape[-1]
    window = min(length, round(window_s * rate))
    walk = [
        round(k * (length - window) / max(1, math.ceil(length / window) - 1)) for k in range(math.ceil(length / window))
    ]
    distance = MixLoss(rate)
    frozen = locked or Controls(*(torch.zeros_like(u, dtype=torch.bool) for u in start))
    logits = [torch.logit(u.detach().clamp(0.02, 0.98)).requires_grad_() for u in start]
    adam = Adam(logits, learning_rate, steps=max(1, steps), least=learning_rate / 20)

    def current() -> Controls:
        return Controls(*(torch.where(f, u, torch.sigmoid(z)) for f, u, z in zip(frozen, start, logits, strict=True)))

    for step in range(steps):
        first = walk[step % len(walk)]
        cut = slice(first, first + window)
        heard = tracks[..., cut] if isinstance(tracks, Tensor) else (tracks[0][..., cut], tracks[1][..., cut])
        wanted = target[..., cut]
        mix = console.mix(heard, console.values(current(), specs), names=names)
        loss = distance(mix, wanted)
        loss.backward()
        adam.step()
        if progress:
            progress(step + 1, float(loss.detach()))
    with torch.no_grad():
        return current()
