"""Is everything there that a recipe needs? Headers are read, voxels only of label maps, and only when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import LightCRCFError
from lightcrcf.evaluation.labels import label_codes
from lightcrcf.geometry.grid import Grid
from lightcrcf.training.config import Cohort, TrainingConfig
from lightcrcf.training.datasets.layouts import LAYOUTS, Layout, Side
from lightcrcf.training.datasets.listing import SPLITS, Listing, Pair, Problem, Scan
from lightcrcf.volumes import Volume, read
from lightcrcf.volumes.formats.analyze import analyze_grid, read_analyze
from lightcrcf.volumes.formats.nifti import is_nifti, nifti_grid

__all__ = ["CohortCheck", "check_data"]

_SAME_MM = 0.01
_BYTES_PER_VOXEL = 4
_NEAR = 50  # folders to look into for files that are not where they should be
_SIDES = ("left and right", "front and back", "top and bottom")


@dataclass(frozen=True)
class CohortCheck:
    """What was found in one cohort's folder.

    Args:
        listing: the subjects, pairs, and all problems.
        layout: "files", or of which data set.
        errors: problems that keep a run from starting.
        warnings: the other problems.
        shapes: least and greatest number of voxels along each axis, (2, 3); None if no image could be read.
        spacings_mm: least and greatest distance of voxels along each axis, (2, 3).
        gibibytes: of memory that the images of a run take.
        codes: labels that were met; None unless asked for.
    """

    listing: Listing
    layout: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    shapes: NDArray[np.int64] | None
    spacings_mm: NDArray[np.float64] | None
    gibibytes: float
    codes: tuple[int, ...] | None

    @property
    def trainable(self) -> bool:
        """Whether a run would start."""
        return not self.errors

    def count(self, subjects: Iterable[str]) -> int:
        """How many of some subjects have all their images here, and readable."""
        wrong = {problem.subject for problem in self.listing.problems if not (problem.of_labels or problem.harmless)}
        scans = [self.listing.of([subject]) for subject in subjects if subject not in wrong]
        return sum(bool(own) and all(scan.image.exists() for scan in own) for own in scans)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the pairs to test on come with their files."""
        listing = self.listing
        structures = {} if self.layout == "files" else dict(LAYOUTS[self.layout].structures)  # type: ignore[index]
        return {
            "folder": str(listing.folder),
            "layout": self.layout,
            "trainable": self.trainable,
            "atlases": list(listing.atlases),
            "subjects": {split: list(listing.split(split)) for split in SPLITS},
            "pairs": {split: len(listing.pairs(split)) for split in SPLITS},
            "test_pairs": [_files(pair) for pair in listing.pairs("test")],
            "structures": structures,
            "shapes": None if self.shapes is None else self.shapes.tolist(),
            "spacings_mm": None if self.spacings_mm is None else np.round(self.spacings_mm, 4).tolist(),
            "gibibytes": round(self.gibibytes, 2),
            "codes": self.codes,
            "errors": list(self.errors),
            "warnings": list(self.warnings),
        }


def _files(pair: Pair) -> dict[str, str | None]:
    fixed, moving = pair
    return {
        "fixed": str(fixed.image),
        "moving": str(moving.image),
        "fixed_labels": None if fixed.labels is None else str(fixed.labels),
        "moving_labels": None if moving.labels is None else str(moving.labels),
    }


def check_data(config: TrainingConfig, *, labels: bool = False) -> list[CohortCheck]:
    """Look at the files of every cohort.

    Args:
        config: whose cohorts.
        labels: read the label maps too: which structures there are, and whether left is left.

    Raises:
        InputError: if a recipe asks for subjects that a layout does not have.
    """
    return [_check(cohort, config, labels) for cohort in config.data.cohorts]


def _check(cohort: Cohort, config: TrainingConfig, labels: bool) -> CohortCheck:
    listing = cohort.listing(config.data.root)
    layout = None if cohort.layout == "files" else LAYOUTS[cohort.layout]
    if layout is not None and not _anything(listing):
        listing = replace(listing, problems=(Problem(_elsewhere(listing, layout)),))
    grids, problems = _grids(listing)
    codes: set[int] | None = None
    if labels:
        codes, more = _structures(listing, layout)
        problems += more
    listing = replace(listing, problems=(*listing.problems, *problems))
    blocking = listing.blocking(train_labels=config.loss.dice > 0 or cohort.skull_strip_with_labels)
    used = {*listing.atlases, *listing.train, *listing.val}
    voxels = sum(grid.size for scan, grid in grids if scan.subject in used)
    shapes = np.array([grid.shape for _, grid in grids])
    spacings = np.array([grid.spacing_mm for _, grid in grids])
    return CohortCheck(
        listing,
        cohort.layout,
        tuple(problem.text for problem in blocking),
        tuple(problem.text for problem in listing.problems if problem not in blocking),
        np.stack([shapes.min(axis=0), shapes.max(axis=0)]) if grids else None,
        np.stack([spacings.min(axis=0), spacings.max(axis=0)]) if grids else None,
        voxels * _BYTES_PER_VOXEL / 2**30,
        None if codes is None else tuple(sorted(codes)),
    )


