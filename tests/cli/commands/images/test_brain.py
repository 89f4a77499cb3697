"""`lightcrcf brain`, and `lightcrcf.brain_mask`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lightcrcf
from lightcrcf.cli.main import run
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read, write


@pytest.fixture(scope="module")
def head(
    grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Volume]:
    image, labels = brains(grids((70, 84, 74), (3.0, 3.0, 3.2), axes="LPS"), head=True)
    path = tmp_path_factory.mktemp("head") / "head.nii.gz"
    write(path, image)
    return path, labels


def overlap(mask: Volume, labels: Volume) -> float:
    return dice((labels.data > 0).astype(np.uint8), mask.data)[1]


def test_writes_a_mask_on_the_images_grid(head: tuple[Path, Volume], tmp_path: Path) -> None:
    image, labels = head
    assert run(["brain", str(image), "--output", str(tmp_path / "mask.nii.gz")]) == 0
    mask = read(tmp_path / "mask.nii.gz")
    assert mask.data.dtype == np.uint8
    assert mask.grid.isclose(read(image).grid)
    assert overlap(mask, labels) > 0.7  # skull and scalp are like no real ones
    again = lightcrcf.brain_mask(image)
    np.testing.assert_array_equal(again.data, mask.data)


def test_the_number_of_threads_and_the_order_of_axes_make_no_difference(
    head: tuple[Path, Volume], tmp_path: Path
) -> None:
    image = read(head[0])
    write(tmp_path / "turned.nii.gz", Volume(image.canonical().data, image.canonical().grid))
    masks = {}
    for name, path, words in (("1", head[0], ["--threads", "1"]), ("2", head[0], []), ("t", "turned.nii.gz", [])):
        assert run(["brain", str(tmp_path / path), "--output", str(tmp_path / f"{name}.nii.gz"), *words]) == 0
        masks[name] = read(tmp_path / f"{name}.nii.gz").canonical().data
    np.testing.assert_array_equal(masks["1"], masks["2"])
    assert np.mean(masks["1"] != masks["t"]) < 1e-4


def test_strips_and_tells(head: tuple[Path, Volume], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--output", str(tmp_path / "mask.nrrd"), "--stripped", str(tmp_path / "bare.nii.gz")]
    assert run(["brain", str(head[0]), *files, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert 0.9 < told["litres"] < 2
    assert 0.5 < told["certainty"] <= 1
    assert "brain of" in err
    mask, bare, image = read(tmp_path / "mask.nrrd"), read(tmp_path / "bare.nii.gz"), read(head[0])
    inside = mask.canonical().data > 0
    np.testing.assert_array_equal(bare.canonical().data[inside], image.canonical().data[inside])
    assert len(np.unique(bare.canonical().data[~inside])) == 1


def test_an_image_without_a_brain_is_refused(
    grids: Callable[..., Grid], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = grids((64, 80, 64), (3.0, 3.0, 3.0))
    noise = np.random.default_rng(0).normal(100, 5, grid.shape).astype(np.float32)
    write(tmp_path / "noise.nii.gz", Volume(noise, grid))
    assert run(["brain", str(tmp_path / "noise.nii.gz"), "--output", str(tmp_path / "mask.nii.gz")]) == 3
    assert "expected an image that shows a brain" in capsys.readouterr().err
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["none.nii.gz", "--output", "mask.nii.gz"], 3, "none.nii.gz"),
        (["none.nii.gz"], 2, "--output"),
        (["none.nii.gz", "--output", "mask.txt"], 2, "mask.txt"),
        (["none.nii.gz", "--output", "mask.nii.gz", "--stripped", "nowhere/a.nii.gz"], 3, "nowhere"),
        (["none.nii.gz", "--output", "a.nii.gz", "--stripped", "./a.nii.gz"], 2, "than --output, got a.nii.gz for"),
        (["none.nii.gz", "--output", "none.nii.gz"], 2, "another file for --output than the image"),
        (["none.nii.gz", "--output", "a.nii.gz", "--stripped", "none.nii.gz"], 2, "for --stripped than the image"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["brain", *words]) == code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_image_is_refused_in_plain_words(
    grids: Callable[..., Grid], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "empty.nii.gz", Volume(np.zeros((16, 17, 18), np.uint8), grids((16, 17, 18), (3.0, 3.0, 3.0))))
    assert run(["brain", str(tmp_path / "empty.nii.gz"), "--output", str(tmp_path / "mask.nii.gz")]) == 3
    assert "expected a head image with contrast" in capsys.readouterr().err


@pytest.mark.data
def test_real_heads_have_the_brains_that_their_labels_say(data: Path) -> None:
    """Persons that the network never saw; .95 and more, and of T2 the volume that the person's T1 has."""
    for person in ("IXI284", "IXI334"):
        mask = lightcrcf.brain_mask(data / "ixi-2mm" / f"sub-{person}_T1w.nii.gz")
        labels = read(data / "ixi-2mm" / f"sub-{person}_dseg.nii.gz")
        assert overlap(mask, labels) > 0.87  # labels leave out the fluid in the furrows
    litres = [
        np.count_nonzero(mask.data) * np.prod(mask.grid.spacing_mm) * 1e-6
        for mask in (lightcrcf.brain_mask(data / "heads-t1-t2" / f"sub-01_{what}.nii.gz") for what in ("T1w", "T2w"))
    ]
    assert abs(litres[0] / litres[1] - 1) < 0.15
