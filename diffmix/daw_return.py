"""What was turned in a DAW, as settings again: the way back of `diffmix.daw`, whichever effects a console has.

How a knob shows in a project is found by turning it: whatever value of the channel follows it is its own.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from diffmix.daw import Desk, Stages
from diffmix.errors import PresetError
from diffmix.export.dawproject import Channel, plain, read
from diffmix.params import ParamSpec
from diffmix.settings import Settings, shortest
from diffmix.types import Path

if TYPE_CHECKING:
    from diffmix.mix import Mix

CLOSED_DB = -60.0
"""A send at this level or below is closed: a console's knob ends there, a DAW's at nothing."""

Place = tuple[Any, ...]
Values = dict[Place, float]
"""What a channel is set to, by place: a fader, a pan, a send, a device's knob, what shapes a band."""


class Returned(NamedTuple):
    """Settings as a project has them, the tracks that are not heard in it, and what did not come back, in sentences."""

    settings: Settings
    muted: tuple[str, ...]
    notes: tuple[str, ...]


def returned(mix: "Mix", file: Path) -> Returned:
    """The settings of a mix with what its project, ``file``, was turned to since it was written.

    Tracks, groups and buses are known by their names. What the project does not hold stays as it is in the mix, and so
    does, to the last digit, what was not turned. A device that is gone or off leaves its knobs neutral. Raises
    PresetError.
    """
    there: dict[str, Channel] = {}
    for channel in read(file):
        name = "master" if channel.role == "master" else channel.name
        if name in there:
            raise PresetError(f"{file} has two channels called {name!r}; names tell which is which")
        there[name] = channel
    desk = Desk(mix)
    settings, notes = Settings(deepcopy(mix.settings)), []
    for strip in desk.strips:
        name = plain(strip.name) if strip.part != "master" else "master"
        if name not in there:
            raise PresetError(f"{file} has no channel called {name!r}; there are: {', '.join(there) or 'none'}")
        part: Any = settings.setdefault(strip.part, {})
        known, stages = desk.settings[strip.part], part.setdefault(strip.key, {}) if strip.key else part
        turned, lost = _turned(strip.made, known[strip.key] if strip.key else known, strip.spec, there[name])
        for (stage, knob), value in turned.items():
            stages.setdefault(stage, {})[knob] = value
        notes += [f"{strip.name}: {text}." for text in lost]
    for name in desk.printed:
        here = there.get(plain(name))
        if here and (abs(here.fader_db) > 0.01 or here.muted or here.devices):
            notes.append(f"{name}: stays as it was, for it is only in the project; the sends are what it comes from.")
    own = {plain(channel.name) for channel in desk.channels} | {"master"}
    if others := [name for name in there if name not in own]:
        notes.append(f"Not in the mix, and left out: {', '.join(others)}.")
    return Returned(settings, tuple(_muted(mix, desk, there)), tuple(notes))


def _muted(mix: "Mix", desk: Desk, there: Mapping[str, Channel]) -> Iterator[str]:
    """The tracks that are not heard, by mutes and solos of their own and of their groups."""
    parts = {
        plain(strip.name) for strip in desk.strips if strip.part != "master" and strip.key not in mix.console.buses
    }
    chosen = {name for name in parts if there[name].solo}
    for track in mix.multitrack.tracks:
        group = mix.console.group_of(track.name)
        ways = {plain(track.name), *([plain(desk.names[group])] if group else [])}
        if any(there[name].muted for name in ways) or (chosen and not ways & chosen):
            yield track.name


def _turned(
    made: Callable[[Stages], Channel], stages: Stages, spec: ParamSpec, found: Channel
) -> tuple[dict[tuple[str, str], float], list[str]]:
    """The knobs (stage, knob) of a strip that are to be turned so that its channel is as it was ``found``; what is
    left."""
    written = made(stages)
    wanted, gone, notes = _differences(written, found)
    moves = _moves(made, stages, spec, _values(written)) if wanted or gone else {}
    turned = {moves[place]: spec.params[".".join(moves[place])].default for place in gone if place in moves}
    now = _with(stages, turned)
    for place, value in wanted.items():
        if place not in moves:
            notes.append(f"{_in_words(place)} has no knob in the mix, and stays as it was")
            continue
        knob = moves[place]
        param = spec.params[".".join(knob)]

        turned[knob], reached = _solved(partial(_shown, made, now, knob, place), param.low, param.high, value)
        now = _with(now, {knob: turned[knob]})
        if not reached and not (place[0] == "send" and value <= CLOSED_DB):
            notes.append(f"{_in_words(place)} is further than {'.'.join(knob)} goes, which is at its end")
    return turned, notes


