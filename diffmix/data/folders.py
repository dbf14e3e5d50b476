"""Which files and folders of a session hold tracks: told from names and sizes, without reading sound."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Any

from diffmix.data import audio
from diffmix.data.roles import is_cue

HIDDEN, OTHER, CUE = "hidden file", "not an audio file", "by its name only the players hear it"
"""Reasons to leave a file out."""

UNREAD = (".m4a", ".aac", ".mp4", ".wma", ".opus", ".alac", ".ape", ".caf", ".w64", ".wv", ".mka")
"""Extensions of sound that is not read."""

_NESTED = ("tracks", "raw", "stems", "multitrack", "multitracks", "audio")  # in order of preference
_MIXTURE = re.compile(r"^(mix|mixture|master|mixdown)$|[ _.-](mix|master|mixdown)$", re.IGNORECASE)
_SIDE = re.compile(  # "OH_L", "OH (left)", and a capital behind other letters, "OHL"
    r"^(?P<base>.+?)(?:%|[ _.\-]+[(\[]?|(?-i:(?=[LR]$)))(?P<side>L|R|left|right|links|rechts)[)\]]?$", re.IGNORECASE
)


def files_in(folder: Path) -> list[Path]:
    """Every file in `folder` itself, in natural order."""
    return sorted((file for file in folder.iterdir() if file.is_file()), key=natural)


def is_mixture(file: Path) -> bool:
    """Whether a name is that of a finished mix: `mix.wav`, `Song_MASTER.flac`."""
    return file.suffix.lower() in audio.EXTENSIONS and _MIXTURE.search(file.stem) is not None


def left_out(file: Path, named: bool = False) -> str | None:
    """Why a file is not a track, or None if it is one, or claims to be; one that was `named` may be called anything."""
    if file.name.startswith("."):
        return HIDDEN
    if file.suffix.lower() not in (*audio.EXTENSIONS, *UNREAD):
        return OTHER
    if file.stat().st_size == 0:
        return "empty file (0 bytes)"
    with open(file, "rb") as head:
        if head.read(23) == b"version https://git-lfs":
            return "Git LFS pointer (fetch it with `git lfs pull`)"
    if not named and is_mixture(file):
        return "a finished mix, never an input"
    if not named and is_cue(file.stem):
        return CUE
    return None


def stem_of(file: Path) -> str:
    """What a file is called, without its extension."""
    return unicodedata.normalize("NFC", file.stem)


def side_of(file: Path) -> tuple[str, str]:
    """The name of a recording and which side of it a file is called, "L", "R" or, if none, ""."""
    match = _SIDE.match(stem_of(file))
    return (match["base"], "L" if match["side"][0] in "Ll" else "R") if match else (stem_of(file), "")


def is_named(file: Path, names: Collection[str]) -> bool:
    """Whether the track of a file may have one of these names: the file's, with or without its side and its folder."""
    own = {stem_of(file), side_of(file)[0]}
    folder = unicodedata.normalize("NFC", file.absolute().parent.name)
    return not {*own, *(f"{folder} {name}" for name in own)}.isdisjoint(names)


def song_folder(folder: Path, depth: int = 3) -> Path | None:
    """The folder that holds the tracks: `folder` itself, else its `tracks/`, `raw/`, `stems/`, or its only folder with
    tracks; at most `depth` levels down. None if there is none."""
    if stem_files(folder):
        return folder
    if depth == 0:
        return None
    for child in nested_folders(folder):
        if inner := song_folder(child, depth - 1):
            return inner
    found = [inner for child in subfolders(folder) if (inner := song_folder(child, depth - 1))]
    return found[0] if len(found) == 1 else None


def holds_tracks(folder: Path, depth: int = 3) -> bool:
    """Whether there are tracks in a folder or below it; those of a result of ours are none."""
    if is_result(folder):
        return False
    return bool(stem_files(folder)) or (depth > 0 and any(holds_tracks(f, depth - 1) for f in subfolders(folder)))


def stem_files(folder: Path) -> list[Path]:
    """The files in `folder` itself that are tracks by their names, in natural order."""
    return [file for file in files_in(folder) if left_out(file) is None]


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden and may be looked into, in natural order."""
    inside = (f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    return sorted((f for f in inside if os.access(f, os.R_OK | os.X_OK)), key=natural)


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Every file in a folder and in those below it, but for the folders of a result of ours and links in a circle."""
    above |= {folder.resolve()}
    found = [*files_in(folder)]
    for inner in [] if is_result(folder) else subfolders(folder):
        if not is_result(inner) and inner.resolve() not in above:
            found += files_below(inner, above)
    return found


def is_result(folder: Path) -> bool:
    """Whether a folder is one that a mix of ours was saved in."""
    return (folder / "settings.json").exists()


def nested_folders(folder: Path) -> list[Path]:
    """The folders in `folder` called `tracks`, `raw`, `stems`... (or `Song_RAW`...), the preferred one first."""
    return [
        child
        for kind in _NESTED
        for child in subfolders(folder)
        if child.name.lower() == kind or child.name.lower().endswith(f"_{kind}")
    ]


def natural(path: Path) -> tuple[Any, ...]:
    """Sort key that puts `2 Bass` before `10 Vox`."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", path.name).casefold())
    return (*((int(p) if i % 2 else p) for i, p in enumerate(parts)), path.name)
