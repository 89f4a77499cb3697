"""Public data sets as their publishers ship them: who takes part, in which pairs, and what is said of broken ones."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.training.config import Cohort, TrainingConfig, load_config
from lightcrcf.training.datasets.analyze import read_analyze
from lightcrcf.training.datasets.layouts import LAYOUTS
from lightcrcf.training.datasets.listing import SPLITS, Listing
from lightcrcf.training.loop import Trainer
from lightcrcf.volumes import Volume, read, write
from lightcrcf.weights import store

RECIPES = Path(__file__).parents[3] / "recipes"
ATLASES = ["0037", "0044", "0155", "0210", "0287"]
VALIDATED = [
    "0008",
    "0016",
    "0029",
    "0032",
    "0034",
    "0035",
    "0054",
    "0067",
    "0088",
    "0104",
    "0111",
    "0132",
    "0134",
    "0147",
    "0173",
    "0176",
    "0225",
    "0253",
    "0268",
    "0332",
    "0336",
    "0389",
]
Published = Callable[[str, Path, Volume, Volume], Path]


@pytest.fixture
def tree(tmp_path: Path, published: Published) -> Callable[[str], Path]:
    """Write a set with images of a few voxels."""
    grid = Grid((5, 6, 7), np.diag([1.0, 1.5, 2.0, 1.0]))
    image = Volume(np.arange(210, dtype=np.int16).reshape(grid.shape), grid)
    labels = Volume((image.data % 4).astype(np.int16), grid)
    return lambda layout: published(layout, tmp_path / layout, image, labels)


def listed(layout: str, folder: Path) -> Listing:
    return Cohort(folder=folder, layout=layout).listing(Path())


@pytest.mark.parametrize(
    ("layout", "subjects", "pairs"),
    [
        ("lpba40", (30, 0, 9), (30, 0, 9)),
        ("oasis-learn2reg", (394, 20, 0), (394 * 393, 19, 0)),
        ("oasis-neurite", (255, 22, 132), (1275, 110, 660)),
        ("acdc", (90, 10, 50), (180, 20, 100)),
        ("abdomen-ct", (20, 3, 7), (380, 6, 42)),
    ],
)
def test_splits_have_the_papers_counts(
    layout: str, subjects: tuple[int, ...], pairs: tuple[int, ...], tree: Callable[[str], Path]
) -> None:
    listing = listed(layout, tree(layout))
    assert tuple(len(listing.split(split)) for split in SPLITS) == subjects
    assert tuple(len(listing.pairs(split)) for split in SPLITS) == pairs
    assert listing.problems == ()
    everybody = [name for split in SPLITS for name in listing.split(split)] + list(listing.atlases)
    assert len(set(everybody)) == len(everybody) == len({scan.subject for scan in listing.scans})
    assert all(fixed != moving for split in SPLITS for fixed, moving in listing.pairs(split))


def test_all_pairs_of_lpba40_have_one_atlas(tree: Callable[[str], Path]) -> None:
    listing = listed("lpba40", tree("lpba40"))
    pairs = {split: [(f.subject, m.subject) for f, m in listing.pairs(split)] for split in SPLITS}
    assert pairs["test"] == [("S01", f"S{n:02d}") for n in range(2, 11)]
    assert pairs["train"] == [("S01", f"S{n:02d}") for n in range(11, 41)]


def test_the_split_of_the_neurite_release_is_the_published_one(tree: Callable[[str], Path]) -> None:
    """It must never change: results would no longer compare."""
    folder = tree("oasis-neurite")
    listing = listed("oasis-neurite", folder)
    assert [name[11:15] for name in listing.atlases] == ATLASES
    assert [name[11:15] for name in listing.val] == VALIDATED
    shutil.rmtree(folder / listing.train[0])
    smaller = listed("oasis-neurite", folder)
    assert [smaller.split(split) for split in SPLITS] == [listing.split(split) for split in SPLITS]
    assert [problem.subject for problem in smaller.problems] == [listing.train[0]] * 2


def test_validation_pairs_of_learn2reg_come_with_the_set(tree: Callable[[str], Path]) -> None:
    folder = tree("oasis-learn2reg")
    listing = listed("oasis-learn2reg", folder)
    pairs = [(fixed.subject, moving.subject) for fixed, moving in listing.pairs("val")]
    assert pairs == [(f"{n:04d}", f"{n + 1:04d}") for n in range(395, 414)]
    path = folder / "OASIS_dataset.json"
    values = json.loads(path.read_text())
    values["registration_val"] = [{"fixed": p["moving"], "moving": p["fixed"]} for p in values["registration_val"]]
    path.write_text(json.dumps(values))
    other = listed("oasis-learn2reg", folder)
    assert [(m.subject, f.subject) for f, m in other.pairs("val")] == pairs
    assert other.problems == ()


def test_phases_of_a_patient_are_paired_both_ways(tree: Callable[[str], Path]) -> None:
    folder = tree("acdc")
    (folder / "training/patient010/Info.cfg").write_text("ED:3\nES : 12\n")
    os.link(
        folder / "training/patient010/patient010_frame01.nii.gz",
        folder / "training/patient010/patient010_frame03.nii.gz",
    )
    listing = listed("acdc", folder)
    first, second = listing.pairs("val")[:2]
    names = [(fixed.image.name, moving.image.name) for fixed, moving in (first, second)]
    ed, es = "patient010_frame03.nii.gz", "patient010_frame12.nii.gz"
    assert names == [(ed, es), (es, ed)]
    assert [problem.text for problem in listing.problems] == [
        "training/patient010/patient010_frame03_gt.nii.gz is missing"
    ]
    assert listing.val == tuple(f"patient{n:03d}" for n in range(10, 101, 10))
    assert listing.test[0] == "patient101"


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def rewrite(name: str, text: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()  # the other end of a link stays as it is
        (folder / name).write_bytes(text)

    return change


INFO = "training/patient003/Info.cfg"


@pytest.mark.parametrize(
    ("layout", "broken", "said", "blocks"),
    [
        ("lpba40", remove("S12/S12.delineation.skullstripped.img.gz"), "skullstripped.img.gz is missing, though", True),
        ("lpba40", remove("S12/S12.delineation.skullstripped.hdr"), "S12.delineation.skullstripped.hdr", True),
        ("lpba40", remove("S12/S12.delineation.structure.label.hdr"), "structure.label.hdr is missing", False),
        ("lpba40", remove("S05/S05.delineation.skullstripped.hdr"), "S05", False),
        ("oasis-neurite", remove("subjects.txt"), "subjects.txt is missing", False),
        ("oasis-neurite", rewrite("subjects.txt", b"OASIS_OAS1_0001_MR1\n"), "1 subjects instead of 414", True),
        ("oasis-learn2reg", remove("OASIS_dataset.json"), "OASIS_dataset.json is missing", True),
        ("oasis-learn2reg", rewrite("OASIS_dataset.json", b"{,"), "is no JSON", True),
        ("oasis-learn2reg", rewrite("OASIS_dataset.json", b"[]"), "no table of names", True),
        ("oasis-learn2reg", rewrite("OASIS_dataset.json", b'{"registration_val": [3]}'), "does not name", True),
        ("abdomen-ct", remove("AbdomenCTCT_dataset.json"), "AbdomenCTCT_dataset.json is missing", False),
        ("abdomen-ct", rewrite("AbdomenCTCT_dataset.json", b'{"numTraining": 20}'), "counts 20 training", False),
        ("abdomen-ct", remove("labelsTr/AbdomenCTCT_0022_0000.nii.gz"), "labelsTr/AbdomenCTCT_0022", True),
        ("abdomen-ct", remove("imagesTr/AbdomenCTCT_0003_0000.nii.gz"), "though its label map is there", True),
        ("acdc", remove(INFO), "patient003/Info.cfg is missing", True),
        ("acdc", rewrite(INFO, b"ED: 1\nGroup: DCM\n"), "has no line 'ES'", True),
        ("acdc", rewrite(INFO, b"ED: 1\nES: late\n"), "ES 'late', which are no frame numbers", True),
        ("acdc", rewrite(INFO, b"\xff\xfe\x00"), "is no text", True),
        ("acdc", lambda folder: shutil.rmtree(folder / "testing/patient150"), "testing/patient150 is missing", False),
    ],
)
def test_what_is_wrong_is_told(
    layout: str, broken: Callable[[Path], None], said: str, blocks: bool, tree: Callable[[str], Path]
) -> None:
    folder = tree(layout)
    broken(folder)
    listing = listed(layout, folder)
    assert any(said in problem.text for problem in listing.problems)
    assert not any("\n" in problem.text for problem in listing.problems)
    assert bool(listing.blocking(train_labels=False)) == blocks


def test_files_of_nobody_are_named(tree: Callable[[str], Path]) -> None:
    folder = tree("abdomen-ct")
    shutil.copy(folder / "labelsTr/AbdomenCTCT_0001_0000.nii.gz", folder / "labelsTr/AbdomenCTCT_0031_0000.nii.gz")
    listing = listed("abdomen-ct", folder)
    assert [p.text for p in listing.problems] == ["labelsTr/AbdomenCTCT_0031_0000.nii.gz is none of the 30 of the set"]
    assert listing.blocking(train_labels=True) == []


def test_converted_files_of_lpba40_go_first(tree: Callable[[str], Path]) -> None:
    folder = tree("lpba40")
    for header in folder.glob("S02/*.hdr"):  # as docs/training-data.md has it
        write(header.with_suffix(".nii.gz"), read_analyze(header, "LPS"))
    write(folder / "S03/S03.delineation.skullstripped.nii", read(folder / "S02/S02.delineation.skullstripped.nii.gz"))
    converted, original = listed("lpba40", folder).of(["S02", "S03"])
    assert (converted.image.name, converted.axes) == ("S02.delineation.skullstripped.nii.gz", None)
    assert (original.image.name, original.axes) == ("S03.delineation.skullstripped.hdr", "LPS")
    assert read(converted.image).grid.isclose(read_analyze(original.image, "LPS").grid)
    assert np.array_equal(read(converted.image).data, read_analyze(original.image, "LPS").data)


def test_a_recipe_may_choose_among_the_subjects(tree: Callable[[str], Path]) -> None:
    folder = tree("lpba40")
    some = Cohort(folder=folder, layout="lpba40", monitor=["S20", "S30"]).listing(Path())
    assert (len(some.train), some.val) == (28, ("S20", "S30"))
    assert [(f.subject, m.subject) for f, m in some.pairs("val")] == [("S01", "S20"), ("S01", "S30")]
    few = Cohort(folder=folder, layout="lpba40", train=["S11"]).listing(Path())
    assert (few.train, few.val) == (("S11",), ())
    for name, got in (("S02", "one of the test split"), ("S01", "an atlas"), ("S41", "nobody")):
        with pytest.raises(InputError, match=f"subject {name} .*{got}"):
            Cohort(folder=folder, layout="lpba40", train=[name]).listing(Path())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"layout": "acdc", "image": "{id}.nii"}, "got 2 of them: layout, image"),
        ({"layout": "acdc", "labels": "{id}.nii"}, "expected image beside it"),
        ({"train": ["1", "2"]}, "one of layout, image, bids and csv, got none of them"),
        ({"layout": "adni"}, "layout"),
    ],
)
def test_a_cohort_names_files_or_a_layout(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cohort.model_validate({"folder": ".", **values})


def shortened(recipe: str, data: Path, run: Path, **cohort: list[str]) -> TrainingConfig:
    """A recipe as it is, but for two steps on small crops, so that two cores do them in a second."""
    config = load_config(RECIPES / f"{recipe}.toml")
    small: dict[str, object] = {"shape": (32, 32, 8), "root": data}
    if config.data.spacing_mm != "native":
        small |= {"shape": (32, 48, 32), "spacing_mm": 5.0}
    cohorts = [config.data.cohorts[0].model_copy(update=cohort)]
    stages = [stage.model_copy(update={"steps": 1, "warmup_steps": 0}) for stage in config.stages[-2:]]
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={**small, "cohorts": cohorts}),
            "stages": stages,
            "run": config.run.model_copy(update={"folder": run, "precision": "f32"}),
        }
    )


@pytest.mark.parametrize(
    ("recipe", "train", "monitor", "pairs"),
    [
        ("lpba40", ["S11"], ["S13"], 1),
        ("oasis-learn2reg", ["0001", "0002"], ["0395", "0396"], 1),
        ("oasis-neurite", ["OASIS_OAS1_0001_MR1"], ["OASIS_OAS1_0004_MR1"], 5),
        ("acdc", ["patient001"], ["patient010"], 2),
        ("abdomen-ct", ["0001", "0002"], ["0021", "0022"], 2),
    ],
)
def test_two_steps_of_every_recipe(
    recipe: str,
    train: list[str],
    monitor: list[str],
    pairs: int,
    tmp_path: Path,
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
    published: Published,
) -> None:
    image, labels = brains(grids((34, 42, 31), (5.0, 4.8, 5.0), axes="LPS"))
    if recipe == "acdc":
        image, labels = brains(grids((34, 42, 8), (4.0, 4.1, 9.0), axes="LPS"))
    folder = published(recipe, tmp_path / "data", image, labels)
    trainer = Trainer(shortened(recipe, folder, tmp_path / "run", train=train, monitor=monitor))
    (_, monitored), *_ = trainer.monitored
    assert len(monitored) == pairs
    names = {subject.name for subject in trainer.cohorts[0]}
    assert names == {*train, *(s.name for s in trainer.cohorts[0] if s.atlas)}
    weights = store.load(trainer.run())
    assert (weights.name, weights.supervision) == (recipe, "none")
    *_, scores = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert scores["monitor"]["dice_affine"] > 0.97  # everybody is the same person


def test_every_layout_has_a_recipe() -> None:
    recipes = [path for path in RECIPES.glob("*.toml") if path.stem != "brain-mask"]  # of no registration
    assert {load_config(path).data.cohorts[0].layout for path in recipes} == {"files", *LAYOUTS}
