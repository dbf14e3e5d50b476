"""What a person wants of a mix: knobs that stay, knobs kept in a range, which kinds of knob may be touched.

A wish reads ``SELECTOR.KNOB=VALUE``. A selector is a track's name, a pattern of names, a role (``kick``,
``lead_vocal``), a family of roles (``drums``, ``vocals``), a bus, a group or the ``master``. A knob is a friendly name
(`FRIENDLY`) or a full one, ``eq.peak1_gain_db``, also with wildcards.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from diffmix.console import Console, fits
from diffmix.data.multitrack import Multitrack
from diffmix.data.roles import roles_called
from diffmix.errors import SettingsError
from diffmix.params import Param, ParamSpec, number, split_name
from diffmix.settings import Settings, shortest

FRIENDLY: dict[str, tuple[str, ...]] = {
    "gain": ("fader.gain_db", "gain.gain_db"),
    "pan": ("pan.pan", "image.balance"),
    "width": ("image.width",),
    "eq": ("eq.*gain_db",),
    "highpass": ("highpass.cutoff_frequency_hz",),
    "comp": ("compressor.ratio",),
    "send": ("{send}.gain_db",),
}
"""The knobs that a short name turns; ``gain`` of a track is its fader, ``send`` the level to every bus."""

SYNONYMS = {
    "fader": "gain", "volume": "gain", "level": "gain", "balance": "pan", "equaliser": "eq", "equalizer": "eq",
    "compressor": "comp", "compression": "comp", "ratio": "comp", "reverb": "send", "sends": "send", "hpf": "highpass",
    "lowcut": "highpass",
}  # fmt: skip

STAGES: dict[str, tuple[str, ...]] = {
    "gain": ("trim", "fader"),
    "pan": ("pan", "image.balance"),
    "width": ("image.width",),
    "eq": ("highpass", "eq"),
    "highpass": ("highpass",),
    "comp": ("compressor",),
    "send": ("{send}",),
}
"""What ``only`` leaves free under each name: stages, or single knobs of them."""

_RANGE = re.compile(r"^(.+?)\s*(?:\.\.|…)\s*(.+)$|^([-+−]?[\d.]+)\s*:\s*([-+−]?[\d.]+)$")
_RATIO = re.compile(r"^(?!1(\.0*)?:)[1-9][\d.]*:1$")  # 4:1, but not 1:1, which is a range
_UNIT = re.compile(r"\s*(?:db|khz|hz|%|:1)$", re.IGNORECASE)


@dataclass(frozen=True)
class Wishes:
    """Knobs by name and the range each has to keep to, and the stages that may be touched at all (None: every one)."""

    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)  # the words that set each limit
    only: tuple[str, ...] | None = None

    @classmethod
    def read(
        cls,
        console: Console,
        multitrack: Multitrack,
        lock: Sequence[str] | Mapping[str, Any] = (),
        bound: Sequence[str] | Mapping[str, Any] = (),
        only: str | Sequence[str] = (),
    ) -> "Wishes":
        """Wishes from words: ``lock=["vox.pan=0", "master.eq"]``, ``bound=["drums.gain=±2"]``, ``only="gain,pan"``.

        A lock without a value holds the knob where it changes nothing. Raises SettingsError, in one sentence, for
        wishes that name nothing, cannot be had, or contradict each other.
        """
        knobs = _Knobs(console, multitrack)
        locked = _locked(knobs, lock)
        limits, said = _bounded(knobs, bound)
        for name, (at, text) in locked.items():
            low, high = limits.get(name, (at, at))
            if not low <= at <= high:
                outside = f"the lock {text!r} is outside of the bound {said[name]!r}; change one of them"
                raise SettingsError(outside).of(name, at, (low, high))
            limits[name], said[name] = (at, at), text
        return cls(limits, said, _only(console, only))

    def __bool__(self) -> bool:
        """Whether anything is wished."""
        return bool(self.limits) or self.only is not None

    @property
    def told(self) -> dict[str, tuple[float, float, str]]:
        """Each limit, (low, high), with the words that set it, by the name of its knob."""
        return {name: (low, high, self.said[name]) for name, (low, high) in self.limits.items()}

    def remapped(self, console: Console, settings: Settings) -> Settings:
        """Settings inside of the limits, except for faders, which follow from loudness: see `projected`.

        Each knob's whole range is mapped to the narrower one, so that nothing is cut off: what is neutral stays so
        where it is allowed, and on both sides of it the order of values is kept.
        """
        full = console.check(settings)
        for strip, stages, spec in _strips(console, full):
            for stage, knobs in stages.items():
                for knob in knobs:
                    name = f"{stage}.{knob}"
                    param = spec.params[name]
                    if not self.frees(stage, knob, strip in full["buses"]):
                        knobs[knob] = shortest(param.default)
                    limit = self.limits.get(f"{strip}.{name}")
                    if limit and name != "fader.gain_db":
                        knobs[knob] = shortest(_between(param, *limit, knobs[knob]))
        for name, stages in full["tracks"].items():
            for place in {"pan", "image"} - settings["tracks"][name].keys():  # of which a track has one
                if not any(knob.startswith(f"{name}.{place}.") for knob in self.limits):  # a silent one may have none
                    del stages[place]
        return full

    def frees(self, stage: str, knob: str, of_bus: bool = False) -> bool:
        """Whether ``only`` lets a knob be touched; levels may be, and buses are heard by sends."""
        if self.only is None or of_bus or stage in ("trim", "fader", "gain", "limiter"):
            return True
        return stage in self.only or f"{stage}.{knob}" in self.only

    def projected(self, console: Console, settings: Settings) -> Settings:
        """Settings whose faders keep to the limits: all are shifted by what violates them least, then brought inside.

        The balance is kept as far as the limits let it; the shift is made up for by the master's gain.
        """
        knob = console.fader.spec.params["gain_db"]
        tracks = settings["tracks"]
        faders = {name: stages["fader"]["gain_db"] for name, stages in tracks.items()}
        if self.only is not None and "fader" not in self.only:  # leave the levels as they were recorded
            faders = {name: -stages.get("trim", {}).get("gain_db", 0.0) for name, stages in tracks.items()}
        ranges = {name: self.limits.get(f"{name}.fader.gain_db", (knob.low, knob.high)) for name in tracks}
        shift = _shift([(faders[n], *ranges[n]) for n in tracks])
        for name in tracks:
            low, high = ranges[name]
            tracks[name]["fader"] = {"gain_db": shortest(min(max(faders[name] + shift, low), high))}
        return settings


def of_master(wishes: Any) -> Any:
    """Wishes about a chain that is the console's master: its knobs may be named with or without saying so."""

    def named(knob: str) -> str:
        return knob if knob.partition("=")[0].strip() == "master" or knob.startswith("master.") else f"master.{knob}"

    if isinstance(wishes, Mapping):
        return {named(knob): value for knob, value in wishes.items()}
    return [named(text) for text in _texts(wishes)]


