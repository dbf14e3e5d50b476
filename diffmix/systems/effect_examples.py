"""Recordings through effects to learn from: for each what was done to it, and what `EffectEncoder` hears of it.

They are made in pieces, each from its own seed, and only numbers are kept on disk: a stopped run goes on with the next
piece, and another that asks for the same finds them.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffmix.data import styles
from diffmix.data.effect_chains import EFFECTS, Effect, draw_chain, draw_effect, render
from diffmix.data.style_content import RATE, Content, Item, generated, picked, talker
from diffmix.data.synthesis import between
from diffmix.data.synthetic import GENERATOR_VERSION, cache_name, cache_root
from diffmix.errors import AudioError
from diffmix.estimators.effect_embedding import Heard, heard
from diffmix.estimators.style_features import BANDS, WINDOW, at_rate, style_features
from diffmix.files import made_folder, replacing, write_text

EXAMPLES_VERSION = 1
"""Part of the cache's name: raised when anything changes what an example is."""

SONGS, SOLOS, TALKERS, REAL = 3, 2, 3, 18
"""Generated songs, tracks of each alone, generated talkers and recordings that a piece is made of."""

STYLES, TOGETHER = 48, 6
"""Chains of effects in a piece, and recordings through each: of different songs, half of them real if there are any."""

PRESETS, TRIES = 8, 40
"""Presets of each effect, and random settings that they are chosen from."""

PRESET = 0.35
"""Share of styles that are a preset of one effect; the others have settings of their own."""

HEARD_DB = 0.25
"""What moves the levels of the bands and their spread by less than this, in the mean, does nothing."""

EQ_DB = 2.5
SPEED = 0.15
Random = np.random.Generator


class EffectExamples(NamedTuple):
    """Recordings through effects (N ...) and as they were (D ...).

    Fields:
        songs: names of songs.
        piece, song: the piece that each was made in, and a number into the names (N,).
        style: what was done, the same number for the same effects and settings, presets first (N,).
        effect, preset: numbers of the one effect, of `EFFECTS`, and of its preset; -1 for anything else (N,).
        before: the dry recording: another stretch of the same one (N,).
        wet, dry: what is heard of them.
    """

    songs: list[str]
    piece: Tensor
    song: Tensor
    style: Tensor
    effect: Tensor
    preset: Tensor
    before: Tensor
    wet: Heard
    dry: Heard


def examples(
    contents: Sequence[Content | Item] = (),
    pieces: int = 22,
    seed: int = 0,
    root: str | os.PathLike[str] | None = None,
    advance: Callable[[float, str], None] | None = None,
    engines: str = "train",
) -> EffectExamples:
    """Examples from generated recordings and from real ones (``contents``), in ``pieces`` pieces of 48 styles.

    ``engines`` are those of `diffmix.data.synthetic.generate_song`. Pieces are kept below ``root``, the cache folder by
    default, under a name that tells contents, seed and versions; those that are there are read.
    ``advance(done, note)`` is called after each. Raises OutputError if the folder cannot be made.
    """
    about = [EXAMPLES_VERSION, GENERATOR_VERSION, seed, [(c.name, c.song, c.kind) for c in contents], engines]
    folder = made_folder(Path(root or cache_root() / "effects") / cache_name(about))
    chosen = _kept_presets(folder.parent / f"presets-{EXAMPLES_VERSION}-{GENERATOR_VERSION}.json")
    found = []
    for number in range(pieces):
        file = folder / f"{number}.pt"
        if not file.is_file():
            rng = np.random.default_rng([seed, number, 3])
            made = _piece(contents, chosen, rng, 10_000 * seed + number, engines)
            with replacing(file) as temporary:
                torch.save({**made._asdict(), "wet": tuple(made.wet), "dry": tuple(made.dry)}, temporary)
        stored = torch.load(file, weights_only=True)
        found.append(EffectExamples(**{**stored, "wet": Heard(*stored["wet"]), "dry": Heard(*stored["dry"])}))
        if advance:
            advance(number + 1, "")
    return joined(found)


