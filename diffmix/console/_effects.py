"""The effects of a console, made of its layout."""

from collections.abc import Iterable, Mapping
from typing import Any

from diffmix.console._layout import DESK, ENDS, SEND, Stages, options_of
from diffmix.errors import DiffmixError, SettingsError
from diffmix.graph.node import make, no_effect
from diffmix.processors import Processor
from diffmix.processors.base import REGISTRY
from diffmix.types import Ranges


class Workshop:
    """Makes the effects of one console, each with its ranges; ``used`` are the names of the stages made so far."""

    def __init__(self, sample_rate: float, ranges: Mapping[str, Ranges], sends: Iterable[str]) -> None:
        """``ranges`` by stage and parameter, as `Console` has them, narrow the desk's own; ``sends`` by name."""
        self.sample_rate, self.ranges, self.sends = sample_rate, ranges, tuple(sends)
        self._limits: dict[str, dict[str, Any]] = {stage: dict(values) for stage, values in DESK.items()}
        for stage, values in ranges.items():
            self._limits.setdefault(stage, {}).update(values)
        self.used: set[str] = set()

    def effect(
        self,
        stage: str | Mapping[str, Any],
        where: str,
        desk: Mapping[str, Any] | None = None,
        stereo: bool = False,
    ) -> Processor:
        """An effect of the desk, with its ranges; ``where`` names the stage in messages and ranges."""
        self.used.add(where)
        options = options_of(stage)
        kind = stage if isinstance(stage, str) else stage.get("kind") if isinstance(stage, Mapping) else stage
        if not isinstance(kind, str) or kind not in REGISTRY:
            raise SettingsError(f"console stage {where}: {no_effect(kind)}")
        declared = REGISTRY[kind].declared
        limits = {k: v for k, v in (desk or {}).items() if k in declared} | self._limits.get(where, {})
        if where in DESK and where not in self.ranges:  # a stage of the same name may hold another effect
            limits = {k: v for k, v in limits.items() if k in declared}
        try:
            effect = make(kind, options, limits, self.sample_rate)
        except (DiffmixError, TypeError, ValueError) as error:
            raise SettingsError(f"console stage {where}: {error}") from None
        (first, *others), (out, *outs) = effect.inlets, effect.outlets
        if outs or {first.kind, out.kind} != {"audio"} or not all(port.optional for port in others):
            raise SettingsError(f"console stage {where}: a {kind} is no effect with one way in and one way out")
        allowed = {None, 2} if stereo else {None}
        if not {first.channels, out.channels} <= allowed and where not in ENDS:
            raise SettingsError(
                f"console stage {where}: a {kind} goes from {first.channels or 'any'} to {out.channels or 'as many'} "
                f"channels; here it gets {'2' if stereo else '1 or 2'} and has to leave as many"
            )
        return effect

    def chain(self, stages: Stages, prefix: str, desk: Mapping[str, Any] | None = None) -> dict[str, Processor]:
        """The effects of a strip; ``prefix`` stands before their names in messages and ranges."""
        return {name: self.effect(stage, prefix + name, desk, bool(prefix)) for name, stage in stages.items()}

    def group(self, name: str, part: Mapping[str, Any]) -> dict[str, Processor]:
        """The effects of a group: its own, its fader, its image and its sends."""
        stages = self.chain(part.get("stages", {}), f"{name}.")
        ends = self.chain({"fader": "Gain", "image": "BalanceWidth"}, f"{name}.", DESK["fader"])
        return stages | ends | {send: self.effect("Gain", f"{name}.{send}", SEND) for send in self.sends}
