"""Mix stems under given settings, for example an edited settings.json."""

import argparse

from diffmix.cli import asking
from diffmix.cli.showing import show_left, show_mix
from diffmix.files import spare


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    asking.stems(parser)
    parser.add_argument("settings", type=asking.path, help="a settings.json")
    asking.output(parser)
    parser.add_argument(
        "--mute", action="append", default=[], metavar="TRACK", help="leave tracks out, e.g. 'drum*', drums"
    )
    parser.add_argument("--solo", action="append", default=[], metavar="TRACK", help="the only tracks that are heard")
    asking.sample_rate(parser, "what the settings say, or what most files have")
    asking.tail(parser, None)
    asking.console(parser)
    asking.daw(parser)
    parser.add_argument(
        "--from-daw", type=asking.path, metavar="PROJECT", help="take over what was turned in the mix's .dawproject"
    )


def run(options: argparse.Namespace) -> None:
    """Mix, write and show."""
    from diffmix import api

    spare(options.output, ["mix.wav"])
    stems, layout = asking.stems_of(options.stems), asking.layout(options.console)
    asked = {"sample_rate": options.sample_rate, "tail_s": options.tail}
    mix = api.render(stems, options.settings, layout, mute=options.mute, solo=options.solo, **asked)
    if options.from_daw:
        turned = mix.with_dawproject(options.from_daw)
        again = options.mute or options.solo  # those of the project, too
        mix = turned.rendered(mute=[*turned.muted, *options.mute], solo=options.solo) if again else turned
    files = mix.save(options.output, daw=options.daw)
    show_mix(mix, files)
    show_left(options.output, files.values(), mix.recordings)
