"""Where the alignment may begin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lightcrcf.affine.initialization import best_translations, rotations, starts
from lightcrcf.affine.pyramid import AlignmentImage, LevelPair, build_pyramids
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]


def coarse(fixed: Volume, moving: Volume) -> LevelPair:
    return build_pyramids(AlignmentImage.prepare(fixed, None), AlignmentImage.prepare(moving, None))[0]


def test_the_rotations_are_all_different_and_none_mirrors() -> None:
    turns = np.stack(rotations())
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    cosines = (np.einsum("nij,mij->nm", turns, turns) - 1) / 2
    np.fill_diagonal(cosines, -1)
    assert cosines.max() < np.cos(np.radians(40))


def test_starts_put_the_centres_together(pair: tuple[Volume, Volume]) -> None:
    level = coarse(*pair)
    upright, turned = starts(level, upright=True), starts(level, upright=False)
    assert [s.name for s in upright] == ["header", "centres"]
    assert len(turned) == 95
    for start in (*upright[1:], *turned):
        centre = start.matrix[:3, :3] @ level.fixed.centroid_mm + start.matrix[:3, 3]
        np.testing.assert_allclose(centre, level.moving.centroid_mm, atol=1e-9)
    assert {s.name for s in turned} >= {"centres, turned by 90°", "centres, turned by 180°"}


@pytest.mark.parametrize("head", ["fixed", "moving"])
def test_a_brain_is_found_in_a_head(head: str, brains: BrainMaker, grids: GridMaker) -> None:
    shift = (12.0, -20.0, 25.0)
    brain = brains(grids((50, 62, 44), (3.0, 3.0, 3.0)))[0]
    # Reaching far down, as with a neck, so that the centres are far apart.
    whole = brains(grids((70, 82, 90), (3.0, 3.1, 3.2), centre=(0, 0, -30)), head=True, shift_mm=shift)[0]
    small, large = coarse(brain, whole).fixed, coarse(brain, whole).moving
    found = best_translations(small, large, np.eye(3))
    errors = [np.linalg.norm(m[:3, 3] - shift) for m in found]
    assert min(errors) < 1.5 * large.grid.spacing_mm.max()
    pair = coarse(brain, whole) if head == "moving" else coarse(whole, brain)
    names = [s.name for s in starts(pair, upright=True)]
    assert names[:2] == ["header", "centres"]
    assert names[2:] == ["best placement"] * (len(names) - 2)
    assert len(names) > 2
