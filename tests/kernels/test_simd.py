"""Vectors of compiled loops against NumPy, lane by lane and bit by bit."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from diffmix.kernels._lookup import lookup, lookup_pairs
from diffmix.kernels._rows import add_rows, load_rows, read_tile, store_rows, transpose, write_tile
from diffmix.kernels._simd import (
    absolute,
    bits,
    cast,
    fma,
    has_fma,
    lane,
    lanes,
    load,
    load_tuple,
    maximum,
    minimum,
    polynomial,
    prefetch,
    root,
    select,
    splat,
    store,
    store_tuple,
    total,
)

RNG = np.random.default_rng(0)
WIDTHS = (4, 16)
REALS = (np.float32, np.float64)


def lanewise(function: Callable[..., Any], W: int, result: Any, *arrays: Any) -> Any:
    """``function`` of vectors, each the first W of an array."""
    compiled = njit(function)
    out = np.zeros(W, result)

    @njit
    def call(out: Any, a: Any, b: Any, c: Any) -> None:
        store(out, 0, compiled(load(a, 0, W), load(b, 0, W), load(c, 0, W)))

    call(out, *(arrays + arrays[:1] * 2)[:3])
    return out


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("W", WIDTHS)
def test_arithmetic_is_numpys(W: int, dtype: Any) -> None:
    a, b, c = RNG.standard_normal((3, W)).astype(dtype)
    got = lanewise(lambda a, b, c: (a + b) * c - a / b + (-c) * 0.1 + 2 / a, W, dtype, a, b, c)
    expected = (a + b) * c - a / b + (-c) * dtype(0.1) + dtype(2) / a
    assert np.array_equal(got, expected)
    got = lanewise(lambda a, b, c: root(absolute(a)) + maximum(a, b) * minimum(b, 0.5), W, dtype, a, b, c)
    assert np.array_equal(got, np.sqrt(np.abs(a)) + np.maximum(a, b) * np.minimum(b, dtype(0.5)))


def test_products_and_sums_are_never_fused() -> None:
    a, b, c = RNG.standard_normal((3, 4096)).astype(np.float32)

    @njit
    def call(a: Any, b: Any, c: Any, plain: Any, fused: Any) -> None:
        for i in range(0, a.size, 8):
            x, y, z = load(a, i, 8), load(b, i, 8), load(c, i, 8)
            store(plain, i, x * y + z)
            store(fused, i, fma(x, y, z))

    plain, fused = np.empty((2, 4096), np.float32)
    call(a, b, c, plain, fused)
    assert np.array_equal(plain, a * b + c)
    once = (a.astype(np.float64) * b + c).astype(np.float32)  # the product is exact in float64
    assert np.mean(fused == (once if has_fma() else plain)) > 0.999
    assert not has_fma() or np.any(fused != plain)


@pytest.mark.parametrize("dtype", [*REALS, np.int32])
def test_comparisons_and_selections(dtype: Any) -> None:
    a, b = RNG.integers(-2, 3, (2, 16)).astype(dtype)

    @njit
    def call(out: Any, a: Any, b: Any) -> None:
        x, y = load(a, 0, 16), load(b, 0, 16)
        store(out, 0, select(x < y, x, y))
        store(out, 16, select(x <= y, x, 7))
        store(out, 32, select(x > y, x, y))
        store(out, 48, select(x >= 1, 7, y))
        store(out, 64, select(x == y, x, 7))
        store(out, 80, select((x != y) & (x > 0), x, y))

    out = np.empty((6, 16), dtype)
    call(out, a, b)
    conditions = a < b, a <= b, a > b, a >= 1, a == b, (a != b) & (a > 0)
    pairs = (a, b), (a, 7), (a, b), (7, b), (a, 7), (a, b)
    for got, condition, pair in zip(out, conditions, pairs, strict=True):
        assert np.array_equal(got, np.where(condition, *pair))


def test_nan_compares_false() -> None:
    a = np.array([np.nan, 1, np.nan, 2], np.float32)
    got = lanewise(lambda a, b, c: select(a == a, 1.0, select(a != a, 3.0, a)), 4, np.float32, a)
    assert np.array_equal(got, [3, 1, 3, 1])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_and_bits(dtype: Any) -> None:
    real = {np.int32: np.float32, np.int64: np.float64}[dtype]
    a = RNG.standard_normal(8).astype(real)
    i = a.view(dtype)
    got = lanewise(lambda a, b, c: ((bits(a, dtype) >> 3) & 255) | (bits(b, dtype) << 2) ^ 5, 8, dtype, a)
    assert np.array_equal(got, ((i >> 3) & 255) | (i << 2) ^ 5)
    assert np.array_equal(
        lanewise(lambda a, b, c: bits(bits(a, dtype) + 1 - 1 * 2, real), 8, real, a), (i - 1).view(real)
    )


@pytest.mark.parametrize("pair", [(np.float32, np.float64), (np.int32, np.int64), (np.int32, np.float32)])
def test_casts(pair: tuple[Any, Any]) -> None:
    for source, target in (pair, pair[::-1]):
        a = (100 * RNG.standard_normal(8)).astype(source)
        assert np.array_equal(lanewise(lambda a, b, c, target=target: cast(a, target), 8, target, a), a.astype(target))


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("W", WIDTHS)
def test_rows_and_their_transpose(W: int, dtype: Any) -> None:
    x = RNG.standard_normal((W, 3 * W)).astype(dtype)
    offsets = np.arange(W)[::-1] * 3 * W

    @njit
    def call(x: Any, offsets: Any, tile: Any, back: Any) -> None:
        columns = transpose(load_rows(x, offsets, 2, W))
        store_tuple(tile, 0, columns)
        store_rows(back, offsets, 2, transpose(load_tuple(tile, 0, W, W)))

    tile, back = np.empty((W, W), dtype), np.zeros_like(x)
    call(x, offsets, tile, back)
    assert np.array_equal(tile, x[::-1, 2 : 2 + W].T)
    assert np.array_equal(back[:, 2 : 2 + W], x[:, 2 : 2 + W])
    assert np.all(back[:, :2] == 0)
    assert np.all(back[:, 2 + W :] == 0)


def test_rows_that_are_added_to() -> None:
    x, y = RNG.standard_normal((2, 8, 24)).astype(np.float32)
    rows = np.array([5, 3, 0, 0, 0, 0, 0, 0])  # one that stands in for others gets a single value

    @njit
    def call(x: Any, y: Any, offsets: Any) -> None:
        prefetch(x, 10**9)  # has no effect, and no such element
        add_rows(x, offsets, 2, load_rows(y, offsets, 2, 8))

    expected = x.copy()
    expected[[5, 3, 0], 2:10] += y[[5, 3, 0], 2:10]
    call(x, y, 24 * rows)
    assert np.array_equal(x, expected)


def test_tiles_are_read_and_written() -> None:
    x = RNG.standard_normal((8, 1, 30)).astype(np.float32)
    offsets = 30 * RNG.permutation(8)

    @njit
    def call(x: Any, offsets: Any, count: int, tile: Any, back: Any) -> None:
        like = load(x, 0, 8)
        read_tile(x, offsets, 5, count, tile, like)
        write_tile(tile, back, offsets, 5, count, like)

    for count in (3, 8, 21):
        tile, back = np.zeros((30, 8), np.float32), np.zeros_like(x)
        call(x, offsets, count, tile.reshape(-1), back)
        assert np.array_equal(tile[:count], x[offsets // 30, 0, 5 : 5 + count].T)
        assert np.array_equal(back[..., 5 : 5 + count], x[..., 5 : 5 + count])
        assert np.all(np.delete(back, np.s_[5 : 5 + count], -1) == 0)


def test_scalars_lanes_and_sums() -> None:
    x = RNG.integers(-9, 9, 16).astype(np.float64)

    @njit
    def call(x: Any, out: Any) -> Any:
        v = load(x, 0, 16)
        first, second, third = load_tuple(x, 1, 3, 1)
        store(out, 0, v * splat(np.float64(2), 16))
        return total(v), lane(v, 5), first + 10 * second + 100 * third, fma(first, second, third)

    out = np.empty(16)
    assert call(x, out) == (x.sum(), x[5], x[1] + 10 * x[2] + 100 * x[3], x[1] * x[2] + x[3])
    assert np.array_equal(out, 2 * x)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("table", [np.float64, np.int64, np.float32])
@pytest.mark.parametrize("entries", [16, 32])
def test_tables(entries: int, table: Any, index: Any) -> None:
    values = (100 * RNG.standard_normal(entries)).astype(table)
    at = RNG.integers(0, entries, 16).astype(index)

    @njit
    def call(values: Any, at: Any, out: Any) -> None:
        store(out, 0, lookup(values, load(at, 0, 16), entries))

    out = np.empty(16, table)
    call(values, at, out)
    assert np.array_equal(out, values[at])


@pytest.mark.parametrize("W", [4, 8, 16])
@pytest.mark.parametrize("entries", [16, 32])
def test_tables_of_pairs(entries: int, W: int) -> None:
    pairs = RNG.standard_normal((entries, 2))
    at = RNG.integers(0, entries, W).astype(np.int32)

    @njit
    def call(pairs: Any, at: Any, out: Any) -> None:
        store_tuple(out, 0, lookup_pairs(pairs, load(at, 0, W), entries))

    out = np.empty((2, W))
    call(pairs, at, out)
    assert np.array_equal(out, pairs[at].T)


@pytest.mark.parametrize("dtype", REALS)
def test_polynomials(dtype: Any) -> None:
    x, coefficients = RNG.standard_normal(8).astype(dtype), (3.0, -2.0, 0.5, 1.0)
    found = lanewise(lambda a, b, c: polynomial(a, coefficients), 8, dtype, x)
    np.testing.assert_allclose(found, np.polyval(coefficients, x.astype(np.float64)), atol=20 * np.finfo(dtype).eps)


def test_what_does_not_fit_is_refused() -> None:
    from numba.core.errors import TypingError

    x = np.zeros(16, np.float32)
    for function in (
        lambda x, w: load(x, 0, w),  # a width that is no literal
        lambda x, w: load(x, 0, 4) + load(x, 0, 8),
        lambda x, w: store(x, 0, cast(load(x, 0, 4), np.float64)),
        lambda x, w: bits(load(x, 0, 4), np.int64),
        lambda x, w: fma(load(x, 0, 4), load(x, 0, 4), 1.0),
        lambda x, w: select(load(x, 0, 4), load(x, 0, 4), load(x, 0, 4)),
    ):
        with pytest.raises(TypingError):
            njit(function)(x, 4)


def test_the_processor_is_known() -> None:
    assert lanes(4) in (4, 8, 16)
    assert lanes(8) == lanes(4) // 2
    assert operator.index(has_fma()) in (0, 1)
