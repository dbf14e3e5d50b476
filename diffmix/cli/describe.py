"""Make a recording sound as words say, as far as an embedding of sounds and texts understands them."""

import argparse

from diffmix.cli import asking
from diffmix.cli.showing import saved, show, show_left


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    parser.add_argument("input", type=asking.path, help="an audio file")
    parser.add_argument("words", help="how it is to sound, e.g. 'warm and close'")
    text = "a CLAP model of transformers on your disk (pip install 'diffmix[text]'); nothing is downloaded"
    parser.add_argument("--weights", type=asking.path, required=True, metavar="FOLDER", help=text)
    asking.output(parser)
    parser.add_argument("--amount", type=float, default=1.0, metavar="0..1", help="how far to go (default 1)")
    asking.quality(parser)
    asking.ceiling(parser)
    asking.seed(parser)


def run(options: argparse.Namespace) -> None:
    """Search, write and show."""
    from diffmix.transferring import describe
    from diffmix.transferring.report import summary

    made, files = saved(
        f"Describing {options.input}",
        lambda progress: describe(
            options.input,
            options.words,
            options.weights,
            amount=options.amount,
            quality=options.quality,
            ceiling_db=options.ceiling,
            seed=options.seed,
            progress=progress,
        ),
        options.output,
        "transfer.wav",
        [options.input],
    )
    show(summary(made.report), files)
    show_left(options.output, files.values(), made.recordings)
