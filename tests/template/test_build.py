"""Templates: sharper and better centred than the affine mean, the same whatever the order, resumable, honest."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.batch.options import BatchOptions
from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.template import stages as template_builder
from lightcrcf.template.build import build
from lightcrcf.template.mean import mean_displacement
from lightcrcf.template.recipe import Recipe
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read, write

RECIPE = Recipe(iterations=2, options=BatchOptions(model="none", init="none", preset="default", refine=2, threads=1))
Tree = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def persons(
    grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Four persons at 4 mm, on grids of their own."""
    folder = tmp_path_factory.mktemp("persons")
    for person in range(1, 5):
        grid = grids((38, 46 + person, 34), (4.0, 4.1, 4.2), axes="LPS" if person % 2 else "RAS")
        write(folder / f"person{person}.nii.gz", brains(grid, person=person)[0])
    return [folder / f"person{person}.nii.gz" for person in range(1, 5)]


@pytest.fixture(scope="module")
def built(persons: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A template of all persons, and what is known of it."""
    out = tmp_path_factory.mktemp("built") / "template"
    return out, build(persons, out, RECIPE)


def test_what_it_leaves(built: tuple[Path, dict[str, Any]], persons: list[Path]) -> None:
    out, record = built
    ids = [f"person{n}" for n in range(1, 5)]
    assert json.loads((out / "template.json").read_text()) == record
    assert sorted(p.name for p in out.iterdir()) == [
        "affine_mean.nii.gz", "convergence.svg", "template.json", "template.nii.gz", "transforms",
    ]  # fmt: skip
    assert sorted(p.name for p in (out / "transforms").iterdir()) == ids == sorted(record["images"])
    assert record["paths"] == dict(zip(ids, map(str, persons), strict=True))
    assert record["left_out"] == {}
    assert [stage["number"] for stage in record["iterations"]] == [1, 2]
    assert set(record["files_sha256"]) == {
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.name != "template.json"
    }
    assert ET.parse(out / "convergence.svg").getroot().tag.endswith("svg")


def test_it_is_sharper_and_less_spread_than_the_affine_mean(built: tuple[Path, dict[str, Any]]) -> None:
    start, (_, last) = built[1]["start"]["figures"], (s["figures"] for s in built[1]["iterations"])
    assert last["sharpness_of_mean"] > 1.02 * start["sharpness_of_mean"]
    assert last["sharpness"] > last["sharpness_of_mean"]
    assert last["spread"] < 0.5 * start["spread"]


def test_the_images_lie_evenly_around_it(built: tuple[Path, dict[str, Any]]) -> None:
    out, record = built
    first, second = (stage["figures"] for stage in record["iterations"])
    assert second["change_rms"] < 0.3 * first["change_rms"]
    template = read(out / "template.nii.gz")
    chains = [read_transform_folder(folder) for folder in sorted((out / "transforms").iterdir())]
    left = mean_displacement(chains, template.grid).length_mm[template.data > 0.05]
    assert np.sqrt(np.mean(left**2)) < 0.05 * first["mean_shift_rms_mm"]


def test_the_transforms_bring_images_onto_the_template(built: tuple[Path, dict[str, Any]], persons: list[Path]) -> None:
    template = read(built[0] / "template.nii.gz")
    inside = template.data > 0.2
    for path in persons:
        chain = read_transform_folder(built[0] / "transforms" / path.name.removesuffix(".nii.gz"))
        moved = chain.resample(read(path), template.grid, "linear").data
        assert np.corrcoef(moved[inside], template.data[inside])[0, 1] > 0.8


def test_the_order_does_not_matter(
    built: tuple[Path, dict[str, Any]], persons: list[Path], tmp_path: Path, tree: Tree
) -> None:
    build(persons[::-1], tmp_path / "other", RECIPE)
    assert tree(tmp_path / "other") == tree(built[0])


def test_it_goes_on_where_it_stopped(
    built: tuple[Path, dict[str, Any]], persons: list[Path], tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, folders = template_builder.run_batch, []

    def stopping(pairs: Any, out: Path, *rest: Any, **how: Any) -> Any:
        folders.append(out.name)
        if len(folders) == 3:
            real(pairs[:2], out, *rest, **how)
            raise KeyboardInterrupt
        return real(pairs, out, *rest, **how)

    monkeypatch.setattr(template_builder, "run_batch", stopping)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(persons, out, RECIPE)
    assert [p.name for p in out.iterdir()] == ["work"]
    with pytest.raises(UsageError, match="--resume"):
        build(persons, out, RECIPE)
    with pytest.raises(UsageError, match="recipe"):
        build(persons, out, Recipe(3, options=RECIPE.options), resume=True)
    with pytest.raises(UsageError, match="images"):
        build(persons[1:], out, RECIPE, resume=True)
    build(persons, out, RECIPE, resume=True)
    assert folders == ["00", "01", "02", "02"]
    assert tree(out) == tree(built[0])
    (out / "work" / "02").mkdir(parents=True)
    assert build(persons, out, RECIPE, resume=True) == built[1]
    assert not (out / "work").exists()
    assert len(folders) == 4


def test_an_image_that_fails_is_named_and_left_out(
    persons: list[Path], tmp_path: Path, grids: Callable[..., Grid], quick: BatchOptions
) -> None:
    elsewhere = tmp_path / "elsewhere.nii.gz"
    there = read(persons[0])
    write(elsewhere, Volume(there.data[::-1].copy(), grids(there.grid.shape, (4, 4, 4), centre=(900, 0, 0))))
    with pytest.warns(UserWarning, match="elsewhere is left out: .*overlap"):
        record = build([*persons[:2], elsewhere], tmp_path / "out", Recipe(1, options=quick))
    assert list(record["left_out"]) == ["elsewhere"]
    assert "overlap" in record["iterations"][0]["left_out"]["elsewhere"]
    assert sorted(p.name for p in (tmp_path / "out" / "transforms").iterdir()) == ["person1", "person2"]


def test_too_few_that_can_be_registered_is_an_error(
    persons: list[Path], tmp_path: Path, quick: BatchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_builder, "_exclusion_reason", lambda record: "quality control failed: far apart")
    with pytest.warns(UserWarning, match="far apart"), pytest.raises(InputError, match=r"0 of 2; quality control"):
        build(persons[:2], tmp_path / "out", Recipe(1, options=quick))
    assert not (tmp_path / "out" / "template.json").exists()


def test_a_verdict_of_fail_is_a_reason() -> None:
    def done(verdict: str) -> dict[str, Any]:
        return {"status": "done", "qc": {"verdict": verdict, "reasons": ["folds", "more"]}}

    assert [template_builder._exclusion_reason(done(v)) for v in ("pass", "check")] == [None, None]
    assert template_builder._exclusion_reason(done("fail")) == "quality control failed: folds"
    assert template_builder._exclusion_reason({"status": "failed", "error": {"message": "gone"}}) == "gone"


def test_contrasts_are_not_averaged(persons: list[Path], tmp_path: Path) -> None:
    image = read(persons[2])
    other = tmp_path / "other.nii.gz"
    write(other, replace(image, data=np.where(image.data > 20, 700 - image.data, 0).astype(np.int16)))
    options = BatchOptions(model="none", preset="fast", threads=1)
    with pytest.raises(InputError, match=r"other.nii.gz: expected the contrast of .*, got another one, as 1 of 3"):
        build([*persons[:2], other], tmp_path / "out", Recipe(1, options=options))
    assert not (tmp_path / "out" / "work").exists()
    forced = Recipe(1, options=replace(options, similarity="same"))
    assert len(build([*persons[:2], other], tmp_path / "out", forced)["images"]) == 3


def test_bad_input_is_refused_before_anything_is_made(persons: list[Path], tmp_path: Path) -> None:
    copy, broken, out = tmp_path / "copy.nii.gz", tmp_path / "broken.nii.gz", tmp_path / "out"
    shutil.copy(persons[0], copy)
    broken.write_bytes(b"nothing")
    for images, told in (
        ([], "two images or more, got 0"),
        (persons[:1], "two images or more, got 1"),
        ([persons[0], persons[0]], "same content"),
        ([persons[0], copy], "same content"),
        ([persons[0], broken], "broken"),
        ([persons[0], tmp_path / "missing.nii.gz"], "no such file"),
    ):
        with pytest.raises(InputError, match=told):
            build(images, out, RECIPE)
    for recipe in (Recipe(0), Recipe(step=0.0), Recipe(step=1.5), Recipe(sharpen=-1.0)):
        with pytest.raises(UsageError):
            build(persons, out, recipe)
    assert not out.exists()


def test_images_are_not_replaced(persons: list[Path], tmp_path: Path) -> None:
    own = tmp_path / "template.nii.gz"
    shutil.copy(persons[0], own)
    with pytest.raises(InputError, match="holds none of the images"):
        build([own, persons[1]], tmp_path, RECIPE)
    assert own.read_bytes() == persons[0].read_bytes()
