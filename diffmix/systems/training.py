"""What a recipe hands to the trainer."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import lightning
from torch.utils.data import Sampler


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
