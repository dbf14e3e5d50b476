"""What edits change for the ear, in numbers a person understands."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffmix.errors import GraphError
from diffmix.graph.difference import Difference, difference
from diffmix.graph.difference.edits import Edit, Renamed, Reordered
from diffmix.graph.draw.words import quantity
from diffmix.graph.graph import Graph
from diffmix.graph.run import Sources
from diffmix.graph.session import Session
from diffmix.kernels.loudness import integrated_loudness
from diffmix.losses import multi_resolution_stft

BANDS_HZ = (31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
"""Centres of the octaves in which a change is looked for."""

QUIET_DB = -60.0
"""Octaves that lie further below the loudest one, with and without the edit, are not looked at."""


class Effects(NamedTuple):
    """What an edit changes at the output that it changes most.

    ``loudness_lu`` is the change of integrated loudness; ``distance`` the multi-resolution STFT distance, 0 if nothing
    is heard; ``width_percent`` the change of the side signal's share of the energy, in points; ``band_db`` the change
    of the octave around ``band_hz`` that changed most.
    """

    output: str
    loudness_lu: float
    distance: float
    width_percent: float
    band_hz: float
    band_db: float

    def __str__(self) -> str:
        if not self.distance:
            return "not heard"
        parts = [f"{self.loudness_lu:+.1f} LU"] if abs(self.loudness_lu) >= 0.05 else []
        if abs(self.band_db) >= 0.05:
            parts.append(f"{self.band_db:+.1f} dB around {quantity(self.band_hz, 'Hz')}")
        if abs(self.width_percent) >= 0.05:
            parts.append(f"{abs(self.width_percent):.1f} % {'wider' if self.width_percent > 0 else 'narrower'}")
        return ", ".join([*parts, f"STFT distance {self.distance:.3g}"])


def audible(
    before: Graph, after: Graph, sources: Sources, sample_rate: float
) -> list[tuple[tuple[Edit, ...], Effects]]:
    """What each edit between two graphs changes for the ear, strongest STFT distance first.

    Each is undone alone from ``after``: so it is heard in the mix that it is part of, behind and beside the other
    edits, and what it adds there is what would be missing without it. (Done alone to ``before``, a new compressor's
    threshold would be judged at a level at which it never works.) Edits that cannot stand alone are undone together;
    new names are not undone, for they are not heard.

    Args:
        before: one graph.
        after: the other.
        sources: audio of every ``In`` of both, by its name in ``after``, as for `Renderer.render`.
        sample_rate: Hz.

    Raises GraphError if a graph breaks a rule, AudioError for sources that do not fit.
    """
    after.check()
    session = Session(after, sources, sample_rate)
    heard = session.keep(after)
    found: list[tuple[tuple[Edit, ...], Effects]] = []
    for group, trial in undone(before, after):
        without = session.render(trial)
        found.append((group, _strongest(heard, without, sample_rate)))
    return sorted(found, key=lambda one: -one[1].distance)


def undone(before: Graph, after: Graph) -> list[tuple[tuple[Edit, ...], Graph]]:
    """Each edit, or group of edits that cannot stand alone, with ``after`` as it is without it."""
    edits = difference(before, after).edits
    silent = {n for n, edit in enumerate(edits) if isinstance(edit, Renamed | Reordered)}
    groups = [[n] for n in range(len(edits)) if n not in silent]
    found: list[tuple[list[int], Graph]] = []
    while groups:
        group = groups.pop(0)
        while (trial := _without(before, edits, group)) is None:
            # together with the nearest edit of the same nodes, or the nearest at all
            rest = [*groups, *(numbers for numbers, _ in found)]
            if not rest:
                break
            touched = frozenset().union(*(edits[n].touched for n in group))
            near = min(rest, key=lambda other: (not _touches(edits, other, touched), _distance(group, other)))
            groups = [other for other in groups if other is not near]
            found = [one for one in found if one[0] is not near]
            group = sorted([*group, *near])
        if trial is not None:
            found.append((group, trial))
    return [(tuple(edits[n] for n in group), trial) for group, trial in sorted(found, key=lambda one: one[0])]


def _without(before: Graph, edits: Sequence[Edit], group: Sequence[int]) -> Graph | None:
    try:
        graph = Difference(tuple(edit for n, edit in enumerate(edits) if n not in group)).apply(before, exact=True)
        graph.check()
    except GraphError:
        return None
    return graph


def _touches(edits: Sequence[Edit], group: Sequence[int], names: frozenset[str]) -> bool:
    return any(edits[n].touched & names for n in group)


def _distance(group: Sequence[int], other: Sequence[int]) -> int:
    return min(abs(a - b) for a in group for b in other)


# -- measuring -----------------------------------------------------------------------------------------------------


def _strongest(heard: Mapping[str, Tensor], without: Mapping[str, Tensor], sample_rate: float) -> Effects:
    """The effects at the output that changed most; an output that is not there is silent."""
    found = []
    for name in dict.fromkeys((*heard, *without)):
        y, x = heard.get(name), without.get(name)
        y = torch.zeros_like(x) if y is None and x is not None else y
        assert y is not None
        x = torch.zeros_like(y) if x is None else x
        if x.shape[1] != y.shape[1]:  # a mono output that became stereo
            x, y = (a.expand(-1, 2, -1) for a in (x, y))
        found.append(effects(name, y, x, sample_rate))
    return max(found, key=lambda effect: effect.distance)


def effects(name: str, y: Tensor, x: Tensor, sample_rate: float) -> Effects:
    """The effects at an output: audio y (B, C, T) with the edit, x without it."""
    loudness = (integrated_loudness(y, sample_rate) - integrated_loudness(x, sample_rate)).mean()
    hz, db = _band(y, x, sample_rate)
    return Effects(name, float(loudness), _stft(y, x), 100 * (_side(y) - _side(x)), hz, db)


def _stft(y: Tensor, x: Tensor) -> float:
    """Multi-resolution STFT distance, with windows that the signal can fill."""
    if torch.equal(y, x):
        return 0.0
    length = y.shape[-1]
    sizes = [n for n in (512, 2048, 8192) if n <= length]
    if not sizes:
        y, x = (torch.nn.functional.pad(a, (0, 512 - length)) for a in (y, x))
    with torch.no_grad():
        distance = multi_resolution_stft(sizes or [512])
        # relative to the louder one: what an edit brings is as far from silence as what it takes away
        louder, other = (y, x) if y.square().sum() >= x.square().sum() else (x, y)
        return float(distance(other.flatten(0, 1)[:, None].float(), louder.flatten(0, 1)[:, None].float()))


def _side(x: Tensor) -> float:
    """The side signal's share of the energy."""
    if x.shape[1] != 2:
        return 0.0
    x = x.double()
    side = (x[:, 0] - x[:, 1]).square().sum() / 2
    return float(side / x.square().sum().clamp_min(1e-20))


def _band(y: Tensor, x: Tensor, sample_rate: float) -> tuple[float, float]:
    """The octave whose level changed most, its centre and by how many dB."""
    powers = []
    for audio in (y, x):
        spectrum = torch.fft.rfft(audio.double()).abs().square().sum((0, 1))
        hz = torch.linspace(0, sample_rate / 2, len(spectrum), dtype=torch.float64)
        bands = [spectrum[(hz >= f / 2**0.5) & (hz < f * 2**0.5)].sum() for f in BANDS_HZ]
        powers.append(torch.stack(bands))
    floor = torch.stack(powers).max() * 10 ** (QUIET_DB / 10)
    change = 10 * ((powers[0] + floor + 1e-30) / (powers[1] + floor + 1e-30)).log10()
    most = int(change.abs().argmax())
    return BANDS_HZ[most], float(change[most])
