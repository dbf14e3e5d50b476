"""Gain and polarity: one factor."""

import torch
from torch import Tensor

from diffmix.kernels import units
from diffmix.params import Param
from diffmix.processors.base import LinearFilter, Processor


class Gain(LinearFilter):
    """Multiply by 10^(gain_db / 20). Twin of ``pedalboard.Gain``; silence at -100 dB and below, as there."""

    gain_db = Param(-100, 60, 1, "dB", doc="level change", modulatable=True)

    def process(self, x: Tensor, *, gain_db: Tensor) -> Tensor:
        """Audio x (B, C, T), gain_db (B,) or (B, T)."""
        return units.gain(x, gain_db)

    def sections(self, twin: bool, *, gain_db: Tensor) -> Tensor:
        """A filter that only multiplies, (B, 1, 5): beside other filters it costs no pass over the audio."""
        factor = units.db_to_gain(gain_db if twin else gain_db.double()).double()
        return torch.stack([factor, *[torch.zeros_like(factor)] * 4], -1).unsqueeze(-2)


class Invert(Processor):
    """Turn the polarity. Twin of ``pedalboard.Invert``."""

    def process(self, x: Tensor) -> Tensor:
        """Audio x (B, C, T)."""
        return -x
