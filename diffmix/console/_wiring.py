"""A console's strips as a graph: who goes where, under which names."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffmix.console._layout import ENDS, MUTED_DB, DeskValues, Stages, Tracks, kinds, options_of, spec_of
from diffmix.console._template import Template
from diffmix.errors import SettingsError
from diffmix.graph import Node as Effect
from diffmix.graph import Renderer
from diffmix.graph.desk import Strip, desk
from diffmix.graph.node import learns
from diffmix.graph.plan import Value
from diffmix.params import ParamSpec, split_name
from diffmix.processors import Processor
from diffmix.settings import Settings, shortest

PARTS = 16
"""Renderers of parts of a desk that are kept."""


class Desk:
    """The renderer of a console for given tracks, and which knob of it each value is."""

    def __init__(self, console: Template, channels: Sequence[int], groups: Sequence[str]) -> None:
        self.tracks = [f"track #{n + 1}" for n in range(len(channels))]  # no bus can be called so
        self.count = channels.count(1)
        strips = {s.name: s for s in strips_of(console, self.tracks, channels, groups)}
        self.ends = [strips[name].end for name in self.tracks]
        self.returns = {name: strips[name].end for name in console.buses}
        chains = {**dict.fromkeys(self.tracks, console.strip), **console.groups, **console.buses}
        learned = {
            f"{strip}.{stage}": effect
            for strip, stages in {**chains, "master": console.master}.items()
            for stage, effect in stages.items()
            if strip in strips and learns(effect)
        }
        self.renderer = Renderer(desk(list(strips.values()), "master"), console.sample_rate, processors=learned)
        self.parts: dict[tuple[Any, ...], Renderer] = {}
        self.columns: list[tuple[str, slice, tuple[str, ...]]] = []
        mono, stereo, every = slice(0, self.count), slice(self.count, None), slice(None)
        for name in console.track_spec.names:
            stage, knob = split_name(name)
            part = {"pan": mono, "image": stereo}.get(stage, every)
            if stage in console.sends:
                bus = console.layout["sends"][stage]
                keys = [f"{end}>{bus}:in.{knob}" for end in self.ends]
            else:
                keys = [f"{track}.{name}" for track in self.tracks[part]]
            if keys:
                self.columns.append((name, part, tuple(keys)))
        self.others: list[tuple[str, str]] = []
        for name in console.bus_spec.names:
            strip, stage, knob = name.split(".")
            key = name
            if strip in console.groups and stage in console.sends:
                key = f"{strip}.image:out>{console.layout['sends'][stage]}:in.{knob}"
            if strip in strips:
                self.others.append((name, key))

    def part(
        self, targets: Sequence[Value], given: Sequence[Value] = (), values: Mapping[str, float] | None = None
    ) -> Renderer:
        """The renderer of some signals instead of the mix, made once; ``values`` stand in its graph."""
        key = tuple(targets), tuple(given), tuple((values or {}).items())
        renderer = self.parts.get(key)
        if renderer is None:
            plain = self.renderer
            graph = plain.graph.at(values or {})
            renderer = Renderer(graph, plain.sample_rate, processors=plain.live, targets=targets, given=given)
            if len(self.parts) >= PARTS:
                self.parts.clear()
            self.parts[key] = renderer
        return renderer

    def sources(self, tracks: Tracks) -> dict[str | tuple[str, ...], Tensor]:
        """Audio by the names of the tracks."""
        found: dict[str | tuple[str, ...], Tensor] = {}
        first = 0
        for x in kinds(tracks):
            if x.shape[1]:
                found[tuple(self.tracks[first : first + x.shape[1]])] = x
            first += x.shape[1]
        return found

    def knobs(self, values: DeskValues, mask: Tensor | None) -> dict[str | tuple[str, ...], Tensor]:
        """Values by the names of the graph's knobs. Raises SettingsError for values or a mask of other tracks."""
        if (count := values.tracks["fader.gain_db"].shape[-1]) != len(self.tracks):
            raise SettingsError(f"settings came for {count} tracks, audio for {len(self.tracks)}")
        if mask is not None and mask.shape[-1:] != (len(self.tracks),):
            raise SettingsError(f"the mask is {tuple(mask.shape)}, allowed is (B, {len(self.tracks)}), one per track")
        found: dict[str | tuple[str, ...], Tensor] = {}
        for name, part, keys in self.columns:
            value = values.tracks[name]
            if mask is not None and name == "fader.gain_db":
                value = torch.where(mask > 0, value, MUTED_DB)
            found[keys] = value[:, part]
        found |= {key: values.bus[name] for name, key in self.others}
        found |= {f"master.{name}": value for name, value in values.master.items()}
        return found


