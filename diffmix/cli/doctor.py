"""Check that everything diffmix needs can be imported."""

import argparse
import sys

from diffmix import __version__
from diffmix.errors import DiffmixError

PACKAGES = (
    "torch",
    "torchaudio",
    "numpy",
    "scipy",
    "numba",
    "dasp_pytorch",
    "pedalboard",
    "pyloudnorm",
    "auraloss",
    "hydra",
    "yaml",
    "lightning",
    "soundfile",
    "safetensors",
    "matplotlib",
    "rich",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing may be asked of it."""


def run(options: argparse.Namespace) -> None:
    """Import each package and show its version. Raises DiffmixError if one cannot be."""
    from importlib import import_module
    from importlib.metadata import version

    names = {"hydra": "hydra-core", "dasp_pytorch": "dasp-pytorch", "yaml": "pyyaml"}
    broken = 0
    print(f"diffmix {__version__}, Python {sys.version.split()[0]}")
    for package in PACKAGES:
        try:
            import_module(package)
            print(f"  {package:<14} {version(names.get(package, package))}")
        except Exception as error:
            broken += 1
            print(f"  {package:<14} cannot be imported: {error}")
    if broken:
        raise DiffmixError(f"{broken} of {len(PACKAGES)} packages cannot be imported; pip install diffmix again")
