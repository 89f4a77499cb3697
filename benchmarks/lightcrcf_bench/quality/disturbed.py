"""Images that give trouble: cut, with a bright lesion, taken again, heads against bare brains, CT.

Persons that were used for nothing else are registered by the command, as they are and disturbed. An interrupted run
goes on where it was.

    python -m lightcrcf_bench.quality.disturbed --data ../shared/data --out benchmarks/history/DATE-disturbed.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import LightCRCFError
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.run_record.replay import read_run
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read, write
from lightcrcf_bench.accuracy.protocols import cycle
from lightcrcf_bench.measure import circumstances, run
from lightcrcf_bench.quality.cases import STILL, Plan, Register, Run, counted
from lightcrcf_bench.quality.heads_ct import HEADS_CT_PROTOCOL, heads_and_ct
from lightcrcf_bench.records.disturbed import LESIONS, OTHER, PARTS, SAME, SHARES, Disturbed, DisturbedRecord
from lightcrcf_bench.records.history import parsed
from lightcrcf_bench.smoothness.scores import distances, mean_dice
from lightcrcf_bench.smoothness.simulate import biased, noise_level, noisy, random_of, shifted
from lightcrcf_bench.smoothness.study import subjects

__all__ = ["lesion_in", "main", "part_of", "parts_of", "plans", "seen", "turn_between"]

Points = NDArray[np.float64]
Box = tuple[slice, slice, slice]
_SHIFT_MM = np.array([6.3, -4.1, 5.2])
_SHIFT_VOXELS, _BIAS_PERCENT = (0.3, -0.4, 0.2), 20.0
_PERSONS = 3  # of heads and abdomens
_RADIUS_MM, _FAR_MM = 25.0, 15.0
_LIVER, _STEP = 1, 97
_COMMAND = (
    "python -m lightcrcf_bench.quality.disturbed --data ../shared/data --out benchmarks/history/DATE-disturbed.json"
)
PROTOCOL = (
    "`lightcrcf register --fixed F --moving M --out DIR`, no other option. Parts are cropped out of the moving image; "
    "distances are of every 97th point of the fixed anatomy that both show. The same person: the moving image is the "
    "fixed one, moved by 8 mm in its header, with noise of the image's own level in both, and the truth is known. "
    "Another person: distances are from where the undisturbed image sends the same points; there is no truth, and of "
    "a whole brain with other noise they tell how far chance takes them. Lesion: a ball of 50 mm in the fixed liver; "
    "heads: Dice lost in what is left; rescan: the image moved by (0.3, -0.4, 0.2) voxels "
    "and multiplied by a smooth field from 0.9 to 1.1, noise in both. "
    f"{HEADS_CT_PROTOCOL} Worst: of all cases."
)
DATA = (
    "Persons of the validation splits: OASIS-1 skull-stripped, each with the next; the first three of IXI, whole "
    "heads, and of CHAOS, abdomens, likewise; five of IXI against bare brains; two chests of LIDC-IDRI of "
    "the training split, there being no others."
)


def plans(folder: Path) -> list[Plan]:
    """Return all plans.

    Args:
        folder: of the data sets.

    Raises:
        InputError: if the data are not there.
    """
    brains = subjects(folder, "oasis", "val")
    heads, bodies = (subjects(folder, name, "val")[:_PERSONS] for name in ("ixi-2mm", "chaos-t2"))
    return [
        *(Plan(f"brain {one}", partial(_own_parts, folder, one)) for one in brains),
        *(Plan(f"brains {one} {other}", partial(_others_parts, folder, one, other)) for one, other in cycle(brains)),
        *(Plan(f"heads {one} {other}", partial(_heads, folder, one, other)) for one, other in cycle(heads)),
        *(Plan(f"body {one}", partial(_lesions, folder, one, one)) for one in bodies),
        *(Plan(f"bodies {one} {other}", partial(_lesions, folder, one, other)) for one, other in cycle(bodies)),
        *(
            Plan(f"rescan {what} {one}", partial(_rescan, folder, what, data_set, one))
            for what, data_set, persons in
            (("brain", "oasis", brains), ("head", "ixi-2mm", heads), ("body", "chaos-t2", bodies))
            for one in persons[:_PERSONS]
        ),
        *heads_and_ct(folder),
    ]  # fmt: skip


def parts_of(volume: Volume) -> dict[str, Box]:
    """Return boxes of parts of a brain by name, in an array along RAS+.

    Example:
        >>> brain = Volume(np.ones((8, 10, 12), np.float32), Grid((8, 10, 12), np.eye(4)))
        >>> parts_of(brain)["slab"][2], parts_of(brain)["hemisphere"][0]
        (slice(4, 8, None), slice(0, 4, None))
    """
    places = np.argwhere(volume.data > 0)
    low, end = (int(n) for n in (places[:, 2].min(), places[:, 2].max() + 1))
    left, right = (int(n) for n in (places[:, 0].min(), places[:, 0].max() + 1))
    every, third = slice(None), (end - low) // 3
    boxes: tuple[Box, ...] = (
        (every, every, slice(low + third, low + 2 * third)),
        (slice(0, (left + right) // 2), every, every),
        (every, every, slice(low + third, volume.grid.shape[2])),
    )
    return dict(zip(PARTS, boxes, strict=True))


def part_of(volume: Volume, box: Box) -> Volume:
    """Return the part of a volume inside a box."""
    data = np.ascontiguousarray(volume.data[box])
    return Volume(data, volume.grid.crop([s.start or 0 for s in box], data.shape), f"part of {volume.source}")


def seen(grid: Grid, points_mm: Points) -> NDArray[np.bool_]:
    """Return (n,) whether points lie in voxels of a grid."""
    voxels = grid.voxels(points_mm)
    return np.asarray(((voxels >= -0.5) & (voxels <= np.array(grid.shape) - 0.5)).all(axis=1))


def lesion_in(volume: Volume, centre_mm: Points, times: float) -> Volume:
    """Add a ball of a multiple of the median intensity of the tissue, with an edge of 3 mm."""
    grid = volume.grid
    places = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    tissue = float(np.median(volume.data[foreground(volume.data)]))
    beyond = (np.linalg.norm(places - centre_mm, axis=-1) - _RADIUS_MM) / 1.5
    share = np.where(beyond < 8, 1 / (1 + np.exp(np.clip(beyond, -50, 50))), 0)  # constants elsewhere stay constant
    return replace(volume, data=(volume.data * (1 - share) + times * tissue * share).astype(np.float32))


def turn_between(one: Affine, other: Affine) -> float:
    """Return the angle in degrees between the rotations of two affines.

    Example:
        >>> turn = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        >>> round(turn_between(Affine.identity(), Affine(turn)))
        90
    """
    u, _, v = np.linalg.svd((np.linalg.inv(one.matrix) @ other.matrix)[:3, :3])
    return float(np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1))))


_FILES = {
    "oasis": ("sub-{}_T1w.nii.gz", "sub-{}_dseg.nii.gz"),
    "ixi-2mm": ("sub-{}_T1w.nii.gz", "sub-{}_dseg.nii.gz"),
    "chaos-t2": ("sub-{}_T2w.nii.gz", "sub-{}_dseg.nii.gz"),
}


def _load(folder: Path, data_set: str, person: str, what: int = 0) -> Volume:
    """Return the image, or the labels with `what` of 1, in axes towards RAS."""
    return read(folder / data_set / _FILES[data_set][what].format(person)).canonical()


def _points(volume: Volume, mask: NDArray[np.bool_]) -> Points:
    return volume.grid.world(np.argwhere(mask)[::_STEP])


def _twice(image: Volume, name: str) -> tuple[Volume, Volume]:
    """Return an image and itself elsewhere by its header, with noise of its own level in both."""
    level, random = noise_level(image), random_of(name)
    here, there = (noisy(image, level, random) for _ in range(2))
    matrix = np.eye(4)
    matrix[:3, 3] = _SHIFT_MM
    return here, replace(there, grid=Grid(there.grid.shape, matrix @ there.grid.affine))


def _own_parts(folder: Path, person: str, register: Register) -> Iterator[Disturbed]:
    fixed, moving = _twice(_load(folder, "oasis", person), person)
    points = _points(fixed, fixed.data > 0)
    for name, box in parts_of(moving).items():
        part = part_of(moving, box)
        found = register(fixed, part)
        off, shown = distances(found.chain, points, points + _SHIFT_MM), seen(part.grid, points + _SHIFT_MM)
        figures = {**_spread(off[shown]), "beyond_p95_mm": float(np.percentile(off[~shown], 95))}
        yield counted(f"{name}-{SAME}", person, found, figures)


def _others_parts(folder: Path, one: str, other: str, register: Register) -> Iterator[Disturbed]:
    fixed, moving = (_load(folder, "oasis", person) for person in (one, other))
    points, who = _points(fixed, fixed.data > 0), f"{one} <- {other}"
    wanted = register(fixed, moving).chain.points(points)
    for name, box in parts_of(moving).items():
        part = part_of(moving, box)
        found = register(fixed, part)
        shown = seen(part.grid, wanted)
        yield counted(f"{name}-{OTHER}", who, found, _spread(distances(found.chain, points[shown], wanted[shown])))
    found = register(fixed, noisy(moving, noise_level(moving), random_of(who)))
    yield counted(f"noise-{OTHER}", who, found, _spread(distances(found.chain, points, wanted)))


def _heads(folder: Path, one: str, other: str, register: Register) -> Iterator[Disturbed]:
    fixed, moving = (_load(folder, "ixi-2mm", person) for person in (one, other))
    fixed_labels, labels = (_load(folder, "ixi-2mm", person, 1) for person in (one, other))
    whole, labelled = register(fixed, moving), fixed_labels.data > 0
    places = fixed_labels.grid.world(np.argwhere(labelled))
    wanted = whole.chain.points(places)
    for way, axis in (("lower", 2), ("left", 0)):
        for share in SHARES:
            box = [slice(None)] * 3
            box[axis] = slice(round(share / 100 * moving.grid.shape[axis]), None)
            part = part_of(moving, (box[0], box[1], box[2]))
            found, left = register(fixed, part), np.zeros_like(labelled)
            left[labelled] = seen(part.grid, wanted)
            rest = replace(fixed_labels, data=np.where(left, fixed_labels.data, 0))
            lost = _dice_in(left, whole.chain, rest, labels) - _dice_in(left, found.chain, rest, labels)
            yield counted(f"head-{way}-{share}", f"{one} <- {other}", found, {"dice_lost": lost})


def _dice_in(mask: NDArray[np.bool_], chain: Chain, fixed: Volume, moving: Volume) -> float:
    """Return mean Dice of labels within a mask of the fixed grid."""
    moved = chain.resample(moving, fixed.grid, "nearest")
    return mean_dice(STILL, fixed, replace(moved, data=np.where(mask, moved.data, 0)))


def _lesions(folder: Path, one: str, other: str, register: Register) -> Iterator[Disturbed]:
    fixed, labels = (_load(folder, "chaos-t2", one, what) for what in (0, 1))
    moving, who = _load(folder, "chaos-t2", other), f"{one} <- {other}"
    if one == other:
        (fixed, moving), who = _twice(fixed, one), one
    centre = labels.grid.world(np.argwhere(labels.data == _LIVER)).mean(axis=0)
    points = _points(fixed, foreground(fixed.data))
    far = np.linalg.norm(points - centre, axis=1) > _RADIUS_MM + _FAR_MM
    whole = register(fixed, moving)
    wanted, start = whole.chain.points(points), whole.affine.points(points)
    for times in LESIONS:
        found = register(lesion_in(fixed, centre, times), moving)
        figures = {
            "affine_deg": turn_between(whole.affine, found.affine),
            "affine_mm": float(np.linalg.norm(found.affine.points(points) - start, axis=1).mean()),
            "far_p95_mm": float(np.percentile(distances(found.chain, points, wanted)[far], 95)),
        }
        if one != other:
            theirs = _load(folder, "chaos-t2", other, 1)
            figures["dice_lost"] = mean_dice(whole.chain, labels, theirs) - mean_dice(found.chain, labels, theirs)
        yield counted(f"lesion-{times}-{SAME if one == other else OTHER}", who, found, figures)


def _rescan(folder: Path, what: str, data_set: str, person: str, register: Register) -> Iterator[Disturbed]:
    image = _load(folder, data_set, person)
    level, random = noise_level(image), random_of(person)
    shift_mm = image.grid.affine[:3, :3] @ np.array(_SHIFT_VOXELS)
    again = noisy(biased(shifted(image, shift_mm), _BIAS_PERCENT, random), level, random)
    found, points = register(noisy(image, level, random), again), _points(image, foreground(image.data))
    off = distances(found.chain, points, points + shift_mm)
    yield counted(f"rescan-{what}", person, found, {"mean_mm": float(off.mean())})


def _spread(off: NDArray[np.float64]) -> dict[str, float]:
    return {"p95_mm": float(np.percentile(off, 95)), "median_mm": float(np.median(off))}


def _by_command(work: Path, fixed: Volume, moving: Volume) -> Run:
    """Register as a user would: by the command, on files."""
    files = work / "fixed.nii.gz", work / "moving.nii.gz"
    for file, volume in zip(files, (fixed, moving), strict=True):
        write(file, volume)
    words = ("register", "--fixed", str(files[0]), "--moving", str(files[1]), "--out", str(work / "run"))
    run((sys.executable, "-m", "lightcrcf", *words))
    return Run(read_transform_folder(work / "run"), read_run(work / "run").qc.verdict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the record lacks; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="record to write, or to go on with")
    parser.add_argument("--only", default="", help="plans whose names begin so, with commas between")
    parser.add_argument("--note", default="", help="what else the machine did")
    options = parser.parse_args(arguments)
    try:
        _measure(options)
    except LightCRCFError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure(options: argparse.Namespace) -> None:
    cases, done = _kept(options.out)
    chosen = tuple(options.only.split(","))
    with tempfile.TemporaryDirectory() as work:
        for plan in plans(options.data):
            if plan.name in done or not plan.name.startswith(chosen):
                continue
            for case in plan.run(partial(_by_command, Path(work))):
                cases.append(case)
                print(f"{case.kind} {case.case}: {case.figures}, {case.verdict}", file=sys.stderr)
            done.append(plan.name)
            _record(cases, done, options.note).write(options.out)


def _kept(path: Path) -> tuple[list[Disturbed], list[str]]:
    """Return the cases and finished plans of an existing record."""
    if not path.exists():
        return [], []
    record = parsed(path, DisturbedRecord.model_validate_json, "format lightcrcf-disturbed 1")
    return list(record.cases), list(record.plans)


def _record(cases: Sequence[Disturbed], done: Sequence[str], note: str) -> DisturbedRecord:
    return DisturbedRecord(
        **circumstances(), protocol=PROTOCOL, note=note, data=DATA,
        commands=(_COMMAND, "lightcrcf bench report"),
        plans=tuple(done), cases=tuple(cases),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
