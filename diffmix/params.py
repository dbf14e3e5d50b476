"""A parameter is declared once; its normalised form, its limits, its text and its checks derive from that."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from diffmix.errors import SettingsError
from diffmix.kernels._operator import unwatched
from diffmix.settings import shortest
from diffmix.types import Numbers, Ranges


@dataclass(frozen=True, slots=True)
class Param:
    """One knob: its range in physical units and how it maps to [0, 1].

    ``scale="lin"`` maps u to low + (high - low) u; ``scale="log"`` to low (high / low)^u, for Hz, ms, ratios and Q.
    ``low == high`` is a locked knob. ``modulatable`` marks a knob that may follow a control signal.
    """

    low: float
    high: float
    default: float
    unit: str
    scale: Literal["lin", "log"] = "lin"
    doc: str = ""
    modulatable: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high:
            raise SettingsError(f"default {self.default:g} lies outside {self.range_text()}")
        if self.scale == "log" and self.low <= 0:
            raise SettingsError(f"a log scale needs a range above 0, got {self.range_text()}")

    def __deepcopy__(self, _: object) -> "Param":
        return self  # nothing can change it, and models are copied with thousands

    def range_text(self) -> str:
        """The range as a person writes it, for example ``-60..0 dB``."""
        return f"{self.low:g}..{self.high:g} {self.unit}".rstrip()

    def nearest(self, value: float) -> float:
        """The value, or the end of the range that it has passed."""
        return min(max(value, self.low), self.high)

    def readable(self, value: float) -> float:
        """The value as a person would set it, by three significant digits, inside the range."""
        return shortest(self.nearest(float(f"{value:.3g}")))

    def narrowed(self, low: float, high: float, default: float | None = None) -> "Param":
        """The same knob with a range inside this one; the default, if not given, moves to the nearest allowed value."""
        if not self.low <= low <= high <= self.high:
            raise SettingsError(f"{low:g}..{high:g} is not inside {self.range_text()}")
        return replace(
            self, low=low, high=high, default=min(max(self.default, low), high) if default is None else default
        )


class Exact(nn.Module):
    """A module whose buffers keep their precision: a model that is cast to another rounds its weights, not these."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, constant in before.items():
            moved = self._buffers[name]
            if constant is not None and moved is not None and moved.dtype != constant.dtype:
                self._buffers[name] = constant.to(moved.device)
        return self


