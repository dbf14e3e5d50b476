"""Effects that are made, not declared: a plugin's file, a trained network, a function, under a name for graphs."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.keeping import kept
from diffmix.kernels.stream import State
from diffmix.processors.base import REGISTRY, Matrix, Plugin, Processor
from diffmix.types import Numbers, Ranges

_TRIED_AT = 48_000.0  # Hz, as graphs do to know an effect's knobs


class Named(Processor, abstract=True):
    """An effect that another one plays; made by `named`."""

    made: Callable[[float], Processor]

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
    ) -> None:
        """As `Processor`. All of one sample rate share the effect that plays, which keeps nothing between calls."""
        super().__init__(sample_rate, precision=precision)
        self.effect = type(self).made(self.sample_rate)
        self.sample_rate = self.effect.sample_rate  # of a trained effect, its own: graphs of another rate refuse it
        self.spec = self.effect.spec.narrowed(ranges) if ranges else self.effect.spec
        self.streams = self.effect.streams  # type: ignore[misc]
        self.exact_chunks = self.effect.exact_chunks  # type: ignore[misc]

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T); values as the effect takes them."""
        return self.effect.process(x, **values)

    def process_chunk(self, x: Tensor, state: State | None, **values: Tensor) -> tuple[Tensor, State]:
        """As the effect's."""
        return self.effect.process_chunk(x, state, **values)

    def latency_samples(self, values: Numbers) -> int:
        """The effect's."""
        return self.effect.latency_samples(values)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """The effect's; raises PresetError as it does."""
        return self.effect.plugins(values)

    def matrix(self, values: Numbers) -> Matrix | None:
        """The effect's."""
        return self.effect.matrix(values)


def named(name: str, make: Callable[[float], Processor]) -> type[Processor]:
    """Give an effect a name by which graphs and consoles know it, as they know those of this package.

    >>> named("Plate", lambda sample_rate: plugin("MVerb.vst3", sample_rate))
    >>> Graph.from_text("vox: in > Plate(mix=0.4) > out")
    >>> Console(44100, buses={"reverb": {"plate": "Plate"}})

    Args:
        name: a word of letters and digits. One that was given before now means the new effect.
        make: makes the effect for a sample rate in Hz. Its parameters are the same at all rates, but for their ranges;
            it has one outlet and needs one inlet; others, such as a side chain, are not there under this name.

    Returns the class, whose instances are that effect. What ``make`` raises is passed on; raises SettingsError for
    another kind of name, what makes no effect, an effect of several ways in or out, and one whose parameters have dots
    in their names, as a chain's have.
    """
    if not (name.isidentifier() and name.isascii()):
        raise SettingsError(f"{name!r} cannot be the name of an effect: allowed are letters, digits and _")
    if name in REGISTRY and not issubclass(REGISTRY[name], Named):
        raise SettingsError(f"{name} is an effect of {REGISTRY[name].__module__}; one of your own needs another name")
    if isinstance(make, Processor):
        raise SettingsError(f"{name}: what makes the effect is expected, lambda sample_rate: effect; got the effect")
    shared = kept(None)(make)
    effect = shared(_TRIED_AT)
    if not isinstance(effect, Processor):
        raise SettingsError(f"{name}: an effect is expected to be made, got {type(effect).__name__}")
    if len(effect.outlets) > 1 or not all(port.optional for port in effect.inlets[1:]):
        raise SettingsError(
            f"{name}: a {type(effect).__name__} has more than one inlet or outlet; one of each is needed"
        )
    if dotted := [knob for knob in effect.spec.names if "." in knob]:
        raise SettingsError(f"{name}: a parameter is called {dotted[0]}; names without dots are needed")
    body: dict[str, Any] = {
        "__doc__": f"{type(effect).__name__} under the name {name}.",
        "__module__": getattr(make, "__module__", "__main__"),
        "made": staticmethod(shared),
        "bands": dict(effect.spec.params),
        "inlets": effect.inlets[:1],
        "outlets": effect.outlets,
        "neutral": False,
        "pedalboard": False,
        "surrogate": effect.surrogate,
    }
    found: type[Processor] = type(name, (Named,), body)
    return found
