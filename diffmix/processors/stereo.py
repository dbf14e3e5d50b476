"""Placement between left and right, and between middle and side: effects that are matrices of gains."""

from typing import Literal

import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels import stereo
from diffmix.params import Param
from diffmix.processors.base import Matrix, Plugin, Port, Processor
from diffmix.types import Numbers, Ranges


class _Mixing(Processor, abstract=True):
    """An effect that only mixes channels, whose inlets and outlets are taken one after the other."""

    keywords_of = "gains"
    pedalboard = False

    def gains(self, **values: Tensor) -> Tensor:
        """The matrix (B, O, I), or (B, T, O, I) where values move; rows are outputs."""
        raise NotImplementedError

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, I, T) to (B, O, T); each value (B,) or (B, T)."""
        return stereo.apply_matrix(x, self.gains(**values).to(x.device))

    def plugins(self, values: Numbers) -> list[Plugin]:
        """None: Pedalboard's plugins do not cross channels."""
        return []

    def matrix(self, values: Numbers) -> Matrix:
        """The gains; rows are outputs."""
        return self.gains(**{name: torch.tensor([value]) for name, value in values.items()})[0].tolist()


class Pan(_Mixing):
    """Mono to stereo by a pan law; hard left and hard right leave the other side silent.

    With R the gain of the right side and L(pan) = R(-pan): ``"constant power"`` R = sin((1 + pan) pi/4), -3 dB in
    the centre; ``"-4.5 dB"`` the same to the power 3/2; ``"linear"`` R = (1 + pan)/2, -6 dB in the centre, constant
    sum; ``"balanced"`` R = 1 to the right of the centre and cos(pan pi/2) to its left, 0 dB in the centre.
    """

    inlets, outlets = (Port("in", 1),), (Port("out", 2),)
    pan = Param(-1, 1, 0, "", doc="-1 left, 0 centre, 1 right", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        law: Literal["constant power", "-4.5 dB", "linear", "balanced"] = "constant power",
    ) -> None:
        """Arguments as for `Processor`, and the pan law."""
        super().__init__(sample_rate, ranges, precision)
        if law not in stereo.PAN_LAWS:
            raise SettingsError(f"law is one of {', '.join(map(repr, stereo.PAN_LAWS))}, got {law!r}")
        self.law = law

    def gains(self, *, pan: Tensor) -> Tensor:
        """Two rows, one column."""
        return stereo.pan_matrix(pan, self.law)


class BalanceWidth(_Mixing):
    """Stereo to stereo: width of the side signal, then a balance that turns down the far channel only."""

    inlets, outlets = (Port("in", 2),), (Port("out", 2),)
    neutral = True
    balance = Param(-1, 1, 0, "", doc="-1 left only, 0 as it is, 1 right only", modulatable=True)
    width = Param(0, 2, 1, "", doc="0 mono, 1 as it is, 2 twice the side", modulatable=True)

    def gains(self, *, balance: Tensor, width: Tensor) -> Tensor:
        """Two rows, two columns."""
        return stereo.balance_width_matrix(balance, width)


class Imager(_Mixing):
    """Stereo width: the side signal (L - R)/2 times ``width``, the middle as it is. `BalanceWidth` in the centre."""

    inlets, outlets = (Port("in", 2),), (Port("out", 2),)
    neutral = True
    width = Param(0, 2, 1, "", doc="0 mono, 1 as it is, 2 twice the side", modulatable=True)

    def gains(self, *, width: Tensor) -> Tensor:
        """Two rows, two columns."""
        return stereo.balance_width_matrix(torch.zeros_like(width), width)


class MidSideSplit(_Mixing):
    """Stereo to middle (L + R)/2 and side (L - R)/2, which `MidSideMerge` undoes.

    The two restore every sample but for one rounding of float32, and to the bit where the sum and the difference need
    no rounding, as of 16-bit audio.
    """

    inlets, outlets = (Port("in", 2),), (Port("mid", 1), Port("side", 1))

    def gains(self) -> Tensor:
        """Two rows, two columns."""
        return stereo.mid_side_matrix()

    def process(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Audio x (B, 2, T) to middle and side, each (B, 1, T)."""
        mid, side = super().process(x).split(1, 1)
        return mid, side


class MidSideMerge(_Mixing):
    """Middle and side to stereo: left M + S, right M - S. Undoes `MidSideSplit`."""

    inlets, outlets = (Port("mid", 1), Port("side", 1)), (Port("out", 2),)
    keywords_of = "process"

    def gains(self) -> Tensor:
        """Two rows, two columns."""
        return stereo.left_right_matrix()

    def process(self, x: Tensor, *, side: Tensor) -> Tensor:
        """Middle x (B, 1, T) and side (B, 1, T) to (B, 2, T)."""
        return stereo.apply_matrix(torch.cat([x, side], 1), self.gains().to(x.device))