class ParamSpec(Exact):
    """Ordered parameters: the bridge between a control vector u in [0, 1]^P and named physical values.

    The mapping is computed in float64 and rounded once, so that u = 0 and u = 1 give the declared limits exactly.
    """

    low: Tensor
    high: Tensor
    log: Tensor

    def __init__(self, params: Mapping[str, Param]) -> None:
        super().__init__()
        self.params = dict(params)
        self.rows: tuple[ParamSpec, ...] = ()
        column = [(p.low, p.high, p.scale == "log") for p in params.values()]
        low, high, log = zip(*column, strict=True) if column else ((), (), ())
        # float32 buffers, as every value that reaches a processor is float32
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32), persistent=False)
        self.register_buffer("log", torch.tensor(log, dtype=torch.bool), persistent=False)

    @classmethod
    def stacked(cls, rows: "Sequence[ParamSpec]") -> "ParamSpec":
        """Specs of the same parameters in other ranges as one, for controls (..., rows, P)."""
        spec = cls(rows[0].params)
        spec.rows = tuple(rows)
        spec.low, spec.high = (torch.stack([getattr(row, end) for row in rows]) for end in ("low", "high"))
        return spec

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return len(self.params)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the control vector."""
        return tuple(self.params)

    def __iter__(self) -> Iterator[tuple[str, Param]]:
        return iter(self.params.items())

    def index(self, name: str) -> int:
        """Column of a name in the control vector."""
        return self.names.index(name)

    def physical(self, u: Tensor) -> Tensor:
        """Controls (..., P) in [0, 1] to physical values (..., P) of the same dtype, float32 for half precision.

        Raises SettingsError for another number of controls, for what is no tensor, and for values in a CPU's memory
        that are NaN or further outside [0, 1] than a step may lead, a quarter: most effects mean nothing there.
        """
        came = tuple(u.shape) if isinstance(u, Tensor) else f"no tensor but {type(u).__name__}"
        if came[-1:] != (self.size,):
            raise SettingsError(f"controls are {came}, allowed are (..., {self.size}), one per parameter")
        if not torch.compiler.is_compiling() and u.is_cpu and u.numel() and unwatched((u.detach(),)):
            least, most = (float(end) for end in torch.aminmax(u.detach()))
            if not -0.25 <= least <= most <= 1.25:
                raise SettingsError(
                    f"controls are {least:g} to {most:g}, allowed are 0 to 1, to which a sigmoid brings any numbers"
                )
        low, high = self.low.double(), self.high.double()
        v = u.double()
        linear = low + (high - low) * v
        safe_low = torch.where(self.log, low, 1.0)
        ratio = torch.where(self.log, high, 1.0) / safe_low
        return torch.where(self.log, safe_low * torch.exp(v * torch.log(ratio)), linear).to(
            torch.promote_types(u.dtype, torch.float32)
        )

    def denormalize(self, u: Tensor) -> dict[str, Tensor]:
        """Controls (..., P) in [0, 1] to physical values by name, each (...)."""
        return dict(zip(self.names, self.physical(u).unbind(-1), strict=True))

    def normalize(self, values: Mapping[str, Tensor | float]) -> Tensor:
        """Physical values by name, each (...) or a number, to controls (..., P); a locked knob reads 0.5."""
        if not self.params:
            return torch.zeros(0, device=self.low.device)
        columns = torch.broadcast_tensors(*(torch.as_tensor(values[n], device=self.low.device) for n in self.names))
        v = torch.stack([c.double() for c in columns], -1)
        low, high = self.low.double(), self.high.double()
        locked = low == high
        linear = (v - low) / torch.where(locked, 1.0, high - low)
        safe_low = torch.where(self.log, low, 1.0)
        span = torch.log(torch.where(self.log, high, math.e) / safe_low)
        log = torch.log(torch.where(self.log, v, 1.0) / safe_low) / torch.where(locked, 1.0, span)
        return torch.where(locked, 0.5, torch.where(self.log, log, linear)).float()

    def default(self) -> Tensor:
        """Controls (P,) of the declared defaults; (rows, P) if `stacked`."""
        if self.rows:
            return torch.stack([row.default() for row in self.rows])
        return self.normalize({name: p.default for name, p in self})

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Controls (n, P), uniform in [0, 1]."""
        return torch.rand(n, self.size, generator=generator, device=generator.device)

    def narrowed(self, ranges: Ranges) -> "ParamSpec":
        """The same parameters, some with a narrower (low, high) or (low, high, default); equal limits lock a knob.

        Raises SettingsError for an unknown name or a range that is not inside the declared one.
        """
        params = dict(self.params)
        for name, limits in ranges.items():
            if name not in params:
                raise SettingsError(f"no parameter {name!r}; there are: {', '.join(self.names)}")
            try:
                params[name] = params[name].narrowed(*limits)
            except TypeError:
                raise SettingsError(f"{name}: {limits!r} is no range, which is (low, high)") from None
            except SettingsError as error:
                raise SettingsError(f"{name}: {error}") from None
        return ParamSpec(params)

    def check(self, values: Numbers, where: str = "") -> dict[str, float]:
        """The values in order, after checking that each name is known, present, finite and inside its range.

        Raises SettingsError naming the parameter, what came and what is allowed in its unit.
        """
        prefix = f"{where}: " if where else ""
        for name in values:
            if name not in self.params:
                stage = split_name(name)[0]
                known = [n for n in self.names if split_name(n)[0] == stage] or self.names
                raise SettingsError(f"{prefix}no parameter {name!r}; there are: {', '.join(known)}")
        found = {}
        for (name, p), low, high in zip(self, self.low.tolist(), self.high.tolist(), strict=True):
            if name not in values:
                raise SettingsError(f"{prefix}{name} is missing ({p.range_text()})")
            try:
                found[name] = value = number(f"{prefix}{name}", values[name])
                # also catches NaN; limits as float32, as the values are, or as they were declared
                if not low <= value <= high and value not in (p.low, p.high):
                    came = f"{value:g} {p.unit}".rstrip()
                    raise SettingsError(f"{prefix}{name} = {came}, allowed {p.range_text()}")
            except SettingsError as error:
                error.of(name, values[name], (p.low, p.high))
                raise
        return found

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain data, for checkpoints and documents."""
        return {name: asdict(p) for name, p in self}

    def differences(self, other: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """What differs from a stored ``to_dict()``: one line per parameter that is missing, added or remapped."""
        lines = [f"{n}: only in the stored one" for n in other if n not in self.params]
        for name, p in self:
            if name not in other:
                lines.append(f"{name}: only in this one")
                continue
            for key in ("low", "high", "scale", "unit"):
                mine, theirs = getattr(p, key), other[name].get(key)
                if mine != theirs:
                    lines.append(f"{name}: {key} is {mine}, stored {theirs}")
        if not lines and list(other) != list(self.names):
            lines.append("the order of the parameters differs")
        return lines

    def extra_repr(self) -> str:
        """One line per parameter."""
        return "\n".join(f"{n}: {p.range_text()}, default {p.default:g}, {p.scale}" for n, p in self)


def number(what: str, value: Any) -> float:
    """A value as a number. Raises SettingsError for what is none, texts and truth values included."""
    try:
        if not isinstance(value, str | bool):
            return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several
        pass
    raise SettingsError(f"{what} is {value!r}, a number is expected")


def within(what: str, value: Any, low: float, high: float, unit: str = "", whole: bool = False) -> float:
    """A value as a number in low..high. Raises SettingsError with its name and unit; ``whole`` refuses parts."""
    found = number(what, value)
    if whole and math.isfinite(found) and found % 1:
        raise SettingsError(f"{what} is {found:g}, a whole number is expected")
    if not low <= found <= high:
        of = f" {unit}".rstrip()
        raise SettingsError(f"{what} is {found:g}{of}, allowed {low:g}..{high:g}{of}")
    return found


def joined(parts: Mapping[str, ParamSpec]) -> ParamSpec:
    """Several specs as one, each name prefixed with its part's: ``eq.peak1_gain_db``."""
    return ParamSpec({f"{part}.{name}": p for part, spec in parts.items() for name, p in spec})


def split_name(name: str) -> tuple[str, str]:
    """``"eq.peak1_gain_db"`` to ``("eq", "peak1_gain_db")``."""
    part, _, rest = name.partition(".")
    return part, rest
