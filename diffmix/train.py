"""``python -m diffmix.train recipe=automix``: train a recipe.

A recipe names the module of `diffmix.systems` whose ``prepare`` makes its system and data; the rest is the same for
all: limits, checkpoints, progress, scores, the model's card.
"""

import difflib
import importlib
import json
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from diffmix._paths import conf_dir
from diffmix.errors import CheckpointError, DiffmixError, OutputError, SettingsError
from diffmix.files import made_folder, write_text

LIMITS: dict[str, tuple[type, float, float]] = {
    "seed": (int, 0, 2**31 - 1),
    "trainer.max_steps": (int, 1, 10**9),
    "trainer.checkpoint_every": (int, 1, 10**9),
    "trainer.validate_every": (int, 0, 10**9),
    "trainer.gradient_clip": (float, 0, 10**9),
    "trainer.threads": (int, 1, 4096),
    "estimator.width": (int, 1, 10**4),
    "estimator.layers": (int, 1, 1000),
    "estimator.heads": (int, 1, 10**4),
    "estimator.dropout": (float, 0, 1),
    "data.songs": (int, 1, 10**6),
    "data.held_out_songs": (int, 1, 10**6),
    "data.song_seconds": (float, 1, 600),
    "data.seconds": (float, 0.5, 60),
    "data.takes": (int, 1, 10**4),
    "data.casts": (int, 1, 10**6),
    "data.tracks_each": (int, 1, 4096),
    "data.batch_size": (int, 1, 4096),
    "data.workers": (int, 0, 256),
    "data.generated_seconds": (float, 5, 3600),
    "data.pieces": (int, 1, 10**5),
    "data.held_out_pieces": (int, 1, 10**5),
    "data.held_out_examples": (int, 1, 10**6),
    "data.max_tracks": (int, 1, 4096),
    "data.degraded": (float, 0, 1),
    "data.reverb": (float, 0, 1),
    "data.average_songs": (int, 1, 10**6),
    "data.solo_count": (int, 1, 10**6),
    "data.solos_each": (int, 1, 4096),
    "data.sample_rate": (int, 8000, 192000),
    "console.sample_rate": (int, 8000, 192000),
    "system.learning_rate": (float, 0, 1),
    "system.warmup_steps": (int, 0, 10**9),
    "system.weight_decay": (float, 0, 1),
    "system.average": (float, 0, 1),
    "system.weights.*": (float, 0, 10**9),
    "system.fft_sizes.*": (int, 2, 2**20),
    "system.network.dilations.*": (int, 1, 65536),
    "data.tracks.*": (int, 1, 200),
    "system.pieces": (int, 1, 10**5),
    "system.temperature": (float, 0.001, 100),
}
"""What numbers must be, of those that a recipe has; ``*`` stands for all that are there."""

OPTIONAL = {"trainer.threads"}
"""Of those, what may be null."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""What Lightning knows besides makes weights unlike the audio, which stays float32, or NaN."""


def run(config: dict[str, Any]) -> dict[str, float]:
    """Train one composed configuration; returns the scores on what was held out.

    Leaves in ``config["output"]``: ``last.ckpt`` (to go on from), ``model/`` (what was learned), ``scores.json`` and
    ``metrics.csv``. Raises DiffmixError for what a user can mend.
    """
    check(config)
    output = _folder(config["output"])
    begun = time.monotonic()
    import lightning
    import torch
    from lightning.pytorch.loggers import CSVLogger

    from diffmix.progress import progress
    from diffmix.systems.callbacks import ScoringProgress, StepCheckpoint, StepProgress

    # Lightning is loud about matters that this run has settled
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|torch")
    trainer_config = config["trainer"]
    accelerator = _accelerator(trainer_config["accelerator"])
    if trainer_config["threads"]:
        torch.set_num_threads(trainer_config["threads"])
    checkpoint, step = _checkpoint(str(config["resume"]), output)
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    system, data, save = importlib.import_module(f"diffmix.systems.{config['system_name']}").prepare(config)
    steps = trainer_config["max_steps"]
    every = trainer_config["validate_every"]
    kept = StepCheckpoint(output / "last.ckpt", trainer_config["checkpoint_every"], step)
    with progress("Training", steps) as advance, _stopping(kept, steps), kept.asked_by_hand():
        trainer = lightning.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator=accelerator,
            devices=1,
            precision=trainer_config["precision"],
            gradient_clip_val=trainer_config["gradient_clip"],
            val_check_interval=every or None,
            check_val_every_n_epoch=None if every else 1,
            limit_val_batches=1.0 if every else 0,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            log_every_n_steps=5,
            logger=CSVLogger(str(output), name="", version=""),
            callbacks=[kept, StepProgress(advance)],
        )
        trainer.fit(system, data, ckpt_path=checkpoint, weights_only=True)
    with progress("Scoring", len(data.val_dataloader())) as advance, _stopping(kept, steps):
        scored = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[ScoringProgress(advance)],
        ).validate(system, data, verbose=False)[0]
    scores = {k.removeprefix("val/"): round(float(v), 4) for k, v in scored.items()}
    card = {
        "recipe": config["recipe_name"],
        "seed": config["seed"],
        "steps": steps,
        "data": config["data"],
        "scores": scores,
        "minutes_of_last_run": round((time.monotonic() - begun) / 60, 1),
    }
    save(output / "model", **card)
    write_text(output / "scores.json", json.dumps(scores, indent=1) + "\n")
    return scores


