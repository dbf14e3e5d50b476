"""What tests of recipes share: small configurations, and runs that stop half-way and go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from diffmix import train
from diffmix._paths import conf_dir

STEPS, EVERY, STOP = 4, 2, 3
"""Steps of a small run, after how many of them it is kept, and the one in which a broken one stops."""

TRAINER = (
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    f"trainer.max_steps={STEPS}",
    f"trainer.checkpoint_every={EVERY}",
)
DATA = ("data.workers=0", "data.batch_size=2", "data.held_out_examples=1")
"""Of recipes that learn from mixes of songs."""

Configured = Callable[..., dict[str, Any]]


GROUPS = {path.name for path in Path(conf_dir()).iterdir() if path.is_dir()}
PARSER = OverridesParser.create()


@cache
def chosen(*choices: str) -> DictConfig:
    """The configuration of these choices of groups: Hydra takes ten times as long for them as for all their values."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return compose("train", list(choices))


def configured(*small: str) -> Configured:
    """A function of overrides that composes a configuration in which these come first."""

    def config(*overrides: str) -> dict[str, Any]:
        given = [*TRAINER, *small, *overrides]
        choices = [text for text in given if text.partition("=")[0] in GROUPS]
        composed = deepcopy(chosen(*choices))
        values = PARSER.parse_overrides([text for text in given if text not in choices])
        ConfigLoaderImpl._apply_overrides_to_config(values, composed)
        return OmegaConf.to_container(composed, resolve=True)  # type: ignore[return-value]

    return config


def killed(system: Any) -> None:
    """As if the run were."""
    raise MemoryError("as if killed")


@contextmanager
def stopping(system: type[Any], at: int = STOP, by: Callable[[Any], None] = killed) -> Iterator[None]:
    """Training of such a system is stopped in step ``at``; ``by`` gets the system."""
    step = system.training_step

    def fails(self: Any, batch: Any, number: int) -> torch.Tensor:
        if self.global_step == at:
            by(self)
        found: torch.Tensor = step(self, batch, number)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "training_step", fails)
        yield


def broken_and_resumed(config: Configured, system: type[Any], folder: Path, *overrides: str) -> tuple[Path, Path]:
    """The models of a run and of one that stopped and went on; both runs' scores are the same."""
    whole, broken = folder / "whole", folder / "broken"
    scores = train.run(config(*overrides, f"output={whole}"))
    with stopping(system), pytest.raises(MemoryError):
        train.run(config(*overrides, f"output={broken}"))
    assert torch.load(broken / "last.ckpt", weights_only=True)["global_step"] == STOP - STOP % EVERY
    torch.randn(7)  # another state of the generator
    assert train.run(config(*overrides, f"output={broken}", "resume=auto")) == scores
    return whole / "model", broken / "model"


def same_weights(one: Path, other: Path) -> bool:
    """Whether two models are the same to the bit."""
    return len({(folder / "model.safetensors").read_bytes() for folder in (one, other)}) == 1
