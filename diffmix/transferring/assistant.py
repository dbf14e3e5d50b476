"""From a recording and a reference to a recording in that style."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from diffmix.data.multitrack import Multitrack
from diffmix.errors import SettingsError
from diffmix.playback import Progress
from diffmix.transferring.evolution import SEARCHES
from diffmix.transferring.job import Amount, Asked, Job, asked_for
from diffmix.transferring.listening import Recording
from diffmix.transferring.style import heard_of, listed, refuse_words, style_in

SEARCHED = ("tone", "dynamics", "loudness")
"""What plugins of any make are searched for."""


def transfer(
    input: Any,
    reference: Any,
    *,
    sample_rate: int | None = None,
    reference_rate: int | None = None,
    weights: Sequence[float] | None = None,
    amount: Amount = 1.0,
    only: str | Sequence[str] = (),
    lock: Sequence[str] | Mapping[str, float] = (),
    bound: Sequence[str] | Mapping[str, Any] = (),
    mode: str = "auto",
    gate: str | float = "default",
    quality: str = "balanced",
    ceiling_db: float = -1.0,
    console: Any = None,
    chain: Sequence[Any] = (),
    search: str = "cma-es",
    candidates: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Any:
    """Make a recording sound as a reference does: tone, dynamics, drive, width, space and loudness.

    What was done to the reference is judged by listening, with its uncertainty, and is done to the recording as far as
    the expected gain is worth it. Where the style cannot be measured, the recording comes back as it was.

    Args:
        input: a path, or an array (T,), (C, T) or (T, C) with ``sample_rate``. A folder or a dict of stems is mixed
            on a console instead, so that the sum sounds as the reference does, as a whole: ``amount``, ``only``,
            ``candidates`` and what else is about one recording are refused. A `diffmix.Mix` is returned then.
        reference: as ``input``; a list of several, recordings or styles; or a `Style` or its file, whose treatment is
            done again (with ``mode="different-source"`` it is judged anew what to do).
        sample_rate: Hz of an array.
        reference_rate: Hz of references that are arrays, by default that of the input.
        weights: how much each of several references counts.
        amount: how far to go, 0..1, in all or by aspect: ``{"tone": 0.5, "loudness": 0}``. Aspects are tone, dynamics,
            drive, width, space and loudness.
        only: the aspects to touch: ``"tone,loudness"``.
        lock: knobs of the chain that stay: ``["compressor", "eq.peak1_gain_db=-2"]``; without a value they change
            nothing.
        bound: knobs to keep in a range: ``["eq=±6", "compressor.ratio=1..3"]``.
        mode: "different-source"; "same-source" for another take or another mix of the same piece, whose statistics can
            be matched directly; "auto" takes the latter if both play the same, see `Kinship`.
        gate: the least expected gain at which anything is done: "default", "cautious", "bold", or the largest ratio of
            expected distances, 0.8 by default.
        quality: "fast", "balanced" or "best": how many pieces are heard, and how long is looked for knobs.
        ceiling_db: true peak that the result keeps below, -20..0 dBTP. An input that nothing is done to stays as it is.
        console: of stems, a layout, as `diffmix.Console.from_layout` takes it; by default that of the mixer.
        chain: plugins of any make to do it with instead, whose knobs are searched: names of Pedalboard's, paths of VST3
            files, or ``(name or path, [parameters])``. They are searched as a whole, without ``lock``, ``bound`` and
            ``candidates``; a `Played` is returned then.
        search: how a chain's knobs are looked for: "cma-es", an evolution strategy, or "spsa", gradients estimated by
            moving all knobs at once.
        candidates: how many results; those after the first are others that what was heard allows, far apart.
        seed: of whatever is drawn.
        progress: called with what is being done and the share done.

    Returns a `Transfer`. Raises AudioError, also for what is silent, and SettingsError, each in one sentence.
    """
    asked = asked_for(amount, only, mode, gate, quality, ceiling_db, candidates, seed)
    say = progress or (lambda what, done: None)
    if _is_stems(input):
        _refuse(
            "stems are mixed like the reference as a whole",
            "lock, bound, quality, ceiling and console",
            weights=weights is not None,
            amount=amount != 1,
            only=bool(only),
            mode=mode != "auto",
            gate=gate != "default",
            chain=bool(chain),
            search=search != "cma-es",
            candidates=candidates > 1,
        )
        from diffmix.transferring.stems import mixed_like

        rates = sample_rate, reference_rate
        return mixed_like(input, reference, rates, console, asked.quality, lock, bound, ceiling_db, say)
    if console is not None:
        raise SettingsError("a console mixes stems: give a folder or a dict of them, or leave the console out")
    _check_chain(chain, search, asked, lock=bool(lock), bound=bool(bound), candidates=candidates > 1)
    ones = listed(reference)
    style = style_in(ones[0]) if len(ones) == 1 else None
    again = style is not None and style.treatment is not None and mode == "auto"
    if style is not None:
        why = "a style has weights of its own" + (", and what it did is done again" if again else "")
        _refuse(
            why,
            "amount, only, lock and bound",
            weights=weights is not None,
            gate=again and gate != "default",
            candidates=again and candidates > 1,
        )
        if not again:
            refuse_words(style)
    say("listening", 0.0)
    heard = Recording.of(input, sample_rate, "the input")
    job = Job(heard, asked, lock, bound)
    if style is not None and again:
        beliefs = [job.again(style)]
    else:
        rate = reference_rate or heard.sample_rate
        say("listening to the reference", 0.1)
        others = None if style else [heard_of(one, rate) for one in ones]
        style, beliefs = job.believed(style, others, weights, say)
    if chain:
        return job.played(chain, search, beliefs[0], style, lambda what, done: say(what, 0.5 + 0.5 * done))
    made = []
    for number, belief in enumerate(beliefs):

        def part(what: str, done: float, number: int = number) -> None:
            say(what, 0.5 + 0.5 * (number + done) / len(beliefs))

        made.append(job.made(belief, style, part))
    return dataclasses.replace(made[0], candidates=tuple(made[1:]))


def _check_chain(chain: Sequence[Any], search: str, asked: Asked, **held: bool) -> None:
    """Raise SettingsError for a search that is none or has no chain, and for what plugins are not searched for."""
    if search not in list(SEARCHES):
        raise SettingsError(f"search is one of {', '.join(SEARCHES)}, got {search!r}")
    if search != "cma-es" and not chain:
        raise SettingsError(f"the search {search} is for plugins: name them in a chain")
    if chain:
        _refuse("plugins are searched as a whole", "the knobs to turn, named in the chain,", **held)
        if not any(asked.amounts[name] for name in SEARCHED):
            raise SettingsError(f"plugins are searched for {', '.join(SEARCHED)}, of which nothing is asked for")


def _refuse(why: str, allowed: str, **given: bool) -> None:
    """Raise SettingsError for what is asked for and would not be heeded."""
    if names := [name for name, asked in given.items() if asked]:
        raise SettingsError(f"{why}: {', '.join(names)} cannot be asked for there; {allowed} can")


def _is_stems(given: Any) -> bool:
    """Whether an input is several tracks: a folder, a dict, a list of paths, a `Multitrack`."""
    if isinstance(given, Mapping | Multitrack):
        return True
    if isinstance(given, str | os.PathLike):
        return given != "" and FilePath(given).is_dir()
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], str | os.PathLike)
