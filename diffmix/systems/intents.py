"""Intents as control vectors: what a network answers, and what it is taught."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffmix.console import Console
from diffmix.data.knowledge import THIRD_OCTAVES_HZ
from diffmix.intent import Intent
from diffmix.kernels.biquad import frequency_response
from diffmix.params import Param, ParamSpec
from diffmix.processors import Compressor, HighpassFilter, KneeCompressor, ParametricEQ, Processor, Reverb
from diffmix.settings import Settings, shortest

LOUDNESS = "loudness_lu"
QUIETEST_LU = -40.0

KINDS: dict[str, tuple[type[Processor], ...]] = {
    "highpass": (HighpassFilter,),
    "eq": (ParametricEQ,),
    "compressor": (Compressor, KneeCompressor),
    "reverb": (Reverb,),
}
"""Which effects take the settings of a stage that an engineer names; what stands behind them has a name of its own."""


def on_console(console: Console, settings: Settings) -> Settings:
    """Settings for ``conf/console/automix.yaml`` on a console of any layout.

    Each stage's go to the first effect of its class, as far as that has such knobs and inside their ranges; the send
    goes to the bus with a reverb. What the console lacks is left out, what it has beyond stays at its defaults.
    """
    wet = [bus for bus, stages in console.buses.items() if any(isinstance(e, Reverb) for e in stages.values())]
    send = next((send for send, bus in console.layout["sends"].items() if bus in wet), None)

    def chain(stages: Mapping[str, Processor], wanted: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for role, knobs in wanted.items():
            names = [n for n, effect in stages.items() if isinstance(effect, KINDS[role])] if role in KINDS else [role]
            for name in names[:1]:
                if name in stages:
                    found[name] = _inside(stages[name], knobs)
        return found

    strip = {**console.strip, "fader": console.fader, "pan": console.pan, "image": console.image}
    tracks = {}
    for track, wanted in settings["tracks"].items():
        tracks[track] = chain(strip, {role: knobs for role, knobs in wanted.items() if role != "send"})
        if send is not None and "send" in wanted:
            tracks[track][send] = _inside(console.sends[send], wanted["send"])
    bus = settings.get("buses", {}).get("reverb", {})
    buses = {wet[0]: chain(console.buses[wet[0]], bus)} if wet else {}
    return Settings(tracks=tracks, buses=buses, master=chain(console.master, settings.get("master", {})))


def _inside(effect: Processor, knobs: Mapping[str, float]) -> dict[str, float]:
    params = effect.spec.params
    return {knob: params[knob].nearest(v) for knob, v in knobs.items() if knob in params}


class Vectors(NamedTuple):
    """An intent in [0, 1]: tracks (..., N, P), buses (..., Q), master (..., R)."""

    tracks: Tensor
    bus: Tensor
    master: Tensor


class IntentCode:
    """What an intent for a console holds, as control vectors.

    Of tracks: every knob of the strip but trim and fader, in whose place stands ``loudness_lu``, and the pan as its
    distance from the centre, 0..1, since sides are free. Of buses and groups: every knob; of the master: all but its
    gain and what stands behind that.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        params = {name: p for name, p in console.track_spec if name not in ("trim.gain_db", "fader.gain_db")}
        if "pan.pan" in params:
            params["pan.pan"] = Param(0, 1, 0.1, "", doc="distance from the centre")
        params[LOUDNESS] = Param(QUIETEST_LU, 0, -12, "LU", doc="loudness in the mix relative to the sum")
        stages = list(console.master)
        early = stages[: stages.index("gain")] if "gain" in stages else stages
        master = {name: p for name, p in console.master_spec if name.split(".")[0] in early}
        self.specs = {"tracks": ParamSpec(params), "bus": console.bus_spec, "master": ParamSpec(master)}
        self.equalisers = {
            "tracks": _equaliser(console.strip),
            "master": _equaliser({name: console.master[name] for name in early}),
        }

    @property
    def amount(self) -> int:
        """Column of the pan's amount in the vector of a track."""
        return self.specs["tracks"].index("pan.pan")

    @property
    def loudness(self) -> int:
        """Column of the loudness in the vector of a track."""
        return self.specs["tracks"].index(LOUDNESS)

    def encode(self, intent: Intent, names: Sequence[str]) -> Vectors:
        """The vectors of an intent for ``conf/console/automix.yaml``, tracks in the order of ``names``.

        What the intent leaves out is at its default.
        """
        settings = on_console(self.console, intent.settings)
        spec = self.specs["tracks"]
        rows = []
        for name in names:
            values = _values(spec, settings["tracks"].get(name, {}))
            values["pan.pan"] = abs(values["pan.pan"])
            values[LOUDNESS] = min(max(intent.loudness_lu[name], QUIETEST_LU), 0.0)
            rows.append(spec.normalize(values))
        buses = {f"{bus}.{stage}": knobs for bus, part in settings["buses"].items() for stage, knobs in part.items()}
        return Vectors(
            torch.stack(rows),
            self.specs["bus"].normalize(_values(self.specs["bus"], buses)),
            self.specs["master"].normalize(_values(self.specs["master"], settings["master"])),
        )

    def overlaid(self, own: Vectors, intent: Intent, names: Sequence[str]) -> Vectors:
        """Vectors with what an intent for ``conf/console/automix.yaml`` sets in place of their own."""
        settings, wanted = on_console(self.console, intent.settings), self.encode(intent, names)
        given = {path for path, _ in settings.flat()}

        def named(spec: ParamSpec, *where: str) -> list[bool]:
            return [(*where, *knob.split(".")) in given for knob in spec.names]

        masks = (
            [named(self.specs["tracks"], "tracks", name) for name in names],
            named(self.specs["bus"], "buses"),
            named(self.specs["master"], "master"),
        )
        parts = zip(masks, wanted, own, strict=True)
        return Vectors(*(torch.where(torch.tensor(mask, dtype=torch.bool), w, o) for mask, w, o in parts))

    def decode(self, vectors: Vectors, names: Sequence[str], channels: Sequence[int], sides: Tensor) -> Intent:
        """The intent of vectors (N, P), (Q,), (R,) for this console; ``sides`` (N,), -1 or 1, tells left from right."""
        spec = self.specs["tracks"]
        tracks, loudness = {}, {}
        for n, (name, width) in enumerate(zip(names, channels, strict=True)):
            knobs = _numbers(spec, vectors.tracks[n])
            loudness[name] = knobs.pop(LOUDNESS)
            knobs["pan.pan"] *= float(sides[n])
            unused = "pan." if width == 2 else "image."
            tracks[name] = _nested({knob: v for knob, v in knobs.items() if not knob.startswith(unused)})
        buses: dict[str, dict[str, Any]] = {}
        for name, value in _numbers(self.specs["bus"], vectors.bus).items():
            bus, stage, knob = name.split(".", 2)
            buses.setdefault(bus, {}).setdefault(stage, {})[knob] = value
        master = _nested(_numbers(self.specs["master"], vectors.master))
        return Intent(Settings(tracks=tracks, buses=buses, master=master), loudness)

    def response_db(self, part: str, u: Tensor) -> Tensor | None:
        """What the equaliser of tracks or of the master does at `THIRD_OCTAVES_HZ`, (..., 28) in dB; None without one.

        ``u`` (..., P) as in `Vectors`; differentiable.
        """
        found = self.equalisers.get(part)
        if found is None:
            return None
        stage, effect = found
        values = self.specs[part].denormalize(u.double())
        own = {name: values[f"{stage}.{name}"].flatten() for name in effect.spec.names}
        hz = torch.tensor(THIRD_OCTAVES_HZ, dtype=torch.float64, device=u.device)
        hz = hz.clamp_max(0.45 * self.console.sample_rate)
        response = frequency_response(effect.sections(False, **own), hz, self.console.sample_rate)
        return (20 * response.abs().clamp_min(1e-6).log10()).view(*u.shape[:-1], -1).to(u.dtype)

    def distance_db(self, part: str, own: Tensor, wanted: Tensor, shift_db: Tensor | float = 0.0) -> Tensor | None:
        """Mean distance (...) of `response_db` of one vector to that of another plus ``shift_db`` (..., 28), in dB.

        Differentiable in the first; no curve is asked to pass 12 dB. None without an equaliser.
        """
        mine = self.response_db(part, own)
        with torch.no_grad():
            theirs = self.response_db(part, wanted)
        return None if mine is None or theirs is None else (mine - (theirs + shift_db).clamp(-12, 12)).abs().mean(-1)

    def is_equaliser(self, part: str) -> Tensor:
        """Which columns of a part's vector (P,) `response_db` hears."""
        found = self.equalisers.get(part)
        return torch.tensor([found is not None and n.startswith(f"{found[0]}.") for n in self.specs[part].names])


def _equaliser(stages: Mapping[str, Processor]) -> tuple[str, ParametricEQ] | None:
    return next(((name, effect) for name, effect in stages.items() if isinstance(effect, ParametricEQ)), None)


def _numbers(spec: ParamSpec, u: Tensor) -> dict[str, float]:
    """Physical values by dotted name of controls (P,), short enough to read and exact in float32."""
    return dict(zip(spec.names, map(shortest, spec.physical(u.detach().cpu()).tolist()), strict=True))


def _values(spec: ParamSpec, settings: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Every knob of a spec by its dotted name, where it is set, else its default."""
    given = {f"{stage}.{knob}": v for stage, knobs in settings.items() for knob, v in knobs.items()}
    return {name: given.get(name, p.default) for name, p in spec}


def _nested(knobs: Mapping[str, float]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in knobs.items():
        stage, _, knob = name.partition(".")
        found.setdefault(stage, {})[knob] = value
    return found
