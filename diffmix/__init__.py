"""Differentiable audio effects and mixing: what you train is what you hear.

>>> import diffmix
>>> mix = diffmix.automix("path/to/stems/")   # doctest: +SKIP
>>> mix.settings["tracks"]["vox"]["compressor"]["threshold_db"]   # doctest: +SKIP
>>> mix.save("out/")   # doctest: +SKIP

- Calls: `automix`, `automix_variants`, `master`, `transfer`, `describe`, `render`, `fit`,
  `estimate_graph`, `play`, `load`; explained below, and what ``from diffmix import *`` gives.
- Results: `Mix` and `Transfer`, which is one; their `Settings` are every knob by name, to read, turn and save; and
  `Estimate`, a graph.
- To build with: `Console`, `Graph`, `plugin` for those of others, `backend`, and every effect of `diffmix.processors`
  as ``diffmix.Compressor`` (only ``diffmix.Mix`` is something else, a result).
- Errors: `DiffmixError`, a ValueError, is whatever an input can cause: `AudioError`, `SettingsError`, `GraphError`,
  `PresetError`, `CheckpointError`, `OutputError`, `PluginError`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # each name "as" itself, so that checkers of programs that use it know it is offered here
    from diffmix.processors import *  # noqa: F403, I001  (first, since its `Mix` is not the one offered here)
    from diffmix.api import (
        automix as automix,
        automix_variants as automix_variants,
        fit as fit,
        play as play,
        render as render,
    )
    from diffmix.console import Console as Console, Controls as Controls
    from diffmix.data.multitrack import Multitrack as Multitrack, Track as Track, load as load
    from diffmix.errors import (
        AudioError as AudioError,
        CheckpointError as CheckpointError,
        DiffmixError as DiffmixError,
        GraphError as GraphError,
        OutputError as OutputError,
        PluginError as PluginError,
        PresetError as PresetError,
        SettingsError as SettingsError,
    )
    from diffmix.estimation import Estimate as Estimate, estimate_graph as estimate_graph
    from diffmix.graph import Graph as Graph
    from diffmix.kernels.backend import backend as backend
    from diffmix.mastering import master as master
    from diffmix.mix import Mix as Mix  # type: ignore[assignment]
    from diffmix.params import Param as Param, ParamSpec as ParamSpec
    from diffmix.plugins import plugin as plugin
    from diffmix.settings import Settings as Settings
    from diffmix.transferring import Transfer as Transfer, describe as describe, transfer as transfer

__version__ = "0.1.0"

_HOME = {
    "diffmix.api": ("automix", "automix_variants", "fit", "play", "render"),
    "diffmix.console": ("Console", "Controls"),
    "diffmix.data.multitrack": ("Multitrack", "Track", "load"),
    "diffmix.errors": (
        "AudioError",
        "CheckpointError",
        "DiffmixError",
        "GraphError",
        "OutputError",
        "PluginError",
        "PresetError",
        "SettingsError",
    ),
    "diffmix.estimation": ("Estimate", "estimate_graph"),
    "diffmix.graph": ("Graph",),
    "diffmix.kernels.backend": ("backend",),
    "diffmix.mastering": ("master",),
    "diffmix.mix": ("Mix",),
    "diffmix.params": ("Param", "ParamSpec"),
    "diffmix.plugins": ("plugin",),
    "diffmix.settings": ("Settings",),
    "diffmix.transferring": ("Transfer", "describe", "transfer"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load what is asked for, when it is asked for (PEP 562): importing diffmix stays quick."""
    if name == "__all__":  # the calls alone: with each method that effects have from torch, help would take megabytes
        return [name for name in _WHERE if name.islower()]
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if not name.startswith("_") and name in import_module("diffmix.processors").__all__:
        return getattr(import_module("diffmix.processors"), name)
    if not name.startswith("_") and find_spec(f"diffmix.{name}"):
        return import_module(f"diffmix.{name}")
    raise AttributeError(f"module 'diffmix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", *_WHERE, *import_module("diffmix.processors").__all__})
