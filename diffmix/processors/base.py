"""The base of every effect: parameters declared once, a process in physical units, a forward in controls."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from diffmix.errors import AudioError, PresetError, SettingsError
from diffmix.kernels.backend import is_twin
from diffmix.kernels.biquad import frequency_response
from diffmix.kernels.iir import sos_cascade
from diffmix.kernels.stream import State, streaming
from diffmix.params import Exact, Param, ParamSpec
from diffmix.types import Numbers, Ranges, Values

REGISTRY: dict[str, type["Processor"]] = {}
"""Every effect by class name; the contract tests run over it."""

Matrix = list[list[float]]
Plugin = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Port:
    """Where a signal enters or leaves an effect; ``channels`` is None for any number."""

    name: str
    channels: int | None = None
    kind: Literal["audio", "side chain", "control"] = "audio"
    optional: bool = False


class Processor(Exact):
    """An effect; it keeps nothing between calls.

    A subclass declares each `Param` as a class attribute and takes the same names as keywords of `process`; a
    mismatch is an error at import. Effects with many like parameters declare them as a dict of Params named ``bands``
    and take ``**values``.

    ``inlets`` and ``outlets`` are its `Port`s. The first inlet is ``x``; further ones are keywords of `process`, in
    front of the parameters, None by default where optional. With several outlets `process` returns a tuple.

    ``neutral`` says that the declared defaults leave the signal as it is. ``pedalboard`` says that Pedalboard has
    a plugin of the same name and parameters, whose float32 output this effect reproduces; otherwise ``uncarried``
    says in a sentence what Pedalboard cannot express, unless `plugins` or `matrix` can. ``streams`` is False for
    effects that need the whole signal; ``exact_chunks`` for those that chunks round otherwise (by FFT). ``surrogate``
    names the parameters (and "x") whose true gradient is zero or undefined: they get the one their class documents.

    Wherever a subclass is declared, it is known by its name in consoles, graphs and their texts from then on. A
    constructor of its own takes ``sample_rate``, ``ranges`` and ``precision`` and hands them on; what else it takes
    are the options that layouts and graphs may give.
    """

    inlets: ClassVar[tuple[Port, ...]] = (Port("in"),)
    outlets: ClassVar[tuple[Port, ...]] = (Port("out"),)
    neutral: ClassVar[bool] = False
    pedalboard: ClassVar[bool] = True
    uncarried: ClassVar[str] = ""
    streams: ClassVar[bool] = True
    exact_chunks: ClassVar[bool] = True
    surrogate: ClassVar[frozenset[str]] = frozenset()
    declared: ClassVar[dict[str, Param]] = {}
    bands: ClassVar[dict[str, Param]] = {}
    keywords_of: ClassVar[str] = "process"

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "process" in vars(cls):
            cls.process = _prepared(cls.process)  # type: ignore[method-assign]
        if abstract:
            return
        family = reversed(cls.__mro__)  # what an abstract base declares, its effects have
        cls.declared = {
            name: value for base in family for name, value in vars(base).items() if isinstance(value, Param)
        } | cls.bands
        method = getattr(cls, cls.keywords_of)
        parameters = inspect.signature(method).parameters.values()
        keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        expected = [port.name for port in cls.inlets[1:]] + [n for n in cls.declared if n not in cls.bands]
        if keywords != expected:
            raise TypeError(
                f"{cls.__name__}.{cls.keywords_of} takes {keywords}, but the class declares {expected}, "
                "each a keyword, behind a *"
            )
        known = REGISTRY.get(cls.__name__, cls)
        if known.__module__ != cls.__module__ and known.__module__.startswith("diffmix."):
            raise TypeError(f"{cls.__name__} is an effect of {known.__module__}; one of your own needs another name")
        REGISTRY[cls.__name__] = cls

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
    ) -> None:
        """An effect at ``sample_rate`` in Hz, its ranges narrowed by ``ranges`` (name to (low, high)) if given.

        ``precision="float64"`` computes float32 audio in float64: the ideal recursion, not Pedalboard's arithmetic.
        """
        super().__init__()
        if not 0 < sample_rate < float("inf"):
            raise SettingsError(f"sample_rate is {sample_rate:g} Hz, allowed is more than 0 Hz")
        if precision not in ("float32", "float64"):
            raise SettingsError(f"precision is 'float32' or 'float64', got {precision!r}")
        self.sample_rate = float(sample_rate)
        self.precision = precision
        spec = ParamSpec(self.declared)
        self.spec = spec.narrowed(ranges) if ranges else spec

    def process(self, x: Tensor, /, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) with physical values to audio (B, C', T) of the same dtype.

        Each value is (B,), or (1,) for all items, or, if its `Param` is modulatable, a curve (B, F): F points from the
        first sample to the last, joined by straight lines. Values are not compared with their ranges. Half precision
        is computed in float32.

        Raises AudioError for audio of another shape, of whole numbers, or of channels that the inlet does not take,
        SettingsError for values that are missing, unknown, no tensors, or of another shape, and AudioError if what an
        effect of one's own made is no such audio, or lies where its input lay.
        """
        raise NotImplementedError

    def process_chunk(self, x: Tensor, state: State | None, **values: Tensor) -> tuple[Tensor, State]:
        """One chunk x (B, C, T) of a longer signal: ``(y, state for the next chunk)``; the first state is None.

        Chunks of any lengths give the samples of one call of `process`, but for `latency_samples`: what looks ahead
        comes that much later. Curves span their chunk; a parameter that moves in one chunk is a curve in all of them,
        (B, 1) where it stands still. States carry no gradient. Raises AudioError for a state of
        another effect, and for effects that need the whole signal (``streams`` is False).
        """
        if not self.streams:
            raise AudioError(f"{type(self).__name__} needs the whole signal and cannot run in chunks")
        with streaming(state) as tape:
            y = self.process(x, **values)
        if state is not None and len(state) != len(tape.after):
            raise AudioError(f"the state is of another effect: it holds {len(state)} memories, not {len(tape.after)}")
        return y, tuple(tape.after)

    def latency_samples(self, values: Numbers) -> int:
        """How many samples later `process_chunk` is than `process`, which compensates it."""
        return 0

    def forward(self, x: Tensor, u: Tensor, **signals: Tensor) -> Tensor:
        """Audio x (B, C, T) with controls u (B, P) in [0, 1], to audio; ``signals`` are further inlets."""
        return self.process(x, **signals, **self.spec.denormalize(u))

    def plugins(self, values: Numbers) -> list[Plugin]:
        """The Pedalboard plugins that sound the same: (class name, constructor arguments), in order.

        Raises PresetError where Pedalboard cannot express the effect.
        """
        if self.uncarried:
            raise PresetError(f"{type(self).__name__} cannot be carried into Pedalboard: {self.uncarried}")
        return [(type(self).__name__, dict(values))]

    def matrix(self, values: Numbers) -> Matrix | None:
        """The channel matrix (rows are outputs) of an effect that only mixes channels, else None."""
        return None


