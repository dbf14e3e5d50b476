"""What ``make demo`` does behind the installation, timed and scored.

    python -m benchmarks.demo

Songs are generated anew, so that the time is a stranger's; the network is not needed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
import torch

from benchmarks.common import Cell, publish, table
from diffmix._paths import example_dir
from diffmix.metrics import residual_db

SCORES = ("balance_error_db", "stft_distance", "pan_width_error", "pan_error")


def demo(folder: Path) -> tuple[list[list[Cell]], dict[str, float]]:
    """Rows of seconds and of agreement, and the scores of the model that the demo trained."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "diffmix", "demo", "-o", str(folder)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = time.monotonic() - begun
    training, mixing = map(float, re.findall(r"training (\d+) s, mixing (\d+) s", said)[0])
    again = folder / "again.wav"
    subprocess.run([sys.executable, folder / "preset.py", example_dir(), again], check=True, stdout=subprocess.DEVNULL)
    played, mix = (torch.from_numpy(soundfile.read(file)[0]) for file in (again, folder / "mix.wav"))
    agreement: Cell = "equal" if torch.equal(played, mix) else residual_db(played, mix)
    rows: list[list[Cell]] = [
        ["whole demo, s", round(seconds)],
        ["of that generating songs, training and scoring, s", training],
        ["of that mixing, report and preset check, s", mixing],
        ["preset.py's output beside mix.wav, dB", agreement],
    ]
    return rows, json.loads((folder / "training" / "scores.json").read_text(encoding="utf-8"))


def rows(name: str, scores: dict[str, float]) -> list[list[Cell]]:
    """Equal loudness and the model, on the same examples."""
    labels = {"equal_loudness": f"equal loudness, centred ({name})", "model": name}
    return [[label, *(scores[f"{key}/{s}"] for s in SCORES)] for key, label in labels.items()]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DIFFMIX_CACHE"] = str(Path(scratch) / "cache")
        timed, trained = demo(Path(scratch) / "demo")
        scored = rows("the demo's model", trained)
    tables = [
        table("Time and agreement", ["", "value"], timed),
        table(
            "Scores on held-out generated songs",
            ["mixer", "balance error, dB", "STFT distance", "pan width error", "pan error"],
            scored,
            "8 songs; less is better. recipes/automix/README.md defines the scores.",
        ),
    ]
    publish("demo", "The demo", tables, [], ("lightning", "auraloss", "pedalboard", "numpy", "numba"), 0)


if __name__ == "__main__":
    main()
