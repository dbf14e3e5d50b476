"""DeepAFx-ST's gradient methods beside each other, all trained equally: same data, same steps.

    python -m benchmarks.style_transfer [--steps 100] [--proxy-steps 150] [--long 1000] [--folder FOLDER]

Runs are kept in the folder, so that a stopped benchmark goes on where it was.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import Cell, publish, table
from diffmix import train
from diffmix._paths import conf_dir
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.estimators.features import log_mel
from diffmix.metrics.style import style_errors
from diffmix.systems import deepafx
from diffmix.systems.mixes import MixData
from diffmix.systems.rule_based import rule_based
from diffmix.systems.style_pairs import recordings_of
from diffmix.systems.style_probe import probe_accuracy, styled
from diffmix.systems.style_rendering import METHODS
from diffmix.systems.style_transfer import StyleTransfer

LABELS = {
    "ad": "AD: through the effects",
    "spsa": "SPSA",
    "np": "NP: proxies play too",
    "np_hh": "NP-HH: proxies, effects play",
    "np_fh": "NP-FH: effects forward, proxies backward",
    "tcn1": "cTCN 1",
    "tcn2": "cTCN 2",
}
SCORES = {
    "stft": "STFT",
    "msd": "MSD",
    "sce_hz": "SCE, Hz",
    "rms_db": "RMS, dB",
    "lufs": "LUFS",
    "log_msd_db": "log MSD, dB",
    "mldr": "MLDR",
}
COMMON = (
    "data.sample_rate=16000",
    "data.seconds=1.0",
    "data.batch_size=4",
    "data.workers=0",
    "data.held_out_examples=32",
    "data.song_seconds=10",
    "system.network.channels=8",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "resume=auto",
)
RECIPE = ("recipe=style_transfer", "system.encoder.n_fft=2048")
FITTED, FIT_STEPS = 8, 40
PROBED = 40
"""Recordings, each in five styles, from which a probe learns, and half as many by which it is judged."""


def config(*overrides: str) -> dict[str, Any]:
    """A composed configuration of a recipe."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return OmegaConf.to_container(compose("train", [*overrides, *COMMON]), resolve=True)  # type: ignore[return-value]


class Kept(Dataset[Any]):
    """A data set whose examples are made once, for all methods."""

    def __init__(self, given: Dataset[Any]) -> None:
        self.given, self.made = given, dict[int, Any]()

    def __getitem__(self, index: int) -> Any:
        """Example ``index``."""
        if index not in self.made:
            self.made[index] = self.given[index]
        return self.made[index]


def make_once() -> None:
    """Let the runs of this program share their examples; the rule is judged by `baselines` alone."""
    data_from = deepafx.data_from
    shared: dict[str, tuple[Kept, Kept]] = {}

    def data(settings: Mapping[str, Any], seed: int) -> MixData:
        made = data_from(settings, seed)
        made.train, made.held_out = shared.setdefault(str(settings), (Kept(made.train), Kept(made.held_out)))
        return made

    deepafx.data_from, deepafx.rule_based = data, lambda x, reference, rate: x  # type: ignore[assignment, misc]


def baselines() -> dict[str, dict[str, float]]:
    """Scores of the untouched input and of the rule on the held-out examples."""
    settings = config(*RECIPE)
    rate, data = settings["data"]["sample_rate"], deepafx.data_from(settings["data"], settings["seed"])
    pairs = [data.held_out[n] for n in range(data.examples)]
    target = torch.stack([pair.target for pair in pairs])
    made = {
        "input": torch.stack([pair.input for pair in pairs]),
        "rule_based": torch.stack([rule_based(pair.input, pair.reference, rate) for pair in pairs]),
    }
    return {n: {k: float(v.mean()) for k, v in style_errors(y, target, rate).items()} for n, y in made.items()}


def run(folder: Path, steps: int, *overrides: str) -> dict[str, Any]:
    """Train a recipe into a folder, unless that was done; its scores, and the CPU seconds of a step."""
    done = folder / "benchmark.json"
    if not done.is_file():
        begun = time.process_time()
        settings = config(*overrides, f"trainer.max_steps={steps}", f"output={folder}")
        scores = train.run(settings)
        found = {"scores": scores, "cpu_s": time.process_time() - begun, "steps": steps}
        done.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(folder.name, {k: v for k, v in scores.items() if k.startswith("model")}, flush=True)
    return dict(json.loads(done.read_text(encoding="utf-8")))