_HALF = torch.float16, torch.bfloat16


def _prepared(process: Callable[..., Any]) -> Callable[..., Any]:
    """What every `process` does first: it looks at names and shapes, and brings values to the rate and the precision.

    Half precision is too coarse for delays in samples and for levels near silence: it is computed in float32.
    """

    @functools.wraps(process)
    def prepared(self: Processor, x: Tensor, /, **values: Any) -> Any:
        if type(self).process is not prepared:  # called by a subclass's own, which was prepared
            return process(self, x, **values)
        kind = type(self).__name__
        first, *others = self.inlets
        _check_audio(f"{kind}: the audio", x, first)
        for port in others:
            if (signal := values.get(port.name)) is not None:
                _check_audio(f"{kind}: {port.name}", signal, port)
                if signal.shape[0] not in (1, x.shape[0]) or signal.shape[-1] != x.shape[-1]:
                    raise AudioError(
                        f"{kind}: {port.name} is {tuple(signal.shape)}, the audio {tuple(x.shape)}; "
                        "allowed are as many items, or one, and as many samples"
                    )
                values[port.name] = signal if signal.shape[0] == x.shape[0] else signal.expand(x.shape[0], -1, -1)
        for name, p in self.spec:
            if not isinstance(value := values.get(name), Tensor):
                came = "missing" if value is None else repr(value)
                raise SettingsError(f"{kind}.{name} is {came}; a tensor (B,) of {p.range_text()} is expected")
            if value.shape != x.shape[:1]:
                values[name] = value = _fitted(f"{kind}.{name}", value, p, x)
            if value.dtype in _HALF:
                values[name] = value.float()
        if len(values) > self.spec.size:
            known = {*self.spec.params, *(port.name for port in others)}
            if unknown := [name for name in values if name not in known]:
                raise SettingsError(f"{kind}: no parameter {unknown[0]!r}; there are: {', '.join(self.spec.names)}")
        dtype = torch.float64 if self.precision == "float64" else torch.promote_types(x.dtype, torch.float32)
        if x.dtype != dtype:
            values = {
                n: v.to(torch.promote_types(v.dtype, dtype)) if isinstance(v, Tensor) else v for n, v in values.items()
            }
        heard = x.to(dtype)
        version = _version(heard)
        y = process(self, heard, **values)
        if _version(heard) != version:
            raise AudioError(f"{kind} changes the audio it is given, which others hear too; it has to make its own")
        parts = y if isinstance(y, tuple) else (y,)
        if len(parts) != len(self.outlets):
            raise AudioError(f"{kind} gave {len(parts)} signals; it has {len(self.outlets)} outlet(s)")
        for part, port in zip(parts, self.outlets, strict=True):
            _check_made(kind, part, port, x)
        return tuple(part.to(x.dtype) for part in parts) if isinstance(y, tuple) else y.to(x.dtype)

    return prepared


