"""Four stems to a mix by a network that was trained on effect-normalised stems."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffmix.data import normalise as effects
from diffmix.data.multitrack import Multitrack
from diffmix.data.normalise import CLASSES, TREATMENTS, Averages, reverberated, stems_of
from diffmix.errors import AudioError, SettingsError
from diffmix.estimators.crafx import CRAFx
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.types import Path

FORMAT, VERSION = "diffmix-stem-mixer", 1
PIECE_S = 10.0


class StemMixer(nn.Module):
    """Normalises the stems of a song (vocals, bass, drums, other) and mixes them; it has no knobs.

    Args:
        averages: of each class of stems, at ``sample_rate``; None for those that `load` brings.
        sample_rate: Hz; it works at no other.
        network: arguments of `CRAFx`.
    """

    def __init__(self, averages: Mapping[str, Averages] | None, sample_rate: int, **network: Any) -> None:
        super().__init__()
        self.sample_rate, self.shape = sample_rate, dict(network)
        self.net = CRAFx(len(CLASSES), **network)
        empty = effects.empty_averages(sample_rate)
        for stem in CLASSES:
            found = averages[stem] if averages else empty
            for name, value in found._asdict().items():
                if value.shape != getattr(empty, name).shape:
                    raise SettingsError(f"averages of {stem}: {name} is not of {sample_rate} Hz")
                self.register_buffer(f"{stem}_{name}", value.float().clone())  # not one for all

    def averages(self, stem: str) -> Averages:
        """The averages that stems of a class are brought to."""
        return Averages(*(getattr(self, f"{stem}_{name}") for name in Averages._fields))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised stems (B, 8, T) to a mix (B, 2, T)."""
        return self.net(x)

    def normalised(self, stems: Mapping[str, Tensor]) -> Tensor:
        """Stems (2, T) each as the network takes them, (8, T)."""
        rate = self.sample_rate
        return torch.cat([effects.normalise(stems[c], rate, self.averages(c), TREATMENTS[c]) for c in CLASSES])

    @torch.no_grad()
    def mix(self, multitrack: Multitrack, reverb: bool = False, seed: int = 0) -> Tensor:
        """The mix (2, T) of a song, whose tracks are summed to stems by role.

        ``reverb`` gives dry vocals and others a room before they are normalised, as the stems that were learned from
        had one. The song is mixed in overlapping pieces of 10 s. Raises AudioError for tracks at another rate.
        """
        if multitrack.sample_rate != self.sample_rate:
            raise AudioError(f"the model works at {self.sample_rate} Hz, the tracks are at {multitrack.sample_rate} Hz")
        stems = stems_of(multitrack)
        if reverb:
            wet = [c for c in CLASSES if TREATMENTS[c].reverb and bool(stems[c].any())]
            stems |= {c: reverberated(stems[c], self.sample_rate, seed, 0.5, 0.5) for c in wet}
        return self._in_pieces(self.normalised(stems))

    def _in_pieces(self, x: Tensor) -> Tensor:
        """The network's mix of (8, T), each piece faded into the next over half of it."""
        half, length = round(PIECE_S / 2 * self.sample_rate), x.shape[1]
        if length <= 2 * half:
            return self(x[None])[0]
        y, total = torch.zeros(2, length), torch.zeros(length)
        guard = self.net.guard
        for start in range(0, length - half, half):
            end = min(start + 2 * half, length)
            first, last = max(0, start - guard), min(length, end + guard)
            piece = self(x[None, :, first:last])[0, :, start - first : end - first]
            weight = 1e-3 + 1 - ((torch.arange(end - start) - half).abs() / half).clamp(max=1)
            y[:, start:end] += weight * piece
            total[start:end] += weight
        return y / total

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, ``card``) and ``model.safetensors`` (weights, averages), whole or not."""
        write_model(folder, self, {"format": FORMAT, "version": VERSION, **self.description, **card})

    @property
    def description(self) -> dict[str, Any]:
        """Plain data of which the untrained model is made."""
        return {"sample_rate": self.sample_rate, "network": self.shape}

    @classmethod
    def load(cls, folder: Path) -> "StemMixer":
        """Read what `save` wrote. Raises CheckpointError if a file is missing or broken."""
        config, weights = read_model(folder, "a stem mixer", FORMAT, VERSION)
        with described(folder):
            model = cls(None, config["sample_rate"], **config["network"])
        fill(model, weights, folder)
        return model.eval()
