"""Slakh2100 (the FLAC "redux" version, the WAV one, BabySlakh): 2100 songs rendered from MIDI, as dry tracks and a mix.

E. Manilow, G. Wichern, P. Seetharaman and J. Le Roux, "Cutting Music Source Separation Some Slakh", WASPAA 2019. CC BY
4.0. Nothing is downloaded. Official splits; songs of `omitted/`, which repeat others, are left out; in BabySlakh, which
has no splits, the name decides. Nobody mixed these songs: the mix is a sum of equally loud tracks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffmix.data.datasets.layout import Kind, Wanted, collect, mapping, mixes, read_yaml, role_of, within
from diffmix.data.songs import Place, Song

ROLES: dict[str, str | None] = {
    "chromatic percussion": "keys",
    "ensemble": "strings",
    "strings (continued)": "strings",
    "reed": "woodwind",
    "pipe": "woodwind",
    "synth effects": "synth",
    "ethnic": None,
    "percussive": "percussion",
    "sound effects": "fx",
}
SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def _find(root: Path) -> list[Place]:
    return [
        Place(folder.name, partial(_read, folder), SPLITS.get(folder.parent.name))
        for folder in within(root, 3)
        if folder.parent.name != "omitted" and (folder / "metadata.yaml").is_file() and (folder / "stems").is_dir()
    ]


def _read(folder: Path) -> Song:
    file = folder / "metadata.yaml"
    about = mapping(read_yaml(file), file, "the file")
    inside = folder / str(about.get("audio_dir", "stems"))
    notes: list[str] = []
    wanted = []
    for number, stem in mapping(about.get("stems"), file, "stems").items():  # their numbers have gaps
        if stem.get("audio_rendered") is False:
            continue
        label = str(stem.get("inst_class", ""))
        role = "drums" if stem.get("is_drum") else role_of(label, ROLES)
        found = next(
            (f for e in ("flac", "wav") if (f := inside / f"{number}.{e}").is_file()), inside / f"{number}.flac"
        )
        wanted.append(Wanted(f"{number} {stem.get('midi_program_name') or label}".strip(), role, (found,)))
    finished = mixes([folder / "mix.flac", folder / "mix.wav"], notes)
    return Song(folder.name, folder, collect(folder, wanted, notes), finished, notes=tuple(notes))


SLAKH = Kind("slakh", "Slakh2100", "TrackNNNNN folders that hold metadata.yaml and stems/", _find)
