import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, check_usable, read, write
from lightcrcf.volumes.arrays import to_storable
from lightcrcf.volumes.formats.nifti import load_nifti, save_nifti

RAS = np.diag([1.5, 2.0, 3.25, 1.0])


def save(path: Path, image: Any) -> Path:
    nib.save(image, path)
    return path


def with_codes(data: np.ndarray, affine: np.ndarray, qform: int, sform: int) -> nib.Nifti1Image:
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, qform)
    image.set_sform(affine if sform else None, sform)
    return image


def marked(volume: Volume) -> np.ndarray:
    """World position of the voxel of value 3000."""
    return volume.grid.world(np.argwhere(volume.data == 3000)[0])


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 2)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
def test_reads_what_nibabel_reads(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray, codes: tuple[int, int], name: str
) -> None:
    cls = nib.Nifti1Pair if name == "a.img" else nib.Nifti1Image
    image = with_codes(data, affine, *codes)
    path = save(tmp_path / name, cls(data, None, image.header))
    volume, theirs = read(path), nib.load(path)
    assert volume.data.dtype == np.int16
    assert volume.notes == ()
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(marked(volume), nib.affines.apply_affine(theirs.affine, (1, 4, 9)), atol=1e-4)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-4)


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 2), (3, 4)])
def test_writing_keeps_position_and_codes(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray, codes: tuple[int, int]
) -> None:
    fixed = read(save(tmp_path / "fixed.nii", with_codes(data, affine, *codes)))
    moved = Volume(np.asarray(fixed.data, dtype=np.float32) / 7, fixed.grid)
    write(tmp_path / "moved.nii.gz", moved, like=fixed)
    ours, theirs = nib.load(tmp_path / "moved.nii.gz"), nib.load(tmp_path / "fixed.nii")
    for name in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "qoffset_z", "xyzt_units"):
        np.testing.assert_array_equal(ours.header[name], theirs.header[name])
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    np.testing.assert_array_equal(np.asanyarray(ours.dataobj), moved.data)
    assert ours.get_data_dtype() == np.float32


def test_a_grid_other_than_that_of_like_is_written_as_it_is(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray
) -> None:
    fixed = read(save(tmp_path / "fixed.nii", with_codes(data, affine, 0, 3)))
    part = Volume(fixed.data[1:, 2:, 3:], fixed.grid.crop((1, 2, 3), (4, 5, 8)))
    write(tmp_path / "part.nii", part, like=fixed)
    ours = nib.load(tmp_path / "part.nii")
    np.testing.assert_allclose(ours.affine, part.grid.affine, atol=1e-5)
    assert (int(ours.header["qform_code"]), int(ours.header["sform_code"])) == (0, 3)


def test_a_volume_from_elsewhere_gets_both_codes(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    write(tmp_path / "a.nii.gz", Volume(data, Grid(data.shape, affine)))
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"]), header.get_xyzt_units()[0]) == (1, 1, "mm")
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-5)


@pytest.mark.parametrize("cls", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_endianness_version_and_type(tmp_path: Path, cls: Any, dtype: str, order: str) -> None:
    data = np.arange(5 * 7 * 11, dtype=dtype).reshape(5, 7, 11) % 120
    header = cls(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    image = (nib.Nifti1Image if cls is nib.Nifti1Header else nib.Nifti2Image)(data, RAS, header)
    volume = read(save(tmp_path / "a.nii.gz", image))
    assert volume.data.dtype == (np.float32 if dtype[0] == "f" else np.dtype(dtype))
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.grid.affine, RAS)


@pytest.mark.parametrize("stored", ["i2", "i4", "f4"])
def test_scaling_is_applied_in_float32(tmp_path: Path, stored: str) -> None:
    raw = np.arange(5 * 7 * 11, dtype=stored).reshape(5, 7, 11)
    image = nib.Nifti1Image(raw, RAS)
    image.header.set_slope_inter(0.5, -3)
    save(tmp_path / "a.nii", image)
    patch_header(tmp_path / "a.nii", scl_slope=0.5, scl_inter=-3.0)
    volume = read(tmp_path / "a.nii")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, np.arange(5 * 7 * 11).reshape(5, 7, 11) * 0.5 - 3)


