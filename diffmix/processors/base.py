"""The base of every effect: parameters declared once, a process in physical units, a forward in controls."""

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffmix.kernels.backend import is_twin
from diffmix.kernels.biquad import frequency_response
from diffmix.kernels.iir import sos_cascade
from diffmix.params import Param, ParamSpec
from diffmix.types import Numbers, Ranges

REGISTRY: dict[str, type["Processor"]] = {}
"""Every effect by class name; the contract tests run over it."""

Matrix = list[list[float]]
Plugin = tuple[str, dict[str, float]]


class Processor(nn.Module):
    """A stateless effect.

    A subclass declares each `Param` as a class attribute and takes the same names as keywords of `process`; a
    mismatch is an error at import. ``inlet`` and ``outlet`` are channel counts, None for any and the same.
    ``neutral`` says that the declared defaults leave the signal as it is. ``pedalboard`` says that Pedalboard has
    a plugin of the same name and parameters, whose float32 output this effect reproduces.
    """

    inlet: ClassVar[int | None] = None
    outlet: ClassVar[int | None] = None
    neutral: ClassVar[bool] = False
    pedalboard: ClassVar[bool] = True
    declared: ClassVar[dict[str, Param]] = {}
    keywords_of: ClassVar[str] = "process"

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if abstract:
            return
        family = reversed(cls.__mro__)  # what an abstract base declares, its effects have
        cls.declared = {
            name: value for base in family for name, value in vars(base).items() if isinstance(value, Param)
        }
        method = getattr(cls, cls.keywords_of)
        keywords = [p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
        if keywords != list(cls.declared):
            raise TypeError(
                f"{cls.__name__}.{cls.keywords_of} takes {keywords}, but the class declares {list(cls.declared)}"
            )
        REGISTRY[cls.__name__] = cls

    def __init__(self, sample_rate: float, ranges: Ranges | None = None) -> None:
        """An effect at ``sample_rate`` in Hz, its ranges narrowed by ``ranges`` (name to (low, high)) if given."""
        super().__init__()
        self.sample_rate = float(sample_rate)
        self.spec = ParamSpec(self.declared).narrowed(ranges or {})

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) with physical values, each (B,), to audio (B, C', T)."""
        raise NotImplementedError

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Audio x (B, C, T) with controls u (B, P) in [0, 1], to audio (B, C', T)."""
        return self.process(x, **self.spec.denormalize(u))

    def plugins(self, values: Numbers) -> list[Plugin]:
        """The Pedalboard plugins that sound the same: (class name, constructor arguments), in order."""
        return [(type(self).__name__, dict(values))]

    def matrix(self, values: Numbers) -> Matrix | None:
        """The channel matrix (rows are outputs) of an effect that only mixes channels, else None."""
        return None


class LinearFilter(Processor, abstract=True):
    """An effect that is a cascade of biquad sections; neighbours in a chain run as one cascade."""

    keywords_of: ClassVar[str] = "sections"

    def sections(self, twin: bool, **values: Tensor) -> Tensor:
        """Sections (B, K, 5) float64, each [b0 b1 b2 a1 a2]; ``twin``: with Pedalboard's float32 coefficients."""
        raise NotImplementedError

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) through the sections."""
        return sos_cascade(x, self.sections(is_twin(x), **values))

    def response_db(self, frequency_hz: Tensor, values: Numbers) -> Tensor:
        """Magnitude response in dB (F,) at ``frequency_hz`` (F,)."""
        tensors = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
        sos = self.sections(False, **tensors)
        response = frequency_response(sos, frequency_hz.double(), self.sample_rate)[0]
        return 20 * response.abs().clamp_min(1e-10).log10()
