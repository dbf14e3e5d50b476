"""Compiled loops of :mod:`diffmix.kernels.oscillator` and :mod:`diffmix.kernels.modulation`, with their adjoints.

Arrays are as :func:`diffmix.kernels._operator.recursion` says. Forward loops compute in the dtype of x, in the order of
operations written, adjoints in float64.
"""

import math

import numpy as np

from diffmix.kernels._compile import copy, inner, kernel
from diffmix.kernels.oscillator import CHORUS_SWING_MS, DELAY, HIGH_HZ, LOW_HZ, PHASE


@inner
def _octaves(real, rate):
    """Logarithms to base ten of the phaser's lowest frequency, and of its highest over that."""
    low = real(math.log10(real(LOW_HZ)))
    return low, real(math.log10(real(min(HIGH_HZ, 0.49 * rate)))) - low


@inner
def _moved(kind, real, phase, swing, centre, rate, low, span):
    """What an oscillator gives at a phase, in the order of operations of Pedalboard's plugins."""
    if kind == PHASE:
        return phase
    shift, one = real(math.sin(phase - real(math.pi))) * swing, real(1)
    if kind == DELAY:
        milliseconds = max(one, real(CHORUS_SWING_MS) * shift + centre)
        return real(np.float64(milliseconds) * rate / 1000)
    frequency = real(10) ** (min(max(shift + centre, real(0)), one) * span + low)
    g = real(math.tan(math.pi * np.float64(frequency) / rate))
    return g / (one + g)


@kernel
def oscillate(x, c, states, y, tile, first, last, kind, hold):
    """A phase in [0, 2 pi) that advances every ``hold`` samples, and what it moves.

    c (R, F, 4): increment, swing, centre, sample rate. By ``kind``, with s = swing sin(phase - pi):

    - PHASE: the phase itself;
    - DELAY: the samples of max(1, 20 s + centre) milliseconds;
    - ALLPASS: g/(1 + g), g = tan(pi f/rate), f = 20 (highest/20)^l, l = s + centre cut to [0, 1].

    x gives length and dtype only. The state is the phase to come, the one held, and the samples since the last advance.
    """
    samples, real, moving = x.shape[2], x.dtype.type, c.shape[1] > 1
    turn = real(2 * math.pi)
    for row in range(first, last):
        phase, held, count = states[row, 0, 0], states[row, 0, 1], int(states[row, 0, 2])
        increment, swing, centre, rate = real(c[row, 0, 0]), real(c[row, 0, 1]), real(c[row, 0, 2]), c[row, 0, 3]
        low, span = _octaves(real, rate)
        value = _moved(kind, real, held, swing, centre, rate, low, span)
        for i in range(samples):
            if moving:
                increment, swing, centre = real(c[row, i, 0]), real(c[row, i, 1]), real(c[row, i, 2])
            if count == 0:
                held = phase
                phase += increment
                if phase >= turn:
                    phase -= turn
            if count == 0 or moving:
                value = _moved(kind, real, held, swing, centre, rate, low, span)
            y[row, 0, i] = value
            count = count + 1 if count + 1 < hold else 0
        states[row, -1, 0], states[row, -1, 1], states[row, -1, 2] = phase, held, count


@inner
def _slopes(kind, phase, swing, centre, rate):
    """Derivatives of `_moved` along the phase, the swing and the centre."""
    if kind == PHASE:
        return 1.0, 0.0, 0.0
    sine, cosine = -math.sin(phase), -math.cos(phase)
    if kind == DELAY:
        slope = rate / 1000 if CHORUS_SWING_MS * swing * sine + centre >= 1 else 0.0
        return slope * CHORUS_SWING_MS * swing * cosine, slope * CHORUS_SWING_MS * sine, slope
    level = swing * sine + centre
    if level < 0 or level > 1:
        return 0.0, 0.0, 0.0
    octaves = math.log(min(HIGH_HZ, 0.49 * rate) / LOW_HZ)
    angle = math.pi * LOW_HZ / rate * math.exp(octaves * level)
    slope = octaves * angle / (1 + math.sin(2 * angle))  # d/da tan a/(1 + tan a) = 1/(cos a + sin a)^2
    return slope * swing * cosine, slope * sine, slope


