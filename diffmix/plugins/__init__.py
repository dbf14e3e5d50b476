"""Effects made by others, as nodes: Pedalboard's own plugins and VST3 files. Their gradients are estimated."""

from diffmix.plugins.builtin import GSMFullRateCompressor, MP3Compressor, PedalboardNode, PitchShift, Resample
from diffmix.plugins.node import NamedPlugin, PluginNode, plugin

__all__ = [
    "GSMFullRateCompressor",
    "MP3Compressor",
    "NamedPlugin",
    "PedalboardNode",
    "PitchShift",
    "PluginNode",
    "Resample",
    "plugin",
]