def _folder(output: Any) -> Path:
    """The folder of a run, made. Raises SettingsError without a name, OutputError where no file can be written."""
    if not str(output or "").strip():  # most likely a variable of a shell that was not set
        raise SettingsError("output is empty: the name of the run's folder is needed")
    folder = made_folder(Path(output))
    try:
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from None
    return folder


def _accelerator(wanted: str) -> str:
    """What is wanted, if this machine has it. Raises SettingsError."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = ["auto", "cpu", *["gpu"] * (cuda or mps), *["cuda"] * cuda, *["mps"] * mps]
    if wanted not in there:
        raise SettingsError(f"trainer.accelerator={wanted!r}: on this machine it is one of {', '.join(there)}")
    return wanted


@contextmanager
def _stopping(kept: Any, steps: int) -> Iterator[None]:
    """Lightning's ways to answer Ctrl-C and SIGTERM become a KeyboardInterrupt that tells what is kept."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (SystemExit, SIGTERMException):
        if before is not None and current_thread() is main_thread():  # Lightning leaves Ctrl-C without effect
            signal.signal(signal.SIGINT, before)
        message = "stopped before the first step was kept"
        if kept.step:
            message = f"stopped; step {kept.step} of {steps} is kept, the same command with resume=auto goes on from it"
        raise KeyboardInterrupt(message) from None


def check(config: dict[str, Any]) -> None:
    """Raise SettingsError for a value of the wrong kind or out of its range, naming it and what is allowed.

    Whole numbers that were written as others, as 1e4, become whole ones in ``config``.
    """
    for name, (kind, low, high) in LIMITS.items():
        *groups, last = name.split(".")
        what = f"{'a whole number' if kind is int else 'a number'} in {low:.10g}..{high:.10g}"
        part: Any = config
        for group in groups:
            part = part.get(group, {}) if isinstance(part, dict) else {}
        if last == "*" and (not isinstance(part, dict | list) or part == []):
            raise SettingsError(f"{'.'.join(groups)}={part!r}: several are needed, each {what}")
        keys = list(part) if isinstance(part, dict) else range(len(part or ()))
        for key in keys if last == "*" else [key for key in keys if key == last]:
            value = part[key]
            if value is None and name in OPTIONAL:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value <= high or (kind is int and value != int(value)):
                raise SettingsError(f"{'.'.join([*groups, str(key)])}={value!r}: {what} is needed")
            part[key] = kind(value)
    precision = config["trainer"]["precision"]
    if precision not in PRECISIONS:
        raise SettingsError(f"trainer.precision={precision!r}: one of {', '.join(PRECISIONS)} is needed")


def _checkpoint(resume: str, output: Path) -> tuple[str | None, int]:
    """The checkpoint to go on from, after looking into it, and its step if it is the one in this folder, else 0.

    An earlier run that is not resumed is kept aside.
    """
    import torch

    last = output / "last.ckpt"
    if resume == "none":
        _keep_aside(output)
        return None, 0
    if resume == "auto" and not last.is_file():
        return None, 0
    path = last if resume == "auto" else Path(resume)
    try:
        step = torch.load(path, map_location="cpu", weights_only=True)["global_step"]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"no usable checkpoint in {path}: {reason} (resume is none, auto or a path)") from None
    print(f"Going on from {path} at step {step}", file=sys.stderr, flush=True)
    return str(path), step if path.resolve() == last.resolve() else 0


