"""Who plays in a procedural song, by genre: tracks, tempos and drum grooves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Part(NamedTuple):
    """A track that a genre may have: its role, how it is played, on what kind of engine in which flavour (of the kit:
    which microphone), how likely, from what energy on; `double` names the track whose notes and sound it repeats."""

    name: str
    role: str
    style: str
    kind: str
    flavour: str
    chance: float
    energy: float
    double: str = ""


@dataclass(frozen=True)
class Genre:
    """What the songs of a genre have in common. Grooves are 16 steps: x accent, o soft, - none, O open hat."""

    bpm: tuple[float, float]
    swing: tuple[float, float]
    minor: float
    grooves: tuple[tuple[str, str, str], ...]
    parts: tuple[str, ...]
    electronic: bool = False
    swing_step: int = 1  # 1: the odd sixteenths are late, 2: the odd eighths


PARTS = {
    p.name: p
    for p in (
        Part("kick_in", "kick", "drums", "band", "kick_in", 1.0, 0.45),
        Part("kick_out", "kick", "drums", "band", "kick_out", 0.35, 0.45),
        Part("kick_sub", "kick", "drums", "band", "kick_sub", 0.1, 0.5),
        Part("snare_top", "snare", "drums", "band", "snare_top", 1.0, 0.45),
        Part("snare_bottom", "snare", "drums", "band", "snare_bottom", 0.35, 0.45),
        Part("hihat", "hihat", "drums", "band", "hihat", 0.8, 0.35),
        Part("toms", "tom", "drums", "band", "toms", 0.3, 0.45),
        Part("rack_tom_1", "tom", "drums", "band", "tom1", 0.25, 0.45),
        Part("rack_tom_2", "tom", "drums", "band", "tom2", 0.25, 0.45),
        Part("floor_tom", "tom", "drums", "band", "tom3", 0.3, 0.45),
        Part("ride", "cymbal", "drums", "band", "cymbals", 0.1, 0.45),
        Part("overheads", "overhead", "drums", "band", "overheads", 0.85, 0.35),
        Part("room_mic", "room", "drums", "band", "room", 0.35, 0.35),
        Part("room_far", "room", "drums", "band", "room", 0.1, 0.35),
        Part("room_mono", "room", "drums", "band", "room_mono", 0.1, 0.35),
        Part("kick", "kick", "drums", "box", "kick", 1.0, 0.5),
        Part("snare", "snare", "drums", "box", "snare", 0.9, 0.5),
        Part("hats", "hihat", "drums", "box", "hat", 0.9, 0.4),
        Part("drum_loop", "drums", "drums", "box", "loop", 0.3, 0.3),
        Part("kick_sample", "kick", "drums", "sample", "kick", 0.1, 0.5),
        Part("snare_sample", "snare", "drums", "sample", "snare", 0.1, 0.5),
        Part("hat_sample", "hihat", "drums", "sample", "hat", 0.1, 0.5),
        Part("shaker", "percussion", "shaker", "percussion", "", 0.35, 0.5),
        Part("tambourine", "percussion", "tambourine", "percussion", "", 0.3, 0.7),
        Part("congas", "percussion", "congas", "percussion", "", 0.3, 0.4),
        Part("bongos", "percussion", "bongos", "percussion", "", 0.15, 0.5),
        Part("cowbell", "percussion", "cowbell", "percussion", "", 0.15, 0.7),
        Part("claps", "snare", "claps", "snare", "", 0.4, 0.7),
        Part("bass", "bass", "bass", "bass", "", 1.0, 0.35),
        Part("synth_bass", "bass", "bass", "bass", "", 1.0, 0.35),
        Part("sub_bass", "bass", "bass", "bass", "", 0.5, 0.4),
        Part("acoustic_guitar", "guitar", "strum", "guitar", "acoustic", 0.8, 0.2),
        Part("nylon_guitar", "guitar", "arpeggio", "guitar", "nylon", 0.6, 0.2),
        Part("rhythm_guitar_1", "guitar", "strum", "guitar", "drive", 0.9, 0.55),
        Part("rhythm_guitar_2", "guitar", "strum", "guitar", "drive", 0.7, 0.6, "rhythm_guitar_1"),
        Part("clean_guitar", "guitar", "arpeggio", "guitar", "clean", 0.5, 0.3),
        Part("funk_guitar", "guitar", "scratch", "guitar", "clean", 0.9, 0.4),
        Part("skank_guitar", "guitar", "skank", "guitar", "clean", 0.95, 0.3),
        Part("lead_guitar", "guitar", "melody", "guitar", "drive", 0.4, 0.8),
        Part("piano", "piano", "comp", "piano", "", 0.6, 0.25),
        Part("electric_piano", "keys", "comp", "keys", "tine", 0.6, 0.25),
        Part("organ", "keys", "hold", "keys", "organ", 0.5, 0.4),
        Part("mallet", "keys", "arpeggio", "keys", "bar", 0.35, 0.3),
        Part("pad", "synth", "hold", "synth", "pad", 0.6, 0.1),
        Part("pluck", "synth", "arpeggio", "synth", "pluck", 0.6, 0.4),
        Part("synth_lead", "synth", "melody", "synth", "lead", 0.45, 0.75),
        Part("synth_stab", "synth", "stabs", "synth", "pluck", 0.2, 0.6),
        Part("strings", "strings", "hold", "strings", "", 0.5, 0.6),
        Part("violin", "strings", "melody", "strings", "", 0.15, 0.7),
        Part("brass", "brass", "stabs", "brass", "", 0.5, 0.7),
        Part("trumpet", "brass", "melody", "brass", "", 0.15, 0.8),
        Part("flute", "woodwind", "melody", "woodwind", "", 0.35, 0.5),
        Part("sax", "woodwind", "melody", "woodwind", "", 0.2, 0.75),
        Part("lead_vocal", "lead_vocal", "melody", "voice", "", 0.85, 0.5),
        Part("vocal_double", "backing_vocal", "melody", "voice", "", 0.15, 0.8, "lead_vocal"),
        Part("backing_vocal_1", "backing_vocal", "harmony", "voice", "", 0.45, 0.8),
        Part("backing_vocal_2", "backing_vocal", "harmony", "voice", "", 0.3, 0.85),
        Part("riser_fx", "fx", "riser", "fx", "", 0.3, 0.0),
        Part("impact_fx", "fx", "riser", "fx", "", 0.1, 0.5),
    )
}  # fmt: skip
"""Every track there is, by name."""

SHARES = {
    "guitar": 20, "backing_vocal": 11, "lead_vocal": 6, "synth": 7, "bass": 4, "tom": 5.6, "snare": 5.4, "kick": 5,
    "fx": 4, "percussion": 5, "room": 2.6, "hihat": 2.6, "overhead": 2.3, "piano": 2.1, "keys": 3, "strings": 3,
    "brass": 2, "woodwind": 1.5, "cymbal": 1, "drums": 1,
}  # fmt: skip
"""How often a role occurs among the further tracks of large sessions, in percent or so of real ones' tracks."""

