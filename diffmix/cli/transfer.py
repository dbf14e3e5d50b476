"""Make a recording sound as another one does: tone, dynamics, drive, width, space and loudness."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffmix.cli import asking
from diffmix.cli.showing import saved, show, show_left, show_mix
from diffmix.errors import SettingsError

if TYPE_CHECKING:
    from diffmix.transferring import Transfer


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    parser.add_argument("input", type=asking.path, help="an audio file; a folder of stems is mixed like the reference")
    text = "recordings to sound like, or a style.json, which is done again"
    parser.add_argument("reference", nargs="+", type=asking.path, help=text)
    asking.output(parser)
    text = "how far to go, 0..1, or by aspect, e.g. tone=0.5,loudness=0 (default 1)"
    parser.add_argument("--amount", default="1", metavar="AMOUNT", help=text)
    text = "of tone, dynamics, drive, width, space, loudness; with commas"
    parser.add_argument("--only", default="", metavar="ASPECTS", help=text)
    parser.add_argument("--weights", default="", metavar="A,B", help="how much each of several references counts")
    asking.knobs(parser, "'compressor', 'eq.peak1_gain_db=-2'", "'eq=±6'")
    text = "auto, same-source (another take or mix of the same piece) or different-source (default auto)"
    parser.add_argument("--mode", default="auto", metavar="MODE", help=text)
    text = "how sure to be before anything is done: default, cautious, bold, or the largest ratio of distances"
    parser.add_argument("--gate", default="default", metavar="GATE", help=text)
    asking.quality(parser)
    asking.ceiling(parser)
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="several results, far apart (default 1)")
    text = (
        "plugins to do it with instead, in their order: names of Pedalboard's and paths of .vst3 files, with the knobs "
        "to turn unless all are, e.g. HighpassFilter Compressor:threshold_db,ratio eq.vst3"
    )
    parser.add_argument("--chain", nargs="+", action="extend", default=[], metavar="PLUGIN[:KNOBS]", help=text)
    text = "how their knobs are looked for: cma-es (default) or spsa"
    parser.add_argument("--search", default="cma-es", metavar="METHOD", help=text)
    asking.console(parser)
    asking.seed(parser)


def run(options: argparse.Namespace) -> None:
    """Transfer, write and show."""
    from diffmix.transferring import Transfer, transfer
    from diffmix.transferring.through import Played

    made, files = saved(
        f"Transferring to {options.input}",
        lambda progress: transfer(
            options.input,
            asking.one_or_several(options.reference),
            weights=[asking.number(text, "--weights") for text in options.weights.split(",") if text.strip()] or None,
            amount=_amount(options.amount),
            only=options.only,
            lock=options.lock,
            bound=options.bound,
            mode=options.mode,
            gate=options.gate if options.gate.isalpha() else asking.number(options.gate, "--gate"),
            quality=options.quality,
            ceiling_db=options.ceiling,
            console=asking.layout(options.console),
            chain=[_plugin(text) for text in options.chain],
            search=options.search,
            candidates=options.candidates,
            seed=options.seed,
            progress=progress,
        ),
        options.output,
        "mix.wav" if options.input.is_dir() else "transfer.wav",
        [options.input],
    )
    if isinstance(made, Transfer):
        show(_told(made), files)
    elif isinstance(made, Played):
        show(str(made), files)
    else:
        show_mix(made, files)
    show_left(options.output, files.values(), made.files if isinstance(made, Played) else made.recordings)


def _told(made: "Transfer") -> str:
    """The report in lines, and one line about each of the candidates."""
    from diffmix.transferring.report import belief, summary

    others = (other.report for other in made.candidates)
    lines = (f"{n}: {' '.join([*found['moves'], belief(found)])}" for n, found in enumerate(others, 2))
    return "\n".join([summary(made.report), *lines])


def _amount(text: str) -> float | dict[str, float]:
    """``0.5``, or ``tone=0.5,loudness=0``."""
    if "=" not in text:
        return asking.number(text, "--amount")
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip().casefold(): asking.number(value, "--amount") for name, _, value in pairs}


def _plugin(text: str) -> str | tuple[str, list[str]]:
    """``Compressor``, or ``Compressor:threshold_db,ratio`` with the knobs to turn."""
    which, colon, knobs = text.rpartition(":")
    if not colon or Path(text).exists():
        return text
    names = [name.strip() for name in knobs.split(",") if name.strip()]
    if not which or not names:
        raise SettingsError(
            f"--chain {text}: PLUGIN or PLUGIN:KNOB,KNOB is expected, e.g. Compressor:threshold_db,ratio"
        )
    return which, names
