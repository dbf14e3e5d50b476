"""Results for other tools: presets that Pedalboard plays."""

from diffmix.export.pedalboard import PedalboardMix, to_pedalboard
from diffmix.export.preset import build, load, save, schema, validate, write_player

__all__ = ["PedalboardMix", "build", "load", "save", "schema", "to_pedalboard", "validate", "write_player"]
