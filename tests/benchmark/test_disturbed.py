"""Cases of disturbed images, scored by maps that are known: no registration is needed. And their table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.measure import machine
from lightcrcf_bench.publish.kinds import table_of
from lightcrcf_bench.quality import disturbed, heads_ct
from lightcrcf_bench.quality.cases import Plan, Register, Run
from lightcrcf_bench.quality.disturbed import lesion_in, part_of, parts_of, plans, seen, turn_between
from lightcrcf_bench.quality.heads_ct import lungs_and_body
from lightcrcf_bench.records.disturbed import DISTURBED, ROWS, Disturbed, DisturbedRecord, disturbed_text
from lightcrcf_bench.records.history import newest_valid

SHAPE = (34, 40, 30)
GRID = Grid(SHAPE, np.array([[-4.0, 0, 0, 70], [0, 4, 0, -80], [0, 0, 4, -60], [0, 0, 0, 1]]))  # left to right is -i


def body() -> Volume:
    """An ellipsoid with some texture, and noise around it."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    texture = 300 + 120 * np.sin(9 * at[0]) * np.cos(7 * at[1]) + 90 * np.sin(8 * at[2] + 3 * at[0])
    return Volume(np.where((at**2).sum(axis=0) < 0.6, texture, 0).astype(np.float32), GRID)


def chest() -> Volume:
    """Two lungs in a body in air, in Hounsfield units."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    body = (at[0] / 0.9) ** 2 + (at[1] / 0.7) ** 2 < 1
    lungs = sum((at[0] - side) ** 2 + at[1] ** 2 + at[2] ** 2 < 0.04 for side in (-0.34, 0.34)) > 0
    return Volume(np.where(lungs, -800, np.where(body, 20, -1000)).astype(np.int16), GRID)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two persons of each data set, all alike."""
    root = tmp_path / "data"
    names = {"oasis": "T1w", "ixi-2mm": "T1w", "chaos-t2": "T2w"}
    labels = Volume(((body().data > 0) * (1 + (np.indices(SHAPE)[2] > 14))).astype(np.int16), GRID)
    for folder, contrast in names.items():
        (root / folder).mkdir(parents=True)
        for person in "78":
            write(root / folder / f"sub-{person}_{contrast}.nii.gz", body())
            write(root / folder / f"sub-{person}_dseg.nii.gz", labels)
    (root / "ct").mkdir()
    for scan in ("lidc1", "lidc2"):
        write(root / f"ct/sub-{scan}_CT.nii.gz", chest())
    (root / "splits.json").write_text(json.dumps({name: {"val": ["7", "8"]} for name in names}))
    return root


def by_header(fixed: Volume, moving: Volume) -> Run:
    """What is right for all but the images that were moved in their headers."""
    assert np.isfinite(fixed.data).all()
    assert np.isfinite(moving.data).all()
    still = Chain(Affine.identity(), None, Affine.identity())
    return Run(still, "check" if fixed.grid.shape != moving.grid.shape else "pass")


def test_every_kind_is_measured_and_what_is_found_is_told(data: Path) -> None:
    cases = [case for plan in plans(data) for case in plan.run(by_header)]
    assert {case.kind for case in cases} == set(ROWS)
    away = float(np.linalg.norm([6.3, -4.1, 5.2]))
    for case in cases:
        if case.kind.startswith(("slab", "hemisphere", "two-thirds")):
            assert case.figures["p95_mm"] == pytest.approx(away if case.kind.endswith("same") else 0, abs=1e-3)
            assert case.verdict == "check"
        if case.kind.startswith("head"):
            assert case.figures["dice_lost"] == 0
        if case.kind in ("head-brain", "head-template"):
            assert case.figures["dice"] == 1
        if case.kind == "lungs":
            assert set(case.figures.values()) == {0}
        if case.kind.startswith("lesion"):
            assert set(case.figures.values()) == {0}
        if case.kind.startswith("rescan"):
            assert case.figures["mean_mm"] == pytest.approx(4 * np.linalg.norm([0.3, -0.4, 0.2]), abs=1e-3)


def test_a_head_that_is_sent_astray_loses_overlap(data: Path) -> None:
    def astray(fixed: Volume, moving: Volume) -> Run:
        matrix = np.eye(4)
        matrix[2, 3] = 0 if fixed.grid.shape == moving.grid.shape else 12
        return Run(Chain(Affine.identity(), None, Affine(matrix)), "pass")

    (plan,) = (plan for plan in plans(data) if plan.name == "heads 7 8")
    assert all(case.figures["dice_lost"] > 0.1 for case in plan.run(astray))


def test_lungs_and_bodies_are_found_by_thresholds() -> None:
    lungs, body = lungs_and_body(chest())
    assert np.count_nonzero(body != (chest().data > -1000)) < 0.1 * np.count_nonzero(body)  # the first and last slices
    wanted = chest().data == -800
    assert 2 * np.count_nonzero(lungs & wanted) / (np.count_nonzero(lungs) + np.count_nonzero(wanted)) > 0.9


def test_a_field_that_moves_the_table_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_ct, "_BESIDE_MM", 10.0)  # the chest lies in a small box

    def stirred(fixed: Volume, _moving: Volume) -> Run:
        shift = np.zeros((3, *fixed.grid.shape), np.float32)
        shift[:, :, :2] = 1.5  # voxels, beside the body
        still = Affine.identity()
        return Run(Chain(still, DisplacementField(fixed.grid, shift), still), "pass")

    (plan,) = (plan for plan in plans(data) if plan.name == "lungs lidc1 lidc2")
    (case,) = plan.run(stirred)
    assert case.figures["missed"] == pytest.approx(0, abs=0.02)
    assert case.figures["outside_mm"] > 4


