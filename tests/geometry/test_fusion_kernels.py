"""Label fusion against the same in NumPy, voxel by voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.fusion_kernels import atlas_weights, vote
from lightcrcf.geometry.threads import use_threads

SHAPE = (6, 9, 41)  # rows are longer than what the kernel takes at once
ATLASES = 4


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    """Four atlases, two of which err alike, and the target."""
    rng = np.random.default_rng(3)
    target, shared = rng.uniform(0, 1, (2, *SHAPE))
    noise = rng.normal(0, 0.2, (ATLASES, *SHAPE))
    atlases = target + noise
    atlases[2:] = 0.6 * target + 0.4 * shared + 0.1 * noise[2:]
    return np.concatenate([atlases, target[None]]).astype(np.float32)


@pytest.fixture(scope="module")
def places() -> NDArray[np.int32]:
    """Some voxels of everywhere, corners included."""
    wanted = np.random.default_rng(4).uniform(size=SHAPE) < 0.2
    wanted[0, 0, 0] = wanted[-1, -1, -1] = wanted[2, 3, 31] = wanted[2, 3, 32] = True
    return np.where(wanted, np.cumsum(wanted).reshape(SHAPE) - 1, -1).astype(np.int32)


def expected(images: NDArray[Any], voxel: Any, radii: tuple[int, int, int], joint: bool) -> NDArray[Any]:
    """The weights at one voxel, as the docstring of `atlas_weights` tells."""
    around = tuple(slice(max(v - r, 0), v + r + 1) for v, r in zip(voxel, radii, strict=True))
    patches = images[(slice(None), *around)].reshape(len(images), -1).astype(np.float64)
    covariance = np.cov(patches, bias=True)
    deviation = np.sqrt(np.diag(covariance) + 1e-4)
    c = covariance / np.outer(deviation, deviation)
    errors = c[:-1, :-1] + c[-1, -1] - c[:-1, -1:] - c[-1:, :-1]
    if joint:
        ridge = 0.5 * np.trace(errors) / len(errors) + 1e-3
        weights = np.linalg.solve(errors + ridge * np.eye(len(errors)), np.ones(len(errors)))
    else:
        weights = 1 / (np.diag(errors) + 1e-3)
    weights = np.maximum(weights, 0)
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("radii", [(1, 2, 3), (2, 2, 0)])
def test_weights_are_those_of_the_equations(
    images: NDArray[Any], places: NDArray[Any], radii: tuple[int, int, int], joint: bool
) -> None:
    found = atlas_weights(images, places, int(places.max()) + 1, radii, joint=joint)
    wanted = [expected(images, voxel, radii, joint) for voxel in np.argwhere(places >= 0)]
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_atlases_that_err_alike_share_their_weight(images: NDArray[Any], places: NDArray[Any]) -> None:
    count = int(places.max()) + 1
    twice = np.concatenate([images[:1], images])  # the first atlas is there twice
    once, again = (atlas_weights(i, places, count, (2, 2, 2), joint=True).mean(axis=0) for i in (images, twice))
    apart = [atlas_weights(i, places, count, (2, 2, 2), joint=False).mean(axis=0) for i in (images, twice)]
    assert again[:2].sum() < 1.5 * once[0]
    assert apart[1][:2].sum() > 1.4 * apart[0][0]


def test_images_without_structure_give_equal_weights() -> None:
    flat = np.full((3, 4, 5, 6), 0.7, np.float32)
    found = atlas_weights(flat, np.arange(120, dtype=np.int32).reshape(4, 5, 6), 120, (1, 1, 1), joint=True)
    np.testing.assert_allclose(found, 0.5, atol=1e-3)


def test_the_vote_is_a_weighted_sum_over_the_neighbourhood(places: NDArray[Any]) -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, (ATLASES, *SHAPE), dtype=np.int16)
    labels[:, places < 0] = labels[:1, places < 0]
    weights = rng.dirichlet(np.ones(ATLASES), int(places.max()) + 1).astype(np.float32)
    beside = np.array([0.3, 0.2, 0.4], np.float32)
    found, share = vote(labels, places, weights, beside, 4)
    each = np.full((ATLASES, *SHAPE), 1 / ATLASES)
    each[:, places >= 0] = weights[places[places >= 0]].T
    scores = np.stack([np.where(labels == kind, each, 0).sum(axis=0) for kind in range(4)])
    for axis, tap in enumerate(beside, start=1):
        padded = np.pad(scores, [(1, 1) if a == axis else (0, 0) for a in range(4)])
        before, after = (np.take(padded, range(s, s + scores.shape[axis]), axis) for s in (0, 2))
        scores = scores + tap * (before + after)
    disputed = places >= 0
    np.testing.assert_array_equal(found[disputed], scores.argmax(axis=0)[disputed])
    np.testing.assert_allclose(share[disputed], (scores.max(axis=0) / scores.sum(axis=0))[disputed], rtol=1e-4)
    np.testing.assert_array_equal(found[~disputed], labels[0][~disputed])
    assert (share[~disputed] == 1).all()


def test_ties_go_to_the_first_atlas() -> None:
    labels = np.array([2, 1, 1, 2], np.int16).reshape(4, 1, 1, 1)
    places, weights = np.zeros((1, 1, 1), np.int32), np.full((1, 4), 0.25, np.float32)
    found, share = vote(labels, places, weights, np.zeros(3, np.float32), 3)
    assert (found.item(), share.item()) == (2, 0.5)


def test_the_number_of_threads_changes_nothing(images: NDArray[Any], places: NDArray[Any]) -> None:
    count = int(places.max()) + 1
    results = []
    for threads in (1, 2):
        with use_threads(threads):
            results.append(atlas_weights(images, places, count, (2, 1, 2), joint=True))
    np.testing.assert_array_equal(*results)
