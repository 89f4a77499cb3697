"""Generated brains, for tests that need two whole images: any grid, any person, nothing interpolated."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from cohorts import people, quick, temporary, tree
from numpy.typing import NDArray
from textures import corners, ct, error, small, texture, textured

from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.volumes import Volume, write
from lightcrcf.weights import store
from lightcrcf.weights.preparation import Preparation

__all__ = [
    "corners", "ct", "error", "people", "quick", "small", "temporary", "texture", "textured", "tree",
]  # fmt: skip

# Several test processes share the cores: threads that spin while they wait would take them from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RADII_MM = np.array([62.0, 78.0, 55.0])
AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def box(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    *,
    axes: str = "RAS",
    turn: tuple[float, float, float] = (0, 0, 0),
    centre: tuple[float, float, float] = (0, 0, 0),
) -> Grid:
    """A grid about `centre` whose array axes point along `axes`, turned by degrees."""
    affine = np.eye(4)
    affine[:3, :3] = rotation_about_axes(turn) @ np.array([AXES[letter] for letter in axes], dtype=float).T * spacing_mm
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def waves(points: NDArray[Any], seed: int, length_mm: float, count: int = 10) -> NDArray[np.float32]:
    """A smooth function of (..., 3) points, about one in size."""
    rng = np.random.default_rng(seed)
    total = np.zeros(points.shape[:-1], np.float32)
    for _ in range(count):
        direction = rng.normal(size=3)
        frequency = 2 * np.pi / length_mm * direction / np.linalg.norm(direction)
        total += np.sin(points @ frequency.astype(np.float32) + np.float32(rng.uniform(0, 2 * np.pi)))
    return total * np.float32(np.sqrt(2 / count))


def tissue(points: NDArray[Any]) -> NDArray[np.int16]:
    """1: folded cortex, 2: white matter, 3: ventricles of one and the same 1.1-litre brain about the origin."""
    radius, folds = np.linalg.norm(points / RADII_MM, axis=-1), waves(points, 11, 24.0)
    ventricle = np.linalg.norm((np.abs(points - (3, 6, 0)) - (11, 0, 4)) / (7, 26, 10), axis=-1) < 1.0
    white = np.where(ventricle, 3, 2)
    return np.where(radius > 1, 0, np.where(radius + 0.12 * folds < 0.8, white, 1)).astype(np.int16)


def brain(
    grid: Grid,
    *,
    person: int = 0,
    turn: tuple[float, float, float] = (0, 0, 0),
    shift_mm: tuple[float, float, float] = (0, 0, 0),
    head: bool = False,
) -> tuple[Volume, Volume]:
    """Image and tissue labels of a person on any grid.

    Args:
        grid: where to look.
        person: 0 is the original, any other number deforms it by some 4 mm.
        turn: how the head is held, in degrees about each axis.
        shift_mm: where the brain's middle lies.
        head: leave skull, scalp and noisy air in the image.
    """
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    points = ((world - shift_mm) @ rotation_about_axes(turn)).astype(np.float32)
    if person:
        points = points + 2.5 * np.stack([waves(points, 100 * person + axis, 75.0, 6) for axis in range(3)], axis=-1)
    labels = tissue(points)
    image = np.array([0, 90, 150, 40], np.float32)[labels] + np.where(labels, 6 * waves(points, 5, 16.0), 0)
    if head:
        radius = np.linalg.norm(points / (RADII_MM + 26), axis=-1)
        noise = np.abs(np.random.default_rng(person).normal(scale=4.0, size=grid.shape))
        image = image + noise + np.where((labels == 0) & (radius < 1), np.where(radius > 0.9, 180, 60), 0)
    header: dict[str, Any] = {}
    return (
        Volume(np.clip(4 * image, 0, None).astype(np.int16), grid, f"person {person}", header),
        Volume(labels, grid, f"labels of person {person}", header),
    )


@pytest.fixture(scope="session")
def grids() -> Callable[..., Grid]:
    """`box`: a grid from shape, spacing, axes, turn and centre."""
    return box


@pytest.fixture(scope="session")
def brains() -> Callable[..., tuple[Volume, Volume]]:
    """`brain`: image and labels of a generated person on a grid."""
    return brain


@pytest.fixture(scope="session")
def pair() -> tuple[Volume, Volume]:
    """Two generated persons, coarse: the fixed one straight, the moving one turned, elsewhere, with other voxels."""
    fixed = brain(box((47, 60, 43), (3.0, 3.0, 3.0), axes="LPS"))[0]
    where = box((50, 46, 58), (3.1, 2.9, 3.2), axes="ASR", turn=(8, -5, 6), centre=(14, -9, 20))
    return fixed, brain(where, person=1, turn=(-6, 4, 11), shift_mm=(14, -9, 20))[0]


@pytest.fixture(scope="session")
def coarse_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network with a working grid of 3 mm, as a file: quick.

    It has never seen such brains, so that its steps are made smaller: whatever the weights, they hardly fold.
    """
    shipped = store.load("brain")
    arrays = {name: array * np.float32(0.6 if ".head." in name else 1) for name, array in shipped.arrays.items()}
    path = tmp_path_factory.mktemp("models") / "coarse.safetensors"
    store.write_weights(
        path,
        arrays,
        name="coarse",
        config=shipped.config,
        preparation=Preparation((3.0, 3.0, 3.0)),
        content=shipped.content,
    )
    return path


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real volumes."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real volumes: {folder} is absent")
    return folder


