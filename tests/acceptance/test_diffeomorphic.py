"""`--diffeomorphic`: a network that folds, and files that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.cli.main import run
from lightcrcf.evaluation.protocols import evaluate
from lightcrcf.evaluation.regularity import folding_percent, ndv_percent
from lightcrcf.transforms.diffeomorphic import min_determinant
from lightcrcf.transforms.itk import read_field, read_transform_folder
from lightcrcf.volumes import Volume, read, write
from lightcrcf.weights import store
from lightcrcf.weights.preparation import Preparation


@pytest.fixture(scope="module")
def folding_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network with larger steps than it was trained for."""
    shipped = store.load("brain")
    arrays = {name: array * np.float32(1.5 if ".head." in name else 1) for name, array in shipped.arrays.items()}
    path = tmp_path_factory.mktemp("models") / "folding.safetensors"
    preparation, content = Preparation((3.0, 3.0, 3.0)), shipped.content
    store.write_weights(path, arrays, name="folding", config=shipped.config, preparation=preparation, content=content)
    return path


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[Volume, Volume], folding_model: Path
) -> Callable[[str], Path]:
    """Folder of a registration without ("plain") and with ("unfolded") the option."""
    folder = tmp_path_factory.mktemp("diffeomorphic")
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write(folder / f"{name}.nii.gz", volume)
    files = ["--fixed", str(folder / "fixed.nii.gz"), "--moving", str(folder / "moving.nii.gz")]
    for name, option in (("plain", []), ("unfolded", ["--diffeomorphic"])):
        words = ["--out", str(folder / name), "--model", str(folding_model), "--refine", "0", "--inverse", *option]
        assert run(["register", *files, *words]) == 0
    return lambda name: folder / name


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return found


def test_the_written_field_does_not_fold(results: Callable[[str], Path]) -> None:
    plain, field = (read_field(results(name) / "warp.nii.gz") for name in ("plain", "unfolded"))
    assert min_determinant(plain.displacement) < 0
    assert min_determinant(field.displacement) > 0.049
    assert folding_percent(field.displacement) == 0
    assert ndv_percent(field.displacement) == 0


def test_the_inverse_undoes_it_at_every_voxel(results: Callable[[str], Path]) -> None:
    field, inverse = (read_field(results("unfolded") / f"{name}.nii.gz") for name in ("warp", "inverse_warp"))
    assert inverse.inverse_consistency_mm(field).max_mm < 0.02
    rng = np.random.default_rng(5)
    points = field.grid.world(rng.uniform(2, np.array(field.grid.shape) - 3, (500, 3)))
    np.testing.assert_allclose(field.inverse_points(field.points(points)), points, atol=1e-3)


def test_the_moved_image_went_through_the_written_field(results: Callable[[str], Path]) -> None:
    folder = results("unfolded")
    moving, moved = read(folder.parent / "moving.nii.gz"), read(folder / "moved.nii.gz")
    again = read_transform_folder(folder).resample(moving, moved.grid, "linear")
    np.testing.assert_allclose(again.data, moved.data, atol=0.05)


def test_itk_finds_no_fold_either(results: Callable[[str], Path]) -> None:
    warp = sitk.ReadImage(str(results("unfolded") / "warp.nii.gz"), sitk.sitkVectorFloat64)
    determinant = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(warp))
    assert determinant[1:-1, 1:-1, 1:-1].min() > 0


def test_the_record_says_so(results: Callable[[str], Path]) -> None:
    plain, unfolded = record(results("plain")), record(results("unfolded"))
    assert plain["diffeomorphic"] is None
    assert unfolded["diffeomorphic"]["folded_percent_before"] > 0 == unfolded["diffeomorphic"]["folded_percent"]
    assert 0 < unfolded["diffeomorphic"]["changed_percent"] < 50
    assert unfolded["options"]["diffeomorphic"]
    assert unfolded["metrics"]["folding_percent"] == 0
    assert unfolded["metrics"]["inverse_error_max_mm"] < 0.02
    assert "diffeomorphic" in unfolded["timings_s"]


def test_quality_is_measured_on_the_field_without_folds(results: Callable[[str], Path]) -> None:
    plain, unfolded = record(results("plain"))["metrics"], record(results("unfolded"))["metrics"]
    assert plain["correlation_after"] != unfolded["correlation_after"]


@pytest.mark.data
def test_an_abdomen_of_thick_slices_keeps_its_overlap(data: Path, tmp_path: Path) -> None:
    """Each try leaves a few cells folded. Then the whole field shrank, by 37 voxels, and .89 of overlap became .72."""
    (fixed, moving), (fixed_labels, moving_labels) = (
        [data / "chaos-t2" / f"sub-{subject}_{kind}.nii.gz" for subject in (33, 34)] for kind in ("T2w", "dseg")
    )
    out = tmp_path / "out"
    files = [f"--fixed={fixed}", f"--moving={moving}", f"--out={out}"]
    assert run(["register", *files, "--model=abdomen-mr", "--preset=accurate", "--diffeomorphic"]) == 0
    unfolded = record(out)["diffeomorphic"]
    assert unfolded["folded_percent"] == 0
    assert unfolded["largest_change_voxels"] < 15
    transform = read_transform_folder(out)
    assert evaluate(read(fixed_labels), moving_labels=read(moving_labels), transform=transform).mean_dice > 0.87
