"""SimpleITK, given the files of a run, gets the same image and the same points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

RANGE_SHARE, POINT_MM = 2e-3, 0.01


def transform(run: Any) -> sitk.Transform:
    """As run.json's "transforms" says: the field is applied to points first."""
    vectors = sitk.Cast(sitk.ReadImage(str(run.out / "warp.nii.gz")), sitk.sitkVectorFloat64)
    affine = sitk.ReadTransform(str(run.out / "affine.tfm"))
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(vectors)])


def resampled(run: Any) -> NDArray[np.float32]:
    fixed, moving = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (run.fixed, run.moving))
    image = sitk.Resample(moving, fixed, transform(run), sitk.sitkLinear, 0.0)
    return np.asarray(sitk.GetArrayFromImage(image).T)


def in_lps(through: sitk.Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([through.TransformPoint(p) for p in points.tolist()])


def test_it_moves_the_image_alike(coarse_run: Any, apart: Callable) -> None:
    assert (coarse_run.out / "warp.nii.gz").exists()
    assert apart(coarse_run.moved().data, resampled(coarse_run)) <= RANGE_SHARE


def test_it_moves_points_alike(coarse_run: Any, move_points: Callable) -> None:
    points = coarse_run.points()
    found = move_points(coarse_run, points, "--to", "moving", "--lps")
    np.testing.assert_allclose(found, in_lps(transform(coarse_run), points), atol=POINT_MM)


def test_it_reads_the_inverse(coarse_run: Any, move_points: Callable) -> None:
    """The inverse affine, then the inverse field, sampled every 6 mm; `lightcrcf points` solves for each point."""
    vectors = sitk.Cast(sitk.ReadImage(str(coarse_run.out / "inverse_warp.nii.gz")), sitk.sitkVectorFloat64)
    affine = sitk.ReadTransform(str(coarse_run.out / "affine.tfm")).GetInverse()
    inverse = sitk.CompositeTransform([sitk.DisplacementFieldTransform(vectors), affine])
    points = coarse_run.points()[:400]
    there = in_lps(transform(coarse_run), points)
    back = np.linalg.norm(in_lps(inverse, there) - points, axis=1)
    assert np.median(back) < 1
    exact = move_points(coarse_run, there, "--to", "fixed", "--lps")
    # The network has never seen such brains: where its field folds, two points go to one place.
    assert np.mean(np.abs(exact - points).max(axis=1) <= POINT_MM) >= 0.99


@pytest.mark.data
def test_real_brains_move_alike(real_run: Any, apart: Callable, move_points: Callable) -> None:
    assert apart(real_run.moved().data, resampled(real_run)) <= RANGE_SHARE
    points = real_run.points()
    found = move_points(real_run, points, "--to", "moving", "--lps")
    np.testing.assert_allclose(found, in_lps(transform(real_run), points), atol=POINT_MM)
