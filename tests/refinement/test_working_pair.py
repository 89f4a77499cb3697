"""Both images on the working grid: what is known of them, what the network sees, how noisy they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume
from lightcrcf.weights import store

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]

SHIFT = (7.0, -5.0, 6.0)


def affine() -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    return Affine(matrix)


def prepared(fixed: Volume, moving: Volume, *masks: Volume | None) -> WorkingPair:
    both = (*masks, None, None)[:2]
    return WorkingPair.prepare(fixed, moving, both, affine(), store.load("brain"), RegistrationCache(), 2)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def images(brains: BrainMaker, grids: GridMaker) -> tuple[Volume, Volume]:
    fixed = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="LPS"))[0]
    where = grids((60, 48, 55), (2.8, 3.1, 3.0), axes="ASR", turn=(3, -2, 4), centre=SHIFT)
    return fixed, brains(where, person=1, shift_mm=SHIFT)[0]


def test_everything_of_two_brains_is_known(images: tuple[Volume, Volume]) -> None:
    pair = prepared(*images)
    masks = pair.fixed_mask, pair.moving_mask, pair.mask_by_header, pair.fixed_known, pair.moving_known
    assert masks == (None,) * 5
    fixed, moving = pair.for_network()
    assert fixed is pair.fixed
    assert moving is pair.moving


def test_what_is_cut_off_is_unknown_and_does_not_count(images: tuple[Volume, Volume]) -> None:
    fixed, moving = images
    part = Volume(moving.data[25:], moving.grid.crop((25, 0, 0), (35, 48, 55)))
    whole, pair = prepared(fixed, moving), prepared(fixed, part)
    assert pair.fixed_known is None
    assert pair.moving_known is not None
    assert pair.moving_mask is not None
    assert set(np.unique(pair.moving_known)) == {0, 1}
    np.testing.assert_array_equal(pair.moving_mask, pair.moving_known)
    voxels = part.grid.voxels(affine().points(pair.grid.world(np.argwhere(pair.moving_known == 0))))
    assert voxels[:, 0].max() < 0
    known = pair.moving_known > 0
    scale = np.median(pair.moving[known & (whole.moving > 0.3)] / whole.moving[known & (whole.moving > 0.3)])
    assert np.mean(np.abs(pair.moving[known] / scale - whole.moving[known]) > 0.05) < 2e-3  # the face blends with 0


def test_the_network_sees_the_other_image_where_one_does_not_count(images: tuple[Volume, Volume]) -> None:
    fixed, moving = images
    mask = np.ones(fixed.grid.shape, np.uint8)
    mask[:20, :30] = 0
    part = Volume(moving.data[25:], moving.grid.crop((25, 0, 0), (35, 48, 55)))
    pair = prepared(fixed, part, Volume(mask, fixed.grid))
    f, m = pair.for_network()
    assert pair.fixed_mask is not None
    assert pair.moving_mask is not None
    here, there = pair.fixed_mask > 0, pair.moving_mask > 0
    for where in (here & there, here & ~there, ~here & there, ~here & ~there):
        assert where.any()
    np.testing.assert_array_equal(f[here], pair.fixed[here])
    np.testing.assert_array_equal(m[there], pair.moving[there])
    np.testing.assert_array_equal(f[~here & there], pair.moving[~here & there])
    np.testing.assert_array_equal(m[here & ~there], pair.fixed[here & ~there])
    np.testing.assert_array_equal(f[~(here & there)], m[~(here & there)])  # nothing to move
    assert not f[~here & ~there].any()
    assert pair.fixed_known is None  # what a mask leaves out is known all the same


def test_the_outside_of_crops_is_black_for_their_network(bodies_of_crops: tuple[Volume, Volume]) -> None:
    """As it was where the network learned of them; NaN within is what the other image has."""
    fixed, moving = bodies_of_crops
    data = moving.data.copy()
    data[10:16, 8:14, 9:15] = np.nan
    weights = store.load("hippocampus-mr")
    images = fixed, Volume(data, moving.grid)
    pair = WorkingPair.prepare(*images, (None, None), affine(), weights, RegistrationCache())
    f, m = pair.for_network()
    voxels = moving.grid.voxels(affine().points(pair.grid.world(np.argwhere(np.ones(pair.grid.shape)))))
    outside = ((voxels < -1) | (voxels > np.array(moving.grid.shape))).any(axis=1).reshape(pair.grid.shape)
    hole = ((voxels > (11, 9, 10)) & (voxels < (14, 12, 13))).all(axis=1).reshape(pair.grid.shape)
    assert outside.any()
    assert not m[outside].any()
    assert pair.moving_mask is not None
    assert not pair.moving_mask[outside].any()
    np.testing.assert_array_equal(m[hole], f[hole])
    np.testing.assert_array_equal(f, pair.fixed)


@pytest.fixture
def bodies_of_crops(grids: GridMaker) -> tuple[Volume, Volume]:
    """Smooth noise in two crops of 1 mm voxels that lie next to each other but for a part."""
    rng = np.random.default_rng(3)
    here = grids((30, 34, 28), (1.0, 1.1, 0.9), axes="LPS")
    there = grids((28, 36, 30), (1.0, 1.0, 1.0), axes="LPS", centre=(SHIFT[0] + 9, SHIFT[1], SHIFT[2]))
    return Volume(rng.normal(500, 80, here.shape).astype(np.float32), here), Volume(
        rng.normal(500, 80, there.shape).astype(np.float32), there
    )


def test_nan_does_not_count_and_neither_does_a_lesion_which_is_known(images: tuple[Volume, Volume]) -> None:
    fixed, moving = images
    data, bright = fixed.data.astype(np.float32), moving.data.astype(np.float32)
    data[20:30, 20:30, 15:25] = np.nan
    bright[20:32, 15:27, 22:34] = 30 * moving.data.max()
    pair = prepared(Volume(data, fixed.grid), Volume(bright, moving.grid))
    assert pair.fixed_known is not None
    np.testing.assert_array_equal(pair.fixed_mask, pair.fixed_known)
    hole = fixed.grid.voxels(pair.grid.world(np.argwhere(pair.fixed_known == 0)))
    assert (hole > (18.9, 18.9, 13.9)).all()
    assert (hole < (30.1, 30.1, 25.1)).all()
    assert np.isfinite(pair.fixed).all()
    assert pair.moving_known is None
    assert pair.moving_mask is not None
    assert 0 < (pair.moving_mask == 0).mean() < 0.2


def test_nothing_in_common_is_told(images: tuple[Volume, Volume]) -> None:
    fixed, moving = images
    far = Volume(moving.data, moving.grid.crop((500, 0, 0), moving.grid.shape), "elsewhere")
    with pytest.raises(InputError, match="elsewhere: expected a moving image that overlaps the fixed one"):
        prepared(fixed, far)


def test_noise_is_measured_on_the_images_own_voxels(images: tuple[Volume, Volume]) -> None:
    fixed, moving = images
    rng, noisy = np.random.default_rng(4), []
    for volume, sigma in ((fixed, 30), (moving, 60)):
        noise = np.where(volume.data > 0, rng.normal(0, sigma, volume.grid.shape), 0)
        noisy.append(Volume((volume.data + noise).clip(0).astype(np.float32), volume.grid))
    plain, more = prepared(fixed, moving).noise, prepared(*noisy).noise
    working = float(np.prod(prepared(fixed, moving).grid.spacing_mm))
    assert more.sizes == pytest.approx([np.prod(v.grid.spacing_mm) / working for v in images])
    assert more.fixed > plain.fixed
    assert more.moving > plain.moving
    assert prepared(*noisy).noise == more
