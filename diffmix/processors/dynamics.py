"""Dynamics: the compressor."""

from torch import Tensor

from diffmix.kernels.dynamics import compressor, static_curve_db
from diffmix.params import Param
from diffmix.processors.base import Processor
from diffmix.types import Numbers


class Compressor(Processor):
    """Peak compressor with attack and release on the level, hard knee. Twin of ``pedalboard.Compressor``.

    As there, the times are those of a 99.8 % step response (2 pi time constants), channels are not linked and
    there is no make-up gain.
    """

    neutral = True
    threshold_db = Param(-60, 0, 0, "dB", doc="level above which the ratio applies")
    ratio = Param(1, 20, 1, ":1", "log", "input dB per output dB above the threshold")
    attack_ms = Param(0.1, 200, 1, "ms", "log", "time to follow a rising level")
    release_ms = Param(5, 2000, 100, "ms", "log", "time to follow a falling level")

    def process(
        self, x: Tensor, *, threshold_db: Tensor, ratio: Tensor, attack_ms: Tensor, release_ms: Tensor
    ) -> Tensor:
        """Audio x (B, C, T); each value (B,)."""
        return compressor(x, threshold_db, ratio, attack_ms, release_ms, self.sample_rate)

    def curve_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Output level in dB of a steady input level in dB, same shape."""
        threshold_db, ratio = (level_db.new_tensor(values[name]) for name in ("threshold_db", "ratio"))
        return static_curve_db(level_db, threshold_db, ratio)
