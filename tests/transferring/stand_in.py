"""Recordings, and a translator that always believes the same."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.estimators.translator import Harm, Posterior
from diffmix.estimators.treatment import EQ_HZ, SIZE, Knobs, Treatment

RATE = 24_000
Audio = NDArray[np.float32]


@cache
def song(seconds: float = 6.0, rate: int = RATE, seed: int = 0, channels: int = 2) -> Audio:
    """Beats of coloured noise over a chord, (channels, T), about -18 LUFS."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    t = np.arange(samples) / rate
    spectrum = np.fft.rfft(rng.standard_normal((channels, samples)))
    hz = np.fft.rfftfreq(samples, 1 / rate)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 40)), samples)
    beats = np.zeros(samples)
    for start in np.cumsum(rng.uniform(0.12, 0.4, round(4 * seconds))):
        beats += np.exp(-12 * np.maximum(t - start, 0)) * (t >= start) * rng.uniform(0.3, 1)
    notes = sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in rng.uniform(100, 900, 5))
    x = noise / noise.std() * (0.05 + beats) + 0.05 * notes
    found: Audio = (0.5 * x / abs(x).max()).astype(np.float32)
    return found


def treatment(
    eq: float = 5.0, threshold_db: float = -28.0, ratio: float = 2.5, extras: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> Treatment:
    """A tilt of ``eq`` dB, a compressor, and extras."""
    hz = torch.tensor(EQ_HZ)
    knobs = Knobs(*(torch.tensor(v) for v in (threshold_db, ratio, 10.0, 120.0)))
    return Treatment.of(eq * torch.tanh((hz / 800).log2() / 2), knobs, torch.tensor(extras))


class StandIn:
    """Believes in one treatment, more or less surely."""

    def __init__(self, median: Treatment, scale: float = 0.1) -> None:
        self.median, self.scale = median, scale
        self.asked: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def predict(
        self, inputs: Tensor, references: Tensor, weights: Tensor | None = None, domain: str = "auto"
    ) -> Posterior:
        """The same for whatever is heard."""
        self.asked.append((inputs, references, weights))
        residuals = torch.randn(60, SIZE, generator=torch.Generator().manual_seed(1))
        scale = Treatment.from_vector(torch.full((SIZE,), self.scale))
        return Posterior(self.median, scale, residuals, "music", Harm((0.5, 1.0), (0.03, 0.2)))


class Brightness:
    """An embedding that knows one thing: how much of a sound lies above 2 kHz."""

    sample_rate = 16_000

    def audio(self, x: Tensor) -> Tensor:
        power = torch.fft.rfft(x).abs().square()
        high = power[:, power.shape[1] // 4 :].sum(1) / power.sum(1)
        angle = 3 * high.sqrt()
        return torch.stack([angle.cos(), angle.sin()], 1)

    def text(self, words: Sequence[str]) -> Tensor:
        return torch.tensor([[-1.0, 0.1] if "bright" in text else [1.0, 0.0] for text in words])
