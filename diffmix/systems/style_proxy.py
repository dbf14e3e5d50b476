"""Neural proxies: networks that imitate the effects which style transfer sets, so that a gradient flows through them.

One run trains a network for each effect, on random settings of it; each has a loss and weights of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffmix.console import Console
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import CheckpointError
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.metrics import error_to_signal, stft_distance
from diffmix.metrics.style import DEEPAFX_FFT_SIZES
from diffmix.processors import Chain
from diffmix.systems.channel import description
from diffmix.systems.mixes import MixData
from diffmix.systems.style_pairs import Pieces, recordings_of
from diffmix.systems.style_rendering import Networks, columns_of, effect_parts, strip_chain
from diffmix.systems.training import OneNetwork, Training, optimizers
from diffmix.types import Path

FORMAT, VERSION = "diffmix-style-proxy", 1
QUIETER_DB = 12.0
"""Inputs peak at -24 to -12 dBFS."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/style_proxy.yaml`` describes.

    Raises SettingsError for a console whose strip is not filters with a compressor behind them.
    """
    data, options = config["data"], dict(config["system"])
    console = Console.from_layout(config["console"], data["sample_rate"])
    chain = strip_chain(console)
    torch.manual_seed(config["seed"])
    networks = Networks(chain, effect_parts(chain), **options.pop("network"))
    system = Imitations(networks, chain, total_steps=config["trainer"]["max_steps"], **options)
    train, held_out = (
        Settings(Pieces(recordings, sample_rate=data["sample_rate"], seconds=data["seconds"], seed=seed), chain)
        for recordings, seed in zip(recordings_of(data), (config["seed"], VALIDATION_SEED), strict=True)
    )

    def save(folder: Path, **card: Any) -> None:
        shape = {"console": description(console), "sample_rate": data["sample_rate"], "network": networks.sizes}
        write_model(folder, networks, {"format": FORMAT, "version": VERSION, **shape, **card})

    return Training(system, MixData.sized(data, train, held_out), save)


def load_proxies(folder: Path, console: Console) -> Networks:
    """Read what ``recipe=style_proxy`` wrote, frozen.

    Raises CheckpointError if it cannot be read, or if it imitates another strip than this console's, at another rate.
    """
    config, weights = read_model(folder, "neural proxies of effects", FORMAT, VERSION)
    if config.get("console") != (mine := description(console)):
        raise CheckpointError(f"{folder} imitates the strip {config.get('console')}, this console's is {mine}")
    if config.get("sample_rate") != console.sample_rate:
        raise CheckpointError(
            f"{folder} imitates effects at {config.get('sample_rate')} Hz, the data are at {console.sample_rate:g} Hz"
        )
    chain = strip_chain(console)
    with described(folder):
        networks = Networks(chain, effect_parts(chain), **config["network"])
    fill(networks, weights, folder)
    return networks.freeze()


class Played(NamedTuple):
    """Audio (1, T) and controls (P,) of the whole chain."""

    dry: Tensor
    u: Tensor


class Settings(Dataset[Played]):
    """Pieces with random settings of a chain; number i is always the same."""

    def __init__(self, pieces: Pieces, chain: Chain) -> None:
        self.pieces, self.size = pieces, chain.spec.size

    def __getitem__(self, index: int) -> Played:
        """Piece ``index``, up to 12 dB quieter."""
        rng = np.random.default_rng([self.pieces.seed, index, 1])
        quieter = 10 ** (-rng.uniform(0, QUIETER_DB) / 20)
        return Played(quieter * self.pieces[index], torch.from_numpy(rng.random(self.size)).float())


class Imitations(OneNetwork):
    """Networks that learn to sound as the effects, each by itself.

    Loss of each: multi-resolution STFT distance, of magnitudes and of their logarithms, and 100 times the mean absolute
    error to the effect's output y as 2 tanh(y / 2), so that boosted peaks do not rule it.
    """

    def __init__(
        self,
        networks: Networks,
        chain: Chain,
        *,
        learning_rate: float = 1e-3,
        warmup_steps: int = 20,
        weights: Mapping[str, float] | None = None,
        total_steps: int = 1000,
    ) -> None:
        super().__init__()
        self.networks, self.chain = networks, chain
        self.effects = {name: Chain(**{s: chain.stages[s] for s in stages}) for name, stages in networks.parts.items()}
        self.weights = {"stft": 1.0, "l1": 100.0} | dict(weights or {})
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps

    def played(self, batch: Played) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each effect what the network plays, and what it should, (B, 1, T) each."""
        found = {}
        for name, network in self.networks.networks.items():
            with torch.no_grad():
                played = self.effects[name](batch.dry, batch.u[:, columns_of(self.chain, self.networks.parts[name])])
            found[name] = network(batch.dry, batch.u[:, self.networks.columns[name]]), 2 * torch.tanh(played / 2)
        return found

    def training_step(self, batch: Played, _: int) -> Tensor:
        """The sum of the losses; no weight is in more than one."""
        total = batch.dry.new_zeros(())
        for name, (y, wanted) in self.played(batch).items():
            distance = stft_distance(y, wanted, DEEPAFX_FFT_SIZES, "magnitude").mean()
            error = (y - wanted).abs().mean()
            total = total + self.weights["stft"] * distance + self.weights["l1"] * error
            self.log_losses({f"{name}_stft": distance, f"{name}_l1": error}, len(batch.u))
        return total

    @torch.no_grad()
    def validation_step(self, batch: Played, _: int) -> None:
        """How far each network is from its effect, and how far the input is, on held-out recordings."""
        for name, (y, wanted) in self.played(batch).items():
            for who, heard in ((name, y), (f"{name}_left_out", batch.dry)):
                distance = stft_distance(heard, wanted, DEEPAFX_FFT_SIZES, "magnitude").mean()
                scores = {"esr": error_to_signal(heard, wanted), "stft_distance": distance}
                self.log_scores(who, scores, len(batch.u))

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine decay over ``total_steps``."""
        return optimizers(self.networks, self.learning_rate, self.warmup_steps, self.total_steps)

    @property
    def network(self) -> dict[str, Any]:
        """Sizes of the networks, and the effects and knobs that they are for."""
        return {"sizes": dict(self.networks.sizes), "parts": self.networks.parts, "knobs": self.chain.spec.to_dict()}
