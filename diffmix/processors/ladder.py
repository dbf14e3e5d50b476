"""The ladder filter."""

from typing import Literal

from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.ladder import MODES, Mode, ladder
from diffmix.params import Param
from diffmix.processors.base import Plugin, Processor
from diffmix.types import Numbers, Ranges


class LadderFilter(Processor):
    """A synthesiser's filter: four stages in a loop that saturates. Twin of ``pedalboard.LadderFilter``.

    It is never neutral: at resonance 0 a tenth is fed back, and the level depends on mode and drive.
    """

    cutoff_hz = Param(20, 20000, 200, "Hz", "log", "corner of a pass, centre of a band", modulatable=True)
    resonance = Param(0, 1, 0, "", doc="peak at the cutoff; 1 is close to self-oscillation", modulatable=True)
    drive = Param(1, 25, 1, "", "log", "gain into the saturation, partly made up for", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        mode: Mode = "LPF12",
    ) -> None:
        """As any effect; ``mode``: low-pass, high-pass or band-pass with 12 or 24 dB per octave."""
        super().__init__(sample_rate, ranges, precision)
        if mode not in MODES:
            raise SettingsError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
        self.mode = mode

    def process(self, x: Tensor, *, cutoff_hz: Tensor, resonance: Tensor, drive: Tensor) -> Tensor:
        """Audio x (B, C, T), each setting (B,) or (B, T)."""
        return ladder(x, cutoff_hz, resonance, drive, self.sample_rate, self.mode)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One plugin with the mode's name."""
        return [("LadderFilter", {"mode": self.mode, **values})]
