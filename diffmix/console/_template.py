"""What a console is made of: its effects, their knobs, and which group a track goes to."""

from collections.abc import Mapping
from typing import Any, Self

from torch import nn

from diffmix.console._effects import Workshop
from diffmix.console._layout import (
    BUSES,
    MASTER,
    SEND,
    SENDS,
    STRIP,
    WET,
    Stages,
    check_layout,
    fits,
    named,
    spec_of,
    table,
)
from diffmix.errors import SettingsError
from diffmix.graph.node import learns
from diffmix.params import Param, ParamSpec, joined
from diffmix.processors import Gain
from diffmix.types import Ranges


class Template(nn.Module):
    """The strips of a console, before there are tracks."""

    def __init__(
        self,
        sample_rate: float = 44100.0,
        ranges: Mapping[str, Ranges] | None = None,
        *,
        strip: Stages | None = None,
        sends: Mapping[str, str] | None = None,
        buses: Mapping[str, Stages] | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        master: Stages | None = None,
    ) -> None:
        """A console at ``sample_rate`` Hz.

        Args:
            sample_rate: Hz.
            ranges: narrower ranges by stage and parameter: ``{"eq": {"peak1_gain_db": (-6, 6)}}``; stages of a bus, a
                group and the master are ``reverb.reverb``, ``drums.eq``, ``master.eq``.
            strip: the effects of every track in front of its fader.
            sends: the bus that each send goes to, by the send's name.
            buses: the effects of each bus, by its name.
            groups: for each group its ``stages``, in front of a fader of its own, and the ``tracks`` that go there, as
                patterns of names: ``{"drums": {"tracks": ["kick*"], "stages": {"compressor": "Compressor"}}}``.
            master: the effects of the master.

        Raises SettingsError for names of stages, effects, buses and parameters that do not exist.
        """
        super().__init__()
        self.layout: dict[str, Any] = {
            "strip": named("strip", STRIP if strip is None else strip),
            "sends": named("sends", SENDS if sends is None else sends),
            "buses": named("buses", BUSES if buses is None else buses),
            "groups": named("groups", {} if groups is None else groups),
            "master": named("master", MASTER if master is None else master),
        }
        given = table("ranges", {} if ranges is None else ranges)
        self.ranges = {stage: table(f"ranges of {stage}", values) for stage, values in given.items()}
        self.sample_rate = float(sample_rate)
        check_layout(self.layout)
        shop = Workshop(self.sample_rate, self.ranges, self.layout["sends"])
        self.strip = shop.chain(self.layout["strip"], "")
        self.fader = shop.effect("Gain", "fader")
        self.pan = shop.effect("Pan", "pan")
        self.image = shop.effect("BalanceWidth", "image")
        self.sends = {name: shop.effect("Gain", name, SEND) for name in self.layout["sends"]}
        self.buses = {name: shop.chain(stages, f"{name}.", WET) for name, stages in self.layout["buses"].items()}
        self.groups = {name: shop.group(name, part) for name, part in self.layout["groups"].items()}
        self.master = shop.chain(self.layout["master"], "master.")
        parts = {"track": self.strip, "master": self.master}
        parts |= {f"bus/{name}": stages for name, stages in self.buses.items()}
        parts |= {f"group/{name}": stages for name, stages in self.groups.items()}
        effects = {f"{part}/{stage}": effect for part, stages in parts.items() for stage, effect in stages.items()}
        self.learned = nn.ModuleDict({name: effect for name, effect in effects.items() if learns(effect)})
        if unknown := sorted(self.ranges.keys() - shop.used):
            raise SettingsError(f"no console stage {unknown[0]!r}; there are: {', '.join(sorted(shop.used))}")
        strips = {**self.strip, "fader": self.fader, "pan": self.pan, "image": self.image, **self.sends}
        others = {name: spec_of(stages) for name, stages in {**self.buses, **self.groups}.items()}
        self.track_spec, self.bus_spec, self.master_spec = spec_of(strips), joined(others), spec_of(self.master)

    @classmethod
    def from_layout(cls, layout: Mapping[str, Any], sample_rate: float | None = None) -> Self:
        """The console of plain data with the arguments' names, as ``conf/console/*.yaml`` hold it.

        ``sample_rate`` in Hz, if given, takes the place of the layout's. Raises SettingsError.
        """
        given = table("a console's layout", layout)
        if sample_rate is not None:
            given["sample_rate"] = sample_rate
        allowed = ("sample_rate", "ranges", "strip", "sends", "buses", "groups", "master")
        if unknown := [name for name in given if name not in allowed]:
            raise SettingsError(f"a console has no {unknown[0]!r}; it has: {', '.join(allowed)}")
        rate = given.get("sample_rate", 44100)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
            raise SettingsError(f"sample_rate is {rate!r}, a number of Hz is expected")
        return cls(**given)

    @property
    def description(self) -> dict[str, Any]:
        """Plain data of which ``Console(sample_rate, **description)`` is made."""
        return {"ranges": self.ranges, **self.layout}

    @property
    def specs(self) -> dict[str, ParamSpec]:
        """The three control vectors: ``tracks`` (one per track), ``bus`` (buses and groups), ``master``."""
        return {"tracks": self.track_spec, "bus": self.bus_spec, "master": self.master_spec}

    @property
    def strip_specs(self) -> dict[str, ParamSpec]:
        """The knobs of each bus and group, and of the ``master``, by name."""
        found = {name: spec_of(stages) for name, stages in {**self.buses, **self.groups}.items()}
        return found | {"master": self.master_spec}

    def group_of(self, track: str) -> str:
        """The first group one of whose patterns a track's name matches, "" for none."""
        for name, part in self.layout["groups"].items():
            if any(fits(track.lower(), pattern.lower()) for pattern in part.get("tracks", ())):
                return str(name)
        return ""

    @property
    def loudness_knob(self) -> Param:
        """The knob that sets the loudness of a mix. Raises SettingsError if the master has no ``gain``."""
        stage = self.master.get("gain")
        if not isinstance(stage, Gain):
            raise SettingsError(
                "loudness is set by the master's gain, a Gain of that name; the stages of this console's master are: "
                f"{', '.join(self.master) or 'none'}"
            )
        return stage.spec.params["gain_db"]
