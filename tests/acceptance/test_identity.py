"""The same image twice is the identity, whatever the model and the preset, and a rescan hardly moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume, read
from lightcrcf.weights import store

GridMaker = Callable[..., Grid]
BrainMaker = Callable[..., tuple[Volume, Volume]]
BodyMaker = Callable[..., Volume]

MODELS = [*store.names(), "none"]
SMALL = (36, 50, 34)  # as many voxels as a hippocampus crop has


def moved_by(found: Registration, volume: Volume) -> np.ndarray:
    """How many voxels the fixed grid's points move, over the whole of it."""
    voxels = np.moveaxis(np.indices(volume.grid.shape), 0, -1)[::3, ::3, ::3].reshape(-1, 3)
    back = volume.grid.voxels(found.transform.points(volume.grid.world(voxels)))
    return np.linalg.norm(back - voxels, axis=1)


@pytest.fixture(scope="module")
def crop(bodies: BodyMaker, grids: GridMaker) -> Volume:
    """A body as if it were as small as what the models of small crops know: 1 mm voxels, oblique."""
    image = bodies(grids(SMALL, (4.0, 3.0, 4.0)))
    return replace(image, grid=grids(SMALL, (1.0, 1.1, 0.9), axes="LPS", turn=(3, -4, 6)))


@pytest.mark.parametrize("preset", ["fast", "default", "accurate"])
@pytest.mark.parametrize("model", MODELS)
def test_an_image_and_itself(model: str, preset: str, crop: Volume) -> None:
    found = register(crop, crop, model=model, preset=preset)
    assert moved_by(found, crop).max() <= 0.1
    assert found.record.deformed is False
    assert not found.metrics.folding_percent


@pytest.mark.parametrize("kind", ["body", "brain", "head"])
@pytest.mark.parametrize("preset", ["fast", "accurate"])
def test_an_image_and_itself_with_the_model_that_is_chosen(
    kind: str, preset: str, bodies: BodyMaker, brains: BrainMaker, grids: GridMaker
) -> None:
    grid = grids((66, 77, 60), (3.0, 2.6, 3.2), axes="PSR", turn=(2, -3, 4))
    image = bodies(grid) if kind == "body" else brains(grid, head=kind == "head")[0]
    found = register(image, image, preset=preset)
    assert moved_by(found, image).max() <= 0.1
    assert found.quality.verdict == "pass" or kind == "body"


@pytest.mark.parametrize("model", ["brain", "none"])
@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_a_rescan_with_noise_and_a_mild_bias_field(
    model: str, strength: float, brains: BrainMaker, grids: GridMaker
) -> None:
    """It moves by at most .1 mm on average."""
    brain = brains(grids((66, 77, 60), (2.8, 2.4, 2.9), axes="LPS"))[0]
    places = brain.grid.world(np.moveaxis(np.indices(brain.grid.shape), 0, -1))
    bias = np.exp(strength * np.sin(places @ np.array([0.012, 0.015, -0.01]) + 0.4))
    rng = np.random.default_rng(8)
    scans = [
        replace(brain, data=np.where(brain.data > 0, image + rng.normal(0, 12, image.shape), 0).astype(np.float32))
        for image in (brain.data, brain.data * bias)
    ]
    found = register(*scans, model=model)
    points = brain.grid.world(np.argwhere(brain.data > 0)[::31])
    assert np.linalg.norm(found.transform.points(points) - points, axis=1).mean() <= 0.1
    assert found.record.deformed is False
    assert found.quality.verdict != "fail"


@pytest.mark.parametrize(
    ("sigma", "strength", "most_mm"),
    [
        (5, 0.0, 0.1),
        (5, 0.1, 0.15),
        (10, 0.1, 0.25),  # by the affine: 3 % noise on what has hardly an edge
    ],
)
def test_a_rescan_of_a_body(sigma: float, strength: float, most_mm: float, bodies: BodyMaker, grids: GridMaker) -> None:
    body = bodies(grids((64, 56, 68), (3.0, 2.8, 2.6), axes="PIR"))
    places = body.grid.world(np.moveaxis(np.indices(body.grid.shape), 0, -1))
    bias = np.exp(strength * np.sin(places @ np.array([0.012, 0.015, -0.01]) + 0.4))
    rng = np.random.default_rng(8)
    scans = [
        replace(body, data=(image + np.abs(rng.normal(0, sigma, image.shape))).astype(np.float32))
        for image in (body.data, body.data * bias)
    ]
    found = register(*scans, model="none")
    points = body.grid.world(np.argwhere(body.data > 150)[::31])
    assert np.linalg.norm(found.transform.points(points) - points, axis=1).mean() <= most_mm
    assert found.record.deformed is False


def test_a_person_who_moved_is_no_other_person(bodies: BodyMaker, grids: GridMaker) -> None:
    """The affine has it all; no deformation is made of what interpolation and noise leave."""
    shift = (7.3, -4.1, 5.6)
    here = grids((64, 56, 68), (3.0, 2.8, 2.6))
    there = grids((56, 70, 60), (2.8, 2.9, 3.1), axes="ASL", turn=(6, -4, 3), centre=shift)
    rng = np.random.default_rng(9)
    scans = [
        replace(image, data=(image.data + np.abs(rng.normal(0, 10, image.data.shape))).astype(np.float32))
        for image in (bodies(here), bodies(there, shift))
    ]
    found = register(*scans, model="none")
    points = here.world(np.argwhere(bodies(here).data > 150)[::31])
    off = np.linalg.norm(found.transform.points(points) - points - shift, axis=1)
    assert off.mean() <= 0.3
    assert found.quality.verdict == "pass"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("oasis/sub-1000_T1w.nii.gz", "default"),
        ("hippocampus/hippocampus_001.nii.gz", "accurate"),
        ("acdc/patient001_ED.nii.gz", "default"),
        ("chaos-t2/sub-01_T2w.nii.gz", "default"),
        ("ixi-2mm/sub-IXI048_T1w.nii.gz", "default"),
    ],
)
def test_a_real_image_and_itself(name: str, preset: str, data: Path) -> None:
    image = read(data / name)
    found = register(image, image, preset=preset)
    assert moved_by(found, image).max() <= 0.1
    assert found.quality.verdict != "fail"
