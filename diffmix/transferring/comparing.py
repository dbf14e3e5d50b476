"""Before and after at one loudness: the louder of two is nearly always liked better."""

import numpy as np
import torch
from torch import Tensor

from diffmix.data.audio import WavWriter
from diffmix.kernels.loudness import integrated_loudness
from diffmix.types import Path

_PIECE = 1 << 20


def level_matched(before: Tensor, after: Tensor, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Both recordings (2, T), equally loud: the louder one is turned down."""
    loud = [float(integrated_loudness(x[None], sample_rate)) for x in (before, after)]
    quiet = min(loud)
    first, second = ((x * 10 ** ((quiet - level) / 20)).numpy() for x, level in zip((before, after), loud, strict=True))
    return first, second


def write_before(file: Path, before: Tensor, gain_db: float, sample_rate: int) -> None:
    """Write a recording (2, T) with a gain, that of the loudness which was made of it."""
    gain = 10 ** (gain_db / 20)
    writer = WavWriter(file, sample_rate, 2, gain * max(abs(float(end)) for end in before.aminmax()))
    for start in range(0, before.shape[-1], _PIECE):
        writer.write(torch.as_tensor(gain * before[:, start : start + _PIECE]))
    writer.close()
