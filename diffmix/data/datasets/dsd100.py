"""DSD100: 100 songs as drums, bass, vocals and other, already processed, and their mixture.

A. Liutkus, F.-R. Stöter, Z. Rafii and others, "The 2016 Signal Separation Evaluation Campaign", 2017. For research and
educational use. Nothing is downloaded. Official splits: Dev is for training, Test for tests; a tenth of Dev, chosen by
the songs' names, is for validation.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffmix.data.datasets.layout import Kind, Wanted, collect, mixes
from diffmix.data.datasets.musdb import ROLES
from diffmix.data.datasets.splits import share
from diffmix.data.folders import subfolders
from diffmix.data.songs import Place, Song

_VALIDATION = 0.1


def _find(root: Path) -> list[Place]:
    places = []
    for part in ("Dev", "Test"):
        sources, mixtures = root / "Sources" / part, root / "Mixtures" / part
        if not sources.is_dir():
            continue
        mixed = {_title(folder): folder for folder in subfolders(mixtures)} if mixtures.is_dir() else {}
        for folder in subfolders(sources):
            if any((folder / f"{name}.wav").is_file() for name in ROLES):
                name = _title(folder)
                split = "test" if part == "Test" else "valid" if share(name) < _VALIDATION else "train"
                places.append(Place(name, partial(_read, folder, mixed.get(name)), split))
    return places


def _title(folder: Path) -> str:
    """The name without its number, which differs between the two halves of some copies: `055 - Artist - Title`."""
    number, _, title = folder.name.partition(" - ")
    return title if number.isdigit() and title else folder.name


def _read(folder: Path, mixture: Path | None) -> Song:
    notes: list[str] = []
    sources = collect(folder, [Wanted(n, role, (folder / f"{n}.wav",)) for n, role in ROLES.items()], notes)
    finished = mixes([mixture / "mixture.wav"] if mixture else [], notes)
    return Song(folder.name, folder, sources, finished, notes=tuple(notes))


DSD100 = Kind("dsd100", "DSD100", "Sources/{Dev,Test} and Mixtures/{Dev,Test} with a folder for each song", _find)