def _check_audio(what: str, x: Tensor, port: Port) -> None:
    """Raise AudioError unless x (B, C, T) is what a port takes."""
    if not isinstance(x, Tensor):
        raise AudioError(f"{what} is {type(x).__name__}; allowed are tensors (B, C, T)")
    if x.ndim != 3 or not x.numel() or not x.is_floating_point():
        raise AudioError(f"{what} is {tuple(x.shape)} {x.dtype}; allowed are floats (B, C, T), at least one of each")
    if port.channels not in (None, x.shape[1]):
        raise AudioError(f"{what} has {x.shape[1]} channels, allowed is {port.channels}")


def _version(x: Tensor) -> int:
    """How often a tensor was written to, as far as that is counted."""
    return 0 if torch.compiler.is_compiling() or x.is_inference() else x._version


def _check_made(kind: str, y: Tensor, port: Port, x: Tensor) -> None:
    """Raise AudioError unless y is what an effect may make of audio x (B, C, T)."""
    if not isinstance(y, Tensor):
        raise AudioError(f"{kind} gave {type(y).__name__}; a tensor (B, C, T) is expected")
    if y.ndim != 3 or y.shape[0] != x.shape[0] or y.shape[-1] != x.shape[-1] or port.channels not in (None, y.shape[1]):
        raise AudioError(
            f"{kind} gave {tuple(y.shape)} of audio {tuple(x.shape)}; expected are "
            f"({x.shape[0]}, {port.channels or 'C'}, {x.shape[-1]})"
        )


def _fitted(what: str, value: Tensor, p: Param, x: Tensor) -> Tensor:
    """A setting (B,), or a curve (B, F) at the sample rate, with one row for each item of x."""
    if value.ndim == 2 and not p.modulatable:
        raise SettingsError(f"{what} takes one value per item, not a curve")
    if value.ndim not in (1, 2) or value.shape[0] not in (1, x.shape[0]) or not value.shape[-1]:
        curves = f", or curves ({x.shape[0]}, F)" if p.modulatable else ""
        raise SettingsError(
            f"{what} is {tuple(value.shape)}; allowed are as many values as items ({x.shape[0]},), or one{curves}"
        )
    moving = curve(value, x.shape[-1]) if value.ndim == 2 else value
    return moving if value.shape[0] == x.shape[0] else moving.expand(x.shape[0], *moving.shape[1:])


def curve(points: Tensor, samples: int) -> Tensor:
    """Control points (B, F), first and last on the first and last sample, to one value per sample (B, T).

    Straight lines between points; F = T is taken as it is, F = 1 is constant.
    """
    count = points.shape[-1]
    if count == samples:
        return points
    at = torch.arange(samples, dtype=torch.float64, device=points.device) * ((count - 1) / max(samples - 1, 1))
    left = at.long().clamp_max(max(count - 2, 0))
    part = at - left
    right = (left + 1).clamp_max(count - 1)
    return (points[:, left] * (1 - part) + points[:, right] * part).to(points.dtype)


class LinearFilter(Processor, abstract=True):
    """An effect that is a cascade of biquad sections; neighbours in a chain run as one cascade."""

    keywords_of: ClassVar[str] = "sections"

    def sections(self, twin: bool, **values: Tensor) -> Tensor:
        """Sections (B, K, 5) float64, each [b0 b1 b2 a1 a2]; ``twin``: with Pedalboard's float32 coefficients."""
        raise NotImplementedError

    def sections_for(self, x: Tensor, values: Values) -> Tensor:
        """The sections that filter x: (B, K, 5), or (B, T, K, 5) where values move."""
        return self.sections(is_twin(x, *values.values()), **values)

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) through the sections."""
        return sos_cascade(x, self.sections_for(x, values))

    def response_db(self, frequency_hz: Tensor, values: Numbers) -> Tensor:
        """Magnitude response in dB (F,) at ``frequency_hz`` (F,)."""
        tensors = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
        sos = self.sections(False, **tensors)
        response = frequency_response(sos, frequency_hz.double(), self.sample_rate)[0]
        return 20 * response.abs().clamp_min(1e-10).log10()
