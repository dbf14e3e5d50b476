"""Echoes."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.delay import Loop, echo, filtered_echo, ping_pong
from diffmix.params import Param
from diffmix.processors.base import Plugin, Port, Processor
from diffmix.types import Numbers, Ranges


class Delay(Processor):
    """Repeats after whole samples. Twin of ``pedalboard.Delay``.

    The gradient of ``delay_seconds`` is a surrogate (see :func:`diffmix.kernels.delay.echo`). By squared error it leads
    to the right delay from up to 0.8 periods of the highest frequency in the signal: 240 samples off at 150 Hz, 90 at
    400 Hz. From farther away, compare the signals smoothed.
    """

    surrogate: ClassVar[frozenset[str]] = frozenset({"delay_seconds"})
    delay_seconds = Param(0.001, 5, 0.5, "s", "log", "time to the first repeat, cut to whole samples")
    feedback = Param(0, 0.95, 0, "", doc="level of each repeat over the one before", modulatable=True)
    mix = Param(0, 1, 0.5, "", doc="0 dry, 1 wet", modulatable=True)

    def process(self, x: Tensor, *, delay_seconds: Tensor, feedback: Tensor, mix: Tensor) -> Tensor:
        """Audio x (B, C, T), each channel on its own."""
        longest = self.spec.params["delay_seconds"].high
        return echo(x, delay_seconds, feedback, mix, self.sample_rate, longest)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One plugin; its time lies half a sample later, so that Pedalboard cuts it to the same whole samples."""
        samples = int(torch.tensor(values["delay_seconds"], dtype=torch.float32).item() * self.sample_rate)
        return [("Delay", {**values, "delay_seconds": (samples + 0.5) / self.sample_rate})]


class _FilteredLoop(Processor, abstract=True):
    """What echoes with a filter in the loop share."""

    pedalboard = False
    delay_seconds = Param(0.001, 5, 0.4, "s", "log", "time to the first repeat", modulatable=True)
    feedback = Param(0, 0.95, 0.4, "", doc="level of each repeat over the one before", modulatable=True)
    mix = Param(0, 1, 0.35, "", doc="0 dry, 1 wet", modulatable=True)
    cutoff_frequency_hz = Param(100, 18000, 4000, "Hz", "log", "of the filter in the loop", modulatable=True)
    q = Param(0.3, 8, 0.70710678, "", "log", "of the filter in the loop", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        loop: Loop = "low-pass",
    ) -> None:
        """As `Processor`; ``loop`` is the second-order filter in the loop, "low-pass" or "band-pass"."""
        super().__init__(sample_rate, ranges, precision)
        if loop not in ("low-pass", "band-pass"):
            raise SettingsError(f"loop is 'low-pass' or 'band-pass', got {loop!r}")
        self.loop: Loop = loop

    @property
    def _longest(self) -> float:
        return self.spec.params["delay_seconds"].high


class FilteredDelay(_FilteredLoop):
    """Echoes that a filter colours at each repeat, each channel on its own."""

    uncarried = "its Delay has no filter in the loop"

    def process(
        self,
        x: Tensor,
        *,
        delay_seconds: Tensor,
        feedback: Tensor,
        mix: Tensor,
        cutoff_frequency_hz: Tensor,
        q: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T)."""
        return filtered_echo(
            x, delay_seconds, feedback, mix, cutoff_frequency_hz, q, self.sample_rate, self.loop, self._longest
        )


class PingPongDelay(_FilteredLoop):
    """Echoes that jump from left to right and back; a filter colours them at each jump."""

    inlets = (Port("in", 2),)
    outlets = (Port("out", 2),)
    uncarried = "its Delay keeps channels apart and has no filter in the loop"
    stereo_offset = Param(
        -0.5, 0.5, 0, "", doc="shortens the way to the left, lengthens that to the right", modulatable=True
    )

    def process(
        self,
        x: Tensor,
        *,
        delay_seconds: Tensor,
        feedback: Tensor,
        mix: Tensor,
        cutoff_frequency_hz: Tensor,
        q: Tensor,
        stereo_offset: Tensor,
    ) -> Tensor:
        """Audio x (B, 2, T)."""
        settings = delay_seconds, feedback, mix, cutoff_frequency_hz, q, stereo_offset
        return ping_pong(x, *settings, self.sample_rate, self.loop, self._longest * 1.5)
