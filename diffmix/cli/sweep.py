"""Play sounds through an effect at random settings, or on a grid: a data set of dry and wet sound.

A sweep that was stopped goes on when the same command is given again.
"""

import argparse

from diffmix.cli import asking
from diffmix.progress import progress


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    parser.add_argument("plugin", metavar="PLUGIN", help="a .vst3, or an effect by name, e.g. Compressor")
    parser.add_argument("dry", type=asking.path, metavar="DRY", help="an audio file, or a folder of them")
    asking.output(parser)
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--count", type=int, help="how many random settings (default 100)")
    many.add_argument("--grid", type=int, metavar="N", help="for each file N values of one or two --parameters")
    asking.seed(parser)
    parser.add_argument(
        "--parameters", metavar="A,B", help="which to move (default all); the others keep their defaults"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")


def run(options: argparse.Namespace) -> None:
    """Sweep, and say where it lies."""
    from diffmix.sweep import sweep

    count = 100 if options.count is None and options.grid is None else options.count
    with progress("Sweeping", 100) as advance:
        manifest = sweep(
            options.plugin,
            options.dry,
            options.output,
            count=count,
            grid=options.grid,
            seed=options.seed,
            parameters=options.parameters.split(",") if options.parameters else None,
            jobs=options.jobs,
            progress=lambda done, total, note: advance(100 * done // total, f"{done} of {total}, {note}"),
        )
    print(manifest)
