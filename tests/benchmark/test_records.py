import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from lightcrcf.errors import InputError
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.schema import Case, Record

Maker = Callable[..., Record]
LEFT_OUT = math.nan
TWO = {"identity": (0.1, 0.2, 0.6), "best": (0.5, 0.9, 0.7)}


def test_the_summary_follows_from_the_cases(make_record: Maker) -> None:
    summary = make_record(TWO).summary
    spread = summary["best"]["dice"]
    assert (spread.mean, spread.median, spread.deviation, spread.minimum, spread.maximum) == (0.7, 0.7, 0.2, 0.5, 0.9)
    assert summary["best"]["seconds"].median == 7.0
    assert "seconds" not in summary["identity"]


def test_failures_stay_and_are_left_out_of_the_summary(make_record: Maker) -> None:
    record = make_record({"peer": (0.4, None, 0.6)})
    assert [case.failure for case in record.of("peer")] == [None, "out of luck", None]
    assert record.summary["peer"]["dice"].mean == 0.5
    assert make_record({"peer": (None, None, None)}).summary["peer"] == {}


def test_a_pair_without_hd95_leaves_that_of_the_others(make_record: Maker) -> None:
    old = make_record({"peer": (0.0, 0.4, 0.6)})
    lost = old.cases[0].model_copy(update={"hd95": None, "labels_lost": (7, 12)})
    renewed = Record.model_validate({**old.model_dump(exclude={"summary"}), "cases": (lost, *old.cases[1:])})
    assert renewed.summary["peer"]["hd95"].mean == 1.0
    assert renewed.summary["peer"]["dice"].minimum == 0.0


def test_a_case_is_scored_or_failed() -> None:
    with pytest.raises(ValidationError, match="scores or the reason"):
        Case(method="peer", fixed="a", moving="b")
    with pytest.raises(ValidationError, match="scores or the reason"):
        Case(method="peer", fixed="a", moving="b", dice=0.5, failure="no")


def test_what_is_written_is_read_again(make_record: Maker, tmp_path: Path) -> None:
    old = make_record({**TWO, "ours": (0.5, None, 0.75)})
    records.write(tmp_path / "history" / "x.json", old)
    assert records.read(tmp_path / "history" / "x.json") == old
    told = json.loads((tmp_path / "history" / "x.json").read_text())
    assert (told["format"], told["format_version"]) == ("lightcrcf-benchmark", 2)


def test_the_cases_lie_beside_it_as_csv(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"peer": (0.4, None, 0.6)})
    records.write(tmp_path / "x.json", record)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert [row["fixed"] for row in rows] == ["a", "b", "c"]
    assert [row["dice"] for row in rows] == ["0.4", "", "0.6"]
    assert [row["dice_12"] for row in rows] == ["0.2", "", "0.3"]
    assert [row["seconds"] for row in rows] == ["4.0", "", "6.0"]
    assert rows[1]["failure"] == "out of luck"


def test_a_figure_changed_by_hand_is_noticed(make_record: Maker, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    records.write(path, make_record({"best": (0.5, 0.9, 0.7)}))
    path.write_text(path.read_text().replace('"dice": 0.9', '"dice": 0.95'))
    with pytest.raises(InputError, match="summary does not follow"):
        records.read(path)


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}'])
def test_other_files_are_no_records(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="expected a record"):
        records.read(tmp_path / "x.json")


def test_rows_that_no_run_can_have_left_are_refused(make_record: Maker) -> None:
    complete = make_record(TWO)
    parts = complete.model_dump(exclude={"summary"})
    elsewhere = complete.cases[0].model_copy(update={"fixed": "z"})
    for cases, reason in (
        ((*complete.cases, complete.cases[0]), "at most one case"),
        ((*complete.cases, elsewhere), "at most one case"),
        (complete.cases[3:], "a case of each method"),
        ((*complete.cases, elsewhere.model_copy(update={"method": "other", "fixed": "a"})), "none of others"),
    ):
        with pytest.raises(ValidationError, match=reason):
            Record.model_validate({**parts, "cases": cases})
    with pytest.raises(ValidationError, match="at most one timing"):
        Record.model_validate({**parts, "timings": (*complete.timings, complete.timings[0])})
    with pytest.raises(ValidationError, match="at most one timing"):
        Record.model_validate({**parts, "cases": complete.cases[:-1]})


