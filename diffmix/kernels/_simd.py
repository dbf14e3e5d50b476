# mypy: disable-error-code="call-arg, var-annotated"
# (numba calls intrinsics without their first parameter and infers what is not annotated)
"""Vectors for compiled loops: W numbers in a register, with the arithmetic that the processor has for them.

LLVM vectorises loops over lanes rarely and never reliably, since arrays may overlap. Here the lanes are explicit:

    v = load(x, i, 8)                   # eight neighbours of an array, from its flat index i on, as one value
    y = select(v > 1.0, v - 1.0, v)     # operators work lane by lane; a scalar takes the vector's element type
    store(out, i, y)

Nothing carries fast-math flags: additions and multiplications are rounded one by one as they are written, on every
processor, so that float32 lanes equal float32 scalars to the last bit. Only `fma` fuses. W and other counts are
literals, integers that a closure captures, or any vector or tuple that has as many. Vectors wider than the processor's
are split by LLVM.

The disk cache of a kernel does not notice changes in this module: remove ``__pycache__/*.nb*`` after an edit.
"""

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue, TypingError
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model


@cache
def features() -> frozenset[str]:
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    arm = {"fma"} if triple.startswith(("aarch64", "arm64")) else set()
    return frozenset(f[1:] for f in features.split(",") if f.startswith("+")) | arm


def has_fma() -> bool:
    """True if the processor fuses a multiplication and an addition into one rounding."""
    return "fma" in features()


def lanes(size: int) -> int:
    """How many numbers of ``size`` bytes fill a vector register of this processor: 4, 8 or 16 float32."""
    return (64 if "avx512f" in features() else 32 if "avx" in features() else 16) // size


class Vec(types.Type):
    """The numba type of ``lanes`` numbers (or truth values) of type ``dtype``."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vec({dtype}, {lanes})")

    def like(self, dtype: types.Type) -> "Vec":
        """As many lanes of another type."""
        return Vec(dtype, self.lanes)


_ELEMENTS = {
    types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1),
    types.int32: ir.IntType(32), types.int64: ir.IntType(64),
}  # fmt: skip


def ir_of(vector: Vec) -> ir.VectorType:
    return ir.VectorType(_ELEMENTS[vector.dtype], vector.lanes)


@register_model(Vec)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vec) -> None:
        super().__init__(manager, vector, ir_of(vector))


def filled(builder: Any, value: Any, count: int) -> Any:
    """A vector whose lanes all are ``value``."""
    one = builder.insert_element(ir.Constant(ir.VectorType(value.type, count), ir.Undefined), value, index_of(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count))


def shuffled(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    """The lanes of a and b together at ``places``."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))


def index_of(i: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), i)


def count_of(literal: Any) -> int:
    """A literal, or what a vector or tuple has."""
    if isinstance(literal, Vec | types.UniTuple):
        return literal.lanes if isinstance(literal, Vec) else literal.count
    if not isinstance(literal, types.IntegerLiteral):
        raise RequireLiteralValue("how many")
    return int(literal.literal_value)


# Operators


def _common(a: Any, b: Any) -> Vec | None:
    """The vector type that an operator on a and b works in: scalars follow vectors."""
    vectors = [t for t in (a, b) if isinstance(t, Vec)]
    scalars = [t for t in (a, b) if not isinstance(t, Vec)]
    if not vectors or len(set(vectors)) > 1 or not all(isinstance(t, types.Number) for t in scalars):
        return None
    return vectors[0]


def _widened(context: Any, builder: Any, value: Any, given: Any, vector: Vec) -> Any:
    if isinstance(given, Vec):
        return value
    return filled(builder, context.cast(builder, value, given, vector.dtype), vector.lanes)


