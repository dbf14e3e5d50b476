"""What a recipe hands to the trainer, and what systems share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, Sampler

from diffmix.errors import CheckpointError, SettingsError
from diffmix.params import ParamSpec
from diffmix.systems.automixer import Automixer, refuse_other_specs


class Training(NamedTuple):
    """A system with its data, made from a configuration by the ``prepare`` of the system's module.

    ``save(folder, **card)`` writes what was learned, with the numbers of the run. The system's validation logs scores
    as ``val/<who>/<score>``.
    """

    system: lightning.LightningModule
    data: lightning.LightningDataModule
    save: Callable[..., None]


class Numbers(Sampler[int]):
    """Example numbers from ``first`` on; it has no length, so that a trainer counts steps only."""

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers

    def __iter__(self) -> Iterator[int]:
        """The numbers in order."""
        return iter(self.numbers)


def numbers_ahead(data: lightning.LightningDataModule, batch_size: int) -> Numbers:
    """The numbers of the examples from the trainer's step to its last: a resumed run goes on where it stopped."""
    first = data.trainer.global_step if data.trainer else 0
    last = data.trainer.max_steps if data.trainer else first
    return Numbers(range(first * batch_size, last * batch_size))


def loader(
    dataset: Dataset[Any], sampler: Numbers | range, batch_size: int, collate: Callable[[Any], Any], workers: int
) -> DataLoader[Any]:
    """Batches of the examples of these numbers, made by ``workers`` processes, or by this one if that is 0."""
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )


class Steps(lightning.LightningDataModule):
    """Numbers of steps, for a system that draws its batches from them itself."""

    def train_dataloader(self) -> DataLoader[Any]:
        """From the trainer's step on."""
        return DataLoader(range(2**31), None, sampler=numbers_ahead(self, 1))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        """One round of whatever the system judges itself by."""
        return DataLoader([0], None)  # type: ignore[arg-type]


class System(lightning.LightningModule):
    """A system that names what it logs as the trainer reads it: ``train/<term>`` and ``val/<who>/<score>``."""

    def log_losses(self, losses: Mapping[str, Tensor], batch_size: int) -> None:
        """The terms of a step's loss."""
        self.log_dict({f"train/{k}": v.detach() for k, v in losses.items()}, batch_size=batch_size, prog_bar=True)

    def log_scores(self, who: str, scores: Mapping[str, Tensor], batch_size: int) -> None:
        """Scores of held-out examples, whose mean counts."""
        logged = {f"val/{who}/{k}": v for k, v in scores.items()}
        self.log_dict(logged, batch_size=batch_size, on_epoch=True, on_step=False)


class OneNetwork(System):
    """A system that goes on only from checkpoints of a network like its own, which ``network`` describes."""

    @property
    def network(self) -> dict[str, Any]:
        """What weights depend on, as plain data: sizes, sample rate, parameters."""
        raise NotImplementedError

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the network is with its weights."""
        checkpoint["network"] = self.network

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another network."""
        stored, mine = checkpoint.get("network"), self.network
        if stored != mine:
            raise CheckpointError(f"the checkpoint is of another run: it holds {stored}, this one needs {mine}")


class OwnSpecs(System):
    """A system that goes on only from checkpoints of the parameters that it sets itself, ``specs``."""

    @property
    def specs(self) -> Mapping[str, ParamSpec]:
        """The parameters by part."""
        raise NotImplementedError

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the parameters' declarations with the weights."""
        checkpoint["specs"] = {part: spec.to_dict() for part, spec in self.specs.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other parameters, naming the differing lines."""
        if "specs" not in checkpoint:
            raise CheckpointError("the checkpoint holds no parameter specs: it was not written by this system")
        refuse_other_specs(self.specs, checkpoint["specs"], "the checkpoint")


class AveragedMixer(OwnSpecs):
    """A system that teaches an automixer, ``mixer``, and keeps an exponential ``average`` of its weights."""

    mixer: Automixer
    average: AveragedModel

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """One step, after which the average moves."""
        super().optimizer_step(*arguments, **options)
        self.average.update_parameters(self.mixer)

    @property
    def specs(self) -> Mapping[str, ParamSpec]:
        """The parameters by part: weights for others would be useless."""
        return self.mixer.specs


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum of the terms of a loss, each with its weight."""
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()


def averaged(module: torch.nn.Module, average: float) -> AveragedModel:
    """A copy of a module that follows its weights: of each it keeps ``average`` per update, at first less."""

    def moved(mean: Tensor, now: Tensor, count: Any) -> Tensor:
        keep = min(average, (1 + float(count)) / (10 + float(count)))
        return mean + (1 - keep) * (now - mean)  # what did not move stays as it is, to the bit

    return AveragedModel(module, avg_fn=moved)


def optimizers(
    module: torch.nn.Module, learning_rate: float, warmup_steps: int, total_steps: int, weight_decay: float = 1e-3
) -> dict[str, Any]:
    """AdamW with a linear warm-up and a cosine decay over ``total_steps``, as Lightning takes them.

    Without ``weight_decay`` it is Adam.
    """
    optimizer = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=weight_decay)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=warmup_steps)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, total_steps - warmup_steps))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [warmup_steps])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def one_cycle(module: torch.nn.Module, learning_rate: float, total_steps: int) -> dict[str, Any]:
    """AdamW whose learning rate goes through one cycle over ``total_steps``, as Lightning takes them."""
    optimizer = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=total_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def songs_left_out(names: Sequence[Any], songs: Sequence[str]) -> list[str]:
    """The songs that ``data.without`` names, of which some are numbers to YAML. Raises SettingsError for others."""
    without = [str(name) for name in names]
    if unknown := sorted(set(without) - set(songs)):
        raise SettingsError(f"data.without: no song is called {', '.join(unknown)}; there are {', '.join(songs)}")
    return without
