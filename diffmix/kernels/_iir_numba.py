# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Compiled loops for a cascade of second-order sections (transposed direct form II), one row at a time.

    o = b0 v + s1,   s1 <- (b1 v - a1 o) + s2,   s2 <- b2 v - a2 o

All K sections advance inside one sample step with their 2K states in registers, so that the processor overlaps the
sections of neighbouring samples; a section at a time would wait for every o -> s1 -> o round trip. The step is emitted
as plain multiplications and additions without fast-math flags: LLVM may not fuse or reorder them, which keeps float32
results equal to Pedalboard's.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

BLOCK = 8192  # Pedalboard processes so many samples at a time and cleans its states after each


def _data(context: Any, builder: Any, array_type: Any, array: Any, index: Any, offset: int = 0) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [builder.add(index, context.get_constant(types.intp, offset))])


@intrinsic(prefer_literal=True)
def load_tuple(typingctx: Any, array: Any, start: Any, count: Any) -> Any:
    """``count`` (a literal) elements of a flat array from ``start`` on, as a tuple that lives in registers."""
    if not isinstance(count, types.IntegerLiteral):
        raise RequireLiteralValue("count")
    result = types.UniTuple(array.dtype, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [
            builder.load(_data(context, builder, signature.args[0], args[0], args[1], k)) for k in range(result.count)
        ]
        return cgutils.pack_array(builder, values)

    return result(array, types.intp, count), codegen


@intrinsic
def store_tuple(typingctx: Any, array: Any, start: Any, values: Any) -> Any:
    """Write a tuple to a flat array from ``start`` on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for k, value in enumerate(cgutils.unpack_tuple(builder, args[2])):
            builder.store(value, _data(context, builder, signature.args[0], args[0], args[1], k))
        return context.get_dummy_value()

    return types.void(array, types.intp, values), codegen


@intrinsic
def snapped(typingctx: Any, states: Any) -> Any:
    """The states with every magnitude of at most 1e-8 replaced by zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = []
        for s in cgutils.unpack_tuple(builder, args[0]):
            low, high, zero = (context.get_constant(states.dtype, v) for v in (-1e-8, 1e-8, 0))
            audible = builder.or_(builder.fcmp_ordered("<", s, low), builder.fcmp_ordered(">", s, high))
            result.append(builder.select(audible, s, zero))
        return cgutils.pack_array(builder, result)

    return states(states), codegen


@intrinsic
def step(typingctx: Any, value: Any, states: Any, coefficients: Any) -> Any:
    """One sample through all sections: ``(every section's output, new states)``.

    ``states`` is (s1, s2) and ``coefficients`` (b0, b1, b2, a1, a2) per section, flattened.
    """
    outputs = types.UniTuple(value, states.count // 2)
    result = types.Tuple((outputs, states))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v, s, c = args[0], cgutils.unpack_tuple(builder, args[1]), cgutils.unpack_tuple(builder, args[2])
        mul, add, sub = builder.fmul, builder.fadd, builder.fsub
        out, new = [], []
        for k in range(outputs.count):
            b0, b1, b2, a1, a2 = c[5 * k : 5 * k + 5]
            o = add(mul(b0, v), s[2 * k])
            new += [add(sub(mul(b1, v), mul(a1, o)), s[2 * k + 1]), sub(mul(b2, v), mul(a2, o))]
            out.append(o)
            v = o
        pair = cgutils.pack_array(builder, out), cgutils.pack_array(builder, new)
        return context.make_tuple(builder, result, pair)

    return result(value, states, coefficients), codegen


@lru_cache
def kernels(sections: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Forward and backward loops for a fixed number of sections.

    The closures capture integers only: numba's disk cache misses a closure over anything compiled.
    """
    K, STATES, COEFFICIENTS = sections, 2 * sections, 5 * sections  # literals inside the loops

    @njit(nogil=True, cache=True)
    def forward(x, coefficients, y, states, length, first, last, snap):
        """Filter rows [first, last) of flat x into y; states (R, tiles, 2K), flat, receive those before each tile."""
        samples = x.size // (coefficients.size // COEFFICIENTS)
        tiles = (samples + length - 1) // length
        for row in range(first, last):
            c = load_tuple(coefficients, row * COEFFICIENTS, COEFFICIENTS)
            s = load_tuple(states, row * tiles * STATES, STATES)
            for tile in range(tiles):
                if snap and tile * length % BLOCK == 0:
                    s = snapped(s)
                store_tuple(states, (row * tiles + tile) * STATES, s)
                start = row * samples + tile * length
                for i in range(start, min(start + length, (row + 1) * samples)):
                    out, s = step(x[i], s, c)
                    y[i] = out[K - 1]

    @njit(nogil=True, cache=True, fastmath={"contract"})
    def backward(gy, x, coefficients, exact, states, gx, gc, length, first, last):
        """Adjoint of rows [first, last): gx like x, gc (R, 5K) float64, with float64 adjoint states.

        Tiles run backwards; each recomputes its sections' signals from the saved state, then sections run backwards.
        With the adjoint w_n of a section's output, and its input v and output o,

            w_n = g_n - a1 w_{n+1} - a2 w_{n+2},        g'_n = b0 w_n + b1 w_{n+1} + b2 w_{n+2},
            d/db_j = sum w_{n+j} v_n,                   d/da_j = -sum w_{n+j} o_n.
        """
        samples = x.size // (coefficients.size // COEFFICIENTS)
        tiles = (samples + length - 1) // length
        signals = np.empty(length * (K + 1), x.dtype)
        g = np.empty(length, np.float64)
        w = np.empty(STATES, np.float64)
        for row in range(first, last):
            c = load_tuple(coefficients, row * COEFFICIENTS, COEFFICIENTS)
            w[:] = 0
            for tile in range(tiles - 1, -1, -1):
                start = row * samples + tile * length
                count = min(length, (row + 1) * samples - start)
                s = load_tuple(states, (row * tiles + tile) * STATES, STATES)
                for i in range(count):
                    v = x[start + i]
                    signals[i * (K + 1)] = v
                    out, s = step(v, s, c)
                    store_tuple(signals, i * (K + 1) + 1, out)
                    g[i] = gy[start + i]
                for k in range(K - 1, -1, -1):
                    b0, b1, b2, a1, a2 = load_tuple(exact, (row * K + k) * 5, 5)
                    d0, d1, d2, e1, e2 = load_tuple(gc, (row * K + k) * 5, 5)
                    w1, w2 = w[2 * k], w[2 * k + 1]
                    for i in range(count - 1, -1, -1):
                        v = np.float64(signals[i * (K + 1) + k])
                        o = np.float64(signals[i * (K + 1) + k + 1])
                        w0 = (g[i] - a2 * w2) - a1 * w1
                        g[i] = b0 * w0 + b1 * w1 + b2 * w2
                        d0 += w0 * v
                        d1 += w1 * v
                        d2 += w2 * v
                        e1 -= w1 * o
                        e2 -= w2 * o
                        w2, w1 = w1, w0
                    w[2 * k], w[2 * k + 1] = w1, w2
                    store_tuple(gc, (row * K + k) * 5, (d0, d1, d2, e1, e2))
                for i in range(count):
                    gx[start + i] = g[i]

    return forward, backward
