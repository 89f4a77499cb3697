"""The files against SimpleITK and nibabel."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from lightcrcf.errors import InputError, LightCRCFError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms import itk
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

FLIP = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def folder(tmp_path: Path, field: DisplacementField, affine: Affine) -> Path:
    """As a registration leaves it."""
    itk.write_affine(tmp_path / "affine.tfm", affine)
    itk.write_field(tmp_path / "warp.nii.gz", field)
    return tmp_path


@pytest.fixture
def warp(tmp_path: Path) -> Path:
    """A small field on disk, to be damaged."""
    path = tmp_path / "warp.nii.gz"
    grid = Grid((5, 7, 11), np.diag([1.0, 2.0, 3.0, 1.0]))
    itk.write_field(path, DisplacementField(grid, np.random.default_rng(0).random((3, 5, 7, 11), dtype=np.float32)))
    return path


def read_by_itk(folder: Path) -> sitk.Transform:
    image = sitk.ReadImage(str(folder / "warp.nii.gz"), sitk.sitkVectorFloat64)
    return sitk.CompositeTransform(
        [sitk.ReadTransform(str(folder / "affine.tfm")), sitk.DisplacementFieldTransform(image)]
    )


def itk_points(transform: sitk.Transform, points: NDArray) -> NDArray:
    return np.array([transform.TransformPoint(p) for p in (points * FLIP).tolist()]) * FLIP


def itk_image(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    image.SetSpacing(volume.grid.spacing_mm.tolist())
    image.SetDirection((FLIP[:, None] * volume.grid.directions).ravel().tolist())
    image.SetOrigin((FLIP * volume.grid.affine[:3, 3]).tolist())
    return image


def test_simpleitk_moves_points_alike(folder: Path, fixed_points: NDArray) -> None:
    chain = itk.read_transform_folder(folder)
    np.testing.assert_allclose(itk_points(read_by_itk(folder), fixed_points), chain.points(fixed_points), atol=1e-4)


def test_what_is_read_is_what_was_written(
    folder: Path, field: DisplacementField, affine: Affine, inner_points: NDArray
) -> None:
    chain = itk.read_transform_folder(folder)
    assert chain.field is not None
    assert chain.field.grid.isclose(field.grid, tolerance_mm=1e-4)
    np.testing.assert_array_equal(chain.before.matrix, np.eye(4))
    np.testing.assert_allclose(chain.after.matrix, affine.matrix, atol=1e-12)
    expected = Chain(Affine.identity(), field, affine).points(inner_points)
    np.testing.assert_allclose(chain.points(inner_points), expected, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_simpleitk_moves_images_alike(
    folder: Path, moving: Volume, fixed_grid: Grid, difference: Callable, interpolation: str
) -> None:
    moved = itk.read_transform_folder(folder).resample(moving, fixed_grid, interpolation, fill=-3.0)  # type: ignore[arg-type]
    method = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    reference = itk_image(Volume(np.zeros(fixed_grid.shape, np.float32), fixed_grid))
    expected = sitk.Resample(itk_image(moving), reference, read_by_itk(folder), method, -3.0)
    expected = sitk.GetArrayFromImage(expected).transpose(2, 1, 0)
    assert (expected != -3).mean() > 0.3
    assert difference(moved.data, expected) <= (2e-3 if interpolation == "linear" else 0.2)
    assert np.mean(np.abs(moved.data - expected) > 2e-3) <= 1e-3  # nearest: ties, decided by rounding


def test_grid_is_the_same_for_simpleitk_nibabel_and_us(folder: Path, field: DisplacementField) -> None:
    image = sitk.ReadImage(str(folder / "warp.nii.gz"))
    axes = FLIP[:, None] * (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())
    last = np.array(field.grid.shape) - 1
    expected = field.grid.world(last)
    np.testing.assert_allclose(axes @ last + FLIP * image.GetOrigin(), expected, atol=1e-4)
    header = nib.load(folder / "warp.nii.gz").header
    assert header.get_data_shape() == (*field.grid.shape, 1, 3)
    assert header.get_intent()[0] == "vector"
    assert header.get_xyzt_units()[0] == "mm"
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    np.testing.assert_allclose((header.get_sform() @ [*last, 1])[:3], expected, atol=1e-4)


def test_vectors_are_lps_mm(folder: Path, field: DisplacementField) -> None:
    vectors = np.asarray(nib.load(folder / "warp.nii.gz").dataobj)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[..., 0, :], field.world_mm() * FLIP, atol=1e-6)


def test_writing_twice_gives_the_same_bytes_and_changes_nothing(
    tmp_path: Path, field: DisplacementField, affine: Affine
) -> None:
    before = field.displacement.copy(), affine.matrix.copy()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        itk.write_field(tmp_path / name / "warp.nii.gz", field)
        itk.write_affine(tmp_path / name / "affine.tfm", affine)
    np.testing.assert_array_equal(field.displacement, before[0])
    np.testing.assert_array_equal(affine.matrix, before[1])
    for name in ("warp.nii.gz", "affine.tfm"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    head = (tmp_path / "first" / "warp.nii.gz").read_bytes()[:10]
    assert head[3] == 0  # no file name
    assert head[4:8] == bytes(4)  # no time


def test_slight_shear_is_written(tmp_path: Path, inner_points: NDArray, fixed_grid: Grid) -> None:
    affine = np.array(fixed_grid.affine)
    affine[:3, :3] += 1e-6 * np.arange(9).reshape(3, 3)
    grid = Grid(fixed_grid.shape, affine)
    field = DisplacementField(grid, np.full((3, *grid.shape), 0.5, np.float32))
    itk.write_field(tmp_path / "warp.nii.gz", field)
    itk.write_affine(tmp_path / "affine.tfm", Affine.identity())
    np.testing.assert_allclose(
        itk.read_field(tmp_path / "warp.nii.gz").points(inner_points), field.points(inner_points), atol=1e-3
    )
    np.testing.assert_allclose(itk_points(read_by_itk(tmp_path), inner_points), field.points(inner_points), atol=1e-3)


def test_inverse_files_undo_in_simpleitk(
    tmp_path: Path, field: DisplacementField, affine: Affine, inner_points: NDArray
) -> None:
    """As documented for other tools: the inverse affine first, then inverse_warp."""
    itk.write_affine(tmp_path / "affine.tfm", affine)
    itk.write_field(tmp_path / itk.INVERSE_FIELD_NAME, field.inverse())
    inverse_field = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / itk.INVERSE_FIELD_NAME), sitk.sitkVectorFloat64)
    )
    back = sitk.CompositeTransform([inverse_field, sitk.ReadTransform(str(tmp_path / "affine.tfm")).GetInverse()])
    moved = Chain(Affine.identity(), field, affine).points(inner_points)
    assert np.abs(itk_points(back, moved) - inner_points).mean() < 0.06


def test_affine_text(tmp_path: Path) -> None:
    matrix = np.array([[1, 0.25, 0, 5], [0, 1, 0.5, -3], [0, 0, 1, 2.0], [0, 0, 0, 1]])
    itk.write_affine(tmp_path / "affine.tfm", Affine(matrix))
    assert (tmp_path / "affine.tfm").read_text() == (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 1.0 0.25 0.0 0.0 1.0 -0.5 0.0 0.0 1.0 -5.0 3.0 2.0\nFixedParameters: 0 0 0\n"
    )


@pytest.mark.parametrize("suffix", [".tfm", ".mat", ".txt", ".h5"])
def test_linear_transforms_of_other_tools(tmp_path: Path, inner_points: NDArray, suffix: str) -> None:
    rigid = sitk.Euler3DTransform((10.0, -20.0, 30.0), 0.2, -0.1, 0.3, (1.0, 2.0, 3.0))
    scale = sitk.AffineTransform(3)
    scale.SetMatrix([1.1, 0.1, 0, 0, 0.9, 0, 0.2, 0, 1])
    transform = rigid if suffix in (".mat", ".txt") else sitk.CompositeTransform([rigid, scale])
    path = tmp_path / f"other{suffix}"
    sitk.WriteTransform(transform, str(path))
    np.testing.assert_allclose(
        itk.read_affine(path).points(inner_points), itk_points(transform, inner_points), atol=1e-9
    )


def test_a_field_is_no_affine(tmp_path: Path) -> None:
    path = tmp_path / "bspline.tfm"
    sitk.WriteTransform(sitk.BSplineTransform(3), str(path))
    with pytest.raises(InputError, match="linear 3-D transform"):
        itk.read_affine(path)


def test_a_plane_has_no_3d_affine(tmp_path: Path) -> None:
    path = tmp_path / "plane.tfm"
    sitk.WriteTransform(sitk.AffineTransform(2), str(path))
    with pytest.raises(InputError, match="linear 3-D transform, got 2-D"):
        itk.read_affine(path)


@pytest.mark.parametrize("text", ["", "hello\n", "#Insight Transform File V1.0\nTransform: Affine\nParameters: 1"])
def test_damaged_affines_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "affine.tfm").write_text(text)
    with pytest.raises(InputError, match=r"affine\.tfm: expected an ITK transform file") as caught:
        itk.read_transform_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_folder_without_field_is_affine(tmp_path: Path, affine: Affine) -> None:
    itk.write_affine(tmp_path / "affine.tfm", affine)
    assert itk.read_transform_folder(tmp_path).field is None


def test_folder_without_affine_is_refused(tmp_path: Path, warp: Path) -> None:
    assert warp.exists()
    with pytest.raises(InputError, match=r"expected a folder with affine\.tfm .* got no affine\.tfm"):
        itk.read_transform_folder(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        itk.read_transform_folder(tmp_path / "nowhere")


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(bytes(content)))


def set_intent(code: int, name: bytes = b"") -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        struct.pack_into("<h", content, 68, code)
        content[328 : 328 + len(name)] = name

    return change


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [(1006, b"", "1006"), (0, b"", "intent 0"), (1007, b"NREG_TRANS", "NREG_TRANS")],
)
def test_other_conventions_are_refused(warp: Path, code: int, name: bytes, said: str) -> None:
    rewrite(warp, set_intent(code, name))
    with pytest.raises(InputError, match=f"intent 1007 with vectors in LPS mm, got .*{said}") as caught:
        itk.read_field(warp)
    assert "\n" not in str(caught.value)


def test_vectors_that_are_not_finite_are_refused(warp: Path) -> None:
    rewrite(warp, lambda content: struct.pack_into("<f", content, 352 + 40, float("nan")))
    with pytest.raises(InputError, match="finite vectors"):
        itk.read_field(warp)


def test_an_image_is_no_field(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 7, 11), np.float32), np.eye(4)), tmp_path / "warp.nii.gz")
    with pytest.raises(InputError, match=r"shape \(X, Y, Z, 1, 3\), got 3-D \(5, 7, 11\)"):
        itk.read_field(tmp_path / "warp.nii.gz")


def test_a_header_that_claims_a_trillion_voxels_is_refused(warp: Path) -> None:
    rewrite(warp, lambda content: struct.pack_into("<8h", content, 40, 5, 10000, 10000, 10000, 1, 3, 1, 1))
    with pytest.raises(InputError, match="12000000000000 bytes"):
        itk.read_field(warp)


def test_truncated_and_missing_fields_are_refused(warp: Path) -> None:
    content = warp.read_bytes()
    for bad in (b"", content[:40], content[: len(content) // 2], b"not gzip at all" * 100):
        warp.write_bytes(bad)
        with pytest.raises(InputError, match=r"warp\.nii\.gz"):
            itk.read_field(warp)
    warp.unlink()
    with pytest.raises(InputError, match="no such file"):
        itk.read_field(warp)


def test_big_endian_and_double_fields_are_read(tmp_path: Path, warp: Path) -> None:
    expected = itk.read_field(warp)
    image = nib.load(warp)
    other = nib.Nifti1Image(image.get_fdata().astype(">f8"), image.affine, image.header.as_byteswapped(">"))
    other.set_data_dtype(np.dtype(">f8"))
    nib.save(other, tmp_path / "big.nii")
    field = itk.read_field(tmp_path / "big.nii")
    np.testing.assert_allclose(field.displacement, expected.displacement, atol=1e-6)


def test_unwritable_places_are_refused(tmp_path: Path, affine: Affine) -> None:
    with pytest.raises(LightCRCFError, match="no folder"):
        itk.write_affine(tmp_path / "missing" / "affine.tfm", affine)


def test_writing_a_field_takes_less_memory_than_the_field(tmp_path: Path) -> None:
    grid = Grid((60, 70, 80), np.array([[-0.6, 0.8, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]))
    field = DisplacementField(grid, np.random.default_rng(0).random((3, *grid.shape), dtype=np.float32))
    tracemalloc.start()
    itk.write_field(tmp_path / "warp.nii", field)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * field.displacement.nbytes
    np.testing.assert_allclose(itk.read_field(tmp_path / "warp.nii").displacement, field.displacement, atol=1e-6)
