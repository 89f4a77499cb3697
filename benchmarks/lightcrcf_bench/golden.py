"""Golden results on a few held-out pairs: a change that costs accuracy fails the tests before it is shipped.

`python -m lightcrcf_bench.golden --data ../shared/data` writes `benchmarks/golden.json` anew, from the repository
root; do so when a change is meant to move results, and say so in its commit. A test registers the same pairs and
compares.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from lightcrcf.errors import InputError
from lightcrcf.evaluation.protocols import evaluate
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Pair, pairs

__all__ = ["CASES", "MOST_DICE_LOST", "PATH", "Golden", "compare", "main", "measure", "read_golden"]

PATH = Path("benchmarks/golden.json")
MOST_DICE_LOST = 0.002
_MOST_FOLDING_MORE = 0.01  # percent of the voxels
_MOST_MOVED = 0.25  # fixed voxels, root mean square over the points: other processors, other rounding
_POINTS = 4  # along each axis
# Protocol, number of the pair, preset: all anatomies, the brain with the network alone, every preset where it is quick.
CASES = (
    ("hippocampus", 0, "fast"),
    ("hippocampus", 5, "default"),
    ("hippocampus", 11, "default"),
    ("hippocampus", 2, "accurate"),
    ("cardiac", 4, "fast"),
    ("abdomen", 3, "fast"),
    ("brain", 0, "fast"),
)


class Golden(BaseModel):
    """One registration.

    Args:
        protocol, fixed, moving, preset: what was registered, and how.
        model: its name.
        sha256: of the model; with another one only Dice and folding are compared.
        dice: mean over the structures.
        folding_percent: of the fixed grid.
        points_mm: (N, 3) where a lattice of points of the fixed image lies in the moving one, RAS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str
    fixed: str
    moving: str
    preset: str
    model: str
    sha256: str
    dice: float
    folding_percent: float
    points_mm: tuple[tuple[float, float, float], ...]


def measure(case: tuple[str, int, str], data: Path) -> Golden:
    """Register and score a case.

    Args:
        case: of `CASES`.
        data: folder of all data sets.

    Raises:
        InputError: if the data are not there.
    """
    name, number, preset = case
    protocol = PROTOCOLS[name]
    pair = pairs(protocol, data)[number]
    found = register(pair.fixed_image, pair.moving_image, model=protocol.model, preset=preset)
    dice, folding = _scores(pair, found)
    return Golden(
        protocol=name, fixed=pair.fixed, moving=pair.moving, preset=preset, model=protocol.model,
        sha256=found.record.model.sha256 or "", dice=round(dice, 5), folding_percent=round(folding, 5),
        points_mm=tuple((round(x, 3), round(y, 3), round(z, 3)) for x, y, z in _points(found).tolist()),
    )  # fmt: skip


def compare(golden: Golden, now: Golden, fixed: Volume) -> list[str]:
    """Return a message for each result that is worse than before.

    Args:
        golden: as it was.
        now: as it is.
        fixed: the fixed image, for its voxels.
    """
    messages = []
    if now.dice < golden.dice - MOST_DICE_LOST:
        messages.append(f"Dice {now.dice:.4f} was {golden.dice:.4f}; a change may cost at most {MOST_DICE_LOST}")
    if now.folding_percent > golden.folding_percent + _MOST_FOLDING_MORE:
        messages.append(f"{now.folding_percent:.4f} % of the voxels fold, it was {golden.folding_percent:.4f} %")
    if now.sha256 == golden.sha256:
        apart_mm = np.array(now.points_mm) - np.array(golden.points_mm)
        moved = float(np.sqrt((apart_mm**2).sum(axis=1).mean())) / float(np.cbrt(np.prod(fixed.grid.spacing_mm)))
        if moved > _MOST_MOVED:
            limit = f"at most {_MOST_MOVED} are rounding"
            messages.append(f"the same model moves points {moved:.3f} voxels elsewhere; {limit}")
    return messages


def read_golden(path: Path) -> list[Golden]:
    """Return the golden results of a file.

    Raises:
        InputError: if it holds none.
    """
    try:
        return [Golden.model_validate(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(
            str(path), expected="golden results", got=str(error).splitlines()[0], remedy="measure them again"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the golden results anew. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf_bench.golden", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=PATH)
    given = parser.parse_args(arguments)
    found = [measure(case, given.data) for case in CASES]
    lines = [json.dumps(golden.model_dump()) for golden in found]
    given.out.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    for golden in found:
        print(f"{golden.protocol} {golden.fixed} <- {golden.moving}: Dice {golden.dice:.4f}", file=sys.stderr)
    return 0


def _scores(pair: Pair, found: Registration) -> tuple[float, float]:
    scores = evaluate(read(pair.fixed_labels), moving_labels=read(pair.moving_labels), transform=found.transform)
    return scores.mean_dice, scores.folding_percent or 0.0


def _points(found: Registration) -> NDArray[np.float64]:
    """Return a lattice over the middle of the fixed image, through the transform."""
    axes = [np.linspace(0.25, 0.75, _POINTS) * (n - 1) for n in found.fixed.grid.shape]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(found.transform.points(found.fixed.grid.world(voxels)))


if __name__ == "__main__":
    sys.exit(main())
