"""A batch does what `register` does: raw heads with bare brains, and images of two contrasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import many_to_one
from lightcrcf.batch.run import run_batch
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.labels.atlases import Atlas
from lightcrcf.labels.labelling import label
from lightcrcf.volumes import Volume, read, write

OPTIONS = BatchOptions(model="none", preset="default", threads=1)


@pytest.fixture(scope="module")
def files(
    grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bare brain and the raw heads of two other persons, of one also bright for dark, and labels of all."""
    folder = tmp_path_factory.mktemp("kinds")
    for name, person, head in (("brain", 0, False), ("one", 1, True), ("two", 2, True)):
        grid = grids((60, 72, 56) if head else (44, 55, 40), (3.5, 3.6, 3.5), axes="LAS" if head else "RAS")
        image, labels = brains(grid, person=person, head=head)
        write(folder / f"{name}.nii.gz", image)
        write(folder / f"{name}_labels.nii.gz", labels)
    bare = read(folder / "brain.nii.gz")
    write(folder / "other.nii.gz", replace(bare, data=np.where(bare.data > 20, 700 - bare.data, 0)))
    return folder


def ran(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("pairs/*/run.json"))]


def test_raw_heads_onto_a_bare_brain(files: Path, tmp_path: Path) -> None:
    pairs = many_to_one(files / "brain.nii.gz", [files / "one.nii.gz", files / "two.nii.gz"])
    assert run_batch(pairs, tmp_path / "out", OPTIONS).failures == {}
    brains = [run["inputs"]["moving"]["brain"] for run in ran(tmp_path / "out")]
    assert [brain["registered_alone"] for brain in brains] == [True, True]


def test_images_of_two_contrasts(files: Path, tmp_path: Path) -> None:
    pairs = many_to_one(files / "other.nii.gz", [files / "brain.nii.gz", files / "one.nii.gz"])
    assert run_batch(pairs, tmp_path / "out", OPTIONS).failures == {}
    runs = ran(tmp_path / "out")
    assert [run["similarity"]["contrasts"] for run in runs] == ["any", "any"]
    assert runs[1]["inputs"]["moving"]["brain"]["registered_alone"]


def test_a_raw_head_is_labelled_by_a_bare_brain(files: Path) -> None:
    atlas = Atlas(files / "brain.nii.gz", files / "brain_labels.nii.gz")
    found = label(files / "one.nii.gz", [atlas], options=OPTIONS)
    overlaps = dice(read(files / "one_labels.nii.gz").data, found.labels.data)
    assert min(overlaps.values()) > 0.5
