from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.pipeline.foreground import content, foreground, is_skull_stripped, litres
from lightcrcf.volumes import Volume, read

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]


def test_the_foreground_of_a_masked_brain_is_the_brain(brains: BrainMaker, grids: GridMaker) -> None:
    image, labels = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))
    assert np.mean(foreground(image.data) == (labels.data > 0)) > 0.995


def test_the_foreground_of_a_head_leaves_noisy_air_out(brains: BrainMaker, grids: GridMaker) -> None:
    image, labels = brains(grids((60, 72, 56), (3.2, 3.0, 3.4)), head=True)
    mask = foreground(image.data)
    assert mask[labels.data > 0].mean() > 0.9
    assert mask[0].mean() < 0.02


def test_litres_count_oblique_voxels(grids: GridMaker) -> None:
    grid = grids((10, 12, 14), (2.0, 3.0, 4.0), turn=(10, 20, 30))
    mask = np.zeros(grid.shape, bool)
    mask[:5, :5, :5] = True
    assert litres(mask, grid) == pytest.approx(125 * 24e-6)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "ASL"])
def test_brains_and_heads_are_told_apart(brains: BrainMaker, grids: GridMaker, axes: str) -> None:
    size = {"RAS": (60, 72, 58), "LPI": (60, 72, 58), "ASL": (72, 58, 60)}[axes]
    grid = grids(size, (3.3, 3.3, 3.3), axes=axes)
    assert content(brains(grid)[0]).kind == "skull-stripped brain"
    assert is_skull_stripped(brains(grid)[0])
    assert content(brains(grid, head=True)[0]).kind == "whole head or body"


def test_a_constant_image_is_refused(grids: GridMaker) -> None:
    with pytest.raises(InputError, match="flat"):
        content(Volume(np.ones((9, 8, 7)), grids((9, 8, 7), (1.0, 1.0, 2.0)), "flat"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("oasis/sub-1000_T1w.nii.gz", "skull-stripped brain"),
        ("oasis-trt-asl/sub-01_T1w.nii.gz", "skull-stripped brain"),
        ("ixi-2mm/sub-IXI048_T1w.nii.gz", "whole head or body"),
        ("chaos-t2/sub-01_T2w.nii.gz", "whole head or body"),
        ("hippocampus/hippocampus_001.nii.gz", "small crop"),
    ],
)
def test_real_images_are_recognised(data: Path, name: str, kind: str) -> None:
    assert content(read(data / name)).kind == kind
