"""The contact sheet and the table of a batch: everything is in them, in its place, and nothing runs."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from lightcrcf.batch.summary import write_summary


def record(pair_id: str, verdict: str, **further: Any) -> dict[str, Any]:
    files = {role: {"path": f"/{role}.nii", "sha256": "0"} for role in ("fixed", "moving")}
    qc = {"verdict": verdict, "reasons": [] if verdict == "pass" else ["it folds, <much>"]}
    known = {
        "status": "done",
        "qc": qc,
        "metrics": {"correlation_affine": 0.25},
        "dice": {},
        "model": None,
        "files": [],
    }
    return {"id": pair_id, "inputs": files, **known, **further}


FAILED = {
    "id": "d", "status": "failed", "error": {"exit_code": 3, "message": "<script>"},
    "inputs": record("d", "pass")["inputs"],
}  # fmt: skip
RECORDS = [
    record("a", "pass", dice={"1": 0.5, "2": 0.7}),
    record("b", "check", files=["report.html"]),
    record("c", "fail"),
    FAILED,
]


def sheet(folder: Path, records: list[dict[str, Any]]) -> str:
    write_summary(folder, records)
    return (folder / "index.html").read_text(encoding="utf-8")


def titles(page: str) -> list[str]:
    return re.findall(r"</span> (?:<a [^>]*>)?([^<]*)(?:</a>)?</h2>", page)


def test_the_doubtful_come_first_and_names_are_safe(tmp_path: Path) -> None:
    folder = tmp_path / "<study>"
    folder.mkdir()
    page = sheet(folder, RECORDS)
    assert titles(page) == list("dcba")
    assert "<script>" not in page
    assert "<much>" not in page
    assert "&lt;study&gt;: 4 pairs" in page
    assert "Dice 0.600" in page
    assert 'href="pairs/b/report.html"' in page
    assert 'href="pairs/a/picture.svg"' in page
    assert 'src="pairs/a/picture.svg"' in page
    assert page.count("<img ") == 3
    assert "No picture: there is no result" in page
    counts = re.findall(r'id="show-([a-z]+)" checked> (\d+)', page)
    assert counts == [("failed", "1"), ("fail", "1"), ("check", "1"), ("pass", "1")]


def test_an_id_cannot_leave_its_attribute(tmp_path: Path) -> None:
    page = sheet(tmp_path, [record("\"'><script>", "pass")])
    assert "<script" not in page
    assert re.findall(r'src="([^"]*)"', page) == ["pairs/%22%27%3E%3Cscript%3E/picture.svg"]


def test_of_one_verdict_the_least_alike_comes_first(tmp_path: Path) -> None:
    values = {"a": {"correlation_after": 0.5}, "b": {"correlation_affine": 0.3}, "c": {"correlation_after": 0.5}}
    page = sheet(tmp_path, [record(name, "pass", metrics=metrics) for name, metrics in values.items()])
    assert titles(page) == list("bac")


def test_images_that_go_along_are_shown_on_the_template(tmp_path: Path) -> None:
    along = record(
        "e", "pass", files=["carried.svg"], folder="contrasts/pairs/e",
        metrics={"correlation_header": 0.1, "correlation_affine": 0.25, "correlation_after": None},
    )  # fmt: skip
    page = sheet(tmp_path, [along])
    assert 'src="contrasts/pairs/e/carried.svg"' in page
    assert "on the template, under outlines of fixed.nii" in page
    assert "local correlation 0.10 → 0.25" in page
    assert (tmp_path / "summary.csv").read_text(encoding="utf-8").rstrip().endswith("contrasts/pairs/e")


def test_the_table_keeps_the_order_of_the_records(tmp_path: Path) -> None:
    summary = write_summary(tmp_path, RECORDS)
    assert summary.counts == {"pass": 1, "check": 1, "fail": 1, "failed": 1}
    assert str(summary) == "4 pairs: 1 pass, 1 check, 1 fail, 1 failed"
    with (tmp_path / "summary.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == list("abcd")
    assert [row["reasons"] for row in rows] == ["", "it folds, <much>", "it folds, <much>", "<script>"]
    assert [row["mean_dice"] for row in rows] == ["0.6", "", "", ""]
    assert [row["folder"] for row in rows] == ["pairs/a", "pairs/b", "pairs/c", ""]
