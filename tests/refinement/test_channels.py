"""Several contrasts of two persons, registered together by one transform."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import correlations
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.affine.search import PairPyramid
from lightcrcf.cli.main import run
from lightcrcf.errors import InputError, UsageError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.refinement.images import Images as RefinementImages
from lightcrcf.refinement.refine import refine_together
from lightcrcf.refinement.schedule import Level, plan
from lightcrcf.registration.inputs import channels_of
from lightcrcf.registration.register import Registration, register
from lightcrcf.registration.resample import move_labels
from lightcrcf.report.html import report_page
from lightcrcf.report.subject import Subject
from lightcrcf.run_record.schema import shipped_schema
from lightcrcf.volumes import Volume, read, write

Pair = tuple[Volume, Volume]
Texture = Callable[..., tuple[NDArray, NDArray, NDArray]]

# Of background, cortex, white matter and ventricles: one contrast loses the border of the cortex, the other the
# ventricles.
SHADES = {"ventricles": (0, 100, 100, 40), "cortex": (0, 80, 150, 150)}


def field_of(found: Registration) -> NDArray:
    assert found.transform.field is not None
    return found.transform.field.displacement


def inverted(volume: Volume) -> Volume:
    """Another contrast of the same anatomy: bright and dark exchanged, and bent."""
    data = volume.data.astype(np.float32) / np.float32(volume.data.max())
    return replace(volume, data=np.where(data > 0.02, 1.2 * np.exp(-3 * data), 0).astype(np.float32))


# What several pairs are to one


@pytest.mark.parametrize("across", [False, True])
def test_copies_of_a_pair_are_the_pair(texture: Texture, across: bool) -> None:
    """To the bit for two, which have half of all each."""
    moving, fixed, _ = texture()
    mask = np.ones(fixed.shape, np.float32)
    mask[4:9] = 0
    schedule = plan("accurate", None, across=across).schedule
    two, three = (
        refine_together([RefinementImages(fixed, moving, None, mask, share=1 / n)] * n, None, schedule=schedule)
        for n in (2, 3)
    )
    alone = refine_together([RefinementImages(fixed, moving, None, mask)], None, schedule=schedule)
    np.testing.assert_array_equal(two.displacement, alone.displacement)
    assert np.abs(three.displacement - alone.displacement).max() < 0.02
    assert two.objective_after == alone.objective_after


@pytest.mark.parametrize("transform", ["affine", "deformable"])
def test_a_pair_given_twice_is_registered_as_once(pair: Pair, transform: Any) -> None:
    once = register(*pair, model="none", transform=transform)
    twice = register(*([volume, volume] for volume in pair), model="none", transform=transform)
    np.testing.assert_array_equal(once.transform.after.matrix, twice.transform.after.matrix)
    np.testing.assert_array_equal(once.moved.data, twice.moved.data)
    if transform == "deformable":
        np.testing.assert_array_equal(field_of(once), field_of(twice))
    assert once.metrics == twice.metrics
    assert twice.record.channels[0].metrics == twice.metrics


def test_images_of_two_contrasts_given_twice_are_registered_as_once(pair: Pair) -> None:
    other = pair[0], inverted(pair[1])
    once, twice = register(*other), register(*([volume, volume] for volume in other))
    assert once.record.similarity.contrasts == "any"
    np.testing.assert_array_equal(once.transform.after.matrix, twice.transform.after.matrix)
    np.testing.assert_array_equal(field_of(once), field_of(twice))


# What several pairs are for


@pytest.fixture(scope="module")
def persons(grids: Callable[..., Grid], brains: Callable[..., Pair]) -> dict[str, Any]:
    """Labels of two persons, and their images in both contrasts."""
    grid = grids((48, 60, 44), (3.0, 3.0, 3.0))
    labels = [brains(grid, person=person)[1] for person in range(2)]
    noise = np.random.default_rng(0)
    images = {
        name: [
            Volume(
                (shown := np.array(shades, np.float32)[each.data]) + (shown > 0) * noise.normal(0, 2, grid.shape), grid
            )
            for each in labels
        ]
        for name, shades in SHADES.items()
    }
    return {"labels": labels, **images}


def overlaps(persons: dict[str, Any], *names: str, **options: Any) -> dict[int, float]:
    fixed, moving = ([persons[name][n] for name in names] for n in range(2))
    found = register(fixed, moving, model="none", **options)
    moved = move_labels(found.transform, persons["labels"][1], persons["labels"][0])
    return dict(dice(persons["labels"][0].data, moved.data))


def test_two_contrasts_find_what_either_one_lacks(persons: dict[str, Any]) -> None:
    both, one, other = (overlaps(persons, *names) for names in (SHADES, ["ventricles"], ["cortex"]))
    assert both[3] > other[3] + 0.05  # the ventricles
    assert both[2] > one[2] + 0.02  # white matter under its cortex
    assert all(np.mean(list(both.values())) > np.mean(list(each.values())) + 0.01 for each in (one, other))


def test_weights_say_how_much_each_pair_tells(persons: dict[str, Any]) -> None:
    names = tuple(SHADES)
    alike = overlaps(persons, *names)
    assert overlaps(persons, *names, channel_weights=(3, 3)) == alike
    alone = overlaps(persons, names[0])
    nearly = overlaps(persons, *names, channel_weights=(1000, 1))
    assert abs(nearly[3] - alone[3]) < 0.02
    assert nearly[2] < alike[2]


def test_the_affine_uses_all_pairs(persons: dict[str, Any]) -> None:
    """Where one contrast tells nothing of a place, the other one does."""
    fixed, moving = ([persons[name][n] for name in SHADES] for n in range(2))
    found = register(fixed, moving, transform="affine").record.affine
    alone = [register(f, m, transform="affine") for f, m in zip(fixed, moving, strict=True)]
    assert len(found.contrasts) == 2
    assert found.contrast.plain == pytest.approx(np.mean([each.plain for each in found.contrasts]))
    matrix = np.array(found.fixed_to_moving_ras_mm)
    sources = [
        (AlignmentImage.prepare(f, None), AlignmentImage.prepare(m, None)) for f, m in zip(fixed, moving, strict=True)
    ]
    images = PairPyramid.build(*sources[0], sources[1:], (0.5, 0.5))
    together, *apart = correlations(
        images.local_fine, np.stack([matrix, *(each.transform.after.matrix for each in alone)])
    )
    assert together > max(apart)


def test_each_pair_has_a_similarity_of_its_own(pair: Pair) -> None:
    fixed, moving = pair
    found = register([fixed, fixed], [moving, inverted(moving)], model="none")
    told = [channel.similarity.contrasts for channel in found.record.channels]
    assert told == ["same", "any"]
    usual = register(fixed, moving, model="none")
    assert np.abs(field_of(found) - field_of(usual)).mean() < 0.5 * np.abs(field_of(usual)).mean()
    assert found.record.refinement.objective == "lncc"


def test_further_images_may_have_other_grids(persons: dict[str, Any], grids: Callable[..., Grid]) -> None:
    """They lie in the same space, and are interpolated once."""
    fixed, moving = ([persons[name][n] for name in SHADES] for n in range(2))
    usual = register(fixed, moving, model="none")
    others = turned(fixed[1]), turned(moving[1])
    found = register([fixed[0], others[0]], [moving[0], others[1]], model="none")
    apart = np.abs(field_of(found) - field_of(usual))
    assert apart.max() < 0.05
    np.testing.assert_array_equal(found.record.inputs.further[0].fixed.grid.affine, others[0].grid.affine)


def turned(volume: Volume) -> Volume:
    """The same in space, its voxels counted from the other end along the first and the last axis."""
    matrix = np.diag([-1.0, 1, -1, 1])
    matrix[[0, 2], 3] = np.array(volume.grid.shape)[[0, 2]] - 1
    grid = Grid(volume.grid.shape, volume.grid.affine @ matrix)
    return replace(volume, data=volume.data[::-1, :, ::-1].copy(), grid=grid)


def test_a_further_pair_may_show_a_part(persons: dict[str, Any]) -> None:
    """A slab helps where it lies, and changes little elsewhere."""
    fixed, moving = ([persons[name][n] for name in ("cortex", "ventricles")] for n in range(2))
    parts = [
        replace(v, data=v.data[:, :, 22:].copy(), grid=v.grid.crop((0, 0, 22), (*v.grid.shape[:2], 22)))
        for v in (fixed[1], moving[1])
    ]
    alone = register(fixed[0], moving[0], model="none", init="none")
    found = register([fixed[0], parts[0]], [moving[0], parts[1]], model="none", init="none")
    truth, labels = persons["labels"]
    before, after = (move_labels(each.transform, labels, truth).data for each in (alone, found))
    upper = np.s_[:, :, 24:]
    assert dice(truth.data[upper], after[upper])[3] > dice(truth.data[upper], before[upper])[3] + 0.05
    apart = np.abs(field_of(found) - field_of(alone))
    assert apart[..., :10].mean() < 0.5 * apart[..., 24:34].mean()


def test_a_mask_holds_for_all_pairs(persons: dict[str, Any]) -> None:
    """Also on other grids: what it leaves out of the second fixed image hardly steers."""
    fixed, moving = ([persons[name][n] for name in SHADES] for n in range(2))
    place = np.s_[18:28, 34:44, 18:28]
    mask, second = np.ones(fixed[0].data.shape, np.uint8), fixed[1].data.copy()
    mask[place], second[place] = 0, 80
    spoiled = [fixed[0], turned(replace(fixed[1], data=second))]
    options: dict[str, Any] = {"model": "none", "preset": "default", "refine": 4}
    masked = {**options, "fixed_mask": Volume(mask, fixed[0].grid)}
    clean, kept = (field_of(register(images, moving, **masked)) for images in (fixed, spoiled))
    whole, drawn = (field_of(register(images, moving, **options)) for images in (fixed, spoiled))
    assert (
        np.abs(clean - kept)[:, 12:34, 28:50, 12:34].mean() < 0.3 * np.abs(whole - drawn)[:, 12:34, 28:50, 12:34].mean()
    )


def test_the_worst_pair_is_the_verdict(persons: dict[str, Any]) -> None:
    fixed, moving = persons["cortex"]
    part = replace(moving, data=moving.data.copy(), source="part")
    part.data[:, 20:] = 0
    found = register([fixed, replace(fixed, source="whole")], [moving, part], model="none", channel_weights=(9, 1))
    first, second = (channel.qc.verdict for channel in found.record.channels)
    assert first != "fail"
    assert second == found.quality.verdict == "fail"
    assert found.quality.reasons[0].startswith("part onto whole: ")


# How they are given


def test_what_is_a_sequence_of_images() -> None:
    array = np.zeros((5, 7, 11)), np.eye(4)
    assert len(channels_of(array)) == len(channels_of(list(array))) == len(channels_of((array[0], np.eye(3)))) == 1
    assert len(channels_of((array[0].tolist(), np.eye(4).tolist()))) == 1
    assert len(channels_of([array, array])) == len(channels_of(("a.nii", "b.nii"))) == 2
    assert channels_of(Path("a.nii")) == [Path("a.nii")]
    assert channels_of([]) == []


def test_as_many_of_each_are_wanted(pair: Pair, small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"expected as many fixed as moving images, .*, got 2 fixed and 1 moving"):
        register([pair[0], pair[0]], pair[1])
    with pytest.raises(UsageError, match="got 0 fixed and 1 moving"):
        register([], pair[1])
    with pytest.raises(InputError, match="expected a fixed and a moving volume, got None"):
        register([pair[0], None], [pair[1], pair[1]])
    files = ["--fixed", small[0], "--fixed", small[0], "--moving", small[1]]
    assert run(["register", *files, "--out", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert "got 2 fixed and 1 moving" in told
    assert "--also" in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("weights", "told"),
    [((1,), "expected 2, one for each pair of images, got 1"), ((1, 0), "numbers above 0, got 0"),
     ((1, float("nan")), "numbers above 0, got nan")],
)  # fmt: skip
def test_odd_weights_are_refused(pair: Pair, weights: tuple[float, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        register(*([volume, volume] for volume in pair), channel_weights=weights)


@pytest.fixture(scope="module")
def folder(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two pairs, the second of other names."""
    folder = tmp_path_factory.mktemp("channels")
    for name, path in zip(("fixed_T2", "moving_T2"), small, strict=True):
        write(folder / f"{name}.nii.gz", inverted(read(path)))
    words = ["--fixed", small[0], "--fixed", str(folder / "fixed_T2.nii.gz")]
    words += ["--moving", small[1], "--moving", str(folder / "moving_T2.nii.gz")]
    words += ["--channel-weight", "2", "--channel-weight", "1", "--report", "--also", small[1]]
    assert run(["register", *words, "--model", "none", "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_writes_all_moving_images_and_names_all_inputs(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    jsonschema.validate(record, shipped_schema())
    assert {"moved.nii.gz", "moved_moving_T2.nii.gz", "moved_p1.nii.gz"} <= set(record["files"])
    assert [s["role"] for s in record["sources"]] == ["fixed", "fixed", "moving", "moving", "also"]
    further = record["inputs"]["further"]
    assert [Path(further[0][role]["source"]).name for role in ("fixed", "moving")] == [
        "fixed_T2.nii.gz", "moving_T2.nii.gz",
    ]  # fmt: skip
    assert [round(channel["weight"], 4) for channel in record["channels"]] == [0.6667, 0.3333]
    moved, first = read(folder / "moved_moving_T2.nii.gz"), read(folder / "moved.nii.gz")
    assert moved.grid.isclose(first.grid)
    assert 0 < moved.data.max() <= 1.2 < first.data.max()


def test_a_run_of_several_pairs_is_repeated_and_applied(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = folder.with_name("again")
    assert run(["register", "--from", str(folder), "--out", str(again)]) == 0
    assert "the bytes of then" in capsys.readouterr().err
    record = json.loads((again / "run.json").read_text(encoding="utf-8"))
    assert record["options"]["channel_weights"] == [2.0, 1.0]
    image, out = folder.with_name("moving_T2.nii.gz"), folder.with_name("applied.nii.gz")
    words = ["--reference", str(folder / "moved.nii.gz"), "--input", str(image), "--transform", str(folder)]
    assert run(["apply", *words, "--output", str(out)]) == 0
    np.testing.assert_allclose(read(out).data, read(folder / "moved_moving_T2.nii.gz").data, atol=1e-4)


def test_the_report_tells_of_every_pair(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "moving_T2.nii.gz onto fixed_T2.nii.gz" in page
    assert page.count("--fixed") >= 2
    assert "--channel-weight 2.0 --channel-weight 1.0" in page
    assert report_page(Subject.read(folder), out="again")


def test_inputs_of_all_pairs_are_spared(folder: Path, small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    inside = folder.parent / "own" / "moved_x.nii.gz"
    inside.parent.mkdir()
    write(inside, read(small[1]))
    words = ["--fixed", small[0], "--fixed", small[0], "--moving", small[1], "--moving", str(inside)]
    renamed = inside.with_name("moved_moved_x.nii.gz")
    renamed.symlink_to(inside)
    assert run(["register", *words, "--transform", "rigid", "--out", str(inside.parent)]) == 3
    assert "an input that the results would replace" in capsys.readouterr().err


def test_a_level_compares_each_pair_by_what_suits_it() -> None:
    plain, across = Level(2, 4, contrast=0.25), plan("default", None, across=True).schedule[2]
    assert plain.comparing(across=False) is plain
    assert across.comparing(across=True) is across
    other = plain.comparing(across=True)
    assert (other.metric, other.contrast, other.steps, other.force_sigma) == ("explained", 0.5, 4, plain.force_sigma)
    assert across.comparing(across=False).metric == "lncc"
    assert Level(1, 1, metric="mse").comparing_locally().metric == "lncc"
