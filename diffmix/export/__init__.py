"""Results for other tools: presets that Pedalboard plays, from mixes and graphs, and back."""

from diffmix.export.from_graph import carried, preset_of, uncarried
from diffmix.export.pedalboard import PedalboardMix, to_pedalboard
from diffmix.export.preset import load, save, schema, validate, write_player
from diffmix.export.to_graph import Imported, graph_of, graph_of_board

__all__ = [
    "Imported",
    "PedalboardMix",
    "carried",
    "graph_of",
    "graph_of_board",
    "load",
    "preset_of",
    "save",
    "schema",
    "to_pedalboard",
    "uncarried",
    "validate",
    "write_player",
]
