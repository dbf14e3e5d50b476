"""A preset as live Pedalboard objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from diffmix.errors import AudioError
from diffmix.export import standalone
from diffmix.export.preset import Preset, validate

if TYPE_CHECKING:
    from pedalboard import Pedalboard


@dataclass(frozen=True)
class PedalboardMix:
    """A preset with one live Pedalboard per node in ``boards``, whose knobs may be turned."""

    preset: Preset
    boards: "dict[str, Pedalboard]"

    def render(self, stems: Mapping[str, np.ndarray]) -> np.ndarray:
        """Mix stems, by track name each (C, T) at the preset's sample rate, to (2, T) float32.

        Where one channel is needed, several that are the same will do, as in files: a mix uses such a track as mono.
        Raises AudioError if a stem is missing or differs in channels or length.
        """
        tracks = {node["name"]: node["source"]["channels"] for node in self.preset["nodes"] if "source" in node}
        if missing := [name for name in tracks if name not in stems]:
            raise AudioError(f"The preset needs the stems {', '.join(tracks)}; missing are {', '.join(missing)}.")
        heard = {name: _alike(np.asarray(stems[name]), channels) for name, channels in tracks.items()}
        length = heard[next(iter(tracks))].shape[-1]
        for name, channels in tracks.items():
            if heard[name].shape != (channels, length):
                raise AudioError(f"Stem {name!r} has shape {np.shape(stems[name])}; needed is {(channels, length)}.")
        for board in self.boards.values():
            for plugin in board:
                plugin.reset()  # a knob turned since the last render must not glide
        return cast(np.ndarray, standalone.render(self.preset, self.boards, heard))


def _alike(x: np.ndarray, channels: int) -> np.ndarray:
    """The first channel of audio whose channels are all the same, where one is needed; else the audio."""
    return x[:1] if channels == 1 and x.ndim == 2 and len(x) > 1 and (x == x[0]).all() else x


def board(plugins: Sequence[Any]) -> "Pedalboard":
    """Live plugins, one behind the other, as one Pedalboard."""
    import pedalboard

    return pedalboard.Pedalboard(list(plugins))


def to_pedalboard(preset: Preset) -> PedalboardMix:
    """Live Pedalboards with the routing of a preset; raises PresetError if it is not valid."""
    validate(preset)
    return PedalboardMix(preset, standalone.boards(preset))
