"""Small records, and methods that need no tool."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import pytest

from lightcrcf_bench.records.parts import Machine
from lightcrcf_bench.smoothness.record import Cases, Setting, SmoothnessRecord, Trial

CASES = ("a <- b", "b <- a")
Points = Mapping[str, Sequence[tuple[float, float]]]


@pytest.fixture
def make_record() -> Callable[..., SmoothnessRecord]:
    """Makes a record of {method: (SDlogJ, Dice) of each case}; a method is named CURVE-SETTING or CURVE."""

    def make(points: Points, *, name: str = "brain-frontier", figure: str = "dice", **parts: Any) -> SmoothnessRecord:
        def setting(method: str) -> Setting:
            ours = method.startswith("lightcrcf")
            words = method.split("-")
            curve = "-".join(words[:2]) if ours else words[0]
            return Setting(
                name=method, title=method.upper(), versions={"tool": "1"}, settings="set", command="run",
                timing="two threads", measured=date(2026, 3, 1), ours=ours, curve=curve,
                smoothness="-".join(words[2:] if ours else words[1:]),
                usual=method in ("lightcrcf-default-1", "greedy-2", "syn-3-0"),
                machine=Machine(cpu="a processor", cores=2, memory_gib=8.0, system="Linux", python="3.12"),
            )  # fmt: skip

        trials = [
            Trial(
                method=method, case=case, measured=date(2026, 3, 1), seconds=3.0, load_before=0.5,
                figures={figure: overlap, "sdlogj_inside": rough},
            )
            for method, values in points.items()
            for case, (rough, overlap) in zip(CASES, values, strict=False)
        ]  # fmt: skip
        data = Cases(name="two brains", split="val", persons="two", terms="none", names=CASES)
        return SmoothnessRecord.model_validate(
            {
                "name": name, "title": "A trial", "data": data, "protocol": "By hand.", "commands": ("run it",),
                "methods": tuple(map(setting, points)), "trials": tuple(trials), **parts,
            }
        )  # fmt: skip

    return make
