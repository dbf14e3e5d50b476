"""Compiled loops of :mod:`diffmix.kernels.delay`, with their adjoints.

Arrays are as :func:`diffmix.kernels._operator.recursion` says. A delay line is one straight stretch of memory, the
history in front of the signal, so that no index wraps. Adjoints are in float64.
"""

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel


@inner
def _echo(x, past, c, y, line):
    """One block, no longer than the delay: every sample read was written before it."""
    real = x.dtype.type
    if len(c) == 1:
        feedback, wet = real(c[0, 1]), real(c[0, 2])
        dry = real(1) - wet
        for i in range(len(x)):
            line[i] = x[i] + feedback * past[i]
            y[i] = dry * x[i] + wet * past[i]
    else:
        for i in range(len(x)):
            wet = real(c[i, 2])
            line[i] = x[i] + real(c[i, 1]) * past[i]
            y[i] = (real(1) - wet) * x[i] + wet * past[i]


@inner
def _echoes(x, c, y, line, history, delay):
    """A row: line (history + T) holds what was written, zero where the history is not known."""
    for start in range(0, len(x), delay):
        stop = min(start + delay, len(x))
        at = history + start
        now = c if len(c) == 1 else c[start:stop]
        _echo(x[start:stop], line[at - delay : at - delay + stop - start], now, y[start:stop], line[at : at + delay])


@inner
def _reach(delay, samples):
    """The delay in whole samples, one longer than the signal where it is: what it would give is zero alike."""
    return samples + 1 if delay > samples else int(delay)


@kernel
def echo(x, c, states, y, tile, first, last):
    """Rows x (R, 1, T) with c (R, F, 3): delay in whole samples (the first is taken), feedback, mix.

    w_n = x_n + feedback w_{n-delay}, y_n = (1 - mix) x_n + mix w_{n-delay}; the state is the last samples of w.
    """
    samples, kept = x.shape[2], states.shape[2]
    for row in range(first, last):
        delay = _reach(c[row, 0, 0], samples + kept)
        history = max(kept, delay)
        line = np.zeros(history + samples, x.dtype)
        copy(states[row, 0], line[history - kept : history])
        _echoes(x[row, 0], c[row], y[row, 0], line, history, delay)
        copy(line[history + samples - kept :], states[row, -1])


@kernel
def echo_adjoint(gy, x, c, states, gx, gc, tile, first, last):
    """Adjoint of `echo`: with v_n = w_{n-delay}, gv_n = mix gy_n + feedback gw_n, gw_n = gv_{n+delay}.

    The derivative along the whole delay is that of the parabola through a sample of w and its two neighbours.
    """
    samples, kept, moving = x.shape[2], states.shape[2], c.shape[1] > 1
    for row in range(first, last):
        delay = _reach(c[row, 0, 0], samples + kept)
        history = max(kept, delay) + 1
        line = np.zeros(history + samples, x.dtype)
        copy(states[row, 0], line[history - kept : history])
        _echoes(x[row, 0], c[row], gx[row, 0], line, history, delay)
        later = np.zeros(samples + delay)
        for stop in range(samples, 0, -delay):
            start = max(stop - delay, 0)
            at = history + start - delay
            now, to_now = (c[row, start:stop], gc[row, start:stop]) if moving else (c[row], gc[row])
            g, out = gy[row, 0, start:stop], gx[row, 0, start:stop]
            heard = line[at - 1 : at + 1 + stop - start]  # the samples read, and their neighbours
            entered, through = later[start + delay : stop + delay], later[start:stop]
            _echo_adjoint(g, x[row, 0, start:stop], now, heard, entered, through, out, to_now)


@inner(fastmath={"reassoc", "contract"})
def _echo_adjoint(g, x, c, heard, entered, through, gx, gc):
    """One block, no longer than the delay: nothing that enters it leaves from it."""
    half = 0.5
    if len(c) == 1:
        feedback, mix = c[0, 1], c[0, 2]
        by_delay = by_feedback = by_mix = 0.0
        for i in range(len(g)):
            wide, came, v = np.float64(g[i]), entered[i], np.float64(heard[i + 1])
            passed = mix * wide + feedback * came
            through[i] = passed
            gx[i] = (1 - mix) * wide + came
            by_delay += passed * (np.float64(heard[i]) - np.float64(heard[i + 2])) * half
            by_feedback += came * v
            by_mix += wide * (v - np.float64(x[i]))
        gc[0, 0] += by_delay
        gc[0, 1] += by_feedback
        gc[0, 2] += by_mix
    else:
        for i in range(len(g)):
            wide, came, v = np.float64(g[i]), entered[i], np.float64(heard[i + 1])
            through[i] = c[i, 2] * wide + c[i, 1] * came
            gx[i] = (1 - c[i, 2]) * wide + came
            gc[i, 0] = through[i] * (np.float64(heard[i]) - np.float64(heard[i + 2])) * half
            gc[i, 1], gc[i, 2] = came * v, wide * (v - np.float64(x[i]))


@inner
def _read(line, at, delay):
    """The line ``delay`` samples before position ``at``, on the straight line between two samples, and its slope."""
    whole = int(delay)
    near, far = line[at - whole], line[at - whole - 1]
    return near + line.dtype.type(delay - whole) * (far - near), far - near


@inner
def _within(delay, history):
    """A delay that can be read: not before the next sample, not beyond the line."""
    delay = delay if delay >= 1 else 1.0
    return delay if delay <= history - 1 else history - 1.0


