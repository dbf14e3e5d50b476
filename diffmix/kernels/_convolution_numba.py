# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
r"""Compiled loops of long convolutions: Fourier transforms of real signals that stay in the cache.

A signal x of at most 2 M samples is taken as M complex ones, $a_n = x_n + i\,x_{n+M}$, that is as a polynomial modulo
$z^M = i$, and so is the other. Their product at the M points where $z^M = i$ is what they convolve to, modulo
$z^{2M} = -1$: what wraps around comes back negative, and nothing does where 2 M is long enough. Unlike the transform of
a real signal it needs no second signal or pairs of bins (H. Nussbaumer, "Fast polynomial transform algorithms for
digital convolution", IEEE Trans. ASSP 28(2), 1980).

With n = n1 N2 + n2 and k = k1 + N1 k2 the transform is one of N1 samples for each n2, factors, and one of N2 samples
for each k1 (D. H. Bailey, "FFTs in external or hierarchical memory", J. Supercomputing 4, 1990). `LANES` of them run
side by side. Both leave their bins in the order in which they come; the inverse takes them in that order.
"""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from diffmix.kernels._compile import inner, kernel
from diffmix.kernels._rows import transpose
from diffmix.kernels._simd import fma, load, load_tuple, splat, store, store_tuple

LANES = 8


class Plan(NamedTuple):
    """Factors of a transform: arrays of the signal's type, cosines first."""

    sizes: np.ndarray  # N1, N2
    first_radices: np.ndarray
    first_turns: np.ndarray  # (2, N1 - 1): of each butterfly of each stage
    second_radices: np.ndarray
    second_turns: np.ndarray
    before: np.ndarray  # (2, N1): of the point exp(2 pi i / 4 N1)
    coarse: np.ndarray  # (2, N2 / LANES, N1): between the two transforms, by the first of LANES samples n2
    fine: np.ndarray  # (2, N1, LANES): and by the lane


@lru_cache(maxsize=8)
def plan(samples: int, double: bool) -> Plan:
    """For convolutions that are at most so many samples long."""
    sizes = sorted(LANES * 2**a * 3**b for a in range(11) for b in range(5) if 2**a * 3**b <= 1024)
    pairs = [(a, b) for a, b in itertools.product(sizes, sizes) if a <= b <= 4 * a and 2 * a * b >= samples]
    first, second = min(pairs, key=lambda pair: (pair[0] * pair[1], pair[1]))
    dtype = np.float64 if double else np.float32

    def turned(angle: np.ndarray) -> np.ndarray:
        return np.stack([np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)]).astype(dtype)

    radices = {n: _radices(n) for n in (first, second)}
    turns = {n: turned(_turns(n, r)) for n, r in radices.items()}
    bins = _order(radices[first]) + 0.25
    blocks = np.arange(0, second, LANES)
    return Plan(
        np.array([first, second]),
        np.array(radices[first]),
        turns[first],
        np.array(radices[second]),
        turns[second],
        turned(np.arange(first) / (4 * first)),
        turned(np.outer(blocks, bins) / (first * second) % 1),
        turned(np.outer(bins, np.arange(LANES)) / (first * second)),
    )


def _radices(size: int) -> list[int]:
    found = []
    for radix in (4, 3, 2):
        while size % radix == 0:
            found.append(radix)
            size //= radix
    return found


