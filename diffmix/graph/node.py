"""What a graph is made of: nodes, which are effects by name, and edges between their ports."""

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from diffmix.errors import DiffmixError, GraphError, SettingsError
from diffmix.params import Param
from diffmix.processors.base import REGISTRY, Port, Processor
from diffmix.settings import shortest

MOST_NODES = 10_000
"""A graph holds no more: beyond it, a mistake is likelier than a wish."""

EDGE_GAIN = Param(-120, 40, 0, "dB", doc="level of what an edge carries")
EDGE_AMOUNT = Param(-20_000, 20_000, 1, "", doc="how far a control signal of 1 moves a knob: in its unit, or octaves")

BUILT_IN: dict[str, tuple[tuple[Port, ...], tuple[Port, ...], dict[str, Any]]] = {
    "In": ((), (Port("out"),), {"channels": 2}),
    "Out": ((Port("in"),), (), {}),
    "Sum": ((Port("in"),), (Port("out"),), {}),
    "Feedback": ((Port("in"),), (Port("out"),), {"channels": 2, "delay_ms": 50.0}),
}
"""What a graph has besides effects: inlets, outlets and options. A cycle is legal through a ``Feedback``, whose output
is its input ``delay_ms`` later."""

COMMON = "sample_rate", "ranges", "precision"
"""What every effect is made with, besides choices of its own."""


