"""A file that may not be read is bad input, exit code 3, as a missing one is: in every command, by every option."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import AFFINE_NAME, FIELD_NAME, write_affine
from lightcrcf.volumes import Volume, write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")

PAIR = ["--fixed", "f.nii.gz", "--moving", "f.nii.gz"]
LABELS = ["--fixed-labels", "l.nii.gz"]
CASES = [
    ["register", "--fixed", "no.nii.gz", "--moving", "f.nii.gz", "--out", "o"],
    ["register", "--fixed", "f.nii.gz", "--moving", "no.nii.gz", "--out", "o"],
    ["register", "--fixed", "f.nii.gz", "--moving", "no.mha", "--out", "o"],
    ["register", "--fixed", "f.nii.gz", "--moving", "no.mgz", "--out", "o"],
    ["register", "--fixed", "f.nii.gz", "--moving", "no.xyz", "--out", "o"],
    ["register", "--fixed", "no", "--moving", "f.nii.gz", "--out", "o"],
    ["register", "--fixed", "slices", "--moving", "f.nii.gz", "--out", "o"],
    ["register", "--fixed", "detached.nhdr", "--moving", "f.nii.gz", "--out", "o"],
    ["register", "--fixed", "detached.mhd", "--moving", "f.nii.gz", "--out", "o"],
    ["register", "--fixed", "detached.hdr", "--moving", "f.nii.gz", "--out", "o"],
    ["register", "--fixed", "closed/f.nii.gz", "--moving", "f.nii.gz", "--out", "o"],
    *(
        ["register", *PAIR, "--out", "o", option, "no.nii.gz"]
        for option in ("--fixed-mask", "--moving-mask", "--fixed-labels", "--moving-labels", "--also")
    ),
    ["register", *PAIR, "--out", "o", "--init", "no.tfm"],
    ["register", *PAIR, "--out", "o", "--init", "closed/a.tfm"],
    ["register", *PAIR, "--out", "o", "--model", "no.safetensors"],
    ["register", "--from", "no.json", "--out", "o"],
    ["register", "--from", "no", "--out", "o"],
    ["apply", "--reference", "no.nii.gz", "--input", "f.nii.gz", "--transform", "run", "--output", "o.nii.gz"],
    ["apply", "--reference", "f.nii.gz", "--input", "no.nii.gz", "--transform", "run", "--output", "o.nii.gz"],
    *(
        ["apply", "--reference", "f.nii.gz", "--input", "f.nii.gz", "--transform", run, "--output", "o.nii.gz"]
        for run in ("no", "closed", "no-affine", "no-warp")
    ),
    ["points", "--input", "no.csv", "--transform", "run", "--to", "moving", "--output", "o.csv"],
    ["points", "--input", "p.csv", "--transform", "no", "--to", "moving", "--output", "o.csv"],
    ["evaluate", "--fixed-labels", "no.nii.gz", "--moved-labels", "l.nii.gz"],
    ["evaluate", *LABELS, "--moved-labels", "no.nii.gz"],
    ["evaluate", *LABELS, "--moving-labels", "no.nii.gz", "--transform", "run"],
    ["evaluate", *LABELS, "--moving-labels", "l.nii.gz", "--transform", "no"],
    ["evaluate", *LABELS, "--moved-labels", "l.nii.gz", "--fixed", "no.nii.gz", "--moved", "f.nii.gz"],
    ["evaluate", *LABELS, "--moved-labels", "l.nii.gz", "--fixed", "f.nii.gz", "--moved", "no.nii.gz"],
    ["batch", "no.csv", "--out", "o"],
    ["batch", "pairs.csv", "--out", "o"],
    ["batch", "f.nii.gz", "--to", "no.nii.gz", "--out", "o"],
    ["batch", "f.nii.gz", "--to", "l.nii.gz", "--out", "o", "--init", "no.tfm"],
    ["batch", "f.nii.gz", "--to", "l.nii.gz", "--out", "o", "--init", "closed/a.tfm"],
    ["batch", "f.nii.gz", "--to", "l.nii.gz", "--out", "o", "--model", "no.safetensors"],
    ["batch", "f.nii.gz", "--to", "l.nii.gz", "--out", "o2", "--scheduler", "no.json"],
    ["label", "no.nii.gz", "--atlases", "atlases.csv", "--out", "o"],
    ["label", "f.nii.gz", "--atlases", "no.csv", "--out", "o"],
    ["label", "f.nii.gz", "--atlases", "no", "--out", "o"],
    ["label", "f.nii.gz", "--atlases", "bad-atlases.csv", "--out", "o"],
    ["label", "f.nii.gz", "--atlases", "closed-atlases.csv", "--out", "o"],
    ["template", "f.nii.gz", "no.nii.gz", "--out", "o"],
    ["bids", "no", "o", "participant"],
    ["bids", "bids", "o", "participant", "--template", "no.nii.gz"],
    ["bids", "bids", "o", "participant", "--template", "closed/f.nii.gz"],
    ["report", "no"],
    ["report", "no-run"],
    ["models", "show", "no.safetensors"],
    ["models", "add-template", "no.safetensors", "f.nii.gz", "--output", "o.safetensors"],
    ["models", "add-template", "hippocampus-mr", "no.nii.gz", "--output", "o.safetensors"],
    ["export", "no.safetensors", "--output", "o.onnx"],
    ["train", "no.toml"],
    ["data", "check", "no.toml"],
]
SCRIPT = """
import contextlib, io, json, sys
from lightcrcf.cli.main import run
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(words)
    print(json.dumps([code, err.getvalue()]))
