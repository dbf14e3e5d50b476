"""Examples of styles to learn from: recordings, generated and real, each as it is and in a style others share.

They are made in pieces, each from its own seed, and kept on disk as numbers (features, treatments, spectra) and short
crops: a stopped run goes on with the next piece, and another that asks for the same finds them.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffmix.data import styles
from diffmix.data.style_content import CLASSES, RATE, Audible, generated, picked, talker
from diffmix.data.styles import Style
from diffmix.data.synthesis import between
from diffmix.data.synthetic import GENERATOR_VERSION, cache_name, cache_root
from diffmix.estimators.style_features import WINDOW, at_peak, at_rate, style_features
from diffmix.estimators.treatment import ATTACK_MS, EQ_HZ, EXTRAS, LEVELS_DB, RELEASE_MS, SURE_DB, Treatment
from diffmix.files import made_folder, replacing
from diffmix.transferring.decision import CROP, mel_magnitude

EXAMPLES_VERSION = 2
"""Part of the cache's name: raised when anything changes what an example is."""

GROUPS = 100
"""Groups of a piece: recordings of one class in one style."""

TOGETHER = 8
"""Recordings of a group, each of another song where there are so many."""

SONGS, SOLOS, TALKERS, REAL = 5, 4, 7, 56
"""Generated songs, tracks of each alone, generated talkers and stretches of recordings that a piece is made of."""

LIMITED = 0.15
"""Share of recordings that a codec or a low sample rate has cut off: the cut is content, not style."""

SHARES = {"speech": 0.2, "mix": 0.2, "drums": 0.16, "vocals": 0.14, "harmony": 0.18, "any": 0.12}
"""How often groups are of each class; "any" is music of several."""

SPEED = {"speech": 0.22}
EQ_DB = {False: (2.0, 4.5), True: (1.0, 4.0)}
"""Standard deviations, dB, of what is done to generated and to real recordings first, so that none stays the same."""

LAID_OVER, OVER_DB = 0.6, (-15.0, 5.0)
"""Share of recorded stretches of music that are there again under a generated one, and how loud that is, dB."""

ELSEWHERE, IN_ROOM, IN_NOISE = 0.65, 0.6, 0.5
"""Share of stretches of speech that are there again elsewhere: how many of them in a room, and of those in noise too.

The others are in noise.
"""

Random = np.random.Generator


class Examples(NamedTuple):
    """Recordings, dry (D ...), and the same in styles (N ...).

    Fields:
        songs: names of songs; kinds: `CLASSES`.
        song, kind, real: of each dry recording, numbers into the names, and whether it was recorded (D,).
        dry: their features (D, 250).
        crop: 2.7 s of them (D, 65536), half precision.
        of: the dry recording of each styled one (N,).
        group: which were made together, in one style (N,).
        features: of the styled ones (N, 250).
        target: what was done, a treatment's vector (N, 51).
        truth: mel spectra of the styled crops (N, frames, 128), half precision.
    """

    songs: list[str]
    song: Tensor
    kind: Tensor
    real: Tensor
    dry: Tensor
    crop: Tensor
    of: Tensor
    group: Tensor
    features: Tensor
    target: Tensor
    truth: Tensor


def examples(
    contents: Sequence[Audible] = (),
    pieces: int = 30,
    seed: int = 0,
    root: str | os.PathLike[str] | None = None,
    advance: Callable[[float, str], None] | None = None,
    engines: str = "train",
) -> Examples:
    """Examples from generated recordings and from real ones (``contents``), in ``pieces`` pieces of 100 groups.

    ``engines`` are those of `generate_song`. Pieces are kept below ``root``, the cache folder by default, under a name
    that tells contents, engines, seed and versions; those that are there are read. ``advance(done, note)`` is called
    after each. Raises OutputError if the folder cannot be made.
    """
    folder = made_folder(Path(root or cache_root() / "styles") / _digest(contents, seed, engines))
    found = []
    for number in range(pieces):
        file = folder / f"{number}.pt"
        if not file.is_file():
            made = _piece(contents, np.random.default_rng([seed, number]), 10_000 * seed + number, engines)
            with replacing(file) as temporary:
                torch.save(made._asdict(), temporary)
        found.append(Examples(**torch.load(file, weights_only=True)))
        if advance:
            advance(number + 1, "")
    return joined(found)


