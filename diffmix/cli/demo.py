"""Train on generated songs, mix a real multitrack with the result, and show it."""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from diffmix._paths import example_dir
from diffmix.cli import asking
from diffmix.cli.showing import show_mix
from diffmix.progress import progress

if TYPE_CHECKING:
    from diffmix.mix import Mix


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may be asked of it."""
    folder = Path("out/demo")
    parser.add_argument("-o", "--output", type=asking.path, default=folder, metavar="FOLDER", help=f"default {folder}")
    parser.add_argument("overrides", nargs="*", help="passed to the training, e.g. trainer.max_steps=50")


def run(options: argparse.Namespace) -> None:
    """Train, mix, write and show."""
    begun = time.monotonic()
    training = options.output / "training"
    command = [
        sys.executable,
        "-m",
        "diffmix.train",
        "recipe=automix",
        "trainer.max_steps=240",
        "resume=auto",
        f"output={training}",
        *options.overrides,
    ]
    print("$ python " + " ".join(command[1:]), file=sys.stderr, flush=True)
    if code := _trained(command):
        sys.exit(code)
    trained = time.monotonic()
    from diffmix import api
    from diffmix.train import table

    stems = example_dir()
    with progress("Mixing a real song", 3) as advance:
        mix = api.automix(stems, model=training / "model")
        advance(1, "writing")
        files = mix.save(options.output)
        advance(2, "playing the preset in Pedalboard")
        parity = preset_residual_db(mix)
        advance(3, "")
    mixed = time.monotonic()
    show_mix(mix, files)
    print(f"\nPlay it without diffmix: python {files['preset.py']} {stems} again.wav\n")
    print(table(json.loads((training / "scores.json").read_text(encoding="utf-8"))))
    heard = "the same samples" if parity == -math.inf else f"a residual of {parity:.0f} dB"
    print(f"preset.json in Pedalboard: {heard}; training {trained - begun:.0f} s, mixing {mixed - trained:.0f} s")


def _trained(command: list[str]) -> int:
    """Run a training to its end, its exit code.

    Ctrl-C goes to it as well, which keeps its step and says so; if it is pressed once more, or if this program is
    ended, it is ended too.
    """
    with subprocess.Popen(command) as training:
        asked = False
        while True:
            try:
                return training.wait()
            except KeyboardInterrupt:
                if asked:
                    training.terminate()
                asked = True
            except BaseException:
                training.terminate()
                raise


def preset_residual_db(mix: "Mix") -> float:
    """Energy of the difference between a mix and its preset played by Pedalboard, relative to the mix, in dB."""
    import torch

    from diffmix.metrics import residual_db

    stems = {t.name: t.audio.numpy() for t in mix.multitrack.tracks}
    played = mix.to_pedalboard().render(stems)
    return residual_db(torch.from_numpy(played), torch.from_numpy(mix.audio))
