"""All metrics of a mix against another at once."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.losses._audio import heard
from diffmix.losses.audio_features import AudioFeatureLoss
from diffmix.metrics.dynamics import crest_db, dynamics_error_db, loudness_range, peak_to_loudness_db
from diffmix.metrics.legacy import feature_mape
from diffmix.metrics.spectrum import bark_error_db, left_right_distance, ltas_error_db, sum_difference_distance
from diffmix.metrics.stereo import panning_error, panning_mape, width_error_db
from diffmix.metrics.tracks import (
    audible_share,
    balance_error_db,
    eq_error_db,
    loudness_weight,
    pan_error,
    pan_position,
    pan_width_error,
)

MATCHED_LUFS = -16.0


class Metric(NamedTuple):
    """What a number of `evaluate` means: its unit, and whether a mirrored mix (left for right) costs nothing."""

    unit: str
    mirrors: bool
    doc: str


PANEL: dict[str, Metric] = {
    "sd_mrstft": Metric("", True, "STFT distance of sum and difference: spectral convergence and log magnitudes"),
    "sd_mrstft_magnitude": Metric("", True, "the same with the L1 of magnitudes in place of the convergence"),
    "lr_mrstft_min": Metric("", True, "STFT distance of left and right to the target or its mirror image"),
    "ltas_error_db": Metric("dB", True, "long-term average spectrum, third octaves from 50 Hz to 16 kHz"),
    "bark_error_db": Metric("dB", True, "middle and side in 24 Bark bands, the side at least 60 dB below the middle"),
    "width_error_db": Metric("dB", True, "side over middle, at least -60 dB"),
    "panning_error": Metric("0..1", True, "stereo panning spectrum, RMS in four bands"),
    "panning_mape": Metric("1", True, "the same relative to the target's"),
    "crest_error_db": Metric("dB", True, "peak over RMS, mean of the channels"),
    "plr_error_db": Metric("dB", True, "true peak over loudness"),
    "dynamics_error_db": Metric("dB", True, "short windows over long ones, over time"),
    "lra_error_lu": Metric("LU", True, "loudness range"),
    "lufs_error": Metric("LU", True, "integrated loudness before it was matched"),
    "audio_feature_loss": Metric("", False, "five features by which Diff-MST compares mixes"),
    "balance_error_db": Metric("dB", True, "loudness of each track in the mix, but for a common shift"),
    "pan_error": Metric("-1..1", True, "positions of the tracks, to the target or its mirror image"),
    "pan_error_01": Metric("0..1", True, "the same from 0 (left) to 1 (right): half as much"),
    "pan_error_weighted_01": Metric("0..1", True, "the same, tracks weighted by their loudness in the target"),
    "pan_width_error": Metric("0..1", True, "distances of the tracks from the centre"),
    "masking_error": Metric("0..1", True, "share of the foreground that is heard through the rest"),
    "eq_error_db": Metric("dB", True, "frequency responses of the tracks, but for their means"),
}
"""Every number that `evaluate` can give, but for those of ``legacy``; all are 0 for equal mixes, less is better."""


def matched(mix: Tensor, sample_rate: float, loudness_lufs: float = MATCHED_LUFS) -> Tensor:
    """Mixes (B, 2, T) scaled to one loudness in LUFS; silence stays as it is."""
    now = integrated_loudness(heard(mix), sample_rate)
    return mix * db_to_gain(torch.where(now > HEARD_LUFS, loudness_lufs - now, 0.0))[:, None, None]


def evaluate(
    mix: Any,
    target: Any,
    sample_rate: float,
    *,
    tracks: Any = None,
    target_tracks: Any = None,
    foreground: Sequence[int] = (),
    eq_db: Any = None,
    target_eq_db: Any = None,
    loudness_lufs: float = MATCHED_LUFS,
    only: Collection[str] = (),
    legacy: bool = False,
) -> dict[str, float]:
    """Every metric of `PANEL` that can be told from what is given.

    Args:
        mix: the mix to judge, array or tensor (2, T).
        target: the mix it should be like, (2, T).
        sample_rate: Hz of both.
        tracks: each track as it sounds in the mix, behind effects, fader and pan, (N, 2, T): with ``target_tracks``
            this gives balance, pan and masking errors. Tracks that are silent in the target do not count.
        target_tracks: the same for the target, (N, 2, T), in the same order.
        foreground: numbers of the tracks that are to be heard through the others, the lead vocal's as a rule; without
            any there is no masking error.
        eq_db: frequency response of each track's effects in dB at evenly spaced third octaves, (N, F): with
            ``target_eq_db`` this gives the EQ error.
        target_eq_db: the same for the target, (N, F).
        loudness_lufs: both mixes are brought to this loudness first; ``lufs_error`` says how far apart they were.
        only: names of the metrics that are wanted, which saves time; all by default.
        legacy: also `feature_mape`.

    Raises AudioError for shapes that do not fit, samples that are not finite, a silent target and unknown names.
    """
    if unknown := sorted(set(only) - PANEL.keys()):
        raise AudioError(f"there is no metric {unknown[0]!r}; there are: {', '.join(PANEL)}")
    y, x = _checked(mix, target, sample_rate)
    levels = [integrated_loudness(a, sample_rate) for a in (y, x)]
    if levels[1] <= HEARD_LUFS:
        raise AudioError("the target mix is silent: there is nothing to compare with")
    y, x = (matched(a, sample_rate, loudness_lufs) for a in (y, x))
    ways = {"lufs_error": lambda: (levels[0] - levels[1]).abs(), **_of_mixes(y, x, sample_rate)}
    counted = None
    if tracks is not None and target_tracks is not None:
        own, wanted = _stack(tracks, "tracks", y.shape[-1]), _stack(target_tracks, "target_tracks", y.shape[-1])
        if own.shape != wanted.shape:
            raise AudioError(f"tracks are {len(own)} and target_tracks {len(wanted)}; as many are expected")
        loudness, aim = (integrated_loudness(t, sample_rate)[None] for t in (own, wanted))
        counted = (aim > HEARD_LUFS).to(aim)
        ways |= _of_tracks(loudness, aim, pan_position(own)[None], pan_position(wanted)[None], counted)
        if len(foreground):
            ways["masking_error"] = lambda: _masking_error(own, wanted, list(foreground), sample_rate)
    if eq_db is not None and target_eq_db is not None:
        mine, theirs = (torch.as_tensor(c, dtype=torch.float64)[None] for c in (eq_db, target_eq_db))
        if mine.shape != theirs.shape or mine.ndim != 3:
            raise AudioError("eq_db and target_eq_db are expected as (N, F) each, with as many tracks and frequencies")
        every = torch.ones_like(mine[..., 0]) if counted is None else counted.double()
        ways["eq_error_db"] = lambda: eq_error_db(mine, theirs, every)
    numbers = {name: float(ways[name]()) for name in PANEL if name in ways and (not only or name in only)}
    return numbers | (feature_mape(y[0], x[0], sample_rate) if legacy else {})


def _of_mixes(y: Tensor, x: Tensor, sample_rate: float) -> dict[str, Callable[[], Tensor]]:
    """How each metric of mixes (1, 2, T) of one loudness is computed."""
    rate = sample_rate
    return {
        "sd_mrstft": lambda: sum_difference_distance(y, x),
        "sd_mrstft_magnitude": lambda: sum_difference_distance(y, x, linear="magnitude"),
        "lr_mrstft_min": lambda: left_right_distance(y, x),
        "ltas_error_db": lambda: ltas_error_db(y, x, rate),
        "bark_error_db": lambda: bark_error_db(y, x, rate),
        "width_error_db": lambda: width_error_db(y, x),
        "panning_error": lambda: panning_error(y, x, rate),
        "panning_mape": lambda: panning_mape(y, x, rate),
        "crest_error_db": lambda: (crest_db(y) - crest_db(x)).abs(),
        "plr_error_db": lambda: (peak_to_loudness_db(y, rate) - peak_to_loudness_db(x, rate)).abs(),
        "dynamics_error_db": lambda: dynamics_error_db(y, x, rate),
        "lra_error_lu": lambda: (loudness_range(y, rate) - loudness_range(x, rate)).abs(),
        "audio_feature_loss": lambda: AudioFeatureLoss(rate)(y, x),
    }


def _of_tracks(
    loudness: Tensor, aim: Tensor, pan: Tensor, wanted: Tensor, counted: Tensor
) -> dict[str, Callable[[], Tensor]]:
    """How each metric of tracks (1, N) of some loudness and position is computed."""
    return {
        "balance_error_db": lambda: balance_error_db(loudness, aim, counted),
        "pan_error": lambda: pan_error(pan, wanted, counted),
        "pan_error_01": lambda: pan_error(pan, wanted, counted) / 2,
        "pan_error_weighted_01": lambda: pan_error(pan, wanted, loudness_weight(aim, counted)) / 2,
        "pan_width_error": lambda: pan_width_error(pan, wanted, counted),
    }


def _masking_error(own: Tensor, wanted: Tensor, foreground: list[int], sample_rate: float) -> Tensor:
    front = torch.zeros(len(own), dtype=torch.bool)
    front[foreground] = True
    mine, theirs = (audible_share(t[front].sum(0)[None], t[~front].sum(0)[None], sample_rate) for t in (own, wanted))
    return (mine - theirs).abs()


def _checked(mix: Any, target: Any, sample_rate: float) -> tuple[Tensor, Tensor]:
    """Both mixes as (1, 2, T)."""
    if not sample_rate > 0:
        raise AudioError(f"sample_rate is {sample_rate!r}, a number of Hz is expected")
    found = []
    for name, given in (("mix", mix), ("target", target)):
        audio = torch.as_tensor(np.asarray(given), dtype=torch.float32)
        if audio.ndim != 2 or audio.shape[0] != 2 or not audio.shape[1]:
            raise AudioError(f"the {name} has shape {tuple(audio.shape)}; (2, T) is expected")
        if not torch.isfinite(audio).all():
            raise AudioError(f"the {name} holds samples that are not finite")
        found.append(audio[None])
    if found[0].shape != found[1].shape:
        raise AudioError(f"the mix has {found[0].shape[-1]} samples, the target {found[1].shape[-1]}")
    return found[0], found[1]


def _stack(tracks: Any, name: str, length: int) -> Tensor:
    """Tracks as (N, 2, T)."""
    audio = tracks if isinstance(tracks, Tensor) else torch.as_tensor(np.asarray(tracks), dtype=torch.float32)
    if audio.ndim != 3 or audio.shape[1] != 2 or audio.shape[2] != length:
        raise AudioError(f"{name} has shape {tuple(audio.shape)}; (N, 2, {length}) is expected")
    return audio
