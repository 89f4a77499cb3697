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
    data[20, 20, 20], data[22, 25, 20:23], data[0, 0, 0] = np.nan, (1e300, -1e300, np.nan), -3e38
    holed = tmp_path / "holed.nii.gz"
    nib.save(nib.Nifti1Image(data, image.affine), holed)
    fixed, moving = (holed, good[1]) if role == "fixed" else (good[0], holed)
    words = ["--fixed", str(fixed), "--moving", str(moving), "--out", str(tmp_path / "out")]
    assert run(["register", *words, "--model", "none", "--refine", "1"]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert [record["inputs"][r]["unknown"].get("not finite", 0) for r in ("fixed", "moving")] == (
        [5, 0] if role == "fixed" else [0, 5]
    )
    for name in ("moved.nii.gz", "warp.nii.gz"):
        assert np.isfinite(nib.load(tmp_path / "out" / name).get_fdata()).all()


@pytest.mark.parametrize("fill", ["auto", "nan", "-1000", "7.5"])
def test_register_fills_as_apply_does(fill: str, good: Good, tmp_path: Path) -> None:
    """NaN and padding in the moving image, and in what is moved along; labels get 0 whatever is typed."""
    image = nib.load(good[1])
    data = np.asarray(image.dataobj)
    holed, labels = data.astype(np.float32), (data > 90).astype(np.uint8)
    padded = (data + np.random.default_rng(2).integers(0, 30, data.shape)).astype(np.int16)
    holed[18:24, 20:28, 20:26] = np.nan
    holed[:, :9], padded[:, :9] = -3024, -3024
    files = {"holed": holed, "padded": padded, "labels": labels}
    for name, data in files.items():
        nib.save(nib.Nifti1Image(data, image.affine), tmp_path / f"{name}.nii.gz")
    moving, *also = (str(tmp_path / f"{name}.nii.gz") for name in files)
    out, words = tmp_path / "out", ["--model", "none", "--refine", "1", "--fill", fill, "--report"]
    along = [word for name in also for word in ("--also", name)]
    assert run(["register", "--fixed", str(good[0]), "--moving", moving, *along, "--out", str(out), *words]) == 0
    for file, written in ((moving, "moved"), (also[0], "moved_padded"), (also[1], "moved_labels")):
        given = ["--reference", str(good[0]), "--input", file, "--transform", str(out)]
        asked = "0" if written == "moved_labels" else fill
        assert run(["apply", *given, "--fill", asked, "--output", str(tmp_path / "again.nii.gz")]) == 0
        by_register, by_apply = (
            nib.load(path).get_fdata() for path in (out / f"{written}.nii.gz", tmp_path / "again.nii.gz")
        )
        np.testing.assert_allclose(by_register, by_apply, atol=0.05)
        if written != "moved_labels" and fill != "auto":
            filled = np.isnan(by_register) if fill == "nan" else by_register == float(fill)
            assert np.count_nonzero(filled) > 1000
    json.loads((out / "run.json").read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(word))