def _anything(listing: Listing) -> bool:
    return any(scan.image.exists() for scan in listing.scans)


def _elsewhere(listing: Listing, layout: Layout) -> str:
    """What to say of a folder that holds none of a set's files: what it should hold, and where that is near by."""
    subfolders = (path for pattern in ("*/", "*/*/") for path in sorted(listing.folder.glob(pattern)) if path.is_dir())
    near = next((path for path in islice(subfolders, _NEAR) if _anything(layout.listing(path))), None)
    hint = f"; they are in {near}, which is the folder to name" if near else ""
    return f"none of the set's files is here: expected {layout.tree}{hint}"


def _grids(listing: Listing) -> tuple[list[tuple[Scan, Grid]], list[Problem]]:
    """The grid of each image that can be read, and what is wrong with headers."""
    grids: list[tuple[Scan, Grid]] = []
    problems: list[Problem] = []
    for scan in listing.scans:
        try:
            grid = _grid(scan, scan.image)
        except LightCRCFError as error:
            problems += [Problem(str(error), scan.subject)] if scan.image.exists() else []
            continue
        grids.append((scan, grid))
        problems += _label_grid(scan, grid)
    return grids, problems


def _grid(scan: Scan, path: Any) -> Grid:
    if scan.axes is not None:
        return analyze_grid(path, scan.axes)
    return nifti_grid(path)[0] if is_nifti(path) else read(path).grid


def _label_grid(scan: Scan, grid: Grid) -> Iterator[Problem]:
    if scan.labels is None or not scan.labels.exists():
        return
    try:
        labels = _grid(scan, scan.labels)
    except LightCRCFError as error:
        yield Problem(str(error), scan.subject, of_labels=True)
        return
    if labels.shape != grid.shape:
        text = f"{scan.labels} has {_times(labels.shape)} voxels, its image {_times(grid.shape)}"
        yield Problem(text, scan.subject, of_labels=True)
    elif not labels.isclose(grid, tolerance_mm=_SAME_MM):
        text = f"{scan.labels} lies elsewhere than its image"
        yield Problem(text, scan.subject, of_labels=True, harmless=True)


def _times(numbers: Iterable[int]) -> str:
    return "x".join(str(n) for n in numbers)


def _structures(listing: Listing, layout: Layout | None) -> tuple[set[int], list[Problem]]:
    """All labels that occur, and what is wrong with them."""
    met: set[int] = set()
    problems: list[Problem] = []
    for scan in listing.scans:
        if scan.labels is None or not scan.labels.exists():
            continue
        try:
            labels = read(scan.labels) if scan.axes is None else read_analyze(scan.labels, scan.axes)
            codes = set(label_codes(labels.data).tolist())
        except LightCRCFError as error:
            problems.append(Problem(str(error), scan.subject, of_labels=True))
            continue
        met |= codes
        if layout is not None:
            problems += [
                Problem(f"{scan.labels}: {text}", scan.subject, of_labels=True, harmless=True)
                for text in (*_strange(codes, layout), *_turned(labels, codes, layout.sides))
            ]
        if not codes:
            problems.append(Problem(f"{scan.labels} is empty", scan.subject, of_labels=True))
    if layout is not None and layout.codes - met:
        text = f"structures that nobody has: {', '.join(map(str, sorted(layout.codes - met)))}"
        problems.append(Problem(text, harmless=True))
    return met, problems


def _strange(codes: set[int], layout: Layout) -> list[str]:
    others = sorted(codes - layout.codes)
    return [f"it has labels that the set does not have: {', '.join(map(str, others[:10]))}"] if others else []


def _turned(labels: Volume, codes: set[int], sides: tuple[Side, ...]) -> Iterator[str]:
    """For each axis along which two structures lie the wrong way round, what it means."""
    for lower, higher, axis in sides:
        if {lower, higher} <= codes:
            low, high = (_centre(labels, code)[axis] for code in (lower, higher))
            if low >= high:
                yield f"its labels {lower} and {higher} say that {_SIDES[axis]} are swapped"


def _centre(labels: Volume, code: int) -> NDArray[np.float64]:
    """Centre of mass in RAS+ mm."""
    return labels.grid.world(np.argwhere(labels.data == code).mean(axis=0))
