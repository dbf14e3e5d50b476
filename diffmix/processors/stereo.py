"""Placement between left and right."""

import torch
from torch import Tensor

from diffmix.kernels import stereo
from diffmix.params import Param
from diffmix.processors.base import Matrix, Plugin, Port, Processor
from diffmix.types import Numbers


class Pan(Processor):
    """Mono to stereo by the constant-power law: left cos, right sin of (pan + 1) pi / 4; -3 dB in the centre."""

    inlets, outlets = (Port("in", 1),), (Port("out", 2),)
    pedalboard = False
    pan = Param(-1, 1, 0, "", doc="-1 left, 0 centre, 1 right", modulatable=True)

    def process(self, x: Tensor, *, pan: Tensor) -> Tensor:
        """Audio x (B, 1, T), pan (B,), to (B, 2, T)."""
        return stereo.pan(x, pan)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """None: Pedalboard's plugins do not cross channels."""
        return []

    def matrix(self, values: Numbers) -> Matrix:
        """Two rows, one column."""
        return stereo.pan_matrix(torch.tensor([values["pan"]]))[0].tolist()


class BalanceWidth(Processor):
    """Stereo to stereo: width of the side signal, then a balance that turns down the far channel only."""

    inlets, outlets = (Port("in", 2),), (Port("out", 2),)
    neutral = True
    pedalboard = False
    balance = Param(-1, 1, 0, "", doc="-1 left only, 0 as it is, 1 right only", modulatable=True)
    width = Param(0, 2, 1, "", doc="0 mono, 1 as it is, 2 twice the side", modulatable=True)

    def process(self, x: Tensor, *, balance: Tensor, width: Tensor) -> Tensor:
        """Audio x (B, 2, T); each value (B,)."""
        return stereo.balance_width(x, balance, width)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """None: Pedalboard's plugins do not cross channels."""
        return []

    def matrix(self, values: Numbers) -> Matrix:
        """Two rows, two columns."""
        balance, width = (torch.tensor([values[name]]) for name in ("balance", "width"))
        return stereo.balance_width_matrix(balance, width)[0].tolist()