def joined(parts: Sequence[Examples]) -> Examples:
    """Several sets of examples as one."""
    songs = sorted({song for part in parts for song in part.songs})
    place = {song: n for n, song in enumerate(songs)}
    columns: dict[str, list[Tensor]] = {name: [] for name in Examples._fields[1:]}
    dry = groups = 0
    for part in parts:
        renamed = torch.tensor([place[song] for song in part.songs])
        shifted = part._replace(song=renamed[part.song], of=part.of + dry, group=part.group + groups)
        for name, column in columns.items():
            column.append(getattr(shifted, name))
        dry, groups = dry + len(part.song), groups + int(part.group.max()) + 1
    return Examples(songs, **{name: torch.cat(column) for name, column in columns.items()})


def treatment_of(style: Style) -> Treatment:
    """What a style does, as it is to be predicted: curves, times of a `Compressor`, and extras."""
    response = style.response_db(torch.tensor(EQ_HZ), RATE).clamp(-40, 40)
    reduction = style.reduction_db(torch.tensor(LEVELS_DB))
    sure = (reduction[:1] / SURE_DB).clamp(0, 1)
    logs = torch.tensor(
        [math.log10(_twin_ms(style.attack_s) / ATTACK_MS), math.log10(_twin_ms(style.release_s) / RELEASE_MS)]
    )
    room = max(0.0, style.room_db + 30) if style.room_s else 0.0
    extras = torch.tensor([style.side_db, style.drive_db, room])
    assert len(extras) == len(EXTRAS)
    return Treatment(response, reduction, logs * sure, extras)


def _twin_ms(rise_s: float) -> float:
    """The time, as `Compressor` counts it, of a smoother that goes from 10 to 90 % in ``rise_s`` seconds."""
    return 1000 * rise_s * 2 * math.pi / math.log(9)


def _digest(contents: Sequence[Audible], seed: int, engines: str) -> str:
    about = [EXAMPLES_VERSION, GENERATOR_VERSION, seed, [(c.name, c.song, c.kind) for c in contents], engines]
    return cache_name(about)


# -- making one piece --------------------------------------------------------------------------------------------------


class _Dry(NamedTuple):
    """A stretch of a recording (C, 131072) that peaks at -12 dBFS, where its crop begins, and what it is of."""

    x: Tensor
    start: int
    song: str
    kind: str
    real: bool


def _piece(contents: Sequence[Audible], rng: Random, number: int, engines: str) -> Examples:
    """100 groups from five songs, seven talkers and 56 stretches of real recordings, some of them in two ways."""
    made = [c for s in range(SONGS) for c in generated(number * SONGS + s, solos=SOLOS, engines=engines)]
    made += [talker(number * TALKERS + s) for s in range(TALKERS)]
    stretches = [_stretch(c, False, rng) for c in made] + [_stretch(c, True, rng) for c in picked(contents, REAL, rng)]
    found = [one for one in stretches if one is not None]
    pool = [*found, *_laid_over(found, rng), *_elsewhere(found, rng)]
    songs = sorted({one.song for one in pool})
    rows: dict[str, list[Tensor]] = {name: [] for name in ("of", "group", "features", "target", "truth")}
    for group in range(GROUPS):
        members = _members(pool, rng)
        style = styles.draw(rng)
        target = treatment_of(style).to_vector()
        for channels in (1, 2):
            chosen = [m for m in members if len(pool[m].x) == channels]
            if not chosen:
                continue
            y = style.render(torch.stack([pool[m].x for m in chosen]), RATE, rng)
            crops = torch.stack([z[:, pool[m].start :][:, :CROP] for z, m in zip(y, chosen, strict=True)])
            rows["of"].append(torch.tensor(chosen))
            rows["group"].append(torch.full((len(chosen),), group))
            rows["features"].append(style_features(y, RATE))
            rows["target"].append(target.expand(len(chosen), -1))
            rows["truth"].append(mel_magnitude(at_peak(crops).mean(1)).half())
    return Examples(
        songs,
        song=torch.tensor([songs.index(one.song) for one in pool]),
        kind=torch.tensor([CLASSES.index(one.kind) for one in pool]),
        real=torch.tensor([one.real for one in pool]),
        dry=torch.cat([style_features(one.x[None], RATE) for one in pool]),
        crop=torch.stack([one.x.mean(0)[one.start :][:CROP].half() for one in pool]),
        **{name: torch.cat(parts) for name, parts in rows.items()},
    )


