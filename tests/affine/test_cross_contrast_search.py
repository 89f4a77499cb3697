"""Alignment of images of unlike contrast, and images of one contrast, which get what they got."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lightcrcf.affine import selection
from lightcrcf.affine.align import Alignment, align
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.affine.search import PairPyramid, search
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.geometry.threads import use_threads
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]
Triple = tuple[float, float, float]

# Of nothing, cortex, white matter and ventricles; the generated T1 has 90, 150 and 40.
CONTRASTS = {"inverted": (0, 110, 60, 200), "not monotone": (0, 170, 80, 95)}


def other(brain: tuple[Volume, Volume], contrast: str = "inverted", seed: int = 0) -> Volume:
    image, labels = brain
    noise = np.random.default_rng(seed).normal(0, 4, image.grid.shape)
    values = np.array(CONTRASTS[contrast])[labels.data]
    return Volume(np.where(labels.data > 0, np.maximum(values + noise, 1), 0).astype(np.int16), image.grid, contrast)


def error_mm(found: Alignment, turn: Triple, shift_mm: Triple) -> float:
    points = np.array(np.meshgrid(*[(-50.0, 0.0, 50.0)] * 3, indexing="ij")).reshape(3, -1).T
    return float(
        np.linalg.norm(found.affine.points(points) - points @ rotation_about_axes(turn).T - shift_mm, axis=-1).max()
    )


@pytest.fixture(scope="module")
def fixed(brains: BrainMaker, grids: GridMaker) -> Volume:
    return brains(grids((50, 62, 44), (3.0, 3.0, 3.0), axes="LPS"))[0]


@pytest.fixture(scope="module")
def near(brains: BrainMaker, grids: GridMaker) -> Volume:
    where = grids((54, 60, 62), (3.0, 3.2, 2.9), axes="ASR", turn=(10, 5, -5), centre=(6, -4, 3))
    return other(brains(where, turn=(5, -4, 8), shift_mm=(6, -4, 3)))


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("transform", ["rigid", "affine"])
@pytest.mark.parametrize(
    ("turn", "shift_mm"),
    [((12, -8, 15), (10, 25, -7)), ((90, 0, 0), (80, -40, 60))],
    ids=["turned", "quarter turn and far away"],
)
def test_a_rigid_movement_is_found_across_contrasts(
    turn: Triple,
    shift_mm: Triple,
    transform: str,
    contrast: str,
    fixed: Volume,
    brains: BrainMaker,
    grids: GridMaker,
) -> None:
    where = grids((70, 64, 66), (3.0, 3.2, 2.9), axes="ASR", turn=(10, 5, -5), centre=shift_mm)
    found = align(fixed, other(brains(where, turn=turn, shift_mm=shift_mm), contrast), transform=transform)
    assert error_mm(found, turn, shift_mm) < 1.5
    assert found.cross_contrast
    assert found.measure.startswith("normalised mutual information")
    assert found.similarity_after > found.similarity_before > 1
    assert found.contrast.mapped > 0.7
    assert found.contrast.ratio < 0.75


@pytest.mark.parametrize("contrast", ["same", *CONTRASTS])
@pytest.mark.parametrize("person", [0, 1])
def test_a_rigid_transform_is_rigid_and_a_similarity_has_one_scale(
    person: int, contrast: str, fixed: Volume, brains: BrainMaker, grids: GridMaker
) -> None:
    brain = brains(grids((60, 52, 56), (3.0, 3.1, 2.9)), person=person, turn=(5, 6, -9))
    moving = brain[0] if contrast == "same" else other(brain, contrast)
    stretched = Volume(moving.data, Grid(moving.grid.shape, np.diag([1.06, 1.06, 1.06, 1]) @ moving.grid.affine))
    for transform, volume, least in (("rigid", moving, 0.0), ("similarity", stretched, 0.02)):
        found = align(fixed, volume, transform=transform)
        linear = found.affine.matrix[:3, :3]
        scale = np.linalg.det(linear) ** (1 / 3)
        np.testing.assert_allclose(linear.T @ linear, scale**2 * np.eye(3), atol=1e-12)
        assert np.linalg.det(linear) > 0
        assert abs(scale - 1) >= least
        if transform == "rigid":
            np.testing.assert_allclose(linear.T @ linear, np.eye(3), atol=1e-12)
        elif person == 0:
            assert scale == pytest.approx(1.06, abs=0.01)


def test_the_same_contrast_gets_what_its_own_search_finds(
    pair: tuple[Volume, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and nothing is searched across contrasts."""
    own, _ = search(PairPyramid.build(*(AlignmentImage.prepare(v, None) for v in pair)), "affine", upright=True)

    def never(*_: object, **__: object) -> None:
        pytest.fail("searched across contrasts")

    monkeypatch.setattr(selection, "search_cross_contrast", never)
    found = align(*pair)
    assert np.array_equal(found.affine.matrix, own.fit.matrix)
    assert found.similarity_after == own.similarity
    assert not found.cross_contrast
    assert found.contrast.plain == own.similarity
    assert found.contrast.ratio > 0.9


