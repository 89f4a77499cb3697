"""Whole heads: aligned with a skull-stripped brain affinely, and told what could not be done; refined with another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read, write


def brain_overlap(a: Path, b: Path) -> float:
    """Dice of everything that has a label."""
    return dice(*((read(path).data > 0).astype(np.uint8) for path in (a, b)))[1]


def check(
    fixed: Path, fixed_labels: Path, moving: Path, moving_labels: Path, out: Path, *, verdict: str, overlap: float
) -> None:
    files = ["--fixed", str(fixed), "--moving", str(moving), "--moving-labels", str(moving_labels)]
    assert run(["register", *files, "--out", str(out)]) == 0
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["model"]["name"] is None
    assert record["qc"]["verdict"] == verdict
    said = " ".join(record["qc"]["reasons"])
    assert "looks like a whole head or body" in said
    assert "looks like a skull-stripped brain" in said
    assert "the result is affine only" in said
    assert not (out / "warp.nii.gz").exists()
    assert brain_overlap(fixed_labels, out / "moved_labels.nii.gz") > overlap


@pytest.mark.parametrize("head", ["fixed", "moving"])
def test_generated(
    head: str, grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path: Path
) -> None:
    fixed = brains(grids((66, 77, 60), (3.0, 3.0, 3.2), axes="LPS"), head=head == "fixed")
    where = grids((80, 64, 70), (2.8, 3.1, 3.0), axes="ASR", centre=(14, -9, 20))
    moving = brains(where, person=1, turn=(-6, 4, 11), shift_mm=(14, -9, 20), head=head == "moving")
    paths = [tmp_path / f"{name}.nii.gz" for name in ("fixed", "fixed_labels", "moving", "moving_labels")]
    for path, volume in zip(paths, (*fixed, *moving), strict=True):
        write(path, volume)
    check(*paths, tmp_path / "run", verdict="check", overlap=0.85)


@pytest.mark.data
@pytest.mark.parametrize("head", ["fixed", "moving"])
def test_a_real_head_is_aligned_and_told_what_could_not_be_done(head: str, data: Path, tmp_path: Path) -> None:
    """Dice of the brains is .91 either way; the affine alone deserves a look, and no more than that."""
    brain, whole = data / "oasis" / "sub-1101", data / "ixi-2mm" / "sub-IXI048"
    fixed, moving = (whole, brain) if head == "fixed" else (brain, whole)
    files = [Path(f"{who}_{what}.nii.gz") for who in (fixed, moving) for what in ("T1w", "dseg")]
    check(*files, tmp_path / "run", verdict="check", overlap=0.85)
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["affine"]["start"] != "outline"


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
