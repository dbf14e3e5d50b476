"""Whatever sets a console for a song: what such a model has, and how it is read back."""

import importlib
import json
from pathlib import Path as FilePath
from typing import Protocol

from diffmix.console import Console
from diffmix.data.multitrack import Multitrack
from diffmix.errors import CheckpointError
from diffmix.estimators.folder import CONFIG
from diffmix.settings import Settings
from diffmix.types import Path


class Mixer(Protocol):
    """A trained model that mixes by a console, so that its mixes can be edited and exported."""

    console: Console

    def settings_for(self, multitrack: Multitrack) -> Settings:
        """Every knob of `console` for these tracks, which are at its sample rate."""
        ...


FORMATS = {"diffmix-dmc": ("dmc", "DMC")}
"""Which class of which module of `diffmix.systems` reads a folder of a format, with ``load(folder, sample_rate)``."""


def load_mixer(folder: Path, sample_rate: float) -> Mixer:
    """Read a trained mixer of any kind, with its console at ``sample_rate`` Hz.

    Raises CheckpointError if there is none in the folder.
    """
    file = FilePath(folder) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no usable model in {folder}: {error}") from None
    form = config.get("format") if isinstance(config, dict) else None
    if form not in FORMATS:
        raise CheckpointError(f"{file} does not describe a mixer: its format is {form!r}, of {', '.join(FORMATS)}")
    module, name = FORMATS[form]
    found: Mixer = getattr(importlib.import_module(f"diffmix.systems.{module}"), name).load(folder, sample_rate)
    return found
