"""ENST-Drums: three drummers, up to eight microphones, and mixes of them: dry (levels and pans only) and wet.

O. Gillet and G. Richard, "ENST-Drums: an extensive audio-visual database for drum signals processing", ISMIR 2006. For
research, not to be passed on. Nothing is downloaded. No official splits: the recording's name decides. Single strokes
("hits") and normalised copies ("norm") are left out, and so is the music that was played along to.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffmix.data.datasets.layout import Kind, Wanted, collect, mixes, within
from diffmix.data.folders import files_in
from diffmix.data.songs import Place, Song

MICROPHONES = {
    "kick": ("kick", ("kick",)),
    "snare": ("snare", ("snare",)),
    "hi-hat": ("hihat", ("hi-hat",)),
    "tom_1": ("tom", ("tom_1",)),
    "tom_2": ("tom", ("tom_2",)),
    "tom_3": ("tom", ("tom_3",)),
    "overhead": ("overhead", ("overhead_L", "overhead_R")),
}
MIXES = ("dry_mix", "wet_mix")


def _find(root: Path) -> list[Place]:
    places = []
    for drummer in within(root, 2):
        inside = drummer / "audio"
        folders = [inside / folder for _, names in MICROPHONES.values() for folder in names]
        if sum(folder.is_dir() for folder in folders) < 2 or not any((inside / mix).is_dir() for mix in MIXES):
            continue
        takes = {file.name for f in folders if f.is_dir() for file in files_in(f) if file.suffix == ".wav"}
        for take in sorted(takes):
            if not (take.startswith(".") or "hits" in take or "norm" in take):
                places.append(Place(f"{drummer.name} {Path(take).stem}", partial(_read, inside, take)))
    return places


def _read(inside: Path, take: str) -> Song:
    notes: list[str] = []
    wanted = [
        Wanted(name, role, tuple(inside / folder / take for folder in folders if (inside / folder).is_dir()))
        for name, (role, folders) in MICROPHONES.items()  # not every drummer has every tom
    ]
    sources = collect(inside, wanted, notes)
    return Song(Path(take).stem, inside, sources, mixes([inside / m / take for m in MIXES], notes), notes=tuple(notes))


ENST = Kind("enst", "ENST-Drums", "drummer_N/audio/ with kick/, snare/, ... and dry_mix/ or wet_mix/", _find)
