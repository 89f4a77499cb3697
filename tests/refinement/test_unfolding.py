from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.evaluation.fields import deformation_determinant
from lightcrcf.geometry.grid import Grid
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.transform_metrics import inverse_metrics
from lightcrcf.refinement.unfolding import remove_folds, without_few_folds
from lightcrcf.registration.register import register
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.diffeomorphic import MIN_DETERMINANT, folded_percent, min_determinant
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import read_field, write_field


@pytest.fixture
def folded(grids: Callable[..., Grid]) -> DisplacementField:
    """On an oblique, anisotropic grid."""
    grid = grids((17, 22, 13), (2.0, 1.5, 2.9), axes="PSR", turn=(11, -17, 8), centre=(-12, 30, 5))
    u = 0.9 * np.random.default_rng(3).standard_normal((3, *grid.shape))
    return DisplacementField(grid, u.astype(np.float32))


def chain(field: DisplacementField | None) -> Chain:
    return Chain(Affine.identity(), field, Affine.identity())


def test_the_record_tells_what_was_changed(folded: DisplacementField) -> None:
    field, record = remove_folds(folded)
    change = np.linalg.norm(field.displacement - folded.displacement, axis=0)
    assert record.changed_percent == pytest.approx(100 * (change > 0).mean())
    assert record.largest_change_voxels == pytest.approx(change.max())
    assert record.least_determinant <= min_determinant(field.displacement)
    assert record.passes > 0
    assert record.folded_percent_before > 10
    assert record.folded_percent == 0
    assert field.grid.isclose(folded.grid, tolerance_mm=0)


def test_rounding_in_the_file_folds_nothing(folded: DisplacementField, tmp_path: Path) -> None:
    write_field(tmp_path / "warp.nii.gz", remove_folds(folded)[0])
    assert min_determinant(read_field(tmp_path / "warp.nii.gz").displacement) > MIN_DETERMINANT - 1e-4


def test_the_metrics_see_both_ways_through_the_inverse(folded: DisplacementField) -> None:
    forward = chain(remove_folds(folded)[0])
    metrics = inverse_metrics(forward, forward.inverse())
    assert metrics.inverse_error_max_mm < 0.01
    assert metrics.inverse_error_max_mm < metrics.inverse_consistency_mean_mm < metrics.inverse_consistency_max_mm


def test_without_a_field_or_an_inverse_there_is_nothing_to_measure(folded: DisplacementField) -> None:
    assert inverse_metrics(chain(None), chain(None)) == QualityMetrics()
    assert inverse_metrics(chain(folded), None) == QualityMetrics()


def test_few_folds_are_undone_and_many_or_large_ones_are_left(folded: DisplacementField) -> None:
    few = np.zeros((3, 24, 26, 28), np.float32)
    few[0, 12, 13, 14] = 1.5
    assert 0 < folded_percent(few) < 1
    undone = without_few_folds(few)
    assert folded_percent(undone) == 0
    assert undone[0, 12, 13, 14] > 0.4
    assert not undone[:, :9].any()
    large = 4 * few
    for kept in (np.zeros_like(few), large, folded.displacement):
        assert without_few_folds(kept) is kept


def test_a_record_of_two_projections_tells_the_change_of_both(folded: DisplacementField) -> None:
    once, first = remove_folds(folded)
    again, both = remove_folds(once, before=folded, passes=first.passes)
    assert both == first
    np.testing.assert_array_equal(again.displacement, once.displacement)


@pytest.mark.data
def test_a_field_on_half_of_the_grid_folds_nowhere_on_a_finer_one(data: Path) -> None:
    fixed, moving = (data / f"chaos-t2/sub-{person}_T2w.nii.gz" for person in (32, 34))
    found = register(fixed, moving)
    assert found.transform.field is not None
    assert (deformation_determinant(found.transform, found.fixed.grid) > 0).all()