def _define(function: Any, emit: Callable[[Any, Vec, Any, Any], Any], compares: bool = False) -> None:
    """Give a binary operator to vectors; ``emit(builder, type, left, right)`` works on two of one type."""

    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vector = _common(*args) if len(args) == 2 else None
            return vector and signature(vector.like(types.boolean) if compares else vector, *args)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _common(*signature.args)
        assert vector is not None
        left, right = (_widened(context, builder, *pair, vector) for pair in zip(args, signature.args, strict=True))
        return emit(builder, vector, left, right)

    for kinds in ((Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
        lower_builtin(function, *kinds)(lower)


def _arithmetic(real: str, integer: str) -> Callable[[Any, Vec, Any, Any], Any]:
    return lambda builder, vector, a, b: getattr(builder, real if vector.dtype in types.real_domain else integer)(a, b)


def _comparison(symbol: str) -> Callable[[Any, Vec, Any, Any], Any]:
    def emit(builder: Any, vector: Vec, a: Any, b: Any) -> Any:
        if vector.dtype in types.real_domain:
            return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, a, b)
        return builder.icmp_signed(symbol, a, b)

    return emit


for _operator, _names in {
    operator.add: ("fadd", "add"), operator.sub: ("fsub", "sub"), operator.mul: ("fmul", "mul"),
    operator.truediv: ("fdiv", ""), operator.and_: ("", "and_"), operator.or_: ("", "or_"),
    operator.xor: ("", "xor"), operator.lshift: ("", "shl"), operator.rshift: ("", "ashr"),
}.items():  # fmt: skip
    _define(_operator, _arithmetic(*_names))
for _operator, _symbol in {
    operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!=",
}.items():  # fmt: skip
    _define(_operator, _comparison(_symbol), compares=True)


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(args[0], args[0]) if isinstance(args[0], Vec) else None


@lower_builtin(operator.neg, Vec)
def _lower_negative(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return (builder.fneg if signature.args[0].dtype in types.real_domain else builder.neg)(args[0])


# Memory


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, target: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), target.as_pointer())


def read(context: Any, builder: Any, array_type: Any, array: Any, at: Any, vector: Vec) -> Any:
    """Emit what `load` does, inside another intrinsic."""
    size = array_type.dtype.bitwidth // 8  # alignment: that of one element
    return builder.load(_pointer(context, builder, array_type, array, at, ir_of(vector)), align=size)


def write(context: Any, builder: Any, array_type: Any, array: Any, at: Any, value: Any) -> None:
    """Emit what `store` does, inside another intrinsic."""
    size = array_type.dtype.bitwidth // 8
    builder.store(value, _pointer(context, builder, array_type, array, at, value.type), align=size)


@intrinsic(prefer_literal=True)
def load(typingctx: Any, array: Any, at: Any, W: Any) -> Any:
    """W neighbours of a contiguous array from flat index ``at`` on."""
    vector = Vec(array.dtype, count_of(W))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read(context, builder, signature.args[0], args[0], args[1], vector)

    return vector(array, types.intp, W), codegen


@intrinsic
def store(typingctx: Any, array: Any, at: Any, vector: Any) -> Any:
    """Write the lanes to a contiguous array of their type from flat index ``at`` on."""
    if array.dtype != vector.dtype:
        raise TypingError(f"a {vector} cannot be stored in {array}")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(context, builder, signature.args[0], args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx: Any, array: Any, at: Any) -> Any:
    """Ask for the cache line of an element that will be needed, which need not exist."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bytes_, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [bytes_, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), bytes_)
        builder.call(function, [place, index_of(0), index_of(3), index_of(1)])  # to read, in all caches, data
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic(prefer_literal=True)
def load_tuple(typingctx: Any, array: Any, at: Any, count: Any, W: Any) -> Any:
    """``count`` vectors that lie one after the other from flat index ``at`` on; W = 1 gives scalars."""
    width = count_of(W)
    vector = Vec(array.dtype, width)
    result = types.UniTuple(vector if width > 1 else array.dtype, count_of(count))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def value(k: int) -> Any:
            place = builder.add(args[1], context.get_constant(types.intp, k * width))
            found = read(context, builder, signature.args[0], args[0], place, vector)
            return found if width > 1 else builder.extract_element(found, index_of(0))

        return cgutils.pack_array(builder, [value(k) for k in range(result.count)])

    return result(array, types.intp, count, W), codegen


@intrinsic
def store_tuple(typingctx: Any, array: Any, at: Any, values: Any) -> Any:
    """Write vectors or scalars to a contiguous array of their type, one after the other, from ``at`` on."""
    width = getattr(values.dtype, "lanes", 1)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for k, value in enumerate(cgutils.unpack_tuple(builder, args[2])):
            place = builder.add(args[1], context.get_constant(types.intp, k * width))
            write(context, builder, signature.args[0], args[0], place, value)
        return context.get_dummy_value()

    return types.void(array, types.intp, values), codegen


# Values


@intrinsic(prefer_literal=True)
def splat(typingctx: Any, value: Any, W: Any) -> Any:
    """W lanes of one number, of its type."""
    number = types.unliteral(value)
    vector = Vec(number, count_of(W))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return filled(builder, args[0], vector.lanes)

    return vector(number, W), codegen


@intrinsic
def cast(typingctx: Any, vector: Any, dtype: Any) -> Any:
    """The lanes as another type: between float32 and float64, integers of 4 and 8 bytes, integers to floats."""
    result = vector.like(dtype.instance_type)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = vector.dtype in types.real_domain, result.dtype in types.real_domain
        widens = result.dtype.bitwidth > vector.dtype.bitwidth
        if vector.dtype == result.dtype:
            return args[0]
        if real == (True, False):
            return builder.fptosi(args[0], ir_of(result))
        if real == (False, True):
            return builder.sitofp(args[0], ir_of(result))
        change = {
            (True, True): builder.fpext, (True, False): builder.fptrunc,
            (False, True): builder.sext, (False, False): builder.trunc,
        }[real[0], widens]  # fmt: skip
        return change(args[0], ir_of(result))

    return result(vector, dtype), codegen


@intrinsic
def bits(typingctx: Any, vector: Any, dtype: Any) -> Any:
    """The lanes' bits read as another type of the same size."""
    result = vector.like(dtype.instance_type)
    if result.dtype.bitwidth != vector.dtype.bitwidth:
        raise TypingError(f"{vector.dtype} and {result.dtype} differ in size")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir_of(result))

    return result(vector, dtype), codegen


