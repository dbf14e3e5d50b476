"""The mixing console: one strip per track, a reverb send and bus, a master.

track -> trim -> highpass -> eq -> compressor -> fader -> pan (mono) or image (stereo) -+-> sum -> master
                                                                                        +-> send -> reverb bus -^
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffmix.errors import SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.kernels.mixing import add_tracks
from diffmix.kernels.stereo import balance_width_matrix, pan_matrix
from diffmix.kernels.units import db_to_gain
from diffmix.params import ParamSpec, joined
from diffmix.processors import (
    BalanceWidth,
    Chain,
    Compressor,
    Gain,
    HighpassFilter,
    Pan,
    ParametricEQ,
    Processor,
    Reverb,
)
from diffmix.processors.chain import by_stage
from diffmix.settings import Settings, shortest
from diffmix.types import Ranges

WORKING_LEVEL_LUFS = -23.0
"""Where the trim puts a track, so that thresholds and faders mean the same for every recording."""

TRACKS_AT_ONCE = 16
"""How many strips are processed together; more would only need more memory."""

Tracks = Tensor | tuple[Tensor, Tensor]
"""Mono or stereo strips (B, N, C, T), or both: (mono (B, N1, 1, T), stereo (B, N2, 2, T)), numbered in that order."""


class Controls(NamedTuple):
    """Control vectors in [0, 1]: tracks (B, N, P), bus (B, Q), master (B, R)."""

    tracks: Tensor
    bus: Tensor
    master: Tensor


class DeskValues(NamedTuple):
    """Physical values by dotted name: of the tracks each (B, N), of the bus and the master each (B,)."""

    tracks: dict[str, Tensor]
    bus: dict[str, Tensor]
    master: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Node:
    """One strip, bus or master as it is exported: its inputs as (node, gain in dB), then its stages in order."""

    name: str
    channels: int
    inputs: tuple[tuple[str, float], ...]
    stages: tuple[tuple[str, Processor, dict[str, float]], ...]


DESK: dict[str, dict[str, Sequence[float]]] = {
    "trim": {"gain_db": (-40, 60, 0)},
    "highpass": {"cutoff_frequency_hz": (10, 500, 10)},
    "fader": {"gain_db": (-48, 12, 0)},
    "send": {"gain_db": (-60, 6, -60)},
    "reverb": {"dry_level": (0, 0)},
    "master.gain": {"gain_db": (-40, 40, 0)},
}
"""Where a desk needs less than an effect's whole range."""


