"""Effects: each declares its parameters once and processes audio in physical units."""

from diffmix.processors.base import REGISTRY, LinearFilter, Processor
from diffmix.processors.chain import Chain
from diffmix.processors.dynamics import Compressor
from diffmix.processors.eq import (
    HighpassFilter,
    HighShelfFilter,
    LowpassFilter,
    LowShelfFilter,
    ParametricEQ,
    PeakFilter,
)
from diffmix.processors.gain import Gain
from diffmix.processors.reverb import Reverb
from diffmix.processors.stereo import BalanceWidth, Pan

__all__ = [
    "REGISTRY",
    "BalanceWidth",
    "Chain",
    "Compressor",
    "Gain",
    "HighShelfFilter",
    "HighpassFilter",
    "LinearFilter",
    "LowShelfFilter",
    "LowpassFilter",
    "Pan",
    "ParametricEQ",
    "PeakFilter",
    "Processor",
    "Reverb",
]
