"""The calls most people need: mix stems, render settings, fit a console to a mix."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix import automixing
from diffmix.console import Console, Limits, shipped
from diffmix.data.audio import from_array, read, resample
from diffmix.data.inspection import inspect, without_mixes
from diffmix.data.knowledge import Style, parse_style
from diffmix.data.multitrack import Multitrack, load
from diffmix.data.programme import NAME, programme
from diffmix.errors import AudioError, SettingsError
from diffmix.files import read_json
from diffmix.graph import Graph, Renderer
from diffmix.mix import Mix, finished, grouped, muted_tracks, ordered
from diffmix.mix import render as render_audio
from diffmix.params import within
from diffmix.playback import Progress
from diffmix.processors.named import Named
from diffmix.refine import refine
from diffmix.settings import Settings
from diffmix.types import Path
from diffmix.wishes import Wishes

MODEL = FilePath(__file__).parent / "weights" / "automix"
"""The automatic mixer that ships with the package."""


def automix(
    stems: Any,
    *,
    sample_rate: int | None = None,
    loudness_lufs: float = -16.0,
    ceiling_db: float = -1.0,
    model: Path = MODEL,
    roles: Mapping[str, str] | None = None,
    reference: Any = None,
    lock: Sequence[str] | Mapping[str, float] = (),
    bound: Sequence[str] | Mapping[str, Any] = (),
    only: str | Sequence[str] = (),
    style: str | Style | None = None,
    refine: int = 0,
    tail_s: float = 0.0,
    progress: Progress | None = None,
) -> Mix:
    """Mix stems with the trained automatic mixer.

    Args:
        stems: a folder, a list of paths, a dict of name to array or tensor ((T,), (C, T) or (T, C)), or a Multitrack.
        sample_rate: Hz of the session; needed for arrays, otherwise the rate that most files have.
        loudness_lufs: integrated loudness of the mix, -40..-5 LUFS (ITU-R BS.1770-4).
        ceiling_db: true peak that the mix keeps below, -20..0 dBTP.
        model: a folder written by training, by default the weights that ship with the package; or ``"rules"``.
        roles: what tracks are, by name, where their names do not say it: ``{"Audio 7": "lead_vocal"}``. One that is
            left out, since only players hear it (a click) or since it sounds like a mix of the others, is had in so.
        reference: a song that the mix is to be like, a path at any rate or an array at the session's: as bright and as
            wide, as far as half of what a plain mix differs by; ``refine`` descends towards the rest of its sound.
        lock: knobs that stay: ``["vox.pan=0", "bass.eq"]``; without a value they change nothing. See
            `diffmix.wishes` for what can be named.
        bound: knobs to keep in a range: ``["drums.gain=±2", "*.pan=-0.5..0.5"]``, or ``{"vox.gain": (-3, 0)}``.
        only: the kinds of knobs that may be touched: ``"gain,pan"``.
        style: words, ``"wider,drier,vocal+2"``, or a `diffmix.data.knowledge.Style`.
        refine: steps of gradient descent on the knobs from where the model puts them, which they do not leave far.
        tail_s: seconds, 0..60, that the mix goes on after the longest track, so that its reverb rings out.
        progress: called with what is being done and the share done.

    Raises AudioError, SettingsError, CheckpointError (all of them DiffmixError), each in one sentence.
    """
    given = _Asked(loudness_lufs, ceiling_db, model, reference, lock, bound, only, refine, tail_s)
    return next(_mixes(stems, sample_rate, roles, given, [style], progress))


def automix_variants(stems: Any, count: int = 5, *, seed: int = 0, **asked: Any) -> Iterator[Mix]:
    """Several mixes of the same stems in styles far apart, drawn by ``seed``; other arguments as of `automix`.

    The first is as `automix` makes it, and what its ``style`` asks for holds in all.
    """
    count = int(within("the number of variants", count, 1, 100, whole=True))
    within("the seed", seed, 0, 2**63 - 1, whole=True)
    sample_rate, roles, progress = (asked.pop(name, None) for name in ("sample_rate", "roles", "progress"))
    words = asked.pop("style", None)
    given = _Asked(**asked)
    return _mixes(stems, sample_rate, roles, given, automixing.styles(words, count, int(seed)), progress)


@dataclass(frozen=True)
class _Asked:
    """What is the same for every variant of a mix."""

    loudness_lufs: float = -16.0
    ceiling_db: float = -1.0
    model: Path = MODEL
    reference: Any = None
    lock: Sequence[str] | Mapping[str, float] = ()
    bound: Sequence[str] | Mapping[str, Any] = ()
    only: str | Sequence[str] = ()
    refine: int = 0
    tail_s: float = 0.0


def _mixes(
    stems: Any,
    sample_rate: int | None,
    roles: Mapping[str, str] | None,
    asked: _Asked,
    styles: Sequence[str | Style | None],
    progress: Progress | None,
) -> Iterator[Mix]:
    """Mixes in styles, one after the other; the stems are read and inspected once."""
    within("the loudness", asked.loudness_lufs, -40, -5, "LUFS")
    within("the ceiling", asked.ceiling_db, -20, 0, "dBTP")
    within("the refinement", asked.refine, 0, 10_000, "steps", whole=True)
    if odd := [style for style in styles if not isinstance(style, str | Style | None)]:
        raise SettingsError(f"a style is words, as 'wider,drier', or a Style; got {odd[0]!r}")
    named = [parse_style(style) if isinstance(style, str) else style for style in styles]
    return _made(stems, sample_rate, roles, asked, named, progress)


def _made(
    stems: Any,
    sample_rate: int | None,
    roles: Mapping[str, str] | None,
    asked: _Asked,
    styles: Sequence[Style | None],
    progress: Progress | None,
) -> Iterator[Mix]:
    several = len(styles)
    weights = {"reading": 2.0, "inspecting": 1.0}
    for k in range(several):
        weights |= {f"{what}{k}": w for what, w in (("listening", 5.0), ("rendering", 3.0), ("setting the level", 3.0))}
        weights[f"refining{k}"] = 0.2 * asked.refine
    course = automixing.Course(progress, weights)
    course("reading", 0.0)
    told = roles or {}  # what has a role is a track, be it called "click" or like the sum of the others
    multitrack = automixing.with_roles(load(stems, sample_rate, told), told)
    course("inspecting", 0.0)
    multitrack, left_out = without_mixes(multitrack, told)
    longer = automixing.with_tail(multitrack, asked.tail_s)  # to be mixed as without it
    rate = multitrack.sample_rate
    mixer = automixing.mixer_of(asked.model, rate)
    _ = mixer.console.loudness_knob  # said before the work begins, if there is none
    wishes = Wishes.read(mixer.console, multitrack, asked.lock, asked.bound, asked.only)
    reference = None if asked.reference is None else automixing.reference_audio(asked.reference, rate)
    found = inspect(multitrack)
    faults = tuple(f"{f.track}: {f.text}." for f in (*left_out, *found))
    heard: Style | None = None  # of the reference: the same for every style
    for k, style in enumerate(styles):

        def part(stage: str, done: float, k: int = k) -> None:
            course(f"{stage}{k}", done)

        part("listening", 0.0)
        proposal = automixing.proposed(mixer, multitrack, wishes, style=style, reference=reference, heard=heard)
        settings, heard = proposal.settings, proposal.heard
        notes = faults + tuple(automixing.cautions(mixer, style, None if asked.refine else reference, proposal))
        if asked.refine:
            refined = refine(mixer.console, multitrack, settings, wishes, asked.refine, reference, part)
            settings = automixing.readable(mixer.console, refined.settings, wishes)
            notes = (*notes, *refined.notes)
        mix = finished(
            mixer.console,
            longer,
            settings,
            asked.loudness_lufs,
            asked.ceiling_db,
            notes,
            limits=wishes.limits,
            progress=part,
        )
        ends = automixing.cut_off(longer, mix.audio)
        notes = (*mix.notes, ends) if ends else mix.notes
        yield replace(mix, notes=notes, style=automixing.in_words(style), wished=wishes.told)


def render(
    stems: Any,
    settings: Settings | Path,
    console: Console | Mapping[str, Any] | None = None,
    *,
    sample_rate: int | None = None,
    mute: str | Sequence[str] = (),
    solo: str | Sequence[str] = (),
    tail_s: float | None = None,
) -> Mix:
    """Mix stems under given settings, exactly as they are.

    Args:
        stems: as of `automix`; for the settings of a `master` or a `transfer`, one recording, a path or an array.
        settings: a `Settings`, or the path of a settings.json.
        console: a console at the stems' sample rate, or a layout of one, as ``conf/console/*.yaml`` hold it:
            ``{"master": {"eq": "ParametricEQ", "gain": "Gain"}}``; otherwise the console.json beside a settings.json,
            or the default console, with the automatic mixer's limiter if the settings turn one.
        sample_rate: Hz of the session; needed for arrays, otherwise the rate that the settings say, or most files have.
        mute: tracks that are not heard, by names, patterns of them or roles: ``["bass", "gtr*", "drums"]``.
        solo: the only tracks that are heard.
        tail_s: as of `automix`; by default what the settings say.

    Raises AudioError and SettingsError.
    """
    settings, layout = _read(settings)
    names = settings.part("tracks")
    sample_rate, tail_s = _session(settings, stems, sample_rate, tail_s)
    multitrack = load(_recording(stems, sample_rate, names), sample_rate, names)
    if any(track.name not in names for track in multitrack.tracks):  # `automix` left out mixes of the others, too
        multitrack, left_out = without_mixes(multitrack, names)
        multitrack = replace(multitrack, notes=(*multitrack.notes, *(f"{f.track}: {f.text}." for f in left_out)))
    multitrack = automixing.with_tail(multitrack, tail_s)
    console = _console(layout if console is None else console, multitrack)
    audio = render_audio(console, multitrack, settings, mute, solo).numpy()
    muted = muted_tracks(console, multitrack, mute, solo)
    return Mix(audio, multitrack.sample_rate, settings, console, multitrack, multitrack.notes, muted)


def play(graph: Graph | Path, stems: Any, *, sample_rate: int | None = None) -> tuple[dict[str, np.ndarray], int]:
    """Render a graph on stems: the audio of each output (C, T) by its name, and the sample rate in Hz.

    Args:
        graph: a `Graph`, or the path of a file that holds one as text or JSON.
        stems: as of `automix`; the graph's sources are looked for by name among them, others are left out.
        sample_rate: Hz of the session; needed for arrays, otherwise the rate that most files have.

    Raises GraphError and AudioError.
    """
    if not isinstance(graph, Graph):
        graph = Graph.read(graph)
    graph.check()
    multitrack = load(stems, sample_rate, graph.sources)
    found: dict[str | tuple[str, ...], Tensor] = {
        track.name: track.audio[None] for track in multitrack.tracks if track.name in graph.sources
    }
    if missing := [name for name in graph.sources if name not in found]:
        have = ", ".join(track.name for track in multitrack.tracks)
        raise AudioError(f"the graph hears {missing[0]!r}, which is no track; there are: {have}")
    with torch.no_grad():
        outputs = Renderer(graph, multitrack.sample_rate).render(found)
    return {name: y[0].numpy() for name, y in outputs.items()}, multitrack.sample_rate


def fit(
    tracks: Any,
    target_mix: Any,
    console: Console | Mapping[str, Any] | None = None,
    *,
    sample_rate: int | None = None,
    start: Settings | Path | None = None,
    lock: Sequence[str] = (),
    limits: Limits | None = None,
    steps: int = 200,
    learning_rate: float = 0.1,
    progress: Callable[[int, float], None] | None = None,
) -> Mix:
    """Set the knobs of a console by gradient descent, so that the tracks sound like ``target_mix``.

    Args:
        tracks: as the stems of `automix`.
        target_mix: the mix to come near, a path or an array (T,), (2, T) or (T, 2) at the tracks' sample rate; it
            starts where the tracks start, and what is longer than they are is not heard.
        console: a console at the tracks' sample rate, or a layout of one, as for `render`.
        start: settings to start from, or the path of a settings.json; otherwise compressors and gates begin at the
            levels that arrive at them and sends a little open, as what does nothing has no gradient; the rest neutral.
        lock: knobs to leave where they start, by name with wildcards: ``"vox.pan.*"``, ``"*.compressor.*"``,
            ``"master.*"``, ``"reverb.*"``.
        limits: narrower (low, high), or one value, for knobs by name with wildcards:
            ``{"vox.pan": 0, "*.eq.*gain_db": (-3, 3)}``; the whole descent then takes place inside.
        steps, learning_rate: of Adam, on the logits of the controls.
        progress: called with (step, loss).

    Returns the mix at the fitted settings. Raises AudioError, and SettingsError also for a start outside the limits.
    """
    from diffmix.systems.fit import fit_controls, locked_knobs, opened_settings, with_locked

    given, layout = _read({} if start is None else start)
    multitrack = load(tracks, sample_rate, given.part("tracks"))
    console = _console(layout if console is None else console, multitrack)
    if console.sample_rate != multitrack.sample_rate:
        raise AudioError(f"the console runs at {console.sample_rate:g} Hz, the tracks at {multitrack.sample_rate} Hz")
    within("the number of steps", steps, 1, 1_000_000, whole=True)
    within("the learning rate", learning_rate, 1e-6, 100)
    target = _target(target_mix, multitrack)
    groups, order = grouped(multitrack)
    cut = slice(0, target.shape[-1])
    groups = groups[0][..., cut], groups[1][..., cut]
    names = [multitrack.tracks[n].name for n in order]
    channels = [multitrack.tracks[n].audio.shape[0] for n in order]
    specs = console.limited(names, limits or {})
    begin = Settings({**given, "tracks": {n: given.part("tracks").get(n, {}) for n in names}})
    begin = console.check(begin, limits)
    if start is None:
        begin = with_locked(opened_settings(console, multitrack, begin, limits or {}), begin, lock)
    controls = fit_controls(
        console,
        groups,
        target,
        console.encode(begin, specs),
        specs=specs,
        names=names,
        locked=locked_knobs(console, names, lock),
        steps=steps,
        learning_rate=learning_rate,
        progress=progress,
    )
    found = with_locked(console.settings(controls, names, channels, specs), begin, lock)
    settings = ordered(found, [t.name for t in multitrack.tracks])
    audio = render_audio(console, multitrack, settings).numpy()
    return Mix(audio, multitrack.sample_rate, settings, console, multitrack, multitrack.notes)


def _console(console: Console | Mapping[str, Any] | None, multitrack: Multitrack) -> Console:
    """A console as it is, or of a layout, which holds no weights, at the tracks' rate."""
    if isinstance(console, Console):
        return console
    made = Console.from_layout(console or {}, multitrack.sample_rate)
    for where, effect in made.learned.items():
        if not isinstance(effect, Named):
            kind = type(effect).__name__
            raise SettingsError(
                f"console stage {where}: a {kind} has weights, which no layout holds; give the Console itself, or "
                "the trained effect a name by diffmix.processors.named"
            )
    return made


