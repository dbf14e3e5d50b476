"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from diffmix.errors import OutputError


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
