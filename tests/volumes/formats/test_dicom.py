import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.errors import InputError
from lightcrcf.volumes import read


@pytest.mark.parametrize("compress", [False, True])
def test_series_is_read_where_it_lies(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray, write_series: Callable[..., None], compress: bool
) -> None:
    write_series(tmp_path / "dicom", data, affine, compress=compress)
    volume = read(tmp_path / "dicom")
    voxel = np.argwhere(volume.data == 3000)[0]
    np.testing.assert_allclose(volume.grid.world(voxel), (affine @ [1, 4, 9, 1])[:3], atol=1e-4)
    assert sorted(volume.data.shape) == sorted(data.shape)
    assert volume.data.dtype == np.int16
    # GDCM sorts slices along their normal, so that the third axis may run against the one that was written
    corner = volume.grid.voxels((affine @ [4, 6, 2, 1])[:3]).round().astype(int)
    assert volume.data[tuple(corner)] == data[4, 6, 2]


def test_two_series_are_refused_and_listed(tmp_path: Path, data: np.ndarray, write_series: Callable[..., None]) -> None:
    write_series(tmp_path / "dicom", data, np.eye(4), uid=1)
    write_series(tmp_path / "dicom", data[:, :, :4], np.eye(4), uid=2)
    with pytest.raises(InputError, match="one DICOM series, got 2 series: ") as caught:
        read(tmp_path / "dicom")
    assert "T1 number 1 (11 files, such as 1_" in str(caught.value)
    assert "T1 number 2 (4 files, such as 2_" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fault", "apart"), [({"skip": (4,)}, "mm off"), ({"tilt_mm": 0.4}, "mm off")])
def test_uneven_and_tilted_slices_are_refused(
    tmp_path: Path,
    data: np.ndarray,
    write_series: Callable[..., None],
    fault: dict,
    apart: str,
    capfd: pytest.CaptureFixture,
) -> None:
    write_series(tmp_path / "dicom", data, np.eye(4), **fault)
    with pytest.raises(InputError, match="evenly spaced slices") as caught:
        read(tmp_path / "dicom")
    assert apart in str(caught.value)
    assert capfd.readouterr() == ("", "")


def lying(content: bytes) -> bytes:
    """A slice with an element of 4 GB before its pixels."""
    pixels = content.index(b"\xe0\x7f\x10\x00")
    return content[:pixels] + struct.pack("<HH2sHI", 0x42, 0x11, b"OB", 0, 0xF0000000) + content[pixels:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off in the pixels": lambda content: content[:-40],
    "cut off by one byte": lambda content: content[:-1],
    "cut off in the header": lambda content: content[:300],
    "cut off before its class": lambda content: content[:140],
    "an element longer than the file": lying,
}


@pytest.mark.parametrize("number", [89, 95, 99])  # the last, one in between, the first
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_slice_is_named(
    tmp_path: Path, data: np.ndarray, write_series: Callable[..., None], damage: str, number: int
) -> None:
    """GDCM itself leaves out what it cannot read, without a word."""
    write_series(tmp_path / "dicom", data, np.eye(4))
    path = tmp_path / "dicom" / f"1_{number}.dcm"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(InputError, match=rf"1_{number}\.dcm: expected a whole DICOM file"):
        read(tmp_path / "dicom")


def test_other_files_beside_a_series_are_ignored(
    tmp_path: Path, data: np.ndarray, write_series: Callable[..., None]
) -> None:
    write_series(tmp_path / "dicom", data, np.eye(4))
    directory = b"1.2.840.10008.1.3.10"  # the class of a DICOMDIR
    head = bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 2, b"UI", len(directory)) + directory
    (tmp_path / "dicom" / "DICOMDIR").write_bytes(head)
    (tmp_path / "dicom" / "notes.txt").write_bytes(b"hello")
    assert sorted(read(tmp_path / "dicom").data.shape) == sorted(data.shape)


def test_one_damaged_file_is_refused(tmp_path: Path, data: np.ndarray, write_series: Callable[..., None]) -> None:
    write_series(tmp_path / "dicom", data, np.eye(4))
    path = tmp_path / "dicom" / "1_95.dcm"
    path.write_bytes(lying(path.read_bytes()))
    with pytest.raises(InputError, match="expected a whole image file"):
        read(path)


@pytest.mark.parametrize("content", [None, b"text", bytes(128) + b"DICM" + b"junk" * 50])
def test_a_folder_without_dicom(tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture) -> None:
    if content is not None:
        (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(InputError, match="one DICOM series, got no DICOM images"):
        read(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_one_slice_sends_to_the_folder(tmp_path: Path, data: np.ndarray, write_series: Callable[..., None]) -> None:
    write_series(tmp_path / "dicom", data, np.eye(4))
    with pytest.raises(InputError, match="of DICOM give the folder"):
        read(tmp_path / "dicom" / "1_99.dcm")


def test_colours_are_refused(tmp_path: Path) -> None:
    for k in range(3):
        image = sitk.Image((5, 7, 1), sitk.sitkVectorUInt8, 3)
        image.SetOrigin((0, 0, float(k)))
        image.SetMetaData("0020|000e", "1.2.826.0.1.3680043.2.1125.5")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"{k}.dcm"))
        writer.Execute(image)
    with pytest.raises(InputError, match="one real number per voxel, got 3 components"):
        read(tmp_path)
