"""Whole commands of several releases, alternating."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.measure import machine
from lightcrcf_bench.records.history import newest_valid
from lightcrcf_bench.speed import releases
from lightcrcf_bench.speed.releases import (
    RELEASES,
    Command,
    Measures,
    ReleasesRecord,
    measure_releases,
    releases_text,
)


def test_measures_each_release_by_whole_commands(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
) -> None:
    for person in range(2):
        grid = grids((25, 31, 22), (6.0, 6.1, 6.2), turn=(person, 2, 3))
        write(tmp_path / f"{person}.nii.gz", brains(grid, person=person)[0])
    files = (f"--fixed={tmp_path}/0.nii.gz", f"--moving={tmp_path}/1.nii.gz")
    cases = {"version": ("--version",), "register, brain, fast": ("register", *files, "--preset=fast")}
    monkeypatch.setattr(releases, "_cases", lambda _: cases)
    record = measure_releases(
        {"now": Path(sys.executable)}, tmp_path, repetitions=1, training={}, log=lambda _: None, note="a test"
    )
    assert [command.name for command in record.of("now")] == list(cases)
    version, register = record.of("now")
    assert 0 < version.seconds[0] < register.seconds[0]
    assert 0 < version.peak_mib[0] < register.peak_mib[0]
    (now,) = record.releases
    assert now.size_mb > 100  # this environment, with all that tests need
    assert 0.1 < now.first_by_second < 10
    assert now.step_seconds == ()


def test_ratios_are_of_neighbouring_runs(tmp_path: Path) -> None:
    def command(release: str, *seconds: float) -> Command:
        return Command(name="register", release=release, seconds=seconds, peak_mib=(300, 100, 200), load_before=9)

    def measures(release: str, first: float, size_mb: float) -> Measures:
        return Measures(
            release=release, version="1", size_mb=size_mb, first_seconds=(first, 8.0, 30.0),
            second_seconds=(1.0, 4.0, 10.0), step_seconds=(1.0, 0.5),
        )  # fmt: skip

    record = ReleasesRecord(
        measured=date(2026, 1, 2), machine=machine().model_copy(update={"cores": 2}), versions={}, protocol="p",
        commands=(), commands_measured=(command("old", 2, 4, 8), command("new", 1, 1, 4)),
        releases=(measures("old", 9.0, 900), measures("new", 1.0, 450)),
    )  # fmt: skip
    text = releases_text(record)
    assert "| `register` | 4.00 s†, 200 MiB | 1.00 s†, 200 MiB | 0.50 |" in text
    assert "| first run / second run | 3.00 | 2.00 | 0.67 |" in text
    assert "| size of the install, MB | 900 | 450 | 0.50 |" in text
    assert "| training, s a step | 0.750 | 0.750 | 1.00 |" in text
    record.write(tmp_path / "2026-01-02-releases.json")
    assert newest_valid(tmp_path, RELEASES, ReleasesRecord) == record
