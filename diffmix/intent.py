"""What a mix is to become, before any fader is set."""

from collections.abc import Mapping
from typing import NamedTuple

from diffmix.settings import Settings


class Intent(NamedTuple):
    """What an engineer, or a network, wants of a song.

    ``settings`` holds the knobs of tracks, buses and master in physical units, without trims and faders;
    ``loudness_lu`` says how loud each track is to be in the mix, in LU relative to the sum of all tracks (so that the
    energies, 10 ** (loudness_lu / 10), add up to about 1). The faders follow from it by measuring, see
    `diffmix.balance.balanced`: the level is right at any input level and behind any EQ and compressor. ``taken_for``
    holds, of tracks whose role was not told, the likeliest role by their sound and its chance.
    """

    settings: Settings
    loudness_lu: dict[str, float]
    taken_for: Mapping[str, tuple[str, float]] = {}