def joined(parts: Sequence[EffectExamples]) -> EffectExamples:
    """Several sets of examples as one; presets keep their numbers, other styles get new ones."""
    songs = sorted({song for part in parts for song in part.songs})
    place = {song: n for n, song in enumerate(songs)}
    presets = len(EFFECTS) * PRESETS
    columns: dict[str, list[Tensor]] = {name: [] for name in ("piece", "song", "style", "effect", "preset", "before")}
    dry = pieces = own = 0
    for part in parts:
        renamed = torch.tensor([place[song] for song in part.songs])
        moved = part._replace(
            piece=part.piece + pieces,
            song=renamed[part.song],
            style=torch.where(part.style < presets, part.style, part.style + own),
            before=part.before + dry,
        )
        for name, column in columns.items():
            column.append(getattr(moved, name))
        dry, pieces = dry + len(part.dry.wide), pieces + int(part.piece.max()) + 1
        own += max(0, int(part.style.max()) + 1 - presets)
    whole = {name: torch.cat(column) for name, column in columns.items()}
    wet, dried = (
        Heard(*(torch.cat(rows) for rows in zip(*(getattr(p, name) for p in parts), strict=True)))
        for name in ("wet", "dry")
    )
    return EffectExamples(songs, **whole, wet=wet, dry=dried)


def rows(numbers: Heard, chosen: Tensor) -> Heard:
    """Some rows of what was heard."""
    return Heard(*(part[chosen] for part in numbers))


# -- presets -----------------------------------------------------------------------------------------------------------


def presets(kind: str, probe: Tensor, count: int = PRESETS, tries: int = TRIES) -> list[Effect]:
    """Settings of an effect that sound different from each other, always the same for one ``probe`` (C, T) at 24 kHz.

    Of random ones those nearest to the centres of clusters (k-means) of what is heard of the probe through them, as
    presets are chosen for AFx-Rep; what changes nothing is left out.
    """
    rng = np.random.default_rng([EFFECTS.index(kind), 17])
    drawn = [draw_effect(kind, rng) for _ in range(tries)]
    numbers = torch.cat([style_features(render([e], probe[None], RATE), RATE) for e in drawn])
    change = numbers - style_features(styles.at_peak(probe[None]), RATE)
    acting = torch.nonzero(_amount_db(change) > HEARD_DB)[:, 0]
    z = numbers[acting]
    z = (z - z.mean(0)) / (z.std(0) + 1.0)  # most numbers are decibels: what moves by less hardly counts
    return [drawn[int(acting[n])] for n in _medoids(z, count)]


def _medoids(z: Tensor, count: int) -> list[int]:
    """Rows of z (N, F) nearest to the centres of clusters, begun from rows far apart."""
    centers = z[:1]
    while len(centers) < min(count, len(z)):
        centers = torch.cat([centers, z[torch.cdist(z, centers).amin(1).argmax()][None]])
    for _ in range(20):
        nearest = torch.cdist(z, centers).argmin(1)
        centers = torch.stack([z[nearest == k].mean(0) if (nearest == k).any() else c for k, c in enumerate(centers)])
    return list(dict.fromkeys(torch.cdist(centers, z).argmin(1).tolist()))


def _kept_presets(file: Path) -> list[list[Effect]]:
    """The presets of every effect, chosen on a generated song and written to a file."""
    if not file.is_file():
        probe = next(iter(generated(0, WINDOW / RATE))).audio
        write_text(file, json.dumps([[asdict(e) for e in presets(kind, probe)] for kind in EFFECTS], indent=1) + "\n")
    return [[Effect(**e) for e in of_kind] for of_kind in json.loads(file.read_text(encoding="utf-8"))]


def _amount_db(change: Tensor) -> Tensor:
    """How much features changed, (N, 250) to (N,): the mean move of the levels of bands and of their spread, dB."""
    return change[:, : 2 * BANDS].abs().mean(1)


# -- making one piece --------------------------------------------------------------------------------------------------


class _Dry(NamedTuple):
    """Two stretches (2, C, 131072) of a recording of a song."""

    x: Tensor
    song: str
    real: bool