def _stretch(content: Audible, real: bool, rng: Random) -> _Dry | None:
    """5.46 s of a recording from where it sounds, a little faster or slower, a little brighter or duller, or None."""
    x = content.audio
    if x.shape[0] == 2 and rng.random() < 0.6:
        x = x.mean(0, keepdim=True)
    most = SPEED.get(content.kind, 0.15)
    speed = 1 + float(rng.uniform(-most, most))
    length = round(WINDOW * speed)
    if x.shape[1] < length:
        x = x.repeat(1, -(-length // x.shape[1]))
    whole = float(x.square().mean())
    for _ in range(8):
        start = int(rng.integers(x.shape[1] - length + 1))
        cut = x[:, start : start + length]
        if float(cut.square().mean()) > 0.1 * whole:
            break
    cut = at_rate(cut, length, WINDOW)
    if rng.random() < LIMITED:
        kept = torch.fft.rfftfreq(WINDOW, 1 / RATE) < between(rng, 3500, 11_000)
        cut = torch.fft.irfft(torch.fft.rfft(cut) * kept, WINDOW)
    spread_db = rng.uniform(*EQ_DB[real])
    bands = tuple((hz, float(rng.normal(0, spread_db))) for hz in _corners(rng))
    y = replace(styles.NOTHING, bands=bands).render(cut[None], RATE, rng)[0]
    energy = y.mean(0).square().unfold(0, CROP // 16, CROP // 16).mean(1).unfold(0, 16, 1).mean(1)
    if not bool(y.isfinite().all()) or float(energy.amax()) < 1e-9:
        return None
    return _Dry(y, int(energy.argmax()) * (CROP // 16), content.song, content.kind, real)


def _laid_over(pool: Sequence[_Dry], rng: Random) -> list[_Dry]:
    """Recorded music under generated music, half of it of its own class: few songs become contents enough."""
    generated_music = [one for one in pool if not one.real and one.kind != "speech"]
    made = []
    for one in pool:
        if not one.real or one.kind == "speech" or not generated_music or rng.random() >= LAID_OVER:
            continue
        same = [other for other in generated_music if other.kind == one.kind]
        among = same if same and rng.random() < 0.5 else generated_music
        other = among[rng.integers(len(among))]
        x, y = one.x, other.x
        if len(x) != len(y):
            x, y = x.mean(0, keepdim=True), y.mean(0, keepdim=True)
        louder = (
            10 ** (rng.uniform(*OVER_DB) / 20) * x.square().mean().sqrt() / y.square().mean().sqrt().clamp_min(1e-9)
        )
        together = styles.at_peak((x + louder * y)[None])[0]
        made.append(one._replace(x=together, kind=one.kind if other.kind == one.kind else "mix"))
    return made


def _elsewhere(pool: Sequence[_Dry], rng: Random) -> list[_Dry]:
    """Speech in a room, in noise, or in both."""
    made = []
    for one in pool:
        if one.kind != "speech" or rng.random() >= ELSEWHERE:
            continue
        x = one.x
        in_room = rng.random() < IN_ROOM
        if in_room:
            x = x + styles.room_tail(x[None], between(rng, 0.15, 0.9), float(rng.uniform(-22, -6)), RATE, rng)[0]
        if not in_room or rng.random() < IN_NOISE:
            white = torch.from_numpy(rng.standard_normal(x.shape).astype(np.float32))
            slope = torch.arange(1, x.shape[1] // 2 + 2) ** -float(rng.uniform(0, 0.8))
            noise = torch.fft.irfft(torch.fft.rfft(white) * slope, x.shape[1])
            loud = 10 ** (rng.uniform(-50, -25) / 20) * x.square().mean().sqrt() / noise.square().mean().sqrt()
            x = x + loud * noise
        made.append(one._replace(x=styles.at_peak(x[None])[0]))
    return made


def _corners(rng: Random) -> tuple[float, float, float]:
    low, middle, high = (between(rng, a, b) for a, b in ((80, 400), (400, 3000), (3000, 9000)))
    return low, middle, high


def _members(pool: Sequence[_Dry], rng: Random) -> list[int]:
    """The recordings of a group: of one class, half of them real if there are enough, and of different songs."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    fitting = [n for n, one in enumerate(pool) if (one.kind != "speech" if kind == "any" else one.kind == kind)]
    chosen: list[int] = []
    for real in (True, False):
        heard: set[str] = set()
        order = [n for n in rng.permutation(fitting).tolist() if pool[n].real == real]
        for n in order:
            if len(heard) < TOGETHER // 2 and pool[n].song not in heard:
                heard.add(pool[n].song)
                chosen.append(n)
    return chosen
