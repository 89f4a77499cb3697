"""The record of `robustness`: reading it, and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightcrcf.benchmark.markdown import table
from lightcrcf.errors import InputError

__all__ = ["FORMAT", "ROBUSTNESS", "latest_robustness", "read_robustness", "robustness_text"]

FORMAT, ROBUSTNESS = "lightcrcf-robustness", "robustness"


def read_robustness(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        InputError: if it is none.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), expected="a record", got=str(error), remedy="choose another file") from None
    if record.get("format") != FORMAT:
        raise InputError(str(path), expected=FORMAT, got=str(record.get("format")), remedy="choose another file")
    return record


def latest_robustness(folder: Path) -> dict[str, Any]:
    """The newest record in a folder of `DATE-robustness.json` files.

    Raises:
        InputError: if there is none.
    """
    files = sorted(folder.glob(f"????-??-??-{ROBUSTNESS}.json"))
    if not files:
        raise InputError(str(folder), expected="a record of robustness", got="none", remedy="measure it first")
    return read_robustness(files[-1])


def robustness_text(record: dict[str, Any]) -> str:
    """A row for each kind of trial; trials of one kind in several parts are counted together."""
    rows: dict[str, dict[str, Any]] = {}
    for tried in (tried for part in record["parts"].values() for tried in part):
        row = rows.setdefault(tried["what"], {"times": 0, "faults": 0, "worst": {}})
        row["times"] += tried["times"]
        row["faults"] += len(tried["faults"])
        for unit, value in tried["worst"].items():
            row["worst"][unit] = max(value, row["worst"].get(unit, value))
    header = ("tried", "times", "faults", "at worst")
    lines = [
        (
            what,
            f"{row['times']:,}",
            str(row["faults"]),
            ", ".join(f"{v:.3g} {unit}" for unit, v in row["worst"].items()),
        )
        for what, row in rows.items()
    ]
    where = record["machine"]
    return "\n".join([*table(header, lines), "", f"- {record['measured']}, {where['cpu']}, {where['cores']} cores."])
