"""Training of a mixer from finished stems, whose effects are normalised first (FxNorm-automix)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import SettingsError
from diffmix.losses import StereoInvariantLoss, SumDifferenceLoss
from diffmix.systems.mixes import MixData, at_loudness, songs_of
from diffmix.systems.normalised_stems import NormalisedStems, StemBatch, StemExamples
from diffmix.systems.stem_mixer import StemMixer
from diffmix.systems.training import OneNetwork, Training

DECAY = ((150, 1.0), (50, 1 / 3), (50, 1 / 10), (25, 1 / 30), (25, 1 / 100), (10, 1 / 1000))
"""Parts of a run, of 310, and what the learning rate is multiplied by: the paper's."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/fxnorm.yaml`` describes; stems are normalised now unless they are cached."""
    options, data = dict(config["system"]), config["data"]
    network = options.pop("network")
    rate = data["sample_rate"]
    train, held_out = songs_of(data, rate)
    stored = NormalisedStems.made(train, held_out, data, config["seed"])
    model = StemMixer(stored.averages, rate, **network)
    system = FxNorm(model, total_steps=config["trainer"]["max_steps"], seed=config["seed"], **options)
    length = round(data["seconds"] * rate)
    examples = MixData.sized(
        data,
        StemExamples(stored.train, length, config["seed"], swap=True),
        StemExamples(stored.held_out, length, VALIDATION_SEED, swap=False),
    )
    return Training(system, examples, model.save)


class FxNorm(OneNetwork):
    """Learns to mix normalised stems as the mix that they were taken from.

    In the first ``pretrain_steps`` the filter bank learns to give back what it gets (mean absolute error). After that
    the loss is `StereoInvariantLoss`, without the ends that lack context. Every ``evaluate_every`` steps the held-out
    examples are heard, and what did best on them is kept: trained on a hundred songs the network forgets how to mix
    others after some hours. After ``patience`` evaluations without a better one the run ends (0: never).

    Args:
        model: what learns.
        loss: ``"La"`` or ``"Lb"``.
        learning_rate: of Adam (AMSGrad), with a linear warm-up of ``warmup_steps`` and the steps of ``DECAY``.
        warmup_steps, pretrain_steps, evaluate_every, patience: see above.
        total_steps: length of the run.
        seed: of the dropout.
    """

    def __init__(
        self,
        model: StemMixer,
        *,
        loss: Literal["La", "Lb"] = "Lb",
        learning_rate: float = 1e-3,
        warmup_steps: int = 20,
        pretrain_steps: int = 50,
        evaluate_every: int = 25,
        patience: int = 0,
        total_steps: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if evaluate_every < 1 or min(patience, pretrain_steps, warmup_steps) < 0:
            raise SettingsError("evaluate_every is 1 or more; patience, pretrain_steps and warmup_steps are 0 or more")
        self.model, self.seed = model, seed
        self.distance = StereoInvariantLoss(model.sample_rate, loss, model.net.guard)
        self.sides = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.pretrain_steps = learning_rate, warmup_steps, pretrain_steps
        self.evaluate_every, self.patience, self.total_steps = evaluate_every, patience, total_steps
        self.best: dict[str, Tensor] = {}
        self.heard: dict[int, float] = {}

    def forward(self, batch: StemBatch) -> Tensor:
        """The mix of a batch."""
        return self.model(batch.stems)

    def training_step(self, batch: StemBatch, _: int) -> Tensor:
        """Loss of one batch."""
        if self.global_step < self.pretrain_steps:
            loss = (self.model.net.reconstruction(batch.stems) - batch.stems).abs().mean()
        else:
            loss = self.distance(self(batch), batch.mix)
        self.log_losses({"loss": loss}, len(batch.mix))
        return loss

    def on_train_batch_start(self, *_: Any) -> None:
        """Hear the held-out examples when it is time.

        What dropout drops follows from the step, so that a resumed run goes on as if it had not stopped.
        """
        if self.global_step > self.pretrain_steps and self.global_step % self.evaluate_every == 0:
            self._evaluate()
        torch.manual_seed((self.seed << 32) + self.global_step)

    def on_train_end(self) -> None:
        """End with what did best on the held-out examples."""
        self._evaluate()
        if self.best:
            self.model.load_state_dict(self.best)

    @torch.no_grad()
    def _evaluate(self) -> None:
        step = self.global_step
        if step in self.heard:
            return
        was_training = self.model.training
        self.model.eval()
        loader = self.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        losses = []
        for batch in loader:
            batch = StemBatch(*(x.to(self.device) for x in batch))
            losses.append(float(self.distance(self(batch), batch.mix)))
        self.model.train(was_training)
        loss = sum(losses) / len(losses)
        if loss < min(self.heard.values(), default=float("inf")):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.heard[step] = loss
        since = list(self.heard.values())
        if self.patience and len(since) - 1 - since.index(min(since)) >= self.patience:
            self.trainer.should_stop = True

    @torch.no_grad()
    def validation_step(self, batch: StemBatch, _: int) -> None:
        """Scores of the model, and of the sum of the normalised stems at equal and at their classes' loudness."""
        rate, stems = self.model.sample_rate, batch.stems.unflatten(1, (-1, 2))
        alike = at_loudness(stems.flatten(0, 1), rate).unflatten(0, stems.shape[:2])
        sounding = stems.square().mean((2, 3), keepdim=True) > 1e-10
        mixes = {"model": self(batch), "equal_loudness": (alike * sounding).sum(1), "plain_sum": stems.sum(1)}
        target = at_loudness(batch.mix, rate)
        for name, mix in mixes.items():
            mix = at_loudness(mix, rate)
            scores = {"loss": self.distance(mix, target), "stft_distance": self.sides(mix, target)}
            self.log_scores(name, scores, len(batch.mix))

    def configure_optimizers(self) -> Any:
        """Adam, AMSGrad, with the paper's steps of the learning rate, as parts of ``total_steps``."""
        optimizer = torch.optim.Adam(self.model.parameters(), self.learning_rate, weight_decay=1e-7, amsgrad=True)
        ends = np.cumsum([part for part, _ in DECAY]) / sum(part for part, _ in DECAY)

        def factor(step: int) -> float:
            place = int(np.searchsorted(ends, step / self.total_steps, "right"))
            return min(1.0, (step + 1) / (self.warmup_steps + 1)) * DECAY[min(place, len(DECAY) - 1)][1]

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def network(self) -> dict[str, Any]:
        """The model's sizes and sample rate."""
        return self.model.description

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what did best so far, and how well, too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["best"], checkpoint["heard"] = self.best, self.heard

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what did best; refuse a checkpoint of another network."""
        super().on_load_checkpoint(checkpoint)
        self.best, self.heard = checkpoint["best"], checkpoint["heard"]
