"""The recipes that mix, each trained for minutes on generated songs and judged on songs that none has seen.

    python -m benchmarks.recipes [--runs FOLDER] [--songs 20]

It says what short runs of the small defaults give, not what the papers' systems can do. Models that are in ``--runs``
already are not trained again. Seeded; no data set and no network are needed.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks import mixers
from benchmarks.automix import COLUMNS, EQUAL, US
from benchmarks.common import Cell, publish, table
from benchmarks.mixing import OF_MIX, Case, case, relabelled, score, sound
from benchmarks.mixing_ways import automixer
from diffmix import train
from diffmix._paths import conf_dir
from diffmix.console import Console
from diffmix.data.degrade import degrade
from diffmix.data.knowledge import engineer
from diffmix.data.synthetic import VALIDATION_SEED, generate_song
from diffmix.metrics import evaluate
from diffmix.settings import Settings
from diffmix.systems.dmc import DMC
from diffmix.systems.mix_style_transfer import MixStyleTransfer
from diffmix.systems.mixwaveunet import MixWaveUNet
from diffmix.systems.stem_mixer import StemMixer

SEED = VALIDATION_SEED + 600_000
RATE = 16_000
SECONDS = 6.0
CHANNELS = 8
"""More the Mix-Wave-U-Net does not take."""

SHARED = (
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.checkpoint_every=1000000",
    "data.workers=0",
    "data.songs=40",
    "data.held_out_songs=4",
    "data.song_seconds=8",
    "data.held_out_examples=8",
    "data.batch_size=2",
)
EXAMPLES = ("data.seconds=2", "data.max_tracks=6")


class Recipe(NamedTuple):
    """How a system is trained: what it is called, its overrides, steps, and the run whose proxy it needs."""

    title: str
    overrides: tuple[str, ...]
    steps: int
    proxy: str = ""


RECIPES = {
    "dmc": Recipe("dmc: fader and pan", ("recipe=dmc", f"console.sample_rate={RATE}", *EXAMPLES), 400),
    "dmc_channel": Recipe(
        "dmc: and EQ, compressor, reverb",
        ("recipe=dmc", "console=dmc_channel", f"console.sample_rate={RATE}", *EXAMPLES),
        175,
    ),
    "dmc_proxy": Recipe(
        "", ("recipe=dmc_proxy", f"console.sample_rate={RATE}", "data.seconds=0.75", "data.max_tracks=6"), 300
    ),
    "dmc_by_proxy": Recipe(
        "dmc: the same, learned through a proxy",
        ("recipe=dmc", "console=dmc_channel", f"console.sample_rate={RATE}", *EXAMPLES),
        175,
        "dmc_proxy",
    ),
    "mixwaveunet": Recipe(
        "mixwaveunet", ("recipe=mixwaveunet", f"data.sample_rate={RATE}", "data.seconds=2", "data.max_tracks=6"), 400
    ),
    "diffmst": Recipe(
        "diffmst, a reference",
        ("recipe=diffmst", f"console.sample_rate={RATE}", "data.seconds=1.5", "data.max_tracks=6"),
        200,
    ),
    "fxnorm": Recipe(
        "fxnorm, labels",
        ("recipe=fxnorm", f"data.sample_rate={RATE}", "data.average_songs=4", "system.pretrain_steps=60"),
        200,
    ),
}


def trained(name: str, runs: Path) -> float:
    """Train a recipe unless its model is there; the CPU seconds that it took."""
    recipe, output = RECIPES[name], runs / name
    cost = output / "cpu.json"
    if not cost.is_file():
        begun = time.process_time()
        proxy = [f"proxy={runs / recipe.proxy / 'model' / 'effect.safetensors'}"] if recipe.proxy else []
        overrides = [*SHARED, *recipe.overrides, *proxy, f"trainer.max_steps={recipe.steps}", f"output={output}"]
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            config: Any = OmegaConf.to_container(compose("train", overrides), resolve=True)
        train.run(config)
        cost.write_text(json.dumps(time.process_time() - begun), encoding="utf-8")
    return float(json.loads(cost.read_text(encoding="utf-8")))


# ------------------------------------------------------------------ songs and systems


def held_out(number: int) -> Case:
    """A song of at most `CHANNELS` channels, by engines and with flaws that training does not have."""
    for attempt in range(100):
        seed = SEED + 100 * number + attempt
        song = degrade(generate_song(seed, SECONDS, RATE, engines="held_out", tracks=(4, 6)), seed, held_out=True)
        if sum(len(track.audio) for track in song.tracks) <= CHANNELS:
            return case(song, seed)
    raise AssertionError("no small song in a hundred")


def reference(made: Case) -> Tensor:
    """Another song (2, T) as the engineer of this one mixes it."""
    style = engineer(made.song, [made.seed, 1]).style
    other = generate_song(made.seed + 50, SECONDS, RATE, engines="held_out", tracks=(4, 6))
    return case(other, made.seed, style).truth.mix


@cache
def _loaded(kind: Any, folder: Path, *rate: int) -> Any:
    return kind.load(folder, *rate)


def scores(made: Case, runs: Path) -> dict[str, dict[str, float]]:
    """Every system's scores on a song; those that give audio have scores of the mix only."""
    rate = made.song.sample_rate

    def by(settings: Settings, desk: Console | None = None) -> dict[str, float]:
        return score(sound(made.song, relabelled(settings, made.song), made.leads, desk), made.truth, rate)

    def of(mix: Tensor) -> dict[str, float]:
        return evaluate(mix, made.truth.mix, rate, only=OF_MIX)

    found = {
        EQUAL: by(mixers.equal_loudness(made.blind)),
        "equal loudness, left and right": by(mixers.equal_alternating(made.blind)),
    }
    for name in ("dmc", "dmc_channel", "dmc_by_proxy"):
        dmc = _loaded(DMC, runs / name / "model", rate)
        found[RECIPES[name].title] = by(dmc.settings_for(made.blind), dmc.console)
    style = _loaded(MixStyleTransfer, runs / "diffmst" / "model", rate)
    found[RECIPES["diffmst"].title] = by(style.settings_for(made.blind, reference(made)), style.console)
    found[RECIPES["mixwaveunet"].title] = of(_loaded(MixWaveUNet, runs / "mixwaveunet" / "model").mix(made.blind))
    found[RECIPES["fxnorm"].title] = of(_loaded(StemMixer, runs / "fxnorm" / "model").mix(made.song))
    return found | {f"{US} as it ships": by(automixer(made.blind))}


