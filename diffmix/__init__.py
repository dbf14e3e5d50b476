"""Differentiable audio effects and mixing: what you train is what you hear.

>>> import diffmix
>>> mix = diffmix.automix("path/to/stems/")   # doctest: +SKIP
>>> mix.settings["tracks"]["vox"]["compressor"]["threshold_db"]   # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffmix.api import automix, fit, render
    from diffmix.console import Console, Controls
    from diffmix.data.multitrack import Multitrack, Track, load
    from diffmix.errors import (
        AudioError,
        CheckpointError,
        DiffmixError,
        OutputError,
        PresetError,
        SettingsError,
    )
    from diffmix.kernels.backend import backend
    from diffmix.mix import Mix
    from diffmix.params import Param, ParamSpec
    from diffmix.processors import (
        BalanceWidth,
        Chain,
        Compressor,
        Gain,
        HighpassFilter,
        HighShelfFilter,
        LowpassFilter,
        LowShelfFilter,
        Pan,
        ParametricEQ,
        PeakFilter,
        Processor,
        Reverb,
    )
    from diffmix.settings import Settings

__version__ = "0.1.0"

_HOME = {
    "diffmix.api": ("automix", "fit", "render"),
    "diffmix.console": ("Console", "Controls"),
    "diffmix.data.multitrack": ("Multitrack", "Track", "load"),
    "diffmix.errors": (
        "AudioError",
        "CheckpointError",
        "DiffmixError",
        "OutputError",
        "PresetError",
        "SettingsError",
    ),
    "diffmix.kernels.backend": ("backend",),
    "diffmix.mix": ("Mix",),
    "diffmix.params": ("Param", "ParamSpec"),
    "diffmix.processors": (
        "BalanceWidth",
        "Chain",
        "Compressor",
        "Gain",
        "HighShelfFilter",
        "HighpassFilter",
        "LowShelfFilter",
        "LowpassFilter",
        "Pan",
        "ParametricEQ",
        "PeakFilter",
        "Processor",
        "Reverb",
    ),
    "diffmix.settings": ("Settings",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AudioError",
    "BalanceWidth",
    "Chain",
    "CheckpointError",
    "Compressor",
    "Console",
    "Controls",
    "DiffmixError",
    "Gain",
    "HighShelfFilter",
    "HighpassFilter",
    "LowShelfFilter",
    "LowpassFilter",
    "Mix",
    "Multitrack",
    "OutputError",
    "Pan",
    "Param",
    "ParamSpec",
    "ParametricEQ",
    "PeakFilter",
    "PresetError",
    "Processor",
    "Reverb",
    "Settings",
    "SettingsError",
    "Track",
    "__version__",
    "automix",
    "backend",
    "fit",
    "load",
    "render",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for, when it is asked for (PEP 562): importing diffmix stays quick."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'diffmix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
