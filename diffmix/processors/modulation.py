"""Effects that move: Pedalboard's chorus and phaser, and flanger, chorus, vibrato and phaser that follow a signal."""

import math
from typing import Literal

import torch
from torch import Tensor

from diffmix.errors import AudioError, SettingsError
from diffmix.kernels import modulation as kernels
from diffmix.params import Param
from diffmix.processors.base import Port, Processor
from diffmix.types import Ranges

_MODULATION = Port("modulation", None, "control", optional=True)
_UNCARRIED = "its plugins cannot follow a control signal"


class Chorus(Processor):
    """A voice beside the input, delayed by a time that a sine moves. Twin of ``pedalboard.Chorus``."""

    rate_hz = Param(0.01, 20, 1, "Hz", "log", "of the sine", modulatable=True)
    depth = Param(0, 1, 0.25, "", doc="the delay moves by 10 ms times this, both ways", modulatable=True)
    centre_delay_ms = Param(1, 100, 7, "ms", "log", "delay in the middle of the sine", modulatable=True)
    feedback = Param(-0.95, 0.95, 0, "", doc="of the voice to the delay line, subtracted", modulatable=True)
    mix = Param(0, 1, 0.5, "", doc="0 dry, 1 wet", modulatable=True)

    def process(
        self, x: Tensor, *, rate_hz: Tensor, depth: Tensor, centre_delay_ms: Tensor, feedback: Tensor, mix: Tensor
    ) -> Tensor:
        """Audio x (B, C, T), the same delay in all channels."""
        return kernels.chorus(x, rate_hz, depth, centre_delay_ms, feedback, mix, self.sample_rate)


class Phaser(Processor):
    """Notches that a sine moves, made by six all-passes. Twin of ``pedalboard.Phaser``."""

    rate_hz = Param(0.01, 20, 1, "Hz", "log", "of the sine", modulatable=True)
    depth = Param(0, 1, 0.5, "", doc="the notches move by five octaves times this, both ways", modulatable=True)
    centre_frequency_hz = Param(50, 10000, 1300, "Hz", "log", "frequency in the middle of the sine", modulatable=True)
    feedback = Param(-0.95, 0.95, 0, "", doc="of the all-passes to their input, subtracted", modulatable=True)
    mix = Param(0, 1, 0.5, "", doc="0 dry, 1 wet", modulatable=True)

    def process(
        self, x: Tensor, *, rate_hz: Tensor, depth: Tensor, centre_frequency_hz: Tensor, feedback: Tensor, mix: Tensor
    ) -> Tensor:
        """Audio x (B, C, T), the same notches in all channels."""
        return kernels.phaser(x, rate_hz, depth, centre_frequency_hz, feedback, mix, self.sample_rate)


class ModulatedDelay(Processor, abstract=True):
    """A delay of ``delay_ms``, moved by ``depth_ms`` times the signal at its inlet ``modulation``.

    The signal has one channel for all or one for each, in [-1, 1], for example from an `LFO`; without it the delay
    stands still. A delay shorter than two samples is two samples.
    """

    pedalboard = False
    inlets = (Port("in"), _MODULATION)
    uncarried = _UNCARRIED
    delay_ms = Param(0.1, 50, 5, "ms", "log", "delay in the middle", modulatable=True)
    depth_ms = Param(0, 10, 2, "ms", doc="how far the signal moves it, both ways", modulatable=True)

    def moved(
        self,
        x: Tensor,
        modulation: Tensor | None,
        delay_ms: Tensor,
        depth_ms: Tensor,
        feedback: Tensor,
        mix: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T) through the line."""
        delay = _about(x, modulation, delay_ms, depth_ms) * (self.sample_rate / 1000)
        limits = self.spec.params
        longest = (limits["delay_ms"].high + limits["depth_ms"].high) * self.sample_rate / 1000
        return kernels.modulated_delay(x, delay, feedback, mix, math.ceil(longest) + 2)


class _MixedDelay(ModulatedDelay, abstract=True):
    """A moved delay beside the input."""

    feedback = Param(-0.95, 0.95, 0, "", doc="of the voice to the delay line", modulatable=True)
    mix = Param(0, 1, 0.5, "", doc="0 dry, 1 wet", modulatable=True)

    def process(
        self,
        x: Tensor,
        *,
        modulation: Tensor | None = None,
        delay_ms: Tensor,
        depth_ms: Tensor,
        feedback: Tensor,
        mix: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T), moved by modulation (B, 1 or C, T)."""
        return self.moved(x, modulation, delay_ms, depth_ms, feedback, mix)


