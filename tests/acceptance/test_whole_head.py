"""Whole heads: registered with a skull-stripped brain by their own brain alone; refined with another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read, write

# The skull and scalp of generated heads are like no real ones: the mask reaches into them.
LIKE_A_BRAIN = 0.7
LOBES = (44, 45, *range(81, 96))  # white matter, which IXI and OASIS divide in their own ways


def brain_overlap(a: Path, b: Path) -> float:
    """Dice of everything that has a label."""
    return dice(*((read(path).data > 0).astype(np.uint8) for path in (a, b)))[1]


def registered(fixed: Path, moving: Path, moving_labels: Path, out: Path, *words: str) -> dict[str, Any]:
    files = ["--fixed", str(fixed), "--moving", str(moving), "--moving-labels", str(moving_labels)]
    assert run(["register", *files, "--out", str(out), *words]) == 0
    record: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return record


@pytest.mark.parametrize("head", ["fixed", "moving"])
def test_generated(
    head: str,
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fixed = brains(grids((66, 77, 60), (3.0, 3.0, 3.2), axes="LPS"), head=head == "fixed")
    where = grids((80, 64, 70), (2.8, 3.1, 3.0), axes="ASR", centre=(14, -9, 20))
    moving = brains(where, person=1, turn=(-6, 4, 11), shift_mm=(14, -9, 20), head=head == "moving")
    paths = [tmp_path / f"{name}.nii.gz" for name in ("fixed", "fixed_labels", "moving", "moving_labels")]
    for path, volume in zip(paths, (*fixed, *moving), strict=True):
        write(path, volume)
    record = registered(paths[0], *paths[2:], tmp_path / "run", "--brain-mask", "--report")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("was registered alone") == 1  # of the head, not of the bare brain, whatever was asked for
    assert record["model"]["name"] == "brain"
    assert record["inputs"][head]["content"]["kind"] == "whole head or body"
    assert record["inputs"][head]["brain"]["registered_alone"]
    assert f"the {head} image is a head, its brain was found" in capsys.readouterr().err
    assert brain_overlap(paths[1], tmp_path / "run" / "moved_labels.nii.gz") > 0.8
    made = {"fixed": ["fixed"], "moving": ["fixed", "moving"]}[head]
    assert sorted(path.stem for path in (tmp_path / "run").glob("brain_mask_*")) == [
        f"brain_mask_{role}.nii" for role in made
    ]
    for role in made:
        labels = paths[1] if role == "fixed" else paths[3]
        assert brain_overlap(tmp_path / "run" / f"brain_mask_{role}.nii.gz", labels) > LIKE_A_BRAIN
    assert read(tmp_path / "run" / "moved.nii.gz").data.max() > 0  # the whole moving image, scalp and all


@pytest.mark.data
@pytest.mark.parametrize("head", ["fixed", "moving"])
def test_a_real_head_is_registered_by_its_brain(head: str, data: Path, tmp_path: Path) -> None:
    """Dice of 132 structures: .45 by an affine of the whole head, .62 with its brain found, .64 with a mask by hand."""
    brain, whole = data / "oasis" / "sub-1003", data / "ixi-2mm" / "sub-IXI284"
    fixed, moving = (whole, brain) if head == "fixed" else (brain, whole)
    files = [Path(f"{who}_{what}.nii.gz") for who, what in ((fixed, "T1w"), (moving, "T1w"), (moving, "dseg"))]
    record = registered(*files, tmp_path / "run")
    assert record["inputs"][head]["brain"]["by"] == "network"
    assert record["qc"]["verdict"] == "pass", record["qc"]["reasons"]
    truth, found = read(Path(f"{fixed}_dseg.nii.gz")).data, read(tmp_path / "run" / "moved_labels.nii.gz").data
    both = [value for code, value in dice(truth, found).items() if code not in LOBES and value == value]
    assert float(np.mean(both)) > 0.55


@pytest.mark.data
def test_two_real_heads_are_refined(data: Path, tmp_path: Path) -> None:
    fixed, moving = (data / "ixi-2mm" / f"sub-{name}" for name in ("IXI161", "IXI216"))
    files = ["--fixed", f"{fixed}_T1w.nii.gz", "--moving", f"{moving}_T1w.nii.gz"]
    found = {}
    for preset in ("fast", "default"):  # without a model `fast` is the affine alone
        out = tmp_path / preset
        labels = ["--moving-labels", f"{moving}_dseg.nii.gz"]
        assert run(["register", *files, "--out", str(out), "--preset", preset, *labels]) == 0
        overlaps = dice(read(Path(f"{fixed}_dseg.nii.gz")).data, read(out / "moved_labels.nii.gz").data)
        found[preset] = float(np.nanmean(list(overlaps.values())))
    assert found["fast"] > 0.42  # .48, 129 structures
    assert found["default"] > 0.58  # .65
