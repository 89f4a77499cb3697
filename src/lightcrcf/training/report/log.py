"""The log of a run as series of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRAIN", "Log"]

TRAIN = "train"
Values = Mapping[str, float]


@dataclass(frozen=True)
class Log:
    """Records of a run.

    Args:
        groups: values by step, for the group "train" and each group of validations.
    """

    groups: Mapping[str, Mapping[int, Values]]

    @classmethod
    def read(cls, path: Path, last_step: int) -> Log:
        """Read `log.jsonl`.

        A resumed run repeats steps after its checkpoint: of each step the last record counts. Half a line, from a run
        that was killed, and steps after `last_step` are left out.
        """
        groups: dict[str, dict[int, Values]] = {}
        for record in _records(path):
            step = record.pop("step", None)
            if not isinstance(step, int) or step > last_step:
                continue
            nested = {name: value for name, value in record.items() if isinstance(value, dict)}
            for name, values in (nested or {TRAIN: record}).items():
                groups.setdefault(name, {})[step] = values
        return cls({name: dict(sorted(values.items())) for name, values in groups.items()})

    def series(self, group: str, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return steps and values, (N,) each, of the records that have the value."""
        found = [(step, values[name]) for step, values in self.groups.get(group, {}).items() if name in values]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps, dtype=np.float64), np.array(values, dtype=np.float64)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record