def _shown(made: Callable[[Stages], Channel], stages: Stages, knob: tuple[str, str], place: Place, at: float) -> float:
    """The value in one place when a knob is turned to ``at``."""
    return _values(made(_with(stages, {knob: at})))[place]


def _with(stages: Stages, turned: Mapping[tuple[str, str], float]) -> Stages:
    found = {stage: dict(knobs) for stage, knobs in stages.items()}
    for (stage, knob), value in turned.items():
        found[stage][knob] = value
    return found


def _moves(
    made: Callable[[Stages], Channel], stages: Stages, spec: ParamSpec, base: Values
) -> dict[Place, tuple[str, str]]:
    """Which knob each value follows, of several the last; by turning every knob a little."""
    found: dict[Place, tuple[str, str]] = {}
    for stage, knobs in stages.items():
        for knob, value in knobs.items():
            param = spec.params[f"{stage}.{knob}"]
            little = (0.01 if value < (param.low + param.high) / 2 else -0.01) * (param.high - param.low)
            values = _values(made(_with(stages, {(stage, knob): value + little})))
            if values.keys() == base.keys():
                found |= {place: (stage, knob) for place in base if values[place] != base[place]}
    return found


def _solved(shown: Callable[[float], float], low: float, high: float, wanted: float) -> tuple[float, bool]:
    """Where a knob shows as ``wanted``, and whether it does: else the end of its range that comes nearer."""
    if low <= wanted <= high and math.isclose(shown(wanted), wanted, rel_tol=1e-9):
        return shortest(wanted), True
    rising = shown(high) > shown(low)
    least, most = (shown(low), shown(high)) if rising else (shown(high), shown(low))
    if not least <= wanted <= most:
        near = low if (wanted < least) == rising else high
        return near, _alike(shown(near), wanted)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (shown(middle) < wanted) == rising else (low, middle)
    return shortest((low + high) / 2), True


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)


def _values(channel: Channel) -> Values:
    found: Values = {("fader",): channel.fader_db, ("pan",): channel.pan}
    found |= {("send", plain(bus)): level_db for bus, level_db in channel.sends.items()}
    for n, device in enumerate(channel.devices):
        knobs = {"InputGain": 0.0, "OutputGain": 0.0, **device.knobs}
        found |= {("device", n, device.kind, knob): float(value) for knob, value in knobs.items()}
        for k, band in enumerate(device.bands):
            found |= {
                ("device", n, device.kind, f"{band.kind} {k + 1}", what): value
                for what, value in (("frequency", band.freq_hz), ("gain", band.gain_db), ("Q", band.q))
                if value is not None
            }
    return found


def _differences(written: Channel, found: Channel) -> tuple[Values, set[Place], list[str]]:
    """What is other than it was written, the places of what is gone, and what was added, in words."""
    before, wanted, gone, notes = _values(written), {}, set(), []
    now: Values = {("fader",): found.fader_db, ("pan",): found.pan}
    now |= {("send", plain(bus)): level_db for bus, level_db in found.sends.items() if bus in written.sends}
    left = [*found.devices]
    for n, device in enumerate(written.devices):
        same = next((other for other in left if other.kind == device.kind), None)
        if same is None:
            gone |= {place for place in before if place[:2] == ("device", n)}
            notes.append(f"its {device.kind} is gone or off, and neutral here")
            continue
        left.remove(same)
        for knob in {*device.knobs, "InputGain", "OutputGain"} - {"AutoMakeup"}:
            place = ("device", n, device.kind, knob)
            now[place] = float(same.knobs.get(knob, 0.0 if knob.endswith("Gain") else before[place]))
        bands = [*same.bands]
        for k, band in enumerate(device.bands):
            there = next((other for other in bands if other.kind == band.kind), None)
            place = ("device", n, device.kind, f"{band.kind} {k + 1}")
            if there is None:
                gone |= {known for known in before if known[:4] == place}
                continue
            bands.remove(there)
            now[*place, "frequency"], now[*place, "Q"] = there.freq_hz, there.q
            if band.gain_db is not None:
                now[*place, "gain"] = there.gain_db or 0.0
        notes += [
            f"a {b.kind} band at {b.freq_hz:.0f} Hz was added, which the mix has not" for b in bands if b.gain_db != 0
        ]
    notes += [f"a device was added, {device.kind}, which the mix has not" for device in left]
    wanted = {place: value for place, value in now.items() if not _alike(value, before[place])}
    return wanted, gone, notes


def _in_words(place: Place) -> str:
    return "its " + " ".join(str(part) for part in place if part != "device" and not isinstance(part, int))
