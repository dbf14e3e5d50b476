"""MedleyDB, versions 1 and 2: 196 songs as raw tracks, as stems, and as mixes, with a description of each song.

R. Bittner, J. Salamon, M. Tierney, M. Mauch, C. Cannam and J. P. Bello, "MedleyDB: A multitrack dataset for
annotation-intensive MIR research", ISMIR 2014. CC BY-NC-SA 4.0. Nothing is downloaded. No official splits: the artist
decides. Mixes may begin a little earlier or later than the tracks, and are aligned when they are read.

Songs come as their raw tracks, or as their stems where they have no others; `medleydb-stems` is the stems of every
song. The descriptions (`Song_METADATA.yaml`) lie beside the audio or in `Metadata/` or `medleydb/data/Metadata/` beside
the songs; without one, tracks have no roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from diffmix.data.datasets.layout import Kind, Wanted, collect, mapping, mixes, read_yaml, role_of, within
from diffmix.data.folders import stem_files
from diffmix.data.songs import Place, Song

ROLES: dict[str, str | None] = {
    "vocalists": "backing_vocal",
    "male rapper": "lead_vocal",
    "female rapper": "lead_vocal",
    "beatboxing": "percussion",
    "claps": "percussion",
    "euphonium": "brass",
    "cornet": "brass",
    "drum set": "drums",
    "sampler": "synth",
    "theremin": "synth",
    "scratches": "fx",
    "gong": "percussion",
    "timpani": "percussion",
    "doumbek": "percussion",
    "darbuka": "percussion",
    "guiro": "percussion",
    "cabasa": "percussion",
    "castanet": "percussion",
    "maracas": "percussion",
    "gu": "percussion",
    "erhu": "strings",
    "dizi": "woodwind",
    "panpipes": "woodwind",
    "melodica": "woodwind",
    "bamboo flute": "woodwind",
    "guzheng": "guitar",
    "zhongruan": "guitar",
    "liuqin": "guitar",
    "pipa": "guitar",
    "oud": "guitar",
    "sitar": "guitar",
    "yangqin": "keys",
    "harpsichord": "keys",
    "main system": None,
    "unlabeled": None,
}


def _find(root: Path, stems: bool) -> list[Place]:
    return [
        Place(folder.name, partial(_read, folder, root, stems), group=folder.name.partition("_")[0])
        for folder in within(root, 3)
        if (folder / f"{folder.name}_STEMS").is_dir() or (not stems and (folder / f"{folder.name}_RAW").is_dir())
    ]


def _read(folder: Path, root: Path, stems: bool) -> Song:
    name, notes = folder.name, []
    file, about = _description(folder, root)
    if not file:
        notes.append(f"{name}_METADATA.yaml: is missing, the tracks have no roles")
    if about.get("has_bleed") == "yes":
        notes.append("microphones heard each other (has_bleed)")
    raw = folder / str(about.get("raw_dir") or f"{name}_RAW")
    stem = folder / str(about.get("stem_dir") or f"{name}_STEMS")
    inside = stem if stems or not raw.is_dir() else raw
    if file and "stems" in about:
        wanted = list(_named(about, file, inside, inside == stem))
    else:  # a plain list of file names and instruments, or nothing
        wanted = [_wanted(f, about.get(f.name)) for f in stem_files(inside)]
    sources = collect(folder, wanted, notes)
    finished = mixes([folder / str(about.get("mix_filename") or f"{name}_MIX.wav")], notes)
    return Song(name, folder, sources, finished, notes=tuple(notes), unaligned=True)


def _named(about: dict[str, Any], file: Path, inside: Path, stems: bool) -> Iterator[Wanted]:
    """The tracks that a description names."""
    for number, stem in sorted(mapping(about["stems"], file, "stems").items()):
        stem = mapping(stem, file, number)
        for part in [stem] if stems else mapping(stem.get("raw") or {}, file, f"raw of {number}").values():
            part = mapping(part, file, number)
            yield _wanted(inside / str(part.get("filename")), part.get("instrument"))


def _wanted(file: Path, instrument: Any) -> Wanted:
    label = str(instrument[0] if isinstance(instrument, list) and instrument else instrument or "")
    number = file.stem.rpartition("_RAW_")[2] if "_RAW_" in file.stem else file.stem.rpartition("_STEM_")[2]
    return Wanted(f"{number} {label}".strip(), role_of(label, ROLES) if label else None, (file,))


def _description(folder: Path, root: Path) -> tuple[Path | None, dict[str, Any]]:
    parents = [parent for parent in folder.parents if parent == root or root in parent.parents]
    for parent in [folder, *parents, root.parent]:
        for inside in ("", "Metadata", "medleydb/data/Metadata"):
            file = parent / inside / f"{folder.name}_METADATA.yaml"
            if file.is_file():
                return file, mapping(read_yaml(file), file, "the file")
    return None, {}


_LOOKS_FOR = "song folders that hold Artist_Song_RAW/ or Artist_Song_STEMS/"
MEDLEYDB = Kind("medleydb", "MedleyDB", _LOOKS_FOR, partial(_find, stems=False), plain=True)
MEDLEYDB_STEMS = Kind("medleydb-stems", "MedleyDB's stems", _LOOKS_FOR, partial(_find, stems=True), plain=True)
