"""The pair of the demo: its truth is true."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.demo.phantom import KnownPair, deformed_copy, phantom, template
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain


@pytest.fixture(scope="module")
def pair() -> KnownPair:
    return deformed_copy(*phantom(spacing_mm=4.0), seed=7)


def test_targets_show_the_same_tissue_in_both(pair: KnownPair) -> None:
    points, true = pair.targets()
    fixed = pair.fixed_labels.data[tuple(np.round(pair.fixed.grid.voxels(points)).astype(int).T)]
    moving = pair.moving_labels.data[tuple(np.round(pair.moving.grid.voxels(true)).astype(int).T)]
    assert np.mean(fixed == moving) > 0.75  # the rest lies within half a voxel of a border
    assert len(points) > 500


def test_the_truth_has_no_error_and_the_identity_a_large_one(pair: KnownPair) -> None:
    identity = Chain(Affine.identity(), None, Affine.identity())
    points, true = pair.targets()
    np.testing.assert_allclose(pair.truth.points(true), points, atol=1e-3)
    assert np.all(pair.errors_mm(identity)["before"] == pair.errors_mm(identity)["deformable"])
    assert pair.errors_mm(identity)["before"].mean() > 20


def test_the_deformation_is_of_several_mm_and_does_not_fold(pair: KnownPair) -> None:
    field = pair.truth.field
    assert field is not None
    assert field.jacobian_determinant().min() > 0.2
    assert 3 < np.linalg.norm(field.world_mm(), axis=-1).mean() < 6


def test_the_same_seed_gives_the_same_pair(pair: KnownPair) -> None:
    again = deformed_copy(*phantom(spacing_mm=4.0), seed=7)
    np.testing.assert_array_equal(again.moving.data, pair.moving.data)
    other = deformed_copy(*phantom(spacing_mm=4.0), seed=8)
    assert other.moving.data.shape != pair.moving.data.shape or np.any(other.moving.data != pair.moving.data)


def test_the_template_is_found_without_importing_nilearn() -> None:
    pytest.importorskip("nilearn", reason="the extra demo is not installed")
    found = template()
    assert found is not None
    image, labels, subject = found
    assert image.grid.shape == labels.grid.shape == (197, 233, 189)
    assert np.unique(labels.data).tolist() == [0, 1, 2]
    assert "MNI152" in subject
