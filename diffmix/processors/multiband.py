"""Dynamics that hear or treat bands of their own: the multiband compressor and the de-esser."""

from typing import Literal

import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels import biquad
from diffmix.kernels._arithmetic import aligned
from diffmix.kernels.ballistics import memory
from diffmix.kernels.gain_curve import shaped
from diffmix.kernels.iir import sos_cascade
from diffmix.params import Param
from diffmix.processors.base import Processor
from diffmix.processors.desk_dynamics import Detector, measured
from diffmix.types import Ranges

BANDS = ("low", "mid", "high")


class MultibandCompressor(Processor):
    """Three compressors, each in a band of its own.

    Linkwitz-Riley crossovers of fourth order divide the signal; the low band also passes the upper crossover's
    all-pass, so that without compression the bands add up to an all-pass: every frequency at its level. Channels are
    linked.
    """

    pedalboard = False
    uncarried = "its filters do not divide a signal into bands that add up again."
    low_crossover_hz = Param(40, 800, 200, "Hz", "log", "between the low and the middle band")
    high_crossover_hz = Param(1000, 16000, 3000, "Hz", "log", "between the middle and the high band")
    knee_db = Param(0, 24, 6, "dB", doc="width of the transition to the ratio, in every band", modulatable=True)
    bands = {  # noqa: RUF012 as declared by Processor
        f"{band}_{name}": param
        for band in BANDS
        for name, param in {
            "threshold_db": Param(-60, 0, 0, "dB", doc=f"level in the middle of the {band} knee", modulatable=True),
            "ratio": Param(1, 20, 1, ":1", "log", "input dB per output dB above the threshold", modulatable=True),
            "attack_ms": Param(0.1, 200, 10, "ms", "log", "time constant of a rising level", modulatable=True),
            "release_ms": Param(5, 2000, 100, "ms", "log", "time constant of a falling level", modulatable=True),
            "makeup_db": Param(-24, 24, 0, "dB", doc=f"gain of the {band} band", modulatable=True),
        }.items()
    }

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        detector: Detector = "peak",
    ) -> None:
        """Arguments as for `Processor`, and whether ``"peak"`` or ``"rms"`` levels are compared with the thresholds."""
        super().__init__(sample_rate, ranges, precision)
        if detector not in ("peak", "rms"):
            raise SettingsError(f"detector is 'peak' or 'rms', got {detector!r}")
        self.detector: Detector = detector

    def process(
        self, x: Tensor, *, low_crossover_hz: Tensor, high_crossover_hz: Tensor, knee_db: Tensor, **values: Tensor
    ) -> Tensor:
        """Audio x (B, C, T); crossovers (B,), each other value (B,) or (B, T)."""

        def of_bands(name: str) -> Tensor:
            return torch.stack(aligned(*(values[f"{band}_{name}"] for band in BANDS)), 1).flatten(0, 1)

        split = self.divided(x, low_crossover_hz, high_crossover_hz).flatten(0, 1)  # (3 B, C, T)
        attack, release = (memory(of_bands(name), self.sample_rate) for name in ("attack_ms", "release_ms"))
        level = measured(split, self.detector, True, 0, attack, release)
        threshold, ratio, makeup = (of_bands(name) for name in ("threshold_db", "ratio", "makeup_db"))
        settings = threshold, ratio, knee_db.repeat_interleave(3, 0), makeup
        treated = shaped(split, level, "compression", *settings, power=self.detector == "rms")
        low, mid, high = treated.unflatten(0, (-1, 3)).unbind(1)
        return low + mid + high

    def divided(self, x: Tensor, low_crossover_hz: Tensor, high_crossover_hz: Tensor) -> Tensor:
        """The bands of x (B, C, T): (B, 3, C, T), which add up to an all-pass."""
        low1, high1, _ = biquad.linkwitz_riley(low_crossover_hz, self.sample_rate)
        low2, high2, all2 = biquad.linkwitz_riley(high_crossover_hz, self.sample_rate)
        wire = all2.new_tensor([1.0, 0, 0, 0, 0]).expand_as(all2)
        paths = [low1, all2, wire], [high1, low2], [high1, high2]
        sos = torch.stack([torch.cat(path, 1) for path in paths], 1)  # (B, 3, 4, 5)
        return sos_cascade(x.repeat_interleave(3, 0), sos.flatten(0, 1)).unflatten(0, (-1, 3))


class DeEsser(Processor):
    """Turns sibilants down: a compressor that hears what lies above a frequency.

    In mode ``"split"`` it treats only that band, which a fourth-order Linkwitz-Riley crossover divides off; in mode
    ``"wide"`` the whole signal. Channels are linked; the knee is 6 dB wide.
    """

    pedalboard = False
    uncarried = "its Compressor hears the whole signal, and its filters do not divide it into bands that add up again."
    frequency_hz = Param(1000, 14000, 5500, "Hz", "log", "above it is heard, and in mode split treated")
    threshold_db = Param(-60, 0, 0, "dB", doc="level of the band in the middle of the knee", modulatable=True)
    ratio = Param(1, 20, 4, ":1", "log", "input dB per output dB above the threshold", modulatable=True)
    attack_ms = Param(0.1, 50, 1, "ms", "log", "time constant of a rising level", modulatable=True)
    release_ms = Param(5, 500, 50, "ms", "log", "time constant of a falling level", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        mode: Literal["split", "wide"] = "split",
    ) -> None:
        """Arguments as for `Processor`, and what is turned down."""
        super().__init__(sample_rate, ranges, precision)
        if mode not in ("split", "wide"):
            raise SettingsError(f"mode is 'split' or 'wide', got {mode!r}")
        self.mode = mode

    def process(
        self,
        x: Tensor,
        *,
        frequency_hz: Tensor,
        threshold_db: Tensor,
        ratio: Tensor,
        attack_ms: Tensor,
        release_ms: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T); frequency_hz (B,), each other value (B,) or (B, T)."""
        below, above, _ = biquad.linkwitz_riley(frequency_hz, self.sample_rate)
        high = sos_cascade(x, above)
        attack, release = (memory(v, self.sample_rate) for v in (attack_ms, release_ms))
        level = measured(high, "peak", True, 0, attack, release)
        settings = threshold_db, ratio, torch.full_like(ratio, 6.0), torch.zeros_like(ratio)
        if self.mode == "wide":
            return shaped(x, level, "compression", *settings)
        return sos_cascade(x, below) + shaped(high, level, "compression", *settings)
