"""The part that a track plays in a mix, guessed from its name."""

from __future__ import annotations

import re
import unicodedata

# The order decides: "kick room" is a room microphone, "bass synth" a bass, "snare bottom" a snare,
# "electric piano" keys.
_KEYWORDS: dict[str, str] = {
    "room": r"rooms?|rm|ambien(ce|t) mics?|mono room",
    "overhead": r"over ?heads?|oh|ohs",
    "fx": r"sfx|fx|effects?|risers?|build|noise|sweeps?|impacts?|foley",
    "backing_vocal": r"(b|bg|back(ing|ground)?|gang|choir|harm\w*|double|dbl) ?(vox|voc|vocals?|voices?)|bvs?|bgvs?"
    r"|choirs?|harmon(y|ies)|(vox|vocals?|voc|voice) (double|dbl|harm\w*|bg|back\w*)",
    "lead_vocal": r"vox|vocals?|voc|voices?|vx|sing(er|ing)|lead ?vox|rap|adlibs?|narrator|speech",
    "kick": r"kick\w*|kik|bass ?drum|bd",
    "snare": r"snares?|snr|sn|sd|rim ?shot|rim|claps?",
    "hihat": r"hats?|hi ?hats?|hh|hihats?",
    "tom": r"toms?|floor ?toms?|rack ?toms?|ft|rt",
    "cymbal": r"cymbals?|cym|rides?|crash(es)?|splash|china",
    "percussion": r"percs?|percussions?|shakers?|tamb|tambourine|congas?|bongos?|cowbell|cajon|triangle|djembe"
    r"|timbales?|bendir|mridangam|tabla",
    "drums": r"drums?|drum ?kit|kit|beats?|loops?|drm|drs",
    "bass": r"bass|bs|basses|sub|subs|bass ?(di|amp|gtr|guitar|synth)",
    "keys": r"keys?|keyboards?|organs?|rhodes|wurli\w*|e(lectric)? ?piano|ep|clav\w*|hammond|accordion|mallets?"
    r"|vib(es|raphone)|marimba|celesta|bells?|glock\w*",
    "piano": r"pianos?|pno|grand|upright",
    "guitar": r"guitars?|guit|gtrs?|gt|e ?gtr|a ?gtr|ac ?gtr|acoustic|electric|banjo|mandolin|ukulele|uke|slide|nylon",
    "strings": r"strings?|violins?|violas?|cell(o|i)|vln|vla|vc|fiddle|orchestra|contrabass|harp",
    "brass": r"brass|trumpets?|tpt|trombones?|tbn|horns?|tuba|flugel\w*",
    "woodwind": r"sax\w*|flutes?|clarinets?|oboes?|bassoon|winds?|woodwinds?|recorder|harmonica",
    "synth": r"syn|synths?|pads?|arps?|leads?|plucks?|moog|juno|minilogue|stabs?|sequence|seq|melody|chords?|atmos\w*",
}
_PATTERNS = {role: re.compile(rf"(?:^| )(?:{keywords})(?= |$)") for role, keywords in _KEYWORDS.items()}

ROLES = tuple(_KEYWORDS)
"""Every role a track can have."""

LABELS = {role: k + 1 for k, role in enumerate(ROLES)}
"""The numbers of roles for an estimator; 0 is unknown."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "drums": ("kick", "snare", "hihat", "tom", "cymbal", "overhead", "room", "percussion", "drums"),
    "vocals": ("lead_vocal", "backing_vocal"),
    "vocal": ("lead_vocal", "backing_vocal"),
    "vox": ("lead_vocal",),
    "guitars": ("guitar",),
    "keyboards": ("keys", "piano", "synth"),
    "synths": ("synth",),
}
"""Roles that are called by one name."""


def roles_called(text: str) -> tuple[str, ...]:
    """The roles that a person may mean by a word: "drums" is a family, "Lead vocals" is "lead_vocal"."""
    word = text.strip().casefold().replace(" ", "_")
    return FAMILIES.get(word, (word, word.rstrip("s")))


def guess_role(name: str) -> str | None:
    """Guess a role of `ROLES` from a track's name, or None: "07_LeadVoxDT" gives "lead_vocal"."""
    name = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))  # Vöx: vox
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)  # KickIn: kick in
    words = " ".join(re.sub(r"[^a-z]+", " ", spaced.lower()).split())
    joined = " ".join(re.sub(r"[^a-z]+", " ", name.lower()).split())  # HiHat stays hihat as well
    for text in (words, joined):
        for role, pattern in _PATTERNS.items():
            if pattern.search(text):
                return role
    return None
