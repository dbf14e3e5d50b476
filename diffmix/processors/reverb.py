"""Reverberation."""

from typing import Literal

from torch import Tensor

from diffmix.kernels.reverb import freeverb
from diffmix.params import Param
from diffmix.processors.base import Plugin, Processor
from diffmix.types import Numbers, Ranges


class Reverb(Processor):
    """Freeverb (Jezar, 2000; Schroeder-Moorer combs and all-passes). Twin of ``pedalboard.Reverb``.

    ``freeze`` is Pedalboard's ``freeze_mode``: it holds what the tail has and takes no new input, so that from a fresh
    start only the dry signal is left.
    """

    room_size = Param(0, 1, 0.5, "", doc="comb feedback 0.7..0.98")
    damping = Param(0, 1, 0.5, "", doc="loss of highs in the tail")
    wet_level = Param(0, 1, 0.33, "", doc="level of the tail", modulatable=True)
    dry_level = Param(0, 1, 0.4, "", doc="level of the input; 0.5 is unity", modulatable=True)
    width = Param(0, 1, 1, "", doc="0 mono tail, 1 wide; scales the tail of a mono signal", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        freeze: bool = False,
    ) -> None:
        super().__init__(sample_rate, ranges, precision)
        self.freeze = freeze

    def process(
        self, x: Tensor, *, room_size: Tensor, damping: Tensor, wet_level: Tensor, dry_level: Tensor, width: Tensor
    ) -> Tensor:
        """Audio x (B, 1 or 2, T); each value (B,), or (B, T) where modulatable."""
        return freeverb(x, room_size, damping, wet_level, dry_level, width, self.sample_rate, self.freeze)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``Reverb``."""
        return [("Reverb", {**values, "freeze_mode": float(self.freeze)})]
