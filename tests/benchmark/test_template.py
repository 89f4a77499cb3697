"""The record of templates: majorities, and one small record from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.cohort.template import agreement, main, most_votes


def test_majorities_are_those_of_counting() -> None:
    labels = np.random.default_rng(0).integers(0, 4, size=(5, 300))
    counted = np.array([np.bincount(column).argmax() for column in labels.T])
    assert np.array_equal(most_votes(labels), counted)
    without = np.array([np.bincount(np.delete(column, 2)).argmax() for column in labels.T])
    assert np.array_equal(most_votes(labels, 2), without)
    assert np.isclose(agreement(labels), (labels == counted).mean())


def test_a_record(tmp_path: Path, grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]]) -> None:
    (tmp_path / "oasis").mkdir()
    (tmp_path / "splits.json").write_text(json.dumps({"oasis": {"train": ["1", "2", "3"], "val": ["4"]}}))
    for person in range(1, 5):
        grid = grids((38, 46 + person, 34), (4.0, 4.1, 4.2), axes="LPS" if person % 2 else "RAS")
        image, labels = brains(grid, person=person)
        write(tmp_path / "oasis" / f"sub-{person}_T1w.nii.gz", image)
        write(tmp_path / "oasis" / f"sub-{person}_dseg.nii.gz", labels)
    options = ["--iterations", "1", "--threads", "1", "--data", str(tmp_path), "--out", str(tmp_path / "x.json")]
    assert main([*options, "--images", "3"], lambda line: None) == 0
    record = json.loads((tmp_path / "x.json").read_text())
    affine, template = record["affine_mean"], record["template"]
    assert template["dice"] > affine["dice"] + 0.1
    assert template["agreement"] > affine["agreement"]
    assert 0.5 < template["dice_held_out"][0] <= 1
    assert record["mean_shift_rms_mm"]["written_transforms"] < 0.1 * record["mean_shift_rms_mm"]["affine_mean"]
    assert len(record["sharpness_single_images"]) == 3
    assert len(record["iterations"]) == 1


def test_data_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="check --data"):
        main(["--data", str(tmp_path), "--out", str(tmp_path / "x.json")])
