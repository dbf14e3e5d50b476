"""Effects in series and in parallel."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from diffmix.errors import AudioError, SettingsError
from diffmix.kernels import stream
from diffmix.kernels.ballistics import delayed
from diffmix.kernels.iir import sos_cascade
from diffmix.params import joined, split_name
from diffmix.processors.base import LinearFilter, Plugin, Processor
from diffmix.types import Numbers

T = TypeVar("T")


def by_stage(values: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """``{"eq.peak1_q": 1}`` to ``{"eq": {"peak1_q": 1}}``."""
    grouped: dict[str, dict[str, T]] = {}
    for name, value in values.items():
        stage, rest = split_name(name)
        grouped.setdefault(stage, {})[rest] = value
    return grouped


class _Named(Processor, abstract=True):
    """Effects by name; parameters are named ``stage.parameter``."""

    def __init__(self, **stages: Processor) -> None:
        if not stages:
            raise SettingsError(f"a {type(self).__name__} needs at least one effect")
        for name, stage in stages.items():
            if len(stage.outlets) > 1 or any(not port.optional for port in stage.inlets[1:]):
                raise SettingsError(
                    f"{name} is a {type(stage).__name__} with more than one inlet or outlet; in a "
                    f"{type(self).__name__} an effect has one of each"
                )
        rates = {stage.sample_rate for stage in stages.values()}
        if len(rates) > 1:
            raise SettingsError(f"effects of one {type(self).__name__} run at one sample rate, got {sorted(rates)} Hz")
        super().__init__(rates.pop())
        for name, stage in stages.items():
            if "." in name or hasattr(self, name):
                raise SettingsError(f"{name!r} cannot be the name of an effect: it has a dot or a meaning of its own")
            self.add_module(name, stage)
        self.stages = stages
        self.spec = joined({name: stage.spec for name, stage in stages.items()})
        self.streams = all(stage.streams for stage in stages.values())  # type: ignore[misc]
        self.exact_chunks = all(stage.exact_chunks for stage in stages.values())  # type: ignore[misc]


class Chain(_Named, abstract=True):
    """Named effects in series: ``Chain(eq=ParametricEQ(44100), comp=Compressor(44100))``.

    Its parameters are named ``stage.parameter``. Neighbouring filters and gains run as one cascade, in one pass over
    the audio, which changes no sample.
    """

    def __init__(self, **stages: Processor) -> None:
        super().__init__(**stages)
        channels = None
        for name, stage in stages.items():
            (takes, *_), (gives,) = stage.inlets, stage.outlets
            if None not in (channels, takes.channels) and channels != takes.channels:
                raise SettingsError(f"{name} takes {takes.channels} channels, what comes before it gives {channels}")
            channels = gives.channels or takes.channels or channels

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) through every stage; values by dotted name, each (B,) or a curve (B, F)."""
        grouped = by_stage(values)
        run: list[tuple[LinearFilter, dict[str, Tensor]]] = []  # of steady filters since the last other effect
        for name, stage in self.stages.items():
            mine = grouped.get(name, {})
            steady = all(v.ndim < 2 for v in mine.values())
            if isinstance(stage, LinearFilter) and steady and stage.precision == "float32":
                run.append((stage, mine))
            else:
                x, run = stage.process(_filtered(x, run), **mine), []
        return _filtered(x, run)

    def latency_samples(self, values: Numbers) -> int:
        """The sum of the stages'."""
        grouped = by_stage(values)
        return sum(stage.latency_samples(grouped.get(name, {})) for name, stage in self.stages.items())

    def plugins(self, values: Numbers) -> list[Plugin]:
        """The plugins of every stage, in order."""
        grouped = by_stage(values)
        return [plugin for name, stage in self.stages.items() for plugin in stage.plugins(grouped.get(name, {}))]


class Mix(_Named, abstract=True):
    """Named effects in parallel, summed: ``Mix(dry=Gain(44100), wet=Chain(delay=Delay(44100), gain=Gain(44100)))``.

    Twin of ``pedalboard.Mix``: every branch gets the input, and the sum has unit gain. Branches that look ahead do
    not run behind the others.
    """

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """The sum of all branches of audio x (B, C, T); values by dotted name, each (B,) or a curve (B, F)."""
        grouped = by_stage(values)
        outputs = [stage.process(x, **grouped.get(name, {})) for name, stage in self.stages.items()]
        if stream.is_streaming():
            late = [self._latency(name, grouped.get(name, {}), len(x)) for name in self.stages]
            outputs = [delayed(y, max(late) - n) for y, n in zip(outputs, late, strict=True)]
        y = outputs[0]
        for other in outputs[1:]:
            y = y + other
        return y

    def _latency(self, name: str, values: Mapping[str, Tensor], items: int) -> int:
        each = ({n: v[i].flatten()[0].item() for n, v in values.items()} for i in range(items))
        late = {self.stages[name].latency_samples(numbers) for numbers in each}
        if len(late) > 1:
            raise AudioError(
                f"the items of this batch look ahead by {', '.join(map(str, sorted(late)))} samples in {name}; "
                "chunks of a Mix allow one look-ahead"
            )
        return late.pop()

    def latency_samples(self, values: Numbers) -> int:
        """That of the latest branch."""
        grouped = by_stage(values)
        return max(stage.latency_samples(grouped.get(name, {})) for name, stage in self.stages.items())

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``Mix`` of chains."""
        grouped = by_stage(values)
        branches = [stage.plugins(grouped.get(name, {})) for name, stage in self.stages.items()]
        return [("Mix", {"plugins": [("Chain", {"plugins": branch}) for branch in branches]})]


def _filtered(x: Tensor, run: list[tuple[LinearFilter, dict[str, Tensor]]]) -> Tensor:
    """Audio through neighbouring filters at once; one alone may know something better than a cascade."""
    if len(run) < 2:
        return run[0][0].process(x, **run[0][1]) if run else x
    return sos_cascade(x, torch.cat([stage.sections_for(x, values) for stage, values in run], -2))
