"""The mixer under test on songs as they may come, and with wishes: what must not matter, and what must."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell
from benchmarks.mixers import equal_loudness
from benchmarks.mixing import case, console, judged, mean, relabelled, score, sound, unlabelled
from diffmix.api import MODEL
from diffmix.automixing import proposed
from diffmix.balance import balanced
from diffmix.data import audio
from diffmix.data.degrade import degrade
from diffmix.data.knowledge import Style, class_mean, engineer, sample_style
from diffmix.data.multitrack import Multitrack, Track, load
from diffmix.data.synthetic import generate_song
from diffmix.metrics import evaluate
from diffmix.settings import Settings
from diffmix.systems.automixer import Automixer
from diffmix.wishes import Wishes

SECONDS = 8.0
TRACKS = (4, 24)

# ------------------------------------------------------------------ songs and the mixer


def training_song(seed: int) -> Multitrack:
    """As training sees songs: every second one clean."""
    song = generate_song(seed, SECONDS, tracks=TRACKS)
    return degrade(song, seed) if seed % 2 else song


def held_out_song(seed: int) -> Multitrack:
    """Engines and flaws that training does not have."""
    return degrade(generate_song(seed, SECONDS, engines="held_out", tracks=TRACKS), seed, held_out=True)


def in_domain_song(seed: int) -> Multitrack:
    """Engines and flaws of training, another song."""
    return degrade(generate_song(seed, SECONDS, tracks=TRACKS), seed)


@cache
def _loaded(model: Path, sample_rate: int) -> Automixer:
    return Automixer.load(model, sample_rate)


def automixer(
    song: Multitrack, model: Path = MODEL, style: Style | None = None, reference: Tensor | None = None
) -> Settings:
    """What weights answer: with labels for tracks that have them."""
    return proposed(_loaded(model, song.sample_rate), song, Wishes(), style=style, reference=reference).settings


# ------------------------------------------------------------------ what must not matter


def repeated(song: Multitrack, count: int) -> Multitrack:
    """The song with its tracks again and again until there are ``count``."""
    tracks = [
        replace(t, name=t.name if not turn else f"{t.name} {turn + 1}")
        for turn in range(-(-count // len(song.tracks)))
        for t in song.tracks
    ]
    return replace(song, tracks=tuple(tracks[:count]))


def turned(job: tuple[int, Path]) -> dict[str, float]:
    """What must not matter to the shipped mixer, on one song: largest changes of loudness, and balance errors."""
    seed, model = job
    ours, made = partial(automixer, model=model), case(held_out_song(seed), seed)
    song, rate = made.blind, made.song.sample_rate
    first = sound(made.song, relabelled(ours(song), made.song))

    def change(settings: Settings, of: Multitrack) -> float:
        again = sound(of, relabelled(settings, of))
        difference = again.loudness - first.loudness
        return float((difference - difference.median()).abs().max())

    backwards = replace(song, tracks=song.tracks[::-1])
    silent = Track("silence", torch.zeros(1, song.length))
    beside = ours(replace(song, tracks=(*song.tracks, silent)))
    beside = Settings({**beside, "tracks": {n: s for n, s in beside["tracks"].items() if n != "silence"}})
    faster = load({t.name: t.audio for t in made.song.tracks}, rate)
    faster = replace(made.song, sample_rate=48_000, tracks=tuple(_at_48k(t, rate) for t in faster.tracks))
    found = {
        "order": change(ours(backwards), made.song),
        "silence": change(beside, made.song),
        "48 kHz": change(ours(unlabelled(faster, seed)), faster),
        "as it is": score(first, made.truth, rate)["balance_error_db"],
    }
    for count in (64, 100):
        many = case(repeated(made.song, count), seed)
        found[f"repeated to {count}"] = judged(many, ours)["balance_error_db"]
        found[f"equal loudness {count}"] = judged(many, equal_loudness)["balance_error_db"]
    large = case(degrade(generate_song(seed, SECONDS, engines="held_out", tracks=(64, 100)), seed, held_out=True), seed)
    found["a session of 64 to 100"] = judged(large, ours)["balance_error_db"]
    found["equal loudness of it"] = judged(large, equal_loudness)["balance_error_db"]
    return found


def _at_48k(track: Track, rate: int) -> Track:
    return replace(track, audio=audio.resample(track.audio, rate, 48_000))


def invariance_table(found: Sequence[dict[str, float]]) -> list[list[Cell]]:
    """What must not matter, and what it changed."""
    names = {
        "order": "tracks in another order: largest change of a track's loudness, dB",
        "silence": "a silent track more: the same",
        "48 kHz": "48 kHz instead of 44.1: the same",
        "as it is": "balance error of the songs as they are, dB",
        "repeated to 64": "tracks repeated to 64: balance error, dB",
        "equal loudness 64": "the same of equal loudness",
        "repeated to 100": "tracks repeated to 100: balance error, dB",
        "equal loudness 100": "the same of equal loudness",
        "a session of 64 to 100": "sessions of 64 to 100 different tracks: balance error, dB",
        "equal loudness of it": "the same of equal loudness",
    }
    rows: list[list[Cell]] = []
    for key, name in names.items():
        values = [one[key] for one in found]
        rows.append([name, mean(values), max(values)])
    return rows


# ------------------------------------------------------------------ as songs come, and what is asked for


def arranged(song: Multitrack, seed: int, parts: int = 12, share: float = 0.2) -> Multitrack:
    """The song ``parts`` times, each track in about ``share`` of them, and at least in one."""
    rng = np.random.default_rng(seed)
    plays = rng.random((len(song.tracks), parts)) < share
    plays[np.arange(len(plays)), rng.integers(parts, size=len(plays))] = True
    tracks = (
        replace(t, audio=torch.cat([t.audio * float(there) for there in row], 1))
        for t, row in zip(song.tracks, plays, strict=True)
    )
    return replace(song, tracks=tuple(tracks))


def arrived(job: tuple[int, Path]) -> dict[str, float]:
    """Balance errors of the shipped mixer on one song as it may come: its knobs, scored on the song itself."""
    seed, model = job
    made = case(held_out_song(seed), seed)
    song, rate = made.blind, made.song.sample_rate
    late = (replace(t, audio=torch.cat([torch.zeros(len(t.audio), 10 * rate), t.audio], 1)) for t in song.tracks)
    roles = {f"track {n}": track.role for n, track in enumerate(made.song.tracks)}
    half = (replace(t, role=roles[t.name] if n % 2 else None) for n, t in enumerate(song.tracks))
    ways = {
        "as they are": song,
        "ten seconds of silence in front": replace(song, tracks=tuple(late)),
        "twelve times as long, each track in a fifth of it": arranged(song, seed),
        "every other role told": replace(song, tracks=tuple(half)),
        "all roles told": replace(song, tracks=tuple(replace(t, role=roles[t.name]) for t in song.tracks)),
    }
    found = {}
    for name, one in ways.items():
        mine = sound(made.song, relabelled(automixer(one, model), made.song))
        found[name] = score(mine, made.truth, rate)["balance_error_db"]
    return found


ASKED = ("balance_error_db", "sd_mrstft", "ltas_error_db", "width_error_db", "eq_error_db")
OF_REFERENCE = ("ltas_error_db", "width_error_db")


def asked(job: tuple[int, Path]) -> dict[str, list[float]]:
    """Scores on one song whose truth has a style, told nothing, the style, or another song in it: `ASKED_COLUMNS`."""
    seed, model = job
    song, rate, style = held_out_song(seed), console(44100).sample_rate, sample_style(np.random.default_rng([seed, 9]))
    made, other = case(song, seed, style), in_domain_song(seed)
    reference = sound(other, balanced(console(rate), other, engineer(other, [seed, 1], style).intent)).mix
    ways: dict[str, Settings] = {}
    for labels, of in (("", made.blind), (", labels", made.song)):
        ways[f"told nothing{labels}"] = automixer(of, model)
        ways[f"told a reference{labels}"] = automixer(of, model, reference=reference)
        ways[f"told the style{labels}"] = automixer(of, model, style=style)
    ways["usual for the role in this style, labels"] = balanced(console(rate), song, class_mean(song, style))
    found = {}
    for name, settings in ways.items():
        mine = sound(song, settings if "labels" in name else relabelled(settings, song), made.leads)
        scores, near = score(mine, made.truth, rate), evaluate(mine.mix, reference, rate, only=OF_REFERENCE)
        found[name] = [*(scores[key] for key in ASKED), *(near[key] for key in OF_REFERENCE)]
    return found


ASKED_COLUMNS = ["it is", "balance, dB", "SD-MRSTFT", "LTAS, dB", "width, dB", "EQ, dB"]
ASKED_COLUMNS += ["to the reference: LTAS, dB", "width, dB"]


def asked_table(found: Sequence[dict[str, list[float]]]) -> list[list[Cell]]:
    """Means over songs."""
    return [[name, *np.mean([one[name] for one in found], axis=0).tolist()] for name in found[0]]