class Endpoint(NamedTuple):
    """A port of a node."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}:{self.port}"


@dataclass(frozen=True)
class Node:
    """One effect, source, output, sum or feedback.

    ``values`` holds the knobs that are not at their default, in physical units; ``options`` the choices of its class
    (``{"law": "linear"}``); ``ranges`` narrower (low, high) by knob, equal limits lock it.
    """

    name: str
    kind: str
    values: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    params: Mapping[str, Param] = field(init=False, repr=False, compare=False)
    """Its knobs, as narrowed by its options and ``ranges``."""
    inlets: tuple[Port, ...] = field(init=False, repr=False, compare=False)
    """Where signals enter, besides the knobs that may be modulated."""
    outlets: tuple[Port, ...] = field(init=False, repr=False, compare=False)
    """Where signals leave."""

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise GraphError(f"a node cannot be called {self.name!r}: a name is text in one line, without ':' and '>'")
        if not isinstance(self.kind, str):
            raise GraphError(f"node {self.name!r}: its kind is {self.kind!r}, the name of an effect is expected")
        values = {k: number(f"node {self.name!r}: {k}", v) for k, v in self.values.items()}
        object.__setattr__(self, "values", MappingProxyType(values))
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        object.__setattr__(self, "ranges", MappingProxyType({k: self._range(k, v) for k, v in self.ranges.items()}))
        params: Mapping[str, Param] = {}
        if self.kind in BUILT_IN:
            self._check_built_in()
            usual = BUILT_IN[self.kind][2]
            chosen = {k: v for k, v in self.options.items() if v != usual[k]}  # so that equal nodes compare equal
            object.__setattr__(self, "options", MappingProxyType(chosen))
            inlets, outlets, _ = BUILT_IN[self.kind]
        else:
            effect = self._checked_effect()
            inlets, outlets, params = effect.inlets, effect.outlets, effect.spec.params
        for name, value in (("params", MappingProxyType(params)), ("inlets", inlets), ("outlets", outlets)):
            object.__setattr__(self, name, value)

    def _range(self, knob: str, limits: Any) -> tuple[float, float]:
        if not isinstance(limits, tuple | list) or len(limits) != 2:
            raise GraphError(f"node {self.name!r}: the range of {knob} is {limits!r}, two numbers are expected")
        low, high = (number(f"node {self.name!r}: an end of the range of {knob}", v) for v in limits)
        return low, high

    def __reduce__(self) -> tuple[Any, ...]:  # its mappings cannot be pickled
        return Node, (self.name, self.kind, dict(self.values), dict(self.options), dict(self.ranges))

    def _check_built_in(self) -> None:
        allowed = BUILT_IN[self.kind][2]
        if self.values or self.ranges:
            raise GraphError(f"node {self.name!r}: {self.kind} has no knobs")
        if unknown := sorted(self.options.keys() - allowed.keys()):
            raise GraphError(
                f"node {self.name!r}: {self.kind} has no option {unknown[0]!r}; it has {', '.join(allowed) or 'none'}"
            )
        channels = self.options.get("channels", 1)
        if type(channels) is not int or channels not in (1, 2):
            raise GraphError(f"node {self.name!r}: channels is {channels!r}, allowed are 1 and 2")
        if not 1 <= number(f"node {self.name!r}: delay_ms", self.options.get("delay_ms", 1)) <= 10_000:
            raise GraphError(f"node {self.name!r}: delay_ms is {self.options['delay_ms']:g} ms, allowed 1..10000 ms")

    @property
    def effect(self) -> Processor:
        """An effect like it, for what does not depend on the sample rate."""
        return prototype(self.kind, frozen_options(self.options), frozen_options(self.ranges))

    def _checked_effect(self) -> Processor:
        if self.kind not in REGISTRY:
            raise GraphError(f"node {self.name!r}: {no_effect(self.kind)}")
        try:
            effect = self.effect
        except (DiffmixError, TypeError, ValueError, OverflowError) as error:
            raise GraphError(f"node {self.name!r} ({self.kind}): {error}") from None
        params = effect.spec.params
        for knob, value in self.values.items():
            if knob not in params:
                raise GraphError(f"node {self.name!r}: {self.kind} has no knob {knob!r}; it has: {', '.join(params)}")
            if not _allowed(value, params[knob]):
                raise GraphError(
                    f"node {self.name!r}: {knob} = {value:g} {params[knob].unit}".rstrip()
                    + f", allowed {params[knob].range_text()}"
                ).of(f"{self.name}.{knob}", value, (params[knob].low, params[knob].high))
        return effect

    def option(self, name: str) -> Any:
        """A built-in's option, or its default."""
        return self.options.get(name, BUILT_IN[self.kind][2][name])

    def setting(self, knob: str) -> float:
        """A knob's value, its default if not given."""
        return self.settings[knob]

    @cached_property
    def settings(self) -> Mapping[str, float]:
        """Every knob's value."""
        found = {k: self.values[k] if k in self.values else shortest(p.default) for k, p in self.params.items()}
        return MappingProxyType(found)

    def inlet(self, name: str) -> Port:
        """A port by name; a modulatable knob is a control inlet that hears the first channel. Raises GraphError."""
        for port in self.inlets:
            if port.name == name:
                return port
        knobs = [knob for knob, p in self.params.items() if p.modulatable]
        if name in self.params:
            if not self.params[name].modulatable:
                raise GraphError(
                    f"node {self.name!r}: the knob {name} of {self.kind} cannot be modulated; "
                    f"those that can: {', '.join(knobs) or 'none'}"
                )
            return Port(name, None, "control", optional=True)
        known = ", ".join([port.name for port in self.inlets] + knobs) or "none"
        raise GraphError(f"node {self.name!r}: {self.kind} has no inlet {name!r}; it has: {known}")

    def outlet(self, name: str) -> Port:
        """A port by name. Raises GraphError."""
        for port in self.outlets:
            if port.name == name:
                return port
        known = ", ".join(port.name for port in self.outlets) or "none"
        raise GraphError(f"node {self.name!r}: {self.kind} has no outlet {name!r}; it has: {known}")


@dataclass(frozen=True)
class Edge:
    """A cable from an outlet to an inlet.

    Audio and side chains may have a ``gain_db``; without one the edge is a wire. A control signal is multiplied by
    ``amount``: at a knob that is its reach for a signal of 1, in the knob's unit, or in octaves where its scale is
    logarithmic (Hz, ms, ratios and Q); the moved knob stays inside its range.
    """

    source: Endpoint
    target: Endpoint
    gain_db: float | None = None
    amount: float | None = None

    def __post_init__(self) -> None:
        for what in ("gain_db", "amount"):
            if type(value := getattr(self, what)) not in (float, int, type(None)):
                object.__setattr__(self, what, number(f"the edge {self.name}: {what}", value))

    @property
    def name(self) -> str:
        """``source>target``, with ports."""
        return f"{self.source}>{self.target}"

    @property
    def is_wire(self) -> bool:
        """Whether what it carries arrives as it left: it has neither a gain nor an amount."""
        return self.gain_db is None and self.amount is None


