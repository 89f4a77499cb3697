"""Images that are found: by wildcards, BIDS names or a table, and their split by person."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf.training.config import Cohort
from lightcrcf.training.datasets.found import Found, by_bids_names, by_file_names, by_table
from lightcrcf.training.datasets.split import split_persons


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found_in(folder: Path, found: Found) -> list[tuple[str, int, str]]:
    return [(scan.subject, scan.number, scan.image.relative_to(folder).as_posix()) for scan in found.scans]


@pytest.mark.parametrize(
    ("template", "names", "persons"),
    [
        ("sub-{id}_T1w.nii.gz", ["sub-02_T1w.nii.gz", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"], ["01", "02"]),
        ("sub-{id}_*T1w.nii.gz", ["sub-1_ses-b_T1w.nii.gz", "sub-1_run-1_T1w.nii.gz"], ["1", "1"]),
        ("{id}/{id}_t1.nii", ["a/a_t1.nii", "b/c_t1.nii"], ["a"]),
        ("**/{id}.nii", ["x.nii", "deep/er/y.nii", "deep/._y.nii"], ["x", "y"]),
        ("{id}/*/i[1]?.nii", ["p/v1/i[1]?.nii", "p/v1/i1x.nii"], ["p"]),
    ],
)
def test_a_template_finds_persons(template: str, names: list[str], persons: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert [scan.subject for scan in by_file_names(tmp_path, [template], []).scans] == persons


def test_wildcards_of_labels_stand_for_the_text_of_their_image(tmp_path: Path) -> None:
    touch(tmp_path, "1/v1/t1.nii", "1/v2/t1.nii", "1/v2/seg.nii", "2/v1/t1.nii")
    cohort = Cohort(folder=tmp_path, image="{id}/*/t1.nii", labels="{id}/*/seg.nii")
    listing = cohort.listing(Path())
    assert [scan.labels for scan in listing.scans if scan.labels and scan.labels.exists()] == [
        tmp_path / "1/v2/seg.nii"
    ]
    assert not listing.blocking(train_labels=False)
    assert [p.text for p in listing.blocking(train_labels=True)] == [
        "1/v1/seg.nii is missing",
        "2/v1/seg.nii is missing",
    ]


def test_label_maps_are_no_persons(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "a_seg.nii", "b.nii", "b_seg.nii")
    found = by_file_names(tmp_path, ["{id}.nii"], ["{id}_seg.nii"])
    assert [scan.subject for scan in found.scans] == ["a", "b"]


def test_other_files_of_a_person_are_no_persons(tmp_path: Path) -> None:
    """Such as label maps that the recipe does not name: the same person would be trained on and tested."""
    touch(tmp_path, "01.nii", "01_seg.nii", "02.nii", "02_seg.nii", "021.nii")
    listing = Cohort(folder=tmp_path, image="{id}.nii").listing(Path())
    (text,) = (problem.text for problem in listing.blocking(train_labels=False))
    assert text.startswith("01_seg and 1 more would be persons beside 01: narrow image, name label maps in labels, or")
    named = Cohort(folder=tmp_path, image="{id}.nii", labels="{id}_seg.nii").listing(Path())
    assert named.train == ("01", "02", "021")
    assert not named.blocking(train_labels=False)


def test_who_lacks_one_of_two_images_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/ED.nii", "a/ES.nii", "b/ED.nii")
    cohort = Cohort(folder=tmp_path, image=["{id}/ED.nii", "{id}/ES.nii"])
    assert cohort.within
    texts = [problem.text for problem in cohort.listing(Path()).blocking(train_labels=False)]
    assert texts == ["b has no b/ES.nii", "b has one image, and none to pair it with"]


def test_nothing_found_is_a_problem(tmp_path: Path) -> None:
    listing = Cohort(folder=tmp_path, image="{id}.nii", monitor=["1", "2"]).listing(Path())
    texts = [problem.text for problem in listing.blocking(train_labels=False)]
    assert texts[0] == "no file is named {id}.nii"
    assert "nobody here is 1" in texts


BIDS = (
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz",
    "sub-02/anat/sub-02_desc-brain_T1w.nii.gz",
    "sub-02/anat/sub-02_run-1_T1w.nii",
    "derivatives/seg/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_desc-a_dseg.nii.gz",
    "derivatives/seg/sub-01/ses-2/anat/sub-01_ses-2_desc-a_dseg.nii.gz",
    "derivatives/seg/sub-01/ses-2/anat/sub-01_ses-2_desc-b_dseg.nii.gz",
)


def test_a_bids_folder_is_understood(tmp_path: Path) -> None:
    touch(tmp_path, *BIDS)
    found = by_bids_names(tmp_path, "T1w")
    assert found_in(tmp_path, found) == [("01", 0, BIDS[0]), ("01", 1, BIDS[1]), ("02", 0, BIDS[4])]
    assert [n for n, *_ in found_in(tmp_path, by_bids_names(tmp_path, "T1w", sessions=["2"]))] == ["01"]
    brains = by_bids_names(tmp_path, "T1w", entities={"desc": "brain"})
    assert found_in(tmp_path, brains) == [("02", 0, BIDS[3])]
    assert "no image is named sub-*/**/*_FLAIR" in by_bids_names(tmp_path, "FLAIR").problems[0].text


def test_bids_label_maps_are_those_of_the_same_image(tmp_path: Path) -> None:
    touch(tmp_path, *BIDS)
    folder = tmp_path / "derivatives" / "seg"
    found = by_bids_names(tmp_path, "T1w", labels="dseg", labels_folder=folder)
    assert [scan.labels and scan.labels.name for scan in found.scans] == [Path(BIDS[5]).name, None, None]
    assert ["2 label maps" in p.text or "no label map" in p.text for p in found.problems] == [True, True]
    wanted = {"desc": "b"}
    chosen = by_bids_names(tmp_path, "T1w", labels="dseg", labels_folder=folder, labels_entities=wanted)
    assert [scan.labels and scan.labels.name for scan in chosen.scans] == [None, Path(BIDS[7]).name, None]


def test_a_table_names_persons(tmp_path: Path) -> None:
    touch(tmp_path, "a1.nii", "a2.nii", "b.nii", "b_seg.nii")
    table = tmp_path / "images.csv"
    table.write_text("image;person;labels\na1.nii;a;\nb.nii;b;b_seg.nii\na2.nii;a;\n", encoding="utf-8")
    found = by_table(table)
    assert found_in(tmp_path, found) == [("a", 0, "a1.nii"), ("a", 1, "a2.nii"), ("b", 0, "b.nii")]
    assert [scan.labels for scan in found.scans] == [None, None, tmp_path / "b_seg.nii"]
    listing = Cohort(folder=tmp_path, csv="images.csv").listing(Path())
    assert [(f.image.name, m.image.name) for f, m in listing.pairs("train")][:2] == [
        ("a1.nii", "b.nii"),
        ("a2.nii", "b.nii"),
    ]
    assert len(listing.pairs("train")) == 4  # none of them within person a
    assert [p.text for p in listing.blocking(train_labels=True)] == [
        "a1.nii has no label map",
        "a2.nii has no label map",
    ]
    table.write_text("image\nb.nii\nb.nii\n", encoding="utf-8")
    assert [scan.subject for scan in by_table(table).scans] == ["b.nii", "b.nii"]
    assert "twice" in by_table(table).problems[0].text
    table.write_text("picture\nb.nii\n", encoding="utf-8")
    with pytest.raises(InputError, match="columns image, labels, person"):
        by_table(table)


def test_persons_are_split_not_images(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{person:02d}_{visit}.nii" for person in range(20) for visit in "ab"))
    split = {"monitor": 0.2, "test": 0.1, "seed": 3}
    cohort = Cohort(folder=tmp_path, image="{id}_*.nii", split=split, exclude=["07"])  # type: ignore[arg-type]
    listing = cohort.listing(Path())
    parts = [set(listing.split(name)) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [13, 4, 2]
    assert set.union(*parts) == {f"{person:02d}" for person in range(20)} - {"07"}
    assert len(listing.of(listing.train)) == 26
    assert all(fixed.subject != moving.subject for fixed, moving in listing.pairs("test"))
    assert [fixed.subject for fixed, _ in listing.pairs("val")] == list(listing.val)
    again, other = (cohort.model_copy(update={"split": cohort.split.model_copy(update={"seed": s})}) for s in (3, 4))  # type: ignore[union-attr]
    assert again.listing(Path()).train == listing.train
    assert other.listing(Path()).train != listing.train


def test_the_split_does_not_depend_on_the_order_of_files() -> None:
    names = [f"p{n}" for n in range(11)]
    assert split_persons(names, 0.2, 0.1, seed=5, fewest=2) == split_persons(names[::-1], 0.2, 0.1, seed=5, fewest=2)


def test_excluded_persons_must_be_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii", "c.nii")
    listing = Cohort(folder=tmp_path, image="{id}.nii", exclude=["a", "x"]).listing(Path())
    assert listing.train == ("b", "c")
    assert [problem.text for problem in listing.blocking(train_labels=False)] == ["nobody here is x"]


def test_too_few_persons_are_a_problem(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii", "c.nii")
    cohort = Cohort(folder=tmp_path, image="{id}.nii", split={"monitor": 0.1})  # type: ignore[arg-type]
    texts = [problem.text for problem in cohort.listing(Path()).blocking(train_labels=False)]
    assert texts == ["1 of 3 persons to train on: two or more are needed"]
    alone = Cohort(folder=tmp_path, image="{id}.nii", pairs="within", monitor=["a", "b", "c"]).listing(Path())
    texts = [problem.text for problem in alone.blocking(train_labels=False)]
    assert texts == ["0 of 3 persons to train on: one or more are needed"]