def test_threads_and_axis_orders_do_not_matter(fixed: Volume, near: Volume) -> None:
    reference = align(fixed, near).affine.matrix
    for threads in (1, 2):
        with use_threads(threads):
            assert np.array_equal(align(fixed, near).affine.matrix, reference)
    order = fixed.grid.canonical()
    reordered = Volume(np.ascontiguousarray(order.array(fixed.data)), order.grid(fixed.grid), "reordered")
    np.testing.assert_allclose(align(reordered, near).affine.matrix, reference, atol=1e-6)


def test_the_swapped_pair_gives_the_inverse(fixed: Volume, near: Volume) -> None:
    there, back = align(fixed, near), align(near, fixed)
    points = fixed.grid.world(np.argwhere(fixed.data > 0)[::50])
    assert np.linalg.norm(back.affine.inverse().points(points) - there.affine.points(points), axis=1).max() < 1.0
    assert back.cross_contrast


def test_masked_and_unknown_voxels_count_in_no_histogram(fixed: Volume, near: Volume) -> None:
    """A lesion as bright as fluid, under a mask; then NaN in its place: both find what is true without it."""
    world = near.grid.world(np.moveaxis(np.indices(near.grid.shape), 0, -1))
    lesion = np.linalg.norm(world - (36, 16, 13), axis=-1) < 30
    bright = Volume(np.where(lesion, 190, near.data).astype(np.int16), near.grid, "with a lesion")
    mask = Volume((~lesion).astype(np.uint8), near.grid, "mask")
    masked = align(fixed, bright, moving_mask=mask, transform="rigid")
    again = align(
        fixed, Volume(np.where(lesion, 77, near.data).astype(np.int16), near.grid), moving_mask=mask, transform="rigid"
    )
    unknown = align(fixed, Volume(np.where(lesion, np.nan, near.data).astype(np.float32), near.grid), transform="rigid")
    for found in (masked, again, unknown):
        assert found.cross_contrast
        assert error_mm(found, (5, -4, 8), (6, -4, 3)) < 1.5


def test_the_headers_are_never_made_worse(fixed: Volume, brains: BrainMaker, grids: GridMaker) -> None:
    """In place already: the headers' alignment, or one with more information."""
    moving = other(brains(grids((50, 62, 44), (3.0, 3.0, 3.0), axes="LPS")))
    for transform in ("rigid", "similarity", "affine"):
        found = align(fixed, moving, transform=transform)
        assert found.similarity_after >= found.similarity_before
        assert error_mm(found, (0, 0, 0), (0, 0, 0)) < 1.0


def test_persons_are_aligned_across_contrasts(fixed: Volume, brains: BrainMaker, grids: GridMaker) -> None:
    """Another person's brain, whose truth is what images of one contrast give."""
    brain = brains(grids((60, 52, 56), (3.0, 3.1, 2.9)), person=1, turn=(5, 6, -9))
    plain, found = align(fixed, brain[0]), align(fixed, other(brain))
    points = fixed.grid.world(np.argwhere(fixed.data > 0)[::50])
    assert np.linalg.norm(plain.affine.points(points) - found.affine.points(points), axis=1).mean() < 2.0
    assert found.cross_contrast


def test_a_brain_is_laid_rigidly_into_a_head(brains: BrainMaker, grids: GridMaker) -> None:
    brain = brains(grids((50, 62, 44), (3.0, 3.0, 3.0)))[0]
    head = brains(grids((70, 82, 90), (3.0, 3.1, 3.2), centre=(0, 0, -30)), head=True, shift_mm=(4, -6, 8))[0]
    linear = align(brain, head, transform="rigid").affine.matrix[:3, :3]
    np.testing.assert_allclose(linear.T @ linear, np.eye(3), atol=1e-12)