def step_seconds(folder: Path, method: str) -> float:
    """CPU seconds of one step, data aside: the least of five."""
    training = deepafx.prepare(config(*RECIPE, f"system.method={method}", f"proxy={folder / 'proxy/model'}"))
    system, data = training.system, training.data
    assert isinstance(system, deepafx.DeepAFx)
    assert isinstance(data, MixData)
    pair = next(iter(DataLoader(data.held_out, 4, sampler=range(4))))
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        losses = system.losses(pair, system(pair))
        torch.stack([system.weights[name] * term for name, term in losses.items()]).sum().backward()
        best = min(best, time.process_time() - begun)
    return best


def gradients(folder: Path) -> list[list[Cell]]:
    """The gradients by themselves, no network between: what they are beside the exact one, and where they lead.

    Rows of method, mean cosine to automatic differentiation at random knobs, and the STFT distance and MSD of the
    effects after `FIT_STEPS` of Adam on the knobs of held-out pairs.
    """
    done = folder / "gradients.json"
    if done.is_file():
        return list(json.loads(done.read_text(encoding="utf-8")))
    rows: list[list[Cell]] = []
    exact: torch.Tensor | None = None
    for method in ("ad", "spsa", "np", "np_fh"):
        proxy = f"proxy={folder / 'proxy/model'}"
        training = deepafx.prepare(config(*RECIPE, f"system.method={method}", proxy))
        system, data = training.system.eval(), training.data
        assert isinstance(system, deepafx.DeepAFx)
        assert isinstance(data, MixData)
        chain, rate = system.model.chain, system.model.hear_rate
        pair = next(iter(DataLoader(data.held_out, FITTED, sampler=range(FITTED))))

        def loss(u: torch.Tensor, system: deepafx.DeepAFx = system, pair: deepafx.StylePair = pair) -> torch.Tensor:
            losses = system.losses(pair, u)
            return FITTED * torch.stack([system.weights[name] * term for name, term in losses.items()]).sum()

        torch.manual_seed(0)
        u = chain.spec.sample(FITTED, torch.Generator().manual_seed(0)).requires_grad_()
        (slope,) = torch.autograd.grad(loss(u), u)
        exact = slope if exact is None else exact
        cosine = float(torch.nn.functional.cosine_similarity(slope, exact).mean())
        logits = torch.logit(chain.spec.default().clamp(0.05, 0.95)).repeat(FITTED, 1).requires_grad_()
        adam = torch.optim.Adam([logits], 0.1)
        for _ in range(FIT_STEPS):
            adam.zero_grad()
            loss(logits.sigmoid()).backward()
            adam.step()
        with torch.no_grad():
            found = style_errors(chain(pair.input, logits.sigmoid()), pair.target, rate)
        if method == "ad":
            before = style_errors(pair.input, pair.target, rate)
            rows.append(["input", None, *(float(before[s].mean()) for s in ("stft", "msd"))])
        rows.append([LABELS[method], cosine, *(float(found[s].mean()) for s in ("stft", "msd"))])
        print(rows[-1], flush=True)
    done.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def as_half_hybrid(folder: Path, target: Path) -> dict[str, Any]:
    """The model of NP with the effects in place of the proxies: trained alike, it differs in what plays in the end."""
    done = target / "benchmark.json"
    if not done.is_file():
        learned = StyleTransfer.load(folder / "np" / "model")
        training = deepafx.prepare(config(*RECIPE, "system.method=np_hh", f"proxy={folder / 'proxy/model'}"))
        assert isinstance(training.system, deepafx.DeepAFx)
        mine = training.system.model
        mine.encoder.load_state_dict(learned.encoder.state_dict())
        mine.controller.load_state_dict(learned.controller.state_dict())
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(accelerator="cpu", **quiet)  # type: ignore[arg-type]
        scored = trainer.validate(training.system, training.data, verbose=False)[0]
        scores = {k.removeprefix("val/"): round(float(v), 4) for k, v in scored.items()}
        training.save(target / "model")
        same = json.loads((folder / "np" / "benchmark.json").read_text(encoding="utf-8"))
        done.write_text(json.dumps({**same, "scores": scores}, indent=1) + "\n", encoding="utf-8")
    return dict(json.loads(done.read_text(encoding="utf-8")))


