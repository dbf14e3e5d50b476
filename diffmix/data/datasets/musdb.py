"""MUSDB18-HQ: 150 songs as drums, bass, vocals and other, already processed, and their mixture.

Z. Rafii, A. Liutkus, F.-R. Stöter, S. I. Mimilakis and R. Bittner, "MUSDB18-HQ", 2019. For educational, non-commercial
use. Nothing is downloaded. Official splits: 86 songs for training, 14 for validation, 50 for tests.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffmix.data.datasets.layout import Kind, Wanted, collect, mixes
from diffmix.data.folders import stem_files, subfolders
from diffmix.data.songs import Place, Song
from diffmix.errors import AudioError

ROLES = {"drums": "drums", "bass": "bass", "vocals": "lead_vocal", "other": None}

VALIDATION = {
    "ANiMAL - Rockshow",
    "Actions - One Minute Smile",
    "Alexander Ross - Goodbye Bolero",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Fergessen - Nos Palpitants",
    "James May - On The Line",
    "Johnny Lokke - Promises & Lies",
    "Leaf - Summerghost",
    "Meaxic - Take A Step",
    "Patrick Talbot - A Reason To Leave",
    "Skelpolu - Human Mistakes",
    "Traffic Experiment - Sirens",
    "Triviul - Angelsaint",
    "Young Griffo - Pennies",
}


def _find(root: Path) -> list[Place]:
    places = []
    others = 0  # songs with further tracks: somebody's own data set, not this one
    for part in ("train", "test"):
        if not (root / part).is_dir():
            continue
        for folder in subfolders(root / part):
            stems = sum((folder / f"{name}.wav").is_file() for name in ROLES)
            if stems >= 2 or (stems and (folder / "mixture.wav").is_file()):
                split = "valid" if part == "train" and folder.name in VALIDATION else part
                places.append(Place(folder.name, partial(_read, folder), split))
                others += not {file.stem for file in stem_files(folder)} <= set(ROLES)
        if not places and (compressed := sorted((root / part).glob("[!.]*.stem.mp4"))):
            raise AudioError(
                f"{compressed[0]}: this is the compressed MUSDB18, which cannot be read; take MUSDB18-HQ, the same "
                "songs as WAV, or decode the five streams of each file with ffmpeg, to mixture.wav, drums.wav, "
                "bass.wav, other.wav and vocals.wav in a folder of the song's name"
            )
    return [] if 2 * others > len(places) else places


def _read(folder: Path) -> Song:
    notes: list[str] = []
    sources = collect(folder, [Wanted(n, role, (folder / f"{n}.wav",)) for n, role in ROLES.items()], notes)
    return Song(folder.name, folder, sources, mixes([folder / "mixture.wav"], notes), notes=tuple(notes))


MUSDB = Kind(
    "musdb18",
    "MUSDB18-HQ",
    "train/ and test/ with song folders that hold mixture.wav, drums.wav, bass.wav, other.wav and vocals.wav",
    _find,
)
