"""The last effects of a mix: a true-peak limiter and loudness normalisation."""

from typing import Literal

from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.gain_curve import amplitude
from diffmix.kernels.limiter import limiter, limiter_latency
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.kernels.units import per_sample
from diffmix.params import Param
from diffmix.processors.base import Processor
from diffmix.types import Numbers, Ranges


class TruePeakLimiter(Processor):
    """Keeps the waveform, between the samples too, under a ceiling: one gain for all channels, with look-ahead.

    Peaks are known from four times oversampling and interpolation: measured at 16 times, noise of the full bandwidth
    passed the ceiling by at most 0.16 dB; a meter after BS.1770-4 sees less than 0.01 dB of it.
    """

    pedalboard = False
    uncarried = "its BrickwallLimiter moves the gain otherwise; that effect is here too, and exports."
    ceiling_db = Param(-24, 0, -1, "dB", doc="the highest level of the waveform, in dBTP", modulatable=True)
    release_ms = Param(1, 2000, 100, "ms", "log", "time constant of the gain's return", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        lookahead_ms: float = 5.0,
    ) -> None:
        """Arguments as for `Processor`, and the time in which the gain comes down, 0.1..50 ms."""
        super().__init__(sample_rate, ranges, precision)
        if not 0.1 <= lookahead_ms <= 50:
            raise SettingsError(f"lookahead_ms = {lookahead_ms:g} ms, allowed 0.1..50 ms")
        self.lookahead = max(2, round(lookahead_ms * sample_rate / 1000))

    def process(self, x: Tensor, *, ceiling_db: Tensor, release_ms: Tensor) -> Tensor:
        """Audio x (B, C, T); each value (B,) or (B, T)."""
        return limiter(x, ceiling_db, release_ms, self.sample_rate, self.lookahead)

    def latency_samples(self, values: Numbers) -> int:
        """The look-ahead and the oversampling filter's delay."""
        return limiter_latency(self.lookahead)


class LoudnessNormaliser(Processor):
    """One gain that brings the integrated loudness (ITU-R BS.1770-4) of each item to a target.

    With a ceiling the gain is no higher than brings the true peak there: the loudness may then stay under the target.
    Silence stays silence.
    """

    pedalboard = False
    streams = False
    uncarried = "the gain follows from the whole signal; its value exports as a Gain."
    target_lufs = Param(-40, -5, -14, "LUFS", doc="integrated loudness of the result")

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        ceiling_db: float | None = None,
    ) -> None:
        """Arguments as for `Processor`, and the highest true peak in dBTP, -60..0, or None."""
        super().__init__(sample_rate, ranges, precision)
        if ceiling_db is not None and not -60 <= ceiling_db <= 0:
            raise SettingsError(f"ceiling_db = {ceiling_db:g} dB, allowed -60..0 dB, or None")
        self.ceiling_db = ceiling_db

    def gain_db(self, x: Tensor, target_lufs: Tensor) -> Tensor:
        """What x (B, C, T) is amplified by, in dB (B,)."""
        gain = target_lufs - integrated_loudness(x, self.sample_rate)
        return gain if self.ceiling_db is None else gain.minimum(self.ceiling_db - true_peak_db(x, self.sample_rate))

    def process(self, x: Tensor, *, target_lufs: Tensor) -> Tensor:
        """Audio x (B, C, T), mono or stereo; target_lufs (B,)."""
        return x * per_sample(amplitude(self.gain_db(x, target_lufs)))
