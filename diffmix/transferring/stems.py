"""Stems mixed so that the sum sounds as a reference does: the console's knobs, descended towards its statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from diffmix.api import MODEL
from diffmix.automixing import mixer_of, proposed, with_roles
from diffmix.console import Console
from diffmix.data.audio import resample
from diffmix.data.fullness import excerpts
from diffmix.data.inspection import without_mixes
from diffmix.data.multitrack import Multitrack, load
from diffmix.errors import SettingsError
from diffmix.mix import Mix, finished
from diffmix.playback import Progress
from diffmix.refine import refine
from diffmix.settings import Settings
from diffmix.transferring.listening import Recording
from diffmix.transferring.style import style_in
from diffmix.wishes import Wishes

STEPS = {"fast": 30, "balanced": 80, "best": 200}
"""Of gradient descent, by quality."""

HEARD_S = 30.0


def mixed_like(
    stems: Any,
    reference: Any,
    rates: tuple[int | None, int | None],
    console: Any,
    quality: str,
    lock: Sequence[str] | Mapping[str, float],
    bound: Sequence[str] | Mapping[str, Any],
    ceiling_db: float,
    say: Progress,
) -> Mix:
    """The mix of stems that is nearest to a reference in spectrum, dynamics, width and loudness.

    Begins where the automatic mixer puts the knobs, or, on a console of one's own, with all tracks equally loud. The
    master's gain brings it to the reference's loudness under the ceiling. ``reference`` is one recording;
    ``rates`` are those of arrays, stems and reference.
    """
    say("reading", 0.0)
    multitrack, left_out = without_mixes(load(stems, rates[0]))
    rate = multitrack.sample_rate
    if isinstance(reference, list | tuple):
        raise SettingsError("stems are mixed like one reference; several came")
    if style_in(reference) is not None:
        raise SettingsError("stems are mixed like a recording; a style came")
    other = Recording.of(reference, rates[1] or rate, "the reference", whole=False)
    target = resample(other.audio, other.sample_rate, rate).expand(2, -1)
    say("listening", 0.1)
    if console is None:
        mixer = mixer_of(MODEL, rate)
        desk = mixer.console
        wishes = Wishes.read(desk, multitrack, lock, bound)
        settings = proposed(mixer, with_roles(multitrack, {}), wishes, reference=target).settings
    else:
        desk = console if isinstance(console, Console) else Console.from_layout(console, rate)
        wishes = Wishes.read(desk, multitrack, lock, bound)
        settings = _level(desk, multitrack)
        if wishes:
            settings = wishes.projected(desk, wishes.remapped(desk, settings))
    _ = desk.loudness_knob  # said before the work begins, if there is none

    def refining(what: str, done: float) -> None:
        say(what, 0.3 + 0.4 * done)

    def later(what: str, done: float) -> None:
        say(what, 0.7 + 0.3 * done)

    refined = refine(desk, multitrack, settings, wishes, STEPS[quality], target, refining)
    notes = (*(f"{f.track}: {f.text}." for f in left_out), *refined.notes)
    wanted = min(max(other.loudness_lufs, -40.0), -5.0)
    return finished(desk, multitrack, refined.settings, wanted, ceiling_db, notes, limits=wishes.limits, progress=later)


def _level(desk: Console, multitrack: Multitrack) -> Settings:
    """Every effect neutral, tracks trimmed to one loudness in their fullest seconds."""
    names = [track.name for track in multitrack.tracks]
    loudness = excerpts(multitrack, HEARD_S).loudness_lufs
    controls = desk.default(1, len(names))
    if "trim" in desk.strip:
        controls = desk.trimmed(controls, torch.tensor([[loudness[name] for name in names]]))
    return desk.settings(controls, names, [t.audio.shape[0] for t in multitrack.tracks])
