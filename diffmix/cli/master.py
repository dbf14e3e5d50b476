"""Master a finished mix: equaliser, dynamics and limiter towards a target."""

import argparse

from diffmix.cli import asking
from diffmix.cli.showing import saved, show, show_left


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    parser.add_argument("mix", type=asking.path, help="an audio file")
    asking.output(parser)
    text = "auto, a genre (pop, rock, ...; several with commas), a recording, or a loudness such as -14 (default auto)"
    parser.add_argument("--target", default="auto", metavar="TARGET", help=text)
    text = "loudness of the master (default: that of a recording as target, else -14)"
    parser.add_argument("--loudness", type=float, metavar="LUFS", help=text)
    asking.ceiling(parser)
    parser.add_argument("--amount", type=float, default=1.0, metavar="0..1", help="how far to go (default 1)")
    asking.knobs(parser, "'compressor', 'eq.peak1_gain_db=-2'", "'eq=±2'")
    parser.add_argument("--only", default="", metavar="STAGES", help="of eq, dynamics, limiter; with commas")


def run(options: argparse.Namespace) -> None:
    """Master, write and show."""
    from diffmix.mastering import master
    from diffmix.mastering.report import summary

    made, files = saved(
        f"Mastering {options.mix}",
        lambda progress: master(
            options.mix,
            options.target,
            loudness_lufs=options.loudness,
            ceiling_db=options.ceiling,
            amount=options.amount,
            lock=options.lock,
            bound=options.bound,
            only=options.only,
            progress=progress,
        ),
        options.output,
        "master.wav",
        [options.mix],
    )
    show(summary(made.report), files)
    show_left(options.output, files.values(), made.recordings)