@kernel
def oscillate_adjoint(gy, x, c, states, gx, gc, tile, first, last, kind, hold):
    """Adjoint of `oscillate`: an increment moves every later phase, so that d phase_n / d increment = n."""
    samples, moving = x.shape[2], c.shape[1] > 1
    after = states.copy()
    phases = np.empty((len(x), 1, samples), x.dtype)
    oscillate(x, c, after, phases, tile, first, last, np.int64(PHASE), hold)  # a literal would be compiled anew
    for row in range(first, last):
        gx[row] = 0
        later = held = through = by_increment = by_swing = by_centre = 0.0
        count = (int(states[row, 0, 2]) + samples - 1) % hold
        for i in range(samples - 1, -1, -1):
            f = i if moving else 0
            held += gy[row, 0, i]
            if count == 0 or moving or i == 0:
                phase = np.float64(phases[row, 0, i])
                by_phase, swinging, centring = _slopes(kind, phase, c[row, f, 1], c[row, f, 2], c[row, f, 3])
                through += held * by_phase
                by_swing += held * swinging
                by_centre += held * centring
                held = 0.0
            if count == 0:
                by_increment += later
                later += through
                through = 0.0
            if moving or i == 0:
                gc[row, f, 0] += by_increment
                gc[row, f, 1] += by_swing
                gc[row, f, 2] += by_centre
                by_increment = by_swing = by_centre = 0.0
            count = count - 1 if count else hold - 1


@inner
def _tap(line, at, delay, cubic):
    """What ``line`` held ``delay`` samples before position ``at``, and its slope along the delay.

    Linear between two neighbours, or the cubic through four (Lagrange's polynomial).
    """
    whole = int(delay)
    part = delay - line.dtype.type(whole)
    at -= whole
    a, b = line[at], line[at - 1]
    if not cubic:
        return a + part * (b - a), b - a
    new, old = line[at + 1], line[at - 2]
    real = line.dtype.type
    one, two, half, sixth = real(1), real(2), real(0.5), real(1 / 6)
    up, down, far = part + one, part - one, part - two
    value = half * up * far * (down * a - part * b) + sixth * part * down * (up * old - far * new)
    # derivatives of the four weights along ``part``
    squared = part * part
    slope = (
        (real(1.5) * squared - two * part - half) * a
        - (real(1.5) * squared - part - one) * b
        + (half * squared - sixth) * old
        - (half * squared - part + one / real(3)) * new
    )
    return value, slope


@inner
def _limits(real, history, late):
    """Delays that can be read: not the future, not beyond the line."""
    return (real(0) if late else real(2)), real(history - 2)


@inner
def _voice(x, delay, c, y, line, history, late, echo):
    """One channel: what enters the line (history + T) is x plus feedback; returns the feedback to come.

    ``late``: the line is read linearly and the feedback arrives one sample later; else by the cubic and at once.
    """
    real, moving = x.dtype.type, len(c) > 1
    least, most = _limits(real, history, late)
    feedback, wet = real(c[0, 0]), real(c[0, 1])
    dry = real(1) - wet
    for i in range(len(x)):
        if moving:
            feedback, wet = real(c[i, 0]), real(c[i, 1])
            dry = real(1) - wet
        v, d = x[i], delay[i]
        d = d if d >= least else least
        d = d if d <= most else most
        if late:
            line[history + i] = v + echo
            out = _tap(line, history + i, d, not late)[0]
            echo = feedback * out
        else:
            out = _tap(line, history + i, d, not late)[0]
            line[history + i] = v + feedback * out
        y[i] = dry * v + wet * out
    return echo


