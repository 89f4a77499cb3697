"""`lightcrcf bench`: the options reach the benchmark, and records are written, merged and renewed."""

import json
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.accuracy.protocols import PROTOCOLS
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.cost import read_cost


@pytest.fixture
def data(tmp_path: Path) -> Path:
    row = PROTOCOLS["abdomen"]
    folder = tmp_path / "data" / row.folder
    folder.mkdir(parents=True)
    labels = np.zeros((6, 8, 5), dtype=np.int16)
    labels[1:4, 2:6, 1:4] = 1
    for subject in {name for pair in row.data.pairs for name in pair}:
        for name in (row.image, row.labels):
            write(
                folder / name.format(subject=subject), Volume(labels, Grid(labels.shape, np.diag([1.0, 2.0, 3.0, 1.0])))
            )
    return folder.parent


def accuracy(data: Path, out: Path, *words: str, protocol: str = "abdomen") -> int:
    return run(["bench", "accuracy", "--protocol", protocol, "--data", str(data), "--out", str(out), *words])


def test_a_record_is_written_and_renewed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "2026-01-01-abdomen-accuracy.json"
    assert accuracy(data, out, "--methods", "identity") == 0
    assert "abdomen identity 32 <- 33: Dice 1.0000" in capsys.readouterr().err
    assert records.read(out).summary["identity"]["dice"].mean == 1.0
    assert out.with_suffix(".csv").exists()
    assert accuracy(data, out, "--methods", "identity", "--times-only") == 0
    assert records.read(out).summary["identity"]["dice"].mean == 1.0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--methods", "best"], "some of identity, ants-affine"),
        (["--reuse"], "--work DIR"),
    ],
)
def test_mistakes_are_told(
    words: list[str], told: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert accuracy(data, tmp_path / "x.json", *words) == 2
    assert told in capsys.readouterr().err


def test_an_unknown_protocol_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracy(data, tmp_path / "x.json", protocol="knee") == 2
    assert "one of brain, brain-ordered" in capsys.readouterr().err


def test_missing_data_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracy(tmp_path, tmp_path / "x.json", "--methods", "identity") == 3
    assert "no such file" in capsys.readouterr().err


def test_report_brings_documents_up_to_date(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy(data, tmp_path / "benchmarks/history/2026-01-01-abdomen-accuracy.json", "--methods", "identity")
    page = tmp_path / "README.md"
    page.write_text("<!-- record: abdomen-accuracy summary -->\n<!-- end of record -->\n")
    assert run(["bench", "report", "--root", str(tmp_path), "--check"]) == 1
    assert run(["bench", "report", "--root", str(tmp_path)]) == 0
    assert "| No registration | 1.000" in page.read_text()
    assert run(["bench", "report", "--root", str(tmp_path), "--check"]) == 0


def test_core_writes_and_prints_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "2026-01-01-core.json"
    words = ["--shape", "32x32x32", "--precision", "f32", "--threads", "1", "--repetitions", "2", "--gemm-size", "64"]
    assert run(["bench", "core", *words, "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    record = read_cost(out)
    assert printed == record.model_dump(mode="json")
    assert printed["parameters"] == 114992
    assert len(printed["runs"][0]["times"]["each_ms"]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["core", "--shape", "big"], "160x192x160"),
        (["refine", "--shape", "1x2x3"], "160x192x160"),
        (["scaling", "--threads", "many"], "numbers such as"),
        (["scaling", "--precision", "all"], "f32 or bf16"),
        (["peers", "--data", "knees", "--folder", ".", "--out", "x.json"], "one of oasis, hippocampus"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", *words]) == 2
    assert told in capsys.readouterr().err
