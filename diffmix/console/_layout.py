"""What a console's layout is made of: its plain data, the desk's own ranges, and what can stand together."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffmix._paths import conf_dir
from diffmix.errors import SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.params import ParamSpec, joined
from diffmix.processors import Processor

WORKING_LEVEL_LUFS = -23.0
"""Where the trim puts a track, so that thresholds and faders mean the same for every recording."""

MUTED_DB = -120.0
"""A fader's position that is silence."""

Tracks = Tensor | tuple[Tensor, Tensor]
"""Mono or stereo strips (B, N, C, T), or both: (mono (B, N1, 1, T), stereo (B, N2, 2, T)), numbered in that order."""


def kinds(tracks: Tracks) -> tuple[Tensor, ...]:
    """The strips of one kind, or those of both."""
    return (tracks,) if isinstance(tracks, Tensor) else tuple(tracks)


Stages = Mapping[str, str | Mapping[str, Any]]
"""Effects by stage name: a class name, or ``{"kind": class name, option: value}``."""

Limits = Mapping[str, float | Sequence[float]]
"""Narrower (low, high), or one value that locks, by knob name with wildcards: ``{"vox.pan.pan": 0}``."""


class Controls(NamedTuple):
    """Control vectors in [0, 1]: tracks (B, N, P), buses and groups (B, Q), master (B, R)."""

    tracks: Tensor
    bus: Tensor
    master: Tensor


class DeskValues(NamedTuple):
    """Physical values by dotted name: of the tracks each (B, N), of buses, groups and master each (B,)."""

    tracks: dict[str, Tensor]
    bus: dict[str, Tensor]
    master: dict[str, Tensor]


Specs = Mapping[str, ParamSpec]
"""What the control vectors hold, by part: ``tracks``, ``bus``, ``master``."""


STRIP: Stages = {"trim": "Gain", "highpass": "HighpassFilter", "eq": "ParametricEQ", "compressor": "Compressor"}
SENDS: Mapping[str, str] = {"send": "reverb"}
BUSES: Mapping[str, Stages] = {"reverb": {"reverb": "Reverb"}}
MASTER: Stages = {"eq": "ParametricEQ", "compressor": "Compressor", "gain": "Gain"}

DESK: dict[str, dict[str, Sequence[float]]] = {
    "trim": {"gain_db": (-40, 60, 0)},
    "highpass": {"cutoff_frequency_hz": (10, 500, 10)},
    "fader": {"gain_db": (-48, 12, 0)},
    "master.gain": {"gain_db": (-40, 40, 0)},
}
"""Where a desk needs less than an effect's whole range."""

ENDS = ("fader", "pan", "image")
"""What stands behind the effects of a track."""

SEND: dict[str, Sequence[float]] = {"gain_db": (-60, 6, -60)}
WET: dict[str, Sequence[float]] = {"dry_level": (0, 0), "mix": (1, 1)}
"""On a bus an effect is wet only, where it has a choice."""


def shipped(name: str) -> dict[str, Any]:
    """The layout in ``conf/console/NAME.yaml``, for `Console.from_layout`."""
    import yaml

    found: dict[str, Any] = yaml.safe_load(Path(conf_dir(), "console", f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def table(where: str, given: Any) -> dict[str, Any]:
    """A copy of a mapping. Raises SettingsError for anything else."""
    if not isinstance(given, Mapping):
        raise SettingsError(f"{where} is {given!r}; names, and what each stands for, are expected")
    return dict(given)


def named(where: str, given: Any) -> dict[str, Any]:
    """As `table`, for names that can be parts of a knob's."""
    found = table(where, given)
    if odd := [name for name in found if not isinstance(name, str) or not re.fullmatch(r"\w([\w -]*\w)?", name)]:
        raise SettingsError(f"{where}: {odd[0]!r} is no name, which is made of letters, digits, _, - and spaces")
    return found


def options_of(stage: str | Mapping[str, Any]) -> dict[str, Any]:
    """What a stage of a layout says besides its effect's name."""
    return {k: v for k, v in stage.items() if k != "kind"} if isinstance(stage, Mapping) else {}


def fits(name: str, pattern: str) -> bool:
    """Whether a name is a pattern's; a bracket, which means something in patterns, is also meant as one of a name."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, pattern.replace("[", "[[]"))


def spec_of(stages: Mapping[str, Processor]) -> ParamSpec:
    """The knobs of a strip's effects as one spec, named ``stage.knob``."""
    return joined({name: effect.spec for name, effect in stages.items()})


def check_layout(layout: Mapping[str, Any]) -> None:
    """Raises SettingsError for sends, buses, groups and stages that cannot stand together."""
    sends, buses, groups = layout["sends"], layout["buses"], layout["groups"]
    for send, bus in sends.items():
        if not isinstance(bus, str) or bus not in buses:
            raise SettingsError(f"send {send!r} goes to the bus {bus!r}; there are: {', '.join(buses) or 'none'}")
        if (first := next(s for s, b in sends.items() if b == bus)) != send:
            raise SettingsError(f"the sends {first!r} and {send!r} go to one bus, {bus!r}, which needs one only")
    if both := sorted(buses.keys() & groups.keys()):
        raise SettingsError(f"{both[0]!r} is a bus and a group; every name stands once")
    if "master" in {*buses, *groups}:
        raise SettingsError("no bus or group can be called 'master'")
    for name, part in groups.items():
        if unknown := sorted(table(f"group {name!r}", part).keys() - {"tracks", "stages"}):
            raise SettingsError(f"group {name!r} has tracks and stages; {unknown[0]!r} is neither")
        tracks = part.get("tracks", ())
        if not isinstance(tracks, list | tuple) or not all(isinstance(pattern, str) for pattern in tracks):
            raise SettingsError(f"group {name!r}: tracks is {tracks!r}, a list of patterns of names is expected")
    chains = {"strip": (layout["strip"], {*ENDS, *sends})}
    chains |= {f"group {name!r}": (part.get("stages", {}), {"fader", "image", *sends}) for name, part in groups.items()}
    chains |= {f"bus {name!r}": (stages, set()) for name, stages in buses.items()}
    for where, (stages, fixed) in chains.items():
        if taken := [name for name in named(where, stages) if name in fixed]:
            raise SettingsError(f"{where}: no effect can be called {taken[0]!r}, which stands behind the effects")


def track_loudness(tracks: Tracks, sample_rate: float) -> Tensor:
    """Integrated loudness (B, N) in LUFS of each track; -70 for silence."""
    found = []
    for x in kinds(tracks):
        batch, n, channels, length = x.shape
        if n:
            found.append(integrated_loudness(x.reshape(batch * n, channels, length), sample_rate).view(batch, n))
    return torch.cat(found, 1)