def summary(found: Sequence[dict[str, dict[str, float]]]) -> list[list[Cell]]:
    """Means over the songs by system."""
    rows: list[list[Cell]] = []
    for name in found[0]:
        cells: list[Cell] = [name]
        for key in COLUMNS.values():
            known = [one[name][key] for one in found if not np.isnan(one[name].get(key, np.nan))]
            cells.append(float(np.mean(known)) if known else None)
        rows.append(cells)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where models are kept; else nowhere")
    parser.add_argument("--songs", type=int, default=20, help="held-out songs")
    a = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        runs = (a.runs or Path(scratch)).resolve()
        cost = {name: trained(name, runs) for name in RECIPES}
        found = [scores(held_out(number), runs) for number in range(a.songs)]
    tables = [
        table(
            f"{a.songs} held-out songs",
            ["system", *COLUMNS],
            summary(found),
            f"Songs of {SECONDS:g} s, 4 to 6 tracks, at most {CHANNELS} channels, {RATE // 1000} kHz, by engines and "
            "with flaws that training does not have. Mean errors against the true mix as in automatic mixing; systems "
            "that give audio have no knobs to compare. `labels`: it is told the tracks' roles; `a reference`: it hears "
            "another song, mixed in the same style.",
        ),
        table(
            "What was trained",
            ["run", "steps", "CPU seconds with data and scoring"],
            [[name, RECIPES[name].steps, seconds] for name, seconds in cost.items()],
        ),
    ]
    notes = ["`diffmix as it ships` was trained for far longer; it shows how far short runs are from it."]
    publish("recipes", "Recipes, trained shortly", tables, notes, ("numba", "numpy", "lightning"), SEED)


if __name__ == "__main__":
    main()
