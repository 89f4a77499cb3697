"""`smoothness`: a smoother field, and an error where nothing is refined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lightcrcf.batch.options import BatchOptions as CohortOptions
from lightcrcf.cli.main import run
from lightcrcf.errors import UsageError
from lightcrcf.evaluation.regularity import sdlogj
from lightcrcf.options import PRESETS, Options
from lightcrcf.refinement.schedule import Level, plan
from lightcrcf.registration.register import register
from lightcrcf.run_record.replay import arguments_to_repeat, command_line, read_run
from lightcrcf.template.recipe import Recipe
from lightcrcf.volumes import Volume
from lightcrcf.weights import store
from lightcrcf.weights.preparation import Preparation

Pair = tuple[Volume, Volume]

_SMOOTHED = ("force_sigma", "field_sigma", "alternative_sigmas", "force", "volume")


def _sigmas(level: Level) -> tuple[float, ...]:
    return (level.force_sigma, level.field_sigma, *(level.alternative_sigmas or ()))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "preparation", [None, Preparation(None), Preparation(None, align=False, refinement_init="none")]
)
def test_one_changes_nothing_and_others_all_that_smooths(preset: str, preparation: Preparation | None) -> None:
    usual = plan(preset, preparation)
    assert plan(preset, preparation, smoothness=1.0) == usual
    for smoothness in (0.5, 3.0):
        changed = plan(preset, preparation, smoothness=smoothness)
        assert len(changed.schedule) == len(usual.schedule)
        for level, before in zip(changed.schedule, usual.schedule, strict=True):
            assert level.force == smoothness * before.force
            assert (level.volume - before.volume) * (smoothness - 1) >= 0
            assert (level.alternative_sigmas is None) == (before.alternative_sigmas is None)
            for sigma, was in zip(_sigmas(level), _sigmas(before), strict=True):
                assert (sigma - was) * (smoothness - 1) >= 0
            kept = {name: getattr(before, name) for name in _SMOOTHED}
            assert replace(level, **kept) == before


def test_the_field_becomes_smoother(pair: Pair) -> None:
    spread = []
    for smoothness in (0.3, 1.0, 3.0, 10.0):
        found = register(*pair, model="none", smoothness=smoothness)
        assert found.record.options.smoothness == smoothness
        assert found.transform.field is not None
        spread.append(sdlogj(found.transform.field.displacement, found.fixed.data > 0))
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 1.1 * spread[1] > 1.5 * spread[2]


@pytest.mark.parametrize("value", [0.0, 0.05, 11.0, -1.0, float("nan"), float("inf"), "2", None])
def test_a_value_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"smoothness: expected a number from 0\.1 to 10, got .*; correct the number"):
        Options(smoothness=value).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(("preset", "refine"), [("fast", None), ("fast", 0), ("default", 0), ("accurate", 0)])
def test_it_needs_a_refinement(preset: str, refine: int | None) -> None:
    Options(preset=preset, refine=refine).check()
    Options(preset=preset, refine=3, smoothness=2.0).check()
    with pytest.raises(UsageError, match="smoothness: expected a refinement"):
        Options(preset=preset, refine=refine, smoothness=2.0).check()


def test_a_model_that_is_not_refined_is_told(pair: Pair, coarse_model: Path, tmp_path: Path) -> None:
    bare, path = store.load(coarse_model), tmp_path / "off.safetensors"
    preparation = Preparation((3.0, 3.0, 3.0), refinement_init="none")
    store.write_weights(
        path, bare.arrays, name="off", config=bare.config, preparation=preparation, content=bare.content
    )
    with pytest.raises(UsageError, match="smoothness: expected a model whose field is refined, got off"):
        register(*pair, model=path, smoothness=2.0)
    assert register(*pair, model=path, smoothness=2.0, refine=2).record.refinement.levels[0].steps_done


@pytest.mark.parametrize("command", ["register", "batch", "template", "label", "bids"])
@pytest.mark.parametrize("value", ["0", "20", "rough"])
def test_commands_refuse_it_in_one_line(
    command: str, value: str, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "register": ["--fixed", small[0], "--moving", small[1]],
        "batch": ["--to", *small],
        "template": small,
        "label": [small[0], "--atlases", str(tmp_path)],
        "bids": [str(tmp_path), str(tmp_path / "out"), "participant"],
    }[command]
    out = [] if command == "bids" else ["--out", str(tmp_path / "out")]
    assert run([command, *files, *out, "--smoothness", value]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--smoothness" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["register", "batch", "template"])
def test_fast_refuses_it_in_one_line_before_any_work(
    command: str, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"register": ["--fixed", small[0], "--moving", small[1]], "batch": ["--to", *small], "template": small}
    words = [command, *files[command], "--out", str(tmp_path / "out"), "--preset", "fast", "--smoothness", "2"]
    assert run(words) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "expected a refinement, which it smooths, got --preset fast without --refine; choose" in told
    assert not (tmp_path / "out").exists()


def test_it_is_recorded_and_repeated(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--fixed", small[0], "--moving", small[1]]
    assert run(["register", *files, "--out", str(tmp_path / "run"), "--model", "none", "--smoothness", "2"]) == 0
    record = read_run(tmp_path / "run")
    assert record.options.smoothness == 2.0
    assert arguments_to_repeat(record)["smoothness"] == 2.0
    assert "--smoothness 2.0" in " ".join(command_line(record, "again"))
    assert run(["register", "--from", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    assert "the bytes of then" in capsys.readouterr().err


def test_a_batch_and_a_template_of_another_smoothness_are_others(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["batch", "--to", *small, "--out", str(tmp_path / "out"), "--model", "none", "--resume"]
    assert run(words) == 0
    assert json.loads((tmp_path / "out" / "batch.json").read_text(encoding="utf-8"))["options"]["smoothness"] == 1.0
    capsys.readouterr()
    assert run([*words, "--smoothness", "2"]) == 2
    assert "smoothness: expected 1.0, with which this batch was begun, got 2.0" in capsys.readouterr().err
    identities = [Recipe(options=CohortOptions(smoothness=value)).identity() for value in (1.0, 2.0)]
    assert identities[0] != identities[1]


def test_a_template_is_built_with_it(small: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["template", *small, "--out", str(out), "--model", "none", "--iterations", "1", "--smoothness", "2"]
    assert run(words) == 0
    record = json.loads((out / "template.json").read_text(encoding="utf-8"))
    assert record["recipe"]["smoothness"] == 2.0
    assert record["left_out"] == {}
