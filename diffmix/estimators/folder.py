"""A trained model as a folder: ``config.json``, which a person can read, and ``model.safetensors``."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

from torch import Tensor, nn

from diffmix.errors import CheckpointError, about
from diffmix.files import check_format
from diffmix.types import Path

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_model(folder: Path, module: nn.Module, config: Mapping[str, Any]) -> None:
    """Write a module's weights and the plain data that describe it, whole or not at all."""
    from safetensors.torch import save

    folder = FilePath(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = FilePath(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        weights = {name: part.detach().cpu().contiguous() for name, part in module.state_dict().items()}
        (temporary / WEIGHTS).write_bytes(save(weights))
        (temporary / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for file in (WEIGHTS, CONFIG):
            os.replace(temporary / file, folder / file)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@about("folder", CheckpointError)
def read_model(folder: Path, what: str, form: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights of ``what`` ("a mixer") in format ``form``.

    Raises CheckpointError if a file is missing or broken, or of another format or version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = FilePath(folder)
    if absent := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise CheckpointError(f"no usable model in {folder}: there is no {' and no '.join(absent)}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"no usable model in {folder}: {error}") from None
    return check_format(config, str(folder / CONFIG), what, form, version, CheckpointError), weights


@contextmanager
def described(folder: Path) -> Iterator[None]:
    """A block that makes what a config says. Raises CheckpointError for whatever goes wrong there."""
    try:
        yield
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{folder} describes a model that cannot be: its config has no {error}") from error
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} describes a model that cannot be: {' '.join(str(error).split())}") from error


def fill(module: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Load weights into a module. Raises CheckpointError if they are another's."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: {' '.join(str(error).split())}") from None
