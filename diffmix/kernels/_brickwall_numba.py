"""Compiled loops of the brickwall limiter, one item with all its channels at a time."""

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel

HELD, CAUGHT, RELEASED = 0, 1, 2  # what a sample did to the gain


@inner
def peaks(x, length):
    """The largest magnitude of all channels of x (C, T), with silence up to ``length`` samples."""
    p = np.zeros(length, x.dtype)
    for channel in range(x.shape[0]):
        for n in range(x.shape[1]):
            p[n] = max(p[n], abs(x[channel, n]))
    return p


@inner
def gains(p, ceiling, change, ahead, gain, hold, found, acts):
    """The gain at each peak, and what the peak did to it; returns the gain and the hold after the last one."""
    one = p.dtype.type(1)
    for n in range(p.size):
        wanted = ceiling / p[n] if p[n] > ceiling else one
        acts[n] = HELD
        if wanted < gain:
            gain, hold, acts[n] = wanted, ahead, CAUGHT
        elif wanted < one:
            hold = ahead
        elif hold > 0:
            hold -= 1
        elif gain < one:
            gain, acts[n] = gain + change * (one - gain), RELEASED
        found[n] = gain
    return gain, hold


@inner
def late(x, line, ahead):
    """The signal ``ahead`` samples late: the end of what ``line`` remembers of each channel, then x (C, T)."""
    channels, samples = x.shape
    signal, known = np.empty((channels, ahead + samples), x.dtype), len(line) // channels
    for channel in range(channels):
        end = (channel + 1) * known
        copy(line[end - ahead : end], signal[channel, :ahead])
        copy(x[channel], signal[channel, ahead:])
    return signal


@kernel
def forward(x, c, states, y, _, first, last, streaming):
    """Rows [first, last) of x (R, C, T) into y, with c (R, 1, 3): ceiling, memory of the release, look-ahead L.

    With the peak p over the channels and the gain it wants, t = min(ceiling/p, 1),

        g <- t if t < g;  g if t < 1 or so it was in the last L samples;  else g + (1 - memory)(1 - g);
        y_n = x_n g_{n+L}, limited to the ceiling.

    States are g (0: none yet), what remains of the L samples and, if ``streaming``, what the channels were before: y
    then comes L samples late.
    """
    real, (channels, samples) = x.dtype.type, x.shape[1:]
    for row in range(first, last):
        ceiling, change, ahead = real(c[row, 0, 0]), real(1) - real(c[row, 0, 1]), max(int(c[row, 0, 2]), 1)
        gain, hold = states[row, 0, 0] if states[row, 0, 0] > 0 else real(1), int(states[row, 0, 1])
        signal, lag = x[row], ahead
        if streaming:
            line = states[row, 0, 2:]
            known = len(line) // channels
            kept = late(signal, line, known)
            for channel in range(channels):
                copy(kept[channel, samples:], states[row, 1, 2 + channel * known : 2 + (channel + 1) * known])
            signal, lag = late(signal, line, ahead), 0
        p = peaks(x[row], samples + lag)
        g, acts = np.empty(p.size, x.dtype), np.empty(p.size, np.int8)
        gain, hold = gains(p, ceiling, change, ahead, gain, hold, g, acts)
        states[row, 1, 0], states[row, 1, 1] = gain, hold
        for channel in range(channels):
            for n in range(samples):
                y[row, channel, n] = min(max(signal[channel, n] * g[n + lag], -ceiling), ceiling)


@kernel
def backward(gy, x, c, states, gx, gc, _, first, last, streaming):
    """Adjoint of rows [first, last): each sample keeps the branch it took in the forward.

    The adjoint w of the gain collects gy_n x_n where the ceiling does not cut, and runs backwards: held gains pass it
    on, released ones pass on ``memory`` times it and give the memory -(1 - g) w; a caught peak stops it and gives w to
    ceiling/p, that is to the ceiling and to the channel where the peak was.

    The look-ahead is an integer and has no derivative. It gets half the difference that one sample more and one less
    make to the output, times gy: reductions begin that much earlier or later. (Not less than one sample.)
    """
    real, (channels, samples) = x.dtype.type, x.shape[1:]
    for row in range(first, last):
        ceiling, memory, ahead = real(c[row, 0, 0]), c[row, 0, 1], max(int(c[row, 0, 2]), 1)
        change = real(1) - real(memory)
        start, hold = states[row, 0, 0] if states[row, 0, 0] > 0 else real(1), int(states[row, 0, 1])
        signal, lag, shift = x[row], ahead, 0
        if streaming:
            signal, lag, shift = late(x[row], states[row, 0, 2:], ahead), 0, ahead
        p = peaks(x[row], samples + ahead + 1)
        g, acts = np.empty(p.size, x.dtype), np.empty(p.size, np.int8)
        # the look-ahead: gains one sample later are another limiter's, whose output begins one sample later
        for sign, length in ((0.5, ahead + 1), (-0.5, max(ahead - 1, 1))):
            gains(p, ceiling, change, length, start, hold, g, acts)
            for channel in range(channels):
                for n in range(samples):
                    v = min(max(signal[channel, n] * g[n + lag + length - ahead], -ceiling), ceiling)
                    gc[row, 0, 2] += sign * np.float64(gy[row, channel, n]) * v
        gains(p, ceiling, change, ahead, start, hold, g, acts)
        w = np.zeros(p.size)
        gx[row] = 0
        for channel in range(channels):
            for n in range(samples):
                v, gain, d = signal[channel, n], g[n + lag], np.float64(gy[row, channel, n])
                limited = v * gain
                if limited > ceiling:
                    gc[row, 0, 0] += d
                elif limited < -ceiling:
                    gc[row, 0, 0] -= d
                else:
                    w[n + lag] += d * v
                    if n >= shift:
                        gx[row, channel, n - shift] += d * gain
        total = 0.0
        for n in range(samples + lag - 1, -1, -1):
            total += w[n]
            if acts[n] == RELEASED:
                gc[row, 0, 1] -= total * (real(1) - (g[n - 1] if n > 0 else start))
                total *= memory
            elif acts[n] == CAUGHT:
                loud = np.float64(p[n])
                gc[row, 0, 0] += total / loud
                for channel in range(channels):
                    v = x[row, channel, n]
                    if abs(v) == p[n]:
                        gx[row, channel, n] -= total * ceiling / (loud * loud) * np.sign(v)
                        break
                total = 0.0
