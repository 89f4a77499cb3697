"""Overlap against smoothness across contrasts: a T1 fixed, another person's brain in another contrast moving."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import read, write
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.accuracy.protocols import Images, Pair, pairs
from lightcrcf_bench.accuracy.pseudo_contrasts import CONTRASTS, pseudo_contrast
from lightcrcf_bench.smoothness.frontier import (
    DATA_SETS,
    SCORING,
    anatomy_of,
    case_name,
    frontier_commands,
    frontier_name,
    row_of,
)  # fmt: skip
from lightcrcf_bench.smoothness.ladder import across_ladder
from lightcrcf_bench.smoothness.record import Cases
from lightcrcf_bench.smoothness.scores import mean_dice, volume_change
from lightcrcf_bench.smoothness.simulate import seed_of
from lightcrcf_bench.smoothness.study import Planned, Ready, Split, Study

__all__ = ["CONTRAST_SETS", "contrast_frontier"]

CONTRAST_SETS = {f"brain-{name.lower()}": name for name in CONTRASTS}
"""Data sets, and the contrast of the moving image."""
_BRAIN = "brain"


def contrast_frontier(data_set: str, folder: Path, split: Split, bench: BenchSettings) -> Study:
    """Return the study of one contrast.

    Args:
        data_set: a key of `CONTRAST_SETS`.
        folder: of all data sets.
        split: val for records, train to choose settings by.
        bench: how to run.

    Raises:
        InputError: if the data are not there.
    """
    name, protocol = CONTRAST_SETS[data_set], row_of(DATA_SETS[_BRAIN], folder, split)
    found = pairs(protocol, folder)
    return Study(
        name=frontier_name(data_set, split),
        title=f"T1 fixed, pseudo-{name} of another person moving: overlap against smoothness",
        data=Cases(
            name=f"{protocol.data.name}; {protocol.data.labels}; the moving images made into pseudo-{name}",
            split=split,
            persons=protocol.data.split,
            terms=protocol.data.terms,
            names=tuple(case_name(pair) for pair in found),
        ),
        protocol=(
            f"{SCORING}Inside: {DATA_SETS[_BRAIN].inside}. Dice: mean over the structures that both have, labels moved "
            "once. elastix and ConvexAdam leave one map with the affine in it, which changes no SDlogJ."
        ),
        commands=frontier_commands(data_set, split),
        planned=[Planned(case_name(pair), partial(_prepared, pair, name)) for pair in found],
        rungs=across_ladder(protocol, bench),
    )


def _prepared(pair: Pair, name: str, bench: BenchSettings) -> Ready:
    fixed, labels, moving_labels = (read(p) for p in (pair.fixed_image, pair.fixed_labels, pair.moving_labels))
    made = f"{pair.moving}-{name}"
    file = bench.work / "contrasts" / f"{made}.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, pseudo_contrast(read(pair.moving_image), moving_labels, name, seed_of(made)))
    anatomy = anatomy_of(_BRAIN, fixed)

    def score(chain: Chain) -> dict[str, float]:
        change = volume_change(chain, fixed.grid, anatomy)
        if _has_the_affine_in_its_field(chain):
            change = {figure: value for figure, value in change.items() if not figure.startswith("ratio")}
        return {"dice": mean_dice(chain, labels, moving_labels), **change}

    return Ready(Images(pair.fixed, made, pair.fixed_image, file), score)


def _has_the_affine_in_its_field(chain: Chain) -> bool:
    """Return whether the field of a method includes its affine."""
    return chain.field is not None and np.array_equal(chain.after.matrix, np.eye(4))
