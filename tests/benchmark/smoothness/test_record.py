"""Records that grow, run by run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lightcrcf.errors import InputError, UsageError
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf_bench.accuracy.methods import BenchSettings, MethodResult, MethodRunner, RunMetadata
from lightcrcf_bench.accuracy.protocols import Images
from lightcrcf_bench.measure import machine
from lightcrcf_bench.smoothness.record import (
    Cases,
    SmoothnessRecord,
    latest_smoothness,
    merged,
    read_smoothness,
    write_smoothness,
)
from lightcrcf_bench.smoothness.study import Planned, Ready, Rung, Study, grow

Maker = Callable[..., SmoothnessRecord]
STILL = Chain(Affine.identity(), None, Affine.identity())


def test_it_is_read_as_it_was_written(make_record: Maker, tmp_path: Path) -> None:
    record = make_record({"greedy-1": [(0.3, 0.6), (0.5, 0.8)], "syn-3-0": [(0.1, 0.5)]})
    path = tmp_path / "2026-03-01-brain-frontier.json"
    write_smoothness(path, record)
    assert latest_smoothness(tmp_path, "brain-frontier") == record
    spread = record.summary["greedy-1"]["dice"]
    assert (spread.mean, spread.median, spread.deviation) == (0.7, 0.7, pytest.approx(0.141421))
    assert record.shortfall("syn-3-0") == " (1 of 2 cases)"
    path.write_text(path.read_text().replace('"figures": {"dice": 0.6', '"figures": {"dice": 0.7'))
    with pytest.raises(InputError, match="summary does not follow"):
        read_smoothness(path)


def test_what_it_refuses(make_record: Maker) -> None:
    good = make_record({"greedy-1": [(0.3, 0.6)]})
    with pytest.raises(ValidationError, match="known figures"):
        make_record({"greedy-1": [(0.3, 0.6)]}, figure="beauty")
    for parts in ({"trials": good.trials * 2}, {"methods": ()}):
        with pytest.raises(ValidationError, match="trial"):
            make_record({"greedy-1": [(0.3, 0.6)]}, **parts)


def test_merging_adds_and_renews(make_record: Maker) -> None:
    old = make_record({"greedy-1": [(0.3, 0.6), (0.5, 0.8)]})
    new = make_record({"syn-3-0": [(0.1, 0.5)], "greedy-1": [(0.4, 0.7)]})
    both = merged(old, new)
    assert [(t.method, t.case, t.figures["dice"]) for t in both.trials] == [
        ("greedy-1", "a <- b", 0.7),
        ("greedy-1", "b <- a", 0.8),
        ("syn-3-0", "a <- b", 0.5),
    ]
    assert both.curves() == ["greedy", "syn"]
    with pytest.raises(InputError, match="same cases"):
        merged(old, make_record({"greedy-1": [(0.3, 0.6)]}, protocol="Otherwise."))


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def study(ran: list[str]) -> Study:
    """Two cases, the second of which cannot be made, and two tools, one of which fails at first."""

    def rung(name: str, curve: str, *, fails: bool = False, warm_up: bool = False) -> Rung:
        def run(_images: Images, _bench: BenchSettings) -> MethodResult:
            ran.append(name)
            metadata = RunMetadata.model_validate(
                {"measured": "2026-03-02", "machine": machine(), "versions": {"tool": "1"}}
            )
            if fails and ran.count(name) == 1:
                return MethodResult(metadata.model_copy(update={"failure": "out of luck", "versions": {}}))
            return MethodResult(metadata.model_copy(update={"seconds": 2.0}), STILL)

        made = MethodRunner(name, name.upper(), "set", "run", "timed", run, warm_up=warm_up)
        return Rung(made, curve)

    def prepare(_bench: BenchSettings) -> Ready:
        images = Images("a", "b", Path("a.nii"), Path("b.nii"))
        return Ready(images, lambda chain: {"dice": float(np.float32(1 / 3)) + chain.after.matrix[0, 3]})

    def cannot(_bench: BenchSettings) -> Ready:
        raise InputError("truth", expected="a field", got="none", remedy="make it")

    rungs = {"one": rung("one", "left", warm_up=True), "two": rung("two", "right", fails=True)}
    data = Cases(name="n", split="train", persons="p", terms="t", names=("a <- b", "c"))
    planned = [Planned("a <- b", prepare), Planned("c", cannot)]
    return Study("s", "t", data, "p.", ("c",), planned, rungs)


def test_it_grows_and_goes_on(study: Study, ran: list[str], tmp_path: Path) -> None:
    path, bench, said = tmp_path / "r.json", BenchSettings(tmp_path, 1), list[str]()
    grow(study, path, ["left"], bench, log=said.append)
    assert ran == ["one", "one"]  # one run to warm up
    grow(study, path, [], bench, log=said.append)
    assert ran == ["one", "one", "two"]
    assert [trial.failure for trial in read_smoothness(path).trials] == [None, "out of luck"]
    grow(study, path, [], bench, note="quiet", log=said.append)  # what failed is tried again
    record = read_smoothness(path)
    assert ran[3:] == ["two"]
    assert [(t.method, t.case, t.figures, t.seconds) for t in record.trials] == [
        ("one", "a <- b", {"dice": 0.333333}, 2.0),
        ("two", "a <- b", {"dice": 0.333333}, 2.0),
    ]
    assert record.methods[1].versions == {"tool": "1"}
    assert any("make it" in line for line in said)
    grow(study, path, ["one"], bench, again=True, log=said.append)
    assert ran[4:] == ["one", "one"]


def test_methods_and_records_must_fit(study: Study, make_record: Maker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="left, right, one, two"):
        grow(study, tmp_path / "r.json", ["three"], BenchSettings(tmp_path, 1))
    write_smoothness(tmp_path / "r.json", make_record({"greedy-1": [(0.3, 0.6)]}))
    with pytest.raises(InputError, match="same cases"):
        grow(replace(study, planned=study.planned[:1]), tmp_path / "r.json", ["one"], BenchSettings(tmp_path, 1))