def prototype(kind: str, options: str, ranges: str) -> Processor:
    """An effect for what does not depend on the sample rate: ports and limits."""
    effect: Any = REGISTRY[kind]
    return _prototype(effect, options, ranges)


@lru_cache(maxsize=4096)
def _prototype(effect: type[Processor], options: str, ranges: str) -> Processor:  # a name may be given to another class
    with torch.random.fork_rng(devices=[]):  # the weights of one that has any are not used: no draw moves others
        return make(effect.__name__, json.loads(options), json.loads(ranges), 48_000)


@lru_cache(maxsize=512)
def _parameters(effect: Any) -> tuple[str, ...]:
    found = inspect.signature(effect).parameters.values()
    return tuple(p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))


def options_of(effect: Any) -> tuple[str, ...]:
    """The choices at its construction: what its class takes besides rate, ranges and precision."""
    return tuple(name for name in _parameters(effect) if name not in COMMON)


def make(
    kind: str, options: Mapping[str, Any], ranges: Mapping[str, Any], sample_rate: float, **more: Any
) -> Processor:
    """An effect of a class by name. Raises SettingsError for options that the class does not have."""
    effect: Any = REGISTRY[kind]
    if missing := [name for name in COMMON if name not in _parameters(effect)]:
        raise SettingsError(f"{kind}() takes no {missing[0]}; an effect by name is made with {', '.join(COMMON)}")
    allowed = options_of(effect)
    if unknown := sorted(options.keys() - set(allowed)):
        raise SettingsError(f"{kind} has no option {unknown[0]!r}; it has: {', '.join(allowed) or 'none'}")
    made: Processor = effect(sample_rate, ranges or None, **options, **more)
    return made


def learns(effect: Processor) -> bool:
    """Whether an effect has weights, which no values of knobs say."""
    return next(effect.parameters(), None) is not None


def frozen_options(mapping: Mapping[str, Any]) -> str:
    """Options or ranges as text that can be compared and hashed."""
    try:
        return json.dumps(dict(mapping), sort_keys=True)
    except TypeError as error:
        raise GraphError(f"an option must be plain data: {error}") from None


def _allowed(value: float, limits: Param) -> bool:
    """Inside, or beside an end by no more than float32 rounds; NaN is not."""
    near = any(math.isclose(value, end, rel_tol=1e-6) for end in (limits.low, limits.high))
    return limits.low <= value <= limits.high or near


def no_effect(kind: Any) -> str:
    """That there is no effect of a name, and which ones are called like it."""
    if isinstance(kind, type):
        return f"an effect is called by its name, {kind.__name__!r}, not by its class"
    word = kind if isinstance(kind, str) else ""
    near = sorted(k for k in REGISTRY if k[:3].lower() == word[:3].lower()) or get_close_matches(word[:64], REGISTRY)
    hint = ", ".join(near) or "see diffmix.processors; one of your own is known once its class is declared"
    return f"there is no effect {kind!r} ({hint})"


def _is_name(name: Any) -> bool:
    if not isinstance(name, str) or not name or name != name.strip():
        return False
    return not any(c in ":>\r\n" or "\ud800" <= c <= "\udfff" for c in name)  # no file holds half a character


def number(what: str, value: Any) -> float:
    """A plain number, as files hold it. Raises GraphError for anything else."""
    try:
        if isinstance(value, bool | str):
            raise TypeError
        return value if isinstance(value, int) and abs(value) < 2**53 else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise GraphError(f"{what} is {brief(value)}, a number is expected") from None


def brief(value: Any) -> str:
    """A value as a message shows it."""
    text = "a number of very many digits" if isinstance(value, int) and abs(value) > 2**53 else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