@inner
def _loop(x, c, y, lines, read, passed, filters, history):
    """A row of one or two lines (C, history + T), each read, filtered and fed to the next; see `filtered_echo`.

    ``read`` and ``passed`` (C, T) get what leaves the lines, before and after the filters with states (C, 2).
    """
    real, channels, moving = x.dtype.type, len(x), len(c) > 1
    k = channels
    for i in range(x.shape[1]):
        f = i if moving else 0
        feedback, wet = real(c[f, k]), real(c[f, k + 1])
        b0, b1, b2, a1, a2 = (
            real(c[f, k + 2]),
            real(c[f, k + 3]),
            real(c[f, k + 4]),
            real(c[f, k + 5]),
            real(c[f, k + 6]),
        )
        at = history + i
        for channel in range(channels):
            v = _read(lines[channel], at, _within(c[f, channel], history))[0]
            out = b0 * v + filters[channel, 0]
            filters[channel, 0] = b1 * v - a1 * out + filters[channel, 1]
            filters[channel, 1] = b2 * v - a2 * out
            read[channel, i], passed[channel, i] = v, out
            y[channel, i] = (real(1) - wet) * x[channel, i] + wet * out
        if channels == 1:
            lines[0, at] = x[0, i] + feedback * passed[0, i]
        else:
            lines[0, at] = real(0.5) * (x[0, i] + x[1, i]) + feedback * passed[1, i]
            lines[1, at] = feedback * passed[0, i]


@inner
def _start(states, lines, filters, history):
    """Unpack the state before a row: of each line its last samples, then its filter's two numbers; none is silence."""
    lines[:], filters[:] = 0, 0
    if len(states):
        for channel in range(len(lines)):
            first = channel * (history + 2)
            copy(states[first : first + history], lines[channel, :history])
            copy(states[first + history : first + history + 2], filters[channel])


@kernel
def filtered_echo(x, c, states, y, tile, first, last, history):
    """Rows x (R, C, T), one or two channels, with c (R, F, C + 7): a delay in samples for each line, feedback, mix, and
    the section b0 b1 b2 a1 a2 in the loop.

    One channel feeds its own line; of two, their mean enters the left line, which feeds the right one, which feeds the
    left one. The state of each line is its last ``history`` samples and the section's two numbers.
    """
    channels, samples = x.shape[1], x.shape[2]
    lines, filters = np.empty((channels, history + samples), x.dtype), np.empty((channels, 2), x.dtype)
    read, passed = np.empty((channels, samples), x.dtype), np.empty((channels, samples), x.dtype)
    for row in range(first, last):
        _start(states[row, 0], lines, filters, history)
        _loop(x[row], c[row], y[row], lines, read, passed, filters, history)
        if states.shape[2]:
            for channel in range(channels):
                start = channel * (history + 2)
                copy(lines[channel, samples:], states[row, -1, start : start + history])
                copy(filters[channel], states[row, -1, start + history : start + history + 2])


@kernel
def filtered_echo_adjoint(gy, x, c, states, gx, gc, tile, first, last, history):
    """Adjoint of `filtered_echo`. With w what enters a line, v what leaves it, o = section(v) and l the adjoint of the
    section's state,

        go_n = mix gy_n + feedback gw'_n - a1 l_n - a2 l_{n+1},  l_{n-1} = go_n,  gv_n = b0 go_n + b1 l_n + b2 l_{n+1},

    where w' is the line that o feeds, and gv reaches the two samples of w that v lies between.
    """
    channels, samples, moving = x.shape[1], x.shape[2], c.shape[1] > 1
    lines, filters = np.empty((channels, history + samples), x.dtype), np.empty((channels, 2), x.dtype)
    read, passed = np.empty((channels, samples), x.dtype), np.empty((channels, samples), x.dtype)
    entered, section = np.empty((channels, history + samples)), np.empty((channels, 2))
    sums = np.zeros(channels + 7)
    k = channels
    for row in range(first, last):
        _start(states[row, 0], lines, filters, history)
        _loop(x[row], c[row], gx[row], lines, read, passed, filters, history)
        entered[:], section[:] = 0, 0
        for i in range(samples - 1, -1, -1):
            f, at = i if moving else 0, history + i
            feedback, mix = c[row, f, k], c[row, f, k + 1]
            b0, b1, b2, a1, a2 = (
                c[row, f, k + 2],
                c[row, f, k + 3],
                c[row, f, k + 4],
                c[row, f, k + 5],
                c[row, f, k + 6],
            )
            for channel in range(channels):
                fed = entered[channels - 1 - channel, at]
                g, v, out = np.float64(gy[row, channel, i]), read[channel, i], passed[channel, i]
                one, two = section[channel, 0], section[channel, 1]
                go = mix * g + feedback * fed - a1 * one - a2 * two
                sums[k] += fed * out
                sums[k + 1] += g * (np.float64(out) - np.float64(x[row, channel, i]))
                sums[k + 2] += go * v
                sums[k + 3] += one * v
                sums[k + 4] += two * v
                sums[k + 5] -= one * out
                sums[k + 6] -= two * out
                gv = b0 * go + b1 * one + b2 * two
                section[channel, 0], section[channel, 1] = go, one
                delay = _within(c[row, f, channel], history)
                if delay == c[row, f, channel]:
                    sums[channel] += gv * _read(lines[channel], at, delay)[1]
                whole = int(delay)
                entered[channel, at - whole] += (whole + 1 - delay) * gv
                entered[channel, at - whole - 1] += (delay - whole) * gv
            for channel in range(channels):
                into = entered[0, at] if channels == 1 else 0.5 * entered[0, at]
                gx[row, channel, i] = (1 - mix) * gy[row, channel, i] + into
            if moving or i == 0:
                for p in range(len(sums)):
                    gc[row, f, p] += sums[p]
                    sums[p] = 0
