"""Comparing variants of the network by training each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.training.config import Stage
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.publish.kinds import table_of
from lightcrcf_bench.records.ablation import AblationRecord, ablation_text
from lightcrcf_bench.records.history import newest_valid
from lightcrcf_bench.training.ablation import measure_ablation, shortened, variants_like

HISTORY = Path(__file__).parents[2] / "benchmarks" / "history"
RECIPE = """
name = "tiny"
{more}

[data]
root = "."
spacing_mm = 5.0
shape = [32, 48, 32]

[[data.cohorts]]
folder = "persons"
image = "{{id}}.nii.gz"
labels = "{{id}}-labels.nii.gz"
train = ["0", "1"]
{monitor}

[[stages]]
steps = 40
learning_rate = 3e-3

[[stages]]
steps = 20
warmup_steps = 10
learning_rate = 1e-3

[run]
folder = "run"
precision = "f32"
log_steps = 1
"""
WATCHED = 'monitor = ["2", "3"]'


@pytest.fixture
def recipe(
    tmp_path: Path, grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]]
) -> Callable[..., Path]:
    """Writes a configuration beside four generated persons."""
    folder = tmp_path / "persons"
    folder.mkdir()
    for person in range(4):
        image, labels = brains(grids((34, 42, 31), (5.0, 4.8, 5.0), turn=(2 * person, 0, 3)), person=person)
        write(folder / f"{person}.nii.gz", image)
        write(folder / f"{person}-labels.nii.gz", labels)

    def write_recipe(more: str = "", monitor: str = WATCHED) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(RECIPE.format(more=more, monitor=monitor), encoding="utf-8")
        return path

    return write_recipe


def test_each_variant_is_trained_with_each_seed_and_only_once(recipe: Callable[..., Path], tmp_path: Path) -> None:
    told: list[str] = []
    path, work = recipe(), tmp_path / "work"
    record = measure_ablation(path, work, variants=["default", "no-tarep"], seeds=2, steps=3, log=told.append)
    assert [(run.variant, run.seed) for run in record.runs] == [
        ("default", 0), ("default", 1), ("no-tarep", 0), ("no-tarep", 1),
    ]  # fmt: skip
    assert len({run.dice for run in record.runs}) == 4  # seeds and variants all end elsewhere
    assert len(told) == 4
    full, plain = record.of("default")[0], record.of("no-tarep")[0]
    assert full.parameters == plain.parameters
    assert full.parameters_training > plain.parameters_training

    logs = {path: path.read_bytes() for path in work.glob("*/log.jsonl")}
    assert len(logs) == 4
    again = measure_ablation(path, work, variants=["default", "no-tarep"], seeds=2, steps=3, log=told.append)
    assert again.runs == record.runs
    assert {path: path.read_bytes() for path in work.glob("*/log.jsonl")} == logs

    record.write(tmp_path / "2026-01-02-tiny-ablation.json")
    assert newest_valid(tmp_path, "tiny-ablation", AblationRecord) == record
    text = ablation_text(record)
    difference = plain.dice - full.dice + record.runs[3].dice - record.runs[1].dice
    assert f"| {difference / 2:+.4f} |" in text
    assert "2 seeds" in text
    assert all(run.sdlogj is not None and 0 < run.sdlogj < 1 for run in record.runs)
    assert f"| {(full.sdlogj + record.runs[1].sdlogj) / 2:.3f} |" in text


def test_records_without_sdlogj_leave_it_empty() -> None:
    text = table_of("cardiac-cine-ablation", "variants", HISTORY)
    assert "| single-pass | 0.6960 ± 0.0171 | +0.0036 | -0.0030, +0.0140 |  | 0.0000 |" in text


def test_stages_keep_their_shares() -> None:
    stages = [Stage(steps=600, warmup_steps=50), Stage(steps=1400), Stage(steps=1200, warmup_steps=20)]
    short = shortened(stages, 320)
    assert [stage.steps for stage in short] == [60, 140, 120]
    assert [stage.warmup_steps for stage in short] == [5, 0, 2]
    assert shortened(stages, 3200) == stages
    with pytest.raises(UsageError, match="3 stages"):
        shortened(stages, 2)


def test_thick_slices_have_variants_of_their_own() -> None:
    assert list(variants_like("thick-slices")) == list(variants_like("default"))
    assert variants_like("thick-slices-no-gfrep")["default"] == "thick-slices"


def test_refuses_what_cannot_be_compared(recipe: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such"):
        measure_ablation(recipe(), tmp_path / "work", variants=["no-such"])
    with pytest.raises(InputError, match="starts from nothing"):
        measure_ablation(recipe(more='start = "brain"'), tmp_path / "work")
    with pytest.raises(InputError, match="monitor"):
        measure_ablation(recipe(monitor=""), tmp_path / "work")
    assert not (tmp_path / "work").exists()
