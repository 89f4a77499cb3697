"""A tiny record to write, merge, compare and draw."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import MappingProxyType

import pytest

from lightcrcf_bench.records.parts import Machine, Method
from lightcrcf_bench.records.schema import Case, Data, Record, Timing

PAIRS = (("a", "b"), ("b", "c"), ("c", "a"))
Maker = Callable[..., Record]


def _method(name: str, day: int) -> Method:
    ours = name.startswith(("ours", "lightcrcf"))
    return Method(
        name=name,
        title=name.upper(),
        versions={"tool": "1.2"},
        settings="defaults",
        command="tool fixed moving",
        timing="two threads",
        measured=date(2026, 3, day),
        machine=Machine(cpu="a processor", cores=2, memory_gib=8.0, system="Linux x86_64", python="3.12.0"),
        ours=ours,
        model="brain" if ours else None,
        training={"ours": "unsupervised", "ours-labels": "weakly supervised"}.get(name),
    )


def _case(who: str, pair: tuple[str, str], dice: float | None, folding: float | None) -> Case:
    fixed, moving = pair
    if dice is None:
        return Case(method=who, fixed=fixed, moving=moving, failure="out of luck")
    by_label = {7: dice, 12: dice / 2}
    return Case(
        method=who,
        fixed=fixed,
        moving=moving,
        dice=dice,
        hd95=2 * dice,
        folding_percent=folding,
        dice_by_label=by_label,
    )


@pytest.fixture
def make_record() -> Maker:
    """Makes a record of {method: Dice of each pair}; all methods but `identity` have times.

    A Dice of None is a failure; a pair of NaN was not run.
    """

    def make(
        scores: Mapping[str, Sequence[float | None]],
        *,
        day: int = 1,
        name: str = "trial",
        load: float = 0.5,
        folding: Mapping[str, float] = MappingProxyType({}),
    ) -> Record:
        rows = [
            (who, pair, dice)
            for who, values in scores.items()
            for pair, dice in zip(PAIRS, values, strict=True)
            if dice is None or not math.isnan(dice)
        ]
        timings = [
            Timing(
                method=who,
                fixed=pair[0],
                moving=pair[1],
                measured=date(2026, 3, day),
                seconds=10 * dice,
                peak_mib=100.0,
                load_before=load,
            )
            for who, pair, dice in rows
            if dice is not None and who != "identity"
        ]
        return Record(
            name=name,
            title="A trial",
            data=Data(
                name="three brains",
                split="val",
                labels="two structures",
                terms="none",
                distance_unit="mm",
                structures={7: "the left one"},
                pairs=PAIRS,
            ),
            protocol="By hand.",
            methods=tuple(_method(who, day) for who in scores),
            cases=tuple(_case(*row, folding.get(row[0])) for row in rows),
            timings=tuple(timings),
            commands=("run it",),
        )

    return make