def _piece(
    contents: Sequence[Content | Item], chosen: list[list[Effect]], rng: Random, number: int, engines: str
) -> EffectExamples:
    made: list[Content | Item] = [
        c for s in range(SONGS) for c in generated(number * SONGS + s, solos=SOLOS, engines=engines)
    ]
    made += [talker(number * TALKERS + s) for s in range(TALKERS)]
    pairs = [_stretches(c, rng) for c in [*made, *picked(contents, REAL, rng)]]
    pool = [pair for pair in pairs if pair is not None]
    songs = sorted({one.song for one in pool})
    dry = [rows_ for one in pool for rows_ in (heard(one.x[:1], RATE), heard(one.x[1:], RATE))]
    columns: dict[str, list[int]] = {name: [] for name in ("song", "style", "effect", "preset", "before")}
    wet: list[Heard] = []
    own = len(EFFECTS) * PRESETS
    effects: tuple[Effect, ...]
    for _ in range(STYLES):
        effect = preset = -1
        if rng.random() < PRESET:
            effect = int(rng.integers(len(EFFECTS)))
            preset = int(rng.integers(len(chosen[effect])))
            style, effects = effect * PRESETS + preset, (chosen[effect][preset],)
        else:
            style, effects, own = own, draw_chain(rng), own + 1
        for member in _members(pool, rng):
            side = int(rng.integers(2))
            found = heard(render(effects, pool[member].x[side : side + 1], RATE), RATE)
            change = found.middle - dry[2 * member + side].middle
            if effects and float(_amount_db(change)) < HEARD_DB:
                continue
            wet.append(found)
            values = (songs.index(pool[member].song), style, effect, preset, 2 * member + 1 - side)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return EffectExamples(
        songs,
        piece=torch.zeros(len(wet), dtype=torch.long),
        **{name: torch.tensor(column) for name, column in columns.items()},
        wet=Heard(*(torch.cat(part) for part in zip(*wet, strict=True))),
        dry=Heard(*(torch.cat(part) for part in zip(*dry, strict=True))),
    )


def _stretches(content: Content | Item, rng: Random) -> _Dry | None:
    """Two stretches of 5.46 s of a recording from where it sounds; None if it does not sound.

    Both are a little faster or slower, and brighter or duller, than it is, so that it is never heard twice the same.
    """
    x = content.audio
    if len(x) == 2 and rng.random() < 0.5:
        x = x.mean(0, keepdim=True)
    length = round(WINDOW * (1 + float(rng.uniform(-SPEED, SPEED))))
    if x.shape[1] < length:
        x = x.repeat(1, -(-length // x.shape[1]))
    whole, cuts = float(x.square().mean()), []
    for _ in range(16):
        start = int(rng.integers(x.shape[1] - length + 1))
        cut = x[:, start : start + length]
        if float(cut.square().mean()) > max(0.1 * whole, 1e-9):
            cuts.append(cut)
        if len(cuts) == 2:
            break
    else:
        return None
    low, middle, high = (
        (between(rng, a, b), float(rng.normal(0, EQ_DB))) for a, b in ((80, 400), (400, 3000), (3000, 9000))
    )
    toned = replace(styles.NOTHING, bands=(low, middle, high))
    y = toned.render(at_rate(torch.stack(cuts), length, WINDOW), RATE, rng)
    if not bool(y.isfinite().all()):
        raise AudioError(f"{content.name} holds NaN or infinity")
    return _Dry(y, content.song, isinstance(content, Item) or content.real)


def _members(pool: Sequence[_Dry], rng: Random) -> list[int]:
    """Recordings of different songs, half of them real if there are any."""
    chosen: list[int] = []
    taken: set[str] = set()
    real = sum({one.song: one.real for one in pool}.values())
    for kind, count in ((True, min(TOGETHER // 2, real)), (False, TOGETHER)):
        for n in rng.permutation(len(pool)).tolist():
            if len(chosen) < (count if kind else TOGETHER) and pool[n].real == kind and pool[n].song not in taken:
                taken.add(pool[n].song)
                chosen.append(n)
    return chosen