class Flanger(_MixedDelay):
    """A comb filter whose teeth a signal moves."""

    delay_ms = Param(0.1, 15, 3, "ms", "log", "delay in the middle", modulatable=True)


class ModulatedChorus(_MixedDelay):
    """A second voice, its pitch moved by a signal; `Chorus` has its own sine instead and is Pedalboard's."""

    delay_ms = Param(5, 50, 15, "ms", "log", "delay in the middle", modulatable=True)


class Vibrato(ModulatedDelay):
    """The pitch moved by a signal: the delayed voice alone."""

    def process(self, x: Tensor, *, modulation: Tensor | None = None, delay_ms: Tensor, depth_ms: Tensor) -> Tensor:
        """Audio x (B, C, T), moved by modulation (B, 1 or C, T)."""
        feedback, mix = torch.zeros_like(delay_ms), torch.ones_like(delay_ms)
        return self.moved(x, modulation, delay_ms, depth_ms, feedback, mix)


class ModulatedPhaser(Processor):
    """Notches moved by ``depth_octaves`` times the signal at its inlet ``modulation``.

    The signal has one channel for all or one for each, in [-1, 1], for example from an `LFO`; without it the notches
    stand still. `Phaser` has its own sine instead and is Pedalboard's.
    """

    pedalboard = False
    inlets = (Port("in"), _MODULATION)
    uncarried = _UNCARRIED
    frequency_hz = Param(50, 10000, 800, "Hz", "log", "frequency in the middle", modulatable=True)
    depth_octaves = Param(0, 4, 1.5, "oct", doc="how far the signal moves it, both ways", modulatable=True)
    feedback = Param(-0.95, 0.95, 0, "", doc="of the all-passes to their input", modulatable=True)
    mix = Param(0, 1, 0.5, "", doc="0 dry, 1 wet", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        stages: int = 6,
    ) -> None:
        """As `Processor`; ``stages`` is the number of all-passes, 2 to 12: two make a notch."""
        super().__init__(sample_rate, ranges, precision)
        if stages not in range(2, 13):
            raise SettingsError(f"a phaser has 2 to 12 stages, got {stages}")
        self.stages = stages

    def process(
        self,
        x: Tensor,
        *,
        modulation: Tensor | None = None,
        frequency_hz: Tensor,
        depth_octaves: Tensor,
        feedback: Tensor,
        mix: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T), moved by modulation (B, 1 or C, T)."""
        frequency = torch.exp2(_about(x, modulation, frequency_hz.double().log2(), depth_octaves))
        gain = kernels.allpass_gain(frequency, self.sample_rate)
        return kernels.modulated_allpasses(x, gain, feedback, mix, self.stages)


def _about(x: Tensor, modulation: Tensor | None, centre: Tensor, depth: Tensor) -> Tensor:
    """``centre + depth modulation``, (B, 1 or C, T) in float64; the settings are (B,) or (B, T)."""
    middle, swing = (v.double().reshape(v.shape[0], 1, -1) for v in (centre, depth))
    if modulation is None:
        return (middle + 0 * swing).expand(-1, -1, x.shape[-1])
    if modulation.shape[1] not in (1, x.shape[1]):
        raise AudioError(f"modulation has one channel or those of the audio ({x.shape[1]}), got {modulation.shape[1]}")
    return middle + swing * modulation
