"""A recording whose chain is the console's master, with stages of it left out."""

from collections.abc import Collection

from diffmix.console import Console
from diffmix.data.multitrack import Multitrack, Track
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.mastering.measured import loudest
from diffmix.metrics import crest_db, width_db
from diffmix.mix import Mix, render
from diffmix.settings import Settings


def shortened(made: Mix, stages: Collection[str]) -> tuple[Console, Settings]:
    """Console and settings of a result, some stages of the master left out."""
    layout = made.console.layout
    left = {name: effect for name, effect in layout["master"].items() if name not in stages}
    console = Console(made.sample_rate, made.console.ranges, **{**layout, "master": left})
    knobs = {name: values for name, values in made.settings["master"].items() if name not in stages}
    return console, Settings({**made.settings, "master": knobs})


def bypassed(made: Mix) -> dict[str, dict[str, float]]:
    """By stage how loudness, true peak, crest and width of the loudest seconds change when it is left out, in dB."""
    excerpt = loudest(made.multitrack.tracks[0].audio, made.sample_rate)
    song = Multitrack("excerpt", made.sample_rate, (Track("mix", excerpt),))

    def levels(*left_out: str) -> dict[str, float]:
        console, settings = shortened(made, left_out)
        y = render(console, song, settings)[None]
        return {
            "loudness_db": float(integrated_loudness(y, made.sample_rate)),
            "true_peak_db": float(true_peak_db(y, made.sample_rate)),
            "crest_db": float(crest_db(y)),
            "width_db": float(width_db(y)),
        }

    whole = levels()
    return {
        stage: {name: value - whole[name] for name, value in levels(stage).items()} for stage in made.console.master
    }