def _read(settings: Mapping[str, Any] | Path) -> tuple[Settings, Mapping[str, Any] | None]:
    """Settings, and the layout of their console, None for the default one.

    It is the one that `Mix.save` wrote beside their file. Those that came without are of the default console, or of the
    automatic mixer's, if they turn the limiter that it has besides.
    """
    layout: Mapping[str, Any] | None = None
    if isinstance(settings, Mapping):
        found = Settings(settings)
    else:
        found, beside = Settings.from_json(settings), FilePath(str(settings)).parent / "console.json"
        if not str(settings).lstrip().startswith("{") and beside.is_file():
            layout = read_json(beside, "a console's layout", SettingsError)[0]
    if layout is None and "limiter" in found.part("master"):
        layout = shipped("automix")
    return found, layout


def _session(settings: Settings, stems: Any, sample_rate: int | None, tail_s: float | None) -> tuple[int | None, float]:
    """Rate and tail as they are given, or else as the settings say; arrays and a `Multitrack` have a rate of theirs."""
    told = settings.part("session")
    if unknown := sorted(told.keys() - {"sample_rate", "tail_s"}):
        raise SettingsError(f"a session has sample_rate and tail_s; {unknown[0]!r} is neither")
    if sample_rate is None and not isinstance(stems, Mapping | Multitrack | np.ndarray | Tensor):
        sample_rate = told.get("sample_rate")
    if tail_s is None:
        tail_s = 0.0 if isinstance(stems, Multitrack) and stems.tail_s else told.get("tail_s", 0.0)
    return sample_rate, tail_s


def _recording(stems: Any, sample_rate: int | None, tracks: Mapping[str, Any]) -> Any:
    """The stems; one recording as the track that masters and transfers call ``mix``, if that is what is set."""
    one = stems[0] if isinstance(stems, list | tuple) and len(stems) == 1 else stems
    if [*tracks] != [NAME] or not isinstance(tracks[NAME], Mapping) or "pan" in tracks[NAME]:
        return stems
    file = isinstance(one, str | PathLike) and FilePath(one).is_file()
    array = isinstance(one, np.ndarray | Tensor)
    return programme(one, sample_rate, "the recording") if file or array else stems


def _target(target_mix: Any, multitrack: Multitrack) -> Tensor:
    """The target as (1, 2, T), no longer than the tracks."""
    if isinstance(target_mix, str | FilePath):
        audio, rate = read(target_mix)
        audio = resample(audio, rate, multitrack.sample_rate)
    else:
        audio = from_array(target_mix, "the target mix")
    return audio.expand(2, -1)[None, :, : multitrack.length]