def _texts(wishes: str | Sequence[str]) -> Sequence[str]:
    """Wishes as a list; one may come alone. Raises SettingsError for what is no text."""
    texts = [wishes] if isinstance(wishes, str) else list(wishes) if isinstance(wishes, Iterable) else [wishes]
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise SettingsError(f"a wish is a text, as 'vox.pan=0', 'drums.gain=±2' or 'eq'; got {odd[0]!r}")
    return texts


class _Knobs:
    """Knobs by the names that people use."""

    def __init__(self, console: Console, multitrack: Multitrack) -> None:
        self.console = console
        self.tracks = {t.name: (t.role or "", t.audio.shape[0]) for t in multitrack.tracks}
        self.others = console.strip_specs

    def told(self, text: str) -> tuple[str, str]:
        """``KNOB=VALUE`` as its parts, without a value an empty one; a track's name may hold the sign itself."""
        knob, sign, value = text.rpartition("=")
        owner = next((name for name in self.tracks if f"{text}.".casefold().startswith(f"{name}.".casefold())), "")
        return (knob.strip(), value.strip()) if sign and len(knob) > len(owner) else (text.strip(), "")

    def found(self, text: str, where: str) -> dict[str, Param]:
        """The knobs that ``SELECTOR.KNOB`` means, by full name. Raises SettingsError."""
        dots = [*(n for n, letter in enumerate(text) if letter == "."), len(text)]
        selected: list[str] = []
        for dot in reversed(dots):  # a track's name may hold dots itself
            if selected := self.selected(text[:dot]):
                found = {
                    f"{strip}.{name}": param
                    for strip in selected
                    for name, param in self._of(strip, text[dot + 1 :]).items()
                }
                if found:
                    return found
        if selected:
            raise SettingsError(f"{where}: there is no such knob; {self.words(selected[0])}")
        raise SettingsError(f"{where}: no track or strip is called {text[: dots[0]]!r}; {self.known}")

    @property
    def known(self) -> str:
        """What can be selected, in a sentence."""
        roles = sorted({role for role, _ in self.tracks.values() if role})
        names = list(self.tracks)
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        of_roles = f"; roles: {', '.join(roles)}" if roles else ""
        return f"tracks: {shown}{of_roles}; others: {', '.join(self.others)}"

    def words(self, strip: str) -> str:
        """What the knobs of a strip can be called, in a sentence: by friendly names, by stages, in full."""
        friendly = [word for word in FRIENDLY if self._of(strip, word)]
        every = list(self._of(strip, "*"))
        if not every:
            return f"{strip} has none"
        stages = dict.fromkeys(split_name(name)[0] for name in every)
        others = [stage for stage in stages if not {stage, SYNONYMS.get(stage)} & {*friendly, "image"}]
        return f"say {', '.join([*friendly, *others])} or a full name, {every[0]}"

    def selected(self, text: str) -> list[str]:
        """The strips that a selector means."""
        wanted = text.strip().casefold()
        strips = [*self.tracks, *self.others]
        if exact := [name for name in strips if name.casefold() == wanted]:
            return exact
        if matched := [name for name in self.tracks if fits(name.casefold(), wanted)]:
            return matched
        roles = roles_called(wanted)
        return [name for name, (role, _) in self.tracks.items() if role in roles]

    def _of(self, strip: str, knob: str) -> dict[str, Param]:
        spec = self.others.get(strip, self.console.track_spec)
        plain = knob.strip().casefold()
        word = SYNONYMS.get(plain, plain)
        if word != plain and not self._matching(spec, word):  # a stage of that name
            word = plain
        found = self._matching(spec, word)
        if not word:  # all of a strip's effects; its level stays free
            level = ("fader", "gain", "limiter", *self.console.sends)
            found = {n: p for n, p in found.items() if split_name(n)[0] not in level}
        if strip in self.tracks:
            other = "image." if self.tracks[strip][1] == 1 else "pan."
            found = {n: p for n, p in found.items() if not n.startswith((other, "trim."))}
            if word == "gain":
                found = {n: p for n, p in found.items() if n == "fader.gain_db"}
        return found

    def _matching(self, spec: ParamSpec, word: str) -> dict[str, Param]:
        patterns = ["*"]
        if word in FRIENDLY:
            patterns = [p.format(send=s) for p in FRIENDLY[word] for s in (list(self.console.sends) or ["send"])]
        elif word:
            patterns = [word, f"{word}.*", f"*.{word}"]
        return {n: p for n, p in spec if any(fnmatchcase(n.casefold(), pattern) for pattern in patterns)}


