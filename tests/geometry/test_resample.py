"""`kernels.resample` against its NumPy twin and against SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from lightcrcf.geometry.kernels import resample

SHAPE, ONTO = (5, 7, 11), (6, 9, 8)
Sample = Callable[[NDArray, NDArray], NDArray]
Voxels = Callable[[tuple[int, ...]], NDArray]


def random_matrix(rng: np.random.Generator, onto: tuple[int, ...] = ONTO, into: tuple[int, ...] = SHAPE) -> NDArray:
    """A map of most of `onto` into the grid of `into`, and of some of it to outside."""
    linear = np.diag(np.array(into) / onto) + 0.1 * rng.standard_normal((3, 3))
    centre = (np.array(into) - 1) / 2 - linear @ ((np.array(onto) - 1) / 2)
    return np.column_stack([linear, centre + 0.1 * rng.standard_normal(3)])


def inside(index: NDArray, shape: tuple[int, ...]) -> NDArray:
    return np.all([(x >= -0.5) & (x < n - 0.5) for x, n in zip(index, shape, strict=True)], axis=0)


def apply(matrix: NDArray, x: NDArray) -> NDArray:
    return np.einsum("ab,b...->a...", matrix[:, :3], x) + matrix[:, 3].reshape(3, 1, 1, 1)


def cubic_twin(image: NDArray, index: NDArray) -> NDArray:
    """Keys' convolution kernel with a = -0.5, over the 4 x 4 x 4 voxels around, borders repeated."""

    def weight(distance: NDArray) -> NDArray:
        d = np.abs(distance)
        near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    clamped = [np.clip(x, 0, n - 1) for x, n in zip(index, image.shape, strict=True)]
    out = np.zeros(index.shape[1:])
    for taps in np.ndindex(4, 4, 4):
        total, where = np.ones(index.shape[1:]), []
        for x, tap, n in zip(clamped, taps, image.shape, strict=True):
            voxel = np.floor(x).astype(int) + tap - 1
            total = total * weight(x - voxel)
            where.append(np.clip(voxel, 0, n - 1))
        out += total * image[tuple(where)]
    return out


@pytest.fixture
def setting(rng: np.random.Generator) -> dict[str, Any]:
    """A random image, matrix and coarse field."""
    return {
        "moving": rng.random(SHAPE, dtype=np.float32),
        "matrix": random_matrix(rng),
        "field": rng.standard_normal((3, 3, 4, 5)).astype(np.float32),
        "field_matrix": random_matrix(rng, ONTO, (3, 4, 5)),
        "vector_matrix": rng.standard_normal((3, 3)),
    }


def places(setting: dict[str, Any], sample: Sample, voxels: Voxels) -> NDArray:
    x = voxels(ONTO)
    index = apply(setting["field_matrix"], x)
    vectors = np.where(inside(index, (3, 4, 5)), sample(setting["field"], index), 0)
    return apply(setting["matrix"], x) + np.einsum("ab,bijk->aijk", setting["vector_matrix"], vectors)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 1)])
@pytest.mark.parametrize("step", [0.5, 0.37, 1.0, -0.6])
def test_grids_with_common_axes(
    setting: dict[str, Any], rng: np.random.Generator, trilinear: Sample, voxels: Voxels, step: float, shape: Any
) -> None:
    """Rows that run along one line of the field have a way of their own; both sides leave it."""
    start = (0.5 * np.array(shape) - 0.5) - step * (0.5 * np.array(ONTO) - 0.4)
    setting |= {
        "field": rng.standard_normal((3, *shape)).astype(np.float32),
        "field_matrix": np.column_stack([step * np.eye(3), start]),
        "matrix": np.eye(3, 4),
    }
    index = apply(setting["field_matrix"], voxels(ONTO))
    vectors = np.where(inside(index, shape), trilinear(setting["field"], index), 0)
    index = voxels(ONTO) + np.einsum("ab,bijk->aijk", setting["vector_matrix"], vectors)
    expected = np.where(inside(index, SHAPE), trilinear(setting["moving"], index), -1)
    np.testing.assert_allclose(resample(setting.pop("moving"), ONTO, **setting, fill=-1), expected, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_resample_through_affine_and_field(
    setting: dict[str, Any], trilinear: Sample, voxels: Voxels, interpolation: str
) -> None:
    index = places(setting, trilinear, voxels)
    twin = trilinear if interpolation == "linear" else cubic_twin
    expected = np.where(inside(index, SHAPE), twin(setting["moving"], index), -1)
    assert 0.05 < (expected == -1).mean() < 0.8
    got = resample(shape=ONTO, **setting, interpolation=interpolation, fill=-1.0)  # type: ignore[arg-type]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "uint16", "int32", "int64", "float32", "float64"])
def test_nearest_keeps_the_dtype(setting: dict[str, Any], trilinear: Sample, voxels: Voxels, dtype: str) -> None:
    index = places(setting, trilinear, voxels)
    labels = np.arange(1, 1 + setting["moving"].size).reshape(SHAPE) % 250
    setting["moving"] = labels.astype(dtype)
    nearest = [np.clip(np.floor(x + 0.5).astype(int), 0, n - 1) for x, n in zip(index, SHAPE, strict=True)]
    expected = np.where(inside(index, SHAPE), labels[tuple(nearest)], 7)
    got = resample(shape=ONTO, **setting, interpolation="nearest", fill=7)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, expected)


