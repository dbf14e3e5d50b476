"""Effects: each declares its parameters once and processes audio in physical units."""

from diffmix.processors.base import REGISTRY, LinearFilter, Processor
from diffmix.processors.black_box import BlackBox, EpsilonScheduler, FunctionNode
from diffmix.processors.chain import Chain, Mix
from diffmix.processors.compander import Compander
from diffmix.processors.control import LFO
from diffmix.processors.convolution import Convolution
from diffmix.processors.delay import Delay, FilteredDelay, PingPongDelay
from diffmix.processors.desk_dynamics import EnvelopeFollower, Expander, KneeCompressor, KneeGate, TransientShaper
from diffmix.processors.distortion import Bitcrush, Clipping, Distortion, Waveshaper
from diffmix.processors.dynamics import BrickwallLimiter, Compressor, Limiter, NoiseGate
from diffmix.processors.eq import (
    HighpassFilter,
    HighShelfFilter,
    LowpassFilter,
    LowShelfFilter,
    ParametricEQ,
    PeakFilter,
)
from diffmix.processors.filters import Crossover, GraphicEQ, ResonantFilter
from diffmix.processors.gain import Gain, Invert
from diffmix.processors.ladder import LadderFilter
from diffmix.processors.mastering import LoudnessNormaliser, TruePeakLimiter
from diffmix.processors.modulation import (
    Chorus,
    Flanger,
    ModulatedChorus,
    ModulatedDelay,
    ModulatedPhaser,
    Phaser,
    Vibrato,
)
from diffmix.processors.multiband import DeEsser, MultibandCompressor
from diffmix.processors.named import named
from diffmix.processors.neural import NeuralEffect
from diffmix.processors.reverb import FeedbackDelayNetwork, NoiseReverb, Reverb, RoomReverb
from diffmix.processors.stereo import BalanceWidth, Imager, MidSideMerge, MidSideSplit, Pan

__all__ = [
    "LFO",
    "REGISTRY",
    "BalanceWidth",
    "Bitcrush",
    "BlackBox",
    "BrickwallLimiter",
    "Chain",
    "Chorus",
    "Clipping",
    "Compander",
    "Compressor",
    "Convolution",
    "Crossover",
    "DeEsser",
    "Delay",
    "Distortion",
    "EnvelopeFollower",
    "EpsilonScheduler",
    "Expander",
    "FeedbackDelayNetwork",
    "FilteredDelay",
    "Flanger",
    "FunctionNode",
    "Gain",
    "GraphicEQ",
    "HighShelfFilter",
    "HighpassFilter",
    "Imager",
    "Invert",
    "KneeCompressor",
    "KneeGate",
    "LadderFilter",
    "Limiter",
    "LinearFilter",
    "LoudnessNormaliser",
    "LowShelfFilter",
    "LowpassFilter",
    "MidSideMerge",
    "MidSideSplit",
    "Mix",
    "ModulatedChorus",
    "ModulatedDelay",
    "ModulatedPhaser",
    "MultibandCompressor",
    "NeuralEffect",
    "NoiseGate",
    "NoiseReverb",
    "Pan",
    "ParametricEQ",
    "PeakFilter",
    "Phaser",
    "PingPongDelay",
    "Processor",
    "ResonantFilter",
    "Reverb",
    "RoomReverb",
    "TransientShaper",
    "TruePeakLimiter",
    "Vibrato",
    "Waveshaper",
    "named",
]