def patch_header(path: Path, **fields: Any) -> None:
    """Change header fields of an uncompressed single file in place."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)


@pytest.mark.parametrize("slope", [0.0, 1.0, float("nan")])
def test_no_real_scaling_leaves_integers(tmp_path: Path, data: np.ndarray, slope: float) -> None:
    save(tmp_path / "a.nii", nib.Nifti1Image(data, RAS))
    patch_header(tmp_path / "a.nii", scl_slope=slope, scl_inter=0)
    assert read(tmp_path / "a.nii").data.dtype == np.int16


def test_absurd_scaling_is_refused_without_a_warning(tmp_path: Path) -> None:
    """NIfTI-2 holds slopes in float64: in float32 they are infinite, and times zero NaN."""
    image = nib.Nifti2Image(np.arange(5 * 7 * 11, dtype=np.int16).reshape(5, 7, 11), RAS)
    content = bytearray(save(tmp_path / "a.nii", image).read_bytes())
    header = nib.Nifti2Header(bytes(content[:540]), check=False)
    header["scl_slope"] = 1e300
    content[:540] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(content)
    volume = read(tmp_path / "a.nii")
    with pytest.raises(InputError, match="expected a fixed image with contrast, got NaN or infinity in every voxel"):
        check_usable(volume, "fixed")


def test_trailing_single_axes_are_dropped(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "a.nii.gz", nib.Nifti1Image(data[..., None, None], RAS))
    np.testing.assert_array_equal(read(path).data, data)


def test_sform_wins_over_a_disagreeing_qform_and_it_is_noted(tmp_path: Path, data: np.ndarray) -> None:
    image = with_codes(data, RAS, 1, 1)
    other = RAS.copy()
    other[:3, 3] = 4, 0, 3
    image.set_qform(other, 1)
    fixed = read(save(tmp_path / "a.nii", image))
    np.testing.assert_array_equal(fixed.grid.affine, RAS)
    assert fixed.notes == ("sform and qform disagree by up to 5 mm; the sform is used",)
    write(tmp_path / "b.nii", fixed)  # the copy lies on the original in every viewer, whichever form it prefers
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").header.get_qform(), other, atol=1e-5)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").header.get_sform(), RAS)


def test_an_unusable_sform_gives_way_to_the_qform(tmp_path: Path, data: np.ndarray) -> None:
    save(tmp_path / "a.nii", with_codes(data, RAS, 1, 1))
    patch_header(tmp_path / "a.nii", srow_x=0)
    volume = read(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.grid.affine, RAS, atol=1e-5)
    assert volume.notes == ("the sform is unusable; the qform is used",)
    write(tmp_path / "b.nii", volume)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").get_sform(), RAS, atol=1e-5)


def test_neither_form_is_noted_and_read_as_nibabel_does(tmp_path: Path, data: np.ndarray) -> None:
    path = save(tmp_path / "a.nii", with_codes(data, RAS, 0, 0))
    volume = read(path)
    np.testing.assert_allclose(volume.grid.affine, nib.load(path).affine)
    assert "sides may be swapped" in volume.notes[0]
    write(tmp_path / "b.nii", volume)
    header = nib.load(tmp_path / "b.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000.0), ("micron", 0.001)])
def test_units_become_mm(tmp_path: Path, data: np.ndarray, affine: np.ndarray, unit: str, factor: float) -> None:
    scale = np.diag([1 / factor] * 3 + [1])
    image = with_codes(data, scale @ affine, 1, 1)
    image.header.set_xyzt_units(unit, "sec")
    volume = read(save(tmp_path / "a.nii", image))
    np.testing.assert_allclose(volume.grid.affine, affine, rtol=1e-5, atol=1e-4)
    assert f"converted to mm (times {factor:g})" in volume.notes[0]
    write(tmp_path / "b.nii", volume)
    assert nib.load(tmp_path / "b.nii").header.get_xyzt_units()[0] == unit
    np.testing.assert_array_equal(read(tmp_path / "b.nii").grid.affine, volume.grid.affine)


def test_qfac_zero_means_one(tmp_path: Path, data: np.ndarray) -> None:
    save(tmp_path / "a.nii", with_codes(data, RAS, 1, 0))
    pixdim = nib.load(tmp_path / "a.nii").header["pixdim"]
    pixdim[0] = 0
    patch_header(tmp_path / "a.nii", pixdim=pixdim)
    np.testing.assert_allclose(read(tmp_path / "a.nii").grid.affine, RAS, atol=1e-5)


def test_slight_shear_is_mended_and_noted(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    sheared = affine.copy()
    sheared[:3, 1] += 0.002 * sheared[:3, 0]
    volume = read(save(tmp_path / "a.nii", with_codes(data, sheared, 0, 1)))
    np.testing.assert_allclose(volume.grid.directions.T @ volume.grid.directions, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(volume.grid.world([2, 3, 5]), (sheared @ [2, 3, 5, 1])[:3], atol=1e-5)
    assert "slight shear removed" in volume.notes[0]
    write(tmp_path / "b.nii", volume)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").affine, volume.grid.affine, atol=1e-5)


def test_strong_shear_is_refused(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    affine[:3, 1] += 0.2 * affine[:3, 0]
    with pytest.raises(InputError, match=r"orthogonal axes, got axes that meet at 81\.5 degrees; resample"):
        read(save(tmp_path / "a.nii", with_codes(data, affine, 0, 1)))


def test_same_bytes_twice_and_input_unchanged(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    volume = Volume(data, Grid(data.shape, affine))
    before = data.copy()
    for name in ("a", "b"):
        write(tmp_path / f"{name}.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    np.testing.assert_array_equal(data, before)


TYPES = {"?": "u1", "u1": "u1", "i2": "i2", "i4": "i4", "i8": "i4", "u4": "i4", "u8": "i4"}
TYPES |= {"f2": "f4", "f4": "f4", "f8": "f8", ">i2": "i2", ">f4": "f4"}


@pytest.mark.parametrize(("dtype", "written"), TYPES.items())
def test_written_type(tmp_path: Path, dtype: str, written: str) -> None:
    data = (np.arange(5 * 7 * 11).reshape(5, 7, 11) % 2).astype(dtype)
    write(tmp_path / "a.nii", Volume(data, Grid(data.shape, RAS)))
    image = nib.load(tmp_path / "a.nii")
    assert image.get_data_dtype() == np.dtype(written)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)


def test_integers_that_do_not_fit_stay_wide() -> None:
    assert to_storable(np.array([2**40])).dtype == np.int64
    assert to_storable(np.array([2**32 - 1], dtype=np.uint32)).dtype == np.uint32


@pytest.mark.parametrize("view", [np.asfortranarray, np.ascontiguousarray, lambda a: a[::-1, :, ::-1]])
def test_memory_order_does_not_matter(tmp_path: Path, data: np.ndarray, view: Any) -> None:
    write(tmp_path / "a.nii", Volume(view(data), Grid(data.shape, RAS)))
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii").dataobj, view(data))


def test_long_axes_are_written_as_nifti_2(tmp_path: Path) -> None:
    data = np.zeros((32768, 2, 3), dtype=np.uint8)
    data[-1, 1, 2] = 9
    write(tmp_path / "a.nii.gz", Volume(data, Grid(data.shape, RAS)))
    assert isinstance(nib.load(tmp_path / "a.nii.gz"), nib.Nifti2Image)
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz").data, data)


def test_fields_of_five_dimensions_load_and_save(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 7, 11, 1, 3)).astype(np.float32)
    header = nib.Nifti1Header(endianness="<")
    header.set_data_shape(vectors.shape)
    header.set_data_dtype(np.float32)
    header.set_intent("vector")
    save_nifti(tmp_path / "warp.nii.gz", header, vectors)
    back, values = load_nifti(tmp_path / "warp.nii.gz", lambda _, shape: shape)
    assert back.get_intent()[0] == "vector"
    np.testing.assert_array_equal(values, vectors)
    np.testing.assert_array_equal(nib.load(tmp_path / "warp.nii.gz").dataobj, vectors)
    with pytest.raises(InputError, match="expected a 3-D volume, got 5-D"):
        read(tmp_path / "warp.nii.gz")


def test_extension_blocks_are_skipped(tmp_path: Path, data: np.ndarray) -> None:
    image = nib.Nifti1Image(data, RAS)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"long" * 100))
    np.testing.assert_array_equal(read(save(tmp_path / "a.nii.gz", image)).data, data)


@pytest.mark.parametrize("name", ["packed.nii", "packed", "packed.mha"])
def test_content_goes_before_name(tmp_path: Path, data: np.ndarray, name: str) -> None:
    plain = save(tmp_path / "a.nii", nib.Nifti1Image(data, RAS)).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(plain))
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    for path in (tmp_path / name, tmp_path / "plain.nii.gz"):
        np.testing.assert_array_equal(read(path).data, data)
