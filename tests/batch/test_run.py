"""A cohort in one process: what it leaves, what it does again, and what does not stop it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.batch import run as batch_module
from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import Pair, all_pairs, many_to_one
from lightcrcf.batch.progress import BatchProgress
from lightcrcf.batch.run import run_batch
from lightcrcf.cache import volumes as kept
from lightcrcf.errors import InputError, UsageError
from lightcrcf.refinement import working_pair as pair_module
from lightcrcf.registration.register import register
from lightcrcf.volumes import read, write

Tree = Callable[[Path], dict[str, str]]


def labelled(pairs: list[Pair]) -> list[Pair]:
    """The same pairs with label maps of both images."""
    beside = lambda path: path.with_name(path.name.replace(".nii", "_labels.nii"))  # noqa: E731
    return [replace(p, fixed_labels=beside(p.fixed), moving_labels=beside(p.moving)) for p in pairs]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the pairs that are worked on from now on."""
    seen: list[str] = []
    work = batch_module.work

    def spy(task: Any, threads: int | None = None) -> Any:
        seen.append(task.pair.id)
        return work(task, threads)

    monkeypatch.setattr(batch_module, "work", spy)
    return seen


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_what_a_batch_leaves(people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    pairs, tallies = labelled(many_to_one(people[0], people[1:4])), list[BatchProgress]()
    summary = run_batch(pairs, tmp_path / "out", quick, progress=tallies.append)
    assert summary.pairs == sum(summary.counts.values()) == 3
    assert summary.failures == {}
    assert [(t.done, t.total) for t in tallies] == [(1, 3), (2, 3), (3, 3)]
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {
        ".lock", "batch.json", "index.html", "manifest", "pairs", "summary.csv", "timings.jsonl"
    }  # fmt: skip
    for pair in pairs:
        record = json.loads((out / "manifest" / f"{pair.id}.json").read_text(encoding="utf-8"))
        assert {p.name for p in (out / "pairs" / pair.id).iterdir()} == set(record["files"])
        assert record["status"] == "done"
        assert set(record["dice"]) == {"1", "2", "3"}
        assert set(record["inputs"]) == {"fixed", "moving", "fixed_labels", "moving_labels"}
    table = rows(out)
    assert [row["id"] for row in table] == [p.id for p in pairs]
    assert all(0.3 < float(row["mean_dice"]) < 1 for row in table)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count('<div class="card ') == 3
    assert all(f"pairs/{p.id}/picture.svg" in page for p in pairs)


def test_a_pair_of_a_batch_is_what_it_is_alone(people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    options = replace(quick, init="auto", preset="default")
    run_batch(many_to_one(people[0], people[1:3]), tmp_path / "out", options)
    for moving in people[1:3]:
        alone = register(people[0], moving, model="none", threads=1).moved
        write(tmp_path / "alone.nii.gz", alone, like=alone)
        name = moving.name.removesuffix(".nii.gz")
        assert (tmp_path / "out" / "pairs" / name / "moved.nii.gz").read_bytes() == (
            tmp_path / "alone.nii.gz"
        ).read_bytes()


def test_pairs_of_a_batch_may_have_several_contrasts(
    people: list[Path], quick: BatchOptions, tmp_path: Path, worked: list[str]
) -> None:
    others = []
    for path in people[:2]:
        image = read(path)
        others.append(tmp_path / f"other_{path.name}")
        write(others[-1], replace(image, data=np.where(image.data > 20, 700 - image.data, 0)))
    pairs = [replace(pair, fixed_2=others[0], moving_2=others[1]) for pair in many_to_one(people[0], people[1:2])]
    options = replace(quick, preset="default", init="auto")
    assert run_batch(pairs, tmp_path / "out", options).failures == {}
    record = json.loads((tmp_path / "out" / "manifest" / f"{pairs[0].id}.json").read_text(encoding="utf-8"))
    assert set(record["inputs"]) == {"fixed", "moving", "fixed_2", "moving_2"}
    assert f"moved_{others[1].name}" in record["files"]
    alone = register([people[0], others[0]], [people[1], others[1]], **options.for_register())
    moved = read(tmp_path / "out" / "pairs" / pairs[0].id / "moved.nii.gz")
    np.testing.assert_allclose(moved.data, alone.moved.data)
    run_batch(pairs, tmp_path / "out", options, resume=True)
    assert len(worked) == 1


def test_weights_of_contrasts_hold_for_all_rows(
    people: list[Path], quick: BatchOptions, tmp_path: Path, worked: list[str]
) -> None:
    one, two = many_to_one(people[0], people[1:3])
    pairs, options = [one, replace(two, fixed_2=people[3], moving_2=people[4])], replace(quick, channel_weights=(3, 1))
    assert run_batch(pairs, tmp_path / "out", options).failures == {}
    runs = [json.loads((tmp_path / "out" / "pairs" / p.id / "run.json").read_text(encoding="utf-8")) for p in pairs]
    assert [run["options"]["channel_weights"] for run in runs] == [[3], [3, 1]]
    assert [channel["weight"] for channel in runs[1]["channels"]] == [0.75, 0.25]
    run_batch(pairs, tmp_path / "out", options, resume=True)
    assert len(worked) == 2
    with pytest.raises(UsageError, match="expected 2, one for each pair of volumes"):
        run_batch(pairs, tmp_path / "more", replace(quick, channel_weights=(3, 1, 1)))
    with pytest.raises(UsageError, match="channel_weights"):
        run_batch(pairs, tmp_path / "out", replace(quick, channel_weights=(2, 1)), resume=True)


def test_a_template_is_read_and_prepared_once(
    people: list[Path], quick: BatchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    for module, name in ((kept, "as_volume"), (pair_module, "normalize")):
        function = getattr(module, name)

        def spy(first: Any, *arguments: Any, function: Any = function, **named: Any) -> Any:
            looked_at.append(Path(getattr(first, "source", first)).name)
            return function(first, *arguments, **named)

        monkeypatch.setattr(module, name, spy)
    template = tmp_path / "template.nii.gz"
    shutil.copy(people[4], template)
    run_batch(many_to_one(template, people[:3]), tmp_path / "out", quick)
    assert looked_at.count("template.nii.gz") == 2


def test_resuming_does_what_is_left_and_ends_the_same(
    people: list[Path], quick: BatchOptions, tmp_path: Path, tree: Tree, worked: list[str]
) -> None:
    pairs = all_pairs(people[:3])
    whole, parts = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    run_batch(pairs, whole, quick)
    run_batch(pairs[:2], parts, quick)
    (parts / "manifest" / f"{pairs[0].id}.json").unlink()  # as if it was killed before this was kept
    worked.clear()
    run_batch(pairs, parts, quick, resume=True)
    assert set(worked) == {p.id for p in pairs} - {pairs[1].id}
    assert tree(parts) == tree(whole)
    worked.clear()
    run_batch(pairs, parts, quick, resume=True)
    assert worked == []
    assert tree(parts) == tree(whole)


def test_changed_inputs_and_lost_results_are_done_again(
    people: list[Path], quick: BatchOptions, tmp_path: Path, worked: list[str]
) -> None:
    images = [Path(shutil.copy(path, tmp_path / path.name)) for path in people[:4]]
    pairs = many_to_one(images[0], images[1:])
    run_batch(pairs, tmp_path / "out", quick)
    changed = read(images[1])
    write(images[1], replace(changed, data=changed.data[::-1].copy()), like=changed)
    (tmp_path / "out" / "pairs" / "person2" / "moved.nii.gz").unlink()
    images[3].touch()  # a new date is no new content
    worked.clear()
    run_batch(pairs, tmp_path / "out", quick, resume=True)
    assert worked == ["person1", "person2"]
    assert (tmp_path / "out" / "pairs" / "person2" / "moved.nii.gz").is_file()


def test_failures_are_kept_with_their_reason_and_stop_nothing(
    people: list[Path], quick: BatchOptions, tmp_path: Path, worked: list[str]
) -> None:
    images = [Path(shutil.copy(path, tmp_path / path.name)) for path in people[:4]]
    images[1].write_bytes(b"no image")
    images[2].unlink()
    pairs = many_to_one(images[0], images[1:])
    out = tmp_path / "out"
    summary = run_batch(pairs, out, quick)
    assert summary.counts["failed"] == 2
    assert set(summary.failures) == {"person1", "person2"}
    assert "no such file" in summary.failures["person2"]["message"]
    assert {row["id"]: row["status"] for row in rows(out)} == {
        "person1": "failed",
        "person2": "failed",
        "person3": "done",
    }
    assert "no such file" in (out / "index.html").read_text(encoding="utf-8")
    assert not (out / "pairs" / "person1").exists()
    worked.clear()
    assert run_batch(pairs, out, quick, resume=True).counts["failed"] == 2
    assert worked == []
    assert run_batch(pairs, out, quick, resume=True, retry_failed=True).counts["failed"] == 2
    assert worked == ["person1", "person2"]
    shutil.copy(people[2], images[2])  # it is there again, which is a change of inputs
    worked.clear()
    assert run_batch(pairs, out, quick, resume=True).counts["failed"] == 1
    assert worked == ["person2"]


def test_an_error_of_our_own_is_one_failure_too(
    people: list[Path], quick: BatchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fixed: list[Path], moving: list[Path], **options: Any) -> Any:
        raise MemoryError if "person1" in moving[0].name else ZeroDivisionError("by\nzero")

    monkeypatch.setattr("lightcrcf.batch.work.register", broken)
    failures = run_batch(many_to_one(people[0], people[1:3]), tmp_path / "out", quick).failures
    assert failures["person1"]["exit_code"] == 5
    assert failures["person2"] == {"exit_code": 1, "message": "internal error: ZeroDivisionError: by zero"}


def test_what_was_interrupted_can_be_looked_at(people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    def stop(state: BatchProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(many_to_one(people[0], people[1:4]), tmp_path / "out", quick, progress=stop)
    assert [row["id"] for row in rows(tmp_path / "out")] == ["person1"]


def test_wrong_options_stop_all_before_any_work(people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    pairs, out = many_to_one(people[0], people[1:2]), tmp_path / "out"
    for options in (replace(quick, model="no-such"), replace(quick, engine="torch", precision="f16")):
        with pytest.raises(UsageError):
            run_batch(pairs, out, options)
    with pytest.raises(InputError, match="affine"):
        run_batch(pairs, out, replace(quick, init=str(tmp_path / "none.tfm")))
    with pytest.raises(UsageError, match="cores"):
        run_batch(pairs, out, quick, workers=10_000)
    with pytest.raises(UsageError, match="both"):
        run_batch(pairs, out, quick, workers=2, scheduler="tcp://127.0.0.1:1")
    assert not out.exists()


def test_a_folder_holds_one_batch_with_one_set_of_options(
    people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    pairs, out = many_to_one(people[0], people[1:2]), tmp_path / "out"
    run_batch(pairs, out, quick)
    with pytest.raises(UsageError, match="--resume"):
        run_batch(pairs, out, quick)
    with pytest.raises(UsageError, match="inverse"):
        run_batch(pairs, out, replace(quick, inverse=True), resume=True)
    run_batch(pairs, out, replace(quick, threads=2), resume=True)
    with Manifest(out).lock(), pytest.raises(UsageError, match="another batch"):
        run_batch(pairs, out, quick, resume=True)


def test_a_batch_that_finished_no_pair_starts_again_without_asking(
    people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    pairs, out = many_to_one(people[0], people[1:2]), tmp_path / "out"
    Manifest(out).begin(quick, pairs, resume=False)
    with pytest.raises(UsageError, match="inverse"):
        run_batch(pairs, out, replace(quick, inverse=True), resume=True)
    assert run_batch(pairs, out, replace(quick, inverse=True)).failures == {}
    assert json.loads((out / "batch.json").read_text(encoding="utf-8"))["options"]["inverse"] is True


def test_what_a_killed_batch_left_is_cleared_away(
    people: list[Path], quick: BatchOptions, tmp_path: Path, temporary: Callable[[Path], Path]
) -> None:
    out = tmp_path / "out"
    (out / "pairs").mkdir(parents=True)
    half = temporary(out / "pairs" / "person1")
    half.mkdir()
    (half / "moved.nii.gz").write_bytes(b"half")
    (out / "manifest").mkdir()
    temporary(out / "manifest" / "person1.json").write_text("{")
    (out / "manifest" / "person1.json").write_text("{ damaged")
    run_batch(many_to_one(people[0], people[1:2]), out, quick, resume=True)
    assert [p.name for p in (out / "pairs").iterdir()] == ["person1"]
    assert [p.name for p in (out / "manifest").iterdir()] == ["person1.json"]


def test_what_a_worker_left_that_died_is_cleared_away(
    people: list[Path], quick: BatchOptions, tmp_path: Path, temporary: Callable[[Path], Path]
) -> None:
    pairs = tmp_path / "out" / "pairs"
    run_batch(
        many_to_one(people[0], people[1:2]),
        tmp_path / "out",
        quick,
        progress=lambda _: temporary(pairs / "person1").mkdir(),
    )
    assert [p.name for p in pairs.iterdir()] == ["person1"]


def test_pairs_of_one_fixed_image_are_done_together(
    people: list[Path], quick: BatchOptions, tmp_path: Path, worked: list[str]
) -> None:
    a, b, c, d = people[:4]
    pairs = [Pair("1", a, c), Pair("2", b, c), Pair("3", a, d), Pair("4", b, d)]
    run_batch(pairs, tmp_path / "out", quick)
    assert worked == ["1", "3", "2", "4"]
    assert [row["id"] for row in rows(tmp_path / "out")] == ["1", "2", "3", "4"]