@kernel
def delay(x, c, states, y, tile, first, last, history, late):
    """Rows x (R, C + 1 or 2 C, T): audio channels, then the delay in samples of all or of each; c (R, F, 2): feedback,
    mix. The state of each channel is the last ``history`` samples of its line and its feedback to come.
    """
    channels, samples = y.shape[1], x.shape[2]
    each = x.shape[1] > channels + 1
    line = np.zeros(history + samples, x.dtype)
    kept = states.shape[2] > 0
    for row in range(first, last):
        for channel in range(channels):
            start = channel * (history + 1)
            echo = x.dtype.type(0)
            if kept:
                copy(states[row, 0, start : start + history], line[:history])
                echo = states[row, 0, start + history]
            signal, lag = x[row, channel], x[row, channels + (channel if each else 0)]
            echo = _voice(signal, lag, c[row], y[row, channel], line, history, late, echo)
            if kept:
                copy(line[samples:], states[row, -1, start : start + history])
                states[row, -1, start + history] = echo


@kernel
def delay_adjoint(gy, x, c, states, gx, gc, tile, first, last, history, late):
    """Adjoint of `delay`. With v what the line gives, w what enters it and h its interpolation weights,

    gv_n = mix gy_n + feedback gw_{n or n+1},  gw_m = sum_n h_{n, n-m} gv_n,  gx_n = (1 - mix) gy_n + gw_n,
    g_delay_n = gv_n dv_n/d delay,  g_feedback = sum gw_{n or n+1} v_n,  g_mix = sum gy_n (v_n - x_n).
    """
    channels, samples, moving = gy.shape[1], x.shape[2], c.shape[1] > 1
    each = x.shape[1] > channels + 1
    real = x.dtype.type
    least, most = _limits(real, history, late)
    line, y = np.zeros(history + samples, x.dtype), np.empty(samples, x.dtype)
    entered = np.empty(history + samples + 1)
    kept = states.shape[2] > 0
    for row in range(first, last):
        gx[row, channels:] = 0
        for channel in range(channels):
            start = channel * (history + 1)
            echo = real(0)
            if kept:
                copy(states[row, 0, start : start + history], line[:history])
                echo = states[row, 0, start + history]
            lags = channels + (channel if each else 0)
            _voice(x[row, channel], x[row, lags], c[row], y, line, history, late, echo)
            entered[:] = 0
            by_feedback = by_mix = 0.0
            for i in range(samples - 1, -1, -1):
                f = i if moving else 0
                feedback, mix = c[row, f, 0], c[row, f, 1]
                v, g, at = x[row, channel, i], np.float64(gy[row, channel, i]), history + i
                d = x[row, lags, i]
                inside = d >= least and d <= most
                d = d if d >= least else least
                d = d if d <= most else most
                out, slope = _tap(line, at, d, not late)
                later = entered[at + 1] if late else entered[at]
                by_feedback += later * out
                by_mix += g * (np.float64(out) - np.float64(v))
                through = mix * g + feedback * later
                whole = int(d)
                part = np.float64(d - real(whole))
                near = at - whole
                if late:
                    entered[near] += (1 - part) * through
                    entered[near - 1] += part * through
                else:
                    up, down, far = part + 1, part - 1, part - 2
                    entered[near + 1] -= part * down * far / 6 * through
                    entered[near] += up * down * far / 2 * through
                    entered[near - 1] -= up * part * far / 2 * through
                    entered[near - 2] += up * part * down / 6 * through
                if inside:
                    gx[row, lags, i] += through * slope
                gx[row, channel, i] = (1 - mix) * g + entered[at]
                if moving or i == 0:
                    gc[row, f, 0] += by_feedback
                    gc[row, f, 1] += by_mix
                    by_feedback = by_mix = 0.0


