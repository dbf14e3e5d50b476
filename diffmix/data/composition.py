"""Procedural songs as notes: sections, harmony, performances and melodies, before any sound is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from diffmix.data.casting import cast, size
from diffmix.data.genres import GENRES, Genre, Part
from diffmix.data.synthesis import Random, stream

STEPS = 16
"""Sixteenth notes per bar."""


class Note(NamedTuple):
    """A note: start and held time in seconds, MIDI pitch (0 for drums), velocity in [0, 1], drum piece or ''."""

    start_s: float
    held_s: float
    pitch: int
    velocity: float
    piece: str = ""


class Section(NamedTuple):
    """Bars `first` to `first + bars` with an energy in [0, 1] that decides who plays."""

    first: int
    bars: int
    energy: float


_PROGRESSIONS = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 4, 3),
    (0, 3, 0, 4),
    (1, 4, 0, 5),
    (0, 6, 5, 6),
    (0, 2, 3, 4),
)
_ENERGY = (0.25, 0.55, 0.9, 0.4, 0.6, 1.0, 0.2, 0.8)  # intro, verse, chorus, bridge...; a song starts anywhere in it
_SITS_OUT = 0.4  # chance to rest although the section is loud enough
_DRUMS_ENERGY = 0.4  # the kit plays together
_FEWEST = 3  # tracks that play in a section, the kit counted as one
_SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10)}


@dataclass(frozen=True)
class Score:
    """Everything the players agree on: genre, key, tempo, sections and chords; `parts` are the tracks."""

    seed: int
    genre_name: str
    bpm: float
    key: int
    minor: bool
    swing: float
    sections: tuple[Section, ...]
    parts: tuple[Part, ...]
    chords: tuple[int, ...]  # a scale degree per bar
    drift_s: tuple[float, ...] = field(repr=False)  # how late the whole band is, per bar
    plays: Mapping[str, tuple[bool, ...]] = field(repr=False)  # by player: in which sections

    @property
    def genre(self) -> Genre:
        """The genre's description."""
        return GENRES[self.genre_name]

    @property
    def step_s(self) -> float:
        """Seconds per sixteenth."""
        return 15 / self.bpm

    def time(self, bar: int, step: float) -> float:
        """When a step of a bar sounds, swing and the band's drift included, in seconds."""
        unit = self.genre.swing_step
        late = self.swing * unit / 3 if int(step) % (2 * unit) == unit else 0.0
        return (bar * STEPS + step + late) * self.step_s + self.drift_s[bar]

    def energy(self, time_s: float) -> float:
        """The energy of the section that is played at a time."""
        bar = time_s / (STEPS * self.step_s)
        return next((s.energy for s in self.sections if bar < s.first + s.bars), self.sections[-1].energy)

    def degree(self, degree: int) -> int:
        """Semitones above the key of a scale degree; degrees go on through the octaves."""
        return _SCALES[self.minor][degree % 7] + 12 * (degree // 7)

    def chord(self, bar: int, around: int, voices: int = 3) -> list[int]:
        """MIDI pitches of the bar's chord, inverted to lie around `around`."""
        tones = [self.key + self.degree(self.chords[bar] + 2 * k) for k in range(voices)]
        return sorted(around + (tone - around + 6) % 12 - 6 for tone in tones)


def compose(seed: int, seconds: float, genre: str | None = None, tracks: tuple[int, int] = (4, 16)) -> Score:
    """Decide what the song of this seed is: genre (drawn unless given), tempo, key, sections, chords and tracks."""
    rng = stream(seed, "song")
    name = str(rng.choice(sorted(GENRES))) if genre is None else genre
    style = GENRES[name]
    bpm = float(rng.uniform(*style.bpm))
    bars = int(np.ceil(seconds * bpm / 60 / 4))
    sections = _sections(bars, seconds * bpm / 60 / 4, rng)
    parts = cast(name, size(tracks, rng), rng)
    progressions = [_PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))] for _ in range(2)]
    chords = [progressions[int(s.energy > 0.8)][k % 4] for s in sections for k in range(s.bars)]
    drift = np.zeros(bars)
    for k in range(1, bars):
        drift[k] = 0.8 * drift[k - 1] + rng.normal(0, 0.0 if style.electronic else 0.004)
    return Score(
        seed, name, bpm, int(rng.integers(12)), bool(rng.random() < style.minor), float(rng.uniform(*style.swing)),
        tuple(sections), tuple(parts), tuple(chords), tuple((drift - drift.min()).tolist()),
        _activity(seed, sections, parts),
    )  # fmt: skip


