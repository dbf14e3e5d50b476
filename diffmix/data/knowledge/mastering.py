"""What finished recordings measure, by genre: the spectrum, how dense, how wide a range of loudness.

The common shape is that of long-term spectra of commercial recordings: about -5 dB per octave of density above 100 Hz,
steeper below 60 Hz and above 10 kHz (P. D. Pestana et al., "Spectral characteristics of popular commercial recordings
1950-2010", AES 135, 2013; A. Elowsson and A. Friberg, "Long-term average spectrum in popular music and its relation to
the level of the percussion", AES 142, 2017). Departures of genres from it are our own numbers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from diffmix.data.knowledge.classes import MIX_DB
from diffmix.data.knowledge.spectrum import Curve, drawn
from diffmix.errors import SettingsError


class Target(NamedTuple):
    """What a master is to measure.

    ``curve_db`` (28,) are levels of third octaves, of which only the shape counts, ``spread_db`` (28,) what engineers
    allow each of them; ``plr_db`` the lowest and highest true peak over loudness, ``range_lu`` those of the loudness
    range (EBU Tech 3342). ``loudness_lufs`` is that of a reference. ``curve_db`` None leaves spectrum and dynamics.
    """

    name: str
    curve_db: Curve | None
    spread_db: Curve
    plr_db: tuple[float, float]
    range_lu: tuple[float, float]
    loudness_lufs: float | None = None


ALLOWED_DB = drawn((31.5, 5), (63, 3), (125, 2), (4000, 2), (8000, 2.5), (16000, 5))
"""The spread within a genre; about the standard deviation among recordings."""

UNTOUCHED = Target("", None, ALLOWED_DB, (0.0, 100.0), (0.0, 100.0))
"""The target that leaves all but loudness as it is."""

_DEPARTURE_HZ = (40, 80, 160, 315, 630, 1250, 2500, 5000, 10000, 16000)


def _genre(
    name: str, departure_db: Sequence[float], plr_db: tuple[float, float], range_lu: tuple[float, float]
) -> Target:
    curve = MIX_DB + drawn(*zip(_DEPARTURE_HZ, departure_db, strict=True))
    return Target(name, curve, ALLOWED_DB, plr_db, range_lu)


GENRES: dict[str, Target] = {
    genre.name: genre
    for genre in (
        _genre("pop", (0, 0.5, 0, 0, 0, 0, 0, 0, 0.5, 0.5), (8, 13), (3, 8)),
        _genre("rock", (-2, -0.5, 0, 0.5, 0.5, 0.5, 1, 0.5, -0.5, -1), (8, 13), (3, 9)),
        _genre("metal", (-1, 0.5, 0.5, -0.5, -1, 0, 1.5, 2, 1, 0), (7, 11), (2, 7)),
        _genre("hiphop", (4, 2.5, 0.5, -0.5, -0.5, -0.5, -0.5, 0, 0.5, 0.5), (8, 12), (2, 8)),
        _genre("electronic", (3, 2.5, 0, -1, -1, -0.5, 0, 0.5, 1.5, 1.5), (7, 11), (2, 8)),
        _genre("rnb", (2.5, 1.5, 0.5, 0.5, 0, -0.5, -0.5, 0, 0.5, 0.5), (8, 13), (3, 9)),
        _genre("country", (-3, -0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0), (9, 14), (3, 9)),
        _genre("folk", (-6, -2, 0.5, 1.5, 1.5, 0.5, -0.5, -1, -1.5, -2), (11, 17), (4, 12)),
        _genre("jazz", (-2, 0, 1, 1.5, 1, 0, -1, -2.5, -3.5, -4), (13, 19), (5, 14)),
        _genre("classical", (-7, -4, 0, 1.5, 2, 1, -1, -4, -8, -11), (15, 24), (8, 20)),
    )
}
"""By name."""

NEAR_DB = 1.5
"""Two spectra this far apart (root mean square) count as near when genres are weighed."""


def nearest(spectrum_db: Curve, weight: Curve, plr_db: float) -> dict[str, float]:
    """How much each genre resembles a recording: up to three shares that sum to 1, the largest first.

    By the distance of the spectra (28,), levels aside, under a ``weight`` (28,), and by how far the density lies
    outside of what is usual. A mix that is not mastered has higher peaks than its genre: these count little.
    """
    closeness = {}
    for name, genre in GENRES.items():
        assert genre.curve_db is not None
        away = spectrum_db - genre.curve_db
        away = away - np.average(away, weights=weight)
        low, high = genre.plr_db
        dense, loose = max(low - plr_db, 0.0), max(plr_db - high - 6, 0.0)
        closeness[name] = -float(np.average(away**2, weights=weight)) / NEAR_DB**2 - (dense**2 + loose**2) / 18
    best = sorted(closeness, key=lambda name: -closeness[name])[:3]
    shares = np.exp([(closeness[name] - closeness[best[0]]) / 2 for name in best])
    kept = {name: float(share) for name, share in zip(best, shares, strict=True) if share > 0.15}
    return {name: share / sum(kept.values()) for name, share in kept.items()}


def mixed(shares: Mapping[str, float]) -> Target:
    """The target between genres with the given shares. Raises SettingsError for a genre that is not known."""
    if unknown := [name for name in shares if name not in GENRES]:
        raise SettingsError(f"no genre is called {unknown[0]!r}; there are: {', '.join(GENRES)}")
    genres = [GENRES[name] for name in shares]
    weights = np.array(list(shares.values()))

    def mean(values: Sequence[Sequence[float] | Curve | None]) -> Curve:
        found: Curve = np.tensordot(weights, np.array(values, np.float64), 1)
        return found

    words = [f"{name} {share:.0%}" for name, share in shares.items()] if len(shares) > 1 else list(shares)
    plr, span = mean([g.plr_db for g in genres]), mean([g.range_lu for g in genres])
    return Target(
        ", ".join(words),
        mean([g.curve_db for g in genres]),
        ALLOWED_DB,
        (float(plr[0]), float(plr[1])),
        (float(span[0]), float(span[1])),
    )
