"""Effects in series."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

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


def cascaded(parts: list[Tensor]) -> Tensor:
    """Sections (B, K, 5), or (B, T, K, 5) where they move, one after the other."""
    samples = [part.shape[1] for part in parts if part.ndim == 4]
    if samples:
        parts = [p if p.ndim == 4 else p[:, None].expand(-1, samples[0], -1, -1) for p in parts]
    return torch.cat(parts, -2)


class Chain(Processor, abstract=True):
    """Named effects in series: ``Chain(eq=ParametricEQ(44100), comp=Compressor(44100))``.

    Its parameters are named ``stage.parameter``. Neighbouring filters run as one cascade, in one pass over the
    audio, which changes no sample.
    """

    def __init__(self, **stages: Processor) -> None:
        if not stages:
            raise ValueError("a chain needs at least one effect")
        first = next(iter(stages.values()))
        super().__init__(first.sample_rate)
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.stages = stages
        self.spec = joined({name: stage.spec for name, stage in stages.items()})

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) through every stage; values by dotted name, each (B,)."""
        grouped = by_stage(values)
        sections: list[Tensor] = []  # of the filters met since the last other effect
        for name, stage in self.stages.items():
            if isinstance(stage, LinearFilter):
                sections.append(stage.sections_for(x, grouped[name]))
                continue
            if sections:
                x, sections = sos_cascade(x, cascaded(sections)), []
            x = stage.process(x, **grouped[name])
        return sos_cascade(x, cascaded(sections)) if sections else x

    def plugins(self, values: Numbers) -> list[Plugin]:
        """The plugins of every stage, in order."""
        grouped = by_stage(values)
        return [plugin for name, stage in self.stages.items() for plugin in stage.plugins(grouped[name])]
