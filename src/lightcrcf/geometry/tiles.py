"""Tiles of sums that stay in registers while a kernel adds to them, and the dot product in bfloat16.

Numba has no way to ask for either; what it has is a way to say what LLVM is to be told.

A *pair* is one int32 that holds two bfloat16 numbers, the first in its lower half; a processor with AVX512-BF16 adds
the products of 16 pairs with 16 others to 16 float32 sums in one instruction. *Sums* are a tile of vectors that stays
in registers: some output channels, each for some vectors of 16 neighbouring voxels. Tiles are made for their size, by
`begin`, `add`, `put_pairs` and `put_floats`. What these give, and the other functions here, is for use within kernels,
on flat arrays, and reads and writes what it is told to without looking for bounds.

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

from lightcrcf.geometry.lanes import FLOAT, INT32, INT64, LANES, VECTOR, address, splat, vector

__all__ = [
    "Tile",
    "add",
    "begin",
    "blend_features",
    "dot_product_is_native",
    "pairs",
    "put_floats",
    "put_pairs",
    "rounded",
    "vectors_are_long",
]

Tile = tuple[int, int]
"""Output channels, and vectors of each."""

_LLVM = 20  # from it on LLVM is known to have the instruction under the name and types that are used here


def dot_product_is_native() -> bool:
    """Whether kernels are compiled for a processor that has the instruction; elsewhere those that use it are not."""
    return llvmlite.binding.llvm_version_info[0] >= _LLVM and _compiled_for("avx512bf16")


def vectors_are_long() -> bool:
    """Whether kernels are compiled for 32 registers of 16 numbers; elsewhere a tile must be small."""
    return _compiled_for("avx512f")


def _compiled_for(feature: str) -> bool:
    """Whether the processor has it, and Numba was not told to compile for another one."""
    settings = vars(numba.config)
    if settings["CPU_NAME"] or settings["CPU_FEATURES"] is not None:
        return False
    try:
        return bool(llvmlite.binding.get_host_cpu_features().get(feature))
    except RuntimeError:  # LLVM does not tell for this kind of processor
        return False


def pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.int32]:
    """Two arrays of numbers as one of pairs, rounded to the nearest bfloat16, ties to even.

    Example:
        >>> pairs(np.array([1.0], np.float32), np.array([-2.0], np.float32)).view(np.uint32)
        array([3221241728], dtype=uint32)
        >>> hex(3221241728)
        '0xc0003f80'
    """
    low, high = (_rounded(np.ascontiguousarray(x, np.float32).view(np.uint32)) for x in (first, second))
    return (low | high << np.uint32(16)).view(np.int32)


def _rounded(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
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


def _plus(builder: Any, index: Any, more: int) -> Any:
    return builder.add(index, INT64(more))


def begin(tile: Tile) -> Any:
    """A function (bias, o): sums that start with bias[o], bias[o + 1], ..."""
    outputs, vectors = tile

    @intrinsic  # type: ignore[untyped-decorator]
    def made(_: Any, bias: Any, o: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            values = []
            for q in range(outputs):
                index = _plus(builder, arguments[1], q)
                pointer = address(context, builder, signature.args[0], arguments[0], index, FLOAT)
                values += [splat(builder, builder.load(pointer))] * vectors
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(VECTOR, outputs * vectors)(bias, types.int64), generate

    return made


def add(tile: Tile) -> Any:
    """A function (sums, source, at, weight, w): the sums and the products of source[at], ... with weight[w], ...

    Source and weights are float32, or int32 that are pairs.
    """
    outputs, vectors = tile

    @intrinsic  # type: ignore[untyped-decorator]
    def made(_: Any, sums: Any, source: Any, at: Any, weight: Any, w: Any) -> Any:
        element = FLOAT if source.dtype == types.float32 else INT32

        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            old, multiply = cgutils.unpack_tuple(builder, arguments[0]), _multiply(builder, element)
            inputs, new = [], []
            for v in range(vectors):
                index = _plus(builder, arguments[2], LANES * v)
                pointer = address(context, builder, signature.args[1], arguments[1], index, vector(element))
                inputs.append(builder.load(pointer, align=4))
            for q in range(outputs):
                index = _plus(builder, arguments[4], q)
                pointer = address(context, builder, signature.args[3], arguments[3], index, element)
                factor = splat(builder, builder.load(pointer))
                new += [multiply(old[q * vectors + v], inputs[v], factor) for v in range(vectors)]
            return context.make_tuple(builder, signature.return_type, new)

        return sums(sums, source, types.int64, weight, types.int64), generate

    return made


def _multiply(builder: Any, element: Any) -> Any:
    """What adds the products of two vectors to sums."""
    sums = vector(FLOAT)
    operand = sums if element == FLOAT else vector(_BFloat16(), 2 * LANES)
    name = "llvm.fma.v16f32" if element == FLOAT else "llvm.x86.avx512bf16.dpbf16ps.512"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(sums, [sums, operand, operand]), name)

    def product(total: Any, x: Any, y: Any) -> Any:
        if element == FLOAT:
            return builder.call(function, [x, y, total])
        return builder.call(function, [total, builder.bitcast(x, operand), builder.bitcast(y, operand)])

    return product


def put_pairs(tile: Tile) -> Any:
    """A function (sums, slope, mask, m, out, at, stride) that writes the leaky ReLU of the sums as pairs of channels.

    Channels 2 p and 2 p + 1 go to out[at + p stride], ...; where the mask, from m on, is 0 and not -1, zeros do.
    """
    outputs, vectors = tile

    @intrinsic  # type: ignore[untyped-decorator]
    def made(_: Any, sums: Any, slope: Any, mask: Any, m: Any, out: Any, at: Any, stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            values = cgutils.unpack_tuple(builder, arguments[0])
            factor, zero = splat(builder, arguments[1]), ir.Constant(vector(FLOAT), [0.0] * LANES)
            masks = []
            for v in range(vectors):
                index = _plus(builder, arguments[3], LANES * v)
                pointer = address(context, builder, signature.args[2], arguments[2], index, vector(INT32))
                masks.append(builder.load(pointer, align=4))
            for p in range(outputs // 2):
                first = builder.add(arguments[5], builder.mul(arguments[6], INT64(p)))
                for v in range(vectors):
                    low, high = (
                        builder.select(builder.fcmp_ordered(">", x, zero), x, builder.fmul(x, factor))
                        for x in (values[2 * p * vectors + v], values[(2 * p + 1) * vectors + v])
                    )
                    kept = builder.and_(_paired(builder, low, high), masks[v])
                    index = _plus(builder, first, LANES * v)
                    pointer = address(context, builder, signature.args[4], arguments[4], index, vector(INT32))
                    builder.store(kept, pointer, align=4)
            return context.get_dummy_value()

        arguments = (sums, types.float32, mask, types.int64, out, types.int64, types.int64)
        return types.void(*arguments), generate

    return made


def _paired(builder: Any, low: Any, high: Any) -> Any:
    """Vectors of float32 rounded to one of pairs."""
    halves = (builder.bitcast(builder.fptrunc(x, vector(_BFloat16())), vector(_INT16)) for x in (low, high))
    first, second = (builder.zext(half, vector(INT32)) for half in halves)
    return builder.or_(first, builder.shl(second, ir.Constant(vector(INT32), [LANES] * LANES)))


def put_floats(tile: Tile, channels: int) -> Any:
    """A function (sums, out, at, stride) that writes the first channels as they are, c to out[at + c stride], ..."""
    vectors = tile[1]

    @intrinsic  # type: ignore[untyped-decorator]
    def made(_: Any, sums: Any, out: Any, at: Any, stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
            values = cgutils.unpack_tuple(builder, arguments[0])
            for c in range(channels):
                first = builder.add(arguments[2], builder.mul(arguments[3], INT64(c)))
                for v in range(vectors):
                    index = _plus(builder, first, LANES * v)
                    pointer = address(context, builder, signature.args[1], arguments[1], index, vector(FLOAT))
                    builder.store(values[c * vectors + v], pointer, align=4)
            return context.get_dummy_value()

        return types.void(sums, out, types.int64, types.int64), generate

    return made


@intrinsic  # type: ignore[untyped-decorator]
def rounded(_: Any, low: Any, high: Any) -> Any:
    """rounded(low, high): two float32 as one pair, rounded to nearest, ties to even."""

    def generate(_: Any, builder: Any, __: Any, arguments: Sequence[Any]) -> Any:
        def half(x: Any) -> Any:  # arithmetic on its bits, which LLVM turns into vectors as it does loops
            bits = builder.bitcast(x, INT32)
            odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
            return builder.lshr(builder.add(bits, builder.add(odd, INT32(0x7FFF))), INT32(16))

        return builder.or_(half(arguments[0]), builder.shl(half(arguments[1]), INT32(16)))

    return types.int32(types.float32, types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def blend_features(
    _: Any, features: Any, corners: Any, weights: Any, k: Any, span: Any, out: Any, at: Any, stride: Any
) -> Any:
    """blend_features(features, corners, weights, k, span, out, at, stride): eight channels between eight voxels.

    Of each voxel features hold eight float32, or four pairs of channels, from features[corner] on; the n-th of eight
    corners has the weight weights[k + n span]. Summed in float32, and put to out[at], out[at + stride], ..., one
    channel each, or one pair, rounded.
    """
    paired = features.dtype == types.int32

    def generate(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        values, eight = vector(FLOAT, 8), vector(INT32, 8)
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(values, [values] * 3), "llvm.fma.v8f32")
        total = ir.Constant(values, [0.0] * 8)
        for n, corner in enumerate(cgutils.unpack_tuple(builder, arguments[1])):
            held = vector(_INT16, 8) if paired else values
            voxel = builder.load(address(context, builder, signature.args[0], arguments[0], corner, held), align=4)
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
