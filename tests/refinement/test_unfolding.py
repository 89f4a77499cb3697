from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.transform_metrics import inverse_metrics
from lightcrcf.refinement.unfolding import remove_folds
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.diffeomorphic import MIN_DETERMINANT, min_determinant
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
