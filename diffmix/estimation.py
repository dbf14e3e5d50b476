"""From tracks and a mix of them to the graph of effects that made it, and how they are set."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.console import Console, fits, shipped
from diffmix.data.alignment import lag, moved
from diffmix.data.audio import resample, write_recording
from diffmix.data.fullness import covering
from diffmix.data.inspection import without_mixes
from diffmix.data.multitrack import Multitrack, load
from diffmix.data.programme import programme
from diffmix.errors import AudioError, OutputError, PresetError, SettingsError, about
from diffmix.export import preset
from diffmix.export.from_graph import preset_of
from diffmix.files import keep_edited, spare, workshop
from diffmix.graph import Graph, Renderer, Session, audibility, to_mermaid, to_svg
from diffmix.graph.fitting import Excerpts, fit_anew
from diffmix.graph.inaudible import difference_db
from diffmix.graph.pruning import effects, prune_graph
from diffmix.params import within
from diffmix.playback import Progress
from diffmix.types import Path

PIECE_S, WARM_UP_S, PIECES = 3.0, 1.0, 4
"""How long the excerpts are that are compared, how long effects run before them, and how many there are at least."""

LATE_S = 2.0
"""A mix that begins at most so much later or earlier than its tracks is moved to them."""

SHARES = {"fitting": 0.55, "taking out": 0.95}


@dataclass(frozen=True)
class Estimate:
    """A graph that makes a mix of tracks, and how near it comes.

    ``graph`` holds what is needed, ``whole`` everything that was tried, fitted; ``removed`` names what went. ``audio``
    is what the graph makes of all of the tracks, float32 (2, T) at ``sample_rate`` Hz. Distances to the mix, on the
    excerpts that were compared, are mean differences in dB over the bins of spectrograms of three resolutions (see
    `diffmix.graph.inaudible.difference_db`): ``plain_db`` of the tracks just added, ``whole_db`` of everything,
    ``away_db`` of the graph. ``heard`` are these excerpts, ``notes`` what a person should know.
    """

    audio: np.ndarray
    sample_rate: int
    graph: Graph
    whole: Graph = field(repr=False)
    removed: tuple[str, ...]
    plain_db: float
    whole_db: float
    away_db: float
    multitrack: Multitrack = field(repr=False)
    titles: Mapping[str, str] = field(repr=False)
    heard: Excerpts = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str | tuple[str, ...], Tensor]:
        """The tracks, (1, C, T) each, by their names in the graph."""
        heard = {self.titles[t.name]: t.audio[None] for t in self.multitrack.tracks if t.name in self.titles}
        return {name: audio for name, audio in heard.items() if name in self.graph}

    @cached_property
    def audible_db(self) -> dict[str, float]:
        """By how many dB each effect that is left changes the mix, see `diffmix.graph.audibility`."""
        kept = set(effects(self.graph))
        found = audibility(self.graph, self.heard.sources, self.sample_rate)
        return {name: db for name, db in found.items() if name in kept}

    @property
    def report(self) -> dict[str, Any]:
        """All that is known of it, as plain data."""
        return {
            "distance_db": {
                "tracks added": round(self.plain_db, 3),
                "everything": round(self.whole_db, 3),
                "graph": round(self.away_db, 3),
            },
            "tried": len(effects(self.whole)),
            "kept": {name: round(db, 3) for name, db in self.audible_db.items()},
            "removed": list(self.removed),
            "notes": self._said(),
        }

    @cached_property
    def unplayable(self) -> str:
        """Why the graph cannot be a preset, in a sentence; empty if it can."""
        try:
            self.preset()
        except PresetError as error:
            return str(error)
        return ""

    def _said(self) -> list[str]:
        """The notes, and why there is no preset if there is none."""
        return [*self.notes, *([f"No preset for Pedalboard: {self.unplayable}"] if self.unplayable else [])]

    def preset(self) -> dict[str, Any]:
        """The graph as a preset that Pedalboard can play. Raises PresetError, naming what Pedalboard does not have."""
        tracks = [t for t in self.multitrack.tracks if self.titles.get(t.name) in self.graph.sources]
        sources = {self.titles[t.name]: (t.files or (f"{t.name.replace('/', '_')}.wav",), len(t.audio)) for t in tracks}
        made = preset_of(self.graph, self.sample_rate, sources)
        starts = {self.titles[track.name]: track.start_s for track in tracks}
        preset.place(made, starts, self.multitrack.rest_s())
        return made

    def __str__(self) -> str:
        lines = [
            f"distance to the mix: {self.away_db:.2f} dB (everything {self.whole_db:.2f}, tracks added "
            f"{self.plain_db:.2f})",
            f"{len(effects(self.graph))} of {len(effects(self.whole))} effects and sends are needed",
        ]
        return "\n".join([str(self.graph).strip(), "", *lines, *(f"note: {note}" for note in self._said())])

    @about("folder", OutputError)
    def save(self, folder: Path) -> dict[str, FilePath]:
        """Write estimate.wav, graph.json, graph.txt, graph.svg, graph.mmd, report.json, and preset.json with preset.py.

        A preset is there only if Pedalboard can play the graph. Returns the paths by name; files are written and
        spared as by `diffmix.Mix.save`. Raises OutputError.
        """
        folder = FilePath(folder)
        spare(folder, ("estimate.wav",), [file for t in self.multitrack.tracks for file in t.files])
        texts = {"graph.json": self.graph.to_json(), "graph.txt": str(self.graph), "graph.svg": to_svg(self.graph)}
        texts["graph.mmd"] = to_mermaid(self.graph)
        try:
            with workshop(folder) as temporary:
                write_recording(temporary / "estimate.wav", torch.from_numpy(self.audio), self.sample_rate)
                for name, text in texts.items():
                    (temporary / name).write_text(text, encoding="utf-8")
                if not self.unplayable:
                    preset.save(self.preset(), temporary / "preset.json")
                    preset.write_player(temporary / "preset.py")
                report = json.dumps(self.report, indent=1, ensure_ascii=False) + "\n"
                (temporary / "report.json").write_text(report, encoding="utf-8")  # last: what is newer was edited
                written = keep_edited(folder, temporary)
                for file in sorted(temporary.iterdir()):
                    os.replace(file, folder / file.name)
                    written[file.name] = folder / file.name
                for name in {"preset.json", "preset.py"} - written.keys():
                    (folder / name).unlink(missing_ok=True)
                return written
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from None


def estimate_graph(
    tracks: Any,
    target_mix: Any,
    console: Console | Mapping[str, Any] | Graph | None = None,
    *,
    sample_rate: int | None = None,
    within_db: float = 0.1,
    lock: Sequence[str] = (),
    steps: int = 250,
    learning_rate: float = 0.1,
    progress: Progress | None = None,
) -> Estimate:
    """Find the graph of effects that made a mix of tracks: a whole console is fitted, then what is not missed goes.

    After "Searching for music mixing graphs: a pruning approach" (S.-H. Lee et al., DAFx 2024). The excerpts in which
    most tracks play are compared.

    Args:
        tracks: as the stems of `automix`.
        target_mix: the mix of them, a path or an array (T,), (2, T) or (T, 2) at the tracks' sample rate. It may begin
            up to two seconds earlier or later than they do.
        console: where to look: a console at the tracks' sample rate, a layout of one, or a `Graph` whose sources are
            the tracks, with one output of two channels; by default ``conf/console/estimate.yaml``.
        sample_rate: Hz of the session; needed for arrays, otherwise the rate that most files have.
        within_db: so much further from the mix than with everything, 0..20 dB, the graph may be, see `Estimate`. More
            makes smaller graphs.
        lock: knobs and gains of cables that stay as they are, by the names of `Graph.spec` with wildcards:
            ``"vox.pan.*"``; their effects are not taken out.
        steps, learning_rate: of Adam, for the whole; what is left after each round of trials gets a quarter as many.
        progress: called with what is being done and the share done.

    Raises AudioError, SettingsError and GraphError, each in one sentence.
    """
    within("the allowance", within_db, 0, 20, "dB")
    within("the number of steps", steps, 1, 1_000_000, whole=True)
    within("the learning rate", learning_rate, 1e-6, 100)
    say = progress or (lambda what, done: None)
    say("reading", 0.0)
    multitrack = _without(load(tracks, sample_rate, console.sources if isinstance(console, Graph) else ()), target_mix)
    whole, titles = _whole(console, multitrack)
    locked = _locked(whole, lock)
    mix, notes = _beginning_with(multitrack, target_mix)
    heard = _excerpts(multitrack, titles, mix)
    plain = Session(whole, heard.sources, heard.sample_rate)
    added = _away(plain, whole, heard)
    fitted = fit_anew(
        whole,
        heard,
        steps=steps,
        learning_rate=learning_rate,
        locked=locked,
        progress=lambda step, loss: say("fitting", SHARES["fitting"] * step / steps),
    )
    first = SHARES["fitting"]
    found = prune_graph(
        fitted,
        heard,
        within_db=within_db,
        refit=max(1, steps // 4),
        locked=locked,
        progress=lambda what, done: say(what, first + (SHARES["taking out"] - first) * done),
    )
    say("rendering", SHARES["taking out"])
    estimate = Estimate(
        np.empty((2, 0), np.float32),
        multitrack.sample_rate,
        found.graph,
        fitted,
        found.removed,
        added,
        found.whole_db,
        found.away_db,
        multitrack,
        titles,
        heard,
        (*multitrack.notes, *notes),
    )
    with torch.no_grad():
        (y,) = Renderer(found.graph, multitrack.sample_rate).render(estimate.sources).values()
    say("done", 1.0)
    return replace(estimate, audio=y[0].numpy())


def _without(multitrack: Multitrack, target_mix: Any) -> Multitrack:
    """The tracks without the mix itself, should it lie among them, and without other mixes of them."""
    if isinstance(target_mix, str | os.PathLike):
        own = FilePath(target_mix).resolve()
        kept = tuple(t for t in multitrack.tracks if own not in {FilePath(file).resolve() for file in t.files})
        if not kept:
            raise AudioError(f"{target_mix} is the only track: the tracks that it was mixed of are expected")
        multitrack = replace(multitrack, tracks=kept)
    multitrack, left_out = without_mixes(multitrack)
    return replace(multitrack, notes=(*multitrack.notes, *(f"{f.track}: {f.text}." for f in left_out)))


def _whole(console: Console | Mapping[str, Any] | Graph | None, multitrack: Multitrack) -> tuple[Graph, dict[str, str]]:
    """Everything that is tried, and what the tracks are called in it."""
    names = [track.name for track in multitrack.tracks]
    if isinstance(console, Graph):
        if missing := [name for name in console.sources if name not in names]:
            raise AudioError(f"the graph hears {missing[0]!r}, which is no track; there are: {', '.join(names)}")
        if len(console.outputs) != 1:
            raise SettingsError(f"the graph has the outputs {', '.join(console.outputs)}; one is expected")
        return console, {name: name for name in names if name in console.sources}
    if not isinstance(console, Console):
        console = Console.from_layout(shipped("estimate") if console is None else console, multitrack.sample_rate)
    if console.sample_rate != multitrack.sample_rate:
        raise AudioError(f"the console runs at {console.sample_rate:g} Hz, the tracks at {multitrack.sample_rate} Hz")
    graph = console.to_graph({track.name: len(track.audio) for track in multitrack.tracks})
    return graph, console.titles(names)


def _locked(graph: Graph, patterns: Sequence[str]) -> frozenset[str]:
    """The knobs that patterns name. Raises SettingsError for a pattern that matches nothing."""
    names = graph.spec().names
    for pattern in patterns:
        if not any(fits(name, pattern) for name in names):
            raise SettingsError(f"nothing to lock matches {pattern!r}; knobs are named like {names[0]!r}")
    return frozenset(name for name in names if any(fits(name, pattern) for pattern in patterns))


def _beginning_with(multitrack: Multitrack, target_mix: Any) -> tuple[Tensor, list[str]]:
    """The mix (2, T) in step with the tracks, and what was done for that. Raises AudioError."""
    rate = multitrack.sample_rate
    given = programme(target_mix, rate, "the mix")
    audio = resample(given.tracks[0].audio, given.sample_rate, rate)
    total = torch.zeros(1, multitrack.length)
    for track in multitrack.tracks:
        total += track.audio.mean(0, keepdim=True)
    found = lag(audio, total, round(LATE_S * rate))
    notes = []
    if found.samples:
        when = "later" if found.samples > 0 else "earlier"
        notes.append(f"The mix begins {abs(found.samples) / rate:.4g} s {when} than its tracks and was moved.")
    return moved(audio, found.samples, multitrack.length), notes


def _excerpts(multitrack: Multitrack, titles: Mapping[str, str], mix: Tensor) -> Excerpts:
    """The moments in which most tracks play, and some of every track."""
    rate = multitrack.sample_rate
    length = min(round(PIECE_S * rate), multitrack.length)
    starts = covering(multitrack, length, PIECES)
    sources: dict[str | tuple[str, ...], Tensor] = {
        titles[t.name]: t.audio[None] for t in multitrack.tracks if t.name in titles
    }
    heard = Excerpts.of(sources, mix[None], rate, starts, length, min(round(WARM_UP_S * rate), max(starts)))
    if float(heard.target.abs().max()) < 1e-5:
        raise AudioError("the mix is silent where its tracks play; a mix of these tracks is expected")
    return heard


def _away(session: Session, graph: Graph, heard: Excerpts) -> float:
    """How far what a graph makes of excerpts is from their target, dB."""
    y = session.render(graph)[graph.outputs[0]]
    return difference_db(y[..., heard.warm_up :], heard.target[..., heard.warm_up :])
