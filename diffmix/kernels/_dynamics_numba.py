"""Compiled loops of the compressor, one row at a time: detector, static curve and their exact adjoint."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def forward(x, coefficients, y, states, length, first, last):
    """Compress rows [first, last) of flat x into y; states (R, tiles), flat, receives the envelope before each tile.

    ``coefficients`` (R, 4), flat: threshold as amplitude, exponent 1/ratio - 1, attack and release memories k:

        e <- r + k (e - r),  r = |x|,  k = attack if r > e else release;
        y = x if e < threshold else x (e/threshold)^exponent.
    """
    samples = x.size // (coefficients.size // 4)
    tiles = (samples + length - 1) // length
    one = x.dtype.type(1)
    for row in range(first, last):
        threshold, exponent, attack, release = coefficients[4 * row : 4 * row + 4]
        inverse = one / threshold
        e = x.dtype.type(0)
        for tile in range(tiles):
            states[row * tiles + tile] = e
            start = row * samples + tile * length
            for i in range(start, min(start + length, (row + 1) * samples)):
                v = x[i]
                r = abs(v)
                e = r + (attack if r > e else release) * (e - r)
                y[i] = v if e < threshold else v * (e * inverse) ** exponent


@njit(nogil=True, cache=True)
def backward(gy, x, coefficients, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last): gx like x, gc (R, 4) float64.

    Each sample keeps the branch it took in the forward, which is exact wherever the output is differentiable. With the
    gain g = (e/threshold)^exponent of a sample above the threshold, its envelope receives gy x g exponent/e; the
    adjoint w of the envelope runs backwards, w_n = k_{n+1} w_{n+1} + that, and

        gx_n = gy_n g_n + (1 - k_n) w_n sign(x_n),   d/dk = sum w_n (e_{n-1} - r_n)  over the samples of its branch.
    """
    samples = x.size // (coefficients.size // 4)
    tiles = (samples + length - 1) // length
    zero, one = x.dtype.type(0), x.dtype.type(1)
    envelope = np.empty(length + 1, x.dtype)
    for row in range(first, last):
        threshold, exponent, attack, release = coefficients[4 * row : 4 * row + 4]
        inverse = one / threshold
        by_threshold = by_exponent = by_attack = by_release = w = 0.0
        for tile in range(tiles - 1, -1, -1):
            start = row * samples + tile * length
            count = min(length, (row + 1) * samples - start)
            e = envelope[0] = states[row * tiles + tile]
            for i in range(count):
                r = abs(x[start + i])
                e = envelope[i + 1] = r + (attack if r > e else release) * (e - r)
            for i in range(count - 1, -1, -1):
                v, e, before = x[start + i], envelope[i + 1], envelope[i]
                direct = np.float64(gy[start + i])
                if not e < threshold:
                    log_level = np.log(e * inverse)
                    direct *= np.exp(exponent * log_level)
                    through = direct * v
                    by_threshold += through
                    by_exponent += through * log_level
                    w += through * exponent / e
                r = abs(v)
                rising = r > before  # selections, not branches: half of the time a branch would be guessed wrong
                change = w * (np.float64(before) - np.float64(r))
                by_attack += change if rising else 0.0
                by_release += 0.0 if rising else change
                kept = w * (attack if rising else release)
                gx[start + i] = direct + (w - kept) * (one if v > zero else -one if v < zero else zero)
                w = kept
        gc[4 * row] = -np.float64(exponent) / threshold * by_threshold
        gc[4 * row + 1] = by_exponent
        gc[4 * row + 2] = by_attack
        gc[4 * row + 3] = by_release
