"""The record of `robustness`, and its table."""

from __future__ import annotations

from typing import Any

from lightcrcf_bench.publish.markdown import table

__all__ = ["FORMAT", "ROBUSTNESS", "robustness_text"]

FORMAT, ROBUSTNESS = "lightcrcf-robustness", "robustness"


def robustness_text(record: dict[str, Any]) -> str:
    """Return a row for each kind of trial; trials of one kind in several parts are counted together."""
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
