"""The same command gives the same bytes, in one process or in two, and its files lead to the same result."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from lightcrcf.cli.main import run
from lightcrcf.pipeline.register import register
from lightcrcf.volumes import read

FILES = ("moved.nii.gz", "warp.nii.gz", "inverse_warp.nii.gz", "affine.tfm")
NEVER_TWICE_THE_SAME = ("timings_s", "peak_memory_mb")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return {key: value for key, value in record.items() if key not in NEVER_TWICE_THE_SAME}


def command(done: Any, out: Path, model: Path) -> list[str]:
    files = ["--fixed", str(done.fixed), "--moving", str(done.moving), "--out", str(out)]
    return ["register", *files, "--model", str(model), "--inverse"]


@contextmanager
def another_state() -> Iterator[None]:
    """What belongs to the process and other work may have changed: threads of BLAS and of Numba, denormal numbers."""
    threads = numba.get_num_threads()
    torch.set_flush_denormal(True)
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_flush_denormal(False)
        numba.set_num_threads(threads)


def test_a_process_of_its_own_gives_the_same_bytes(coarse_run: Any, coarse_model: Path, tmp_path: Path) -> None:
    """`coarse_run` was one of several registrations in this process; this one runs alone."""
    out = tmp_path / "run"
    words = [sys.executable, "-m", "lightcrcf", *command(coarse_run, out, coarse_model)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert bytes_of(out) == bytes_of(coarse_run.out)
    assert record_of(out) == record_of(coarse_run.out)


def test_running_again_into_the_same_folder_changes_nothing(
    coarse_run: Any, coarse_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for _ in range(2):
        assert run(command(coarse_run, out, coarse_model)) == 0
        assert bytes_of(out) == bytes_of(coarse_run.out)
        assert record_of(out) == record_of(coarse_run.out)


def test_what_else_the_process_has_done_changes_nothing(coarse_run: Any, coarse_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with another_state():
        assert run(command(coarse_run, out, coarse_model)) == 0
    assert record_of(out) == record_of(coarse_run.out)
    assert bytes_of(out) == bytes_of(coarse_run.out)


def test_one_thread_gives_the_same_bytes_twice(coarse_run: Any, coarse_model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run([*command(coarse_run, tmp_path / name, coarse_model), "--threads", "1"]) == 0
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_the_python_api_finds_what_the_command_wrote(coarse_run: Any, coarse_model: Path) -> None:
    found = register(coarse_run.fixed, coarse_run.moving, model=coarse_model)
    np.testing.assert_array_equal(found.moved.data, coarse_run.moved().data)


def test_the_record_says_where_the_time_went_and_how_much_memory_it_took(coarse_run: Any) -> None:
    record = json.loads((coarse_run.out / "run.json").read_text(encoding="utf-8"))
    assert {"read", "affine", "network", "field", "resample", "quality"} <= record["timings_s"].keys()
    assert record["peak_memory_mb"] > 50


def test_apply_repeats_the_moved_image(coarse_run: Any, tmp_path: Path) -> None:
    """The field was rounded to float32 mm on its way through the file."""
    files = ["--reference", str(coarse_run.fixed), "--input", str(coarse_run.moving)]
    out = tmp_path / "again.nii.gz"
    assert run(["apply", *files, "--transform", str(coarse_run.out), "--output", str(out)]) == 0
    moved = coarse_run.moved()
    again = read(out)
    assert again.grid.isclose(moved.grid)
    np.testing.assert_allclose(again.data, moved.data, rtol=0, atol=1e-3 * np.ptp(moved.data))


@pytest.mark.parametrize("to", ["moving", "fixed"])
def test_points_follow_the_chain(to: str, coarse_run: Any, move_points: Any) -> None:
    points = coarse_run.points() * (-1, -1, 1)
    chain = coarse_run.chain()
    if to == "fixed":
        points = chain.points(points)
    found = move_points(coarse_run, points, "--to", to)
    expected = chain.points(points) if to == "moving" else chain.inverse_points(points)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.data
def test_real_brains_twice(real_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    files = ["--fixed", str(real_run.fixed), "--moving", str(real_run.moving), "--out", str(out)]
    with another_state():
        assert run(["register", *files, "--inverse"]) == 0
    assert record_of(out) == record_of(real_run.out)
    assert bytes_of(out) == bytes_of(real_run.out)
    assert record_of(out)["qc"]["verdict"] == "pass"
