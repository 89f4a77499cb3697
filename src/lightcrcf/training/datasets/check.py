"""Checks of the files of a recipe: headers of all images and, on request, the voxels of label maps."""

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
from lightcrcf.training.datasets.analyze import analyze_grid, read_analyze
from lightcrcf.training.datasets.layouts import LAYOUTS, Layout, Side
from lightcrcf.training.datasets.listing import SPLITS, Listing, Pair, Problem, Scan
from lightcrcf.volumes import Volume, read
from lightcrcf.volumes.formats.nifti import is_nifti, nifti_grid

__all__ = ["CohortCheck", "check_data"]

_SAME_MM = 0.01
_BYTES_PER_VOXEL = 4
_MAX_SUBFOLDERS = 50  # number of subfolders to search for misplaced files
_SIDES = ("left and right", "front and back", "top and bottom")


@dataclass(frozen=True)
class CohortCheck:
    """The result of checking a cohort's folder.

    Args:
        listing: subjects, pairs, and all problems.
        layout: "files", or the layout of a public data set.
        errors: problems that prevent a run.
        warnings: other problems.
        shapes: minimum and maximum number of voxels along each axis, (2, 3); None if no image is readable.
        spacings_mm: minimum and maximum voxel spacing along each axis, (2, 3).
        gibibytes: memory of the images of a run.
        codes: labels in the maps; None if they were not read.
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
        """True if a training run can start."""
        return not self.errors

    def count(self, subjects: Iterable[str]) -> int:
        """Return the number of subjects whose images are all present and readable."""
        wrong = {problem.subject for problem in self.listing.problems if not (problem.of_labels or problem.harmless)}
        scans = [self.listing.of([subject]) for subject in subjects if subject not in wrong]
        return sum(bool(own) and all(scan.image.exists() for scan in own) for own in scans)

    def as_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON; test pairs include their files."""
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
    """Check the files of every cohort.

    Args:
        config: the recipe.
        labels: whether to read the label maps too, and check their labels and orientation.

    Raises:
        InputError: if a recipe names subjects that a layout lacks.
    """
    return [_check(cohort, config, labels) for cohort in config.data.cohorts]


def _check(cohort: Cohort, config: TrainingConfig, labels: bool) -> CohortCheck:
    listing = cohort.listing(config.data.root)
    layout = None if cohort.layout == "files" else LAYOUTS[cohort.layout]
    if layout is not None and not _any_image(listing):
        listing = replace(listing, problems=(Problem(_misplaced_message(listing, layout)),))
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


def _any_image(listing: Listing) -> bool:
    return any(scan.image.exists() for scan in listing.scans)


def _misplaced_message(listing: Listing, layout: Layout) -> str:
    """Return the message for a folder without files of the data set: the expected tree, and a subfolder that has it."""
    subfolders = (path for pattern in ("*/", "*/*/") for path in sorted(listing.folder.glob(pattern)) if path.is_dir())
    near = next((path for path in islice(subfolders, _MAX_SUBFOLDERS) if _any_image(layout.listing(path))), None)
    hint = f"; they are in {near}, which is the folder to name" if near else ""
    return f"none of the set's files is here: expected {layout.tree}{hint}"


def _grids(listing: Listing) -> tuple[list[tuple[Scan, Grid]], list[Problem]]:
    """Return the grid of each readable image, and problems of headers."""
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
    """Return all labels in the maps, and problems of the maps."""
    present: set[int] = set()
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
        present |= codes
        if layout is not None:
            problems += [
                Problem(f"{scan.labels}: {text}", scan.subject, of_labels=True, harmless=True)
                for text in (*_unknown_labels(codes, layout), *_swapped_sides(labels, codes, layout.sides))
            ]
        if not codes:
            problems.append(Problem(f"{scan.labels} is empty", scan.subject, of_labels=True))
    if layout is not None and layout.codes - present:
        text = f"structures that nobody has: {', '.join(map(str, sorted(layout.codes - present)))}"
        problems.append(Problem(text, harmless=True))
    return present, problems


def _unknown_labels(codes: set[int], layout: Layout) -> list[str]:
    others = sorted(codes - layout.codes)
    return [f"it has labels that the set does not have: {', '.join(map(str, others[:10]))}"] if others else []


def _swapped_sides(labels: Volume, codes: set[int], sides: tuple[Side, ...]) -> Iterator[str]:
    """Yield a message for each axis along which two structures are in the wrong order."""
    for lower, higher, axis in sides:
        if {lower, higher} <= codes:
            low, high = (_centre(labels, code)[axis] for code in (lower, higher))
            if low >= high:
                yield f"its labels {lower} and {higher} say that {_SIDES[axis]} are swapped"


def _centre(labels: Volume, code: int) -> NDArray[np.float64]:
    """Return the centre of mass in RAS+ mm."""
    return labels.grid.world(np.argwhere(labels.data == code).mean(axis=0))
