"""Find the graph of effects that made a mix of tracks."""

import argparse

from diffmix.cli import asking
from diffmix.cli.showing import saved, show


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    asking.stems(parser)
    parser.add_argument("mix", type=asking.path, help="the mix of them")
    asking.output(parser)
    text = "how much further from the mix than with everything the graph may be, dB (default 0.1): more, fewer effects"
    parser.add_argument("--within", type=float, default=0.1, metavar="DB", help=text)
    parser.add_argument("--steps", type=int, default=250, help="of gradient descent (default 250)")
    text = "leave a knob alone, and its effect in, e.g. 'vox.pan.*'"
    parser.add_argument("--lock", action="append", default=[], metavar="KNOB", help=text)
    asking.sample_rate(parser)
    asking.console(parser)


def run(options: argparse.Namespace) -> None:
    """Estimate, write and show."""
    from diffmix.estimation import estimate_graph

    layout = asking.layout(options.console)
    found, files = saved(
        "Estimating",
        lambda progress: estimate_graph(
            asking.stems_of(options.stems),
            options.mix,
            layout,
            sample_rate=options.sample_rate,
            within_db=options.within,
            lock=options.lock,
            steps=options.steps,
            progress=progress,
        ),
        options.output,
        "estimate.wav",
        [options.mix],
    )
    show(str(found), files)
