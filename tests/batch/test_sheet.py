"""The contact sheet and the table: everything is in them, in its place, and nothing runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lightcrcf.batch.picture import write_picture
from lightcrcf.batch.sheet import page
from lightcrcf.batch.summary import write_summary
from lightcrcf.cache.registration import Shared
from lightcrcf.registration.register import register
from lightcrcf.volumes import Volume


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


def test_the_doubtful_come_first_and_names_are_safe() -> None:
    text = page("<study>", RECORDS)
    assert [text.index(f"<b>{name}</b>") for name in "dcba"] == sorted(text.index(f"<b>{name}</b>") for name in "dcba")
    assert "<script>" not in text
    assert "&lt;study&gt;: 4 pairs" in text
    assert "Dice 0.600" in text
    assert 'href="pairs/b/report.html"' in text
    assert 'href="pairs/a/picture.png"' in text


def test_images_that_go_along_are_shown_on_the_template(tmp_path: Path) -> None:
    along = record(
        "e", "pass", files=["carried.png"], folder="contrasts/pairs/e",
        metrics={"correlation_header": 0.1, "correlation_affine": 0.25, "correlation_after": None},
    )  # fmt: skip
    text = page("study", [along])
    assert 'src="contrasts/pairs/e/carried.png"' in text
    assert "magenta: fixed.nii, alike 0.10 → 0.25" in text
    write_summary(tmp_path, [along])
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


def test_agreement_is_grey_and_the_same_input_gives_the_same_bytes(pair: tuple[Volume, Volume], tmp_path: Path) -> None:
    fixed, moving = pair
    same = register(fixed, fixed, model="none", init="none", preset="fast")
    other = register(fixed, moving, model="none", init="none", preset="fast")
    for name, registration in (("same", same), ("again", same), ("other", other)):
        write_picture(tmp_path / f"{name}.png", registration.fixed, registration.moved, Shared())
    assert (tmp_path / "same.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    pixels = {name: np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("same", "other")}
    assert np.abs(pixels["same"][..., 0] - pixels["same"][..., 1]).max() <= 2
    assert np.abs(pixels["other"][..., 0] - pixels["other"][..., 1]).max() > 100
    assert max(pixels["same"].shape) <= 3 * 160
    assert pixels["same"].max() > 200
