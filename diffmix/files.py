"""Files that appear whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
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


def check_folder(folder: Path) -> None:
    """Raise OutputError if files cannot be written to a folder, or if it cannot be made; leaves no trace."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        allowed = os.access(there, os.W_OK | os.X_OK)
        reason = "Not a directory" if not there.is_dir() else "" if allowed else "Permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise OutputError(f"cannot write to {folder}: {reason}")


_RESULTS = ("mix.wav", "master.wav", "transfer.wav")
"""What results are called, by their kinds; each of them has its knobs in a settings.json beside it."""


def spare(folder: Path, sounds: Sequence[str], recordings: Sequence[str | Path]) -> None:
    """Raise OutputError if a result, whose ``sounds`` go to a folder, would take what cannot be made again.

    That is one of the recordings that were read, a mix by others that lies among them, or a result of another kind,
    whose settings and report have the same names. The first of the sounds is one of `_RESULTS`.
    """
    own, made, files = sounds[0], (folder / "settings.json").exists(), [Path(file).resolve() for file in recordings]
    other = "choose another folder for the results"
    for name in sounds:
        if (folder / name).resolve() in files:
            raise OutputError(f"{folder / name} is the recording itself, which would be written over: {other}")
    if (folder / own).exists():
        if not made and folder.resolve() in {file.parent for file in files}:
            raise OutputError(f"{folder / own} lies beside the recordings and is no result of diffmix: {other}")
    elif made and (found := next((name for name in _RESULTS if (folder / name).exists()), "")):
        raise OutputError(f"{folder} holds {found}, whose settings and report would be written over: {other}")


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
            raise mistake(f"{name} cannot be read as {what}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return json.loads(text), name
    except (ValueError, RecursionError) as error:  # ValueError also for a number of too many digits
        raise mistake(f"{name} is not JSON: {error}") from None
