"""What affine alignment compares, whatever the intensities."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.pipeline import affine_images


@pytest.mark.parametrize("largest", [1e37, 3.4e38])
@pytest.mark.parametrize("lowest", [0.2, -1.0])
def test_intensities_near_the_largest_float_are_rescaled_as_any_others(largest: float, lowest: float) -> None:
    shares = np.random.default_rng(3).uniform(lowest, 1, (31, 24, 42)).astype(np.float32)
    tissue = shares > 0.6
    wanted = affine_images._rescaled(shares, tissue, masked=False)
    found = affine_images._rescaled(shares * np.float32(largest), tissue, masked=False)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.ptp(found) > 1
