"""Gain and polarity: one factor."""

from torch import Tensor

from diffmix.kernels import units
from diffmix.params import Param
from diffmix.processors.base import Processor


class Gain(Processor):
    """Multiply by 10^(gain_db / 20). Twin of ``pedalboard.Gain``; silence at -100 dB and below, as there."""

    gain_db = Param(-100, 60, 1, "dB", doc="level change", modulatable=True)

    def process(self, x: Tensor, *, gain_db: Tensor) -> Tensor:
        """Audio x (B, C, T), gain_db (B,) or (B, T)."""
        return units.gain(x, gain_db)


class Invert(Processor):
    """Turn the polarity. Twin of ``pedalboard.Invert``."""

    def process(self, x: Tensor) -> Tensor:
        """Audio x (B, C, T)."""
        return -x