def _keep_aside(output: Path) -> None:
    """Move the results of an earlier run in this folder to ``previous-1``, ``previous-2``, ..."""
    found = [f for name in ("last.ckpt", "model", "scores.json", "metrics.csv") if (f := output / name).exists()]
    if not found:
        return
    number = next(n for n in range(1, 10**6) if not (output / f"previous-{n}").exists())
    aside = output / f"previous-{number}"
    aside.mkdir()
    for file in found:
        os.replace(file, aside / file.name)
    print(f"An earlier run in {output} was kept in {aside}", file=sys.stderr, flush=True)


def table(scores: dict[str, float]) -> str:
    """The scores as text, one line for each of those compared."""
    rows = sorted({name.split("/")[0] for name in scores})
    columns = sorted({name.split("/")[1] for name in scores})
    lines = [f"{'held out':<18}" + "".join(f"{c:>20}" for c in columns)]
    lines += [f"{row:<18}" + "".join(f"{scores[f'{row}/{c}']:>20.3f}" for c in columns) for row in rows]
    return "\n".join(lines)


# The threads of torch's OpenMP spin while they wait; beside other work on the machine that costs up to ten times more
# than they save. Read when torch is loaded, so it stands before any import of it, and only in programs of ours.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Those of numpy's OpenBLAS spin too, know no policy, and what numpy solves here is small. Read when numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Compose the configuration with Hydra and train; a user's mistake ends in one sentence and exit code 2."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folders = [Path(conf_dir())]
    for flag, value in zip(sys.argv[1:], [*sys.argv[2:], ""], strict=True):
        if flag.partition("=")[0] in ("--config-dir", "-cd"):
            folders.append(Path(flag.partition("=")[2] or value))
    for argument in sys.argv[1:]:
        group, _, choices = argument.partition("=")
        known = {p.stem: p for folder in folders if group.isidentifier() for p in (folder / group).glob("*.yaml")}
        for name in choices.split(",") if known else ():
            if name not in known:
                sys.exit(_complain(f"no {group} {name!r}; there are: {', '.join(sorted(known))}"))
            try:
                OmegaConf.load(known[name])
            except Exception as error:  # PyYAML's errors, which Hydra would show with all its calls
                sys.exit(_complain(f"{known[name]} is no YAML: {' '.join(str(error).split())}"))

    @hydra.main(version_base="1.3", config_path=conf_dir(), config_name="train")
    def composed(config: DictConfig) -> None:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            config.output = HydraConfig.get().runtime.output_dir
        begun.append(True)
        try:
            _complete(config, HydraConfig.get().runtime.choices.get("recipe", ""))
            plain = OmegaConf.to_container(config, resolve=True)
            scores = run(plain)  # type: ignore[arg-type]
        except OmegaConfBaseException as error:
            sys.exit(_complain(f"{error.full_key}: {str(error).splitlines()[0]}"))
        except DiffmixError as error:
            sys.exit(_complain(str(error)))
        except KeyboardInterrupt as stop:
            sys.exit(_complain(str(stop) or "stopped before the first step"))
        print(table(scores))
        print(f"model: {Path(config.output) / 'model'}")

    # Hydra takes its flags before the overrides only; people write them anywhere
    flags = [a for a in sys.argv[1:] if a in ("-m", "--multirun")]
    sys.argv[1:] = flags + [a for a in sys.argv[1:] if a not in flags]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # its errors come here, instead of being printed over many lines
    sys.argv[1:] = [_quoted(argument) for argument in sys.argv[1:]]
    begun: list[bool] = []
    try:
        composed()
    except CompactHydraException as error:
        sys.exit(_complain(_unset(error, Path(conf_dir()))))
    except ValueError as error:  # Hydra's own, of a value and a setting that it does not bring together
        if begun:
            raise
        given = ", ".join(a for a in sys.argv[1:] if a.startswith("~") or ("=" in a and not a.startswith("-")))
        sys.exit(_complain(f"one of these does not fit what it sets: {given} ({str(error).splitlines()[0]})"))
    except OSError as error:
        if begun:
            raise
        sys.exit(_complain(f"cannot write to the run's folder: {error.strerror}: {error.filename}"))


