"""The boundary of the native core: sampling and fields refuse what would read or write out of bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry import determinant, diffeomorphic_kernels, gradients, kernels, points

SHAPE, CELLS = (5, 6, 7), (6, 7, 8)
Call = tuple[Callable[..., None], list[Any]]


def floats(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def calls() -> dict[str, Call]:
    """Each function with arguments that it takes."""
    u, image, matrix = floats(3, *SHAPE), floats(2, *SHAPE), np.eye(3, 4)
    indices, places = np.arange(4), np.zeros((4, 3))
    mapping = [matrix, matrix, np.eye(3, dtype=np.float32), floats(3, 2, 3, 4)]
    labels = np.zeros(SHAPE, np.uint16)
    return {
        "warp": (_core.warp, [image, u, floats(2, *SHAPE)]),
        "warp_upsampled": (_core.warp_upsampled, [image, floats(3, 3, 3, 4), floats(2, *SHAPE)]),
        "compose": (_core.compose, [u, floats(3, *SHAPE), floats(3, *SHAPE)]),
        "upsample": (_core.upsample, [floats(3, 3, 3, 4), floats(3, *SHAPE)]),
        "resample_linear": (_core.resample_linear, [image[0], *mapping, 0.0, floats(3, 4, 5)]),
        "resample_cubic": (_core.resample_cubic, [image[0], *mapping, 0.0, floats(3, 4, 5)]),
        "resample_nearest": (_core.resample_nearest, [labels, *mapping, 7, np.zeros((3, 4, 5), np.uint16)]),
        "jacobian_determinant": (_core.jacobian_determinant, [u, floats(*SHAPE)]),
        "determinants_at": (_core.determinants_at, [u, indices, floats(4)]),
        "even_out": (_core.even_out, [u, floats(*SHAPE), 0.1]),
        "mark_cubes": (_core.mark_cubes, [indices, 1, np.zeros(SHAPE, np.uint8)]),
        "window_mean": (_core.window_mean, [image, 2, floats(2, *SHAPE)]),
        "warp_gradient": (_core.warp_gradient, [image, u, floats(2, *SHAPE), floats(3, *SHAPE)]),
        "warp_features_gradient": (_core.warp_features_gradient, [u, image, floats(2, *SHAPE)]),
        "displacement_at": (_core.displacement_at, [u, places, np.zeros((4, 3))]),
        "invert_at": (_core.invert_at, [u, places, 30, 1e-3, np.zeros((4, 3))]),
        "invert": (_core.invert, [u, 30, 1e-3, floats(3, *SHAPE)]),
        "lowest_determinants": (_core.lowest_determinants, [u, floats(*CELLS)]),
        "unfold": (_core.unfold, [u, indices, 0.1, 0.2, 1.0, np.zeros(4, np.uint8)]),
        "smooth_at": (_core.smooth_at, [u, indices, floats(3, 4)]),
    }


def spoiled(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield arrays of another shape, rank, type or layout."""
    for axis in range(array.ndim):
        wider = np.concatenate([array, array.take([0], axis)], axis)
        yield from (np.ascontiguousarray(array.take(range(array.shape[axis] - 1), axis)), wider)
        yield np.zeros((*array.shape[:axis], 0, *array.shape[axis + 1 :]), array.dtype)
    yield array[None]
    yield array[0]
    yield array.astype(np.int8)
    yield array.astype(array.dtype.newbyteorder())
    yield np.stack([array, array], axis=-1)[..., 0]


SHAPES_MAY_DIFFER = {
    "resample_linear", "resample_cubic", "resample_nearest", "upsample", "warp_upsampled", "mark_cubes", "unfold",
    "determinants_at", "smooth_at", "displacement_at", "invert_at",
}  # fmt: skip
"""Where one array may have some other shapes."""


