"""Records of every kind: found, read, shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightcrcf.errors import InputError
from lightcrcf_bench.cohort import labelling, template
from lightcrcf_bench.publish.kinds import KINDS, NOT_YET, table_of
from lightcrcf_bench.records.history import newest, plain

MACHINE = {"cpu": "a processor", "cores": 2}
COMMON = {"measured": "2026-01-02", "machine": MACHINE, "protocol": "p.", "threads": 2}


def _labelled(single: float, joint: float, seconds: float, load: float) -> dict[str, Any]:
    dice = {"single": single, "most_similar": 0.6, "best": 0.7, "vote": 0.71, "weighted": 0.72, "joint": joint}
    command = {"seconds": seconds, "load_before": load}
    fusion = {"vote": 0.5, "weighted": 1.0, "joint": 1.2}
    return {"dice": dice, "fusion_s": fusion, "command": command, "atlases": ["1", "2"]}


def test_labelling_is_compared_with_one_atlas(tmp_path: Path) -> None:
    cases = [_labelled(0.5, 0.6, 40.0, 0.2), _labelled(0.6, 0.9, 50.0, 5.0)]
    dice = {name: sum(case["dice"][name] for case in cases) / 2 for name in cases[0]["dice"]}
    data = {"name": "persons", "split": "val", "structures": 3}
    summary = {"dice": dice, "command_peak_mib_max": 900.0}
    record = {**COMMON, "format": labelling.FORMAT, "data": data, "summary": summary, "cases": cases}
    (tmp_path / "2026-01-02-labelling.json").write_text(json.dumps(record))
    text = table_of("labelling", "fusions", tmp_path)
    assert "| joint (default) | 0.750 | 0.600, 0.900 | +0.200 | 1.2 |" in text
    assert "| one atlas, the mean | 0.550 | 0.500, 0.600 | +0.000 |  |" in text
    assert "45 s an image (40 to 50)†" in text  # the machine was busy before the second


def test_a_template_is_compared_with_the_affine_mean(tmp_path: Path) -> None:
    figures = {"sharpness": 0.05, "sharpness_of_mean": 0.05}
    average = {"dice": 0.4, "agreement": 0.5, "dice_held_out": [0.3, 0.5]}
    sharper = {"dice": 0.6, "agreement": 0.7, "dice_held_out": [0.6, 0.7]}
    record = {
        **COMMON, "format": template.FORMAT, "data": {"name": "persons", "split": "train"}, "start": figures,
        "iterations": [{"sharpness": 0.09, "sharpness_of_mean": 0.08}], "sharpness_single_images": [0.1, 0.12],
        "mean_shift_rms_mm": {"affine_mean": 1.5, "template": 0.5, "written_transforms": 0.0002},
        "affine_mean": average, "template": sharper, "seconds": 300.0, "peak_mib": 800.0, "load_before": 0.1,
        "note": "",
    }  # fmt: skip
    (tmp_path / "2026-01-02-template.json").write_text(json.dumps(record))
    text = table_of("template", "averages", tmp_path)
    assert "| affine mean | 0.050 | 1.500 | 0.400 | 0.500 | 0.400 |" in text
    assert "| template | 0.090 | 0.500 | 0.600 | 0.700 | 0.650 |" in text


@pytest.mark.parametrize("name", ["core", "throughput", "robustness", "labelling", "template", "a-ablation", "a-peers"])
def test_what_is_not_measured_yet_is_said(name: str, tmp_path: Path) -> None:
    view = next(iter(next(kind for kind in KINDS if kind.owns(name)).views))
    assert table_of(name, view, tmp_path) == NOT_YET
    with pytest.raises(InputError, match="name a view"):
        table_of(name, "pie", tmp_path)


def test_the_newest_record_counts_and_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        newest(tmp_path, "trial")
    for day, text in (("2026-01-02", '{"format": "f"}'), ("2026-01-10", "[]"), ("2025-12-31", "{")):
        (tmp_path / f"{day}-trial.json").write_text(text)
    assert newest(tmp_path, "trial").name == "2026-01-10-trial.json"
    assert plain(tmp_path / "2026-01-02-trial.json", "f") == {"format": "f"}
    for day in ("2026-01-10", "2025-12-31"):
        with pytest.raises(InputError):
            plain(tmp_path / f"{day}-trial.json", "f")
    with pytest.raises(InputError, match="g"):
        plain(tmp_path / "2026-01-02-trial.json", "g")