def strips_of(
    console: Template,
    tracks: Sequence[str],
    channels: Sequence[int],
    groups: Sequence[str],
    settings: Settings | None = None,
    limited: tuple[Mapping[str, ParamSpec], Mapping[str, ParamSpec]] = ({}, {}),
    silent: frozenset[str] = frozenset(),
) -> list[Strip]:
    """The desk's strips: tracks by group, mono first; groups that have tracks; buses; the master.

    Without ``settings`` the knobs stand at their defaults; ``limited`` are the specs of tracks, and
    of the other strips, by name.
    """
    if not tracks:
        raise SettingsError("a console needs at least one track")
    heard = {group for name, group in zip(tracks, groups, strict=True) if name not in silent}
    used = [group for group in console.groups if group in heard]
    taken = {f"{track}{stage}" for track in tracks for stage in ("", *(f".{s}" for s in (*console.strip, *ENDS)))}
    chains = {**console.groups, **console.buses, "master": console.master}
    names = {name: unused(name, chains[name], taken) for name in (*used, *console.buses, "master")}

    def sends(knobs: Any, spec: ParamSpec) -> tuple[tuple[str, float], ...]:
        levels = {s: knobs[s]["gain_db"] if knobs else spec.params[f"{s}.gain_db"].default for s in console.sends}
        return tuple((names[console.layout["sends"][s]], level) for s, level in levels.items())

    layout, (of_tracks, others) = console.layout, limited
    strips: list[Strip] = []
    for n in sorted(range(len(tracks)), key=lambda n: used.index(groups[n]) + 1 if groups[n] in used else 0):
        name = tracks[n]
        knobs, spec = settings and settings["tracks"][name], of_tracks.get(name, console.track_spec)
        place = {"pan": console.pan} if channels[n] == 1 else {"image": console.image}
        made = _effects(name, {**console.strip, "fader": console.fader, **place}, layout["strip"], knobs, spec)
        goes = ("", ()) if name in silent else (names[groups[n] or "master"], sends(knobs, spec))
        strips.append(Strip(name, channels[n], made, *goes))
    for part in (*used, *console.buses):
        is_group, stages = part in used, chains[part]
        knobs = settings and settings["buses"][part]
        spec = others.get(part, spec_of(stages))
        inner = {stage: effect for stage, effect in stages.items() if not is_group or stage not in console.sends}
        given = layout["groups"][part].get("stages", {}) if is_group else layout["buses"][part]
        made = _effects(names[part], inner, given, knobs, spec)
        strips.append(Strip(names[part], 0, made, names["master"], sends(knobs, spec) if is_group else ()))
    knobs = settings and settings["master"]
    made = _effects(names["master"], console.master, layout["master"], knobs, others.get("master", console.master_spec))
    return [*strips, Strip(names["master"], 0, made, "")]


def _effects(
    strip: str, stages: Mapping[str, Processor], layout: Stages, knobs: Any, spec: ParamSpec
) -> tuple[Effect, ...]:
    """A strip's effects in the ranges of its ``spec``, with the knobs that are not where a new effect has them."""
    made = []
    for stage, effect in stages.items():
        params = {knob: spec.params[f"{stage}.{knob}"] for knob in effect.spec.names}
        ranges = {
            knob: (p.low, p.high)
            for knob, p in params.items()
            if (p.low, p.high) != (effect.declared[knob].low, effect.declared[knob].high)
        }
        plain = Effect(f"{strip}.{stage}", type(effect).__name__, {}, options_of(layout.get(stage, {})), ranges)
        wanted = knobs.get(stage, {}) if knobs else {knob: shortest(p.default) for knob, p in params.items()}
        made.append(replace(plain, values={k: v for k, v in wanted.items() if plain.setting(k) != v}))
    return tuple(made)


def unused(name: str, stages: Collection[str], taken: set[str]) -> str:
    """A name for a strip, with underscores until it and the names of its effects are no others; then they are taken."""
    while taken & (own := {name, *(f"{name}.{stage}" for stage in stages)}):
        name += "_"
    taken |= own
    return name
