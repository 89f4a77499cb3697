import json
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from lightcrcf.benchmark import records
from lightcrcf.benchmark.records import Case, Data, Machine, Method, Record
from lightcrcf.errors import InputError

PAIRS = (("a", "b"), ("b", "c"), ("c", "a"))


def method(name: str, day: int = 1) -> Method:
    return Method(
        name=name,
        title=name.upper(),
        versions={"tool": "1.2"},
        settings="defaults",
        command="tool fixed moving",
        timing="two threads",
        measured=date(2026, 3, day),
        machine=Machine(cpu="a processor", cores=2, memory_gib=8.0, system="Linux x86_64", python="3.12.0"),
    )


def record(scores: dict[str, tuple[float, float, float]], day: int = 1, name: str = "trial") -> Record:
    cases = tuple(
        Case(
            method=who,
            fixed=fixed,
            moving=moving,
            dice=dice,
            hd95_mm=2 * dice,
            seconds=10 * dice if who != "none" else None,
            dice_by_label={7: dice},
        )
        for who, values in scores.items()
        for (fixed, moving), dice in zip(PAIRS, values, strict=True)
    )
    data = Data(name="three brains", split="val", labels="one structure", terms="none", pairs=PAIRS)
    return Record(
        name=name,
        title="A trial",
        data=data,
        protocol="by hand",
        methods=tuple(method(who, day) for who in scores),
        cases=cases,
        commands=("run it",),
    )


def test_the_summary_follows_from_the_cases() -> None:
    summary = record({"none": (0.1, 0.2, 0.6), "best": (0.5, 0.9, 0.7)}).summary
    spread = summary["best"]["dice"]
    assert (spread.mean, spread.median, spread.minimum, spread.maximum) == (0.7, 0.7, 0.5, 0.9)
    assert "seconds" in summary["best"]
    assert "seconds" not in summary["none"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    old = record({"none": (0.1, 0.2, 0.6), "best": (0.5, 0.9, 0.7)})
    records.write(tmp_path / "history" / "x.json", old)
    assert records.read(tmp_path / "history" / "x.json") == old
    assert json.loads((tmp_path / "history" / "x.json").read_text())["format"] == "lightcrcf-benchmark"


def test_a_figure_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    records.write(path, record({"best": (0.5, 0.9, 0.7)}))
    path.write_text(path.read_text().replace('"dice": 0.9', '"dice": 0.95'))
    with pytest.raises(InputError, match="summary does not follow"):
        records.read(path)


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}'])
def test_other_files_are_no_records(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="expected a record"):
        records.read(tmp_path / "x.json")


def test_every_method_must_have_run_every_pair() -> None:
    complete = record({"none": (0.1, 0.2, 0.6), "best": (0.5, 0.9, 0.7)})
    parts = complete.model_dump(exclude={"summary"})
    with pytest.raises(ValidationError, match="exactly one case"):
        Record.model_validate({**parts, "cases": complete.cases[1:]})
    with pytest.raises(ValidationError, match="exactly one case"):
        Record.model_validate({**parts, "cases": (*complete.cases, complete.cases[0])})


def test_measuring_again_replaces_only_the_methods_measured() -> None:
    old = record({"none": (0.1, 0.1, 0.1), "peer": (0.4, 0.4, 0.4), "ours": (0.5, 0.5, 0.5)})
    new = record({"better": (0.9, 0.9, 0.9), "peer": (0.6, 0.6, 0.6)}, day=2)
    merged = records.merge(old, new)
    assert [m.name for m in merged.methods] == ["none", "peer", "ours", "better"]
    assert [m.measured.day for m in merged.methods] == [1, 2, 1, 2]
    means = {name: spreads["dice"].mean for name, spreads in merged.summary.items()}
    assert means == {"none": 0.1, "peer": 0.6, "ours": 0.5, "better": 0.9}
    assert [case.method for case in merged.cases[:6]] == ["none"] * 3 + ["peer"] * 3


def test_records_of_other_data_do_not_merge() -> None:
    with pytest.raises(InputError, match="same data"):
        records.merge(record({"a": (0.1, 0.1, 0.1)}), record({"a": (0.1, 0.1, 0.1)}, name="other"))


def test_rows_come_in_the_order_of_the_pairs() -> None:
    old = record({"best": (0.5, 0.9, 0.7)})
    parts = {**old.model_dump(exclude={"summary"}), "cases": old.cases[::-1]}
    assert [case.fixed for case in Record.model_validate(parts).of("best")] == ["a", "b", "c"]


def test_the_newest_record_of_a_name_counts(tmp_path: Path) -> None:
    for day, dice in (("2026-01-09", 0.1), ("2026-02-01", 0.3), ("2025-12-31", 0.2)):
        records.write(tmp_path / f"{day}-trial.json", record({"best": (dice, dice, dice)}))
    records.write(tmp_path / "2027-01-01-other-trial.json", record({"best": (0.9, 0.9, 0.9)}))
    assert records.latest(tmp_path, "trial").summary["best"]["dice"].mean == 0.3
    with pytest.raises(InputError, match="a record named speed"):
        records.latest(tmp_path, "speed")