def test_nearest_of_a_mask() -> None:
    mask = np.arange(5 * 7 * 11).reshape(SHAPE) % 3 == 0
    got = resample(mask, SHAPE, np.eye(3, 4), interpolation="nearest")
    assert got.dtype == np.bool_
    np.testing.assert_array_equal(got, mask)


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("axis", range(3))
def test_shift_by_one_voxel_along_each_axis(rng: np.random.Generator, axis: int, interpolation: str) -> None:
    moving = rng.random(SHAPE, dtype=np.float32)
    matrix = np.eye(3, 4)
    matrix[axis, 3] = 1
    expected = np.full(SHAPE, -5, np.float32)
    kept = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    shifted = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    expected[kept] = moving[shifted]
    got = resample(moving, SHAPE, matrix, interpolation=interpolation, fill=-5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(got, expected)


def test_cubic_reproduces_quadratics(voxels: Voxels) -> None:
    x = voxels(SHAPE)
    moving = (0.1 * x[0] ** 2 + 0.2 * x[1] * x[2] - x[2]).astype(np.float32)
    matrix = np.column_stack([np.eye(3), [1.3, 1.6, 1.2]])
    y = x[:, :2, :4, :7] + np.array([1.3, 1.6, 1.2]).reshape(3, 1, 1, 1)
    expected = 0.1 * y[0] ** 2 + 0.2 * y[1] * y[2] - y[2]
    np.testing.assert_allclose(resample(moving, (2, 4, 7), matrix, interpolation="cubic"), expected, atol=1e-5)


def test_moving_views_are_taken_as_they_are(rng: np.random.Generator) -> None:
    moving = rng.random((11, 7, 5)).transpose(2, 1, 0)[:, ::-1]
    assert not moving.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(resample(moving, SHAPE, np.eye(3, 4)), moving.astype(np.float32))


def test_far_voxels_are_placed_to_a_thousandth(voxels: Voxels) -> None:
    """A ramp of 512 voxels read at fractions: the value is the index."""
    ramp = np.broadcast_to(np.arange(512, dtype=np.float32), (2, 3, 512))
    step, start = 511 / 997, 1e-3
    matrix = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, step, start]])
    got = resample(ramp, (2, 3, 997), matrix)
    np.testing.assert_allclose(got, np.broadcast_to(start + step * np.arange(997), got.shape), atol=2e-4)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_resample_equals_simpleitk(setting: dict[str, Any], interpolation: str) -> None:
    """In the frame where ITK's physical space is the grid of the result."""
    moving = setting["moving"]
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(setting["matrix"][:, :3].ravel().tolist())
    affine.SetTranslation(setting["matrix"][:, 3].tolist())
    method = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    reference = sitk.Image(*ONTO, sitk.sitkFloat32)
    image = sitk.GetImageFromArray(moving.transpose(2, 1, 0))
    expected = sitk.GetArrayFromImage(sitk.Resample(image, reference, affine, method, -1.0)).transpose(2, 1, 0)
    got = resample(moving, ONTO, setting["matrix"], interpolation=interpolation, fill=-1)  # type: ignore[arg-type]
    np.testing.assert_allclose(got, expected, atol=1e-5)
