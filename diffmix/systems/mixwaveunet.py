"""The Mix-Wave-U-Net: raw tracks to a mix in one network, without a console. A baseline that cannot be edited.

M. A. Martínez-Ramírez, D. Stoller and D. Moffat, "A deep learning approach to intelligent drum mixing with the
Wave-U-Net" (JAES 69, 2021).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from diffmix.data.audio import resample
from diffmix.data.multitrack import Multitrack
from diffmix.errors import AudioError
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.estimators.wave_unet import WaveUNet
from diffmix.kernels.units import db_to_gain
from diffmix.losses import SumDifferenceLoss
from diffmix.systems.mixes import (
    MIX_LUFS,
    MixData,
    Mixed,
    MixLoss,
    at_loudness,
    equally_loud,
    in_order,
    peak_gain_db,
)
from diffmix.systems.training import OneNetwork, Training, optimizers
from diffmix.types import Path

FORMAT, VERSION = "diffmix-mixwaveunet", 1
CHUNK_S = 10.0


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/mixwaveunet.yaml`` describes."""
    options, data = dict(config["system"]), config["data"]
    model = MixWaveUNet(data["sample_rate"], **options.pop("network"))
    system = BlackBoxMixer(model, total_steps=config["trainer"]["max_steps"], **options)
    inputs = model.network.inputs
    collate = partial(stacked, inputs=inputs, sample_rate=model.sample_rate)
    examples = MixData.from_config(data, model.sample_rate, config["seed"], collate, max_channels=inputs)
    return Training(system, examples, model.save)


class MixWaveUNet(nn.Module):
    """A song of at most ``inputs`` channels to a mix, at a sample rate of its own.

    Tracks come in the order of their roles, each channel to a peak of -12 dBFS; a stereo track takes two inputs; inputs
    that are left are silent.
    """

    def __init__(self, sample_rate: int = 44100, *, inputs: int = 8, levels: int = 6, step: int = 8) -> None:
        """An untrained network: the paper's has 12 levels in steps of 24 channels. Errors as of `WaveUNet`."""
        super().__init__()
        self.sample_rate = int(sample_rate)
        self.shape = {"inputs": inputs, "levels": levels, "step": step}
        self.network = WaveUNet(**self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, I, T), as `inputs_of` makes them, to (B, 2, T)."""
        return self.network(x)

    @torch.no_grad()
    def mix(self, multitrack: Multitrack, chunk_s: float = CHUNK_S) -> Tensor:
        """The mix (2, T) of a song of any length and sample rate, at -16 LUFS.

        It is made in chunks of about ``chunk_s`` seconds, each with as much around it as the network hears, so that
        their length changes nothing but the rounding of sums. Raises AudioError for more channels than inputs.
        """
        rate = multitrack.sample_rate
        ordered = [resample(t.audio, rate, self.sample_rate) for t in in_order(multitrack.tracks)]
        if (count := sum(map(len, ordered))) > self.network.inputs:
            raise AudioError(
                f"{multitrack.name}: {count} channels, of which a stereo track has two; this network takes "
                f"{self.network.inputs}"
            )
        was_training = self.training
        self.eval()
        y = in_chunks(self.network, inputs_of(ordered, self.network.inputs)[None], round(chunk_s * self.sample_rate))
        self.train(was_training)
        y = resample(y, self.sample_rate, rate)[..., : multitrack.length]
        return at_loudness(pad(y, (0, multitrack.length - y.shape[-1])), rate, MIX_LUFS)[0]

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, sample rate, ``card``) and ``model.safetensors``, whole or not at all."""
        config = {"format": FORMAT, "version": VERSION, "sample_rate": self.sample_rate, "network": self.shape}
        write_model(folder, self, {**config, **card})

    @classmethod
    def load(cls, folder: Path) -> "MixWaveUNet":
        """Read what `save` wrote. Raises CheckpointError if a file is missing or broken, or of another format."""
        config, weights = read_model(folder, "a Mix-Wave-U-Net", FORMAT, VERSION)
        with described(folder):
            model = cls(config["sample_rate"], **config["network"])
        fill(model, weights, folder)
        return model.eval()


def in_chunks(network: WaveUNet, x: Tensor, chunk: int) -> Tensor:
    """``network(x)`` of audio (B, I, T) in pieces of about ``chunk`` samples: the same but for rounding.

    Pieces begin where the network's halved samples fall on the same times as in the whole, and carry its reach on
    either side.
    """
    multiple = network.multiple
    around, size = -(-network.reach // multiple) * multiple, max(1, round(chunk / multiple)) * multiple
    found = []
    for start in range(0, x.shape[-1], size):
        first = max(0, start - around)
        y = network(x[..., first : start + size + around])
        found.append(y[..., start - first : start - first + size])
    return torch.cat(found, -1)


def inputs_of(tracks: Sequence[Tensor], inputs: int) -> Tensor:
    """Tracks (C, T) as inputs (I, T): channel after channel, each at a peak of -12 dBFS, then silence."""
    x = torch.cat(list(tracks))
    x = x * db_to_gain(peak_gain_db(x[:, None]))[:, None]
    return pad(x, (0, 0, 0, inputs - len(x)))


class Batch(NamedTuple):
    """Inputs (B, I, T), the mixes (B, 2, T), and the mixes of all tracks at one loudness (B, 2, T)."""

    inputs: Tensor
    mix: Tensor
    equal_loudness: Tensor


def stacked(examples: Sequence[Mixed], *, inputs: int, sample_rate: float) -> Batch:
    """Examples of at most ``inputs`` channels as a batch.

    Raises AudioError for examples of more: real songs may have to be bounced to fewer tracks.
    """
    return Batch(
        torch.stack([inputs_of(e.tracks, inputs) for e in examples]),
        torch.stack([e.mix for e in examples]),
        torch.stack([equally_loud(e.tracks, sample_rate) for e in examples]),
    )


class BlackBoxMixer(OneNetwork):
    """Learns to make the examples' mixes, at the loudness they have; scores compare mixes at one loudness."""

    def __init__(
        self,
        model: MixWaveUNet,
        *,
        learning_rate: float = 2e-3,
        warmup_steps: int = 20,
        weights: Mapping[str, float] | None = None,
        fft_sizes: Sequence[int] = (4096, 1024, 256),
        total_steps: int = 1000,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = MixLoss(weights or {"l1": 1.0}, fft_sizes, model.sample_rate)
        self.distance = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        losses = self.loss(self.model(batch.inputs).float(), batch.mix)
        self.log_losses(losses, len(batch.mix))
        return self.loss.total(losses)

    @torch.no_grad()
    def validation_step(self, batch: Batch, _: int) -> None:
        """Scores of the model, and of equal loudness, on held-out examples."""
        for name, mix in (("model", self.model(batch.inputs).float()), ("equal_loudness", batch.equal_loudness)):
            distance = self.distance(at_loudness(mix, self.model.sample_rate), batch.mix)
            self.log_scores(name, {"stft_distance": distance}, len(mix))

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine decay over ``total_steps``."""
        return optimizers(self.model, self.learning_rate, self.warmup_steps, self.total_steps)

    @property
    def network(self) -> dict[str, Any]:
        """The model's sample rate and sizes."""
        return {"sample_rate": self.model.sample_rate, **self.model.shape}