@pytest.mark.parametrize("name", calls())
def test_arrays_of_other_kinds_are_refused(name: str) -> None:
    function, arguments = calls()[name]
    function(*arguments)
    for n, argument in enumerate(arguments):
        if not isinstance(argument, np.ndarray):
            continue
        for other in spoiled(argument):
            changed = [*arguments[:n], other, *arguments[n + 1 :]]
            if name in SHAPES_MAY_DIFFER and other.dtype == argument.dtype and other.ndim == argument.ndim:
                with suppress(TypeError, ValueError):  # it fits or is refused; it must not crash
                    function(*changed)
                continue
            with pytest.raises((TypeError, ValueError)):
                function(*changed)


@pytest.mark.parametrize("name", calls())
def test_results_are_apart_from_inputs_and_writable(name: str) -> None:
    function, arguments = calls()[name]
    last = max(n for n, argument in enumerate(arguments) if isinstance(argument, np.ndarray))
    out = 0 if name in ("even_out", "unfold") else last
    frozen = arguments[out].copy()
    frozen.setflags(write=False)
    with pytest.raises(TypeError):
        function(*arguments[:out], frozen, *arguments[out + 1 :])
    for n, argument in enumerate(arguments):
        if n == out or not isinstance(argument, np.ndarray):
            continue
        memory = np.zeros(max(argument.nbytes, arguments[out].nbytes), np.uint8)
        shared = list(arguments)
        for m in (n, out):
            like = arguments[m]
            shared[m] = memory[: like.nbytes].view(like.dtype).reshape(like.shape)
        if name.startswith("resample") and argument.size <= 12:
            continue  # matrices are copied
        with pytest.raises(ValueError, match="memory"):
            function(*shared)


@pytest.mark.parametrize("bad", [-1, np.prod(CELLS), 2**62])
@pytest.mark.parametrize("name", ["determinants_at", "mark_cubes", "unfold", "smooth_at"])
def test_indices_out_of_range_are_refused(name: str, bad: int) -> None:
    function, arguments = calls()[name]
    next(a for a in arguments if isinstance(a, np.ndarray) and a.dtype == np.int64)[2] = bad
    with pytest.raises(ValueError, match="range"):
        function(*arguments)


@pytest.mark.parametrize("radius", [-1, 2**40])
def test_radii_out_of_range_are_refused(radius: int) -> None:
    for name in ("mark_cubes", "window_mean"):
        function, arguments = calls()[name]
        arguments[1] = radius
        with pytest.raises(ValueError, match="radius"):
            function(*arguments)


def test_all_instruction_sets_agree(rng: np.random.Generator) -> None:
    shape = (9, 11, 37)
    image, u = rng.normal(size=(2, *shape)).astype(np.float32), (0.4 * rng.normal(size=(3, *shape))).astype(np.float32)
    coarse, matrix = rng.normal(size=(3, 5, 6, 19)).astype(np.float32), np.eye(3, 4) + 0.01
    cells = np.arange(10 * 12 * 38).reshape(10, 12, 38)[::2, ::2, ::2].ravel()  # which share no voxel

    def results() -> list[NDArray[Any]]:
        unfolded = u.copy()
        moved = diffeomorphic_kernels.unfold(unfolded, cells, 0.1, 0.2, 1)
        return [
            kernels.warp(image, u),
            kernels.warp_upsampled(image, coarse),
            kernels.upsample(coarse, shape),
            kernels.resample(image[0], shape, matrix, field=u),
            kernels.resample(image[0], shape, matrix, field=u, interpolation="cubic"),
            determinant.jacobian_determinant(u),
            gradients.window_mean(image, 3),
            gradients.warp_gradient(image, u, image),
            gradients.warp_features_gradient(u, image),
            points.displacement_at(u, rng.permutation(300).reshape(100, 3) / 30),
            diffeomorphic_kernels.lowest_determinants(u),
            unfolded,
            moved,
        ]

    found, best = {}, _core.isa()
    state = rng.bit_generator.state
    try:
        for level in ("baseline", "avx2", "avx512"):
            _core.limit_isa(level)
            rng.bit_generator.state = state
            found[_core.isa()] = results()
    finally:
        _core.limit_isa(best)
    for other in found.values():
        for a, b in zip(found["baseline"], other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