def _complete(config: Any, recipe: str) -> None:
    """Raise SettingsError where the chosen data or system lacks a setting of those that a recipe of ours needs."""
    from omegaconf import OmegaConf

    def plain(*parts: str) -> dict[str, Any]:
        return OmegaConf.to_container(OmegaConf.load(Path(conf_dir(), *parts)))  # type: ignore[return-value]

    if not recipe:
        raise SettingsError("no recipe is chosen, which recipe=automix would be (see --help)")
    if not Path(conf_dir(), "recipe", f"{recipe}.yaml").is_file():
        return
    usual: dict[str, str] = {}
    for entry in (*plain("train.yaml")["defaults"], *plain("recipe", f"{recipe}.yaml").get("defaults", ())):
        usual |= {} if isinstance(entry, str) else {k.removeprefix("override /"): v for k, v in entry.items()}
    for group in ("data", "system"):
        needed = plain(group, f"{usual[group]}.yaml")
        if lacking := [key for key in needed if key not in (config[group] or ())]:
            raise SettingsError(
                f"recipe {recipe} is made for {group}={usual[group]}; what was chosen lacks {', '.join(lacking)}"
            )


def _quoted(argument: str) -> str:
    """An override whose value is a text that Hydra's grammar has no place for, as some names of folders, in quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = argument.partition("=")
    if equals and not key.startswith("-") and value[:1] not in ("{", "[", '"', "'"):
        try:
            OverridesParser.create().parse_override(argument)
        except HydraException:
            return key + '="' + value.replace('"', '\\"') + '"'
    return argument


def _unset(error: Exception, folder: Path) -> str:
    """What Hydra says of an override, in a sentence; of a name that no setting has, which one may be meant."""
    from hydra.errors import OverrideParseException
    from omegaconf import OmegaConf

    message = str(error)
    if isinstance(error, OverrideParseException) and "Ambiguous" not in message:
        return f"{error.override} cannot be read: NAME=VALUE, +NAME=VALUE and ~NAME can, and a text in quotes as VALUE"
    if wrong := re.match("Ambiguous value for argument '(.*?=)(.*)'", message):
        key, value = wrong.groups()
        return f"{key}{value}: -m asks for several runs, {key}[{value}] is a list and '{key}\"{value}\"' a text"
    cause = str(error.__cause__ or "")
    wrong = re.search("is not in struct\n *full_key: (.*)", cause) or re.match("Could not override '(.*)'", message)
    if not wrong:
        return ": ".join([*message.splitlines(), *cause.splitlines()][:2])

    def names(prefix: str, part: Any) -> list[str]:
        below = part.items() if isinstance(part, dict) else ()
        return [prefix, *(name for key, value in below for name in names(f"{prefix}.{key}", value))]

    files = [folder / "train.yaml", *folder.glob(f"{wrong[1].partition('.')[0]}/*.yaml")]
    parts = [OmegaConf.to_container(OmegaConf.load(path)) for path in files]
    places = ["" if path.parent == folder else f".{path.parent.name}" for path in files]
    known = {name[1:] for place, part in zip(places, parts, strict=True) for name in names(place, part)}
    above = wrong[1].rpartition(".")[0]
    if above in known and not any(name.startswith(above + ".") for name in known):  # a mapping that is empty as yet
        return f"{above} has no {wrong[1].removeprefix(above + '.')!r} as yet: +{wrong[1]}=... adds it"
    if wrong[1] in known:
        having = [
            f"{path.parent.name}={path.stem}"
            for path, place, part in zip(files, places, parts, strict=True)
            if f".{wrong[1]}" in names(place, part)
        ]
        return f"{wrong[1]} is a setting of {', '.join(having)} alone"
    near = difflib.get_close_matches(wrong[1], sorted(known), 1)
    return f"there is no setting {wrong[1]!r} here" + (f"; did you mean {near[0]!r}?" if near else " (see --help)")


def _complain(message: str) -> int:
    print(f"diffmix: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