def _locked(knobs: _Knobs, lock: Sequence[str] | Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    """Where each locked knob stays, and the words that lock it."""
    locked: dict[str, tuple[float, str]] = {}
    for text in [f"{knob}={value}" for knob, value in lock.items()] if isinstance(lock, Mapping) else _texts(lock):
        where, value = knobs.told(text)
        wanted = _number(value, f"lock {text!r}") if value else None
        for name, param in knobs.found(where, f"lock {text!r}").items():
            at = param.default if wanted is None else wanted
            _inside(name, param, at, at, f"lock {text!r}")
            other, words = locked.get(name, (at, text))
            if not math.isclose(other, at):
                raise SettingsError(
                    f"two locks want {name} at {other:g} and at {at:g}: {words!r} and {text!r}; keep one"
                ).of(name, at, (other, other))
            locked[name] = at, text
    return locked


def _bounded(
    knobs: _Knobs, bound: Sequence[str] | Mapping[str, Any]
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """The range that each bounded knob keeps to, which is what all its bounds allow, and the words of the last."""
    limits: dict[str, tuple[float, float]] = {}
    said: dict[str, str] = {}
    for text, (low, high) in _bounds(bound):
        for name, param in knobs.found(text.rpartition("=")[0].strip(), f"bound {text!r}").items():
            _inside(name, param, low, high, f"bound {text!r}")
            before = limits.get(name, (low, high))
            limits[name] = max(low, before[0]), min(high, before[1])
            if limits[name][0] > limits[name][1]:
                nothing = f"the bounds {said[name]!r} and {text!r} leave {name} no value"
                raise SettingsError(nothing).of(name, (low, high), before)
            said[name] = text
    return limits, said


def _strips(console: Console, settings: Settings) -> list[tuple[str, dict[str, dict[str, float]], ParamSpec]]:
    parts = [(name, stages, console.track_spec) for name, stages in settings["tracks"].items()]
    parts += [(name, stages, console.strip_specs[name]) for name, stages in settings["buses"].items()]
    return [*parts, ("master", settings["master"], console.master_spec)]


def _number(text: str, where: str) -> float:
    words = {"off": -60.0, "l": -1.0, "left": -1.0, "c": 0.0, "centre": 0.0, "center": 0.0, "r": 1.0, "right": 1.0}
    found = text.strip().casefold().replace("−", "-")
    if side := re.fullmatch(r"([lr])\s*(\d+)", found):  # as reports say it
        found = f"{'-' if side[1] == 'l' else ''}{side[2]}%"
    parts = re.fullmatch(r"(.*?)\s*(db|khz|hz|%|:1)?", found, re.DOTALL)
    number, unit = parts.groups("") if parts else (found, "")
    try:
        return words[number] if number in words else float(number) * {"%": 0.01, "khz": 1000.0}.get(unit, 1.0)
    except ValueError:
        raise SettingsError(f"{where}: {text.strip()!r} is no value; a number is expected, e.g. vox.pan=0") from None


def _ends(knob: str, value: Any) -> tuple[float, float]:
    """The ends of a range that came as numbers: two, or one for both."""
    ends = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(ends) != 2:
        raise SettingsError(f"bound {knob!r}: {value!r} is no range, which is (low, high)")
    low, high = (number(f"bound {knob!r}", end) for end in ends)
    return low, high


def _bounds(given: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Each bound with its words: ``KNOB=LOW..HIGH``, ``KNOB=±REACH`` or ``KNOB=VALUE``."""
    if isinstance(given, Mapping):
        for knob, value in given.items():
            if isinstance(value, str):
                yield from _bounds([f"{knob}={value}"])
            else:
                low, high = _ends(knob, value)
                yield f"{knob}={low:g}..{high:g}", (low, high)
        return
    for text in _texts(given):
        knob, _, value = text.rpartition("=")
        where = f"bound {text!r}"
        value = value.strip()
        if reach := re.match(r"^(±|\+-|\+/-)\s*(.*)$", value):
            high = _number(reach[2], where)
            yield text, (-abs(high), abs(high))
        elif (found := _RANGE.match(value)) and not _RATIO.match(value):
            low, high = filter(None, found.groups())
            if (unit := _UNIT.search(high)) and re.fullmatch(r"[-+−\d.]+", low):  # said once, it is meant of both
                low += unit[0]
            yield text, (_number(low, where), _number(high, where))
        elif knob and value:
            yield text, (_number(value, where),) * 2
        else:
            raise SettingsError(f"{where}: KNOB=LOW..HIGH or KNOB=±REACH is expected, e.g. drums.gain=±2")


def _inside(name: str, param: Param, low: float, high: float, where: str) -> None:
    about = name, low if low == high else (low, high), (param.low, param.high)
    if low > high:
        raise SettingsError(f"{where}: {low:g} is more than {high:g}; the lower value comes first").of(*about)
    if not param.low <= low <= high <= param.high:
        raise SettingsError(f"{where}: {name} has the range {param.range_text()}").of(*about)


def _only(console: Console, given: str | Sequence[str]) -> tuple[str, ...] | None:
    """The stages and knobs that ``only`` leaves free, None without it."""
    words = [word.strip().casefold() for text in _texts(given) for word in text.split(",")]
    found: list[str] = []
    for word in filter(None, words):
        name = SYNONYMS.get(word, word)
        if name in STAGES:
            found += [stage.format(send=send) for stage in STAGES[name] for send in (list(console.sends) or ["send"])]
        elif word in console.strip:
            found.append(word)
        else:
            raise SettingsError(f"only {word!r}: there are {', '.join(dict.fromkeys([*STAGES, *console.strip]))}")
    return tuple(found) if any(words) else None


def _between(param: Param, low: float, high: float, value: float) -> float:
    """A value of a knob's whole range as one of the range from ``low`` to ``high``, by mapping the one to the other."""
    shape = math.log if param.scale == "log" else float
    middle = min(max(param.default, low), high)
    if value >= param.default:
        whole, part = (param.default, param.high), (middle, high)
    else:
        whole, part = (param.low, param.default), (low, middle)
    first, last = shape(whole[0]), shape(whole[1])
    share = (shape(value) - first) / (last - first) if last > first else 0.0
    begin, end = shape(part[0]), shape(part[1])
    at = begin + (end - begin) * share
    return min(max(math.exp(at) if param.scale == "log" else at, low), high)


def _shift(faders: Sequence[tuple[float, float, float]]) -> float:
    """The shift of all faders (value, low, high) with the least squares of what is outside; the smallest such one."""

    def pull(shift: float) -> float:
        return sum(max(0.0, f + shift - high) - max(0.0, low - f - shift) for f, low, high in faders)

    start = pull(0.0)
    if abs(start) < 1e-9:
        return 0.0
    near, far = 0.0, -200.0 if start > 0 else 200.0
    for _ in range(60):
        middle = (near + far) / 2
        if pull(middle) * start > 1e-9:
            near = middle
        else:
            far = middle
    return far
