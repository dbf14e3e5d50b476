"""Any chain as the one to transfer with: Pedalboard's plugins and VST3 files, their knobs searched without gradients.

After ST-ITO (C. J. Steinmetz et al., ISMIR 2024): an evolution strategy over the knobs (or SPSA), with a gene for each
plugin that leaves it out. What is come near is the recording's own piece under the treatment that was decided upon, so
that the search has a target that plays the same notes.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffmix.data.audio import write_recording
from diffmix.errors import OutputError, SettingsError, about
from diffmix.estimators.style_features import RATE
from diffmix.estimators.treatment import Treatment
from diffmix.export.pedalboard import board
from diffmix.export.preset import entry
from diffmix.export.standalone import live
from diffmix.files import result, spare, write_text
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.playback import Progress
from diffmix.plugins import PluginNode, plugin
from diffmix.processors import Processor
from diffmix.settings import shortest
from diffmix.transferring.comparing import level_matched, write_before
from diffmix.transferring.decision import CROP, judged, mel_distance, mel_magnitude, render
from diffmix.transferring.evolution import SEARCHES, Score
from diffmix.types import Path

if TYPE_CHECKING:
    from pedalboard import Pedalboard

GENERATIONS = {"fast": 15, "balanced": 40, "best": 150}
_ABOUT_TRANSFERS = (
    *("report.html", "report.json", "report.png", "graph.json", "graph.svg", "preset.json", "preset.py"),
    *("console.json", "style.json"),
)
"""What lies beside a transfer without plugins, and says nothing of one with plugins."""

STARTS_IN = 0.6
"""Gene of a plugin at the start; above a half it is heard."""

HELPS = 0.002
"""Share of the distance by which a plugin has to help to be heard."""


@dataclass(frozen=True)
class Played:
    """A recording through a chain of plugins.

    ``audio`` is float32 (2, T) at ``sample_rate`` Hz, ``source`` the recording as it came; ``settings`` hold the knobs
    of each plugin that is heard, ``left_out`` the others; ``before`` and ``after`` are distances to what was wanted;
    ``notes`` say what a person should know; ``files`` are those of the recording; ``gain_db`` is what brings it to its
    loudness, behind the ``nodes``, the plugins by name.
    """

    audio: np.ndarray
    sample_rate: int
    source: Tensor = field(repr=False)
    settings: Mapping[str, Mapping[str, float]]
    left_out: tuple[str, ...]
    before: float
    after: float
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    gain_db: float = 0.0
    nodes: Mapping[str, Processor] = field(default_factory=dict, repr=False)

    @property
    def level_matched(self) -> tuple[np.ndarray, np.ndarray]:
        """Before and after, (2, T) each, equally loud, to compare: the louder one is turned down."""
        return level_matched(self.source, torch.from_numpy(self.audio), self.sample_rate)

    @property
    def from_files(self) -> dict[str, str]:
        """The plugins that are heard and come from files, by name; their knobs are raw values, from 0 to 1."""
        heard = {name: node for name, node in self.nodes.items() if name in self.settings}
        return {name: node.path for name, node in heard.items() if isinstance(node, PluginNode)}

    def to_pedalboard(self) -> "Pedalboard":
        """The plugins that are heard, with their knobs, and the gain behind them as Pedalboard's: to play other audio.

        All are live objects in this process, plugins from files too. Raises PresetError for an effect without a plugin.
        """
        made = []
        for name, values in self.settings.items():
            node = self.nodes[name]
            if isinstance(node, PluginNode):
                made.append(node.live(values))
            else:
                made += [live(entry(kind, given), self.sample_rate) for kind, given in node.plugins(values)]
        made.append(live(entry("Gain", {"gain_db": self.gain_db}), self.sample_rate))
        return board(made)

    def __str__(self) -> str:
        """The knobs of each plugin, how near they come, and the notes, in lines."""
        raw = dict.fromkeys(self.from_files, " (of 0 to 1 each)")
        knobs = {
            f"{name}{raw.get(name, '')}": ", ".join(f"{knob} {value:g}" for knob, value in values.items()) or "as it is"
            for name, values in self.settings.items()
        }
        lines = [f"{name}: {text}" for name, text in (knobs | dict.fromkeys(self.left_out, "left out")).items()]
        lines.append(f"distance to what was wanted: {self.after:.3f}, before {self.before:.3f}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @about("folder", OutputError)
    def save(self, folder: Path) -> dict[str, FilePath]:
        """Write transfer.wav, before.wav (as loud as it) and settings.json; returns their paths by name.

        What an earlier transfer without plugins left beside them goes, unless it was edited by hand since. Raises
        OutputError, also rather than write over the recording or a result of another kind.
        """
        folder = FilePath(folder)
        spare(folder, ("transfer.wav", "before.wav"), self.files)
        before, after = (
            float(integrated_loudness(x[None], self.sample_rate)) for x in (self.source, torch.from_numpy(self.audio))
        )
        about = {"settings": self.settings, "from_files": self.from_files, "gain_db": self.gain_db}
        about |= {"left_out": self.left_out, "before": self.before, "after": self.after, "notes": self.notes}
        text = json.dumps(about, indent=1, ensure_ascii=False)
        with result(folder, _ABOUT_TRANSFERS if (folder / "report.json").exists() else ()) as (temporary, written):
            write_recording(temporary / "transfer.wav", torch.from_numpy(self.audio), self.sample_rate)
            write_before(temporary / "before.wav", self.source, after - before, self.sample_rate)
            write_text(temporary / "settings.json", text + "\n")
        return written


class PluginChain:
    """Plugins in series, as points of [0, 1]^D: for each plugin a gene that lets it be heard, and its knobs."""

    def __init__(self, chain: Sequence[Any], sample_rate: float) -> None:
        """Of each a name of Pedalboard's, a path, ``(name or path, [parameters])``, or a `Processor`.

        Raises SettingsError and PluginError.
        """
        if not chain:
            raise SettingsError("the chain is empty: name a plugin of Pedalboard, or the path of a VST3 file")
        self.nodes: dict[str, Processor] = {}
        for one in chain if isinstance(chain, Iterable) and not isinstance(chain, str) else [chain]:
            name, node = _node(one, sample_rate)
            title, number = name, 2
            while title in self.nodes:
                title, number = f"{name} {number}", number + 1
            self.nodes[title] = node
        self.size = sum(1 + node.spec.size for node in self.nodes.values())

    @property
    def start(self) -> Tensor:
        """All heard, knobs at their defaults, (D,)."""
        parts = [torch.cat([torch.tensor([STARTS_IN]), node.spec.default().flatten()]) for node in self.nodes.values()]
        return torch.cat(parts)

    def play(self, x: Tensor, points: Tensor) -> Tensor:
        """Audio (2, T) under N points, (N, 2, T)."""
        y, at = x.expand(len(points), -1, -1), 0
        for node in self.nodes.values():
            heard, u = points[:, at] > 0.5, points[:, at + 1 : at + 1 + node.spec.size]
            at += 1 + node.spec.size
            if bool(heard.any()):
                values = node.spec.denormalize(u[heard])
                y = y.clone()
                y[heard] = node.process(y[heard], **values)
        return torch.nan_to_num(y)

    @property
    def genes(self) -> list[int]:
        """Where in a point the genes are that let the plugins be heard."""
        sizes = [1 + node.spec.size for node in self.nodes.values()]
        return [sum(sizes[:n]) for n in range(len(sizes))]

    def settings(self, point: Tensor) -> tuple[dict[str, dict[str, float]], tuple[str, ...]]:
        """Knobs of the plugins that a point (D,) lets be heard, and the names of the others."""
        knobs: dict[str, dict[str, float]] = {}
        left_out, at = [], 0
        for name, node in self.nodes.items():
            heard, u = bool(point[at] > 0.5), point[at + 1 : at + 1 + node.spec.size]
            at += 1 + node.spec.size
            if heard:
                knobs[name] = {n: shortest(float(v)) for n, v in node.spec.denormalize(u[None]).items()}
            else:
                left_out.append(name)
        return knobs, tuple(left_out)


def played(
    chain: Sequence[Any],
    source: Tensor,
    piece: Tensor,
    sample_rate: int,
    treatment: Treatment,
    wanted_lufs: float,
    plain_lufs: float | None,
    ceiling_db: float,
    quality: str,
    search: str,
    seed: int,
    say: Progress,
) -> Played:
    """A recording (2, T) through a chain, near to what the treatment makes of a ``piece`` (2, n) of it.

    Its loudness is the one wanted, or as far as the true peak allows; where all plugins are left out it is
    ``plain_lufs``, or the recording comes back as it was (None). ``search`` is one of `SEARCHES`.
    """
    plugins = PluginChain(chain, sample_rate)
    piece = piece[:, : round(CROP / RATE * sample_rate)]
    truth = mel_magnitude(render(judged(piece[None], sample_rate)[0], Treatment(*(part[None] for part in treatment))))

    def distance(points: Tensor) -> Tensor:
        with torch.no_grad():
            return mel_distance(mel_magnitude(judged(plugins.play(piece, points), sample_rate)), truth)

    point = torch.zeros(plugins.size)  # none is heard
    before = after = float(distance(point[None])[0])
    if bool(treatment.to_vector().any()):
        found, least = SEARCHES[search](
            distance,
            plugins.start,
            generations=GENERATIONS[quality],
            seed=seed,
            progress=lambda done: say("searching", 0.9 * done),
        )
        if least < before:
            point, after = _without_idle(plugins, found, least, distance)
    knobs, left_out = plugins.settings(point)
    level, nodes = wanted_lufs if knobs else plain_lufs, plugins.nodes
    if level is None:
        return Played(source.numpy(), sample_rate, source, knobs, left_out, before, after, nodes=nodes)
    say("rendering", 0.9)
    with torch.no_grad():
        y = plugins.play(source, point[None])[0]
    gain_db = level - float(integrated_loudness(y[None], sample_rate))
    room_db = ceiling_db - float(true_peak_db(y[None], sample_rate))
    done_db = shortest(min(gain_db, room_db))
    y = y * 10 ** (done_db / 20)
    notes = (
        () if gain_db <= room_db else (f"Loudness is {gain_db - room_db:.1f} dB lower: more would pass the ceiling.",)
    )
    made = Played(y.numpy(), sample_rate, source, knobs, left_out, before, after, notes)
    return replace(made, gain_db=done_db, nodes=nodes)


def _without_idle(plugins: PluginChain, point: Tensor, least: float, distance: Score) -> tuple[Tensor, float]:
    """A point (D,) and its distance after leaving out, from the last on, what hardly helps."""
    for gene in reversed(plugins.genes):
        tried = point.clone()
        tried[gene] = 0
        if point[gene] > 0.5 and (without := float(distance(tried[None])[0])) <= (1 + HELPS) * least:
            point, least = tried, without
    return point, least


def _node(one: Any, sample_rate: float) -> tuple[str, Processor]:
    if isinstance(one, Processor):
        return type(one).__name__, one
    which, parameters = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
    if not isinstance(which, str | os.PathLike):
        raise SettingsError(
            f"the chain holds {which!r}; names of Pedalboard's plugins and paths of VST3 files are expected, each by "
            "itself or as (name or path, [parameters])"
        )
    named = [parameters] if isinstance(parameters, str) else parameters
    return FilePath(which).stem, plugin(which, sample_rate, parameters=named)
