"""Training of style transfer of recordings, by every method of DeepAFx-ST."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from diffmix.console import Console
from diffmix.errors import CheckpointError, SettingsError
from diffmix.metrics import stft_distance
from diffmix.metrics.style import DEEPAFX_FFT_SIZES, style_errors
from diffmix.params import ParamSpec
from diffmix.processors.black_box import EpsilonScheduler
from diffmix.systems.rule_based import rule_based
from diffmix.systems.style_pairs import StylePair, data_from
from diffmix.systems.style_proxy import load_proxies
from diffmix.systems.style_rendering import BlackChain, Networks
from diffmix.systems.style_transfer import StyleTransfer
from diffmix.systems.training import OwnSpecs, Training, weighted

DROPS = (0.8, 0.95)
"""Shares of a run after which the learning rate falls to a tenth."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/style_transfer.yaml`` describes.

    Raises SettingsError for a console that it cannot set or a method without what it needs, CheckpointError for
    networks that imitate other effects.
    """
    options, data = dict(config["system"]), config["data"]
    method, proxy, network = options.pop("method"), options.pop("proxy"), options.pop("network")
    console = Console.from_layout(config["console"], data["sample_rate"])
    proxies = None
    if method in ("np", "np_hh", "np_fh"):
        if not proxy:
            raise SettingsError(f"system.method={method} needs proxy=FOLDER, the model that recipe=style_proxy wrote")
        proxies = load_proxies(proxy, console)
        network = proxies.sizes
    shape = {"encoder": options.pop("encoder"), "hidden": options.pop("hidden"), "network": network}
    torch.manual_seed(config["seed"])  # one start, whatever was made before
    model = StyleTransfer(console, data["sample_rate"], data["seconds"], method=method, **shape)
    system = DeepAFx(model, proxies, total_steps=config["trainer"]["max_steps"], seed=config["seed"], **options)
    return Training(system, data_from(data, config["seed"]), model.save)


class DeepAFx(OwnSpecs):
    """Learns to make one half of a recording sound as the other, which was treated in some way.

    Loss: multi-resolution STFT distance, of magnitudes and of their logarithms, and 100 times the mean absolute error.

    Args:
        model: what learns.
        proxies: the frozen networks through which the methods ``np``, ``np_hh`` and ``np_fh`` get their gradient.
        learning_rate: of Adam, after a linear warm-up; a tenth of it after each of `DROPS` of ``total_steps``.
        warmup_steps: of the learning rate.
        weights: of ``stft`` and ``l1``.
        fft_sizes: resolutions of the STFT distance.
        spsa: ``epsilon``, ``perturbations``, ``slower`` (by what the learning rate is divided), ``patience`` (epochs
            without a lower loss after which epsilon is halved, 0: never) and ``epoch`` in steps.
        total_steps: length of the run.
        seed: of what is drawn while training.
    """

    def __init__(
        self,
        model: StyleTransfer,
        proxies: Networks | None = None,
        *,
        learning_rate: float = 1e-3,
        warmup_steps: int = 20,
        weights: Mapping[str, float] | None = None,
        fft_sizes: Sequence[int] = DEEPAFX_FFT_SIZES,
        spsa: Mapping[str, Any] | None = None,
        total_steps: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.seed, self.total_steps = model, seed, total_steps
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.weights = {"stft": 1.0, "l1": 100.0} | dict(weights or {})
        self.fft_sizes = tuple(fft_sizes)
        self.spsa = {"epsilon": 5e-4, "perturbations": 1, "slower": 10.0, "patience": 0, "epoch": 100} | dict(
            spsa or {}
        )
        self.proxies = proxies.freeze() if proxies else None
        if proxies and model.networks:  # of method np the networks are part of what is learned, and saved with it
            model.networks.load_state_dict(proxies.state_dict())
        self.box, self.schedule = None, None
        if model.method == "spsa":
            self.learning_rate /= self.spsa["slower"]
            settings = {name: self.spsa[name] for name in ("epsilon", "perturbations")}
            self.box = BlackChain(model.chain, seed=seed, **settings)
            if self.spsa["patience"]:
                self.schedule = EpsilonScheduler(self.box, patience=self.spsa["patience"])
        self._losses: list[float] = []

    def forward(self, pair: StylePair) -> Tensor:
        """The controls that the model chooses for a batch."""
        return self.model(pair.input, pair.reference)

    def rendered(self, x: Tensor, u: Tensor) -> Tensor:
        """Audio x (B, 1, T) through what the method has in training, with controls u (B, P)."""
        if self.box is not None:
            return self.box(x, u)
        if self.model.networks is not None:
            return self.model.networks(x, u)
        if self.proxies is None:
            return self.model.chain(x, u)
        y = self.proxies(x, u)
        if self.model.method == "np_fh":
            with torch.no_grad():
                played = self.model.chain(x, u)
            return y + (played - y).detach()
        return y

    def on_train_batch_start(self, *_: Any) -> None:
        """What is drawn in a step follows from its number, so that a resumed run goes on as if it had not stopped."""
        torch.manual_seed((self.seed << 32) + self.global_step)

    def training_step(self, pair: StylePair, _: int) -> Tensor:
        """Loss of one batch."""
        losses = self.losses(pair, self(pair))
        self.log_losses(losses, len(pair.input))
        total = weighted(losses, self.weights)
        self._epochs(float(total.detach()))
        return total

    def losses(self, pair: StylePair, u: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, unweighted."""
        with torch.autocast(self.device.type, enabled=False):  # audio stays in float32
            y = self.rendered(pair.input, u.float())
            distance = stft_distance(y, pair.target, self.fft_sizes, "magnitude").mean()
            return {"stft": distance, "l1": (y - pair.target).abs().mean()}

    def _epochs(self, loss: float) -> None:
        """Tell the schedule of epsilon the mean loss of each epoch."""
        if self.schedule is None:
            return
        self._losses.append(loss)
        if len(self._losses) >= self.spsa["epoch"]:
            self.schedule.step(sum(self._losses) / len(self._losses))
            self._losses.clear()

    @torch.no_grad()
    def validation_step(self, pair: StylePair, _: int) -> None:
        """Scores of the model, of the rule and of the untouched input, on held-out recordings."""
        rate = self.model.console.sample_rate
        u = self(pair)
        rule = [rule_based(x.cpu(), r.cpu(), rate) for x, r in zip(pair.input, pair.reference, strict=True)]
        made = {"model": self.model.play(pair.input, u), "rule_based": torch.stack(rule).to(u), "input": pair.input}
        for name, y in made.items():
            scores = {k: v.mean() for k, v in style_errors(y, pair.target, rate).items()}
            self.log_scores(name, scores, len(pair.input))

    def configure_optimizers(self) -> Any:
        """Adam with a linear warm-up; the learning rate falls to a tenth twice near the end."""
        learned = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, self.learning_rate)

        def factor(step: int) -> float:
            warm = min(1.0, 0.05 + 0.95 * step / max(1, self.warmup_steps))
            return float(warm * 0.1 ** sum(step >= share * self.total_steps for share in DROPS))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    @property
    def specs(self) -> Mapping[str, ParamSpec]:
        """The parameters by part."""
        return self.model.console.specs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the parameters' declarations, the method and the schedule of epsilon with the weights."""
        super().on_save_checkpoint(checkpoint)
        schedule = None if self.schedule is None else self.schedule.state_dict()
        checkpoint |= {"method": self.model.method, "spsa": schedule, "losses": list(self._losses)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another method or of other parameters, naming the differing lines."""
        super().on_load_checkpoint(checkpoint)
        if checkpoint.get("method") != self.model.method:
            raise CheckpointError(
                f"the checkpoint is of method {checkpoint.get('method')}, this run's is {self.model.method}"
            )
        if self.schedule is not None and checkpoint["spsa"]:
            self.schedule.load_state_dict(checkpoint["spsa"])
        self._losses = list(checkpoint["losses"])
