"""Voxels without data through the command line: they are unknown, and nobody is refused for some of them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.cli.main import run

Good = tuple[Path, Path]


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_some_voxels_without_data_are_unknown(role: str, good: Good, tmp_path: Path) -> None:
    """NaN and what float32 cannot hold: they neither refuse the image nor reach what is written."""
    image = nib.load(good[role == "moving"])
    data = np.asarray(image.dataobj).astype(np.float64)
    data[20, 20, 20], data[22, 25, 20:23] = np.nan, (1e300, -1e300, np.nan)
    holed = tmp_path / "holed.nii.gz"
    nib.save(nib.Nifti1Image(data, image.affine), holed)
    fixed, moving = (holed, good[1]) if role == "fixed" else (good[0], holed)
    words = ["--fixed", str(fixed), "--moving", str(moving), "--out", str(tmp_path / "out")]
    assert run(["register", *words, "--model", "none", "--refine", "1"]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert [record["inputs"][r]["unknown"].get("not finite", 0) for r in ("fixed", "moving")] == (
        [4, 0] if role == "fixed" else [0, 4]
    )
    for name in ("moved.nii.gz", "warp.nii.gz"):
        assert np.isfinite(nib.load(tmp_path / "out" / name).get_fdata()).all()