def test_parts_are_where_they_belong() -> None:
    brain = body().canonical()
    boxes = parts_of(brain)
    total = np.count_nonzero(brain.data)
    share = {name: np.count_nonzero(brain.data[box]) / total for name, box in boxes.items()}
    assert share["hemisphere"] == pytest.approx(0.5, abs=0.02)
    assert 0.35 < share["slab"] < 0.55  # the middle third
    assert 0.65 < share["two-thirds"] < 0.85
    part = part_of(brain, boxes["hemisphere"])
    points = brain.grid.world(np.argwhere(brain.data > 0))
    inside = seen(part.grid, points)
    np.testing.assert_array_equal(inside, points[:, 0] < np.median(points[:, 0]))
    np.testing.assert_allclose(part.grid.world([0, 0, 0]), brain.grid.world([0, 0, 0]))


def test_a_lesion_is_as_bright_as_told_and_leaves_the_rest() -> None:
    image = body()
    centre = image.grid.world(np.array(SHAPE) / 2)
    bright = lesion_in(image, centre, 5)
    away = np.linalg.norm(image.grid.world(np.argwhere(np.ones(SHAPE, bool))) - centre, axis=1).reshape(SHAPE)
    tissue = np.median(image.data[image.data > 0])
    np.testing.assert_allclose(bright.data[away < 15], 5 * tissue, rtol=0.02)
    np.testing.assert_array_equal(bright.data[away > 38], image.data[away > 38])


def test_turns_are_in_degrees() -> None:
    turn, size = np.eye(4), np.diag([1.2, 0.9, 1.0, 1.0])
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    assert turn_between(Affine(size), Affine(size @ turn)) == pytest.approx(np.degrees(0.1))


def case(kind: str, who: str, verdict: str, **figures: float) -> Disturbed:
    return Disturbed.model_validate({"kind": kind, "case": who, "verdict": verdict, "figures": figures})


def record(*cases: Disturbed) -> DisturbedRecord:
    return DisturbedRecord(
        measured=date(2026, 1, 2), machine=machine(), versions={}, protocol="By hand.", commands=(), data="Persons.",
        plans=("one",), cases=cases,
    )  # fmt: skip


def test_the_table_says_what_was_wanted_and_what_was_missed(tmp_path: Path) -> None:
    made = record(
        case("rescan-body", "a", "pass", mean_mm=0.05),
        case("slab-other", "a <- b", "check", p95_mm=1.0, median_mm=0.5),
        case("slab-other", "b <- a", "pass", p95_mm=2.5, median_mm=0.7),
    )
    made.write(tmp_path / "2026-01-02-disturbed.json")
    assert newest_valid(tmp_path, DISTURBED, DisturbedRecord) == made
    text = table_of("disturbed", "wanted", tmp_path)
    assert text == disturbed_text(made)
    of = "a slab, a third of a brain, another person"
    assert f"| {of} | points, 95 %, mm | 2 | 1.75 | 2.50 | missed by 0.50 | 2 | 1 pass, 1 check |" in text
    assert "|  | points, median, mm |  | 0.60 | 0.70 |  |  |  |" in text
    assert "| a rescan of an abdomen | points, mean, mm | 0.1 | 0.05 | 0.05 | reached | 1 | 1 pass |" in text
    assert text.index("a slab") < text.index("a rescan")


def test_a_record_holds_no_case_twice_and_no_other_figures() -> None:
    one = case("rescan-body", "a", "pass", mean_mm=0.05)
    with pytest.raises(ValueError, match="at most one"):
        record(one, one)
    with pytest.raises(ValueError, match="figures of its kind"):
        case("rescan-body", "a", "pass", p95_mm=0.05)


def test_an_interrupted_run_goes_on_where_it_was(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []

    def measured(_folder: Path) -> list[Plan]:
        def plan(name: str) -> Plan:
            def cases(register: Register) -> Iterator[Disturbed]:
                found = register(body(), replace(body()))
                run.append(name)
                yield case("rescan-body", name, found.verdict, mean_mm=0.1)

            return Plan(name, cases)

        return [plan(name) for name in ("a", "b")]

    monkeypatch.setattr(disturbed, "plans", measured)
    monkeypatch.setattr(disturbed, "_by_command", lambda _work, fixed, moving: by_header(fixed, moving))
    words = ["--data", str(data), "--out", str(tmp_path / "2026-01-02-disturbed.json")]
    assert disturbed.main([*words, "--only", "a"]) == 0
    assert disturbed.main(words) == 0
    assert disturbed.main(words) == 0
    assert run == ["a", "b"]
    assert [found.case for found in newest_valid(tmp_path, DISTURBED, DisturbedRecord).cases] == ["a", "b"]


def test_the_command_line_is_what_is_measured(tmp_path: Path) -> None:
    moved = replace(body(), grid=Grid(SHAPE, GRID.affine + np.outer([8.0, 0, 0, 0], [0, 0, 0, 1.0])))
    found = disturbed._by_command(tmp_path, body(), moved)
    points = GRID.world(np.argwhere(body().data > 0))
    off = np.linalg.norm(found.chain.points(points) - points - [8, 0, 0], axis=1)
    assert off.max() < 1
    assert found.verdict in ("pass", "check")


def test_without_data_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="check --data"):
        plans(tmp_path)
    assert disturbed.main(["--data", str(tmp_path), "--out", str(tmp_path / "r.json")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