_BAND = (
    "kick_in", "kick_out", "kick_sub", "snare_top", "snare_bottom", "hihat", "toms", "rack_tom_1", "rack_tom_2",
    "floor_tom", "ride", "overheads", "room_mic", "room_far", "room_mono",
)  # fmt: skip
_BOX = ("kick", "snare", "hats", "drum_loop", "claps", "shaker")
_VOICES = ("lead_vocal", "backing_vocal_1", "backing_vocal_2")

GENRES = {
    "rock": Genre(
        (95, 160), (0, 0.1), 0.5,
        (
            ("x-----x-x-------", "----x-------x---", "x-x-x-x-x-x-x-x-"),
            ("x--x----x-x-----", "----x-------x--o", "x-o-x-o-x-o-x-O-"),
        ),
        (*_BAND, "tambourine", "bass", "rhythm_guitar_1", "rhythm_guitar_2", "lead_guitar", "clean_guitar", "organ",
         *_VOICES),
    ),
    "pop": Genre(
        (90, 128), (0, 0.15), 0.3,
        (
            ("x-------x-x-----", "----x-------x---", "x-o-x-o-x-o-x-o-"),
            ("x---x---x---x---", "----x-------x---", "--x---x---x---x-"),
        ),
        ("kick", "snare", "hats", "claps", "tambourine", "overheads", "synth_bass", "acoustic_guitar", "clean_guitar",
         "piano", "pad", "pluck", "synth_lead", "strings", "riser_fx", *_VOICES),
    ),
    "funk": Genre(
        (92, 116), (0.05, 0.3), 0.6,
        (
            ("x--x--x---x--x--", "----x--o-o--x--o", "xoxoxoxoxoxoxoxO"),
            ("x-----x--ox-----", "----x--o----x-o-", "x-x-x-xOx-x-x-x-"),
        ),
        (*_BAND, "congas", "bass", "funk_guitar", "clean_guitar", "electric_piano", "organ", "brass", *_VOICES),
    ),
    "house": Genre(
        (118, 128), (0, 0.25), 0.7,
        (
            ("x---x---x---x---", "----x-------x---", "--O---O---O---O-"),
            ("x---x---x---x--o", "----x--o----x---", "o-Oo-oO-o-Oo-oO-"),
        ),
        (*_BOX, "congas", "synth_bass", "sub_bass", "piano", "pad", "pluck", "synth_lead", "strings", "riser_fx",
         "lead_vocal"),
        electronic=True,
    ),
    "lofi": Genre(
        (68, 90), (0.25, 0.6), 0.6,
        (
            ("x------x-ox-----", "----x-------x---", "x-x-x-x-x-x-xox-"),
            ("x--o---x--x-----", "----x-------x--o", "x-o-x-o-x-o-x-o-"),
        ),
        ("kick", "snare", "hats", "shaker", "drum_loop", "sub_bass", "electric_piano", "nylon_guitar", "clean_guitar",
         "mallet", "pad", "flute", "lead_vocal"),
        electronic=True,
    ),
    "ballad": Genre(
        (60, 84), (0, 0.1), 0.4,
        (
            ("x---------x-----", "--------x-------", "x---x---x---x---"),
            ("x-------x-------", "----x-------x---", "x-o-x-o-x-o-x-o-"),
        ),
        (*_BAND, "bass", "acoustic_guitar", "piano", "strings", "pad", "clean_guitar", *_VOICES),
    ),
    "folk": Genre(
        (80, 130), (0, 0.3), 0.35,
        (
            ("x-------x-------", "----o-------o---", "----------------"),
            ("x-----o-x-----o-", "----x-------x---", "x---x---x---x---"),
        ),
        ("kick", "snare", "shaker", "tambourine", "bass", "acoustic_guitar", "nylon_guitar", "piano", "mallet", "flute",
         "strings", *_VOICES),
    ),
    "reggae": Genre(
        (66, 88), (0.1, 0.5), 0.5,
        (
            ("--------x-------", "--------x-------", "x-x-x-x-x-x-x-x-"),
            ("x---x---x---x---", "--------x-------", "x-xox-xox-xox-xo"),
        ),
        (*_BAND, "congas", "bass", "skank_guitar", "organ", "piano", "brass", "clean_guitar", *_VOICES),
        swing_step=2,
    ),
}  # fmt: skip
"""The genres by name."""
