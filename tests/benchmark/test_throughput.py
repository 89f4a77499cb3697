"""Counting pairs an hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.measure import machine
from lightcrcf_bench.records.history import newest_valid
from lightcrcf_bench.speed import throughput
from lightcrcf_bench.speed.throughput import (
    THROUGHPUT,
    Setting,
    ThroughputRecord,
    Took,
    measure_throughput,
    throughput_text,
)  # fmt: skip


@pytest.fixture
def people(tmp_path: Path, grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]]) -> list[Path]:
    """Three small persons on disk."""
    for person in range(3):
        grid = grids((25, 31, 22), (6.0, 6.1, 6.2), turn=(person, 2, 3))
        write(tmp_path / f"{person}.nii.gz", brains(grid, person=person)[0])
    return [tmp_path / f"{person}.nii.gz" for person in range(3)]


def test_counts_the_pairs_of_whole_commands(people: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "usable_cores", lambda: 1)
    record = measure_throughput(people, data="persons", pairs=5, repetitions=1, log=lambda _: None)
    assert [took.setting for took in record.settings] == [
        Setting(init="auto", workers=1, threads=1), Setting(init="none", workers=1, threads=1),
    ]  # fmt: skip
    aligned, trusted = record.settings
    assert aligned.stages_s["affine"] > trusted.stages_s["affine"]  # which then does nothing
    for took in record.settings:
        assert record.per_hour(took) == pytest.approx(5 * 3600 / took.seconds[0])
        assert 0 < took.stages_s["total"] < took.seconds[0]
        assert took.peak_mib > 50
    with pytest.raises(InputError, match="two or more"):
        measure_throughput(people[:1], data="persons", pairs=5, repetitions=1)


def test_workers_are_compared_by_medians(tmp_path: Path) -> None:
    def took(workers: int, threads: int, *seconds: float) -> Took:
        setting = Setting(init="none", workers=workers, threads=threads)
        stages = {"read": 0.2, "network": 0.004, "total": 2.0 if workers == 1 else 2.5}
        return Took(setting=setting, seconds=seconds, stages_s=stages, peak_mib=500, load_before=0.1)

    here = machine().model_copy(update={"cores": 2})
    record = ThroughputRecord(
        measured=date(2026, 1, 2), machine=here, versions={}, protocol="p", commands=(), data="d", pairs=10,
        settings=(took(1, 1, 30.0, 36.0, 90.0), took(1, 2, 24.0), took(2, 1, 20.0)),
    )  # fmt: skip
    assert record.speedup("none", 2) == pytest.approx(1.8)
    assert record.speedup("auto", 2) is None
    assert record.steady_speedup("none", 2) == pytest.approx(1.6)
    record.write(tmp_path / "2026-01-02-throughput.json")
    assert newest_valid(tmp_path, THROUGHPUT, ThroughputRecord) == record
    text = throughput_text(record)
    assert "| no (`--init none`) | 1 | 1 | 1,000 | 400, 1,200 | 500 | 0.20 | 2.00 |" in text
    assert "1.80 times" in text
    (tmp_path / "2026-01-03-throughput.json").write_text("{}")
    with pytest.raises(InputError, match="record"):
        newest_valid(tmp_path, THROUGHPUT, ThroughputRecord)
