"""Dynamics: compressor, gate and limiters that Pedalboard has too."""

from typing import ClassVar, Literal

from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.brickwall import LONGEST_MS, brickwall, lookahead_samples
from diffmix.kernels.dynamics import compressor, limiter, noise_gate, static_curve_db
from diffmix.params import Param
from diffmix.processors.base import Processor
from diffmix.types import Numbers, Ranges


class Compressor(Processor):
    """Peak compressor with attack and release on the level, hard knee. Twin of ``pedalboard.Compressor``.

    As there, the times are those of a 99.8 % step response (2 pi time constants), channels are not linked and
    there is no make-up gain.
    """

    neutral = True
    threshold_db = Param(-60, 0, 0, "dB", doc="level above which the ratio applies", modulatable=True)
    ratio = Param(1, 20, 1, ":1", "log", "input dB per output dB above the threshold", modulatable=True)
    attack_ms = Param(0.1, 200, 1, "ms", "log", "time to follow a rising level", modulatable=True)
    release_ms = Param(5, 2000, 100, "ms", "log", "time to follow a falling level", modulatable=True)

    def process(
        self, x: Tensor, *, threshold_db: Tensor, ratio: Tensor, attack_ms: Tensor, release_ms: Tensor
    ) -> Tensor:
        """Audio x (B, C, T); each value (B,), or a curve (B, F)."""
        return compressor(x, threshold_db, ratio, attack_ms, release_ms, self.sample_rate)

    def curve_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Output level in dB of a steady input level in dB, same shape."""
        threshold_db, ratio = (level_db.new_tensor(values[name]) for name in ("threshold_db", "ratio"))
        return static_curve_db(level_db, threshold_db, ratio)


class NoiseGate(Processor):
    """Expander below a threshold, a gate if the ratio is high. Twin of ``pedalboard.NoiseGate``.

    The level is a mean square that rises at once and falls within 50 ms. Times and channels as in `Compressor`.
    """

    threshold_db = Param(-100, 0, -100, "dB", doc="level below which the ratio applies", modulatable=True)
    ratio = Param(1, 20, 10, ":1", "log", "output dB per input dB below the threshold", modulatable=True)
    attack_ms = Param(0.1, 200, 1, "ms", "log", "time to follow a rising level, which opens", modulatable=True)
    release_ms = Param(5, 2000, 100, "ms", "log", "time to follow a falling level, which closes", modulatable=True)

    def process(
        self, x: Tensor, *, threshold_db: Tensor, ratio: Tensor, attack_ms: Tensor, release_ms: Tensor
    ) -> Tensor:
        """Audio x (B, C, T); each value (B,), or a curve (B, F)."""
        return noise_gate(x, threshold_db, ratio, attack_ms, release_ms, self.sample_rate)


class Limiter(Processor):
    """Makes loud: two compressors, a gain and a clip at full scale. Twin of ``pedalboard.Limiter``.

    4:1 above -10 dB, then 1000:1 above the threshold, then 3.75 dB - ``threshold_db`` of gain: quiet signals are raised
    by that much. For a ceiling that leaves the rest alone take `BrickwallLimiter`.
    """

    threshold_db = Param(-40, 0, -10, "dB", doc="level that becomes the loudest", modulatable=True)
    release_ms = Param(5, 2000, 100, "ms", "log", "time to follow a falling level", modulatable=True)

    def process(self, x: Tensor, *, threshold_db: Tensor, release_ms: Tensor) -> Tensor:
        """Audio x (B, C, T); each value (B,), or a curve (B, F)."""
        return limiter(x, threshold_db, release_ms, self.sample_rate)


class BrickwallLimiter(Processor):
    """A ceiling that no sample passes. Twin of ``pedalboard.BrickwallLimiter``.

    All channels get one gain. It falls at once, ``lookahead_ms`` before a peak, and comes back with the time constant
    ``release_ms``. The look-ahead is compensated except in chunks. It acts in whole samples, so that its gradient is a
    surrogate: half the difference between the outputs for one sample more and one less. The release acts in whole
    samples too, and has the gradient it would have if it did not.
    """

    surrogate: ClassVar[frozenset[str]] = frozenset({"lookahead_ms"})
    ceiling_db = Param(-24, 0, -1, "dB", doc="largest magnitude of a sample")
    release_ms = Param(1, 2000, 100, "ms", "log", "time constant in which the gain comes back")
    lookahead_ms = Param(0.1, LONGEST_MS, 5, "ms", "log", "time by which the gain falls before a peak")

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        true_peak: bool = False,
    ) -> None:
        """As every effect; ``true_peak``, Pedalboard's detection between samples, is not available: SettingsError."""
        super().__init__(sample_rate, ranges, precision)
        if true_peak:
            raise SettingsError(
                "BrickwallLimiter limits the samples themselves: true_peak is False only; "
                "for peaks between them lower ceiling_db by 0.5 dB"
            )

    def process(self, x: Tensor, *, ceiling_db: Tensor, release_ms: Tensor, lookahead_ms: Tensor) -> Tensor:
        """Audio x (B, C, T); each value (B,)."""
        return brickwall(x, ceiling_db, release_ms, lookahead_ms, self.sample_rate)

    def latency_samples(self, values: Numbers) -> int:
        """The look-ahead in samples."""
        return lookahead_samples(values["lookahead_ms"], self.sample_rate)