def probed(folder: Path, folders: dict[str, Path], seed: int) -> dict[str, float]:
    """Accuracy of probes on the encoders of models, of an untrained one, and on means and deviations of mel bands."""
    done = folder / f"probes-{len(folders)}.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    data = config(*RECIPE)["data"]
    seen_recordings, held_out = recordings_of(data)
    shared: dict[str, Any] = {"sample_rate": data["sample_rate"], "seconds": 2.0}
    seen = styled(seen_recordings, PROBED, seed=seed, **shared)
    unseen = styled(held_out, PROBED // 2, seed=VALIDATION_SEED, **shared)
    encoders = {name: StyleTransfer.load(folder / "model").encoder for name, folder in folders.items()}
    torch.manual_seed(seed)
    first = next(iter(folders.values()))
    encoders["untrained"] = type(encoders["ad"])(**StyleTransfer.load(first / "model").shape["encoder"]).eval()
    found = {name: probe_accuracy(encoder, seen, unseen) for name, encoder in encoders.items()}

    def mel(x: torch.Tensor) -> torch.Tensor:
        bands = log_mel(x[:, None], data["sample_rate"])
        return torch.cat([bands.mean(2), bands.std(2)], 1)

    found |= {"mel": probe_accuracy(mel, seen, unseen)}
    done.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="of every method")
    parser.add_argument("--proxy-steps", type=int, default=150)
    parser.add_argument("--long", type=int, default=1000, help="of AD once more; 0: not at all")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark_style_transfer"))
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    make_once()
    folder, steps = arguments.folder, arguments.steps
    found, order = {}, ["ad", "spsa", "tcn1", "np", "np_fh", "tcn2"]
    proxy = run(folder / "proxy", arguments.proxy_steps, "recipe=style_proxy")
    for method in order:
        overrides = [*RECIPE, f"system.method={method}", f"proxy={folder / 'proxy/model'}"]
        found[method] = run(folder / method, steps, *overrides)
    found["np_hh"] = as_half_hybrid(folder, folder / "np_hh")
    folders = {method: folder / method for method in METHODS}
    labels = dict(LABELS)
    if arguments.long:
        found["long"] = run(folder / "long", arguments.long, *RECIPE)
        folders["long"], labels["long"] = folder / "long", f"AD, {arguments.long} steps"
    accuracy = probed(folder, folders, 0)
    cost = {method: step_seconds(folder, method) for method in METHODS}
    rows: list[list[Cell]] = []
    for name, scores in baselines().items():
        rows.append([name.replace("_", "-"), *(scores[s] for s in SCORES), None, None, None])
    for method, label in labels.items():
        one = found[method]
        step = cost["ad" if method == "long" else method]
        numbers = [one["scores"][f"model/{s}"] for s in SCORES]
        rows.append([label, *numbers, 100 * accuracy[method], 1000 * step, one["cpu_s"] / 60])
    rows += [
        [label, *[None] * len(SCORES), 100 * accuracy[name], None, None]
        for name, label in (("untrained", "probe: untrained encoder"), ("mel", "probe: mean and deviation of 64 bands"))
    ]
    imitation = [
        [name, *(proxy["scores"][f"{who}/{s}"] for who in (name, f"{name}_left_out") for s in ("stft_distance", "esr"))]
        for name in ("eq", "compressor")
    ]
    tables = [
        table(
            f"Every method after {steps} steps of 4 examples",
            ["method", *SCORES.values(), "probe, %", "CPU ms a step", "CPU minutes"],
            rows,
            "32 held-out pieces of 1 s (16 kHz) of songs that no method learned from, treated at random; all at a "
            "peak of -12 dBFS, less is better. The probe tells five styles from the frozen encoder (more is better, "
            "chance is 20): "
            f"{PROBED} pieces, each in every style, to learn from, {PROBED // 2} of other songs to judge by.",
        ),
        table(
            f"The proxies after {proxy['steps']} steps",
            ["effect", "STFT distance", "ESR", "STFT distance of the input", "ESR of the input"],
            imitation,
            "Networks of 8 channels beside the effects they imitate, at random settings.",
        ),
    ]
    tables.append(
        table(
            "The gradients by themselves",
            ["gradient", "cosine to AD", "STFT", "MSD"],
            gradients(folder),
            f"{FITTED} of the held-out pairs, no network between: mean cosine of the gradient of the knobs to the "
            f"exact one at random knobs, and how near the effects come to the target after {FIT_STEPS} steps of Adam "
            "from the defaults.",
        )
    )
    notes = [
        "Small networks (the encoder has 0.24 M weights) and short runs on generated songs: the paper trained 1.2 "
        "million steps. What one method learns from one example in a step is what is compared here.",
        "NP and NP-HH are one training, judged with the proxies and with the effects. NP, NP-HH and NP-FH need the "
        "proxies first, whose time is not counted.",
        "SPSA learns at a tenth of the learning rate of the others, as in the paper.",
    ]
    publish("style_transfer", "Style transfer: gradient methods", tables, notes, ("lightning", "numpy", "numba"), 0)


if __name__ == "__main__":
    main()
