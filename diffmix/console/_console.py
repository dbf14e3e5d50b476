"""The console itself."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffmix.console._layout import (
    ENDS,
    WORKING_LEVEL_LUFS,
    Controls,
    DeskValues,
    Limits,
    Specs,
    Tracks,
    fits,
    kinds,
    spec_of,
    table,
)
from diffmix.console._template import Template
from diffmix.console._wiring import Desk, strips_of, unused
from diffmix.errors import AudioError, SettingsError
from diffmix.graph import Graph
from diffmix.graph.desk import desk
from diffmix.graph.schedule import TOGETHER
from diffmix.kernels.loudness import HEARD_LUFS
from diffmix.params import ParamSpec, joined, split_name
from diffmix.processors import Gain
from diffmix.processors.chain import by_stage
from diffmix.settings import Settings, shortest


class Console(Template):
    """A console of any number of mono and stereo tracks.

    ``console(tracks, controls)`` takes controls in [0, 1]; ``console.mix(tracks, values)`` physical values. Both are
    differentiable in audio and parameters, and a mono track is processed as one channel until it is panned. It is a
    template: what it does is the graph that `to_graph` gives, rendered. The first call for a number of tracks makes
    that graph; ``torch.compile`` with ``fullgraph=True`` needs one before. An effect with weights of its own is one for
    all tracks; `parameters` and `state_dict` have these, no settings and no graph.
    """

    # -- controls and values ---------------------------------------------------------------------------------------

    def limited(self, names: Sequence[str], limits: Limits) -> dict[str, ParamSpec]:
        """The specs with knobs of single tracks, buses or the master locked or bounded.

        Controls then reach the narrower range by all of [0, 1]; `values`, `encode` and `default` take these specs.
        Knobs are named ``vox.eq.peak1_q``, ``reverb.reverb.room_size``, ``master.gain.gain_db``, a stage's only knob
        also ``vox.pan``; of several patterns the last counts. Raises SettingsError for a pattern that names no knob and
        for a range that is not inside the knob's.
        """
        tracks, others = self.narrowed_specs(names, limits)
        master = others.pop("master")
        return {"tracks": ParamSpec.stacked(list(tracks.values())), "bus": joined(others), "master": master}

    def narrowed_specs(self, names: Sequence[str], limits: Limits) -> tuple[dict[str, ParamSpec], dict[str, ParamSpec]]:
        """The spec of each track, and those of buses, groups and master, by name."""
        unused = set(limits)

        def narrowed(strip: str, spec: ParamSpec) -> ParamSpec:
            found: dict[str, Sequence[float]] = {}
            knobs = Counter(split_name(knob)[0] for knob in spec.names)
            for knob in spec.names:
                stage = split_name(knob)[0]
                names = [f"{strip}.{knob}", *([f"{strip}.{stage}"] if knobs[stage] == 1 else [])]
                for pattern in (p for p in limits if any(fits(name, p) for name in names)):
                    unused.discard(pattern)
                    given = limits[pattern]
                    found[knob] = (given, given) if isinstance(given, int | float) else given
            try:
                return spec.narrowed(found)
            except SettingsError as error:
                raise SettingsError(f"{strip}.{error}") from None

        others = {name: narrowed(name, spec_of(stages)) for name, stages in {**self.buses, **self.groups}.items()}
        others["master"] = narrowed("master", self.master_spec)
        tracks = {name: narrowed(name, self.track_spec) for name in names}
        if unused:
            knobs = f"{(*names, 'vox')[0]}.{self.track_spec.names[0]}", f"master.{self.master_spec.names[-1]}"
            raise SettingsError(f"no knob matches {min(unused)!r}; knobs are named like {knobs[0]!r}, {knobs[1]!r}")
        return tracks, others

    def default(self, batch: int, tracks: int, specs: Specs | None = None) -> Controls:
        """Controls that leave the tracks as they are: every effect neutral, sends closed, pans centred."""
        track, bus, master = (spec.default() for spec in (specs or self.specs).values())
        return Controls(track.expand(batch, tracks, -1), bus.expand(batch, -1), master.expand(batch, -1))

    def sample(self, batch: int, tracks: int, generator: torch.Generator) -> Controls:
        """Uniformly random controls."""
        return Controls(
            self.track_spec.sample(batch * tracks, generator).view(batch, tracks, self.track_spec.size),
            self.bus_spec.sample(batch, generator),
            self.master_spec.sample(batch, generator),
        )

    def values(self, controls: Controls, specs: Specs | None = None) -> DeskValues:
        """Controls to physical values. Raises SettingsError for other controls than of these three parts."""
        if not isinstance(controls, tuple | list) or len(controls) != 3:
            raise SettingsError(
                f"controls are {type(controls).__name__}, allowed are Controls(tracks (B, N, P), bus (B, Q), "
                "master (B, R))"
            )
        return DeskValues(
            *(spec.denormalize(u) for spec, u in zip((specs or self.specs).values(), controls, strict=True))
        )

    def trims_db(self, loudness_lufs: Tensor) -> Tensor:
        """The gains (...) in dB that bring tracks of this loudness (...) to the working level, as far as trims go.

        Silence is left alone. Raises SettingsError if the strip has no ``trim``.
        """
        trim = self.strip.get("trim")
        if not isinstance(trim, Gain):
            raise SettingsError(
                "tracks are brought to one level by a trim, a Gain of that name; the stages of this console's strip "
                f"are: {', '.join(self.strip) or 'none'}"
            )
        wanted = torch.where(loudness_lufs > HEARD_LUFS, WORKING_LEVEL_LUFS - loudness_lufs, 0.0)
        return wanted.clamp(trim.spec.low.item(), trim.spec.high.item())

    def trimmed(self, controls: Controls, loudness_lufs: Tensor) -> Controls:
        """The controls with the trims that `trims_db` gives for tracks of ``loudness_lufs`` (B, N)."""
        return self.with_trims(controls, self.trims_db(loudness_lufs))

    def with_trims(self, controls: Controls, gain_db: Tensor) -> Controls:
        """The controls with trims of these gains (B, N) in dB."""
        u = self.strip["trim"].spec.normalize({"gain_db": gain_db})
        at = self.track_spec.index("trim.gain_db")
        tracks = torch.cat([controls.tracks[..., :at], u.to(controls.tracks), controls.tracks[..., at + 1 :]], -1)
        return controls._replace(tracks=tracks)

    # -- audio -----------------------------------------------------------------------------------------------------

    def forward(
        self, tracks: Tracks, controls: Controls, mask: Tensor | None = None, names: Sequence[str] = ()
    ) -> Tensor:
        """The mix (B, 2, T) of ``tracks`` under ``controls``; see `mix`."""
        return self.mix(tracks, self.values(controls), mask, names)

    def mix(self, tracks: Tracks, values: DeskValues, mask: Tensor | None = None, names: Sequence[str] = ()) -> Tensor:
        """The mix (B, 2, T) under physical values.

        ``tracks`` are all mono or all stereo, (B, N, 1, T) or (B, N, 2, T), or both, (mono, stereo), and numbered in
        that order. ``mask`` (B, N) is 0 where a track is padding or muted: it adds nothing. ``names`` of the tracks
        decide which group each goes to; without them all go to the master. Raises AudioError, SettingsError and
        GraphError for what does not fit together.
        """
        made = self._desk(tracks, names)
        return next(iter(made.renderer.render(made.sources(tracks), made.knobs(values, mask)).values()))

    def placed(
        self, tracks: Tracks, values: DeskValues, mask: Tensor | None = None, names: Sequence[str] = ()
    ) -> Iterator[Tensor]:
        """Each track as it reaches its group or the master, (B, 2, T), without its sends; one at a time."""
        made = self._desk(tracks, names)
        sources, knobs = made.sources(tracks), made.knobs(values, mask)
        for first in range(0, len(made.ends), TOGETHER):
            ends = made.ends[first : first + TOGETHER]
            found = made.part(ends).signals(sources, knobs)
            for end in ends:
                yield found.pop(end)

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in self.__dict__.items() if name != "_desks"}  # a copy makes its own

    @cached_property
    def _desks(self) -> dict[tuple[Any, ...], Desk]:
        """The renderers made so far, by the channels and groups of their tracks."""
        return {}

    def _desk(self, tracks: Tracks, names: Sequence[str]) -> Desk:
        """The renderer for as many tracks, in the groups that their names say."""
        given = kinds(tracks) if isinstance(tracks, Tensor | tuple | list) else (tracks,)
        for x in given:
            if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[2] not in (1, 2):
                came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise AudioError(
                    f"tracks are {came}; allowed are tensors (B, N, 1, T) of N mono tracks, (B, N, 2, T) of stereo "
                    "ones, or both, (mono, stereo)"
                )
        return self.wired([x.shape[2] for x in given for _ in range(x.shape[1])], names)

    def wired(self, channels: Sequence[int], names: Sequence[str] = ()) -> Desk:
        """The console as a renderer for tracks of 1 or 2 channels, mono ones first, in the groups their names say."""
        if names and len(names) != len(channels):
            raise SettingsError(f"{len(names)} names came for {len(channels)} tracks")
        groups = [self.group_of(name) for name in names] or [""] * len(channels)
        key = tuple(zip(channels, groups, strict=True))
        if key not in self._desks:
            self._desks[key] = Desk(self, channels, groups)
        return self._desks[key]

    # -- graphs ----------------------------------------------------------------------------------------------------

    def to_graph(
        self,
        tracks: int | Mapping[str, int],
        settings: Settings | None = None,
        *,
        limits: Limits | None = None,
        mute: str | Sequence[str] = (),
        solo: str | Sequence[str] = (),
    ) -> Graph:
        """The console as a graph: ``render(console.to_graph(...), ...)`` equals ``console.mix(...)`` bit for bit.

        Args:
            tracks: channels (1 or 2) by name; or how many mono tracks, called ``track 1``, ....
            settings: knobs; what they leave out is neutral.
            limits: locked or bounded knobs, as for `limited`; they become the ranges of the nodes.
            mute: tracks that are not heard, by patterns of names; their strips stay, without cables behind the pan.
            solo: if any, the only tracks that are heard.

        Sources are called as the tracks, their effects ``vox.eq``; groups, buses and the master are sums of their
        names with effects ``drums.eq``, ``reverb.reverb``, ``master.eq`` behind; the output is ``out``. Where a track
        has taken such a name, it gets an underscore; tracks whose names no node can have are called as `titles` says.
        Raises SettingsError.
        """
        if not isinstance(tracks, int | Mapping):
            raise SettingsError(
                f"tracks are {tracks!r}; channels (1 or 2) by name, or a number of tracks, are expected"
            )
        channels = {f"track {n + 1}": 1 for n in range(tracks)} if isinstance(tracks, int) else dict(tracks)
        given = Settings(settings or {})
        if extra := [n for n in given.part("tracks") if n not in channels]:
            raise SettingsError(f"settings for {extra[0]!r}, which is no track; there are: {', '.join(channels)}")
        order = sorted(channels, key=channels.__getitem__)  # mono first, as the console numbers them
        limited = self.narrowed_specs(order, limits or {})
        full = self._complete(
            Settings({**given, "tracks": {n: {} for n in channels} | dict(given.part("tracks"))}), *limited
        )
        groups, widths = [self.group_of(n) for n in order], [channels[n] for n in order]
        title = self.titles(order)
        full = Settings({**full, "tracks": {title[n]: knobs for n, knobs in full["tracks"].items()}})
        limited = {title[n]: spec for n, spec in limited[0].items()}, limited[1]
        silent = frozenset(title[n] for n in self.silent(order, mute, solo))
        strips = strips_of(self, [title[n] for n in order], widths, groups, full, limited, silent)
        return desk(strips, strips[-1].name)

    def titles(self, names: Sequence[str]) -> dict[str, str]:
        """What tracks are called in the graph: their names, with ``_`` for ``:`` and ``>``, which no node can have.

        A name that an effect of another track has taken gets an underscore behind it.
        """
        legal = {name: re.sub("[:>\r\n\ud800-\udfff]", "_", name).strip() or "_" for name in names}
        taken: set[str] = set()
        found = {}
        for name in sorted(names, key=lambda name: legal[name] != name):  # who needs no other name keeps it
            found[name] = unused(legal[name], (*self.strip, *ENDS), taken)
        return {name: found[name] for name in names}

    def silent(
        self, names: Sequence[str], mute: str | Sequence[str] = (), solo: str | Sequence[str] = ()
    ) -> frozenset[str]:
        """The tracks that mute and solo leave unheard: names, or patterns of names in which case does not matter.

        Raises SettingsError for a pattern that matches no track, and if none is left.
        """

        def matched(given: str | Sequence[str]) -> set[str]:
            found: set[str] = set()
            for pattern in [given] if isinstance(given, str) else given:
                some = {pattern} & set(names) or {n for n in names if fits(n.lower(), pattern.lower())}
                if not some:
                    raise SettingsError(f"no track is called {pattern!r}; there are: {', '.join(names)}")
                found |= some
            return found

        alone = matched(solo)
        found = matched(mute) | (set(names) - alone if alone else set())
        if found and found == set(names):
            raise SettingsError("every track is muted")
        return frozenset(found)

    # -- settings --------------------------------------------------------------------------------------------------

    def settings(
        self,
        controls: Controls,
        names: Sequence[str] | None = None,
        channels: Sequence[int] = (),
        specs: Specs | None = None,
    ) -> Settings:
        """The knobs of the first item of a batch as `Settings`.

        ``names`` of the tracks (``track 1``, ... if not given); ``channels`` 1 or 2 per track: a mono track has a
        pan, a stereo track an image; without ``channels`` both are listed.
        """
        values = self.values(controls, specs)
        count = controls.tracks.shape[1]
        names = names or [f"track {n + 1}" for n in range(count)]
        if {len(names), len(channels) or count} != {count}:
            raise SettingsError(f"{len(names)} names and {len(channels)} channels came for {count} tracks")
        tracks: dict[str, Any] = {}
        for n, name in enumerate(names):
            stages = by_stage({k: shortest(v[0, n].item()) for k, v in values.tracks.items()})
            if channels:
                del stages["image" if channels[n] == 1 else "pan"]
            tracks[name] = stages
        bus, master = ({k: shortest(v[0].item()) for k, v in part.items()} for part in values[1:])
        knobs = by_stage(bus)
        buses = {name: by_stage(knobs.get(name, {})) for name in (*self.buses, *self.groups)}
        return Settings(tracks=tracks, buses=buses, master=by_stage(master))

    def check(self, settings: Settings, limits: Limits | None = None) -> Settings:
        """The settings with every missing knob at its default, after checking names and ranges.

        ``limits`` are further ones, as for `limited`. Raises SettingsError naming track, stage and knob, what came and
        what is allowed in its unit.
        """
        settings = Settings(settings)
        return self._complete(settings, *self.narrowed_specs(list(settings.part("tracks")), limits or {}))

    def _complete(
        self, settings: Settings, of_tracks: Mapping[str, ParamSpec], others: Mapping[str, ParamSpec]
    ) -> Settings:
        """As `check`, by the specs of tracks and of the other strips."""

        def part(spec: ParamSpec, stages: Mapping[str, Any], kind: str, name: str) -> dict[str, dict[str, float]]:
            where = f"{kind} {name}".lstrip()
            given: dict[str, float] = {}
            for stage, knobs in table(where, stages).items():
                if not isinstance(knobs, Mapping):
                    raise SettingsError(f"{where}: {stage} is {knobs!r}, a stage with knobs is expected")
                given.update({f"{stage}.{knob}": value for knob, value in knobs.items()})
            full = {knob: shortest(p.default) for knob, p in spec} | given
            try:
                return by_stage(spec.check(full, where))
            except SettingsError as error:
                error.knob = error.knob and f"{name}.{error.knob}"
                raise

        if unknown := sorted(settings.keys() - {"session", "tracks", "buses", "master"}):
            raise SettingsError(f"settings hold session, tracks, buses and master; {unknown[0]!r} is none of them")
        buses, mine = settings.part("buses"), {**self.buses, **self.groups}
        if unknown := sorted(buses.keys() - mine.keys()):
            raise SettingsError(f"no bus {unknown[0]!r}; this console has: {', '.join(mine) or 'none'}")
        return Settings(
            tracks={n: part(of_tracks[n], s, "track", n) for n, s in settings.part("tracks").items()},
            buses={n: part(others[n], buses.get(n, {}), "bus", n) for n in mine},
            master=part(others["master"], settings.part("master"), "", "master"),
        )

    def numbers(self, settings: Settings) -> DeskValues:
        """Settings of one song as physical values (B = 1), after `check`."""
        full = self.check(settings)
        device = self.track_spec.low.device

        def value(number: Any) -> Tensor:
            return torch.tensor(number, dtype=torch.float32, device=device)

        pairs = [(name, *split_name(name)) for name in self.track_spec.names]
        return DeskValues(
            {name: value([[s[stage][knob] for s in full["tracks"].values()]]) for name, stage, knob in pairs},
            {".".join(path): value([number]) for path, number in Settings(full["buses"]).flat()},
            {".".join(path): value([number]) for path, number in Settings(full["master"]).flat()},
        )

    def encode(self, settings: Settings, specs: Specs | None = None) -> Controls:
        """Settings of one song as controls (B = 1): the inverse of `settings`."""
        values = self.numbers(settings)
        parts = [spec.normalize(v) for spec, v in zip((specs or self.specs).values(), values, strict=True)]
        return Controls(*(u if u.ndim > 1 else u[None] for u in parts))  # without knobs there is no batch to tell
