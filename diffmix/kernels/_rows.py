# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Rows side by side in the lanes of vectors: blocks of several rows, read, exchanged and written.

The disk cache of a kernel does not notice changes in this module: remove ``__pycache__/*.nb*`` after an edit.
"""

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from diffmix.kernels._compile import inner
from diffmix.kernels._simd import Vec, count_of, index_of, load_tuple, read, shuffled, store_tuple, write


def aligned(count: int, dtype: Any) -> NDArray[Any]:
    """Room for so many numbers from the start of a cache line on: vectors that lie across two take twice the time."""
    room = np.empty(count * np.dtype(dtype).itemsize + 64, np.uint8)
    skip = -room.ctypes.data % 64
    return room[skip : skip + count * np.dtype(dtype).itemsize].view(dtype)


@intrinsic(prefer_literal=True)
def load_rows(typingctx: Any, array: Any, offsets: Any, at: Any, W: Any) -> Any:
    """W vectors: W neighbours from ``offsets[r] + at`` on, for the first W of an int64 array of offsets."""
    vector = Vec(array.dtype, count_of(W))
    result = types.UniTuple(vector, vector.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[1])(context, builder, args[1]).data
        starts = [builder.load(builder.gep(data, [index_of(r)])) for r in range(vector.lanes)]
        rows = [
            read(context, builder, signature.args[0], args[0], builder.add(start, args[2]), vector) for start in starts
        ]
        return cgutils.pack_array(builder, rows)

    return result(array, offsets, types.intp, W), codegen


@intrinsic
def store_rows(typingctx: Any, array: Any, offsets: Any, at: Any, values: Any) -> Any:
    """What `load_rows` reads, written; rows of equal offset should hold equal values."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[1])(context, builder, args[1]).data
        for r, value in enumerate(cgutils.unpack_tuple(builder, args[3])):
            start = builder.load(builder.gep(data, [index_of(r)]))
            write(context, builder, signature.args[0], args[0], builder.add(start, args[2]), value)
        return context.get_dummy_value()

    return types.void(array, offsets, types.intp, values), codegen


@intrinsic
def add_rows(typingctx: Any, array: Any, offsets: Any, at: Any, values: Any) -> Any:
    """Add to what `load_rows` reads; rows of equal offset, whose values should be equal, get one of them."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[1])(context, builder, args[1]).data
        added = cgutils.unpack_tuple(builder, args[3])
        places = [builder.add(builder.load(builder.gep(data, [index_of(r)])), args[2]) for r in range(len(added))]
        kind = signature.args[0]
        before = [read(context, builder, kind, args[0], place, values.dtype) for place in places]
        for place, old, new in zip(places, before, added, strict=True):
            write(context, builder, kind, args[0], place, builder.fadd(old, new))
        return context.get_dummy_value()

    return types.void(array, offsets, types.intp, values), codegen


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Emit what `transpose` does, inside another intrinsic."""
    width, values, distance = len(rows), list(rows), 1
    while distance < width:
        low = [j if not j & distance else width + j - distance for j in range(width)]
        high = [j + distance if not j & distance else width + j for j in range(width)]
        for i in range(width):
            if not i & distance:
                a, b = values[i], values[i + distance]
                values[i], values[i + distance] = shuffled(builder, a, b, low), shuffled(builder, a, b, high)
        distance *= 2
    return values


@intrinsic
def transpose(typingctx: Any, rows: Any) -> Any:
    """W vectors of W lanes: lane i of result j is lane j of vector i, in log2(W) rounds of exchanges in pairs."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.pack_array(builder, transposed(builder, cgutils.unpack_tuple(builder, args[0])))

    return rows(rows), codegen


# Tiles: `count` samples of W rows, transposed to tile[i W + l], sample i of lane l


@inner
def read_tile(x, offsets, at, count, tile, like):
    """Samples from ``offsets[l] + at`` on of every lane l to a tile; ``like`` is any vector of W lanes."""
    W = offsets.size
    whole = count - count % W
    for i in range(0, whole, W):
        store_tuple(tile, i * W, transpose(load_rows(x, offsets, at + i, like)))
    flat = x.reshape(-1)
    for i in range(whole, count):
        for r in range(W):
            tile[i * W + r] = flat[offsets[r] + at + i]


@inner
def write_tile(tile, y, offsets, at, count, like):
    """A tile back to where `read_tile` would find it."""
    W = offsets.size
    whole = count - count % W
    for i in range(0, whole, W):
        store_rows(y, offsets, at + i, transpose(load_tuple(tile, i * W, like, like)))
    flat = y.reshape(-1)
    for i in range(whole, count):
        for r in range(W):
            flat[offsets[r] + at + i] = tile[i * W + r]