"""


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[tuple[int, str]]]:
    """Exit code and stderr of each case, run by a user who may not read all files."""
    folder = Path(tempfile.mkdtemp())
    without_rights = []
    if os.geteuid() == 0:  # reads everything, unless its capabilities are taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root reads every file, and there is no setpriv to prevent it")
        without_rights = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    try:
        fill(folder)
        done = subprocess.run(
            [*without_rights, sys.executable, "-c", SCRIPT], cwd=folder, input=json.dumps(CASES),
            text=True, capture_output=True, check=True,
        )  # fmt: skip
        yield [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(folder: Path) -> None:
    """The files that the cases name; those called no... and what is in closed cannot be read."""
    grid = Grid((20, 24, 22), np.diag([3.0, 3.0, 3.5, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:15, 5:18, 6:17] = 1
    image = np.random.default_rng(0).normal(100 * labels, 5).astype(np.float32)
    for name in ("run", "no", "closed", "no-affine", "no-warp", "no-run", "slices", "bids/sub-01/anat"):
        (folder / name).mkdir(parents=True)
    for place in (folder, folder / "closed"):
        write(place / "f.nii.gz", Volume(image, grid))
    write(folder / "bids" / "sub-01" / "anat" / "sub-01_T1w.nii.gz", Volume(image, grid))
    sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "detached.nhdr"))
    sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "detached.mhd"))
    nib.save(nib.Nifti1Pair(image, grid.affine), folder / "detached.img")
    for path in folder.glob("detached.*"):
        if path.suffix not in (".nhdr", ".mhd", ".hdr"):
            path.chmod(0)
    write(folder / "l.nii.gz", Volume(labels, grid))
    for name in ("run", "no", "closed", "no-affine", "no-warp"):
        write_affine(folder / name / AFFINE_NAME, Affine.identity())
    write_affine(folder / "closed" / "a.tfm", Affine.identity())
    texts = {
        "p.csv": "x,y,z\n1,2,3\n",
        "pairs.csv": "fixed,moving\nf.nii.gz,no.nii.gz\n",
        "atlases.csv": "image,labels\nf.nii.gz,l.nii.gz\n",
        "bad-atlases.csv": "image,labels\nno.nii.gz,l.nii.gz\n",
        "closed-atlases.csv": "image,labels\nclosed/f.nii.gz,l.nii.gz\n",
        "bids/dataset_description.json": '{"Name": "x", "BIDSVersion": "1.8.0"}',
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    unreadable = [f"no.{end}" for end in ("nii.gz", "mha", "mgz", "xyz", "tfm", "safetensors", "json", "csv", "toml")]
    for name in (*unreadable, f"no-affine/{AFFINE_NAME}", f"no-warp/{FIELD_NAME}", "no-run/run.json", "slices/1.dcm"):
        (folder / name).write_text("secret", encoding="utf-8")
        (folder / name).chmod(0)
    for name in ("no", "closed"):
        (folder / name).chmod(0)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: " ".join(CASES[number]))
def test_what_cannot_be_read_is_3(number: int, outcomes: list[tuple[int, str]]) -> None:
    code, err = outcomes[number]
    assert code == 3, err
    assert "permission denied" in err.lower()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert ": expected " in errors[0]
    assert ", got " in errors[0]
