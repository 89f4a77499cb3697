"""Which volumes go with which, and what the pairs are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lightcrcf.batch.pairs import Pair, all_pairs, many_to_one, read_pairs
from lightcrcf.errors import InputError, UsageError


def table(folder: Path, *lines: str, ending: str = "\n") -> Path:
    path = folder / "pairs.csv"
    path.write_bytes(ending.join([*lines, ""]).encode())
    return path


def test_paths_start_at_the_table_and_empty_cells_are_nothing(tmp_path: Path) -> None:
    text = "id,fixed,moving,moving_labels,fixed_mask,", "one,a/f.nii.gz,/b/m.nii.gz,, mask.nii ,", ",,,,,"
    folder = tmp_path.absolute()
    assert read_pairs(table(tmp_path, *text)) == [
        Pair("one", folder / "a/f.nii.gz", Path("/b/m.nii.gz"), fixed_mask=folder / "mask.nii")
    ]


def test_further_contrasts_have_numbers(tmp_path: Path) -> None:
    one, two, three = read_pairs(
        table(tmp_path, "fixed,moving,fixed_2,moving_2,fixed_3,moving_3", "a,b,,,,", "c,d,e,f,,", "g,h,i,j,k,l")
    )
    assert [[path.name for path in pair.channels("fixed")] for pair in (one, two, three)] == [
        ["a"], ["c", "e"], ["g", "i", "k"],
    ]  # fmt: skip
    assert [path.name for path in three.channels("moving")] == ["h", "j", "l"]
    assert set(two.inputs()) == {"fixed", "moving", "fixed_2", "moving_2"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_what_spreadsheets_make_of_a_table(tmp_path: Path, separator: str, ending: str) -> None:
    path = table(tmp_path, "\ufefffixed,moving".replace(",", separator), f'"a b.nii"{separator}c.nii', ending=ending)
    (pair,) = read_pairs(path)
    assert (pair.fixed.name, pair.moving.name, pair.id) == ("a b.nii", "c.nii", "c-to-a_b")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("fixed,movin", "a,b"), "no moving"),
        (("fixed,movin", "a,b"), "rename 'movin', or add the column"),
        (("Fixed,Moving", "a,b"), "rename 'Fixed', or add the column"),
        (("fixed,moving,fixed_label", "a,b,c"), "the unknown column 'fixed_label'; did you mean fixed_labels?"),
        (("fixed,moving,Fixed Labels", "a,b,c"), "the unknown column 'Fixed Labels'; did you mean fixed_labels?"),
        (("fixed,moving,mvoing_mask", "a,b,c"), "did you mean moving_mask?"),
        (("fixed,moving,fixed_labels,fixed_label", "a,b,c,d"), "did you mean fixed_labels? Rename or remove the"),
        (
            ("fixed,moving,labels", "a,b,c"),
            "columns fixed, moving, id, fixed_labels, moving_labels, fixed_mask, moving_m",
        ),
        (("fixed,moving,age", "a,b,61"), "the unknown column 'age'; rename or remove the column"),
        ((",fixed,moving", "0,a,b"), "line 2: expected cells in columns that have a name, got '0'; name the column"),
        (("fixed,moving,fixed", "a,b,c"), "'fixed' twice"),
        (("fixed,moving",), "none"),
        ((), "no fixed"),
        (("fixed,moving", "a.nii,b.nii", "a.nii,"), "line 3"),
        (("fixed,moving", "a.nii,b.nii,c.nii"), "3; put names"),
        (("fixed,moving,id", "a.nii,b.nii,../x"), "'../x'"),
        (("fixed,moving,id", "a.nii,b.nii,x", "a.nii,c.nii,X"), "'x' twice"),
        (("fixed,moving", "a.nii,b.nii", "a.nii,b.nii"), "'b-to-a' twice"),
        (("fixed,moving,fixed_2", "a,b,c"), "line 2: expected a file in column moving_2 beside fixed_2"),
        (("fixed,moving,moving_3,fixed_3", "a,b,c,"), "a file in column fixed_3 beside moving_3, got an empty cell"),
        (("fixed,moving,moving_3,fixed_3", "a,b,c,d"), "fixed_2 and moving_2 before fixed_3 and moving_3"),
        (("fixed,moving,fixed_4", "a,b,c"), "the unknown column 'fixed_4'; did you mean fixed?"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_pairs(table(tmp_path, *lines))
    assert told in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("fixed,moving\nä,b".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_pairs(tmp_path / "latin.csv")


def test_many_onto_one_are_named_by_what_tells_them_apart() -> None:
    images = [Path(f"/study/sub-{n:02d}/anat/T1w.nii.gz") for n in (1, 2)] + [Path("/other/brain.mha")]
    pairs = many_to_one(Path("template.nii"), images)
    assert [p.id for p in pairs] == ["sub-01_anat_T1w", "sub-02_anat_T1w", "brain"]
    assert {p.fixed for p in pairs} == {Path("template.nii").absolute()}
    assert [p.moving for p in pairs] == images


def test_names_that_differ_in_nothing_but_strange_letters() -> None:
    ids = [p.id for p in many_to_one(Path("t.nii"), [Path("/ä.nii"), Path("/ö.nii"), Path("/A.nii"), Path("/a.mha")])]
    assert len({i.lower() for i in ids}) == 4


def test_each_with_each_other_in_both_directions_grouped_by_the_fixed_image() -> None:
    pairs = all_pairs([Path(f"/{n}.nii") for n in "abc"])
    assert [p.id for p in pairs] == ["b-to-a", "c-to-a", "a-to-b", "c-to-b", "a-to-c", "b-to-c"]
    assert [p.fixed.name[0] for p in pairs] == list("aabbcc")


def test_too_few_or_twice_the_same() -> None:
    with pytest.raises(UsageError, match="two images"):
        all_pairs([Path("a.nii")])
    with pytest.raises(UsageError, match="twice"):
        all_pairs([Path("a.nii"), Path("a.nii")])
    with pytest.raises(UsageError, match="twice"):
        many_to_one(Path("t.nii"), [Path("a.nii"), Path("a.nii")])


def test_a_folder_of_images_is_told_how_to_name_them(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    pattern = re.escape(f"{tmp_path}: expected images, got a folder with 2 of them, such as a.nii.gz; name them: ")
    for pairs in (lambda: many_to_one(Path("t.nii"), [tmp_path]), lambda: all_pairs([tmp_path])):
        with pytest.raises(UsageError, match=pattern + re.escape(str(tmp_path / "*.nii.gz"))):
            pairs()


def test_a_bids_data_set_is_told_its_command(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").touch()
    with pytest.raises(UsageError, match=f"got a BIDS data set; write: lightcrcf bids {tmp_path} OUT_DIR participant"):
        many_to_one(Path("t.nii"), [tmp_path])


def test_a_folder_of_slices_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "0001.dcm").touch()
    assert [pair.moving for pair in many_to_one(Path("t.nii"), [tmp_path])] == [tmp_path]
