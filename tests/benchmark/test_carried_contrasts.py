"""The record of contrasts that are carried along, from commands that only leave files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import write_affine
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.cohort import contrasts
from lightcrcf_bench.measure import Measured
from lightcrcf_bench.publish.kinds import NOT_YET, table_of

SHAPE = (12, 12, 12)
SECONDS = {"T1w": 4.0, "T2w": 6.0, "FLAIR": 10.0}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    image = Volume(np.full(SHAPE, 100, np.uint8), Grid(SHAPE, np.eye(4)))
    for name in ("contrasts/sub-07_T1w", "contrasts/sub-07_T2w", "contrasts/sub-07_FLAIR", "oasis/sub-1_T1w"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / f"{name}.nii.gz", image)
    (tmp_path / "splits.json").write_text('{"oasis": {"train": [], "val": ["1"]}}')
    return tmp_path


def shifted(mm: float) -> Affine:
    matrix = np.eye(4)
    matrix[1, 3] = mm
    return Affine(matrix)


def command(words: tuple[str, ...]) -> Measured:
    """Leave what a command would."""
    if words[3] == "bids":
        raw, out = Path(words[4]), Path(words[5])
        assert (raw / "sub-07/anat/sub-07_FLAIR.nii.gz").exists()
        for folder in ("sub-07/anat", "lightcrcf"):
            (out / folder).mkdir(parents=True)
        for name, mm in (("T2w", 0.25), ("FLAIR", 0.5)):
            write_affine(out / f"sub-07/anat/sub-07_from-{name}_to-T1w_mode-image_xfm.txt", shifted(mm))
        rows = "id,verdict\nsub-07_T2w-to-TPL,check\nsub-07_FLAIR-to-TPL,pass\nsub-07_T1w-to-TPL,pass\n"
        (out / "lightcrcf/summary.csv").write_text(rows)
        return Measured(9.0, 500.0, 0.1)
    out = Path(words[-1].removeprefix("--out="))
    contrast = out.name.partition("-")[0]
    out.mkdir()
    found = {"similarity": {"contrasts": "same" if contrast == "T1w" else "any"}}
    (out / "run.json").write_text(json.dumps(found))
    return Measured(SECONDS[contrast], 500.0, 9.0)


def test_errors_and_times_are_recorded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrasts, "run", command)
    history, told = data / "history", list[str]()
    assert table_of("carried-contrasts", "errors", history) == NOT_YET
    words = ["--data", str(data), "--repetitions", "2", "--out", str(history / "2026-01-02-carried-contrasts.json")]
    assert contrasts.main(words, log=told.append) == 0
    assert len(told) == 3 * (2 + 1) + 1
    errors, times = (table_of("carried-contrasts", view, history) for view in ("errors", "times"))
    assert "| T2w | 0.25 | 0.25 | check |" in errors
    assert "| FLAIR | 0.50 | 0.50 | pass |" in errors
    assert "| T1w | same | 4.0† |  |  |" in times
    assert "| FLAIR | any | 10.0† | 2.50 | 2.50, 2.50 |" in times
