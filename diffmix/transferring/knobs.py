"""From a treatment's curves to the knobs of effects: the equaliser by damped least squares on its exact response."""

import fnmatch
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from diffmix.estimators.treatment import EQ_HZ, Treatment
from diffmix.estimators.treatment import Knobs as Compression
from diffmix.kernels.biquad import frequency_response
from diffmix.params import Param, split_name
from diffmix.processors import HighpassFilter, ParametricEQ

CHAIN: Mapping[str, str] = {
    "highpass": "HighpassFilter",
    "eq": "ParametricEQ",
    "compressor": "Compressor",
    "saturation": "Distortion",
    "imager": "Imager",
    "reverb": "Reverb",
    "gain": "Gain",
    "limiter": "BrickwallLimiter",
}
"""The effects that can act, in order; all of them export."""

ASPECTS: Mapping[str, tuple[str, ...]] = {
    "tone": ("highpass", "eq"),
    "dynamics": ("compressor",),
    "drive": ("saturation",),
    "width": ("imager",),
    "space": ("reverb",),
    "loudness": ("gain", "limiter"),
}
"""What ``amount`` and ``only`` can name, and its effects."""

ACTING: Mapping[str, str] = {
    "highpass": "cutoff_frequency_hz",
    "eq": "*gain_db",
    "compressor": "ratio",
    "saturation": "drive_db",
    "imager": "width",
    "reverb": "wet_level",
}
"""The knobs by which effects act: where they are held where they do least, there is nothing to be had of the rest."""

NEUTRAL: Mapping[str, Mapping[str, float]] = {
    "highpass": {"cutoff_frequency_hz": 10.0},
    "saturation": {"drive_db": -24.0},
    "reverb": {"wet_level": 0.0, "dry_level": 0.5},
}
"""Where knobs do least, of effects whose defaults do something."""

LEAST_DB = 0.3
"""Changes below this are left out."""

LEAST_WIDTH_DB, LEAST_DRIVE_DB, LEAST_SPACE_DB = 0.5, 1.0, 3.0
REVERB_UNITY = 0.75
"""Freeverb's wet level at which the tail of noise is about as loud as the noise."""

SPACE_FLOOR_DB = -30.0
STARTS_HZ = (
    (90.0, 160.0, 450.0, 1400.0, 3600.0, 7500.0),
    (200.0, 90.0, 300.0, 900.0, 2600.0, 5000.0),
    (80.0, 300.0, 1000.0, 2600.0, 6000.0, 9500.0),
    (300.0, 500.0, 1500.0, 1900.0, 2500.0, 4500.0),
)
STARTS_Q = (0.70710678, 0.7, 0.7, 0.7, 0.7, 0.70710678)
STEPS = 30
RIDGE_DB = 0.02
"""Weight of the bands' own gains beside the error, so that they do not work against each other."""

Knobs = dict[str, dict[str, float]]
"""Readable values by stage and name."""


class Fitted(NamedTuple):
    """Knobs by stage; ``offset_db`` is the part of the curve that is level, ``error_db`` what is left (rms)."""

    knobs: Knobs
    offset_db: float = 0.0
    error_db: float = 0.0


def knobs_of(
    treatment: Treatment,
    sample_rate: float,
    params: Mapping[str, Param],
    without: Collection[str] = (),
) -> Fitted:
    """The knobs of the effects that a treatment of one recording needs, inside of the ranges of ``params``.

    ``params`` are those of the chain by ``stage.knob``. Stages that would do nothing are left out, and so are those in
    ``without``.
    """
    fitted = _tone(treatment.eq_db.double(), sample_rate, params, "highpass" not in without)
    knobs = dict(fitted.knobs)
    found = treatment.compressor()
    if float(treatment.reduction_db.max()) >= LEAST_DB and float(found.ratio) > 1.02:
        knobs["compressor"] = {name: float(value) for name, value in found._asdict().items()}
    width_db, drive_db, space_db = treatment.extras.tolist()
    if drive_db >= LEAST_DRIVE_DB:
        knobs["saturation"] = {"drive_db": drive_db}
    if abs(width_db) >= LEAST_WIDTH_DB:
        knobs["imager"] = {"width": 10 ** (width_db / 20)}
    if space_db >= LEAST_SPACE_DB:
        wet = REVERB_UNITY * 10 ** ((SPACE_FLOOR_DB + space_db) / 20)
        knobs["reverb"] = {"room_size": 0.5, "damping": 0.5, "wet_level": wet, "dry_level": 0.5, "width": 1.0}
    ordered = {stage: inside(knobs[stage], stage, params) for stage in CHAIN if stage in knobs and stage not in without}
    return fitted._replace(knobs=ordered)


