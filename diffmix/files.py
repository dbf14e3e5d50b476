"""Files that appear whole or not at all."""

import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffmix.errors import DiffmixError, OutputError, about


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


@contextlib.contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """Give an empty hidden folder in ``folder``, which is made, for files that are to appear there all at once.

    It goes at the end, whatever happens; those that killed programs have left behind go at the beginning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(".diffmix.????????"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _GRACE_S and (lock := _lock(old)) is not None:
                shutil.rmtree(old, ignore_errors=True)
                os.close(lock)
    temporary = Path(tempfile.mkdtemp(prefix=".diffmix.", dir=folder))
    lock = _lock(temporary)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def result(folder: Path, perhaps: Iterable[str] = ()) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Give an empty folder, whose files are a result in ``folder`` at the end, and a dict that has their paths then.

    Of ``perhaps``, what a result of the kind may have, those of an earlier one go that are not among them; what was
    edited by hand is kept. Raises OutputError.
    """
    written: dict[str, Path] = {}
    try:
        with workshop(folder) as temporary:
            yield temporary, written
            written |= keep_edited(folder, temporary)
            for file in sorted(temporary.rglob("*")):
                if file.is_dir():
                    (folder / file.name).mkdir(exist_ok=True)
                    continue
                name = file.relative_to(temporary).as_posix()
                os.replace(file, folder / name)
                written[name] = folder / name
            for name in set(perhaps) - written.keys():
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from None
    except OutputError as error:
        raise OutputError(str(error).replace(str(temporary), str(folder))) from None


_GRACE_S = 5.0
"""How old a hidden folder without a lock has to be: one that was just made is locked in a moment."""


def _lock(folder: Path) -> int | None:
    """Take the lock of a folder, which the system gives back when the program ends, be it killed.

    Returns its descriptor, or None if it is another program's or there are no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = -1
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor >= 0:
            os.close(descriptor)
        return None
    return descriptor


@about("path", OutputError)
def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `replacing` does; same errors."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@about("folder", OutputError)
def made_folder(folder: Path) -> Path:
    """A folder, with those above it, made if it is missing. Raises OutputError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from None
    return folder


@about("folder", OutputError)
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


_RESULTS = ("mix.wav", "master.wav", "transfer.wav", "estimate.wav")
"""What results are called, by their kinds; each has its knobs in a settings.json beside it, or all in a graph.json."""

_OTHER = "choose another folder for the results"


@about("folder", OutputError)
def spare(folder: Path, sounds: Sequence[str], recordings: Iterable[str | Path] = ()) -> None:
    """Raise OutputError if a result, whose ``sounds`` go to a folder, would take what cannot be made again.

    That is one of the recordings that are read, a file by others of the same name, or a result of another kind, whose
    settings and report have the same names. The first of the sounds is one of `_RESULTS`.
    """
    own, files = sounds[0], [Path(file).resolve() for file in recordings]
    made = any((folder / name).exists() for name in ("settings.json", "graph.json"))
    for name in sounds:
        if (folder / name).resolve() in files:
            raise OutputError(f"{folder / name} is the recording itself, which would be written over: {_OTHER}")
        if (folder / name).exists() and not made:
            raise OutputError(f"{folder / name} is no result of diffmix and would be written over: {_OTHER}")
    kinds = (name for name in _RESULTS if (folder / name).exists())
    if made and not (folder / own).exists() and (found := next(kinds, "")):
        raise OutputError(f"{folder} holds {found}, whose settings and report would be written over: {_OTHER}")


_BY_HAND = ("settings.json", "preset.json", "console.json", "graph.json", "mix.dawproject")
"""Files of a result that people edit."""


def keep_edited(folder: Path, coming: Path) -> dict[str, Path]:
    """Rename what was edited by hand since the report of a folder was written, unless the same is ``coming``.

    The files of a new result, ready in ``coming``, do not replace a person's work. Returns the new paths by name.
    """
    report, kept = folder / "report.json", {}
    for file in (folder / name for name in _BY_HAND):
        if not (report.exists() and file.exists() and file.stat().st_mtime_ns > report.stat().st_mtime_ns):
            continue
        with contextlib.suppress(OSError, ValueError):
            old, new = (json.loads(path.read_text(encoding="utf-8-sig")) for path in (file, coming / file.name))
            if old == new:
                continue
        names = (f"{file.stem}.edited{f'-{number}' if number else ''}{file.suffix}" for number in itertools.count())
        other = next(path for path in (folder / name for name in names) if not path.exists())
        file.rename(other)
        kept[other.name] = other
    return kept


def left_behind(folder: Path, written: Iterable[Path], recordings: Iterable[str | Path] = ()) -> list[Path]:
    """Sounds in a folder of results that are of an earlier run: neither ``written`` now nor among the recordings.

    Of a numbered result and of stems that are all left behind only the folder is named.
    """
    now = {file.resolve() for file in written}
    spared = {Path(file).resolve().parent for file in recordings}
    places = [folder, *sorted((f for f in folder.glob("[0-9]*") if f.name.isdecimal()), key=lambda f: int(f.name))]
    found: list[Path] = []
    for place in places:
        results = [file for name in _RESULTS if (file := place / name).exists() and file.resolve() not in now]
        if results and place != folder:
            found.append(place)
            continue
        stems = sorted((place / "stems").glob("*.wav")) if (place / "stems").resolve() not in spared else []
        old = [file for file in stems if file.resolve() not in now]
        found += [*results, *([place / "stems"] if old and old == stems else old)]
    return found


@about("source")
def read_json(source: str | os.PathLike[str], what: str, mistake: type[DiffmixError]) -> tuple[Any, str]:
    """The data of a JSON file, or of JSON text that begins with a brace, and what messages call it.

    Raises ``mistake`` if the file cannot be read as ``what``, or if it is not JSON; a name that stands twice in one
    object is a slip of the hand, and said, since one of the two would be lost.
    """
    text, name = str(source).removeprefix("\ufeff"), "the given text"
    if not text.strip():
        raise mistake(f"an empty text is not {what}; JSON text or the name of a file is needed")
    if not text.lstrip().startswith("{"):
        name = text
        try:
            text = Path(source).read_text(encoding="utf-8-sig")  # some editors put a mark before it
        except UnicodeDecodeError as error:
            raise mistake(f"{name} is not JSON: it cannot be read as UTF-8 from byte {error.start} on") from None
        except (OSError, ValueError) as error:
            raise mistake(f"{name} cannot be read as {what}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole), name
    except KeyError as twice:
        raise mistake(f"{name} holds {twice} twice in one place, where once is allowed") from None
    except (ValueError, RecursionError) as error:
        raise mistake(f"{name} is not JSON: {error}") from None


def check_format(
    data: Any, where: str, what: str, form: str, version: Any, mistake: type[DiffmixError]
) -> dict[str, Any]:
    """The data of a file, if it says that it is ``what`` in this format and version; raises ``mistake`` otherwise."""
    if not isinstance(data, Mapping) or data.get("format") != form:
        raise mistake(f"{where} does not hold {what}: its format is not {form!r}")
    if data.get("version") != version:
        raise mistake(f"{where} has version {data.get('version')}, this diffmix reads version {version}")
    return dict(data)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no name stands twice: what is pasted must not be lost without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyError(next(name for name in names if names.count(name) > 1))
    return found


def _whole(digits: str) -> float:
    """A whole number; one that no machine word holds is a float, be it infinite, which those who check numbers see."""
    return int(digits) if len(digits) < 19 else float(digits)
