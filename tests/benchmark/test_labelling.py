"""The record of labelling, from small persons."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.cohort import labelling
from lightcrcf_bench.publish.kinds import table_of


@pytest.fixture
def folder(grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path: Path) -> Path:
    """A data set of three persons, one of whom is to be labelled."""
    (tmp_path / "oasis").mkdir()
    for person in range(3):
        image, labels = brains(grids((50, 60, 44), (3.0, 3.0, 3.1)), person=person)
        write(tmp_path / "oasis" / f"sub-{person}_T1w.nii.gz", image)
        write(tmp_path / "oasis" / f"sub-{person}_dseg.nii.gz", labels)
    (tmp_path / "splits.json").write_text('{"oasis": {"train": ["1", "2"], "val": ["0"]}}')
    return tmp_path


def thick_negative(image: Volume, labels: Volume, _name: str, _seed: int) -> Volume:
    """Return every second slice with dark and bright exchanged: no shade of grey but one is kept."""
    data = np.where(labels.data > 0, 1.2 * image.data.max() - image.data, 0).astype(np.float32)
    affine = image.grid.affine @ np.diag([1, 1, 2, 1])
    return Volume(np.ascontiguousarray(data[:, :, ::2]), Grid(data[:, :, ::2].shape, affine), "negative")


def test_a_record_holds_what_follows_from_its_cases(folder: Path) -> None:
    told: list[str] = []
    words = ["--data", str(folder), "--out", str(folder / "record.json"), "--threads", "1"]
    assert labelling.main(words, log=told.append) == 0
    record = json.loads((folder / "record.json").read_text())
    (case,) = record["cases"]
    assert (case["image"], sorted(case["atlases"])) == ("sub-0", ["sub-1", "sub-2"])
    assert case["dice"]["single"] == pytest.approx(sum(case["dice_single"]) / 2, abs=1e-5)
    assert case["dice"]["best"] == max(case["dice_single"])
    assert set(case["fusion_s"]) == {"vote", "weighted", "joint"}
    assert case["command"]["seconds"] > sum(case["command"]["stages_s"].values()) > 0
    assert record["summary"] == labelling.summarised(record["cases"])
    assert told[-1] == json.dumps(record["summary"])


def test_images_may_be_shown_in_another_contrast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "pseudo_contrast", thick_negative)
    words = ["--data", str(folder), "--out", str(folder / "2026-01-02-T2-labelling.json"), "--threads", "1"]
    assert labelling.main([*words, "--contrast", "T2"], log=lambda _: None) == 0
    (case,) = json.loads((folder / "2026-01-02-T2-labelling.json").read_text())["cases"]
    assert case["dice"]["joint"] > 0.5
    assert case["dice"]["joint"] != case["dice"]["joint_as_they_are"]
    text = table_of("T2-labelling", "fusions", folder)
    assert "| joint, intensities as they are |" in text
    assert "atlases are T1" in text


def test_data_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"splits\.json: expected the subjects of oasis"):
        labelling.main(["--data", str(tmp_path), "--out", str(tmp_path / "record.json")])