def treatment_of(knobs: Mapping[str, Mapping[str, float]], sample_rate: float, over_db: float = 0.0) -> Treatment:
    """What knobs of the chain do, the inverse of `knobs_of`; of a room only its level is told.

    ``over_db`` is how much more than -12 dBFS the recording peaks at that the knobs are read for.
    """
    hz = torch.tensor(EQ_HZ, dtype=torch.float64).clamp_max(0.45 * sample_rate)
    response = torch.zeros(len(hz), dtype=torch.float64)
    for stage, effect in (("highpass", HighpassFilter), ("eq", ParametricEQ)):
        if stage in knobs:
            response += effect(sample_rate).response_db(hz, knobs[stage])
    held = {"ratio": 1.0, "threshold_db": 0.0, "attack_ms": 25.0, "release_ms": 250.0, **knobs.get("compressor", {})}
    held["threshold_db"] -= over_db
    compressor = Compression(*(torch.tensor(held[name]) for name in Compression._fields))
    drive_db = max(0.0, knobs["saturation"]["drive_db"] + over_db) if "saturation" in knobs else 0.0
    wet = knobs["reverb"]["wet_level"] / REVERB_UNITY if "reverb" in knobs else 0.0
    width = knobs["imager"]["width"] if "imager" in knobs else 1.0
    width_db, space_db = 20 * math.log10(max(width, 0.01)), 20 * math.log10(max(wet, 1e-9)) - SPACE_FLOOR_DB
    return Treatment.of(response.float(), compressor, torch.tensor([width_db, drive_db, max(0.0, space_db)]))


def equaliser_for(curve_db: Tensor, sample_rate: float) -> dict[str, float]:
    """The settings of a `ParametricEQ` nearest to a response (40,) in dB at `EQ_HZ`, levels aside."""
    params = {f"eq.{name}": param for name, param in ParametricEQ(sample_rate).spec.params.items()}
    found = _tone(curve_db, sample_rate, params).knobs
    return found["eq"] if found else {name.removeprefix("eq."): param.default for name, param in params.items()}


def inside(values: Mapping[str, float], stage: str, params: Mapping[str, Param]) -> dict[str, float]:
    """Values of a stage as readable numbers inside of their ranges."""
    return {name: params[f"{stage}.{name}"].readable(v) for name, v in values.items()}


def neutral(params: Mapping[str, Param]) -> dict[str, float]:
    """Where the knobs of the chain, by ``stage.knob``, do least."""
    parts = {name: split_name(name) for name in params}
    return {name: NEUTRAL.get(stage, {}).get(knob, params[name].default) for name, (stage, knob) in parts.items()}


def idle(limits: Mapping[str, tuple[float, float]], least: Mapping[str, float]) -> set[str]:
    """The stages that limits, by ``stage.knob``, hold where they do ``least``."""
    held = {name for name, (low, high) in limits.items() if low == high == least[name]}
    acting = {stage: fnmatch.filter(least, f"{stage}.{knobs}") for stage, knobs in ACTING.items()}
    return {stage for stage, knobs in acting.items() if held.issuperset(knobs)}


def _tone(curve_db: Tensor, sample_rate: float, params: Mapping[str, Param], highpass: bool = False) -> Fitted:
    counts = (torch.tensor(EQ_HZ, dtype=torch.float64) <= 0.48 * sample_rate).double()
    level = float((counts * curve_db).sum() / counts.sum().clamp_min(1e-9))
    if float(((curve_db - level).abs() * counts).max()) < LEAST_DB:
        return Fitted({}, level, 0.0)
    best = _fit(curve_db, counts, sample_rate, params, False)
    fall = float(curve_db[:4].mean() - curve_db[10:14].mean())  # 30..50 Hz beside 140..220 Hz
    if fall < -3 and highpass:
        cut = _fit(curve_db, counts, sample_rate, params, True)
        if cut.error_db < best.error_db - 0.2:
            return cut
    return best


