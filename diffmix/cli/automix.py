"""Mix a folder of stems."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffmix.cli import asking
from diffmix.cli.showing import show_left, show_mix
from diffmix.errors import SettingsError
from diffmix.files import spare
from diffmix.progress import progress

if TYPE_CHECKING:
    from diffmix.mix import Mix


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    asking.stems(parser)
    asking.output(parser)
    text = "loudness of the mix (default -16)"
    parser.add_argument("--loudness", type=float, default=-16.0, metavar="LUFS", help=text)
    asking.ceiling(parser)
    asking.sample_rate(parser)
    text = "a model of your own (RUN/model of a training), or 'rules': by the tracks' names, without a network"
    parser.add_argument("--model", metavar="FOLDER", help=text)
    text = "what a track is, where its name does not say it, e.g. 'Audio 7=lead_vocal'"
    parser.add_argument("--role", action="append", default=[], metavar="TRACK=ROLE", help=text)
    parser.add_argument(
        "--reference", type=asking.path, metavar="FILE", help="a song that the mix is to be as bright and as wide as"
    )
    lock = "'vox.pan=0', 'drums.gain=-3', 'bass.eq', of tracks, roles and patterns"
    asking.knobs(parser, lock, "'drums.gain=±2', '*.pan=-0.5..0.5'")
    text = "the kinds of knobs that may be touched: gain, pan, width, eq, comp, send"
    parser.add_argument("--only", default="", metavar="KINDS", help=text)
    text = "words: wider, narrower, drier, wetter, brighter, darker, denser, open, vocal+2, bass-1"
    parser.add_argument("--style", default="", metavar="WORDS", help=text)
    text = "several mixes in styles far apart, in the folders 1, 2, ... (default 1: one mix)"
    parser.add_argument("--variants", type=int, default=1, metavar="N", help=text)
    text = "steps of gradient descent on the knobs, from where the model puts them (default 0)"
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS", help=text)
    asking.tail(parser)
    asking.seed(parser)
    asking.daw(parser)
    parser.add_argument("--no-stems", action="store_true", help="do not write the tracks after processing")


def run(options: argparse.Namespace) -> None:
    """Mix, write and show."""
    from diffmix import api

    count = options.variants
    asked: dict[str, Any] = {
        "sample_rate": options.sample_rate,
        "loudness_lufs": options.loudness,
        "ceiling_db": options.ceiling,
        "model": options.model or api.MODEL,
        "roles": dict(map(_role, options.role)),
        "reference": options.reference,
        "lock": options.lock,
        "bound": options.bound,
        "only": options.only,
        "style": options.style or None,
        "seed": options.seed,
        "refine": options.refine,
        "tail_s": options.tail,
    }
    made: list[tuple[Mix, dict[str, Path]]] = []
    given = options.stems
    with progress(f"Mixing {given[0] if len(given) == 1 else f'{len(given)} files and folders'}", 100) as advance:
        stems = asking.stems_of(given)
        mixes = api.automix_variants(stems, count, **asked, progress=lambda what, done: advance(round(80 * done), what))
        folders = [options.output] if count == 1 else [options.output / str(n) for n in range(1, count + 1)]
        for folder in folders:
            spare(folder, ["mix.wav"])
        for folder, mix in zip(folders, mixes, strict=True):
            advance(80 * (len(made) + 1) // count, "writing")
            made.append((mix, mix.save(folder, stems=not options.no_stems, daw=options.daw)))
        advance(100, "")
    for number, (mix, files) in enumerate(made, 1):
        if count > 1:
            print(f"{'' if number == 1 else chr(10)}{number}: {mix.style or 'as usual'}")
        show_mix(mix, files)
    written = (file for _, files in made for file in files.values())
    show_left(options.output, written, made[0][0].recordings)


def _role(text: str) -> tuple[str, str]:
    track, _, role = text.rpartition("=")
    if not track:
        raise SettingsError(f"--role {text}: TRACK=ROLE is expected, e.g. 'Audio 7=lead_vocal'")
    return track, role.strip()
