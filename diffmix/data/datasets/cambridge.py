"""The Cambridge Music Technology library ("Mixing Secrets" free multitracks), as unzipped and as researchers keep it.

M. Senior, https://cambridge-mt.com/ms/mtk/: for educational use, not to be passed on; several artists add their own
terms. Nothing is downloaded. No official splits: the artist decides.

Read are folders as they come out of the archives (`Artist_Song_Full/01_Kick.wav`), copies with `tracks/` and `mixes/`
in a folder for each song, and those with `correspondence.yaml` and `mix.wav`. Mixes are previews that begin anywhere:
they are aligned when they are read. Roles are guessed from the names, else taken from `correspondence.yaml`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from diffmix.data import audio
from diffmix.data.datasets.layout import Kind, mapping, mixes, read_yaml, role_of, within
from diffmix.data.folders import files_in, is_mixture, stem_files, subfolders
from diffmix.data.multitrack import plan
from diffmix.data.songs import Place, Song, finished_mixes

CLASSES: dict[str, str | None] = {
    "drum": "drums",
    "elecgtr": "guitar",
    "acgtr": "guitar",
    "leadvox": "lead_vocal",
    "backingvox": "backing_vocal",
    "misc": None,
    "other": None,
}
_TRACKS, _MIXES, _FULL = "tracks", "mixes", "_Full"
_CORRESPONDENCE = "correspondence.yaml"


def _find(root: Path) -> list[Place]:
    places = []
    for folder in within(root, 2):
        if (folder / _TRACKS).is_dir() and (folder / _MIXES).is_dir():
            inside = folder / _TRACKS
            songs = [child for child in subfolders(inside) if stem_files(child)]
            if stem_files(inside):
                songs = [inside, *songs]
            places += [_place(folder if song == inside else song, song) for song in songs]
        elif (folder / _CORRESPONDENCE).is_file():
            places += [_place(folder, child) for child in subfolders(folder) if stem_files(child)][:1]
        elif folder.name.endswith(_FULL) and stem_files(folder):
            places.append(_place(folder, folder))
    return places


def _place(song: Path, tracks: Path) -> Place:
    name = song.name.removesuffix(_FULL)
    return Place(name, partial(_read, tracks, name), group=name.partition("_")[0] if "_" in name else None)


def _read(tracks: Path, name: str) -> Song:
    files = [file for file in files_in(tracks) if not is_mixture(file)]
    sources, notes = plan(files, str(tracks), forgiving=True)
    folder, finished = tracks, finished_mixes(tracks)
    beside = next((p / _MIXES for p in (tracks.parent, tracks.parent.parent) if (p / _MIXES).is_dir()), None)
    if beside and _TRACKS in (tracks.name, tracks.parent.name):
        folder = beside.parent
        finished = mixes(sorted(_audio_in(beside), key=partial(_rank, name=name)), notes)
    elif (tracks.parent / _CORRESPONDENCE).is_file():
        folder, finished = tracks.parent, finished_mixes(tracks.parent)
        classes = _classes(folder / _CORRESPONDENCE)
        sources = [replace(s, role=s.role or classes.get(s.files[0].stem.casefold())) for s in sources]
    return Song(name, folder, tuple(sources), finished, notes=tuple(notes), unaligned=True)


def _audio_in(folder: Path) -> list[Path]:
    return [f for f in files_in(folder) if f.suffix.lower() in audio.EXTENSIONS and not f.name.startswith(".")]


def _rank(file: Path, name: str) -> tuple[bool, bool, str]:
    """The mix of this song comes first, and of its mixes that of the whole song."""
    return name.casefold() not in file.stem.casefold(), "full" not in file.stem.casefold(), file.name


def _classes(file: Path) -> dict[str, str | None]:
    """Roles by file name; the correspondence lists the files of each class."""
    found = {}
    for kind, names in mapping(read_yaml(file), file, "the file").items():
        for name in names if isinstance(names, list) else [names]:
            found[Path(str(name)).stem.casefold()] = role_of(kind, CLASSES)
    return found


CAMBRIDGE = Kind(
    "cambridge",
    "Cambridge multitracks",
    "Artist_Song_Full/ with tracks, or song folders that hold tracks/ and mixes/, or correspondence.yaml",
    _find,
    plain=True,
)