def _sections(bars: int, exact_bars: float, rng: Random) -> list[Section]:
    """Cut a song into sections of about an eighth, at most eight bars; one that starts early enough is the loudest."""
    unit = max(1, min(4, bars // 8))
    sections: list[Section] = []
    first, place = 0, int(rng.integers(len(_ENERGY)))
    while first < bars:
        length = min(int(rng.integers(1, 3)) * unit, bars - first)
        sections.append(Section(first, length, _ENERGY[(place + len(sections)) % len(_ENERGY)]))
        first += length
    early = [k for k, s in enumerate(sections) if s.first <= 0.6 * exact_bars]
    loudest = max(early, key=lambda k: sections[k].energy)
    sections[loudest] = sections[loudest]._replace(energy=1.0)
    return sections


def player(part: Part) -> str:
    """Who plays a part: all microphones of the kit hear one drummer."""
    return "drums" if part.style == "drums" else part.name


def _activity(seed: int, sections: Sequence[Section], parts: Sequence[Part]) -> dict[str, tuple[bool, ...]]:
    """In which sections every player plays: where the energy suffices, with rests; each somewhere, some in each."""
    needs = {player(p): _DRUMS_ENERGY if p.style == "drums" else p.energy for p in parts}
    doubles = {p.name for p in parts if p.double in needs}
    starts_early = [s.first <= 0.6 * (sections[-1].first + sections[-1].bars) for s in sections]
    plays = {}
    for name, need in needs.items():
        rng = stream(seed, "plays", name)
        row = [s.energy >= need and (name == "drums" or rng.random() >= _SITS_OUT) for s in sections]
        if not any(on and early for on, early in zip(row, starts_early, strict=True)):
            chance = np.array([s.energy**4 * early for s, early in zip(sections, starts_early, strict=True)])
            row[int(rng.choice(len(sections), p=chance / chance.sum()))] = True
        plays[name] = row
    for part in parts:
        if model := plays.get(part.double):
            both = [own and its for own, its in zip(plays[part.name], model, strict=True)]
            plays[part.name] = both if any(both) else list(model)
    for k in range(len(sections)):
        resting = sorted((name for name in plays if not plays[name][k] and name not in doubles), key=needs.__getitem__)
        for name in resting[: max(min(_FEWEST, len(plays)) - sum(row[k] for row in plays.values()), 0)]:
            plays[name][k] = True
    return {name: tuple(row) for name, row in plays.items()}


# ------------------------------------------------------------------ who plays when


def perform(score: Score, part: Part) -> list[Note]:
    """The notes of a part, in time order, with its own lateness and small errors; the drums share one performance.

    A double plays the notes of its model with errors of its own, and may rest where that plays.
    """
    name = player(part)
    notes = []
    for k, (section, plays) in enumerate(zip(score.sections, score.plays[name], strict=True)):
        if plays:
            played = _STYLES[part.style](score, section, stream(score.seed, "notes", part.double or name, k))
            force = 1.0 if part.style == "drums" else 0.6 + 0.4 * section.energy  # drummers have it in their patterns
            notes += [note._replace(velocity=force * note.velocity) for note in played]
    rng = stream(score.seed, "errors", name)
    lag = 0.0 if score.genre.electronic else rng.uniform(-0.004, 0.012)
    spread = 0.001 if score.genre.electronic else 0.005
    return sorted(
        note._replace(
            start_s=max(note.start_s + lag + rng.normal(0, spread), 0.0),
            velocity=float(np.clip(note.velocity + rng.normal(0, 0.06), 0.05, 1.0)),
        )
        for note in notes
    )


Playing = Callable[[Score, Section, Random], Iterator[Note]]
"""How a style plays one section."""


def _bars(section: Section) -> range:
    return range(section.first, section.first + section.bars)


def _drums(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    groove = score.genre.grooves[score.seed % len(score.genre.grooves)]
    clap = score.genre.electronic and score.seed % 3 == 0
    pieces = ("kick", "clap" if clap else "rim" if score.genre_name == "reggae" else "snare", "hat")
    ride = not score.genre.electronic and section.energy > 0.9 and score.seed % 2 == 0
    for bar in _bars(section):
        last = bar == section.first + section.bars - 1
        fill = last and (rng.random() < 0.6 or section.energy == 1.0)
        for piece, pattern in zip(pieces, groove, strict=True):
            for step, mark in enumerate(pattern):
                if mark == "-" or (fill and step >= 12 and piece != "kick"):
                    continue
                hit = "open" if mark == "O" else "ride" if ride and piece == "hat" else piece
                velocity = {"x": 0.85, "O": 0.8, "o": 0.35}[mark] - (0.2 if piece == "hat" and step % 4 else 0.0)
                yield Note(score.time(bar, step), 0.1, 0, velocity * (0.7 + 0.3 * section.energy), hit)
        if fill:
            for k, step in enumerate(range(12, 16)):
                piece = pieces[1] if score.genre.electronic else ("snare", "tom1", "tom2", "tom3")[k]
                yield Note(score.time(bar, step), 0.1, 0, 0.6 + 0.1 * k, piece)
    if section.energy > 0.6 and not score.genre.electronic:
        yield Note(score.time(section.first, 0), 2.0, 0, 0.8, "crash")


def _percussion(pattern: str, pieces: Sequence[str]) -> Playing:
    def play(score: Score, section: Section, rng: Random) -> Iterator[Note]:
        for bar in _bars(section):
            for step, mark in enumerate(pattern):
                if mark != "-":
                    piece = pieces[int(rng.integers(len(pieces)))]
                    yield Note(score.time(bar, step), 0.1, 0, 0.8 if mark == "x" else 0.45, piece)

    return play


def _bass(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    kick = score.genre.grooves[score.seed % len(score.genre.grooves)][0]
    eighths = score.genre_name in ("rock", "pop", "house") and rng.random() < 0.6
    for bar in _bars(section):
        root = 28 + (score.key + score.degree(score.chords[bar]) - 28) % 12
        steps = [
            s
            for s in range(STEPS)
            if (s % 2 == 0 if eighths else kick[s] != "-" or (s in (6, 14) and rng.random() < 0.3))
        ]
        steps = steps or [0, 8]
        for step, following in zip(steps, [*steps[1:], STEPS], strict=True):
            pitch = root + int(rng.choice([0, 0, 0, 7, 12])) if step else root
            held = (following - step) * score.step_s * rng.uniform(0.5, 0.95)
            yield Note(score.time(bar, step), held, pitch, 0.8 if step % 4 == 0 else 0.6)


def _chords(pattern: str, held_steps: float, strum_s: float, voices: int, around: int) -> Playing:
    """Chords on a pattern; `strum_s` between the strings, upwards on every soft beat."""

    def play(score: Score, section: Section, rng: Random) -> Iterator[Note]:
        for bar in _bars(section):
            chord = score.chord(bar, around, voices)
            for step, mark in enumerate(pattern):
                if mark == "-":
                    continue
                for k, pitch in enumerate(chord if mark == "x" else chord[::-1]):
                    start = score.time(bar, step) + k * strum_s * rng.uniform(0.7, 1.3)
                    yield Note(start, held_steps * score.step_s, pitch, 0.75 if mark == "x" else 0.5)

    return play


def _strum(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    pattern = ("x---x-o---o-x-o-", "x-x-x-x-x-x-x-x-", "x---------o-x---", "x---------------")[int(rng.integers(4))]
    yield from _chords(pattern, 3.5, 0.012, 4, 52)(score, section, rng)


def _comp(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    pattern = ("x-------x-------", "x---o---x---o---", "x--x--x---x-----", "x---------o-----")[int(rng.integers(4))]
    yield from _chords(pattern, 5.0, 0.004, 4, 60)(score, section, rng)
    for bar in _bars(section):
        root = 36 + (score.key + score.degree(score.chords[bar])) % 12
        yield Note(score.time(bar, 0), 12 * score.step_s, root, 0.7)


def _arpeggio(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    stride = int(rng.choice([1, 2, 2, 4]))
    order = rng.permutation(4)
    for bar in _bars(section):
        chord = score.chord(bar, 62, 4)
        for k, step in enumerate(range(0, STEPS, stride)):
            yield Note(
                score.time(bar, step), 1.5 * stride * score.step_s, chord[order[k % 4]], 0.75 if k % 4 == 0 else 0.55
            )


def _phrases(score: Score, section: Section, rng: Random, low: int, high: int) -> Iterator[tuple[int, int, int, int]]:
    """A melody: (bar, step, steps held, pitch); it walks along the scale, rests, and ends its phrases on the chord."""
    degree = int(rng.integers(0, 5))
    base = low + (score.key - low) % 12
    for bar in _bars(section):
        step = int(rng.choice([0, 0, 2, 4]))
        end = int(rng.choice([10, 12, 14, 16]))
        while step < end:
            held = int(rng.choice([1, 2, 2, 3, 4, 6]))
            held = min(held, STEPS - step)
            degree += int(rng.choice([-2, -1, -1, 0, 1, 1, 2]))
            if step + held >= end or step == 0:
                degree = min(
                    (score.chords[bar] + 2 * k - 7 * j for k in range(3) for j in (-1, 0, 1)),
                    key=lambda d: abs(d - degree),
                )
            while base + score.degree(degree) > high:
                degree -= 7
            while base + score.degree(degree) < low:
                degree += 7
            yield bar, step, held, base + score.degree(degree)
            step += held


def _melody(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    low = int(stream(score.seed, "register").choice([50, 55, 60]))
    for bar, step, held, pitch in _phrases(score, section, rng, low, low + 16):
        yield Note(score.time(bar, step), 0.9 * held * score.step_s, pitch, 0.8 if step % 4 == 0 else 0.65)


def _harmony(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    voice = int(rng.integers(3))
    for bar in _bars(section):
        start = int(rng.choice([0, 0, 4, 8]))
        yield Note(score.time(bar, start), 0.9 * (STEPS - start) * score.step_s, score.chord(bar, 62)[voice], 0.6)


def _stabs(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    pattern = ("x-----x---------", "---x--x---------", "----------x-x---")[int(rng.integers(3))]
    yield from _chords(pattern, 1.5, 0.0, 3, 64)(score, section, rng)


def _riser(score: Score, section: Section, rng: Random) -> Iterator[Note]:
    yield Note(score.time(section.first, 0), section.bars * STEPS * score.step_s, 60, 0.7)


_STYLES: dict[str, Playing] = {
    "drums": _drums,
    "shaker": _percussion("xoxoxoxoxoxoxoxo", ("shaker",)),
    "tambourine": _percussion("----x-------x---", ("tambourine",)),
    "congas": _percussion("o-xo--x-o-xo-xx-", ("conga1", "conga2")),
    "bongos": _percussion("xoxo-ox-xoxo-oxo", ("bongo", "conga1")),
    "cowbell": _percussion("x---x---x---x---", ("cowbell",)),
    "claps": _percussion("----x-------x---", ("clap",)),
    "bass": _bass,
    "strum": _strum,
    "scratch": _chords("x-oxo-x--oxo-xo-", 0.6, 0.004, 3, 64),
    "skank": _chords("----x-------x---", 1.0, 0.006, 3, 64),
    "arpeggio": _arpeggio,
    "comp": _comp,
    "hold": _chords("x---------------", 15.5, 0.0, 4, 60),
    "melody": _melody,
    "harmony": _harmony,
    "stabs": _stabs,
    "riser": _riser,
}
