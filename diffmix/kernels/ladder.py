r"""The ladder: four one-pole stages with saturation, in a loop.

Pedalboard's ``LadderFilter``, after R. Moog's circuit (US patent 3 475 623, 1969). With the outputs s of the sample
before, S a table of tanh (128 points from -5 to 5, joined by lines, constant beyond) and
$G(d) = 0.6103\,d^{-2.642} + 0.3903$,

$$u = G(d)\,S(d\,x), \qquad a = u - 4r\,\left(G(d')\,S(d' s_4) - \kappa u\right),$$
$$b_j = \beta_1 s_{j-1} + \alpha s_j + \beta_0 b_{j-1} \ (j = 1 \ldots 4,\ b_0 = a), \qquad y = 1.2 \sum_j w_j b_j,$$

where $\alpha = \exp(-2\pi f/sample\_rate)$, $\beta_0 = (1-\alpha)/1.3$, $\beta_1 = 0.3\,\beta_0$,
r = 0.1 + 0.9 resonance and d' = 0.04 d + 0.96. The mode chooses the weights w and the compensation $\kappa$.
"""

import math
from typing import Any, Literal, get_args

from torch import Tensor

from diffmix.kernels._arithmetic import evaluate, formula
from diffmix.kernels._operator import Loops, recursion, rows, run
from diffmix.kernels.backend import is_twin

Mode = Literal["LPF12", "HPF12", "BPF12", "LPF24", "HPF24", "BPF24"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""Low-pass, high-pass and band-pass with 12 or 24 dB per octave."""


def ladder(
    x: Tensor, cutoff_hz: Tensor, resonance: Tensor, drive: Tensor, sample_rate: float, mode: Mode = "LPF12"
) -> Tensor:
    """Filter and saturate, each channel on its own.

    Args:
        x: audio (B, C, T); float32 on the CPU gives Pedalboard's samples, float64 the ideal recursion (with the table).
        cutoff_hz: corner or centre (B,); this and the others may also change each sample (B, T).
        resonance: from 0 (which still feeds back a tenth) to 1, close to self-oscillation (B,).
        drive: factor in front of the first saturation, at least 1 (B,).
        sample_rate: in Hz.
        mode: one of `MODES`.

    Returns:
        Audio (B, C, T) of x's dtype. Gradients are exact, with the slopes of the table. Tensors of other devices are
        computed on the host.
    """
    settings = cutoff_hz, resonance, drive
    coefficients = evaluate("_ladder", settings, sample_rate, is_twin(x, *settings))
    return run(_ladder_filter, *rows(x, coefficients), memory=5, options=[MODES.index(mode)]).view(x.shape)


@formula
def _ladder(m: Any, cutoff_hz: Any, resonance: Any, drive: Any, sample_rate: float) -> tuple[Any, ...]:
    def level(drive: Any) -> Any:
        return m.power(drive, -2.642) * 0.6103 + 0.3903

    angle = (m.zeros(cutoff_hz) - 2 * math.pi) / sample_rate  # rounded before and after the division
    memory = m.exp(cutoff_hz * angle)
    loop_drive = drive * 0.04 + 0.96
    return (
        memory,
        (1 - memory) * 0.76923076923,
        (1 - memory) * 0.23076923076,
        4 * (0.1 + 0.9 * resonance),
        drive,
        level(drive),
        loop_drive,
        level(loop_drive),
    )


def _loops(_: int) -> Loops:
    from diffmix.kernels._ladder_numba import backward, forward

    return forward, backward


_ladder_filter = recursion("ladder_filter", _loops, tile=256, together=2)