FILES = {  # of a subject's images and label maps, without endings
    "lpba40": [("{0}/{0}.delineation.skullstripped", "{0}/{0}.delineation.structure.label")],
    "oasis-learn2reg": [("imagesTr/OASIS_{0}_0000", "labelsTr/OASIS_{0}_0000")],
    "oasis-neurite": [("OASIS_OAS1_{0}_MR1/aligned_norm", "OASIS_OAS1_{0}_MR1/aligned_seg35")],
    "acdc": [("{1}/{0}/{0}_frame01", "{1}/{0}/{0}_frame01_gt"), ("{1}/{0}/{0}_frame12", "{1}/{0}/{0}_frame12_gt")],
    "abdomen-ct": [("imagesTr/AbdomenCTCT_{0}_0000", "labelsTr/AbdomenCTCT_{0}_0000")],
}


def publish(layout: str, folder: Path, image: Volume, labels: Volume) -> Path:
    """Write a whole public data set as its publisher ships it, but with one image and label map for everybody."""
    numbers = range(1, {"lpba40": 40, "acdc": 150, "abdomen-ct": 30}.get(layout, 414) + 1)
    names = [{"lpba40": f"S{n:02d}", "acdc": f"patient{n:03d}"}.get(layout, f"{n:04d}") for n in numbers]
    (folder.parent / "once").mkdir(parents=True, exist_ok=True)
    once = [
        write_analyze(folder.parent / "once" / what, volume)
        if layout == "lpba40"
        else write_nifti(folder.parent / "once" / what, volume)
        for what, volume in (("image", image), ("labels", labels))
    ]
    for number, name in zip(numbers, names, strict=True):
        for stems in FILES[layout]:
            for stem, files in zip(stems, once, strict=True):
                for file in files:
                    path = folder / stem.format(name, "training" if number <= 100 else "testing")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.link(file, path.with_name(path.name + file.name.removeprefix(file.name.split(".")[0])))
        if layout == "acdc":
            info = folder / ("training" if number <= 100 else "testing") / name / "Info.cfg"
            info.write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    if layout == "oasis-neurite":
        (folder / "subjects.txt").write_text("".join(f"OASIS_OAS1_{name}_MR1\n" for name in names))
    if layout in ("oasis-learn2reg", "abdomen-ct"):
        write_dataset_json(folder, {"oasis-learn2reg": "OASIS", "abdomen-ct": "AbdomenCTCT"}[layout], names)
    return folder


def write_dataset_json(folder: Path, task: str, names: list[str]) -> None:
    """The file that comes with a task of Learn2Reg, as far as it matters."""
    last = names[-20:] if task == "OASIS" else names[20:]
    pairs = itertools.pairwise(last) if task == "OASIS" else itertools.combinations(last, 2)
    values = {
        "name": task,
        "numTraining": len(names),
        "training": [{"image": f"./imagesTr/{task}_{name}_0000.nii.gz"} for name in names],
        "registration_val": [
            {
                side: f"./imagesTr/{task}_{name}_0000.nii.gz"
                for side, name in zip(("fixed", "moving"), pair, strict=True)
            }
            for pair in pairs
        ],
    }
    (folder / f"{task}_dataset.json").write_text(json.dumps(values), encoding="utf-8")


def write_nifti(stem: Path, volume: Volume) -> list[Path]:
    """`stem`.nii.gz."""
    path = stem.with_suffix(".nii.gz")
    write(path, volume)
    return [path]


def write_analyze(stem: Path, volume: Volume) -> list[Path]:
    """`stem`.hdr and `stem`.img.gz of Analyze 7.5, the axes to the left, backwards and up, and one frame in time."""
    data = np.ascontiguousarray(volume.canonical().data[::-1, ::-1])
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_data_shape((*data.shape, 1))
    header.set_zooms((*volume.canonical().grid.spacing_mm, 1.0))
    stem.with_suffix(".hdr").write_bytes(header.binaryblock)
    stem.with_suffix(".img.gz").write_bytes(gzip.compress(data.astype(">i2").tobytes(order="F"), 1))
    return [stem.with_suffix(".hdr"), stem.with_suffix(".img.gz")]


@pytest.fixture(scope="session")
def published() -> Callable[[str, Path, Volume, Volume], Path]:
    """`publish`: a public data set in its publisher's layout."""
    return publish