class Console(nn.Module):
    """A console of any number of mono and stereo tracks.

    ``console(tracks, controls)`` takes controls in [0, 1]; ``console.mix(tracks, values)`` physical values. Both are
    differentiable in audio and parameters, and a mono track is processed as one channel until it is panned.
    """

    def __init__(self, sample_rate: float = 44100.0, ranges: Mapping[str, Ranges] | None = None) -> None:
        """A console at ``sample_rate`` Hz.

        ``ranges`` narrows knobs further, by stage and parameter: ``{"eq": {"peak1_gain_db": (-6, 6)}}``; stages of
        the master are ``master.eq``, ``master.compressor``, ``master.gain``. Raises SettingsError for unknown names.
        """
        super().__init__()
        limits = {stage: dict(values) for stage, values in DESK.items()}
        for stage, values in (ranges or {}).items():
            limits.setdefault(stage, {}).update(values)
        used: set[str] = set()

        def effect(kind: type[Processor], stage: str) -> Processor:
            used.add(stage)
            try:
                return kind(sample_rate, limits.get(stage))
            except SettingsError as error:
                raise SettingsError(f"console stage {stage}: {error}") from None

        self.sample_rate = float(sample_rate)
        self.strip = Chain(
            trim=effect(Gain, "trim"),
            highpass=effect(HighpassFilter, "highpass"),
            eq=effect(ParametricEQ, "eq"),
            compressor=effect(Compressor, "compressor"),
        )
        self.fader = effect(Gain, "fader")
        self.pan = effect(Pan, "pan")
        self.image = effect(BalanceWidth, "image")
        self.send = effect(Gain, "send")
        self.bus = Chain(reverb=effect(Reverb, "reverb"))
        self.master = Chain(
            eq=effect(ParametricEQ, "master.eq"),
            compressor=effect(Compressor, "master.compressor"),
            gain=effect(Gain, "master.gain"),
        )
        if unknown := sorted(limits.keys() - used):
            raise SettingsError(f"no console stage {unknown[0]!r}; there are: {', '.join(sorted(used))}")
        behind = {"fader": self.fader, "pan": self.pan, "image": self.image, "send": self.send}
        self.track_spec = joined({name: stage.spec for name, stage in {**self.strip.stages, **behind}.items()})

    @property
    def specs(self) -> dict[str, ParamSpec]:
        """The three control vectors: ``tracks`` (one per track), ``bus``, ``master``."""
        return {"tracks": self.track_spec, "bus": self.bus.spec, "master": self.master.spec}

    def default(self, batch: int, tracks: int) -> Controls:
        """Controls that leave the tracks as they are: every effect neutral, sends closed, pans centred."""
        track, bus, master = (spec.default() for spec in self.specs.values())
        return Controls(track.expand(batch, tracks, -1), bus.expand(batch, -1), master.expand(batch, -1))

    def sample(self, batch: int, tracks: int, generator: torch.Generator) -> Controls:
        """Uniformly random controls."""
        return Controls(
            self.track_spec.sample(batch * tracks, generator).view(batch, tracks, -1),
            self.bus.spec.sample(batch, generator),
            self.master.spec.sample(batch, generator),
        )

    def values(self, controls: Controls) -> DeskValues:
        """Controls to physical values."""
        return DeskValues(*(spec.denormalize(u) for spec, u in zip(self.specs.values(), controls, strict=True)))

    def forward(self, tracks: Tracks, controls: Controls, mask: Tensor | None = None) -> Tensor:
        """The mix (B, 2, T) of ``tracks`` under ``controls``; ``mask`` (B, N) is 0 where a track is padding."""
        return self.mix(tracks, self.values(controls), mask)

    def mix(self, tracks: Tracks, values: DeskValues, mask: Tensor | None = None) -> Tensor:
        """The mix (B, 2, T) under physical values."""
        return self.master.process(self.premaster(tracks, values, mask), **values.master)

    def premaster(self, tracks: Tracks, values: DeskValues, mask: Tensor | None = None) -> Tensor:
        """The sum of the panned tracks and the reverb bus, (B, 2, T), before the master."""
        sums = None
        for y, fader, matrix, send in self._strips(tracks, values, mask):
            if sums is None:
                sums = y.new_zeros(y.shape[0], 4, y.shape[-1])
            sums = add_tracks(sums, y, fader, matrix, send[..., None])
        assert sums is not None
        dry, sent = sums.split(2, 1)
        return dry + self.bus.process(sent, **values.bus)

    def placed(self, tracks: Tracks, values: DeskValues) -> Iterator[Tensor]:
        """Each track as it reaches the sum, (B, 2, T), without its reverb; one at a time."""
        for y, fader, matrix, _ in self._strips(tracks, values, None):
            for n in range(y.shape[1]):
                yield matrix[:, n].to(y.dtype) @ (fader[:, n, None, None] * y[:, n])

    def _strips(
        self, tracks: Tracks, values: DeskValues, mask: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """A few tracks at a time: strip output (B, n, C, T), fader (B, n), placement (B, n, 2, C), send gain (B, n)."""
        first = 0
        for kind in (tracks,) if isinstance(tracks, Tensor) else tracks:
            for x in kind.split(TRACKS_AT_ONCE, 1) if kind.shape[1] else ():
                batch, n, channels, length = x.shape
                mine = {name: v[:, first : first + n].reshape(batch * n) for name, v in values.tracks.items()}
                stages = by_stage(mine)
                strip = {name: mine[name] for name in self.strip.spec.names}
                y = self.strip.process(x.reshape(batch * n, channels, length), **strip)
                if channels == 1:
                    matrix = pan_matrix(stages["pan"]["pan"])
                else:
                    matrix = balance_width_matrix(stages["image"]["balance"], stages["image"]["width"])
                matrix = matrix.view(batch, n, 2, channels)
                if mask is not None:
                    matrix = matrix * mask[:, first : first + n, None, None].to(matrix)
                fader, send = (db_to_gain(stages[name]["gain_db"]).view(batch, n) for name in ("fader", "send"))
                yield y.view(batch, n, channels, length), fader, matrix, send
                first += n

    def trimmed(self, controls: Controls, loudness_lufs: Tensor) -> Controls:
        """The controls with each trim set so that a track of ``loudness_lufs`` (B, N) plays at the working level.

        Silence (at or below -69 LUFS) is left alone.
        """
        gain_db = torch.where(loudness_lufs > -69, WORKING_LEVEL_LUFS - loudness_lufs, 0.0)
        trim = self.strip.stages["trim"].spec
        low, high = trim.low.item(), trim.high.item()
        u = trim.normalize({"gain_db": gain_db.clamp(low, high)})
        at = self.track_spec.index("trim.gain_db")
        tracks = torch.cat([controls.tracks[..., :at], u.to(controls.tracks), controls.tracks[..., at + 1 :]], -1)
        return controls._replace(tracks=tracks)

    def settings(
        self, controls: Controls, names: Sequence[str] | None = None, channels: Sequence[int] = ()
    ) -> Settings:
        """The knobs of the first item of a batch as `Settings`.

        ``names`` of the tracks (``track 1``, ... if not given); ``channels`` 1 or 2 per track: a mono track has a
        pan, a stereo track an image; without ``channels`` both are listed.
        """
        values = self.values(controls)
        names = names or [f"track {n + 1}" for n in range(controls.tracks.shape[1])]
        tracks: dict[str, Any] = {}
        for n, name in enumerate(names):
            stages = by_stage({k: shortest(v[0, n].item()) for k, v in values.tracks.items()})
            if channels:
                del stages["image" if channels[n] == 1 else "pan"]
            tracks[name] = stages
        bus, master = (by_stage({k: shortest(v[0].item()) for k, v in part.items()}) for part in values[1:])
        return Settings(tracks=tracks, buses={"reverb": bus}, master=master)

    def check(self, settings: Settings) -> Settings:
        """The settings with every missing knob at its default, after checking names and ranges.

        Raises SettingsError naming track, stage and knob, what came and what is allowed in its unit.
        """

        def part(spec: ParamSpec, stages: Mapping[str, Any], where: str) -> dict[str, dict[str, float]]:
            given: dict[str, float] = {}
            for stage, knobs in stages.items():
                if not isinstance(knobs, Mapping):
                    raise SettingsError(f"{where}: {stage} is {knobs!r}, a stage with knobs is expected")
                given.update({f"{stage}.{knob}": value for knob, value in knobs.items()})
            full = {name: shortest(p.default) for name, p in spec} | given
            return by_stage(spec.check(full, where))

        if unknown := sorted(settings.keys() - {"tracks", "buses", "master"}):
            raise SettingsError(f"settings hold tracks, buses and master; {unknown[0]!r} is none of them")
        buses = settings.get("buses", {})
        if unknown := sorted(buses.keys() - {"reverb"}):
            raise SettingsError(f"no bus {unknown[0]!r}; this console has: reverb")
        return Settings(
            tracks={n: part(self.track_spec, s, f"track {n}") for n, s in settings.get("tracks", {}).items()},
            buses={"reverb": part(self.bus.spec, buses.get("reverb", {}), "bus reverb")},
            master=part(self.master.spec, settings.get("master", {}), "master"),
        )

    def numbers(self, settings: Settings) -> DeskValues:
        """Settings of one song as physical values (B = 1), after `check`."""
        full = self.check(settings)
        device = self.track_spec.low.device

        def column(spec: ParamSpec, all_stages: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            pairs = ((name, *name.split(".", 1)) for name in spec.names)
            return {
                name: torch.tensor([[s[stage][knob] for s in all_stages]], dtype=torch.float32, device=device)
                for name, stage, knob in pairs
            }

        tracks = column(self.track_spec, list(full["tracks"].values()))
        bus, master = column(self.bus.spec, [full["buses"]["reverb"]]), column(self.master.spec, [full["master"]])
        return DeskValues(tracks, {k: v[:, 0] for k, v in bus.items()}, {k: v[:, 0] for k, v in master.items()})

    def encode(self, settings: Settings) -> Controls:
        """Settings of one song as controls (B = 1): the inverse of `settings`."""
        values = self.numbers(settings)
        return Controls(*(spec.normalize(v) for spec, v in zip(self.specs.values(), values, strict=True)))

    def nodes(self, settings: Settings, channels: Mapping[str, int]) -> list[Node]:
        """The console as a list of nodes in topological order, for export; ``channels`` by track name."""
        full = self.check(settings)

        def staged(chain: Chain, stages: Mapping[str, Any]) -> list[tuple[str, Processor, dict[str, float]]]:
            return [(name, stage, stages[name]) for name, stage in chain.stages.items()]

        nodes, sends = [], []
        for name in sorted(full["tracks"], key=channels.__getitem__):  # mono first, as the console adds them
            stages = full["tracks"][name]
            behind = [("fader", self.fader), ("pan", self.pan) if channels[name] == 1 else ("image", self.image)]
            strip = [*staged(self.strip, stages), *((n, stage, stages[n]) for n, stage in behind)]
            nodes.append(Node(name, channels[name], (), tuple(strip)))
            sends.append((name, stages["send"]["gain_db"]))
        bus_name, master_name = (_free(word, full["tracks"]) for word in ("reverb", "master"))
        nodes.append(Node(bus_name, 2, tuple(sends), tuple(staged(self.bus, full["buses"]["reverb"]))))
        dry = [(node.name, 0.0) for node in nodes]
        nodes.append(Node(master_name, 2, tuple(dry), tuple(staged(self.master, full["master"]))))
        return nodes


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """``name``, or with underscores behind it if a track is called so."""
    while name in taken:
        name += "_"
    return name


def track_loudness(tracks: Tracks, sample_rate: float) -> Tensor:
    """Integrated loudness (B, N) in LUFS of each track; -70 for silence."""
    found = []
    for x in (tracks,) if isinstance(tracks, Tensor) else tracks:
        batch, n, channels, length = x.shape
        if n:
            found.append(integrated_loudness(x.reshape(batch * n, channels, length), sample_rate).view(batch, n))
    return torch.cat(found, 1)
