"""A finished mix made a master: equaliser, compressor, gain and limiter set towards a target, every knob kept."""

from diffmix.mastering.assistant import master
from diffmix.mastering.chain import STAGES
from diffmix.mastering.measured import Measured
from diffmix.mastering.result import Master

__all__ = ["STAGES", "Master", "Measured", "master"]
