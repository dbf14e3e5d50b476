"""Compiled loops of the compressor, one row at a time: detector, static curve and their exact adjoint."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def forward(x, c, states, y, length, first, last):
    """Compress rows [first, last) of x (R, 1, T) into y; states (R, tiles + 1, 1) hold the envelope.

    ``c`` (R, F, 4): threshold as amplitude, exponent 1/ratio - 1, attack and release memories k:

        e <- r + k (e - r),  r = |x|,  k = attack if r > e else release;
        y = x if e < threshold else x (e/threshold)^exponent.
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    for row in range(first, last):
        threshold, exponent, attack, release = (
            real(c[row, 0, 0]),
            real(c[row, 0, 1]),
            real(c[row, 0, 2]),
            real(c[row, 0, 3]),
        )
        inverse = real(1) / threshold
        e = states[row, 0, 0]
        for i in range(samples):
            if moving:
                threshold, exponent = real(c[row, i, 0]), real(c[row, i, 1])
                attack, release = real(c[row, i, 2]), real(c[row, i, 3])
                inverse = real(1) / threshold
            if i % length == 0:
                states[row, i // length, 0] = e
            v = x[row, 0, i]
            r = abs(v)
            e = r + (attack if r > e else release) * (e - r)
            y[row, 0, i] = v if e < threshold else v * (e * inverse) ** exponent
        states[row, -1, 0] = e


@njit(nogil=True, cache=True)
def backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last).

    Each sample keeps the branch it took in the forward, which is exact wherever the output is differentiable. With the
    gain g = (e/threshold)^exponent of a sample above the threshold, its envelope receives gy x g exponent/e; the
    adjoint w of the envelope runs backwards, w_n = k_{n+1} w_{n+1} + that, and

        gx_n = gy_n g_n + (1 - k_n) w_n sign(x_n),   d/dk = sum w_n (e_{n-1} - r_n)  over the samples of its branch.
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    tiles = states.shape[1] - 1
    zero, one = real(0), real(1)
    envelope = np.empty(length + 1, x.dtype)
    for row in range(first, last):
        w = 0.0
        for tile in range(tiles - 1, -1, -1):
            start = tile * length
            count = min(length, samples - start)
            e = envelope[0] = states[row, tile, 0]
            f = 0
            for i in range(count):
                f = start + i if moving else 0
                r = abs(x[row, 0, start + i])
                e = envelope[i + 1] = r + (real(c[row, f, 2]) if r > e else real(c[row, f, 3])) * (e - r)
            by_threshold = by_exponent = by_attack = by_release = 0.0
            for i in range(count - 1, -1, -1):
                f = start + i if moving else 0
                threshold, exponent = real(c[row, f, 0]), c[row, f, 1]
                v, e, before = x[row, 0, start + i], envelope[i + 1], envelope[i]
                direct = np.float64(gy[row, 0, start + i])
                if not e < threshold:
                    log_level = np.log(e * (one / threshold))
                    direct *= np.exp(exponent * log_level)
                    through = direct * v
                    by_threshold -= exponent / threshold * through
                    by_exponent += through * log_level
                    w += through * exponent / e
                r = abs(v)
                rising = r > before  # selections, not branches: half of the time a branch would be guessed wrong
                change = w * (np.float64(before) - np.float64(r))
                by_attack += change if rising else 0.0
                by_release += 0.0 if rising else change
                kept = w * (c[row, f, 2] if rising else c[row, f, 3])
                gx[row, 0, start + i] = direct + (w - kept) * (one if v > zero else -one if v < zero else zero)
                w = kept
                if moving or i == 0:
                    gc[row, f, 0] += by_threshold
                    gc[row, f, 1] += by_exponent
                    gc[row, f, 2] += by_attack
                    gc[row, f, 3] += by_release
                    by_threshold = by_exponent = by_attack = by_release = 0.0
