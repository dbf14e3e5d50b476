"""A console's mix of a song in pieces: every effect goes on where it stopped, so that no sample depends on the cut.

Memory is that of the tracks and of the result, whatever the length; a song of an hour can be mixed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffmix.console import Console, Tracks
from diffmix.data.multitrack import Multitrack
from diffmix.graph import Renderer
from diffmix.graph.plan import Value, source_of
from diffmix.kernels.loudness import LoudnessMeter
from diffmix.kernels.stream import State, streaming
from diffmix.processors import Processor
from diffmix.processors.base import REGISTRY
from diffmix.settings import Settings

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1."""

Piece = Mapping[str | tuple[str, ...] | Value, Tensor]
"""Signals for a renderer."""

PIECE = 1 << 22
"""Samples of all channels together that are rendered at a time: more are no quicker, and cost memory."""


def order_of(multitrack: Multitrack) -> list[int]:
    """The numbers of the tracks as a console has them: mono ones first."""
    return sorted(range(len(multitrack.tracks)), key=lambda n: multitrack.tracks[n].audio.shape[0])


def cut(multitrack: Multitrack, start: int, stop: int) -> Tracks:
    """Samples ``start`` to ``stop`` of the tracks: (mono (1, N1, 1, n), stereo (1, N2, 2, n))."""
    mono, stereo = (
        torch.stack(found)[None] if found else torch.zeros(1, 0, channels, stop - start)
        for channels in (1, 2)
        for found in [[t.audio[:, start:stop] for t in multitrack.tracks if t.audio.shape[0] == channels]]
    )
    return mono, stereo


