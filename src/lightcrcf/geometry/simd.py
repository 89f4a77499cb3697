"""SIMD vectors of 16 float32 values for compiled kernels: load, store, arithmetic and selection.

LLVM vectorises a loop only if it can prove that stores do not alias loads, and fails for loops over many arrays. These
intrinsics are explicit. On processors with shorter vectors LLVM splits each operation.

For use within kernels, on flat C-contiguous float32 arrays, without bounds checks.
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
    "FLOAT",
    "INT32",
    "INT64",
    "LANES",
    "VECTOR",
    "address",
    "broadcast",
    "iota",
    "load",
    "load_bounded",
    "load_masked",
    "maximum",
    "select_above",
    "splat",
    "sqrt",
    "store",
    "store_masked",
    "vector",
]  # fmt: skip

LANES = 16  # values of a vector
INT32, INT64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()

# LLVM types. The Numba type exists only so that kernels can hold vectors in variables.


def vector(element: Any, lanes: int = LANES) -> Any:
    """Return the LLVM type of a vector."""
    return ir.VectorType(element, lanes)


class _Float32x16(types.Type):  # type: ignore[misc]
    """The Numba type of a vector of 16 float32."""

    def __init__(self) -> None:
        super().__init__(name="lightcrcf.float32x16")


@register_model(_Float32x16)
class _Float32x16Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, vector(FLOAT))


VECTOR = _Float32x16()
"""The Numba type of a vector of float32."""


def address(context: Any, builder: Any, kind: Any, array: Any, index: Any, element: Any) -> Any:
    """Return a pointer to `element` at an index of a flat array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), element.as_pointer())


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """Return a vector with `scalar` in all lanes."""
    empty = ir.Constant(vector(scalar.type, lanes), ir.Undefined)
    zeros = ir.Constant(vector(INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(builder.insert_element(empty, scalar, INT32(0)), empty, zeros)


def _operation(function: Any, method: str) -> None:
    """Register an operator on two vectors with Numba; multiplications and additions may be fused."""

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
def broadcast(_: Any, number: Any) -> Any:
    """broadcast(number): a vector with that float32 in all lanes."""
    return VECTOR(types.float32), lambda _, builder, __, arguments: splat(builder, arguments[0])


@intrinsic  # type: ignore[untyped-decorator]
def maximum(_: Any, a: Any, b: Any) -> Any:
    """maximum(a, b): element-wise maximum; b where either operand is NaN."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return VECTOR(a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def select_above(_: Any, value: Any, limit: Any, a: Any, b: Any) -> Any:
    """select_above(value, limit, a, b): a where value > limit, else b."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments[:2]), *arguments[2:])

    return VECTOR(value, limit, a, b), generate


@intrinsic  # type: ignore[untyped-decorator]
def sqrt(_: Any, values: Any) -> Any:
    """sqrt(values): element-wise square root."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        return builder.call(_function_of(builder, "llvm.sqrt.v16f32", vector(FLOAT), [vector(FLOAT)]), arguments)

    return VECTOR(values), generate


@intrinsic  # type: ignore[untyped-decorator]
def load(_: Any, array: Any, at: Any) -> Any:
    """load(array, at): array[at : at + 16]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        pointer = address(context, builder, signature.args[0], arguments[0], arguments[1], vector(FLOAT))
        return builder.load(pointer, align=4)

    return VECTOR(array, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(_: Any, values: Any, array: Any, at: Any) -> Any:
    """store(values, array, at): array[at : at + 16] = values."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        pointer = address(context, builder, signature.args[1], arguments[1], arguments[2], vector(FLOAT))
        builder.store(arguments[0], pointer, align=4)
        return context.get_dummy_value()

    return types.void(values, array, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_masked(_: Any, array: Any, at: Any, count: Any) -> Any:
    """load_masked(array, at, count): `load` of the first `count` values; 0 in the other lanes."""

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
def load_bounded(_: Any, array: Any, at: Any, first: Any, end: Any) -> Any:
    """load_bounded(array, at, first, end): `load` of the values within first : end; 0 in the other lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        array, at, first, end = arguments
        whole, mask = vector(FLOAT), vector(ir.IntType(1))
        pointer = address(context, builder, signature.args[0], array, at, whole)
        before = builder.xor(_first(builder, builder.sub(first, at)), ir.Constant(mask, [1] * LANES))
        kept = builder.and_(before, _first(builder, builder.sub(end, at)))
        return builder.call(_masked_load(builder), [pointer, INT32(4), kept, ir.Constant(whole, [0.0] * LANES)])

    return VECTOR(array, *[types.int64] * 3), generate


@intrinsic  # type: ignore[untyped-decorator]
def iota(_: Any, first: Any) -> Any:
    """iota(first): first, first + 1, first + 2, ... in float32."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        numbers = ir.Constant(vector(FLOAT), [float(n) for n in range(LANES)])
        return builder.fadd(splat(builder, arguments[0]), numbers)

    return VECTOR(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_masked(_: Any, values: Any, array: Any, at: Any, count: Any) -> Any:
    """store_masked(values, array, at, count): `store` of the first `count` values."""

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
    """Return whether `count` covers a whole vector; then no mask is needed, which some processors emulate."""
    return builder.icmp_signed(">=", count, INT64(LANES))


def _first(builder: Any, count: Any) -> Any:
    """Return a mask of the first `count` lanes."""
    numbers = ir.Constant(vector(INT32), list(range(LANES)))
    return builder.icmp_signed("<", numbers, splat(builder, builder.trunc(count, INT32)))


def _function_of(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)
