"""One image of a training pair as a scan of another contrast."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lightcrcf.training.augmentation.contrasts import (
    OtherContrast,
    sample_contrast,
    seen_in_other_contrast,
    smooth_factor,
)

PLAIN = OtherContrast("moving", back=True, placed=True, axis=2, slice_voxels=1.0, noise=0.0)


def brain(seed: int, size: int = 40) -> Tensor:
    """Three tissues in blobs, which fill all but one side."""
    noise = torch.randn((size,) * 3, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool3d(noise[None, None], 7, stride=1, padding=3)[0, 0]
    tissue = torch.bucketize(smooth / smooth.std(), torch.tensor([-1.3, 0.1])).float()
    image = 0.25 + 0.35 * tissue
    image[:4] = 0
    return image


PAIR = brain(0), brain(1)


def correlation(a: Tensor, b: Tensor) -> float:
    inside = (a > 0) & (b > 0)
    return float(np.corrcoef(a[inside].numpy(), b[inside].numpy())[0, 1])


def test_one_image_changes_and_the_background_stays_empty() -> None:
    for image, other in (("moving", 0), ("fixed", 1)):
        seen = seen_in_other_contrast(PAIR, replace(PLAIN, image=image), 3)
        assert torch.equal(seen[other], PAIR[other])
        assert not torch.equal(seen[1 - other], PAIR[1 - other])
        assert torch.equal(seen[1 - other] > 0, PAIR[1 - other] > 0)
        assert all(torch.isfinite(each).all() for each in seen)


def test_the_same_seed_gives_the_same() -> None:
    one, two, other = (seen_in_other_contrast(PAIR, PLAIN, seed)[1] for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_scan_that_is_aligned_is_mapped_back() -> None:
    """A parabola in each place gives three tissues their shades again, but where two of them became alike."""
    found = [correlation(seen_in_other_contrast(PAIR, PLAIN, seed)[1], PAIR[1]) for seed in range(7)]
    assert float(np.median(found)) > 0.93


def test_the_other_image_may_be_mapped_instead() -> None:
    fixed, moving = seen_in_other_contrast(PAIR, replace(PLAIN, back=False), 5)
    assert not torch.equal(fixed, PAIR[0])
    assert not torch.equal(moving, PAIR[1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_thick_along_their_axis(axis: int) -> None:
    seen = seen_in_other_contrast(PAIR, replace(PLAIN, axis=axis, slice_voxels=5.0), 3)[1]
    inside = PAIR[1] > 0

    def steps(along: int) -> float:
        both = inside.narrow(along, 1, 39) & inside.narrow(along, 0, 39)
        return float(seen.diff(dim=along).abs()[both].mean())

    assert steps(axis) < 0.8 * min(steps(other) for other in {0, 1, 2} - {axis})


def test_noise_is_added() -> None:
    clean, noisy = (seen_in_other_contrast(PAIR, replace(PLAIN, noise=n), 3)[1] for n in (0.0, 0.03))
    assert correlation(noisy, PAIR[1]) < correlation(clean, PAIR[1])


def test_draws_cover_both_images_and_all_axes() -> None:
    drawn = [sample_contrast(np.random.default_rng(n)) for n in range(300)]
    assert Counter(each.image for each in drawn).keys() == {"fixed", "moving"}
    assert {each.axis for each in drawn} == {0, 1, 2}
    assert {each.back for each in drawn} == {each.placed for each in drawn} == {True, False}
    assert min(each.slice_voxels for each in drawn) >= 1


def test_a_smooth_factor_is_positive() -> None:
    factor = smooth_factor(torch.Size((8, 9, 10)), 4, 0.3, torch.Generator().manual_seed(0))
    assert factor.shape == (8, 9, 10)
    assert (factor > 0).all()
