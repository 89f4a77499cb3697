"""Checked against DeepMind's `surface-distance`, the code that Learn2Reg uses."""

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.surface import _areas, hd95_by_label, hd95_mm

# The reference calls SciPy under names that SciPy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
surface_distance = pytest.importorskip("surface_distance")

SPACINGS = [(1.0, 1.0, 1.0), (1.0, 1.7, 2.9), (2.3, 0.7, 1.1)]


def reference(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    distances = surface_distance.compute_surface_distances(a, b, spacing)
    return float(surface_distance.compute_robust_hausdorff(distances, 95.0))


def blob(shape: tuple[int, int, int], centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
    index = np.indices(shape).reshape(3, -1).T
    inside = (((index - centre) / radii) ** 2).sum(axis=1) < 1
    return np.asarray(inside.reshape(shape))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_areas_of_all_256_patterns(spacing: tuple[float, float, float]) -> None:
    tables = surface_distance.lookup_tables
    expected = tables.create_table_neighbour_code_to_surface_area(spacing)
    kernel = tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    theirs = [
        sum(int(kernel[corner]) for bit, corner in enumerate(product((0, 1), repeat=3)) if pattern >> bit & 1)
        for pattern in range(256)
    ]
    np.testing.assert_allclose(_areas(spacing), expected[theirs], rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("density", [0.01, 0.3, 0.8])
def test_noise_agrees(spacing: tuple[float, float, float], density: float) -> None:
    rng = np.random.default_rng(int(density * 100))
    a, b = rng.random((2, 9, 13, 17)) < density
    assert hd95_mm(a, b, spacing) == pytest.approx(reference(a, b, spacing), rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_blobs_far_apart_agree(spacing: tuple[float, float, float]) -> None:
    shape = (25, 31, 19)
    a, b = blob(shape, (8, 9, 7), (5, 7, 4)), blob(shape, (17, 20, 11), (6, 4, 5))
    assert hd95_mm(a, b, spacing) == pytest.approx(reference(a, b, spacing), rel=1e-6)


def test_labels_at_the_border_of_the_volume_agree() -> None:
    a, b = np.zeros((2, 5, 7, 11), dtype=bool)
    a[0, :, :3] = True
    b[-1, 2:, -4:] = True
    assert hd95_mm(a, b, SPACINGS[1]) == pytest.approx(reference(a, b, SPACINGS[1]), rel=1e-6)


def test_many_labels_equal_each_alone() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.choice([0, 3, 40, 2035], size=(2, 9, 8, 7), p=[0.7, 0.1, 0.1, 0.1])
    together = hd95_by_label(a, b, SPACINGS[2], [2035, 3, 40])
    assert list(together) == [3, 40, 2035]
    for label, value in together.items():
        assert value == pytest.approx(reference(a == label, b == label, SPACINGS[2]), rel=1e-6)


def test_the_distance_is_symmetric_and_zero_for_equals() -> None:
    a, b = blob((9, 12, 15), (4, 5, 6), (3, 4, 5)), blob((9, 12, 15), (5, 6, 8), (2, 3, 4))
    assert hd95_mm(a, b, SPACINGS[1]) == hd95_mm(b, a, SPACINGS[1])
    assert hd95_mm(a, a, SPACINGS[1]) == 0.0


def test_shift_is_measured_in_mm_along_its_own_axis() -> None:
    a = np.zeros((12, 14, 16), dtype=np.int16)
    a[3:5, 4:6, 5:7] = 8
    for axis, spacing in enumerate((2.0, 3.0, 5.0)):
        assert hd95_mm(a, np.roll(a, 4, axis), (2.0, 3.0, 5.0), label=8) == pytest.approx(4 * spacing)


def test_missing_labels() -> None:
    empty = np.zeros((4, 5, 6), dtype=int)
    full = empty.copy()
    full[1:3, 2:4, 2:4] = 1
    assert math.isnan(hd95_mm(empty, full, (1, 1, 1)))
    assert math.isinf(hd95_mm(full, empty, (1, 1, 1)))


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, math.nan, 1)])
def test_bad_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="three positive numbers"):
        hd95_mm(np.ones((2, 3, 4)), np.ones((2, 3, 4)), spacing)
