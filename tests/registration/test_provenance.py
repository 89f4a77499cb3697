"""What run.json says about a registration."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.progress import Stopwatch
from lightcrcf.registration.register import Registration, register
from lightcrcf.run_record.environment import peak_memory_mb
from lightcrcf.run_record.schema import to_json
from lightcrcf.volumes import Volume
from lightcrcf.weights import store

STAGES = [
    *("read", "brain", "choose model", "affine", "prepare", "load network", "network", "refine", "field"),
    *("diffeomorphic", "resample", "inverse", "jacobian", "quality"),
]


@pytest.fixture(scope="module")
def registration(pair: tuple[Volume, Volume], coarse_model: Path) -> Registration:
    return register(*pair, model=coarse_model, inverse=True)


@pytest.fixture(scope="module")
def record(registration: Registration) -> dict[str, Any]:
    """As it comes back from a JSON file."""
    loaded: dict[str, Any] = json.loads(json.dumps(to_json(registration.record), allow_nan=False))
    return loaded


def test_it_is_plain_json(record: dict[str, Any], registration: Registration) -> None:
    assert record["schema"] == "lightcrcf-run-1"
    assert record["qc"]["verdict"] == registration.quality.verdict
    assert record["metrics"].keys() == registration.metrics.measured().keys()


def test_it_names_versions_machine_and_options(record: dict[str, Any], coarse_model: Path) -> None:
    assert {"lightcrcf", "python", "numpy"} <= record["versions"].keys()
    assert record["machine"]["cores"] >= 1
    assert record["options"] == {
        "model": str(coarse_model), "init": "auto", "preset": "default", "refine": None,
        "diffeomorphic": False, "inverse": True, "coarsen": 1, "engine": "auto", "device": "cpu", "precision": "auto",
        "threads": None, "fill": "auto", "smoothness": 1.0, "jacobian": False, "similarity": "auto",
        "transform": "deformable", "channel_weights": [], "brain_mask": False,
    }  # fmt: skip


def test_it_names_the_model_by_its_hash(record: dict[str, Any], coarse_model: Path) -> None:
    weights = store.load(coarse_model)
    assert record["model"] == {
        "name": "coarse", "sha256": weights.sha256, "parameters": weights.parameters, "reason": "as asked",
        "preparation": {"spacing_mm": [3.0, 3.0, 3.0], "view": "foreground", "window": None, "align": True,
        "refinement_init": "network", "refinement_scale": 8, "contrast": 0.0, "across": None},
    }  # fmt: skip
    assert record["engine"] == {"name": "native", "device": "cpu", "precision": "f32"}


def test_it_tells_grids_and_preprocessing(record: dict[str, Any], pair: tuple[Volume, Volume]) -> None:
    for role, volume in zip(("fixed", "moving"), pair, strict=True):
        told = record["inputs"][role]
        assert told["source"] == volume.source
        assert told["dtype"] == "int16"
        assert told["grid"]["shape"] == list(volume.grid.shape)
        np.testing.assert_array_equal(told["grid"]["affine"], volume.grid.affine)
        order = volume.grid.canonical()
        assert told["preprocessing"]["axis_permutation"] == list(order.permutation)
        assert told["preprocessing"]["axis_flips"] == list(order.flips)
        assert told["preprocessing"]["intensity_zero"] == 0
        assert told["content"]["kind"] == "skull-stripped brain"
    assert record["working_grid"]["spacing_mm"] == pytest.approx([3, 3, 3])
    assert record["field_grid"]["spacing_mm"] == pytest.approx([6, 6, 6])


def test_it_tells_what_was_known_and_whether_anything_was_deformed(
    record: dict[str, Any], pair: tuple[Volume, Volume]
) -> None:
    assert record["inputs"]["fixed"]["unknown"] == record["inputs"]["moving"]["unknown"] == {}
    assert 0.95 < record["metrics"]["covered"] <= 1
    assert record["deformed"] is True
    fixed, moving = pair
    assert register(fixed, fixed, model="none", init="none").record.deformed is False
    half = moving.data.astype(np.float32)
    half[: half.shape[0] // 2] = np.nan
    told = register(fixed, Volume(half, moving.grid), model="none", preset="fast", init="none").record
    assert told.inputs.moving.unknown["not finite"] == np.count_nonzero(np.isnan(half))
    assert told.metrics.covered < 0.7
    assert told.deformed is False


def test_it_tells_the_order_of_transforms(record: dict[str, Any], registration: Registration) -> None:
    assert record["transforms"]["order_for_points"] == ["warp.nii.gz", "affine.tfm"]
    np.testing.assert_array_equal(record["affine"]["fixed_to_moving_ras_mm"], registration.transform.after.matrix)
    assert record["affine"]["similarity_after"] > record["affine"]["similarity_before"]


def test_it_tells_where_the_time_went_and_how_much_memory(record: dict[str, Any]) -> None:
    assert list(record["timings_s"]) == STAGES
    assert all(seconds >= 0 for seconds in record["timings_s"].values())
    assert 50 < record["peak_memory_mb"] < 1e5


def test_an_affine_result_says_so(pair: tuple[Volume, Volume]) -> None:
    record = to_json(register(*pair, model="none", init="none", preset="fast").record)
    assert record["model"] == {"name": None, "reason": "no model, as asked; the result is affine only"}
    assert record["refinement"] is None
    assert record["engine"] is None
    assert record["field_grid"] is None
    assert record["transforms"]["order_for_points"] == ["affine.tfm"]
    json.dumps(record, allow_nan=False)


def test_a_stopwatch_adds_up_and_reports_progress() -> None:
    heard: list[tuple[str, float]] = []
    watch = Stopwatch(lambda stage, fraction: heard.append((stage, fraction)))
    for fraction in (0.1, 0.5):
        with watch.stage("work", fraction):
            time.sleep(0.01)
    assert heard == [("work", 0.1), ("work", 0.5)]
    assert watch.seconds["work"] >= 0.02


def test_peak_memory_never_falls() -> None:
    first = peak_memory_mb()
    block = np.ones(20 << 20, np.uint8)
    second = peak_memory_mb()
    assert first is None or (second is not None and second >= first and block.any())
