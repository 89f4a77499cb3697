"""What the refinement's settings are worth: which are compared, that they are measured, and their table."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.refinement.schedule import plan
from lightcrcf.weights.preparation import Preparation
from lightcrcf_bench.training import settings
from lightcrcf_bench.training.settings import main, plans_of, settings_text

ONE_MM = (1.0, 1.0, 1.0)


@pytest.mark.parametrize("start", ["network", "identity", "none"])
def test_each_row_is_another_plan_than_the_default(start: str) -> None:
    preparation = Preparation(ONE_MM, refinement_init=start)  # type: ignore[arg-type]
    plans = plans_of(preparation)
    refined = Preparation(ONE_MM, refinement_init="network") if start == "none" else preparation
    assert plans["default"] == plan("default", refined)
    assert len({repr(each) for each in plans.values()}) == len(plans)
    assert ("from the identity" in plans) == (start != "identity")
    assert not plans["affine alone"].schedule
    assert not plans["network alone"].schedule


def test_rows_suit_what_is_compared() -> None:
    hearts = plans_of(Preparation(None, align=False, refinement_init="none"))
    assert not any("window" in name or "contrast" in name for name in hearts)
    assert {level.metric for level in hearts["default"].schedule} == {"mse"}
    crops = plans_of(Preparation(ONE_MM, contrast=1.0))
    assert {level.contrast for level in crops["intensities alone"].schedule} == {0.0}
    brains = plans_of(Preparation(ONE_MM))
    assert {level.contrast for level in brains["local contrast everywhere"].schedule} == {1.0}
    assert {level.momentum for level in brains["no momentum"].schedule} == {0.0}
    scales = [level.scale for level in plan("accurate", Preparation(ONE_MM)).schedule]
    candidates = {
        "accurate, one candidate": 1, "accurate, forward only": 2, "accurate, no alternative smoothing": 2,
        "accurate": 4,
    }  # fmt: skip
    for name, count in candidates.items():
        schedule = brains[name].schedule
        assert [level.scale for level in schedule] == scales
        assert max(len(level.candidates()) for level in schedule) == count
    without = "accurate, not by the template"
    assert without not in brains
    crops = plans_of(Preparation(ONE_MM), template=True)
    assert [crops[name].template for name in ("accurate", without, "default")] == [True, False, False]


RECIPE = """
name = "hippocampus-mr"
[data]
root = "data"
spacing_mm = 0.5
view = "whole"
content = "hippocampus crop"
shape = [32, 48, 32]
[[data.cohorts]]
folder = "."
image = "{id}.nii"
labels = "{id}_labels.nii"
train = ["c", "d"]
monitor = ["a", "b"]
[loss]
similarity = "lncc"
window = 5
regularity = 1.0
[[stages]]
steps = 1
finest = 0
learning_rate = 1e-3
final_learning_rate = 1e-3
[run]
precision = "f32"
folder = "run"
"""


def test_the_command_measures_watched_persons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("affine alone", "network alone", "default")
    every = plans_of
    monkeypatch.setattr(settings, "plans_of", lambda *p, **how: {k: v for k, v in every(*p, **how).items() if k in few})
    (tmp_path / "data").mkdir()
    (tmp_path / "hippocampus-mr.toml").write_text(RECIPE)
    x, y, z = np.indices((32, 44, 32), dtype=np.float32)
    for name, shift in (("a", 0.0), ("b", 2.5), ("c", 0.0), ("d", 1.0)):
        radius = np.sqrt((x - 16) ** 2 + (y - 22 - shift * np.sin(x / 5)) ** 2 + (z - 16) ** 2)
        image = 100 / (1 + np.exp(radius - 9)) + 20 * np.sin(x / 3) * np.sin(y / 4) * np.sin(z / 3) + 30
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), tmp_path / "data" / f"{name}.nii")
        nib.save(nib.Nifti1Image((radius < 9).astype(np.uint8), np.eye(4)), tmp_path / "data" / f"{name}_labels.nii")
    out = tmp_path / "2026-01-01-hippocampus-mr-settings.json"
    said: list[str] = []
    assert main(["--recipe", str(tmp_path / "hippocampus-mr.toml"), "--out", str(out)], said.append) == 0
    record = json.loads(out.read_text())
    assert record["pairs"] == [["a", "b"], ["b", "a"]]
    rows = {row["setting"]: row for row in record["rows"]}
    assert list(rows) == list(few)
    assert min(np.subtract(rows["default"]["dice"], rows["affine alone"]["dice"])) > 0.01
    assert all(len(row[key]) == 2 for row in rows.values() for key in ("dice", "folding_percent", "seconds"))


def test_the_table_compares_pair_by_pair() -> None:
    def row(setting: str, *dice: float) -> dict[str, object]:
        return {"setting": setting, "dice": dice, "folding_percent": (0.0, 0.002), "seconds": (1.0, 3.0)}

    record = {
        "rows": [row("other", 0.5, 0.9), row("default", 0.6, 0.8)], "machine": {"cpu": "CPU"}, "threads": 2,
        "measured": "2026-01-01", "model": "m", "protocol": "P.", "note": "beside other work",
    }  # fmt: skip
    text = settings_text(record)
    assert "| other | 0.7000 | +0.0000 | -0.1000, +0.1000 | 0.0010 | 2.0 |" in text
    assert "| default | 0.7000 |  |  | 0.0010 | 2.0 |" in text
    assert text.endswith("2026-01-01; beside other work.")