@intrinsic
def every(typingctx: Any, mask: Any) -> Any:
    """True if a mask is true in all lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        together = ir.IntType(mask.lanes)
        return builder.icmp_signed("==", builder.bitcast(args[0], together), ir.Constant(together, -1))

    return types.boolean(mask), codegen


def by_llvm(name: str, kind: Any) -> Any:
    """A function of LLVM's on float lanes or floats."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = context.get_value_type(kind)
        suffix = f"v{kind.lanes}f{kind.dtype.bitwidth}" if isinstance(kind, Vec) else f"f{kind.bitwidth}"
        function = ir.FunctionType(result, [result] * len(args))
        return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix}"), args)

    return codegen


def fused(context: Any, builder: Any, kind: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit what `fma` does with three of type ``kind``, inside another intrinsic."""
    if has_fma():
        return by_llvm("fma", kind)(context, builder, None, (a, b, c))
    return builder.fadd(builder.fmul(a, b), c)


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c of three vectors or three floats, rounded once where the processor can (`has_fma`), else twice."""
    if not a == b == c:
        raise TypingError(f"fma takes three of one type, not {a}, {b}, {c}")

    return a(a, b, c), lambda context, builder, signature, args: fused(context, builder, a, *args)


@intrinsic
def polynomial(typingctx: Any, x: Any, coefficients: Any) -> Any:
    """A polynomial of float lanes, fused as by `fma`; coefficients (a tuple of numbers) from the highest power down."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, *others = (
            _widened(context, builder, c, coefficients.dtype, x) for c in cgutils.unpack_tuple(builder, args[1])
        )
        for other in others:
            value = fused(context, builder, x, value, args[0], other)
        return value

    return x(x, coefficients), codegen


@intrinsic
def select(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """a where the mask is true, else b; one of the two may be a scalar."""
    vector = _common(a, b)
    if vector is None or mask != vector.like(types.boolean):
        raise TypingError(f"select takes a mask and two of one vector type, not {mask}, {a}, {b}")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = (_widened(context, builder, args[i], signature.args[i], vector) for i in (1, 2))
        return builder.select(args[0], *values)

    return vector(mask, a, b), codegen


@intrinsic
def absolute(typingctx: Any, a: Any) -> Any:
    """Magnitude of float lanes."""
    return a(a), by_llvm("fabs", a)


@intrinsic
def root(typingctx: Any, a: Any) -> Any:
    """Square root of float lanes, correctly rounded."""
    return a(a), by_llvm("sqrt", a)


def _extreme(symbol: str) -> Callable[[Any, Any, Any], Any]:
    def typed(typingctx: Any, a: Any, b: Any) -> Any:
        vector = _common(a, b)
        if vector is None:
            raise TypingError(f"takes vectors of one type, or one and a scalar, not {a}, {b}")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            left, right = (_widened(context, builder, args[i], signature.args[i], vector) for i in (0, 1))
            return builder.select(_comparison(symbol)(builder, vector, left, right), left, right)

        return vector(a, b), codegen

    return typed


maximum = intrinsic(_extreme(">"))
"""a where a > b, else b (so b where a is NaN)."""
minimum = intrinsic(_extreme("<"))
"""a where a < b, else b (so b where a is NaN)."""


@intrinsic
def total(typingctx: Any, a: Any) -> Any:
    """The sum of the lanes: halves onto halves."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], a.lanes
        while width > 1:
            width //= 2
            halves = (shuffled(builder, value, value, list(range(k, k + width))) for k in (0, width))
            value = _arithmetic("fadd", "add")(builder, a, *halves)
        return builder.extract_element(value, index_of(0))

    return a.dtype(a), codegen


@intrinsic
def lane(typingctx: Any, a: Any, i: Any) -> Any:
    """One lane as a scalar."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1])

    return a.dtype(a, types.intp), codegen