class Player:
    """Plays a multitrack through a console, piece by piece.

    ``names`` are the tracks in the console's order, which the settings' values have to be in.
    """

    def __init__(self, console: Console, multitrack: Multitrack, muted: Sequence[str] = (), piece: int = PIECE) -> None:
        """``muted`` names tracks that are not heard; ``piece`` as `PIECE`."""
        self.console, self.multitrack, self.muted = console, multitrack, tuple(muted)
        tracks = [multitrack.tracks[n] for n in order_of(multitrack)]
        self.names = [track.name for track in tracks]
        self.channels = [track.audio.shape[0] for track in tracks]
        self.piece = max(1 << 12, piece // sum(self.channels))
        self.mask = torch.tensor([[float(n not in muted) for n in self.names]]) if muted else None
        self.wired = console.wired(self.channels, self.names)
        self.graph = self.wired.renderer.graph
        self.end = source_of(self.graph, self.graph.outputs[0], "in")

    @property
    def before_gain(self) -> Value:
        """The signal that enters the master's gain, or the end of the mix if the master has none."""
        return source_of(self.graph, "master.gain", "in") if "gain" in self.console.master else self.end

    def knobs(self, settings: Settings) -> dict[str | tuple[str, ...], Tensor]:
        """Settings, which name the tracks in any order, as values of the graph."""
        tracks = {name: settings["tracks"][name] for name in self.names}
        return self.wired.knobs(self.console.numbers(Settings({**settings, "tracks": tracks})), self.mask)

    def played(
        self,
        settings: Settings,
        targets: Sequence[Value],
        progress: Callable[[float], None] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[dict[Value, Tensor]]:
        """The signals of ``targets``, (C, n) each, piece after piece, from sample ``start`` to ``stop``."""
        stop = self.multitrack.length if stop is None else stop
        renderer = self._renderer(settings, targets)
        # in one piece where sums would round otherwise in several
        size = self.piece if self._exact(renderer) and not renderer.latency else stop - start

        def pieces() -> Iterator[Piece]:
            for first in range(start, stop, size):
                yield self.wired.sources(cut(self.multitrack, first, min(first + size, stop)))
                if progress:
                    progress((min(first + size, stop) - start) / (stop - start))

        yield from self._signals(renderer, pieces(), settings, size < stop - start)

    def whole(
        self,
        settings: Settings,
        target: Value,
        progress: Callable[[float], None] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """The signal of a stereo ``target``, (2, T)."""
        stop = self.multitrack.length if stop is None else stop
        return _joined(self.played(settings, [target], progress, start, stop), target, stop - start)

    def levels(self, settings: Settings) -> Tensor:
        """Loudness (N,) in LUFS of each track, in the order of `names`, as it reaches its group or the master."""
        meter = LoudnessMeter(self.console.sample_rate)
        for found in self.played(settings, self.wired.ends):
            meter.add(torch.stack([found[end] for end in self.wired.ends]))
        return meter.loudness().float()

    def finished(
        self, before: Tensor, settings: Settings, start: Value | None = None, piece: int = PIECE // 4
    ) -> Tensor:
        """The mix (2, T) from the signal (2, T) that enters the master's gain, or ``start``; ``piece`` at a time."""
        start = start or self.before_gain
        if start == self.end:
            return before
        renderer = self._renderer(settings, [self.end], [start])
        size = piece if self._exact(renderer) else before.shape[-1]
        pieces = ({start: before[None, :, n : n + size]} for n in range(0, before.shape[-1], size))
        several = size < before.shape[-1]
        return _joined(self._signals(renderer, pieces, settings, several), self.end, before.shape[-1])

    def _renderer(self, settings: Settings, targets: Sequence[Value], given: Sequence[Value] = ()) -> Renderer:
        """A renderer that knows how far effects look ahead: their settings stand in its graph."""
        ahead = {
            node.name
            for node in self.graph
            if node.kind in REGISTRY and REGISTRY[node.kind].latency_samples is not Processor.latency_samples
        }
        values: dict[str, float] = {}
        for key, value in self.knobs(settings).items() if ahead else ():
            names = key if isinstance(key, tuple) else (key,)
            rows = value[0].reshape(-1).tolist() if isinstance(key, tuple) else value.tolist()
            values |= {n: v for n, v in zip(names, rows, strict=True) if n.rpartition(".")[0] in ahead}
        return self.wired.part(targets, given, values)

    def _exact(self, renderer: Renderer) -> bool:
        """Whether pieces are the same samples as the whole: not those of effects that transform blocks."""
        return all(effect.streams and effect.exact_chunks for effect in renderer.effects)

    def _signals(
        self, renderer: Renderer, pieces: Iterable[Any], settings: Settings, several: bool
    ) -> Iterator[dict[Value, Tensor]]:
        """What the renderer makes of the pieces; what is late, behind effects that look ahead, is brought in time."""
        knobs = self.knobs(settings)
        with torch.no_grad():
            if not several:
                for piece in pieces:
                    yield {value: y[0] for value, y in renderer.signals(piece, knobs).items()}
                return
            state: State | None = None
            late = {value: renderer.latency.get(value, 0) for value in renderer.plan.targets}
            skip = rest = max(late.values())
            kept: dict[Value, Tensor] = {}
            last: Piece = {}

            def followed() -> Iterator[Piece]:
                nonlocal last
                for last in pieces:
                    yield last
                if rest:
                    yield {key: x.new_zeros(()).expand(*x.shape[:-1], rest) for key, x in last.items()}

            for piece in followed():
                with streaming(state) as tape:
                    found = {value: y[0] for value, y in renderer.signals(piece, knobs).items()}
                state = tuple(tape.after)
                for value, n in late.items():
                    if behind := rest - n:  # all wait for the latest
                        silence = found[value].new_zeros(found[value].shape[0], behind)
                        y = torch.cat([kept.get(value, silence), found[value]], 1)
                        found[value], kept[value] = y[:, :-behind], y[:, -behind:]
                length = next(iter(found.values())).shape[-1]
                early, skip = min(skip, length), max(skip - length, 0)
                if early < length:
                    yield {value: y[:, early:] for value, y in found.items()}


def _joined(pieces: Iterable[Mapping[Value, Tensor]], value: Value, length: int) -> Tensor:
    """One of the signals that come in pieces, as a whole, (2, length)."""
    y, at = torch.empty(2, length), 0
    for found in pieces:
        part = found[value]
        y[:, at : (at := at + part.shape[-1])] = part
    return y
