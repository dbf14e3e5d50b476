"""Compiled loops of linear recursions: the all-pole filter and the state space, with their exact adjoints.

Everything is float64. Coefficients c (R, F, P) are constant (F = 1) or of each sample (F = T).
"""

import numpy as np

from diffmix.kernels._compile import copy, kernel


@kernel
def all_pole_forward(x, c, states, y, length, first, last):
    """y_n = x_n - a_1 y_{n-1} - ... - a_P y_{n-P} of rows [first, last); states are the last P outputs, latest first.

    The latest output enters last, so that only one multiplication and one subtraction wait for it.
    """
    samples, order, moving = x.shape[2], c.shape[2], c.shape[1] > 1
    out = np.empty(order + samples)  # the outputs before the signal, and its own
    for row in range(first, last):
        for k in range(order):
            out[order - 1 - k] = states[row, 0, k]
        for i in range(samples):
            a = c[row, i if moving else 0]
            value = x[row, 0, i]
            for k in range(order - 1, -1, -1):
                value -= a[k] * out[order + i - 1 - k]
            out[order + i] = value
        copy(out[order:], y[row, 0])
        for t in range(1, states.shape[1]):
            end = order + min(t * length, samples)
            for k in range(order):
                states[row, t, k] = out[end - 1 - k]


@kernel
def all_pole_backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last): the same filter on reversed time.

    w_n = gy_n - a_{1,n+1} w_{n+1} - ... - a_{P,n+P} w_{n+P},   gx_n = w_n,   d/da_{k,n} = -w_n y_{n-k}.
    """
    samples, order, moving = x.shape[2], c.shape[2], c.shape[1] > 1
    out, w = np.empty(order + length), np.empty(samples + order)
    for row in range(first, last):
        w[samples:] = 0
        for i in range(samples - 1, -1, -1):
            value = gy[row, 0, i]
            for k in range(min(order, samples - 1 - i) - 1, -1, -1):
                value -= c[row, i + 1 + k if moving else 0, k] * w[i + 1 + k]
            w[i] = value
        copy(w, gx[row, 0])
        for t in range(states.shape[1] - 1):
            start = t * length
            for k in range(order):
                out[order - 1 - k] = states[row, t, k]
            for i in range(min(length, samples - start)):
                f = start + i if moving else 0
                value = x[row, 0, start + i]
                for k in range(order - 1, -1, -1):
                    before = out[order + i - 1 - k]
                    value -= c[row, f, k] * before
                    gc[row, f, k] -= w[start + i] * before
                out[order + i] = value


@kernel
def state_space_forward(x, c, states, y, length, first, last):
    """s_{n+1} = A s_n + B x_n, y_n = C s_n + D x_n of rows [first, last), x (R, I, T) and y (R, O, T).

    c holds A (S, S), B (S, I), C (O, S) and D (O, I), one after the other.
    """
    (inputs, samples), outputs, size = x.shape[1:], y.shape[1], states.shape[2]
    moving = c.shape[1] > 1
    s, after = np.empty(size), np.empty(size)
    for row in range(first, last):
        copy(states[row, 0], s)
        for i in range(samples):
            values = c[row, i if moving else 0]
            if i % length == 0:
                copy(s, states[row, i // length])
            at = 0
            for j in range(size):
                after[j] = 0
                for k in range(size):
                    after[j] += values[at] * s[k]
                    at += 1
            for j in range(size):
                for k in range(inputs):
                    after[j] += values[at] * x[row, k, i]
                    at += 1
            through = at + outputs * size
            for j in range(outputs):
                total = 0.0
                for k in range(size):
                    total += values[at] * s[k]
                    at += 1
                for k in range(inputs):
                    total += values[through] * x[row, k, i]
                    through += 1
                y[row, j, i] = total
            copy(after, s)
        copy(s, states[row, -1])


@kernel
def state_space_backward(gy, x, c, states, gx, gc, length, first, last):
    """Adjoint of rows [first, last). With the adjoint w_n of s_{n+1},

    gx_n = B' w_n + D' gy_n,  w_{n-1} = A' w_n + C' gy_n,  dA = w s', dB = w x', dC = gy s', dD = gy x'.
    """
    (inputs, samples), outputs, size = x.shape[1:], gy.shape[1], states.shape[2]
    moving = c.shape[1] > 1
    path = np.empty((length + 1, size))
    w, before = np.empty(size), np.empty(size)
    for row in range(first, last):
        w[:] = 0
        for t in range(states.shape[1] - 2, -1, -1):
            start = t * length
            count = min(length, samples - start)
            copy(states[row, t], path[0])
            for i in range(count - 1):
                values = c[row, start + i if moving else 0]
                at, forced = 0, size * size
                for j in range(size):
                    path[i + 1, j] = 0
                    for k in range(size):
                        path[i + 1, j] += values[at] * path[i, k]
                        at += 1
                    for k in range(inputs):
                        path[i + 1, j] += values[forced] * x[row, k, start + i]
                        forced += 1
            for i in range(count - 1, -1, -1):
                n = start + i
                f = n if moving else 0
                values, gradient, s = c[row, f], gc[row, f], path[i]
                before[:] = 0
                gx[row, :, n] = 0
                at = 0
                for j in range(size):
                    for k in range(size):
                        before[k] += values[at] * w[j]
                        gradient[at] += w[j] * s[k]
                        at += 1
                for j in range(size):
                    for k in range(inputs):
                        gx[row, k, n] += values[at] * w[j]
                        gradient[at] += w[j] * x[row, k, n]
                        at += 1
                for j in range(outputs):
                    for k in range(size):
                        before[k] += values[at] * gy[row, j, n]
                        gradient[at] += gy[row, j, n] * s[k]
                        at += 1
                for j in range(outputs):
                    for k in range(inputs):
                        gx[row, k, n] += values[at] * gy[row, j, n]
                        gradient[at] += gy[row, j, n] * x[row, k, n]
                        at += 1
                copy(before, w)
