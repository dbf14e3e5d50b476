"""Plain folders of songs, one file per track, in any of the ways that sessions are handed over.

A song is a folder with two or more audio files, in itself or in its `tracks/`, `raw/` or `stems/`; a `mix.wav`,
`mixture.wav`, `Song_MIX.wav` ... beside them is its finished mix. They belong to whoever recorded them; nothing is
downloaded. The song's name decides its split.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from diffmix.data.datasets.layout import Kind
from diffmix.data.songs import Place, read_folder, songs
from diffmix.errors import AudioError


def _find(root: Path) -> list[Place]:
    try:
        found = songs(root)
    except AudioError:
        return []
    often = Counter(folder.name for folder in found)
    return [
        Place(f.name if often[f.name] == 1 else f.relative_to(root).as_posix(), partial(read_folder, f)) for f in found
    ]


FOLDER = Kind("folder", "a folder of songs", "song folders with two or more audio files, one per track", _find)
