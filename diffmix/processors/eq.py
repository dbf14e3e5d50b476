"""Filters and the parametric equaliser made of them.

The formulas are the Audio EQ Cookbook's (R. Bristow-Johnson, 1998), the arithmetic Pedalboard's float32.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor

from diffmix.kernels import biquad
from diffmix.params import Param
from diffmix.processors.base import LinearFilter, Plugin
from diffmix.types import Numbers

_SETTINGS = ("cutoff_frequency_hz", "gain_db", "q")


class _Band(LinearFilter, abstract=True):
    """One section with a cutoff, a gain and a Q."""

    neutral = True
    cutoff_frequency_hz = Param(20, 20000, 440, "Hz", "log", "centre of a peak, middle of a shelf's slope", True)
    gain_db = Param(-24, 24, 0, "dB", "lin", "level at the centre of a peak, on the shelf", True)
    q = Param(
        0.1, 18, 0.70710678, "", "log", "narrowness of a peak, steepness of a shelf: above 0.71 it overshoots", True
    )
    design: ClassVar[Callable[..., Tensor]]

    def sections(self, twin: bool, *, cutoff_frequency_hz: Tensor, gain_db: Tensor, q: Tensor) -> Tensor:
        """One section, (B, 1, 5), or (B, T, 1, 5) where values move."""
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

    cutoff_frequency_hz = Param(10, 20000, 50, "Hz", "log", "-3 dB point", True)
    design: ClassVar[Callable[..., Tensor]]

    def sections(self, twin: bool, *, cutoff_frequency_hz: Tensor) -> Tensor:
        """One section, (B, 1, 5), or (B, T, 1, 5) where values move."""
        return self.design(cutoff_frequency_hz, self.sample_rate, twin).unsqueeze(-2)


class HighpassFilter(_Pass):
    """First order, 6 dB per octave. Twin of ``pedalboard.HighpassFilter``."""

    design = staticmethod(biquad.highpass)


class LowpassFilter(_Pass):
    """First order, 6 dB per octave. Twin of ``pedalboard.LowpassFilter``."""

    design = staticmethod(biquad.lowpass)


def _band(name: str, low_hz: float, high_hz: float, default_hz: float, highest_q: float, q: float) -> dict[str, Param]:
    return {
        f"{name}_cutoff_frequency_hz": Param(low_hz, high_hz, default_hz, "Hz", "log", modulatable=True),
        f"{name}_gain_db": Param(-18, 18, 0, "dB", modulatable=True),
        f"{name}_q": Param(0.3, highest_q, q, "", "log", modulatable=True),
    }


class ParametricEQ(LinearFilter):
    """Six bands in series: low shelf, four peaks, high shelf. Six Pedalboard plugins, one pass over the audio."""

    neutral = True
    pedalboard = False
    BANDS = ("low_shelf", "peak1", "peak2", "peak3", "peak4", "high_shelf")
    bands = (
        _band("low_shelf", 30, 500, 100, 2, 0.70710678)
        | _band("peak1", 40, 600, 200, 8, 1)
        | _band("peak2", 150, 2500, 600, 8, 1)
        | _band("peak3", 600, 8000, 2000, 8, 1)
        | _band("peak4", 2000, 16000, 5000, 8, 1)
        | _band("high_shelf", 1500, 18000, 8000, 2, 0.70710678)
    )

    def sections(self, twin: bool, **values: Tensor) -> Tensor:
        """Six sections in the order of the bands, (B, 6, 5), or (B, T, 6, 5) where values move."""

        def design(kind: Callable[..., Tensor], settings: Iterable[Tensor]) -> Tensor:
            return kind(*settings, self.sample_rate, twin)

        low, *peaks, high = ([values[f"{band}_{name}"] for name in _SETTINGS] for band in self.BANDS)
        if all(v.ndim == 1 for v in values.values()):  # four designs as one
            together = (torch.stack(column, -1) for column in zip(*peaks, strict=True))
            middle = list(design(biquad.peak, together).unbind(1))
        else:
            middle = [design(biquad.peak, peak) for peak in peaks]
        bands = [design(biquad.low_shelf, low), *middle, design(biquad.high_shelf, high)]
        most = max(band.ndim for band in bands)
        return torch.stack(torch.broadcast_tensors(*(b if b.ndim == most else b[:, None] for b in bands)), -2)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """Six plugins, one per band."""
        kinds = {"low_shelf": "LowShelfFilter", "high_shelf": "HighShelfFilter"}
        return [
            (kinds.get(band, "PeakFilter"), {name: values[f"{band}_{name}"] for name in _SETTINGS})
            for band in self.BANDS
        ]
