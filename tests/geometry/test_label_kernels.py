import numpy as np
import pytest

from lightcrcf.geometry.label_kernels import label_fractions


def test_shares_are_means_of_one_hot_maps() -> None:
    labels = np.random.default_rng(0).integers(-1, 5, (4, 6, 9))
    expected = np.stack([(labels == code).reshape(2, 2, 2, 3, 9, 1).mean(axis=(1, 3, 5)) for code in (1, 2, 3)])
    assert np.allclose(label_fractions(labels, 3, (2, 3, 1)), expected, atol=1e-6)


def test_blocks_must_fill_the_volume() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        label_fractions(np.ones((4, 5, 6), int), 1, (2, 2, 2))
