"""From an intent to settings: trims and faders by measuring."""

from collections.abc import Mapping

import torch
from torch import Tensor

from diffmix.console import Console, DeskValues, Tracks
from diffmix.data.multitrack import Multitrack
from diffmix.errors import SettingsError
from diffmix.intent import Intent
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.mix import ordered
from diffmix.playback import Player
from diffmix.settings import Settings, shortest

SUM_LUFS = -20.0
"""Loudness of the sum of all tracks in front of the master: its thresholds mean the same for every song."""


def balanced(
    console: Console, multitrack: Multitrack, intent: Intent, faders_db: Mapping[str, float] | None = None
) -> Settings:
    """The settings in which each track is as loud in the mix as is intended.

    Trims bring every track to the working level in front of its strip; faders bring it to ``SUM_LUFS`` plus its
    intended loudness where it reaches its group or the master, behind effects and pan (all of them less, if a fader
    would have to pass its top). Silent tracks keep trim and fader at 0 dB. Faders given in ``faders_db`` stand as they
    are; the others are shifted by one amount, the median over the given ones, so that the balance between all is kept
    as far as it can be.

    Raises SettingsError if the intent leaves out a track, or if the strip has no ``trim``.
    """
    player = Player(console, multitrack)
    names = player.names
    if missing := [name for name in names if name not in intent.loudness_lu]:
        raise SettingsError(f"the intent says no loudness for track {missing[0]!r}")
    loudness = torch.tensor([multitrack.loudness_lufs[name] for name in names])
    trims = console.trims_db(loudness)
    strips = {
        name: {**intent.settings["tracks"].get(name, {}), "trim": {"gain_db": shortest(float(trim))}}
        for name, trim in zip(names, trims, strict=True)
    }
    settings = Settings({**intent.settings, "tracks": strips})
    measured = player.levels(settings)
    wanted = SUM_LUFS + torch.tensor([intent.loudness_lu[name] for name in names])
    sounding = (loudness > HEARD_LUFS) & (measured > HEARD_LUFS)
    faders = torch.where(sounding, wanted - measured, 0.0)
    given = faders_db or {}
    if held := [n for n, name in enumerate(names) if name in given and sounding[n]]:
        shift = torch.tensor([given[names[n]] for n in held]) - faders[held]
        faders = torch.where(sounding, faders + shift.median(), faders)
    knob = console.fader.spec.params["gain_db"]
    if not held:
        faders = torch.where(sounding, faders - (faders.max() - knob.high).clamp_min(0), faders)
    for n, name in enumerate(names):
        fader_db = given.get(name, knob.nearest(float(faders[n])))
        strips[name]["fader"] = {"gain_db": shortest(fader_db)}
    return ordered(settings, [track.name for track in multitrack.tracks])


def placed_loudness(console: Console, tracks: Tracks, values: DeskValues) -> Tensor:
    """Loudness (B, N) in LUFS of each track as it reaches its group or the master, without its sends."""
    with torch.no_grad():
        placed = console.placed(tracks, values)
        return torch.stack([integrated_loudness(y, console.sample_rate) for y in placed], 1)
