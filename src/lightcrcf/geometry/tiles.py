"""Register tiles of accumulators: fused multiply-add in float32 and the dot product in bfloat16, as LLVM intrinsics.

A *pair* is an int32 with two bfloat16 values, the first in its lower half; a processor with AVX512-BF16 adds the
products of 16 pairs and 16 others to 16 float32 sums in one instruction. *Sums* are a tile of accumulators in
registers: some output channels times some vectors of 16 neighbouring voxels. `initialize`, `multiply_add`,
`store_pairs` and `store_floats` return functions for a tile size. All functions are for use within kernels, on flat
arrays, without bounds checks.

Source:
    Intel, "Architecture Instruction Set Extensions Programming Reference", VDPBF16PS and VCVTNEPS2BF16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from lightcrcf.geometry.simd import FLOAT, INT32, INT64, LANES, VECTOR, address, splat, vector

__all__ = [
    "Tile",
    "dot_product_is_native",
    "initialize",
    "interpolate_features",
    "multiply_add",
    "pack_pair",
    "pack_pairs",
    "store_floats",
    "store_pairs",
    "vectors_are_long",
]

Tile = tuple[int, int]
"""Output channels, and vectors per channel."""

_LLVM = 20  # first version that is known to have the intrinsic with this name and types


def dot_product_is_native() -> bool:
    """Return whether kernels are compiled for a processor with the bfloat16 dot product."""
    return llvmlite.binding.llvm_version_info[0] >= _LLVM and _compiled_for("avx512bf16")


def vectors_are_long() -> bool:
    """Return whether kernels are compiled for 32 registers of 16 values; otherwise tiles must be small."""
    return _compiled_for("avx512f")


def _compiled_for(feature: str) -> bool:
    """Return whether the processor has a feature, and Numba does not compile for another one."""
    settings = vars(numba.config)
    if settings["CPU_NAME"] or settings["CPU_FEATURES"] is not None:
        return False
    try:
        return bool(llvmlite.binding.get_host_cpu_features().get(feature))
    except RuntimeError:  # unknown to LLVM for this processor
        return False


def pack_pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.int32]:
    """Pack two float32 arrays as pairs, rounded to the nearest bfloat16, ties to even.

    Example:
        >>> pack_pairs(np.array([1.0], np.float32), np.array([-2.0], np.float32)).view(np.uint32)
        array([3221241728], dtype=uint32)
        >>> hex(3221241728)
        '0xc0003f80'
    """
    low, high = (_round_bits(np.ascontiguousarray(x, np.float32).view(np.uint32)) for x in (first, second))
    return (low | high << np.uint32(16)).view(np.int32)


def _round_bits(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)


_INT16 = ir.IntType(16)


class _BFloat16(ir.Type):  # type: ignore[misc]  # LLVM's type of which llvmlite does not know
    null = "0.0"

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash("bfloat")


def _offset(builder: Any, index: Any, more: int) -> Any:
    return builder.add(index, INT64(more))


def initialize(tile: Tile) -> Any:
    """Return a function (bias, o): sums initialised with bias[o], bias[o + 1], ..."""
    outputs, vectors = tile

    @intrinsic  # type: ignore[untyped-decorator]
    def define(_: Any, bias: Any, o: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            values = []
            for q in range(outputs):
                index = _offset(builder, arguments[1], q)
                pointer = address(context, builder, signature.args[0], arguments[0], index, FLOAT)
                values += [splat(builder, builder.load(pointer))] * vectors
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(VECTOR, outputs * vectors)(bias, types.int64), generate

    return define


def multiply_add(tile: Tile) -> Any:
    """Return a function (sums, source, at, weight, w): sums plus the products of source[at], ... and weight[w], ...

    Source and weights are float32, or pairs in int32.
    """
    outputs, vectors = tile

    @intrinsic  # type: ignore[untyped-decorator]
    def define(_: Any, sums: Any, source: Any, at: Any, weight: Any, w: Any) -> Any:
        element = FLOAT if source.dtype == types.float32 else INT32

        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            old, multiply = cgutils.unpack_tuple(builder, arguments[0]), _fused_multiply_add(builder, element)
            inputs, new = [], []
            for v in range(vectors):
                index = _offset(builder, arguments[2], LANES * v)
                pointer = address(context, builder, signature.args[1], arguments[1], index, vector(element))
                inputs.append(builder.load(pointer, align=4))
            for q in range(outputs):
                index = _offset(builder, arguments[4], q)
                pointer = address(context, builder, signature.args[3], arguments[3], index, element)
                factor = splat(builder, builder.load(pointer))
                new += [multiply(old[q * vectors + v], inputs[v], factor) for v in range(vectors)]
            return context.make_tuple(builder, signature.return_type, new)

        return sums(sums, source, types.int64, weight, types.int64), generate

    return define


def _fused_multiply_add(builder: Any, element: Any) -> Any:
    """Return a function that adds the products of two vectors to an accumulator."""
    sums = vector(FLOAT)
    operand = sums if element == FLOAT else vector(_BFloat16(), 2 * LANES)
    name = "llvm.fma.v16f32" if element == FLOAT else "llvm.x86.avx512bf16.dpbf16ps.512"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(sums, [sums, operand, operand]), name)

    def product(total: Any, x: Any, y: Any) -> Any:
        if element == FLOAT:
            return builder.call(function, [x, y, total])
        return builder.call(function, [total, builder.bitcast(x, operand), builder.bitcast(y, operand)])

    return product


def store_pairs(tile: Tile) -> Any:
    """Return a function (sums, slope, mask, m, out, at, stride) that stores the leaky ReLU of sums as pairs.

    Channels 2 p and 2 p + 1 go to out[at + p stride], ...; zeros go where the mask, from m on, is 0 instead of -1.
    """
    outputs, vectors = tile

    @intrinsic  # type: ignore[untyped-decorator]
    def define(_: Any, sums: Any, slope: Any, mask: Any, m: Any, out: Any, at: Any, stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            values = cgutils.unpack_tuple(builder, arguments[0])
            factor, zero = splat(builder, arguments[1]), ir.Constant(vector(FLOAT), [0.0] * LANES)
            masks = []
            for v in range(vectors):
                index = _offset(builder, arguments[3], LANES * v)
                pointer = address(context, builder, signature.args[2], arguments[2], index, vector(INT32))
                masks.append(builder.load(pointer, align=4))
            for p in range(outputs // 2):
                first = builder.add(arguments[5], builder.mul(arguments[6], INT64(p)))
                for v in range(vectors):
                    low, high = (
                        builder.select(builder.fcmp_ordered(">", x, zero), x, builder.fmul(x, factor))
                        for x in (values[2 * p * vectors + v], values[(2 * p + 1) * vectors + v])
                    )
                    kept = builder.and_(_pack_vectors(builder, low, high), masks[v])
                    index = _offset(builder, first, LANES * v)
                    pointer = address(context, builder, signature.args[4], arguments[4], index, vector(INT32))
                    builder.store(kept, pointer, align=4)
            return context.get_dummy_value()

        arguments = (sums, types.float32, mask, types.int64, out, types.int64, types.int64)
        return types.void(*arguments), generate

    return define


def _pack_vectors(builder: Any, low: Any, high: Any) -> Any:
    """Round two vectors of float32 to one of pairs."""
    halves = (builder.bitcast(builder.fptrunc(x, vector(_BFloat16())), vector(_INT16)) for x in (low, high))
    first, second = (builder.zext(half, vector(INT32)) for half in halves)
    return builder.or_(first, builder.shl(second, ir.Constant(vector(INT32), [LANES] * LANES)))


def store_floats(tile: Tile, channels: int) -> Any:
    """Return a function (sums, out, at, stride) that stores channel c of the sums at out[at + c stride], ..."""
    vectors = tile[1]

    @intrinsic  # type: ignore[untyped-decorator]
    def define(_: Any, sums: Any, out: Any, at: Any, stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            values = cgutils.unpack_tuple(builder, arguments[0])
            for c in range(channels):
                first = builder.add(arguments[2], builder.mul(arguments[3], INT64(c)))
                for v in range(vectors):
                    index = _offset(builder, first, LANES * v)
                    pointer = address(context, builder, signature.args[1], arguments[1], index, vector(FLOAT))
                    builder.store(values[c * vectors + v], pointer, align=4)
            return context.get_dummy_value()

        return types.void(sums, out, types.int64, types.int64), generate

    return define


@intrinsic  # type: ignore[untyped-decorator]
def pack_pair(_: Any, low: Any, high: Any) -> Any:
    """pack_pair(low, high): two float32 as a pair, rounded to nearest, ties to even."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        def half(x: Any) -> Any:  # integer arithmetic on the bits, which LLVM can vectorise
            bits = builder.bitcast(x, INT32)
            odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
            return builder.lshr(builder.add(bits, builder.add(odd, INT32(0x7FFF))), INT32(16))

        return builder.or_(half(arguments[0]), builder.shl(half(arguments[1]), INT32(16)))

    return types.int32(types.float32, types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def interpolate_features(
    _: Any, features: Any, corners: Any, weights: Any, k: Any, span: Any, out: Any, at: Any, stride: Any
) -> Any:
    """interpolate_features(features, corners, weights, k, span, out, at, stride): eight channels from eight voxels.

    Features hold eight float32, or four pairs of channels, per voxel, from features[corner] on; the n-th of eight
    corners has the weight weights[k + n span]. Sums are float32, and are stored at out[at], out[at + stride], ..., one
    channel or one rounded pair each.
    """
    paired = features.dtype == types.int32

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        values, eight = vector(FLOAT, 8), vector(INT32, 8)
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(values, [values] * 3), "llvm.fma.v8f32")
        total = ir.Constant(values, [0.0] * 8)
        for n, corner in enumerate(cgutils.unpack_tuple(builder, arguments[1])):
            stored = vector(_INT16, 8) if paired else values
            voxel = builder.load(address(context, builder, signature.args[0], arguments[0], corner, stored), align=4)
            if paired:
                high = builder.shl(builder.zext(voxel, eight), ir.Constant(eight, [16] * 8))
                voxel = builder.bitcast(high, values)
            index = builder.add(arguments[3], builder.mul(arguments[4], INT64(n)))
            weight = builder.load(address(context, builder, signature.args[2], arguments[2], index, FLOAT))
            total = builder.call(fma, [voxel, splat(builder, weight, 8), total])
        if paired:
            total = builder.bitcast(builder.fptrunc(total, vector(_BFloat16(), 8)), vector(INT32, 4))
        for p in range(total.type.count):
            index = builder.add(arguments[6], builder.mul(arguments[7], INT64(p)))
            pointer = address(context, builder, signature.args[5], arguments[5], index, total.type.element)
            builder.store(builder.extract_element(total, INT32(p)), pointer)
        return context.get_dummy_value()

    integers = (types.int64, types.int64)
    return types.void(features, corners, weights, *integers, out, *integers), generate
