"""ANTs, given the files of a run, gets the same image and points. All of it is here: its import takes seconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

RANGE_SHARE, POINT_MM = 2e-3, 0.01


@pytest.fixture(scope="module")
def ants() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own dependencies'
        import ants
    return ants


def files(run: Any) -> list[str]:
    """As run.json's "transforms" says."""
    return [str(run.out / "warp.nii.gz"), str(run.out / "affine.tfm")]


def check_image(ants: Any, run: Any, apart: Callable) -> None:
    fixed, moving = (ants.image_read(str(path)) for path in (run.fixed, run.moving))
    assert apart(run.moved().data, ants.apply_transforms(fixed, moving, files(run)).numpy()) <= RANGE_SHARE


def check_points(ants: Any, run: Any, move_points: Callable) -> None:
    import pandas

    points = run.points()
    table = pandas.DataFrame(points, columns=["x", "y", "z"])
    expected = ants.apply_transforms_to_points(3, table, files(run))[["x", "y", "z"]].to_numpy()
    np.testing.assert_allclose(move_points(run, points, "--to", "moving", "--lps"), expected, atol=POINT_MM)


def test_it_moves_the_image_alike(ants: Any, coarse_run: Any, apart: Callable) -> None:
    check_image(ants, coarse_run, apart)


def test_it_moves_points_alike(ants: Any, coarse_run: Any, move_points: Callable) -> None:
    check_points(ants, coarse_run, move_points)


@pytest.mark.data
def test_real_brains_move_alike(ants: Any, real_run: Any, apart: Callable, move_points: Callable) -> None:
    check_image(ants, real_run, apart)
    check_points(ants, real_run, move_points)
