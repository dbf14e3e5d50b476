"""Training of a neural effect from one recording before and after a device."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from diffmix.data.pairs import Crop, Crops, Pair, generated_pair, read_pair
from diffmix.errors import SettingsError
from diffmix.losses import multi_resolution_stft
from diffmix.metrics import error_to_signal
from diffmix.processors import NeuralEffect
from diffmix.systems.training import OneNetwork, Training, numbers_ahead, optimizers, weighted

FILE = "effect.safetensors"


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/neural_effect.yaml`` describes.

    Raises SettingsError for one file without the other, AudioError for files that are no pair.
    """
    data, options = config["data"], dict(config["system"])
    network = options.pop("network")
    if (data["dry"] is None) != (data["wet"] is None):
        raise SettingsError("dry=FILE and wet=FILE come together: the same recording before and after the effect")
    if data["dry"] is None:
        pair = generated_pair(data["generated_seconds"], data["sample_rate"])
    else:
        pair = read_pair(data["dry"], data["wet"])
    effect = NeuralEffect(pair.sample_rate, **network, seed=config["seed"])
    system = BlackBox(effect, total_steps=config["trainer"]["max_steps"], **options)

    def save(folder: Path, **card: Any) -> None:
        folder.mkdir(exist_ok=True)
        effect.save(folder / FILE, **card)

    return Training(system, PairData(pair, effect, data["seconds"], data["batch_size"], config["seed"]), save)


class BlackBox(OneNetwork):
    """Learns to sound like a device: multi-resolution STFT distance plus mean absolute error, each with a weight.

    The conditions stand at their defaults throughout, so that afterwards they steer away from what was learned
    (C. J. Steinmetz and J. D. Reiss, "Steerable discovery of neural audio effects", 2021).
    """

    def __init__(
        self,
        effect: NeuralEffect,
        *,
        learning_rate: float = 5e-3,
        warmup_steps: int = 20,
        weights: Mapping[str, float] | None = None,
        total_steps: int = 1000,
    ) -> None:
        super().__init__()
        self.effect = effect
        self.distance = multi_resolution_stft()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps
        self.weights = {"stft": 1.0, "l1": 10.0} | dict(weights or {})

    def forward(self, crop: Crop) -> Tensor:
        """The effect's (B, C, T) of a batch, after what leads up to it."""
        u = self.effect.spec.default().expand(len(crop.dry), -1).to(crop.dry)
        return self.effect(crop.dry, u)[..., -crop.wet.shape[-1] :]

    def losses(self, y: Tensor, wet: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, unweighted."""
        return {"stft": self.distance(_mono(y), _mono(wet)), "l1": (y - wet).abs().mean()}

    def training_step(self, crop: Crop, _: int) -> Tensor:
        """Loss of one batch."""
        losses = self.losses(self(crop), crop.wet)
        self.log_losses(losses, len(crop.dry))
        return weighted(losses, self.weights)

    @torch.no_grad()
    def validation_step(self, crop: Crop, _: int) -> None:
        """Scores of the effect, and of no effect, on the held-out end of the pair."""
        untouched = crop.dry[..., -crop.wet.shape[-1] :]
        for name, y in (("model", self(crop)), ("dry", untouched)):
            scores = {"esr": error_to_signal(y, crop.wet), "stft_distance": self.distance(_mono(y), _mono(crop.wet))}
            self.log_scores(name, scores, len(crop.dry))

    def configure_optimizers(self) -> Any:
        """Adam with a linear warm-up and a cosine decay over ``total_steps``."""
        return optimizers(self.effect, self.learning_rate, self.warmup_steps, self.total_steps, weight_decay=0)

    @property
    def network(self) -> dict[str, Any]:
        """Its sample rate and sizes."""
        return {"sample_rate": self.effect.sample_rate, **self.effect.shape}


def _mono(y: Tensor) -> Tensor:
    """Channels as items of a batch, (B C, 1, T)."""
    return y.reshape(-1, 1, y.shape[-1])


class PairData(lightning.LightningDataModule):
    """Random crops of the first four fifths of a pair, numbered by step; the last fifth, all of it, to score by."""

    def __init__(self, pair: Pair, effect: NeuralEffect, seconds: float, batch_size: int, seed: int) -> None:
        super().__init__()
        first, last = pair.cut()
        before = effect.receptive_field - 1
        self.train = Crops(first, round(seconds * pair.sample_rate), before, seed)
        self.held_out = Crops(last, last.dry.shape[-1], before, None)
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return DataLoader(self.train, self.batch_size, sampler=numbers_ahead(self, self.batch_size))

    def val_dataloader(self) -> DataLoader[Any]:
        """The held-out end as one crop."""
        return DataLoader(self.held_out, 1)