def test_methods_are_compared_on_the_pairs_they_share(make_record: Maker) -> None:
    record = make_record({"slow": (0.7, LEFT_OUT, LEFT_OUT), "ours": (0.5, 0.6, 0.9), "peer": (0.4, None, 0.2)})
    assert [case.fixed for case in record.of("slow")] == ["a"]
    assert record.shared(("ours", "slow"), "dice") == [(0.5, 0.7)]
    assert record.shared(("ours", "peer"), "dice") == [(0.5, 0.4), (0.9, 0.2)]
    assert record.shared(("ours", "peer"), "ndv_percent") == []
    told = {name: record.shortfall(name) for name in ("slow", "ours", "peer")}
    assert told == {"slow": " (1 of 3 pairs)", "ours": "", "peer": " (1 of 3 failed)"}


def test_measuring_again_replaces_only_the_methods_measured(make_record: Maker) -> None:
    old = make_record({"identity": (0.1, 0.1, 0.1), "peer": (0.4, 0.4, 0.4), "ours": (0.5, 0.5, 0.5)})
    new = make_record({"better": (0.9, 0.9, 0.9), "peer": (0.6, 0.6, None)}, day=2)
    merged = records.merge(old, new)
    assert [m.name for m in merged.methods] == ["identity", "peer", "ours", "better"]
    assert [m.measured.day for m in merged.methods] == [1, 2, 1, 2]
    means = {name: spreads["dice"].mean for name, spreads in merged.summary.items()}
    assert means == {"identity": 0.1, "peer": 0.6, "ours": 0.5, "better": 0.9}
    assert [case.method for case in merged.cases[:6]] == ["identity"] * 3 + ["peer"] * 3
    assert [(t.method, t.measured.day) for t in merged.timings] == [("peer", 2)] * 2 + [("ours", 1)] * 3 + [
        ("better", 2)
    ] * 3


def test_times_taken_again_leave_the_scores(make_record: Maker) -> None:
    old = make_record({"peer": (0.4, 0.4, 0.4), "ours": (0.5, 0.6, 0.7)}, load=9.0)
    new = make_record({"ours": (0.1, 0.1, 0.1)}, day=2)
    renewed = records.retimed(old, new.methods, new.timings[:2])
    assert renewed.cases == old.cases
    assert [(t.method, t.seconds) for t in renewed.timings] == [("peer", 4.0)] * 3 + [("ours", 1.0)] * 2
    assert renewed.summary["ours"]["load_before"].maximum == 0.5


def test_records_of_other_data_do_not_merge(make_record: Maker) -> None:
    with pytest.raises(InputError, match="same data"):
        records.merge(make_record({"a": (0.1, 0.1, 0.1)}), make_record({"a": (0.1, 0.1, 0.1)}, name="other"))


def test_rows_come_in_the_order_of_the_pairs(make_record: Maker) -> None:
    old = make_record({"best": (0.5, 0.9, 0.7)})
    parts = {**old.model_dump(exclude={"summary"}), "cases": old.cases[::-1]}
    assert [case.fixed for case in Record.model_validate(parts).of("best")] == ["a", "b", "c"]


def test_the_newest_record_of_a_name_counts(make_record: Maker, tmp_path: Path) -> None:
    for day, dice in (("2026-01-09", 0.1), ("2026-02-01", 0.3), ("2025-12-31", 0.2)):
        records.write(tmp_path / f"{day}-trial.json", make_record({"best": (dice, dice, dice)}))
    records.write(tmp_path / "2027-01-01-other-trial.json", make_record({"best": (0.9, 0.9, 0.9)}))
    assert records.latest(tmp_path, "trial").summary["best"]["dice"].mean == 0.3
    with pytest.raises(InputError, match="a record named speed"):
        records.latest(tmp_path, "speed")
