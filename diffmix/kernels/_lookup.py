# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Tables that every lane looks up for itself.

The disk cache of a kernel does not notice changes in this module: remove ``__pycache__/*.nb*`` after an edit.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from diffmix.kernels._simd import Vec, count_of, features, index_of, ir_of, read, shuffled


@intrinsic(prefer_literal=True)
def lookup(typingctx: Any, table: Any, index: Any, count: Any) -> Any:
    """``table[index]`` lane by lane, from the first ``count`` entries of a contiguous array.

    AVX-512 keeps 16 or 32 entries of 8 bytes in registers and picks by permutation; otherwise each lane is read.
    """
    entries = count_of(count)
    result = index.like(table.dtype)
    permutes = "avx512f" in features() and table.dtype.bitwidth == 64 and entries in (16, 32)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if permutes and result.lanes % 8 == 0:
            rows = _rows(context, builder, signature.args[0], args[0], result, entries)
            return _permuted(builder, rows, args[1], index, result)
        value = ir.Constant(ir_of(result), ir.Undefined)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        for i in range(result.lanes):
            lane = builder.extract_element(args[1], index_of(i))
            value = builder.insert_element(value, builder.load(builder.gep(data, [lane])), index_of(i))
        return value

    return result(table, index, count), codegen


@intrinsic(prefer_literal=True)
def lookup_pairs(typingctx: Any, table: Any, index: Any, count: Any) -> Any:
    """``table[index, 0]`` and ``table[index, 1]`` of a contiguous table of ``count`` pairs of 8 bytes, as two vectors.

    One load per lane brings a pair; two exchanges sort those of four lanes.
    """
    entries, one = count_of(count), index.like(table.dtype)
    result = types.UniTuple(one, 2)
    permutes = "avx512f" in features() and entries == 16 and one.lanes % 8 == 0

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if permutes:
            rows = _rows(context, builder, signature.args[0], args[0], one, 2 * entries)
            planes = [
                [shuffled(builder, a, b, list(range(p, 16, 2))) for a, b in zip(rows[::2], rows[1::2], strict=True)]
                for p in (0, 1)
            ]
            return cgutils.pack_array(builder, [_permuted(builder, plane, args[1], index, one) for plane in planes])
        twice = builder.add(args[1], args[1])
        pair, halves = Vec(one.dtype, 2), ([], [])
        for i in range(0, one.lanes, 4):
            four = [builder.extract_element(twice, index_of(i + k)) for k in range(4)]
            a, b, c, d = (read(context, builder, signature.args[0], args[0], at, pair) for at in four)
            even, odd = shuffled(builder, a, c, [0, 1, 2, 3]), shuffled(builder, b, d, [0, 1, 2, 3])
            halves[0].append(shuffled(builder, even, odd, [0, 4, 2, 6]))
            halves[1].append(shuffled(builder, even, odd, [1, 5, 3, 7]))
        return cgutils.pack_array(builder, [_joined(builder, parts) for parts in halves])

    return result(table, index, count), codegen


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors of one length, one after the other, as one."""
    while len(parts) > 1:
        width = 2 * parts[0].type.count
        parts = [shuffled(builder, a, b, list(range(width))) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _rows(context: Any, builder: Any, table_type: Any, table: Any, result: Vec, entries: int) -> list[Any]:
    """A table of 8 bytes each as vectors of eight, which stay in registers."""
    eight = Vec(result.dtype, 8)
    places = (context.get_constant(types.intp, k) for k in range(0, entries, 8))
    return [read(context, builder, table_type, table, place, eight) for place in places]


def _permuted(builder: Any, parts: list[Any], index: Any, given: Vec, result: Vec) -> Any:
    """What is at ``index`` in two or four vectors of eight."""
    eight, integers = Vec(result.dtype, 8), Vec(types.int64, 8)
    name = f"llvm.x86.avx512.vpermi2var.{'pd' if result.dtype in types.real_domain else 'q'}.512"
    kind = ir.FunctionType(ir_of(eight), [ir_of(eight), ir_of(integers), ir_of(eight)])
    pick = cgutils.get_or_insert_function(builder.module, kind, name)
    wide = index if given.dtype == types.int64 else builder.sext(index, ir_of(given.like(types.int64)))
    picked = []
    for first in range(0, result.lanes, 8):
        at = shuffled(builder, wide, wide, list(range(first, first + 8)))
        value = builder.call(pick, [parts[0], at, parts[1]])  # looks at the last four bits of each index
        if len(parts) == 4:
            upper = builder.icmp_signed(">=", at, ir.Constant(ir_of(integers), [16] * 8))
            value = builder.select(upper, builder.call(pick, [parts[2], at, parts[3]]), value)
        picked.append(value)
    return _joined(builder, picked)
