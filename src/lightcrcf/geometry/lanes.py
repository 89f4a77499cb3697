"""Vectors of 16 numbers that compiled kernels hold in variables and compute with.

LLVM makes vectors of a loop only where it can prove that what is written is not read again, and gives up where a loop
has many arrays. Here a kernel says what it wants: `read` 16 neighbours, add, subtract, multiply and divide them as
numbers are, and `put` them. On processors with shorter vectors LLVM makes several of each.

All of it is for use within kernels, on flat C-contiguous float32 arrays, and reads and writes what it is told to
without looking for bounds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

__all__ = [
    "FLOAT", "INT32", "INT64", "LANES", "VECTOR", "address", "filled", "larger", "numbered", "put", "put_part", "read",
    "read_part", "read_within", "root", "splat", "vector", "where_above",
]  # fmt: skip

LANES = 16  # numbers of a vector
INT32, INT64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()

# What LLVM calls things. Vectors are typed for Numba only so that kernels can hold them in variables.


def vector(element: Any, lanes: int = LANES) -> Any:
    """LLVM's type of a vector."""
    return ir.VectorType(element, lanes)


class _Lanes(types.Type):  # type: ignore[misc]
    """One vector of float32."""

    def __init__(self) -> None:
        super().__init__(name="lightcrcf.float32x16")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, vector(FLOAT))


VECTOR = _Lanes()
"""Numba's type of one vector of float32."""


def address(context: Any, builder: Any, kind: Any, array: Any, index: Any, element: Any) -> Any:
    """A pointer to `element` at an index of a flat array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), element.as_pointer())


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """A vector of which every number is `scalar`."""
    empty = ir.Constant(vector(scalar.type, lanes), ir.Undefined)
    zeros = ir.Constant(vector(INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(builder.insert_element(empty, scalar, INT32(0)), empty, zeros)


def _operation(function: Any, method: str) -> None:
    """Teach Numba an operator for two vectors; multiplications and additions may be fused."""

    @type_callable(function)  # type: ignore[untyped-decorator]
    def typed(_: Any) -> Callable[[Any, Any], Any]:
        return lambda a, b: VECTOR if (a, b) == (VECTOR, VECTOR) else None

    @lower_builtin(function, VECTOR, VECTOR)  # type: ignore[untyped-decorator]
    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return getattr(builder, method)(*arguments, flags=("contract",))


for _functions, _method in (
    ((operator.add, operator.iadd), "fadd"),
    ((operator.sub, operator.isub), "fsub"),
    ((operator.mul, operator.imul), "fmul"),
    ((operator.truediv, operator.itruediv), "fdiv"),
):
    for _function in _functions:
        _operation(_function, _method)


@intrinsic  # type: ignore[untyped-decorator]
def filled(_: Any, number: Any) -> Any:
    """filled(number): 16 times that float32."""
    return VECTOR(types.float32), lambda _, builder, __, arguments: splat(builder, arguments[0])


@intrinsic  # type: ignore[untyped-decorator]
def larger(_: Any, a: Any, b: Any) -> Any:
    """larger(a, b): of each two numbers the larger; b where either is no number."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return VECTOR(a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def where_above(_: Any, value: Any, limit: Any, a: Any, b: Any) -> Any:
    """where_above(value, limit, a, b): a where value > limit, else b."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments[:2]), *arguments[2:])

    return VECTOR(value, limit, a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def root(_: Any, values: Any) -> Any:
    """root(values): their square roots."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.call(_function_of(builder, "llvm.sqrt.v16f32", vector(FLOAT), [vector(FLOAT)]), arguments)

    return VECTOR(values), generate


