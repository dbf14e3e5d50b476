"""Filters and the parametric equaliser made of them.

The formulas are the Audio EQ Cookbook's (R. Bristow-Johnson, 1998), the arithmetic Pedalboard's float32.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from diffmix.kernels import biquad
from diffmix.params import Param
from diffmix.processors.base import LinearFilter, Plugin
from diffmix.types import Numbers

_FREQUENCY = "cutoff_frequency_hz"


class _Band(LinearFilter, abstract=True):
    """One section with a cutoff, a gain and a Q."""

    neutral = True
    cutoff_frequency_hz = Param(20, 20000, 440, "Hz", "log", "centre of a peak, middle of a shelf's slope")
    gain_db = Param(-24, 24, 0, "dB", doc="level at the centre of a peak, on the shelf")
    q = Param(0.1, 18, 0.70710678, "", "log", "narrowness of a peak, steepness of a shelf: above 0.71 it overshoots")
    design: ClassVar[Callable[..., Tensor]]

    def sections(self, twin: bool, *, cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor) -> Tensor:
        """One section, (B, 1, 5)."""
        return self.design(cutoff_frequency_hz, gain_db, q, self.sample_rate, twin).unsqueeze(-2)


class PeakFilter(_Band):
    """A bell around ``cutoff_frequency_hz``. Twin of ``pedalboard.PeakFilter``."""

    design = staticmethod(biquad.peak)


class LowShelfFilter(_Band):
    """A shelf below ``cutoff_frequency_hz``. Twin of ``pedalboard.LowShelfFilter``."""

    design = staticmethod(biquad.low_shelf)


class HighShelfFilter(_Band):
    """A shelf above ``cutoff_frequency_hz``. Twin of ``pedalboard.HighShelfFilter``."""

    design = staticmethod(biquad.high_shelf)


class _Pass(LinearFilter, abstract=True):
    """One first-order section, 6 dB per octave."""

    cutoff_frequency_hz = Param(10, 20000, 50, "Hz", "log", "-3 dB point")
    design: ClassVar[Callable[..., Tensor]]

    def sections(self, twin: bool, *, cutoff_frequency_hz: Tensor) -> Tensor:
        """One section, (B, 1, 5)."""
        return self.design(cutoff_frequency_hz, self.sample_rate, twin).unsqueeze(-2)


class HighpassFilter(_Pass):
    """First order, 6 dB per octave. Twin of ``pedalboard.HighpassFilter``."""

    design = staticmethod(biquad.highpass)


class LowpassFilter(_Pass):
    """First order, 6 dB per octave. Twin of ``pedalboard.LowpassFilter``."""

    design = staticmethod(biquad.lowpass)


class ParametricEQ(LinearFilter):
    """Six bands in series: low shelf, four peaks, high shelf. Six Pedalboard plugins, one pass over the audio."""

    neutral = True
    pedalboard = False
    low_shelf_cutoff_frequency_hz = Param(30, 500, 100, "Hz", "log")
    low_shelf_gain_db = Param(-18, 18, 0, "dB")
    low_shelf_q = Param(0.3, 2, 0.70710678, "", "log")
    peak1_cutoff_frequency_hz = Param(40, 600, 200, "Hz", "log")
    peak1_gain_db = Param(-18, 18, 0, "dB")
    peak1_q = Param(0.3, 8, 1, "", "log")
    peak2_cutoff_frequency_hz = Param(150, 2500, 600, "Hz", "log")
    peak2_gain_db = Param(-18, 18, 0, "dB")
    peak2_q = Param(0.3, 8, 1, "", "log")
    peak3_cutoff_frequency_hz = Param(600, 8000, 2000, "Hz", "log")
    peak3_gain_db = Param(-18, 18, 0, "dB")
    peak3_q = Param(0.3, 8, 1, "", "log")
    peak4_cutoff_frequency_hz = Param(2000, 16000, 5000, "Hz", "log")
    peak4_gain_db = Param(-18, 18, 0, "dB")
    peak4_q = Param(0.3, 8, 1, "", "log")
    high_shelf_cutoff_frequency_hz = Param(1500, 18000, 8000, "Hz", "log")
    high_shelf_gain_db = Param(-18, 18, 0, "dB")
    high_shelf_q = Param(0.3, 2, 0.70710678, "", "log")

    BANDS = ("low_shelf", "peak1", "peak2", "peak3", "peak4", "high_shelf")

    def sections(
        self,
        twin: bool,
        *,
        low_shelf_cutoff_frequency_hz: Tensor,
        low_shelf_gain_db: Tensor,
        low_shelf_q: Tensor,
        peak1_cutoff_frequency_hz: Tensor,
        peak1_gain_db: Tensor,
        peak1_q: Tensor,
        peak2_cutoff_frequency_hz: Tensor,
        peak2_gain_db: Tensor,
        peak2_q: Tensor,
        peak3_cutoff_frequency_hz: Tensor,
        peak3_gain_db: Tensor,
        peak3_q: Tensor,
        peak4_cutoff_frequency_hz: Tensor,
        peak4_gain_db: Tensor,
        peak4_q: Tensor,
        high_shelf_cutoff_frequency_hz: Tensor,
        high_shelf_gain_db: Tensor,
        high_shelf_q: Tensor,
    ) -> Tensor:
        """Six sections, (B, 6, 5), in the order of the bands."""
        low = biquad.low_shelf(
            low_shelf_cutoff_frequency_hz, low_shelf_gain_db, low_shelf_q, self.sample_rate, twin
        ).unsqueeze(-2)
        peaks = biquad.peak(
            torch.stack(
                [
                    peak1_cutoff_frequency_hz,
                    peak2_cutoff_frequency_hz,
                    peak3_cutoff_frequency_hz,
                    peak4_cutoff_frequency_hz,
                ],
                -1,
            ),
            torch.stack([peak1_gain_db, peak2_gain_db, peak3_gain_db, peak4_gain_db], -1),
            torch.stack([peak1_q, peak2_q, peak3_q, peak4_q], -1),
            self.sample_rate,
            twin,
        )
        high = biquad.high_shelf(
            high_shelf_cutoff_frequency_hz, high_shelf_gain_db, high_shelf_q, self.sample_rate, twin
        ).unsqueeze(-2)
        return torch.cat([low, peaks, high], -2)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """Six plugins, one per band."""
        kinds = {"low_shelf": "LowShelfFilter", "high_shelf": "HighShelfFilter"}
        return [
            (kinds.get(band, "PeakFilter"), {name: values[f"{band}_{name}"] for name in (_FREQUENCY, "gain_db", "q")})
            for band in self.BANDS
        ]
