"""Little pictures inside boxes: what an effect does at its settings, drawn in a square of 1 by 1."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import torch

from diffmix.graph.node import Node, frozen_options, prototype

Point = tuple[float, float]
"""From the lower left corner."""

Stroke = tuple[str, tuple[Point, ...]]
"""``line``, ``axis``, ``fill`` (closed), ``dot`` or ``cap`` (one point each), and where."""

_HZ = torch.logspace(math.log10(20), math.log10(20_000), 43, dtype=torch.float64)
_DB = torch.linspace(-60, 0, 31, dtype=torch.float64)


def glyph(node: Node) -> tuple[Stroke, ...]:
    """The strokes of a node's picture; none for effects that no small picture shows."""
    if not node.params:
        return ()
    return _glyph(node.kind, frozen_options(node.options), tuple(sorted(node.settings.items())))


@lru_cache(maxsize=4096)
def _glyph(kind: str, options: str, settings: tuple[tuple[str, float], ...]) -> tuple[Stroke, ...]:
    values = dict(settings)
    if kind in _BY_KIND:
        return _BY_KIND[kind](values)
    effect = cast(Any, prototype(kind, options, "{}"))
    if hasattr(effect, "response_db"):
        return _response(effect.response_db(_HZ, values).tolist())
    if hasattr(effect, "curve_db"):
        return _transfer(effect.curve_db(_DB, values).tolist())
    return _wave(str(getattr(effect, "shape", "sine"))) if kind == "LFO" else ()


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _response(db: list[float]) -> tuple[Stroke, ...]:
    """Gain over frequency, 20 Hz to 20 kHz; 10 dB up and down, or as far as it reaches, to 24 dB."""
    reach = min(max(9.0, *(abs(v) for v in db)) * 1.1, 24.0)
    curve = [(i / (len(db) - 1), _clip(0.5 + v / (2 * reach))) for i, v in enumerate(db)]
    return _filled(curve, [(1, 0.5), (0, 0.5)], ("axis", ((0, 0.5), (1, 0.5))))


def _transfer(db: list[float]) -> tuple[Stroke, ...]:
    """Level out over level in, -60 to 0 dB."""
    curve = [(i / (len(db) - 1), _clip(1 + v / 60)) for i, v in enumerate(db)]
    return _filled(curve, [(1, 1), (0, 0)], ("axis", ((0, 0), (1, 1))))


def _filled(curve: list[Point], back: list[Point], axis: Stroke) -> tuple[Stroke, ...]:
    return ("fill", (*curve, *back)), axis, ("line", tuple(curve))


def _wave(shape: str) -> tuple[Stroke, ...]:
    """Two cycles."""
    forms: dict[str, Callable[[float], float]] = {
        "sine": lambda c: math.sin(2 * math.pi * c),
        "triangle": lambda c: 1 - 4 * abs((c + 0.25) % 1 - 0.5),
        "saw": lambda c: 2 * ((c + 0.5) % 1) - 1,
        "square": lambda c: 1.0 if c % 1 < 0.5 else -1.0,
    }
    form = forms.get(shape, forms["sine"])
    curve = tuple((i / 80, 0.5 + 0.42 * form(i / 40)) for i in range(80))
    return ("axis", ((0, 0.5), (1, 0.5))), ("line", curve)


def _fader(values: dict[str, float]) -> tuple[Stroke, ...]:
    """A fader laid on its side: -60 dB at its left, +12 dB at its right, finer near 0 dB."""

    def place(db: float) -> float:
        return _clip((db + 60) / 72) ** 2

    ticks = [("axis", ((place(db), 0.25), (place(db), 0.75))) for db in (-60, -40, -20, -10, 0, 12)]
    return ("axis", ((0, 0.5), (1, 0.5))), *ticks, ("cap", ((place(values["gain_db"]), 0.5),))


def _pan(values: dict[str, float]) -> tuple[Stroke, ...]:
    """Left to right, the centre marked; what is heard as a dot."""
    at = 0.5 + 0.5 * values.get("pan", values.get("balance", 0.0))
    ticks = [("axis", ((x, 0.3), (x, 0.7))) for x in (0, 0.5, 1)]
    return ("axis", ((0, 0.5), (1, 0.5))), *ticks, ("line", ((0.5, 0.5), (at, 0.5))), ("dot", ((at, 0.5),))


def _echoes(values: dict[str, float]) -> tuple[Stroke, ...]:
    """The sound itself and its echoes over two seconds."""
    step, feedback = values["delay_seconds"], values["feedback"]
    bars: list[Stroke] = [("axis", ((0, 0), (1, 0))), ("axis", ((0, 0), (0, 1)))]
    for n in range(1, 40):
        if n * step > 2 or feedback ** (n - 1) < 0.03:
            break
        bars.append(("line", ((n * step / 2, 0), (n * step / 2, 0.85 * feedback ** (n - 1)))))
    return tuple(bars)


def _decay(values: dict[str, float]) -> tuple[Stroke, ...]:
    """A sign for reverberation, the same at any setting."""
    tail = [(i / 24, 0.9 * math.exp(-3.2 * i / 24) * (1 - 0.25 * (i % 2))) for i in range(25)]
    return ("axis", ((0, 0), (1, 0))), *(("line", ((x, 0), (x, y))) for x, y in tail)


def _bend(values: dict[str, float]) -> tuple[Stroke, ...]:
    """A sign for distortion, the same at any setting."""
    curve = tuple((i / 40, 0.5 + 0.45 * math.tanh(5 * (i / 20 - 1))) for i in range(41))
    return ("axis", ((0, 0.5), (1, 0.5))), ("line", curve)


def _stairs(values: dict[str, float]) -> tuple[Stroke, ...]:
    """A sign for coarse samples, the same at any setting."""
    steps = [(i / 8 + d, 0.5 + 0.42 * math.sin(2 * math.pi * (i + 0.5) / 8)) for i in range(8) for d in (0, 0.125)]
    return ("axis", ((0, 0.5), (1, 0.5))), ("line", tuple(steps))


def _bands(values: dict[str, float]) -> tuple[Stroke, ...]:
    """Low and high of a crossover of order 4: 1 / (1 + (f/fc)^4) and its complement, 24 dB down."""
    ratios = [(float(hz) / values["cutoff_frequency_hz"]) ** 4 for hz in _HZ]
    found: list[Stroke] = []
    for gains in ([1 / (1 + r) for r in ratios], [r / (1 + r) for r in ratios]):
        heights = [_clip(0.85 + 20 * math.log10(max(g, 1e-6)) / 28) for g in gains]
        found.append(("line", tuple((i / (len(heights) - 1), y) for i, y in enumerate(heights))))
    return ("axis", ((0, 0), (1, 0))), *found


_BY_KIND: dict[str, Callable[[dict[str, float]], tuple[Stroke, ...]]] = {
    "Gain": _fader,
    "Pan": _pan,
    "BalanceWidth": _pan,
    "Delay": _echoes,
    "FilteredDelay": _echoes,
    "PingPongDelay": _echoes,
    "Reverb": _decay,
    "RoomReverb": _decay,
    "NoiseReverb": _decay,
    "FeedbackDelayNetwork": _decay,
    "Convolution": _decay,
    "Distortion": _bend,
    "Clipping": _bend,
    "Waveshaper": _bend,
    "Bitcrush": _stairs,
    "Crossover": _bands,
}
