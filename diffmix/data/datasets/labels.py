"""What a person says of the tracks, over what the files say: `labels.yaml` or `.csv`, and manifests of whole data sets.

`labels.yaml` in a song's folder gives roles by file name, or more than roles:

    01.wav: kick
    02.wav: {role: bass, gain_db: -3, start_s: 1.5, name: Bass DI}
    click.wav: skip
    Final.wav: mix

In the folder of all songs it has these under the name of each song. `labels.csv` has the same as columns (song,) file,
role, name, gain_db, start_s. A manifest (`manifest.yaml`, `manifest.csv`) says in the same ways which songs there are,
by their folders, and may divide them: under `train`, `val` and `test`, or in a column `split`.
"""

from __future__ import annotations

import csv
import math
import unicodedata
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from diffmix.data import audio
from diffmix.data.datasets import medleydb
from diffmix.data.datasets.layout import Kind, Wanted, collect, mapping, mixes, read_yaml, role_of
from diffmix.data.folders import left_out, nested_folders
from diffmix.data.multitrack import Source
from diffmix.data.roles import is_cue
from diffmix.data.songs import Place, Song, finished_mixes, source_of
from diffmix.errors import AudioError

SKIP, MIX = "skip", "mix"
SPLITS = {"train": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test"}
_COLUMNS = ("split", "song", "file", "role", "name", "gain_db", "start_s")
_ROLES: dict[str, str | None] = {**medleydb.ROLES, "vox": "lead_vocal", "backingvox": "backing_vocal"}


class Label(NamedTuple):
    """What is said of one file; what is None stays as it is."""

    role: str | None = None
    name: str | None = None
    gain_db: float | None = None
    start_s: float | None = None

    def over(self, source: Source) -> Source:
        """The source with what the label says."""
        said = {key: value for key, value in self._asdict().items() if value is not None}
        return replace(source, **said | ({"role": role_of(self.role, _ROLES)} if self.role else {}))


def _unknown(labels: Mapping[str, Label]) -> list[str]:
    """Notes of the roles that are none."""
    return [
        f"{file}: {label.role!r} is no role that is known"
        for file, label in labels.items()
        if label.role not in (None, SKIP, MIX) and role_of(label.role, _ROLES) is None
    ]


Labels = dict[str, dict[str, Label]]
"""By song (empty: the folder of the file itself), by file."""


def read(folder: Path, name: str) -> Labels:
    """The labels in a folder's `name`.yaml or .csv, none if it has no such file. Raises AudioError if one is broken."""
    for suffix in (".yaml", ".yml", ".csv"):
        if (file := folder / f"{name}{suffix}").is_file():
            return {song: files for part in read_file(file).values() for song, files in part.items()}
    return {}


def read_file(file: Path) -> dict[str | None, Labels]:
    """The labels in a file, by split (None where it does not say)."""
    if file.suffix.lower() == ".csv":
        return _read_csv(file)
    said = mapping(read_yaml(file) or {}, file, "the file")
    if said and set(said) <= set(SPLITS):
        return {SPLITS[part]: _labels(mapping(songs or {}, file, part), file) for part, songs in said.items()}
    return {None: _labels(said, file)}


def _labels(said: Mapping[str, Any], file: Path) -> Labels:
    found: Labels = {}
    for key, value in said.items():
        is_file = Path(key).suffix.lower() in audio.EXTENSIONS
        if isinstance(value, dict) and not is_file and not set(value) <= set(Label._fields):
            found[_plain(key)] = {_plain(str(f)): _label(v, file, str(f)) for f, v in value.items()}
        else:
            found.setdefault("", {})[_plain(key)] = _label(value, file, key)
    return found


def _label(value: Any, file: Path, of: str) -> Label:
    said = value if isinstance(value, dict) else {"role": value}
    if unknown := [key for key in said if key not in Label._fields]:
        raise AudioError(f"{file}: {of}: {unknown[0]!r} is not known; known are {', '.join(Label._fields)}")
    numbers = {key: _number(said[key], file, of) for key in ("gain_db", "start_s") if said.get(key) not in (None, "")}
    words = {key: str(said[key]) for key in ("role", "name") if said.get(key) not in (None, "")}
    return Label(**numbers, **words)  # type: ignore[arg-type]


def _number(value: Any, file: Path, of: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise AudioError(f"{file}: {of}: {value!r} is not a number")
    return number


def _read_csv(file: Path) -> dict[str | None, Labels]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioError(f"{file}: is not CSV that can be read ({error})") from error
    found: dict[str | None, Labels] = {}
    for row in rows:
        if "file" not in row or (unknown := [key for key in row if key not in _COLUMNS]):
            wrong = f"the column {unknown[0]!r} is not known" if "file" in row else "there is no column 'file'"
            raise AudioError(f"{file}: {wrong}; columns are {', '.join(_COLUMNS)}")
        split = SPLITS.get((row.pop("split", "") or "").lower())
        song, of = _plain(row.pop("song", "") or ""), row.pop("file")
        found.setdefault(split, {}).setdefault(song, {})[_plain(of)] = _label(row, file, of)
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def labelled(place: Place, root: Path) -> Song:
    """The song of a place, with what `labels` beside all songs say, and above that those in its own folder.

    Warns of labels of files that are not there.
    """
    song = place.read()
    near = read(song.folder, "labels").get("", {})
    far = read(root, "labels") if root != song.folder else {}
    here = unicodedata.normalize("NFC", song.folder.name)
    return _with(song, {**far.get(here, {}), **far.get(_plain(place.name), {}), **near})


def _with(song: Song, labels: Mapping[str, Label]) -> Song:
    if not labels:
        return song
    sources: list[Source] = []
    finished: list[Source] = []
    notes, wrong = list(song.notes), _unknown(labels)
    left = dict(labels)
    folders = dict.fromkeys([song.folder, *(file.parent for source in song.sources for file in source.files)])
    for source in song.sources:
        names = [_plain(file.name) for file in source.files] + [_plain(source.name)]
        found = next(iter([left.pop(name) for name in names if name in left]), Label())
        if found.role == SKIP:
            notes.append(f"{source.label}: left out, as its label says")
        elif found.role == MIX:
            finished.append(found._replace(role=None).over(source))
        else:
            sources.append(found.over(source))
    for name, label in left.items():
        there = next((file for folder in folders if (file := folder / name).is_file()), None)
        if there is None:
            wrong.append(f"{name}: has a label, but is no file of the song")
        elif label.role == MIX:
            finished.append(label._replace(role=None).over(source_of(there, MIX, None)))
        elif label.role == SKIP:
            continue
        elif label.role and is_cue(there.stem) and left_out(there, named=True) is None:  # the label knows better
            notes = [note for note in notes if name not in note.partition(": left out")[0].split(" + ")]
            sources.append(label.over(source_of(there, there.stem, None)))
        else:
            wrong.append(f"{name}: has a label, but is no track of the song")
    if not sources:
        raise AudioError(f"{song.folder}: its labels leave no track")
    for text in wrong:
        warnings.warn(f"{song.folder}: {text}", stacklevel=2)
    notes += wrong
    return replace(song, sources=tuple(sources), mixes=(*finished, *song.mixes), notes=tuple(notes))


# ------------------------------------------------------------------ manifests


def _find(root: Path) -> list[Place]:
    file = (
        root
        if root.is_file()
        else next((f for s in ("yaml", "yml", "csv") if (f := root / f"manifest.{s}").is_file()), None)
    )
    if file is None:
        return []
    places = []
    for split, songs in read_file(file).items():
        for song, files in songs.items():
            folder = file.parent / song
            places.append(Place(song or folder.name, partial(_read, folder, files), split))
    return places


def _read(folder: Path, files: Mapping[str, Label]) -> Song:
    notes = _unknown(files)
    tracks = {name: label for name, label in files.items() if label.role not in (SKIP, MIX)}
    wanted = [Wanted(Path(name).stem, None, (folder / name,)) for name in tracks]
    sources = collect(folder, wanted, notes)
    labels = {folder / name: label for name, label in tracks.items()}
    named = mixes([folder / name for name, label in files.items() if label.role == MIX], notes)
    beside = [parent for parent in (folder, *list(folder.parents)[:2]) if parent.is_dir()]
    return Song(
        folder.name,
        folder,
        tuple(labels[source.files[0]].over(source) for source in sources),
        named or finished_mixes(*beside[: 2 if _is_inner(folder) else 1]),
        notes=tuple(notes),
        unaligned=True,
    )


def _is_inner(folder: Path) -> bool:
    """Whether a folder is the `tracks` or `Song_RAW` of a song, whose mix lies beside it."""
    return folder.is_dir() and folder in nested_folders(folder.parent)


MANIFEST = Kind("manifest", "a manifest", "manifest.yaml or manifest.csv, which lists folders and files", _find)
