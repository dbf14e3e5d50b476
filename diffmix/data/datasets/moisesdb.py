"""MoisesDB: 240 songs as single stems with names of instruments, already processed; their plain sum is the mix.

I. Pereira, F. Araújo, F. Korzeniowski and R. Vogl, "MoisesDB: A dataset for source separation beyond 4-stems", ISMIR
2023. CC BY-NC-SA 4.0. Nothing is downloaded. No official splits: the artist decides.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from diffmix.data.datasets.layout import Kind, Wanted, collect, mapping, role_of, within
from diffmix.data.songs import Place, Song
from diffmix.errors import AudioError
from diffmix.files import read_json

ROLES: dict[str, str | None] = {
    "a-tonal percussion (claps, shakers, congas, cowbell etc)": "percussion",
    "other (vocoder, beatboxing etc)": "backing_vocal",
    "bassoon (bass of woodwind)": "bass",
}
STEMS: dict[str, str | None] = {
    "vocals": "lead_vocal",
    "other_plucked": "guitar",
    "other_keys": "keys",
    "bowed_strings": "strings",
    "wind": "woodwind",
    "other": None,
}
CLICK = "click track"


def _find(root: Path) -> list[Place]:
    places = []
    for folder in within(root, 3):
        if (folder / "data.json").is_file() and "stems" in (about := _about(folder)):
            name = f"{about.get('artist', folder.name)} - {about.get('song', folder.name)}"
            places.append(Place(name, partial(_read, folder), group=str(about.get("artist", folder.name))))
    return _told_apart(places)


def _told_apart(places: list[Place]) -> list[Place]:
    seen: dict[str, int] = {}
    result = []
    for place in places:
        seen[place.name] = number = seen.get(place.name, 0) + 1
        result.append(place if number == 1 else place._replace(name=f"{place.name} ({number})"))
    return result


def _about(folder: Path) -> dict[str, object]:
    file = folder / "data.json"
    return mapping(read_json(file, "the description of a song", AudioError)[0], file, "the file")


def _read(folder: Path) -> Song:
    notes: list[str] = []
    wanted = []
    try:
        for stem in _about(folder)["stems"]:  # type: ignore[attr-defined]
            kind = str(stem["stemName"]).replace(" ", "_")  # a stem may come twice
            for track in stem["tracks"]:
                label = str(track.get("trackType") or kind)
                if label == CLICK:
                    notes.append(f"{track['id']}: left out, click track")
                    continue
                role = role_of(label, ROLES) or role_of(kind, STEMS)
                file = folder / kind / f"{track['id']}.{track.get('extension', 'wav')}"
                wanted.append(Wanted(label, role, (file,)))
    except (KeyError, TypeError, AttributeError) as error:
        raise AudioError(
            f"{folder / 'data.json'}: is not a song of MoisesDB ({error!r} is missing or wrong)"
        ) from error
    return Song(folder.name, folder, collect(folder, wanted, notes), notes=tuple(notes), sums_up=True)


MOISESDB = Kind("moisesdb", "MoisesDB", "song folders that hold data.json and a folder for each stem", _find)
