"""The same command gives the same bytes, in one process or in two, and its files lead to the same result."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from lightcrcf.cli.main import run
from lightcrcf.geometry.threads import use_threads
from lightcrcf.registration.register import register
from lightcrcf.volumes import read

FILES = ("moved.nii.gz", "warp.nii.gz", "inverse_warp.nii.gz", "affine.tfm")
NEVER_TWICE_THE_SAME = ("timings_s", "peak_memory_mb")


def assert_same_files(one: Path, other: Path) -> None:
    """Byte by byte; where files differ, the message says in which voxels and by how much."""
    differing = [name for name in FILES if (one / name).read_bytes() != (other / name).read_bytes()]
    assert not differing, "; ".join(difference(one / name, other / name) for name in differing)


def difference(one: Path, other: Path) -> str:
    """How two files that are not the same differ."""
    if one.suffix != ".gz":
        return f"{one.name}: {one.read_text(encoding='utf-8')!r}, {other.read_text(encoding='utf-8')!r}"
    first, second = gzip.decompress(one.read_bytes()), gzip.decompress(other.read_bytes())
    if first == second:
        return f"{one.name}: the same content, compressed to {one.stat().st_size} and {other.stat().st_size} bytes"
    if first[:352] != second[:352]:
        return f"{one.name}: headers {first[:352].hex()}, {second[:352].hex()}"
    a, b = (np.asarray(nib.load(path).dataobj) for path in (one, other))
    places = np.argwhere(a != b)
    values = [(a[tuple(place)], b[tuple(place)]) for place in places[:5]]
    return f"{one.name}: {len(places)} of {a.size} voxels, from {places[0]} to {places[-1]}, such as {values}"


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return {key: value for key, value in record.items() if key not in NEVER_TWICE_THE_SAME}


def command(done: Any, out: Path, model: Path) -> list[str]:
    files = ["--fixed", str(done.fixed), "--moving", str(done.moving), "--out", str(out)]
    return ["register", *files, "--model", str(model), "--inverse"]


@contextmanager
def another_state() -> Iterator[None]:
    """What belongs to the process and other work may have changed: threads of BLAS and of kernels, denormal numbers."""
    torch.set_flush_denormal(True)
    try:
        with threadpool_limits(1, "blas"), use_threads(1):
            yield
    finally:
        torch.set_flush_denormal(False)


def test_a_process_of_its_own_gives_the_same_bytes(coarse_run: Any, coarse_model: Path, tmp_path: Path) -> None:
    """`coarse_run` was one of several registrations in this process; this one runs alone."""
    out = tmp_path / "run"
    words = [sys.executable, "-m", "lightcrcf", *command(coarse_run, out, coarse_model)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert_same_files(out, coarse_run.out)
    assert record_of(out) == record_of(coarse_run.out)


def test_running_again_into_the_same_folder_changes_nothing(
    coarse_run: Any, coarse_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for _ in range(2):
        assert run(command(coarse_run, out, coarse_model)) == 0
        assert_same_files(out, coarse_run.out)
        assert record_of(out) == record_of(coarse_run.out)


def test_what_else_the_process_has_done_changes_nothing(coarse_run: Any, coarse_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with another_state():
        assert run(command(coarse_run, out, coarse_model)) == 0
    assert_same_files(out, coarse_run.out)
    assert record_of(out) == record_of(coarse_run.out)


def test_one_thread_gives_the_same_bytes_twice(coarse_run: Any, coarse_model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run([*command(coarse_run, tmp_path / name, coarse_model), "--threads", "1"]) == 0
    assert_same_files(tmp_path / "a", tmp_path / "b")


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
    assert_same_files(out, real_run.out)
    assert record_of(out) == record_of(real_run.out)
    assert record_of(out)["qc"]["verdict"] == "pass"
