"""Files that appear whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffmix.errors import DiffmixError, OutputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; move it to ``path`` on success, remove it on failure.

    A reader never sees half a file, also when the program is killed. Raises OutputError when the folder is missing
    or not writable, or the disk is full.
    """
    if path.is_dir():
        raise OutputError(f"{path}: cannot be written, because it is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written, because the folder {path.parent} does not exist")
    temporary = path.parent / f".{path.name}.part"  # a killed program's is overwritten by the next
    try:
        temporary.touch()
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `replacing` does; same errors."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(source: str | os.PathLike[str], what: str, mistake: type[DiffmixError]) -> tuple[Any, str]:
    """The data of a JSON file, or of JSON text that begins with a brace, and what messages call it.

    Raises ``mistake`` if the file cannot be read as ``what``, or if it is not JSON.
    """
    text, name = str(source), "the given text"
    if not text.lstrip().startswith("{"):
        name = text
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise mistake(f"{name} cannot be read as {what}: {error}") from None
    try:
        return json.loads(text), name
    except (ValueError, RecursionError) as error:  # ValueError also for a number of too many digits
        raise mistake(f"{name} is not JSON: {error}") from None
