"""What every data set declares, and what their readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from diffmix.data import audio
from diffmix.data.folders import left_out, subfolders
from diffmix.data.multitrack import Source, distinct
from diffmix.data.roles import ROLES, guess_role
from diffmix.data.songs import Place, source_of
from diffmix.errors import AudioError


class Kind(NamedTuple):
    """How one data set lies on disk.

    `find` gives the songs under a folder, none where it holds something else; `looks_for` says what it looks for. A
    kind that is `plain` looks like any folder of songs: it is recognised only where all songs are of this kind.
    """

    name: str
    title: str
    looks_for: str
    find: Callable[[Path], list[Place]]
    plain: bool = False


class Wanted(NamedTuple):
    """A track that a data set names: its file, or its left and right ones."""

    name: str
    role: str | None
    files: tuple[Path, ...]


def collect(folder: Path, wanted: Iterable[Wanted], notes: list[str]) -> tuple[Source, ...]:
    """The tracks that are there, by their headers; what is missing, empty or broken is noted.

    Raises AudioError if no track is left.
    """
    sources: list[Source] = []
    taken: set[str] = set()
    for track in wanted:
        found = [source for file in track.files if (source := _usable(file, track, notes))]
        pair = len(found) == 2 and len({source.sample_rate for source in found}) == 1
        if pair and all(audio.info(source.files[0]).channels == 1 for source in found):
            found = [source_of(track.files, track.name, track.role)]
        sources += [replace(source, name=distinct(source.name, taken)) for source in found]
    if not sources:
        raise AudioError(f"{folder}: no usable track: {'; '.join(notes) or 'none is named'}")
    return tuple(sources)


def _usable(file: Path, track: Wanted, notes: list[str]) -> Source | None:
    if not file.is_file():
        notes.append(f"{file.name}: is missing")
        return None
    if reason := left_out(file, named=True):
        notes.append(f"{file.name}: left out, {reason}")
        return None
    try:
        return source_of(file, track.name, track.role)
    except AudioError as error:
        notes.append(f"{file.name}: left out, {str(error).removeprefix(f'{file}: ')}")
        return None


def mixes(files: Iterable[Path], notes: list[str]) -> tuple[Source, ...]:
    """The finished mixes among files that are there and can be read."""
    return tuple(m for file in files if file.is_file() and (m := _usable(file, Wanted("mix", None, ()), notes)))


def role_of(label: str, table: Mapping[str, str | None]) -> str | None:
    """The role that a data set's label means: as its `table` says, else guessed from the words."""
    key = label.casefold().strip()
    if key in ROLES:
        return key
    return table[key] if key in table else guess_role(label)


def within(root: Path, depth: int) -> Iterable[Path]:
    """`root` and the visible folders in it, `depth` levels down, in natural order."""
    yield root
    if depth:
        for child in subfolders(root):
            yield from within(child, depth - 1)


def read_yaml(file: Path) -> Any:
    """What a YAML file says; objects of Python are refused. Raises AudioError when it is not YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(file.read_text(encoding="utf-8-sig"), loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AudioError(f"{file}: is not YAML that can be read ({' '.join(str(error).split())})") from error


def mapping(value: Any, file: Path, what: str) -> dict[str, Any]:
    """`value`, if it is a mapping. Raises AudioError otherwise."""
    if not isinstance(value, dict):
        raise AudioError(f"{file}: {what} is not a mapping of names to values")
    return {str(key): item for key, item in value.items()}
