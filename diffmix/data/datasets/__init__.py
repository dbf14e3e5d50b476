"""Multitrack data sets as they lie on disk, each read in one way: songs known by headers, audio read in pieces.

    >>> from diffmix.data.datasets import open_dataset
    >>> songs = open_dataset("/data/musdb18hq", split="train")
    >>> piece = songs[0].segment(start_s=30, seconds=6)        # a Multitrack
    >>> mix = songs[0].mixed(start_s=30, seconds=6)            # (2, T)

Nothing is ever downloaded. Each module says whose data set it reads, and under which licence it may be used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from diffmix.data.datasets.cambridge import CAMBRIDGE
from diffmix.data.datasets.dsd100 import DSD100
from diffmix.data.datasets.enst import ENST
from diffmix.data.datasets.folders import FOLDER
from diffmix.data.datasets.labels import MANIFEST, labelled
from diffmix.data.datasets.layout import Kind
from diffmix.data.datasets.medleydb import MEDLEYDB, MEDLEYDB_STEMS
from diffmix.data.datasets.moisesdb import MOISESDB
from diffmix.data.datasets.musdb import MUSDB
from diffmix.data.datasets.slakh import SLAKH
from diffmix.data.datasets.splits import SPLITS, divided
from diffmix.data.folders import subfolders
from diffmix.data.songs import Dataset, Place, Song
from diffmix.errors import AudioError

__all__ = ["KINDS", "Dataset", "Kind", "Song", "address", "open_dataset", "song_at", "training_and_held_out"]

KINDS = {
    kind.name: kind
    for kind in (MANIFEST, MUSDB, DSD100, MOISESDB, SLAKH, ENST, MEDLEYDB, CAMBRIDGE, FOLDER, MEDLEYDB_STEMS)
}
"""Every kind of data set by its name, in the order in which they are tried."""

AUTO = "auto"


def open_dataset(
    root: str | os.PathLike[str], kind: str | None = None, split: str | None = None, sample_rate: int | None = None
) -> Dataset:
    """Find the songs of a data set; the kind is recognised (see `Dataset.kind`) unless `kind` of `KINDS` says it.

    Args:
        root: the folder of the data set, or one around it, or a manifest file.
        kind: None or "auto" to recognise it.
        split: "train", "valid", "test", or None for all songs.
        sample_rate: Hz of the pieces that `Dataset.draw` reads, or None for each song's own.

    Raises AudioError when there is nothing of the kind, saying what was looked for, or no song in the split.
    """
    root = Path(root)
    if split is not None and split not in SPLITS:
        raise AudioError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    found, places = _recognised(root, kind)
    places = [p._replace(read=partial(labelled, p, root if root.is_dir() else root.parent)) for p in divided(places)]
    chosen = [place for place in places if split in (None, place.split)]
    if not chosen:
        raise AudioError(f"{root}: none of its {len(places)} songs is for {split} ({found.name})")
    return Dataset(chosen, root, found.name, split, sample_rate)


def training_and_held_out(root: str | os.PathLike[str], kind: str | None = None) -> tuple[Dataset, Dataset]:
    """The songs to train on, and those for validation; where there are none, those for tests; a single song is both."""
    whole = open_dataset(root, kind)
    there = {place.split for place in whole.places}
    return tuple(  # type: ignore[return-value]
        open_dataset(root, whole.kind, next((split for split in wanted if split in there), None))
        for wanted in (("train",), ("valid", "test"))
    )


def address(dataset: Dataset, name: str) -> str:
    """A text from which `song_at` finds the song of that name again, in another process too."""
    return json.dumps([str(dataset.root.resolve()), dataset.kind, name])


def song_at(address: str) -> Song:
    """The song of an `address`; the data set is searched once in a process."""
    root, kind, name = json.loads(address)
    return _opened(root, kind).named(name)


@cache
def _opened(root: str, kind: str) -> Dataset:
    return open_dataset(root, kind)


def _recognised(root: Path, kind: str | None) -> tuple[Kind, list[Place]]:
    if not root.exists():
        raise AudioError(f"{root}: no such folder")
    if kind not in (None, AUTO):
        if kind not in KINDS:
            raise AudioError(f"there is no kind of data set {kind!r}; there are {AUTO}, {', '.join(KINDS)}")
        wanted = [KINDS[kind]]
    else:
        wanted = [MANIFEST] if root.is_file() else [k for k in KINDS.values() if k is not MEDLEYDB_STEMS]
    for candidate in wanted:
        for folder in _around(root):
            places = candidate.find(folder)
            if places and (kind not in (None, AUTO) or not candidate.plain or len(places) >= len(FOLDER.find(folder))):
                return candidate, places
    looked = "; ".join(f"{k.title}: {k.looks_for}" for k in wanted)
    raise AudioError(f"{root}: no data set in it that is known (looked for {looked})")


def _around(root: Path) -> Iterable[Path]:
    """The folder, and its only folder: archives often hold one folder around everything."""
    yield root
    if root.is_dir() and len(inside := subfolders(root)) == 1:
        yield inside[0]