def _turns(size: int, radices: list[int]) -> np.ndarray:
    """Angles in turns of the factors of every stage: j q / length for every j, then q."""
    found = []
    for radix in radices:
        found.append(np.outer(np.arange(size // radix), np.arange(1, radix)).ravel() / size)
        size //= radix
    return np.concatenate(found)


def _order(radices: list[int]) -> np.ndarray:
    """Which bin lies at each place behind `_forward`."""
    bins, step = np.zeros(1, np.int64), math.prod(radices)
    for radix in reversed(radices):
        step //= radix
        bins = (np.arange(radix)[:, None] + radix * bins[None]).ravel()
    return bins


@inner
def _times(ar, ai, br, bi):
    return fma(ar, br, -(ai * bi)), fma(ar, bi, ai * br)


@inner
def _forward(re, im, size, radices, turns):
    """Transform the first ``size`` vectors in place: sums of products with exp(2 pi i n k / size)."""
    length, first, end = size, 0, size * LANES
    like = load(re, 0, LANES)
    half, root = splat(re.dtype.type(0.5), like), splat(re.dtype.type(math.sqrt(0.75)), like)
    for radix in radices:
        part = length // radix
        step, hop = part * LANES, length * LANES
        for j in range(part):
            place = first + j * (radix - 1)
            c1, s1 = splat(turns[0, place], like), splat(turns[1, place], like)
            begin = j * LANES
            if radix == 4:
                c2, s2 = splat(turns[0, place + 1], like), splat(turns[1, place + 1], like)
                c3, s3 = splat(turns[0, place + 2], like), splat(turns[1, place + 2], like)
                for i in range(begin, end, hop):
                    r0, r1, r2, r3 = (
                        load(re, i, LANES),
                        load(re, i + step, LANES),
                        load(re, i + 2 * step, LANES),
                        load(re, i + 3 * step, LANES),
                    )
                    i0, i1, i2, i3 = (
                        load(im, i, LANES),
                        load(im, i + step, LANES),
                        load(im, i + 2 * step, LANES),
                        load(im, i + 3 * step, LANES),
                    )
                    ar, ai, br, bi = r0 + r2, i0 + i2, r0 - r2, i0 - i2
                    cr, ci, dr, di = r1 + r3, i1 + i3, i3 - i1, r1 - r3
                    store(re, i, ar + cr)
                    store(im, i, ai + ci)
                    r1, i1 = _times(br + dr, bi + di, c1, s1)
                    r2, i2 = _times(ar - cr, ai - ci, c2, s2)
                    r3, i3 = _times(br - dr, bi - di, c3, s3)
                    store(re, i + step, r1)
                    store(im, i + step, i1)
                    store(re, i + 2 * step, r2)
                    store(im, i + 2 * step, i2)
                    store(re, i + 3 * step, r3)
                    store(im, i + 3 * step, i3)
            elif radix == 3:
                c2, s2 = splat(turns[0, place + 1], like), splat(turns[1, place + 1], like)
                for i in range(begin, end, hop):
                    r0, r1, r2 = load(re, i, LANES), load(re, i + step, LANES), load(re, i + 2 * step, LANES)
                    i0, i1, i2 = load(im, i, LANES), load(im, i + step, LANES), load(im, i + 2 * step, LANES)
                    ar, ai, br, bi = r1 + r2, i1 + i2, root * (i2 - i1), root * (r1 - r2)
                    store(re, i, r0 + ar)
                    store(im, i, i0 + ai)
                    ar, ai = r0 - half * ar, i0 - half * ai
                    r1, i1 = _times(ar + br, ai + bi, c1, s1)
                    r2, i2 = _times(ar - br, ai - bi, c2, s2)
                    store(re, i + step, r1)
                    store(im, i + step, i1)
                    store(re, i + 2 * step, r2)
                    store(im, i + 2 * step, i2)
            else:
                for i in range(begin, end, hop):
                    r0, i0, r1, i1 = (
                        load(re, i, LANES),
                        load(im, i, LANES),
                        load(re, i + step, LANES),
                        load(im, i + step, LANES),
                    )
                    store(re, i, r0 + r1)
                    store(im, i, i0 + i1)
                    r1, i1 = _times(r0 - r1, i0 - i1, c1, s1)
                    store(re, i + step, r1)
                    store(im, i + step, i1)
        first += part * (radix - 1)
        length = part


@inner
def _backward(re, im, size, radices, turns):
    """Undo `_forward`, but for a factor ``size``: its stages backwards, with conjugate factors."""
    length, first, end = 1, turns.shape[1], size * LANES
    like = load(re, 0, LANES)
    half, root = splat(re.dtype.type(0.5), like), splat(re.dtype.type(math.sqrt(0.75)), like)
    for stage in range(len(radices) - 1, -1, -1):
        radix = radices[stage]
        part = length
        length *= radix
        first -= part * (radix - 1)
        step, hop = part * LANES, length * LANES
        for j in range(part):
            place = first + j * (radix - 1)
            c1, s1 = splat(turns[0, place], like), -splat(turns[1, place], like)
            begin = j * LANES
            if radix == 4:
                c2, s2 = splat(turns[0, place + 1], like), -splat(turns[1, place + 1], like)
                c3, s3 = splat(turns[0, place + 2], like), -splat(turns[1, place + 2], like)
                for i in range(begin, end, hop):
                    r0, i0 = load(re, i, LANES), load(im, i, LANES)
                    r1, i1 = _times(load(re, i + step, LANES), load(im, i + step, LANES), c1, s1)
                    r2, i2 = _times(load(re, i + 2 * step, LANES), load(im, i + 2 * step, LANES), c2, s2)
                    r3, i3 = _times(load(re, i + 3 * step, LANES), load(im, i + 3 * step, LANES), c3, s3)
                    ar, ai, br, bi = r0 + r2, i0 + i2, r0 - r2, i0 - i2
                    cr, ci, dr, di = r1 + r3, i1 + i3, i1 - i3, r3 - r1
                    store(re, i, ar + cr)
                    store(im, i, ai + ci)
                    store(re, i + step, br + dr)
                    store(im, i + step, bi + di)
                    store(re, i + 2 * step, ar - cr)
                    store(im, i + 2 * step, ai - ci)
                    store(re, i + 3 * step, br - dr)
                    store(im, i + 3 * step, bi - di)
            elif radix == 3:
                c2, s2 = splat(turns[0, place + 1], like), -splat(turns[1, place + 1], like)
                for i in range(begin, end, hop):
                    r0, i0 = load(re, i, LANES), load(im, i, LANES)
                    r1, i1 = _times(load(re, i + step, LANES), load(im, i + step, LANES), c1, s1)
                    r2, i2 = _times(load(re, i + 2 * step, LANES), load(im, i + 2 * step, LANES), c2, s2)
                    ar, ai, br, bi = r1 + r2, i1 + i2, root * (i1 - i2), root * (r2 - r1)
                    store(re, i, r0 + ar)
                    store(im, i, i0 + ai)
                    ar, ai = r0 - half * ar, i0 - half * ai
                    store(re, i + step, ar + br)
                    store(im, i + step, ai + bi)
                    store(re, i + 2 * step, ar - br)
                    store(im, i + 2 * step, ai - bi)
            else:
                for i in range(begin, end, hop):
                    r0, i0 = load(re, i, LANES), load(im, i, LANES)
                    r1, i1 = _times(load(re, i + step, LANES), load(im, i + step, LANES), c1, s1)
                    store(re, i, r0 + r1)
                    store(im, i, i0 + i1)
                    store(re, i + step, r0 - r1)
                    store(im, i + step, i0 - i1)


@inner
def _gather(x, start, step, count, target):
    """Vectors of x from ``start`` on, one every ``step`` samples; zeros behind its end."""
    whole = min(max((len(x) - start - LANES) // step + 1, 0), count)
    for n in range(whole):
        store(target, n * LANES, load(x, start + n * step, LANES))
    for n in range(whole, count):
        for lane in range(LANES):
            at = start + n * step + lane
            target[n * LANES + lane] = x[at] if at < len(x) else 0


@inner
def _scatter(target, start, step, count, x):
    """Undo `_gather`; what is behind the end of x is dropped."""
    whole = min(max((len(x) - start - LANES) // step + 1, 0), count)
    for n in range(whole):
        store(x, start + n * step, load(target, n * LANES, LANES))
    for n in range(whole, count):
        for lane in range(LANES):
            at = start + n * step + lane
            if at < len(x):
                x[at] = target[n * LANES + lane]


@inner
def _turn(re, im, count, c, s, sign):
    """Numbers of ``count`` vectors times ``c + i sign s``, a factor for each vector."""
    for n in range(count):
        at = n * LANES
        like = load(re, at, LANES)
        r, i = _times(like, load(im, at, LANES), splat(c[n], like), splat(sign * s[n], like))
        store(re, at, r)
        store(im, at, i)


@inner
def _turn_lanes(re, im, count, coarse_c, coarse_s, fine_c, fine_s, sign):
    """As `_turn`, by the products of ``coarse``, one for each vector, and ``fine``, one for each number."""
    for n in range(count):
        at = n * LANES
        like = load(re, at, LANES)
        c, s = _times(
            load(fine_c, at, LANES), load(fine_s, at, LANES), splat(coarse_c[n], like), splat(coarse_s[n], like)
        )
        r, i = _times(like, load(im, at, LANES), c, s * splat(sign, like))
        store(re, at, r)
        store(im, at, i)


@kernel
def analyse(x, p, spectrum, work):
    """The transform of x (T,): cosines and sines ``spectrum[:, k1 / LANES, n2, lane of k1]``, flat (2, M).

    ``work`` is (2, N1 LANES).
    """
    first, second = p.sizes
    re, im, out_re, out_im = work[0], work[1], spectrum[0], spectrum[1]
    fine_c, fine_s = p.fine[0].reshape(-1), p.fine[1].reshape(-1)
    like, one = load(re, 0, LANES), x.dtype.type(1)
    for n2 in range(0, second, LANES):
        _gather(x, n2, second, first, re)
        _gather(x, n2 + first * second, second, first, im)
        _turn(re, im, first, p.before[0], p.before[1], one)
        _forward(re, im, first, p.first_radices, p.first_turns)
        block = n2 // LANES
        _turn_lanes(re, im, first, p.coarse[0, block], p.coarse[1, block], fine_c, fine_s, one)
        for k in range(0, first, LANES):
            at = k * second + n2 * LANES
            store_tuple(out_re, at, transpose(load_tuple(re, k * LANES, like, like)))
            store_tuple(out_im, at, transpose(load_tuple(im, k * LANES, like, like)))
    for at in range(0, first * second, second * LANES):
        _forward(out_re[at:], out_im[at:], second, p.second_radices, p.second_turns)


@kernel
def synthesise(spectrum, p, x, work):
    """Undo `analyse`, but for a factor M; the spectrum is lost. Of x (T,) no more is written than it has room for."""
    first, second = p.sizes
    re, im, in_re, in_im = work[0], work[1], spectrum[0], spectrum[1]
    fine_c, fine_s = p.fine[0].reshape(-1), p.fine[1].reshape(-1)
    like, minus = load(re, 0, LANES), x.dtype.type(-1)
    for at in range(0, first * second, second * LANES):
        _backward(in_re[at:], in_im[at:], second, p.second_radices, p.second_turns)
    for n2 in range(0, second, LANES):
        for k in range(0, first, LANES):
            at = k * second + n2 * LANES
            store_tuple(re, k * LANES, transpose(load_tuple(in_re, at, like, like)))
            store_tuple(im, k * LANES, transpose(load_tuple(in_im, at, like, like)))
        block = n2 // LANES
        _turn_lanes(re, im, first, p.coarse[0, block], p.coarse[1, block], fine_c, fine_s, minus)
        _backward(re, im, first, p.first_radices, p.first_turns)
        _turn(re, im, first, p.before[0], p.before[1], minus)
        _scatter(re, n2, second, first, x)
        _scatter(im, n2 + first * second, second, first, x)


@kernel
def multiply(a, b, sign, target, adds):
    """``target = a b / M`` of spectra (2, M), with the conjugate of b if ``sign`` is -1; added to it if ``adds``."""
    ar, ai, br, bi, tr, ti = a[0], a[1], b[0], b[1], target[0], target[1]
    c, s = splat(tr.dtype.type(1 / len(ar)), LANES), splat(tr.dtype.type(sign / len(ar)), LANES)
    for i in range(0, len(ar), LANES):
        r, j = _times(load(ar, i, LANES), load(ai, i, LANES), c * load(br, i, LANES), s * load(bi, i, LANES))
        if adds:
            r, j = load(tr, i, LANES) + r, load(ti, i, LANES) + j
        store(tr, i, r)
        store(ti, i, j)
