r"""The brickwall limiter: no peak passes the ceiling, since the gain falls before it comes.

With the peak $p_n$ over all channels, the gain it wants for a ceiling c, $t = \min(c/p, 1)$, and L samples of
look-ahead,

$$g_n = t_n \text{ if } t_n < g_{n-1}, \quad g_{n-1} \text{ if } t < 1 \text{ at any of } n - L \ldots n, \quad
g_{n-1} + (1 - \rho)(1 - g_{n-1}) \text{ otherwise}, \qquad y_n = x_n\,g_{n+L},$$

with $\rho = e^{-1/R}$ for a release of R samples: Pedalboard's ``BrickwallLimiter``.
"""

from typing import Any

from torch import Tensor

from diffmix.kernels import stream
from diffmix.kernels._arithmetic import evaluate, formula
from diffmix.kernels._operator import Loops, recursion, run
from diffmix.kernels.backend import is_twin

LONGEST_MS = 100.0
"""The longest look-ahead."""


def brickwall(x: Tensor, ceiling_db: Tensor, release_ms: Tensor, lookahead_ms: Tensor, sample_rate: float) -> Tensor:
    """Keep all channels below a ceiling by one gain for all.

    The look-ahead is compensated: the output is as long as the input and in time with it. Within
    `diffmix.kernels.stream.streaming` it is not, and the output comes `lookahead_samples` late.

    Args:
        x: audio (B, C, T); float32 on the CPU gives Pedalboard's samples, float64 the same with a release of any length
            where Pedalboard's is a whole number of samples.
        ceiling_db: the largest magnitude (B,).
        release_ms: time constant in which the gain comes back (B,), at least one sample.
        lookahead_ms: time by which the gain falls before a peak, and after which it may rise (B,), up to `LONGEST_MS`.
        sample_rate: in Hz.

    Returns:
        Audio (B, C, T) of x's dtype. Gradients are exact for the branches taken, that of ``release_ms`` as if it were
        not truncated to samples. ``lookahead_ms`` acts in whole samples and has no derivative: its gradient is a
        surrogate, half the difference between the outputs for one sample more and one less.
    """
    settings = ceiling_db, release_ms, lookahead_ms
    c = evaluate("_brickwall", settings, sample_rate, is_twin(x, *settings))[:, None]
    streaming = stream.is_streaming()
    line = x.shape[1] * (lookahead_samples(LONGEST_MS, sample_rate) if streaming else 0)
    return run(_operation, x, c, memory=2 + line, options=[int(streaming)])


def lookahead_samples(lookahead_ms: float, sample_rate: float) -> int:
    """A look-ahead in samples, at least one."""
    return max(1, int(sample_rate * lookahead_ms / 1000))


@formula
def _brickwall(m: Any, ceiling_db: Any, release_ms: Any, lookahead_ms: Any, sample_rate: float) -> tuple[Any, ...]:
    release = m.clip(m.samples(release_ms, sample_rate), 1, float("inf"))
    return m.power10(ceiling_db / 20), m.exp(-1 / release), m.samples(lookahead_ms, sample_rate)


def _loops(_: int) -> Loops:
    from diffmix.kernels._brickwall_numba import backward, forward

    return forward, backward


_operation = recursion("brickwall", _loops)
