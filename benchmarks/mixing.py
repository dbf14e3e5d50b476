"""What the benchmark of automatic mixing judges by: songs, the truth about each, and numbers of a mix against it.

A *system* is told the tracks of a song and answers with settings for the console of ``conf/console/automix.yaml``.
The truth is what an engineer of `diffmix.data.knowledge` does with the same recordings and true labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from diffmix.balance import balanced
from diffmix.console import Console, shipped
from diffmix.data.knowledge import THIRD_OCTAVES_HZ, Style, engineer
from diffmix.data.multitrack import Multitrack
from diffmix.kernels.loudness import integrated_loudness
from diffmix.metrics import (
    audible_share,
    balance_error_db,
    crest_db,
    eq_error_db,
    evaluate,
    loudness_weight,
    matched,
    pan_error,
    pan_position,
    third_octaves_db,
    width_db,
)
from diffmix.mix import grouped, ordered
from diffmix.plots import curved, response_db
from diffmix.settings import Settings

System = Callable[[Multitrack], Settings]

SILENT_LUFS = -69.0
OF_MIX = (
    "sd_mrstft",
    "ltas_error_db",
    "width_error_db",
    "crest_error_db",
    "plr_error_db",
    "lufs_error",
)
"""The metrics of whole mixes that the benchmark reports."""


@cache
def console(sample_rate: float) -> Console:
    """The console that all systems share."""
    return Console.from_layout(shipped("automix"), sample_rate)


@dataclass(frozen=True)
class Sound:
    """A mix (2, T) as its settings make it, and what is asked of its tracks, in the multitrack's order.

    ``loudness`` and ``pan`` (N,): loudness in LUFS and position in [-1, 1] behind fader and pan; ``eq_db`` (N, F);
    ``heard``: the share of the lead vocal that the others leave audible, NaN without one.
    """

    mix: Tensor
    loudness: Tensor
    pan: Tensor
    eq_db: Tensor
    heard: float


def sound(song: Multitrack, settings: Settings, leads: Sequence[int] = (), desk: Console | None = None) -> Sound:
    """Render a song and measure its tracks; ``leads`` are the numbers of the lead vocals.

    ``desk`` is the console of the settings, where it is not the shared one.
    """
    desk = desk or console(song.sample_rate)
    tracks, order = grouped(song)
    names = [song.tracks[n].name for n in order]
    values = desk.numbers(ordered(settings, names))
    back = torch.argsort(torch.tensor(order))
    with torch.no_grad():
        mix = desk.mix(tracks, values, names=names)[0]
        placed = torch.cat(list(desk.placed(tracks, values, names=names)))[back]
        loudness, pan = integrated_loudness(placed, song.sample_rate), pan_position(placed)
        heard = float("nan")
        if leads:
            front = torch.zeros(len(placed), dtype=torch.bool)
            front[list(leads)] = True
            sides = placed[front].sum(0)[None], placed[~front].sum(0)[None]
            heard = audible_share(*sides, song.sample_rate).item()
    return Sound(mix, loudness, pan, _curves(desk, song, settings), heard)


def _curves(desk: Console, song: Multitrack, settings: Settings) -> Tensor:
    """Frequency responses (N, F) of the filters of each track, dB, down to -30."""
    full = desk.check(settings)["tracks"]
    hz = np.array(THIRD_OCTAVES_HZ)
    filters = [curved(desk.strip, full[track.name])[0] for track in song.tracks]
    rows = [response_db(one, hz) if one else np.zeros(len(hz)) for one in filters]
    return torch.from_numpy(np.stack(rows)).clamp_min(-30)


def score(mine: Sound, truth: Sound, sample_rate: float) -> dict[str, float]:
    """Every number of the benchmark for one mix of a song."""
    counted = (truth.loudness > SILENT_LUFS).float()[None]
    loudness, aim, pans = mine.loudness[None], truth.loudness[None], (mine.pan[None], truth.pan[None])
    return {
        "balance_error_db": balance_error_db(loudness, aim, counted).item(),
        "pan_error_01": pan_error(*pans, counted).item() / 2,
        "pan_error_weighted_01": pan_error(*pans, loudness_weight(aim, counted)).item() / 2,
        "eq_error_db": eq_error_db(mine.eq_db[None], truth.eq_db[None], counted.double()).item(),
        "masking_error": abs(mine.heard - truth.heard),
        **evaluate(mine.mix, truth.mix, sample_rate, only=OF_MIX),
    }


@dataclass(frozen=True)
class Case:
    """A song of a test: recordings with labels, the same without, and the true mix."""

    song: Multitrack
    blind: Multitrack
    truth: Sound
    seed: int

    @property
    def leads(self) -> list[int]:
        """The numbers of the lead vocals."""
        return [n for n, track in enumerate(self.song.tracks) if track.role == "lead_vocal"]


def case(song: Multitrack, seed: int, style: Style | None = None) -> Case:
    """A case of a song: its truth is what engineer ``seed`` does."""
    made = Case(song, unlabelled(song, seed), Sound(*[torch.zeros(0)] * 4, 0.0), seed)
    settings = balanced(console(song.sample_rate), song, engineer(song, [seed, 1], style).intent)
    return replace(made, truth=sound(song, settings, made.leads))


def unlabelled(song: Multitrack, seed: int) -> Multitrack:
    """The same recordings, without roles and telling names, in another order.

    Track ``n`` of the song is called ``track n`` (from 0 on), which `relabelled` understands.
    """
    order = np.random.default_rng(seed).permutation(len(song.tracks))
    tracks = tuple(replace(song.tracks[n], name=f"track {n}", role=None, files=()) for n in order)
    return replace(song, name="song", tracks=tracks)


def relabelled(settings: Settings, song: Multitrack) -> Settings:
    """Settings for the `unlabelled` song as settings for the song."""
    tracks = {track.name: settings["tracks"][f"track {n}"] for n, track in enumerate(song.tracks)}
    return Settings({**settings, "tracks": tracks})


def judged(case: Case, system: System, labels: bool = False) -> dict[str, float]:
    """Scores of a system on a case; ``labels``: it is told names and roles."""
    settings = system(case.song) if labels else relabelled(system(case.blind), case.song)
    return score(sound(case.song, settings, case.leads), case.truth, case.song.sample_rate)


def portrait(song: Multitrack, settings: Settings) -> dict[str, float]:
    """What can be said of a mix without a true one, at -16 LUFS: loudness as it was, bands in dB, width, masking.

    ``audible``: the mean over sounding tracks of the share that is heard through all others; ``lead``: the same of
    tracks with the role of a lead vocal.
    """
    desk, rate = console(song.sample_rate), song.sample_rate
    tracks, order = grouped(song)
    names = [song.tracks[n].name for n in order]
    values = desk.numbers(ordered(settings, names))
    with torch.no_grad():
        mix = desk.mix(tracks, values, names=names)
        placed = torch.cat(list(desk.placed(tracks, values, names=names)))
        found = {"lufs": integrated_loudness(mix, rate).item()}
        mix = matched(mix, rate)
        bands = 10 ** (third_octaves_db(mix, rate)[0] / 10)
        octaves = {"low": slice(0, 5), "low_mid": slice(5, 11), "high_mid": slice(11, 18), "high": slice(18, None)}
        found |= {name: 10 * float((bands[at].sum() / bands.sum()).log10()) for name, at in octaves.items()}
        found |= {"width_db": width_db(mix).item(), "crest_db": crest_db(mix).item()}
        total, shares = placed.sum(0), []
        sounding = integrated_loudness(placed, rate) > SILENT_LUFS
        for n in sounding.nonzero()[:, 0].tolist():
            share = audible_share(placed[n][None], (total - placed[n])[None], rate).item()
            shares.append((share, song.tracks[order[n]].role == "lead_vocal"))
    found["audible"] = float(np.mean([share for share, _ in shares]))
    found["lead"] = float(np.mean([share for share, lead in shares if lead] or [np.nan]))
    return found


def mean(values: Sequence[float]) -> float | None:
    """Mean over the songs that have the number: a song without a lead vocal has no masking."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else None
