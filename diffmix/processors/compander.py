"""A compressor and an expander in one whose gain is smoothed, not the level that it follows."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import SettingsError
from diffmix.kernels import stream
from diffmix.kernels.ballistics import ballistics, delayed, expansion_db, gain_computer, held, memory, power_db
from diffmix.kernels.gain_curve import amplitude
from diffmix.kernels.units import per_sample
from diffmix.params import Param
from diffmix.processors.base import Processor
from diffmix.types import Numbers, Ranges

QUIETEST_DB = -80.0
"""The level that anything quieter is taken for."""


class Compander(Processor):
    """Compressor and downward expander with hard knees and one gain g, smoothed as a factor.

    With p the running mean of the power over ``average_ms``, f the factor of the static curve at that level, the lower
    one of compressor and expander, and k the memory of the attack where the gain falls and of the release elsewhere,

        g_n = f_n + k (g_{n-1} - f_n),   g_{-1} = 1.

    The level is nearly instantaneous as a rule, so that the gain settles between those of the wave's crests and of its
    zeros. It is the compressor of C.-Y. Yu et al., "Differentiable all-pole filters for time-varying audio systems"
    (DAFx 2024), published as torchcomp, whose times are 2.2 of the constants here.
    """

    neutral = True
    pedalboard = False
    uncarried: ClassVar[str] = "its Compressor smooths the level, and its NoiseGate has no ratio in this sense."
    threshold_db = Param(-60, 0, 0, "dB", doc="above it the compressor works", modulatable=True)
    ratio = Param(1, 20, 1, ":1", "log", "input dB per output dB above the threshold", modulatable=True)
    expander_threshold_db = Param(-80, 0, -50, "dB", doc="below it the expander works", modulatable=True)
    expander_ratio = Param(1, 20, 1, ":1", "log", "output dB per input dB below its threshold", modulatable=True)
    average_ms = Param(0.01, 100, 0.1, "ms", "log", "time constant of the mean power", modulatable=True)
    attack_ms = Param(0.05, 500, 10, "ms", "log", "time constant of a falling gain", modulatable=True)
    release_ms = Param(0.5, 2000, 50, "ms", "log", "time constant of a rising gain", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        link: bool = True,
        lookahead_ms: float = 0.0,
    ) -> None:
        """An effect at ``sample_rate`` in Hz.

        Args:
            sample_rate: in Hz.
            ranges: narrower ranges by parameter name.
            precision: of the computation.
            link: one gain for all channels, from their mean power, or one for each.
            lookahead_ms: by how much the gain is ahead of the signal, rounded to samples, 0..100 ms.
        """
        super().__init__(sample_rate, ranges, precision)
        if not 0 <= lookahead_ms <= 100:
            raise SettingsError(f"lookahead_ms = {lookahead_ms:g} ms, allowed 0..100 ms")
        self.link = link
        self.lookahead = round(lookahead_ms * sample_rate / 1000)

    def latency_samples(self, values: Numbers) -> int:
        """The look-ahead."""
        return self.lookahead

    def process(
        self,
        x: Tensor,
        *,
        threshold_db: Tensor,
        ratio: Tensor,
        expander_threshold_db: Tensor,
        expander_ratio: Tensor,
        average_ms: Tensor,
        attack_ms: Tensor,
        release_ms: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T); each value (B,) or (B, T)."""
        late = 0 if stream.is_streaming() else self.lookahead
        times = (held(v, late) for v in (average_ms, attack_ms, release_ms))
        average, attack, release = (memory(v, self.sample_rate) for v in times)
        settings = threshold_db, ratio, expander_threshold_db, expander_ratio
        power = pad(x, (0, late)).square().clamp_min(10 ** (QUIETEST_DB / 10))
        if self.link:
            power = power.mean(1, keepdim=True)
        level = power_db(ballistics(power, average, average))
        target = amplitude(_curve(level, *(per_sample(held(v, late)) for v in settings)))
        gain = 1 - ballistics(1 - target, attack, release)
        return delayed(x, self.lookahead) * gain if stream.is_streaming() else x * gain[..., late:]

    def gain_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Gain in dB at a steady power of a level in dB, same shape."""
        names = "threshold_db", "ratio", "expander_threshold_db", "expander_ratio"
        settings = (level_db.new_tensor(values[n]) for n in names)
        return _curve(level_db.clamp_min(QUIETEST_DB), *settings)

    def curve_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Output level in dB of a steady input power of a level in dB, same shape."""
        return level_db + self.gain_db(level_db, values)


def _curve(level: Tensor, threshold: Tensor, ratio: Tensor, below: Tensor, expander_ratio: Tensor) -> Tensor:
    """Gain in dB: that of whichever takes more away."""
    corner = torch.zeros_like(level)
    compressed = gain_computer(level, threshold, ratio, corner)
    return torch.minimum(compressed, expansion_db(level, below, expander_ratio, corner, corner + float("inf")))
