"""Set the console's knobs so that stems sound like a given mix."""

import argparse

from diffmix.cli import asking
from diffmix.cli.showing import show_left, show_mix
from diffmix.errors import SettingsError
from diffmix.files import spare
from diffmix.progress import progress


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    asking.stems(parser)
    parser.add_argument("target", type=asking.path, help="the mix to come near")
    asking.output(parser)
    parser.add_argument("--steps", type=int, default=200, help="of gradient descent (default 200)")
    parser.add_argument("--start", type=asking.path, metavar="JSON", help="settings to start from")
    text = "leave a knob alone, e.g. 'vox.pan.*'"
    parser.add_argument("--lock", action="append", default=[], metavar="KNOB", help=text)
    text = "keep a knob in a range, or at a value, e.g. 'vox.pan=-0.2..0.2', '*.eq.*gain_db=-3..3'"
    parser.add_argument("--bound", action="append", default=[], metavar="KNOB=LOW..HIGH", help=text)
    asking.console(parser)


def run(options: argparse.Namespace) -> None:
    """Fit, write and show."""
    from diffmix import api

    spare(options.output, ["mix.wav"], [options.target])
    limits, layout = dict(map(_bound, options.bound)), asking.layout(options.console)
    with progress("Fitting", options.steps) as advance:
        mix = api.fit(
            asking.stems_of(options.stems),
            options.target,
            layout,
            start=options.start,
            lock=options.lock,
            limits=limits,
            steps=options.steps,
            progress=lambda step, loss: advance(step, f"distance {loss:.3f}"),
        )
    files = mix.save(options.output)
    show_mix(mix, files)
    show_left(options.output, files.values(), mix.recordings)


def _bound(text: str) -> tuple[str, tuple[float, float]]:
    """``KNOB=LOW..HIGH`` or ``KNOB=VALUE``."""
    knob, _, limits = text.rpartition("=")
    low, _, high = limits.partition("..")
    try:
        found = float(low), float(high or low)
    except ValueError:
        knob = ""
    if not knob:
        raise SettingsError(f"--bound {text}: KNOB=LOW..HIGH or KNOB=VALUE is expected, e.g. vox.pan=-0.2..0.2")
    return knob, found
