"""Generators of control signals, which move what other effects do."""

from typing import Literal, get_args

import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.oscillator import Shape, phase_cycles, wave
from diffmix.params import Param
from diffmix.processors.base import Port, Processor
from diffmix.types import Ranges


class LFO(Processor):
    """A low-frequency oscillator: a control signal in [-1, 1]. Of its input only batch and length count.

    Differentiable in all three parameters. The phase is the sum of the rate, so that a rate that moves makes no jump.
    """

    pedalboard = False
    uncarried = "it has no control signals"
    inlets = (Port("in", optional=True),)
    outlets = (Port("lfo", 2, "control"),)
    rate_hz = Param(0.01, 20, 1, "Hz", "log", "cycles per second", modulatable=True)
    phase = Param(0, 1, 0, "cycles", doc="where it starts", modulatable=True)
    stereo_offset = Param(0, 1, 0, "cycles", doc="how far the right channel is ahead of the left", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        shape: Shape = "sine",
        channels: Literal[1, 2] = 2,
    ) -> None:
        """As `Processor`, with a ``shape`` and one or two ``channels``; with one, stereo_offset is locked to 0.

        The shapes are sine, triangle, saw and square; the latter two jump, and how the moment of a jump moves is in no
        gradient, so that rate and phase of a square have none.
        """
        if shape not in get_args(Shape):
            raise SettingsError(f"shape is one of {', '.join(get_args(Shape))}, got {shape!r}")
        if channels not in (1, 2):
            raise SettingsError(f"an oscillator has 1 or 2 channels, got {channels}")
        locked = {"stereo_offset": (0.0, 0.0)} if channels == 1 else {}
        super().__init__(sample_rate, {**(ranges or {}), **locked}, precision)
        self.shape: Shape = shape
        self.channels = channels
        self.outlets = (Port("lfo", channels, "control"),)  # type: ignore[misc]

    def process(self, x: Tensor, *, rate_hz: Tensor, phase: Tensor, stereo_offset: Tensor) -> Tensor:
        """Control signal (B, channels, T) in the dtype of x (B, C, T), whose samples are not read."""
        start, offset = (v.double().reshape(v.shape[0], 1, -1) for v in (phase, stereo_offset))
        cycles = phase_cycles(x, rate_hz, self.sample_rate) + start
        sides = [cycles, cycles + offset][: self.channels]
        return wave(torch.cat(sides, 1), self.shape).to(x.dtype)
