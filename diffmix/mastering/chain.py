"""The master's chain, and its knobs while they are looked for."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffmix.console import Console
from diffmix.data.knowledge.classes import MASTER_HZ
from diffmix.data.knowledge.mastering import Target
from diffmix.data.knowledge.spectrum import Curve, fit_equaliser, smoothed
from diffmix.descent import Adam
from diffmix.errors import SettingsError
from diffmix.kernels.biquad import frequency_response
from diffmix.kernels.loudness import integrated_loudness
from diffmix.mastering.measured import CENTRES_HZ, Measured, reach
from diffmix.params import Param
from diffmix.processors import ParametricEQ

STAGES: dict[str, dict[str, str]] = {
    "eq": {"eq": "ParametricEQ"},
    "dynamics": {"compressor": "Compressor"},
    "limiter": {"gain": "Gain", "limiter": "BrickwallLimiter"},
}
"""What ``only`` can name, and the effects of the chain that it stands for, in order."""

MOST_DB = 5.0
"""The most that the equaliser changes a band; more is a matter of the mix."""

MOST_REDUCTION_DB = 3.0
"""The most that the compressor takes off the loud parts."""

LIMITED_DB = 4.0
"""What a limiter takes off peaks before it is heard."""


def console_of(rate: int, stages: Sequence[str]) -> Console:
    """A console of one stereo track whose master is the chain of these stages."""
    chain = {name: effect for stage in stages for name, effect in STAGES[stage].items()}
    return Console(rate, strip={"trim": "Gain"}, sends={}, buses={}, master=chain)


def stages_of(only: str | Sequence[str]) -> list[str]:
    """The stages that ``only`` names, in order; all without a name. Raises SettingsError for other names."""
    words = [word.strip().casefold() for word in (only.split(",") if isinstance(only, str) else only)]
    if unknown := [word for word in words if word and word not in STAGES]:
        raise SettingsError(f"{unknown[0]!r} is no stage of a master; there are {', '.join(STAGES)}")
    return [stage for stage in STAGES if stage in words or not any(words)]


class Chain:
    """The knobs of the master while they are looked for, inside of what a person allows."""

    ADAM_STEPS = 120
    SHORTEST_DB = 0.3  # less is not worth a knob

    def __init__(self, console: Console, knobs: Mapping[str, Param]) -> None:
        self.console, self.knobs = console, knobs
        self.settings: dict[str, dict[str, float]] = {}

    def _set(self, stage: str, values: Mapping[str, float]) -> None:
        """Turn knobs to readable numbers inside of their ranges."""
        self.settings[stage] = {name: self.knobs[f"{stage}.{name}"].readable(value) for name, value in values.items()}

    def equalise(self, before: Measured, target: Target, amount: float) -> str:
        """Bring the spectrum towards the target's; returns what was done, and why."""
        rate = self.console.sample_rate
        neutral = {name.removeprefix("eq."): p.default for name, p in self.knobs.items() if name.startswith("eq.")}
        self._set("eq", neutral)
        alone = f"As you wish: {held}" if (held := self._turned()) else "Left alone"
        if target.curve_db is None:
            return f"{alone}: the target is a loudness."
        wanted, weight, away = _wanted(before.spectrum_db, target, rate, amount)
        text = f"{_rms(away, weight):.1f} dB from the spectrum of {target.name}"
        if abs(wanted * (weight > 0.2)).max() < self.SHORTEST_DB:
            return f"{alone}: the mix is {text}, within what is usual." if amount else f"{alone}: the amount is 0."
        self._set("eq", self._fitted(wanted, weight))
        eq = self.console.master["eq"]
        assert isinstance(eq, ParametricEQ)
        response = eq.response_db(torch.from_numpy(CENTRES_HZ).clamp_max(0.49 * rate), self.settings["eq"]).numpy()
        left = away - (response - np.average(response, weights=weight))
        if not (turned := self._turned()):  # the wishes leave it no room
            return f"Left alone, as you wish; the mix is {text}."
        return f"{turned}: the mix was {text}, and is now {_rms(left, weight):.1f} dB."

    def _turned(self) -> str:
        """The equaliser's three strongest bands in words; empty if it does nothing."""
        knobs, eq = self.settings["eq"], self.console.master["eq"]
        assert isinstance(eq, ParametricEQ)
        turned = [(knobs[f"{band}_gain_db"], knobs[f"{band}_cutoff_frequency_hz"]) for band in eq.BANDS]
        most = sorted(turned, key=lambda pair: -abs(pair[0]))[:3]
        return ", ".join(f"{gain_db:+.1f} dB at {_hertz(hz)}" for gain_db, hz in most if abs(gain_db) >= 0.1)

    def _fitted(self, wanted: Curve, weight: Curve) -> dict[str, float]:
        """Six bands near a curve (28,): gains by least squares, then all of it by Adam through the exact response."""
        rate = self.console.sample_rate
        eq = self.console.master["eq"]
        assert isinstance(eq, ParametricEQ)
        kinds = ("cutoff_frequency_hz", "gain_db", "q")
        limits = [[self.knobs[f"eq.{band}_{kind}"] for band in eq.BANDS] for kind in kinds]
        low, high = (
            torch.tensor([[getattr(p, end) for p in row] for row in limits]).double() for end in ("low", "high")
        )
        hz = np.minimum(MASTER_HZ, 0.4 * rate)
        q = np.array([0.7, 0.9, 0.9, 0.9, 0.9, 0.7])
        gain = fit_equaliser(wanted[None], weight[None], hz[None], q[None], rate, MOST_DB)[0]
        near = (
            [hz / 1.7, np.full(6, -MOST_DB), q / 1.7],
            [np.minimum(hz * 1.7, 0.45 * rate), np.full(6, MOST_DB), q * 1.5],
        )
        low, high = (  # no further than this from where it starts, unless a person says so
            torch.minimum(torch.maximum(torch.tensor(np.array(side)), low), high) for side in near
        )
        log = torch.tensor([[True], [False], [True]]).expand(3, 6)
        start = torch.minimum(torch.maximum(torch.tensor(np.array([hz, gain, q])), low), high)
        points = torch.from_numpy(CENTRES_HZ).clamp_max(0.49 * rate)
        curve, counts = torch.from_numpy(wanted), torch.from_numpy(weight / weight.sum())
        knobs = torch.where(log, start.abs().log(), start).requires_grad_()
        adam = Adam([knobs], 0.05)
        ends = [torch.where(log, end.abs().log(), end) for end in (low, high)]
        for _ in range(self.ADAM_STEPS):
            values = torch.where(log, knobs.exp(), knobs)
            named = {f"{b}_{kind}": values[k, n, None] for k, kind in enumerate(kinds) for n, b in enumerate(eq.BANDS)}
            response = 20 * frequency_response(eq.sections(False, **named), points, rate)[0].abs().log10()
            loss = (counts * (response - curve).square()).sum() + 0.005 * knobs[1].square().mean()
            loss.backward()
            adam.step()
            with torch.no_grad():
                knobs.copy_(torch.minimum(torch.maximum(knobs, ends[0]), ends[1]))
        values = torch.where(log, knobs.exp(), knobs).detach()
        return {f"{b}_{kind}": float(values[k, n]) for k, kind in enumerate(kinds) for n, b in enumerate(eq.BANDS)}

    def compress(self, excerpt: Tensor, before: Measured, target: Target, amount: float) -> str:
        """Make the loud parts denser, if they are looser than the target; returns what was done, and why.

        The threshold is where the loudness of the ``excerpt`` (C, n) falls by what is wanted.
        """
        low, high = target.plr_db
        peaks = f"peaks stand {before.plr_db:.1f} dB over loudness"
        usual = f"{target.name or 'the loudness'} asks for {low:.0f} to {high:.0f}"
        over = max(before.plr_db - high, 0.0)
        wide = max(before.range_lu - target.range_lu[1], 0.0)
        reduction = min(0.4 * over + 0.25 * wide, MOST_REDUCTION_DB) * amount
        if target.curve_db is None or before.plr_db <= low:
            reduction = 0.0
        default = {"threshold_db": 0.0, "ratio": 1.0, "attack_ms": 30.0, "release_ms": 300.0}
        if reduction >= self.SHORTEST_DB:
            default["ratio"] = 1.5 + reduction / MOST_REDUCTION_DB
        self._set("compressor", default)
        knobs = self.settings["compressor"]
        squeezes = knobs["ratio"] > 1 and knobs["threshold_db"] < 0
        held = f"As you wish: {knobs['ratio']:.1f}:1 above {knobs['threshold_db']:.0f} dB"
        alone = held if squeezes else "Left alone"
        if target.curve_db is None:
            return f"{alone}: the target is a loudness."
        if reduction < self.SHORTEST_DB:
            already = "already denser" if before.plr_db <= low else "dense enough"
            return f"{alone}: {already}, {peaks}; {usual}." if amount else f"{alone}: the amount is 0."
        if knobs["ratio"] <= 1:
            return f"Left alone, as you wish; {peaks}, {usual}."
        x = excerpt[None]
        if "eq" in self.console.master:
            x = self._through("eq", x, self.settings["eq"])
        rate = self.console.sample_rate
        loudness = float(integrated_loudness(x, rate))
        param = self.knobs["compressor.threshold_db"]
        floor, top = param.low, param.high
        for _ in range(9):
            middle = (floor + top) / 2
            y = self._through("compressor", x, {**knobs, "threshold_db": middle})
            floor, top = (
                (middle, top) if loudness - float(integrated_loudness(y, rate)) > reduction else (floor, middle)
            )
        self._set("compressor", {**knobs, "threshold_db": top})
        y = self._through("compressor", x, self.settings["compressor"])
        taken = loudness - float(integrated_loudness(y, rate))
        why = f"{peaks}, {usual}" if over else f"the loudness range is {before.range_lu:.0f} LU"
        knobs = self.settings["compressor"]
        return (
            f"{knobs['ratio']:.1f}:1 above {knobs['threshold_db']:.0f} dB takes {taken:.1f} dB off the loudest: {why}."
        )

    def limit(self, over_db: float) -> None:
        """Set the limiter's times: quick where peaks are to fall by much, for what is slow then lowers loudness too."""
        quick = over_db > LIMITED_DB
        self._set("limiter", {"release_ms": 30.0, "lookahead_ms": 2.0} if quick else {"release_ms": 100.0})

    def hasten(self) -> bool:
        """Make the limiter as quick as is bearable, for a loudness that it gives no other way; whether it became so."""
        before = self.settings["limiter"]
        self._set("limiter", {"release_ms": 10.0, "lookahead_ms": 1.0})
        return self.settings["limiter"] != before

    def _through(self, stage: str, x: Tensor, values: Mapping[str, float]) -> Tensor:
        with torch.no_grad():
            return self.console.master[stage].process(x, **{name: torch.tensor([v]) for name, v in values.items()})


def _wanted(spectrum_db: Curve, target: Target, rate: float, amount: float) -> tuple[Curve, Curve, Curve]:
    """The equaliser's curve, how much each of its points counts, and how far the target is away, each (28,).

    What lies within half the spread is left; where nothing sounds there is nothing to raise.
    """
    assert target.curve_db is not None
    weight = reach(rate)
    away = target.curve_db - spectrum_db
    for _ in range(2):  # levels aside: of what is there
        away = away - np.average(away, weights=weight * np.clip((25 - away) / 10, 1e-6, 1))
    there = np.clip((25 - away) / 10, 0, 1)
    beyond = np.sign(away) * np.maximum(abs(away) - target.spread_db / 2, 0) * there
    wanted: Curve = np.clip(smoothed(beyond, 0.7) * there, -MOST_DB, MOST_DB) * amount
    return wanted, weight * np.maximum(there, 0.05), away


def _rms(curve: Curve, weight: Curve) -> float:
    return math.sqrt(float(np.average(curve**2, weights=weight)))


def _hertz(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz" if hz >= 1000 else f"{hz:.0f} Hz"