def _fit(curve_db: Tensor, counts: Tensor, sample_rate: float, params: Mapping[str, Param], highpass: bool) -> Fitted:
    """Levenberg and Marquardt's method from several starts at once.

    The unknowns z go from 0 to 1 along each knob's range; derivatives are differences of the exact response.
    """
    eq = ParametricEQ(sample_rate)
    names = [f"{band}_{kind}" for band in eq.BANDS for kind in ("cutoff_frequency_hz", "gain_db", "q")]
    ranges = [params[f"eq.{name}"] for name in names]
    if highpass:
        ranges = [*ranges, params["highpass.cutoff_frequency_hz"]]
    log = torch.tensor([p.scale == "log" for p in ranges])
    ends = [[min(getattr(p, end), 0.45 * sample_rate) if p.unit == "Hz" else getattr(p, end) for p in ranges]
            for end in ("low", "high")]  # fmt: skip
    low, high = (torch.tensor(end, dtype=torch.float64) for end in ends)
    low, high = torch.where(log, low.abs().log(), low), torch.where(log, high.abs().log(), high)
    hz = torch.tensor(EQ_HZ, dtype=torch.float64).clamp_max(0.49 * sample_rate)
    root = (counts / counts.sum()).sqrt()
    gains = torch.tensor([p.unit == "dB" for p in ranges])
    size = len(ranges)

    def response(values: Tensor) -> Tensor:
        """Decibels (N, 40) of knobs (N, size)."""
        plain = torch.where(log, values.exp(), values)
        sections = eq.sections(False, **{name: plain[:, k] for k, name in enumerate(names)})
        if highpass:
            more = HighpassFilter(sample_rate).sections(False, cutoff_frequency_hz=plain[:, -1])
            sections = torch.cat([sections, more], 1)
        return 20 * frequency_response(sections, hz, sample_rate).abs().clamp_min(1e-6).log10()

    def residuals(values: Tensor) -> tuple[Tensor, Tensor]:
        """Errors (N, 40 + size) without what is level, and the level (N,)."""
        off = response(values) - curve_db
        level = (off * root.square()).sum(-1, keepdim=True)
        ridge = torch.where(gains, values, 0.0) * math.sqrt(RIDGE_DB / size)
        return torch.cat([(off - level) * root, ridge], -1), level[:, 0]

    values = _starts(curve_db, names, sample_rate, size).clamp(low, high)
    free = (high - low) > 1e-9
    step = torch.where(free, (high - low) * 1e-4, 0.0)
    nudges = torch.diag(step)
    damping = torch.full((len(values), 1, 1), 1e-2, dtype=torch.float64)
    error, _ = residuals(values)
    for _ in range(STEPS):
        moved = (values[:, None] + nudges).flatten(0, 1)
        slope = (residuals(moved)[0].unflatten(0, (len(values), size)) - error[:, None]) / step.clamp_min(1e-12)[
            :, None
        ]
        slope = slope * (step[:, None] > 0) * (high - low)[:, None]  # per whole range
        normal = slope @ slope.mT
        right = (slope @ error[..., None])[..., 0]
        damped = normal + damping * (torch.diag_embed(normal.diagonal(dim1=-2, dim2=-1)) + 1e-6 * torch.eye(size))
        move = torch.linalg.solve(damped.double(), right)
        tried = torch.minimum(torch.maximum(values - move * (high - low), low), high)
        after, _ = residuals(tried)
        better = after.square().sum(-1) < error.square().sum(-1)
        values = torch.where(better[:, None], tried, values)
        error = torch.where(better[:, None], after, error)
        damping = torch.where(better[:, None, None], damping * 0.4, damping * 4).clamp(1e-6, 1e4)
    best = int(error.square().sum(-1).argmin())
    plain = torch.where(log, values.exp(), values)[best].tolist()
    final, level = residuals(values[best : best + 1])
    knobs = {"eq": dict(zip(names, plain, strict=False))}
    if highpass:
        knobs["highpass"] = {"cutoff_frequency_hz": plain[-1]}
    return Fitted(knobs, -float(level), float(final[0, : len(hz)].norm()))


def _starts(curve_db: Tensor, names: list[str], sample_rate: float, size: int) -> Tensor:
    """Where to begin, (4, size): bands in usual places, with the curve's values there."""
    rows = []
    for hz in STARTS_HZ:
        row = []
        for k, (f, q) in enumerate(zip(hz, STARTS_Q, strict=True)):
            f = min(f, 0.4 * sample_rate)
            at = int(min(max(round(math.log(f / EQ_HZ[0]) / math.log(EQ_HZ[1] / EQ_HZ[0])), 0), len(EQ_HZ) - 1))
            gain = float(curve_db[at] - curve_db.median())
            row += [math.log(f), gain if k in (0, 5) else 0.5 * gain, math.log(q)]
        rows.append(row + [math.log(30.0)] * (size - len(names)))
    return torch.tensor(rows, dtype=torch.float64)