@intrinsic  # type: ignore[untyped-decorator]
def read(_: Any, array: Any, at: Any) -> Any:
    """read(array, at): array[at : at + 16]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        pointer = address(context, builder, signature.args[0], arguments[0], arguments[1], vector(FLOAT))
        return builder.load(pointer, align=4)

    return VECTOR(array, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def put(_: Any, values: Any, array: Any, at: Any) -> Any:
    """put(values, array, at): array[at : at + 16] = values."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        pointer = address(context, builder, signature.args[1], arguments[1], arguments[2], vector(FLOAT))
        builder.store(arguments[0], pointer, align=4)
        return context.get_dummy_value()

    return types.void(values, array, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def read_part(_: Any, array: Any, at: Any, count: Any) -> Any:
    """read_part(array, at, count): as `read`, but only the first `count` are read, 0 for the others."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        whole = vector(FLOAT)
        pointer = address(context, builder, signature.args[0], arguments[0], arguments[1], whole)
        function, zeros = _masked_load(builder), ir.Constant(whole, [0.0] * LANES)
        with builder.if_else(_all(builder, arguments[2])) as (then, otherwise):
            with then:
                everything, block = builder.load(pointer, align=4), builder.block
            with otherwise:
                part = builder.call(function, [pointer, INT32(4), _first(builder, arguments[2]), zeros])
                other_block = builder.block
        found = builder.phi(whole)
        found.add_incoming(everything, block)
        found.add_incoming(part, other_block)
        return found

    return VECTOR(array, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def read_within(_: Any, array: Any, at: Any, first: Any, end: Any) -> Any:
    """read_within(array, at, first, end): as `read`, but only what lies in first : end is read, 0 for the others."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        array, at, first, end = arguments
        whole, mask = vector(FLOAT), vector(ir.IntType(1))
        pointer = address(context, builder, signature.args[0], array, at, whole)
        before = builder.xor(_first(builder, builder.sub(first, at)), ir.Constant(mask, [1] * LANES))
        kept = builder.and_(before, _first(builder, builder.sub(end, at)))
        return builder.call(_masked_load(builder), [pointer, INT32(4), kept, ir.Constant(whole, [0.0] * LANES)])

    return VECTOR(array, *[types.int64] * 3), generate


@intrinsic  # type: ignore[untyped-decorator]
def numbered(_: Any, first: Any) -> Any:
    """numbered(first): that float32, and one more each time."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        numbers = ir.Constant(vector(FLOAT), [float(n) for n in range(LANES)])
        return builder.fadd(splat(builder, arguments[0]), numbers)

    return VECTOR(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def put_part(_: Any, values: Any, array: Any, at: Any, count: Any) -> Any:
    """put_part(values, array, at, count): as `put`, but only the first `count`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        whole, mask = vector(FLOAT), vector(ir.IntType(1))
        pointer = address(context, builder, signature.args[1], arguments[1], arguments[2], whole)
        name, types_of = "llvm.masked.store.v16f32.p0", [whole, whole.as_pointer(), INT32, mask]
        function = _function_of(builder, name, ir.VoidType(), types_of)
        with builder.if_else(_all(builder, arguments[3])) as (then, otherwise):
            with then:
                builder.store(arguments[0], pointer, align=4)
            with otherwise:
                builder.call(function, [arguments[0], pointer, INT32(4), _first(builder, arguments[3])])
        return context.get_dummy_value()

    return types.void(values, array, types.int64, types.int64), generate


def _masked_load(builder: Any) -> Any:
    whole, mask = vector(FLOAT), vector(ir.IntType(1))
    return _function_of(builder, "llvm.masked.load.v16f32.p0", whole, [whole.as_pointer(), INT32, mask, whole])


def _all(builder: Any, count: Any) -> Any:
    """Whether there are as many as a vector has: then no mask is needed, which not every processor knows."""
    return builder.icmp_signed(">=", count, INT64(LANES))


def _first(builder: Any, count: Any) -> Any:
    """A mask of the first `count` numbers."""
    numbers = ir.Constant(vector(INT32), list(range(LANES)))
    return builder.icmp_signed("<", numbers, splat(builder, builder.trunc(count, INT32)))


def _function_of(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)
