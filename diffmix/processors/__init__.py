"""Effects: each declares its parameters once and processes audio in physical units."""

from diffmix.processors.base import REGISTRY, LinearFilter, Processor
from diffmix.processors.chain import Chain
from diffmix.processors.desk_dynamics import EnvelopeFollower, Expander, KneeCompressor, KneeGate, TransientShaper
from diffmix.processors.dynamics import Compressor
from diffmix.processors.eq import (
    HighpassFilter,
    HighShelfFilter,
    LowpassFilter,
    LowShelfFilter,
    ParametricEQ,
    PeakFilter,
)
from diffmix.processors.filters import Crossover, GraphicEQ, ResonantFilter
from diffmix.processors.gain import Gain
from diffmix.processors.reverb import Reverb
from diffmix.processors.stereo import BalanceWidth, Imager, MidSideMerge, MidSideSplit, Pan

__all__ = [
    "REGISTRY",
    "BalanceWidth",
    "Chain",
    "Compressor",
    "Crossover",
    "EnvelopeFollower",
    "Expander",
    "Gain",
    "GraphicEQ",
    "HighShelfFilter",
    "HighpassFilter",
    "Imager",
    "KneeCompressor",
    "KneeGate",
    "LinearFilter",
    "LowShelfFilter",
    "LowpassFilter",
    "MidSideMerge",
    "MidSideSplit",
    "Pan",
    "ParametricEQ",
    "PeakFilter",
    "Processor",
    "ResonantFilter",
    "Reverb",
    "TransientShaper",
]
