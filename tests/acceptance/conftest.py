"""Registrations through the command line, on all kinds of grids, for other tools to repeat."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read, write

Pair = tuple[Volume, Volume]

# Fixed and moving: shape, spacing, axes, and turn in degrees of a grid. The network's field has voxels of 6 mm.
CASES = {
    "half of an axis-aligned grid": (
        ((47, 60, 43), (3, 3, 3), "LPS", (0, 0, 0)), ((50, 46, 58), (3, 3, 3), "ASR", (0, 0, 0)),
    ),
    "oblique and anisotropic, fixed": (
        ((62, 44, 53), (2.7, 3.9, 2.6), "PIR", (12, -8, 15)), ((44, 60, 37), (3.2, 2.8, 3.9), "LAS", (0, 0, 0)),
    ),
    "oblique and anisotropic, both": (
        ((63, 76, 24), (2.2, 2.3, 5.5), "RAS", (-9, 14, 5)), ((58, 41, 63), (2.6, 3.4, 2.9), "IPL", (11, 6, -13)),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Run:
    """What one `lightcrcf register` took and left."""

    fixed: Path
    moving: Path
    out: Path

    def moved(self) -> Volume:
        return read(self.out / "moved.nii.gz")

    def chain(self) -> Chain:
        return read_transform_folder(self.out)

    def points(self, count: int = 400) -> NDArray[np.float64]:
        """(N, 3) LPS mm over the fixed foreground and, a fifth of them, anywhere on its grid; on no voxel centre."""
        fixed = read(self.fixed)
        rng = np.random.default_rng(7)
        tissue = rng.permutation(np.argwhere(fixed.data > 0))[:count]
        anywhere = rng.uniform(0, np.array(fixed.grid.shape) - 1, (count // 4, 3))
        voxels = np.concatenate([tissue + rng.uniform(-0.5, 0.5, tissue.shape), anywhere])
        return fixed.grid.world(voxels) * (-1, -1, 1)


def register(fixed: Path, moving: Path, out: Path, *options: str) -> Run:
    """Run the command; it must succeed."""
    code = run(["register", "--fixed", str(fixed), "--moving", str(moving), "--out", str(out), *options])
    assert code == 0
    return Run(fixed, moving, out)


@pytest.fixture(scope="package", params=CASES)
def coarse_run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    grids: Callable[..., Grid],
    brains: Callable[..., Pair],
    coarse_model: Path,
) -> Run:
    """Two generated persons on two grids, registered with the network and its inverse."""
    folder = tmp_path_factory.mktemp("coarse")
    (shape, spacing, axes, turn), (*other, other_turn) = CASES[request.param]
    centre = (14, -9, 20)
    fixed = brains(grids(shape, spacing, axes=axes, turn=turn))[0]
    where = grids(*other[:2], axes=other[2], turn=other_turn, centre=centre)
    moving = brains(where, person=1, turn=(-6, 4, 11), shift_mm=centre)[0]
    write(folder / "fixed.nii.gz", fixed)
    write(folder / "moving.nii.gz", moving)
    options = ("--model", str(coarse_model), "--inverse")
    return register(folder / "fixed.nii.gz", folder / "moving.nii.gz", folder / "run", *options)


@pytest.fixture(scope="package")
def real_run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    """Two real brains at 1 mm with the shipped model; the moving one lies anterior, superior, left."""
    out = tmp_path_factory.mktemp("real") / "run"
    fixed, moving = data / "oasis" / "sub-1101_T1w.nii.gz", data / "oasis-trt-asl" / "sub-01_T1w.nii.gz"
    return register(fixed, moving, out, "--inverse")


@pytest.fixture(scope="session")
def move_points(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NDArray[np.float64]]:
    """Points through `lightcrcf points`: move_points(run, points, *options) -> points."""

    def move(done: Run, points: NDArray[np.float64], *options: str) -> NDArray[np.float64]:
        folder = tmp_path_factory.mktemp("points")
        with (folder / "in.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("x", "y", "z"), *points.tolist()])
        files = ["--input", str(folder / "in.csv"), "--output", str(folder / "out.csv")]
        assert run(["points", *files, "--transform", str(done.out), *options]) == 0
        return np.loadtxt(folder / "out.csv", delimiter=",", skiprows=1)

    return move


BODY_MM, LIVER_MM = np.array([84.0, 62.0, 76.0]), np.array([-34.0, 6.0, 12.0])


def body(
    grid: Grid, shift_mm: tuple[float, float, float] = (0, 0, 0), *, bend_mm: float = 0.0, lesion: float = 0.0
) -> Volume:
    """A trunk of one tissue with 70 soft organs in it, 0 to about 1000 on air of 0, wherever a grid looks.

    Args:
        grid: where to look.
        shift_mm: where its middle lies.
        bend_mm: how far another person's points lie from the first one's, about.
        lesion: this much brighter is a ball of 40 mm, away from the middle.
    """
    places = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) - shift_mm
    points, rng = places, np.random.default_rng(19)
    for _ in range(4 if bend_mm else 0):
        way, wave = rng.normal(size=3) * bend_mm / 2.5, rng.normal(size=3) / 40
        points = points + np.sin(places @ wave + rng.uniform(0, 2 * np.pi))[..., None] * way
    rng, radius = np.random.default_rng(5), np.linalg.norm(points / BODY_MM, axis=-1)
    image = 320 / (1 + np.exp(28 * (radius - 0.92)))
    for _ in range(70):
        direction = rng.normal(size=3)
        middle = 0.75 * BODY_MM * direction / np.linalg.norm(direction) * rng.uniform() ** (1 / 3)
        size, height = rng.uniform(5, 13), rng.uniform(-180, 450)
        image += height * np.exp(-((points - middle) ** 2).sum(axis=-1) / (2 * size**2)) * (radius < 0.9)
    image += lesion / (1 + np.exp(np.linalg.norm(points - LIVER_MM, axis=-1) - 20))
    return Volume(np.maximum(image, 0).astype(np.float32), grid, f"body at {shift_mm}")


@pytest.fixture(scope="session")
def bodies() -> Callable[..., Volume]:
    """`body`: a generated trunk on a grid."""
    return body


def difference(found: NDArray, expected: NDArray) -> float:
    """99.9th percentile of the absolute difference, as a share of the range."""
    return float(np.percentile(np.abs(found - expected), 99.9) / np.ptp(expected))


@pytest.fixture(scope="session")
def apart() -> Callable[[NDArray, NDArray], float]:
    """`difference`."""
    return difference