@kernel
def allpasses(x, c, states, y, tile, first, last, stages):
    """Rows x (R, C + 1 or 2 C, T): audio channels, then the gain G of all or of each; c (R, F, 2): feedback, mix.

    The input plus the feedback of the sample before passes ``stages`` first-order all-passes with state s,

        v = G (u - s),  z = v + s,  s <- z + v,  u <- 2 z - u.

    The state of each channel is that of its stages and the feedback to come, before every tile.
    """
    channels, samples = y.shape[1], x.shape[2]
    each, real, moving = x.shape[1] > channels + 1, x.dtype.type, c.shape[1] > 1
    memory = np.empty((channels, stages + 1), x.dtype)
    for row in range(first, last):
        copy(states[row, 0], memory.reshape(-1))
        feedback, wet = real(c[row, 0, 0]), real(c[row, 0, 1])
        dry = real(1) - wet
        for i in range(samples):
            if i % tile == 0:
                copy(memory.reshape(-1), states[row, i // tile])
            if moving:
                feedback, wet = real(c[row, i, 0]), real(c[row, i, 1])
                dry = real(1) - wet
            for channel in range(channels):
                gain = x[row, channels + (channel if each else 0), i]
                s = memory[channel]
                u = x[row, channel, i] + s[stages]
                for k in range(stages):
                    v = gain * (u - s[k])
                    z = v + s[k]
                    s[k] = z + v
                    u = z + z - u
                s[stages] = feedback * u
                y[row, channel, i] = wet * u + dry * x[row, channel, i]
        copy(memory.reshape(-1), states[row, -1])


@kernel
def allpasses_adjoint(gy, x, c, states, gx, gc, tile, first, last, stages):
    """Adjoint of `allpasses`. Of one stage, with gu and gs the gradients of what it gives:

    gv = 2 (gu + gs),  gG += gv (u - s),  gs <- gs + 2 gu - G gv,  gu <- G gv - gu.
    """
    channels, samples = gy.shape[1], x.shape[2]
    each, real, moving = x.shape[1] > channels + 1, x.dtype.type, c.shape[1] > 1
    differences = np.empty((tile, channels, stages), x.dtype)
    passed = np.empty((tile, channels), x.dtype)
    memory = np.empty((channels, stages + 1), x.dtype)
    adjoint = np.empty((channels, stages + 1))
    for row in range(first, last):
        adjoint[:] = 0
        gx[row, channels:] = 0
        by_feedback = by_mix = 0.0
        for k_tile in range(states.shape[1] - 2, -1, -1):
            start = k_tile * tile
            count = min(tile, samples - start)
            copy(states[row, k_tile], memory.reshape(-1))
            for i in range(count):
                feedback = real(c[row, start + i if moving else 0, 0])
                for channel in range(channels):
                    gain = x[row, channels + (channel if each else 0), start + i]
                    s = memory[channel]
                    u = x[row, channel, start + i] + s[stages]
                    for k in range(stages):
                        difference = u - s[k]
                        differences[i, channel, k] = difference
                        v = gain * difference
                        z = v + s[k]
                        s[k] = z + v
                        u = z + z - u
                    s[stages] = feedback * u
                    passed[i, channel] = u
            for i in range(count - 1, -1, -1):
                f = start + i if moving else 0
                feedback, mix = c[row, f, 0], c[row, f, 1]
                for channel in range(channels):
                    gains = channels + (channel if each else 0)
                    gain = np.float64(x[row, gains, start + i])
                    gs = adjoint[channel]
                    g = np.float64(gy[row, channel, start + i])
                    later = gs[stages]
                    u = np.float64(passed[i, channel])
                    by_feedback += later * u
                    by_mix += g * (u - x[row, channel, start + i])
                    gu = mix * g + feedback * later
                    by_gain = 0.0
                    for k in range(stages - 1, -1, -1):
                        gv = 2 * (gu + gs[k])
                        by_gain += gv * differences[i, channel, k]
                        gs[k] += 2 * gu - gain * gv
                        gu = gain * gv - gu
                    gs[stages] = gu
                    gx[row, gains, start + i] += by_gain
                    gx[row, channel, start + i] = (1 - mix) * g + gu
                if moving or start + i == 0:
                    gc[row, f, 0] += by_feedback
                    gc[row, f, 1] += by_mix
                    by_feedback = by_mix = 0.0
