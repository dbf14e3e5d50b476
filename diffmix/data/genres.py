"""Who plays in a procedural song, by genre: tracks, tempos and drum grooves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Part(NamedTuple):
    """A track that a genre may have: its role, how it is played, on what, how likely, and from what energy on."""

    name: str
    role: str
    style: str
    instrument: str
    chance: float
    energy: float


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
        Part("kick_in", "kick", "drums", "kick_in", 1.0, 0.45),
        Part("kick_out", "kick", "drums", "kick_out", 0.35, 0.45),
        Part("snare_top", "snare", "drums", "snare_top", 1.0, 0.45),
        Part("snare_bottom", "snare", "drums", "snare_bottom", 0.35, 0.45),
        Part("hihat", "hihat", "drums", "hihat", 0.8, 0.35),
        Part("toms", "tom", "drums", "toms", 0.5, 0.45),
        Part("overheads", "overhead", "drums", "overheads", 0.85, 0.35),
        Part("room_mic", "room", "drums", "room_mic", 0.35, 0.35),
        Part("kick", "kick", "drums", "kick", 1.0, 0.5),
        Part("snare", "snare", "drums", "snare", 0.9, 0.5),
        Part("hats", "hihat", "drums", "hats", 0.9, 0.4),
        Part("drum_loop", "drums", "drums", "drum_loop", 0.3, 0.3),
        Part("shaker", "percussion", "shaker", "", 0.35, 0.5),
        Part("tambourine", "percussion", "tambourine", "", 0.3, 0.7),
        Part("congas", "percussion", "congas", "", 0.3, 0.4),
        Part("claps", "snare", "claps", "", 0.4, 0.7),
        Part("bass", "bass", "bass", "electric_bass", 1.0, 0.35),
        Part("synth_bass", "bass", "bass", "synth_bass", 1.0, 0.35),
        Part("sub_bass", "bass", "bass", "sub_bass", 0.5, 0.4),
        Part("acoustic_guitar", "guitar", "strum", "acoustic_guitar", 0.8, 0.2),
        Part("nylon_guitar", "guitar", "arpeggio", "nylon_guitar", 0.6, 0.2),
        Part("rhythm_guitar_1", "guitar", "strum", "drive_guitar", 0.9, 0.55),
        Part("rhythm_guitar_2", "guitar", "strum", "drive_guitar", 0.7, 0.75),
        Part("clean_guitar", "guitar", "arpeggio", "clean_guitar", 0.5, 0.3),
        Part("funk_guitar", "guitar", "scratch", "clean_guitar", 0.9, 0.4),
        Part("skank_guitar", "guitar", "skank", "clean_guitar", 0.95, 0.3),
        Part("lead_guitar", "guitar", "melody", "drive_guitar", 0.4, 0.8),
        Part("piano", "piano", "comp", "piano", 0.6, 0.25),
        Part("electric_piano", "keys", "comp", "electric_piano", 0.6, 0.25),
        Part("organ", "keys", "hold", "organ", 0.5, 0.4),
        Part("mallet", "keys", "arpeggio", "mallet", 0.35, 0.3),
        Part("pad", "synth", "hold", "pad", 0.6, 0.1),
        Part("pluck", "synth", "arpeggio", "synth_pluck", 0.6, 0.4),
        Part("synth_lead", "synth", "melody", "synth_lead", 0.45, 0.75),
        Part("strings", "strings", "hold", "strings", 0.5, 0.6),
        Part("brass", "brass", "stabs", "brass", 0.5, 0.7),
        Part("flute", "woodwind", "melody", "flute", 0.35, 0.5),
        Part("lead_vocal", "lead_vocal", "melody", "voice", 0.85, 0.5),
        Part("backing_vocal_1", "backing_vocal", "harmony", "voice", 0.45, 0.8),
        Part("backing_vocal_2", "backing_vocal", "harmony", "voice", 0.3, 0.85),
        Part("riser_fx", "fx", "riser", "riser", 0.3, 0.0),
    )
}

_BAND = ("kick_in", "kick_out", "snare_top", "snare_bottom", "hihat", "toms", "overheads", "room_mic")
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
