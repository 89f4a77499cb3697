"""An image is labelled by persons that somebody has labelled."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lightcrcf
from lightcrcf.batch.options import BatchOptions
from lightcrcf.errors import InputError, MemoryEstimateError, QualityError, UsageError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.labels import labelling
from lightcrcf.labels.atlases import Atlas
from lightcrcf.labels.fusion import fuse
from lightcrcf.labels.labelling import Labelling
from lightcrcf.labels.save import save_labelling
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.volumes import Volume, read, write
from lightcrcf.volumes import limits as volume_limits


def labels_of(image: Path) -> Path:
    return image.with_name(image.name.replace(".nii", "_labels.nii"))


@pytest.fixture(scope="module")
def atlases(people: list[Path]) -> list[Atlas]:
    return [Atlas(image, labels_of(image)) for image in people[1:4]]


@pytest.fixture(scope="module")
def found(people: list[Path], atlases: list[Atlas]) -> Labelling:
    """Person 0, refined so that the atlases fit."""
    return lightcrcf.label(people[0], atlases, options=BatchOptions(model="none", init="none", threads=1))


def test_labels_lie_on_the_image_and_are_better_than_one_atlas(
    found: Labelling, people: list[Path], atlases: list[Atlas]
) -> None:
    truth = read(labels_of(people[0]))
    assert found.labels.grid.isclose(truth.grid)
    assert found.labels.data.dtype == np.uint8
    fused = np.mean(list(dice(truth.data, found.labels.data).values()))
    options = BatchOptions(model="none", init="none", threads=1)
    single = [labelling.propagate(atlas, people[0], options) for atlas in atlases]
    assert fused > np.mean([np.mean(list(dice(truth.data, moved.labels).values())) for moved in single])


def test_atlases_of_one_person_are_laid_on_rigidly(people: list[Path], atlases: list[Atlas]) -> None:
    rigid, deformed = (
        lightcrcf.label(people[0], atlases, options=BatchOptions(model="none", transform=transform, threads=1))
        for transform in ("rigid", "deformable")
    )
    assert rigid.record["options"]["transform"] == "rigid"
    assert np.count_nonzero(rigid.labels.data != deformed.labels.data) > 100
    own = [labelling.propagate(a, people[0], BatchOptions(model="none", transform="rigid", threads=1)) for a in atlases]
    assert all(m.correlation > 0 for m in own)
    truth = read(labels_of(people[0]))
    assert min(dice(truth.data, rigid.labels.data).values()) > 0.3


def test_atlases_of_another_contrast_are_compared_in_the_shades_of_the_image(
    people: list[Path], atlases: list[Atlas], tmp_path: Path
) -> None:
    image = read(people[0])
    write(tmp_path / "t2.nii.gz", replace(image, data=np.where(image.data > 20, 700 - image.data, 0)))
    options = BatchOptions(model="none", similarity="any", threads=1)
    found = lightcrcf.label(tmp_path / "t2.nii.gz", atlases, options=options)
    assert {atlas["contrasts"] for atlas in found.record["atlases"]} == {"any"}
    truth = read(labels_of(people[0])).data
    moved = [labelling.propagate(atlas, tmp_path / "t2.nii.gz", options) for atlas in atlases]
    target = labelling.scale_intensities(read(tmp_path / "t2.nii.gz"), moved[0].window)
    inside = truth > 0
    for each in moved:
        before, after = (
            np.corrcoef(target[inside], seen[inside])[0, 1] for seen in (each.image, each.in_target_contrast(target))
        )
        assert before < -0.2 < 0.5 < after
        assert replace(each, cross_contrast=False).in_target_contrast(target) is each.image
    plain = fuse(target, [m.image for m in moved], [m.labels for m in moved], image.grid.spacing_mm.tolist(), "joint")
    overlaps = [np.mean(list(dice(truth, labels).values())) for labels in (plain.labels, found.labels.data)]
    assert overlaps[1] > overlaps[0] + 0.003


def test_voxels_without_data_hardly_change_a_label(
    found: Labelling, people: list[Path], atlases: list[Atlas], tmp_path: Path
) -> None:
    """NaN in the background reaches no patch that is compared; the registrations differ a little, by their weights."""
    image = read(people[0])
    holed = image.data.astype(np.float32)
    neighbour_weights = np.zeros(holed.shape, np.bool_)
    neighbour_weights[:2, :2, :2] = True
    assert not found.labels.data[neighbour_weights].any()
    holed[neighbour_weights] = np.nan
    write(tmp_path / "holed.nii.gz", Volume(holed, image.grid))
    options = BatchOptions(model="none", init="none", threads=1)
    again = lightcrcf.label(tmp_path / "holed.nii.gz", atlases, options=options)
    assert not again.labels.data[neighbour_weights].any()
    assert min(dice(found.labels.data, again.labels.data).values()) > 0.95


def test_the_record_tells_what_was_done(found: Labelling, people: list[Path], atlases: list[Atlas]) -> None:
    record = found.record
    assert record["image"] == {"path": str(people[0]), "sha256": fingerprint(people[0])}
    assert {a["image"] for a in record["atlases"]} == {str(a.image) for a in atlases}
    assert all(a["sha256"]["labels"] == fingerprint(a["labels"]) for a in record["atlases"])
    assert sum(a["mean_weight"] for a in record["atlases"]) == pytest.approx(1, abs=1e-4)
    assert [a["correlation"] for a in record["atlases"]] == sorted(a["correlation"] for a in record["atlases"])[::-1]
    assert record["fusion"]["method"] == "joint"
    assert {"registration", "fusion"} == set(record["timings_s"])
    voxel = abs(np.linalg.det(found.labels.grid.affine[:3, :3]))
    for structure in record["structures"]:
        inside = found.labels.data == structure["label"]
        assert structure["voxels"] == inside.sum()
        assert structure["mm3"] == pytest.approx(inside.sum() * voxel, rel=1e-5)
        assert structure["confidence"] == pytest.approx(found.confidence.data[inside].mean(), abs=1e-3)


def test_files_appear_together(found: Labelling, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    save_labelling(found, out, confidence=True)
    assert {p.name for p in out.iterdir()} == {"labels.nii.gz", "confidence.nii.gz", "volumes.csv", "label.json"}
    np.testing.assert_array_equal(read(out / "labels.nii.gz").data, found.labels.data)
    assert json.loads((out / "label.json").read_text()) == found.record
    with (out / "volumes.csv").open(newline="") as stream:
        assert [int(row["voxels"]) for row in csv.DictReader(stream)] == [
            s["voxels"] for s in found.record["structures"]
        ]
    save_labelling(found, out)
    assert not (out / "confidence.nii.gz").exists()


def test_a_write_that_fails_leaves_nothing(found: Labelling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(InputError, match="No space left"):
        save_labelling(found, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_input_is_replaced(found: Labelling, tmp_path: Path) -> None:
    (tmp_path / "labels.nii.gz").symlink_to(found.record["atlases"][0]["labels"])
    with pytest.raises(InputError, match="holds none of the inputs"):
        save_labelling(found, tmp_path)


def test_the_image_itself_is_no_atlas(people: list[Path], quick: BatchOptions) -> None:
    pairs = [(image, labels_of(image)) for image in people[:2]]
    with pytest.warns(UserWarning, match=r"person0.nii.gz: is one of the atlases"):
        assert len(lightcrcf.label(people[0], pairs, options=quick).record["atlases"]) == 1
    with (
        pytest.warns(UserWarning, match="is one of the atlases"),
        pytest.raises(InputError, match="at least one atlas of another image"),
    ):
        lightcrcf.label(people[0], pairs[:1], options=quick)


def judged(monkeypatch: pytest.MonkeyPatch, failing: list[Path]) -> None:
    """Let quality control fail for some atlases."""
    original = labelling.propagate

    def judging(atlas: Atlas, image: Path, options: BatchOptions) -> Any:
        verdict = "fail" if atlas.image in failing else "pass"
        found = original(atlas, image, options)
        return replace(found, quality=replace(found.quality, verdict=verdict, reasons=("of a test",)))

    monkeypatch.setattr(labelling, "propagate", judging)


def test_atlases_that_fail_are_named_and_left_out(
    people: list[Path], atlases: list[Atlas], quick: BatchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, [atlases[0].image])
    with pytest.warns(UserWarning, match=r"person1.nii.gz: left out, quality control failed: of a test"):
        record = lightcrcf.label(people[0], atlases[:2], options=quick).record
    assert [(a["used"], a["mean_weight"]) for a in record["atlases"]] == [(True, 1.0), (False, None)]
    assert record["fusion"]["atlases"] == 1
    judged(monkeypatch, [a.image for a in atlases])
    with pytest.warns(UserWarning, match="left out"), pytest.raises(QualityError, match="none of 2, the first: of a"):
        lightcrcf.label(people[0], atlases[:2], options=quick)


def test_labels_that_are_no_labels(people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    image = read(people[1])
    write(tmp_path / "half.nii.gz", Volume(np.full(image.grid.shape, 0.5, np.float32), image.grid))
    with pytest.raises(InputError, match=r"half\.nii\.gz"):
        lightcrcf.label(people[0], [(people[1], tmp_path / "half.nii.gz")], options=quick)


@pytest.mark.parametrize("wrong", [{"fusion": "guess"}, {"workers": 0}, {"options": BatchOptions(model="no-such")}])
def test_options_that_do_not_fit(wrong: dict[str, Any], people: list[Path], atlases: list[Atlas]) -> None:
    with pytest.raises(UsageError):
        lightcrcf.label(people[0], atlases, **wrong)


def test_more_atlases_than_memory_holds(
    people: list[Path], atlases: list[Atlas], quick: BatchOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = 2 * read(people[0]).data.nbytes  # to read one, not to fuse three
    monkeypatch.setattr(volume_limits, "available_memory", lambda: enough)
    with pytest.raises(MemoryEstimateError, match=r"use fewer atlases"):
        lightcrcf.label(people[0], atlases, options=quick)


@pytest.mark.skipif(find_spec("distributed") is None, reason="Dask is not installed")
def test_workers_find_the_same(people: list[Path], atlases: list[Atlas], quick: BatchOptions) -> None:
    alone = lightcrcf.label(people[0], atlases, options=quick)
    together = lightcrcf.label(people[0], atlases, options=quick, workers=2)
    np.testing.assert_array_equal(alone.labels.data, together.labels.data)
    np.testing.assert_array_equal(alone.confidence.data, together.confidence.data)
