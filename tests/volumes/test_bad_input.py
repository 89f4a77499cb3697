"""Every file that cannot be used ends in one line that names it, and in nothing on standard error."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.errors import InputError, LightCRCFError, MemoryEstimateError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, limits, read, write

NOISE = np.random.default_rng(1).integers(0, 200, (25, 37, 41)).astype(np.int16)


def nifti(path: Path, data: np.ndarray = NOISE, **fields: Any) -> bytes:
    """The bytes of an uncompressed NIfTI file with some header fields changed; `dim` and `pixdim` as dicts."""
    nib.save(nib.Nifti1Image(data, np.diag([1.5, 2, 3, 1])), path.with_suffix(".tmp.nii"))
    content = bytearray(path.with_suffix(".tmp.nii").read_bytes())
    path.with_suffix(".tmp.nii").unlink()
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        for index, entry in value.items() if isinstance(value, dict) else [((), value)]:
            header[name][index] = entry
    content[:348] = header.binaryblock
    return bytes(content)


def other(path: Path, suffix: str) -> bytes:
    """The bytes of the same volume in another format."""
    write(path.with_suffix(suffix), Volume(NOISE, Grid(NOISE.shape, np.eye(4))))
    content = path.with_suffix(suffix).read_bytes()
    path.with_suffix(suffix).unlink()
    return content


def colours() -> np.ndarray:
    return np.zeros((5, 7, 11), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


# name: (file name, bytes, what the message says)
Case = tuple[str, Callable[[Path], bytes], str]
CASES: dict[str, Case] = {
    "empty": ("a.nii.gz", lambda p: b"", "got an empty file; copy or export it again"),
    "text": ("a.nii.gz", lambda p: b"hello\n" * 99, "without a NIfTI header"),
    "gzipped text": ("a.nii.gz", lambda p: gzip.compress(b"hello\n" * 99), "without a NIfTI header"),
    "gzip cut in the header": ("a.nii.gz", lambda p: gzip.compress(nifti(p))[:150], "ends early|damaged"),
    "gzip cut in the voxels": ("a.nii.gz", lambda p: gzip.compress(nifti(p))[:-5000], "ends early"),
    "gzip cut in the checksum": ("a.nii.gz", lambda p: gzip.compress(nifti(p))[:-3], "ends early"),
    "gzip with a wrong checksum": ("a.nii.gz", lambda p: gzip.compress(nifti(p))[:-8] + b"12345678", "damaged gzip"),
    "gzip scrambled": ("a.nii.gz", lambda p: gzip.compress(nifti(p))[:900] + b"\xff" * 999, "ends early|damaged"),
    "gzip of half a file": ("a.nii.gz", lambda p: gzip.compress(nifti(p)[:9000]), "bytes of voxels, got 8648"),
    "header only": ("a.nii", lambda p: nifti(p)[:348], "bytes of voxels as the header says"),
    "cut header": ("a.nii", lambda p: nifti(p)[:200], "without a NIfTI header"),
    "cut voxels": ("a.nii", lambda p: nifti(p)[:-1], "cut off"),
    "terabytes": ("a.nii", lambda p: nifti(p, dim={1: 30000, 2: 30000, 3: 30000}), "bytes of voxels as the header"),
    "packed terabytes": (
        "a.nii.gz",
        lambda p: gzip.compress(nifti(p, dim={1: 30000, 2: 30000, 3: 30000})),
        "bytes of voxels as the header",
    ),
    "negative size": ("a.nii", lambda p: nifti(p, dim={2: -37}), "positive sizes"),
    "zero size": ("a.nii", lambda p: nifti(p, dim={3: 0}), "positive sizes"),
    "no dimensions": ("a.nii", lambda p: nifti(p, dim={0: 0}), "1 to 7 positive sizes"),
    "too many dimensions": ("a.nii", lambda p: nifti(p, dim={0: 99}), "1 to 7 positive sizes"),
    "2-D": ("a.nii", lambda p: nifti(p, NOISE[0]), "expected a 3-D volume, got 2-D"),
    "one slice": ("a.nii", lambda p: nifti(p, NOISE[:, :, :1]), "expected a 3-D volume, got 2-D"),
    "colours": ("a.nii", lambda p: nifti(p, colours()), "colours"),
    "complex": ("a.nii", lambda p: nifti(p, NOISE.astype(np.complex64)), "complex numbers"),
    "unknown type": ("a.nii", lambda p: nifti(p, datatype=3), "unknown"),
    "zero spacing": ("a.nii", lambda p: nifti(p, pixdim={2: 0}), "positive voxel sizes, got 1.5, 0, 3"),
    "negative spacing": ("a.nii", lambda p: nifti(p, pixdim={1: -1.5}), "positive voxel sizes"),
    "NaN spacing": ("a.nii", lambda p: nifti(p, pixdim={3: np.nan}), "positive voxel sizes"),
    "NaN in the sform": ("a.nii", lambda p: nifti(p, srow_x={0: np.nan}), "NaN, infinity"),
    "zero sform": ("a.nii", lambda p: nifti(p, srow_x=0, srow_y=0, srow_z=0), "zero spacing"),
    "flat sform": (
        "a.nii",
        lambda p: nifti(p, srow_x=[1, 2, 3, 0], srow_y=[1, 2, 3, 0], srow_z=1),
        "independent|orthogonal",
    ),
    "impossible qform": ("a.nii", lambda p: nifti(p, sform_code=0, qform_code=1, quatern_b=3), "rotation in the qform"),
    "NaN qform": ("a.nii", lambda p: nifti(p, sform_code=0, qform_code=1, quatern_b=np.nan), "NaN|rotation"),
    "NaN intercept": ("a.nii", lambda p: nifti(p, scl_slope=2, scl_inter=np.nan), "finite scaling"),
    "NaN offset": ("a.nii", lambda p: nifti(p, vox_offset=np.nan), "vox_offset"),
    "offset past the end": ("a.nii", lambda p: nifti(p, vox_offset=1e9), "bytes of voxels"),
    "packed offset past the end": ("a.nii.gz", lambda p: gzip.compress(nifti(p, vox_offset=1e9)), "bytes of voxels"),
    "packed offset of 1e30": ("a.nii.gz", lambda p: gzip.compress(nifti(p, vox_offset=1e30)), "bytes of voxels, got 0"),
    "header without its image": ("a.hdr", lambda p: nifti(p, magic=b"ni1"), "no such file"),
    "image without its header": ("a.img", lambda p: NOISE.tobytes(), "without a NIfTI header"),
    "analyze": ("a.hdr", lambda p: nib.AnalyzeHeader().binaryblock, "left from right"),
    "nrrd cut": ("a.nrrd", lambda p: other(p, ".nrrd")[:-9], "cannot read"),
    "nrrd terabytes": (
        "a.nrrd",
        lambda p: other(p, ".nrrd").replace(b"sizes: 25 37 41", b"sizes: 250000 37000 41000"),
        "bytes of voxels as the header",
    ),
    "nrrd zero spacing": ("a.nrrd", lambda p: other(p, ".nrrd").replace(b"(-1,0,0)", b"(0,0,0)"), "spacing"),
    "nrrd NaN spacing": ("a.nrrd", lambda p: other(p, ".nrrd").replace(b"(-1,0,0)", b"(nan,0,0)"), "ITK cannot read"),
    "nrrd text": ("a.nrrd", lambda p: b"hello\n" * 99, "ITK cannot read"),
    "nrrd empty": ("a.nrrd", lambda p: b"", "ITK cannot read|empty"),
    "nrrd without its data": (
        "a.nhdr",
        lambda p: other(p, ".nrrd").replace(b"encoding: raw", b"encoding: raw\ndata file: b.raw"),
        "its data file b.raw",
    ),
    "mha cut": ("a.mha", lambda p: other(p, ".mha")[:-9000], "cut off"),
    "mha cut a little": ("a.mha", lambda p: other(p, ".mha")[:-9], "cannot read"),
    "mha said to be packed": (
        "a.mha",
        lambda p: other(p, ".mha").replace(b"Data = False", b"Data = True"),
        "Uncompress failed",
    ),
    "mha terabytes": (
        "a.mha",
        lambda p: other(p, ".mha").replace(b"DimSize = 25 37 41", b"DimSize = 250000 37000 41000"),
        "bytes of voxels as the header",
    ),
    "mha zero spacing": ("a.mha", lambda p: other(p, ".mha").replace(b"Spacing = 1 1", b"Spacing = 0 1"), "spacing"),
    "mha 2-D": (
        "a.mha",
        lambda p: other(p, ".mha").replace(b"NDims = 3", b"NDims = 2"),
        "cannot read|3-D",
    ),
    "mha without its data": ("a.mhd", lambda p: other(p, ".mha").replace(b"LOCAL", b"b.raw"), "its data file b.raw"),
    "mha list of files": ("a.mhd", lambda p: other(p, ".mha").replace(b"LOCAL", b"LIST"), "one data file"),
    "mgz text": ("a.mgz", lambda p: b"hello\n" * 99, "MGH"),
    "mgz empty": ("a.mgz", lambda p: b"", "MGH"),
    "picture": ("a.png", lambda p: b"\x89PNG\r\n\x1a\n" + bytes(99), "ITK cannot read"),
    "no suffix": ("a", lambda p: b"hello\n" * 99, "ITK cannot read"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_file_is_one_line(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, content, said = CASES[case]
    path = tmp_path / name
    path.write_bytes(content(path))
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert str(path.with_suffix("")) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mgz", "folder/a.nii", "a"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such file; check the name"):
        read(tmp_path / name)


def test_frames_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(tmp_path / "a.nii", np.zeros((5, 7, 11, 3), np.uint8)))
    with pytest.raises(InputError, match=r"got 4-D \(5, 7, 11, 3\); extract one frame"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
def test_more_than_memory_is_refused_before_allocating(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".mgz":
        nib.save(nib.MGHImage(NOISE.astype(np.int32), np.eye(4)), path)
    else:
        write(path, Volume(NOISE, Grid(NOISE.shape, np.eye(4))))
    monkeypatch.setattr(limits, "available_memory", lambda: 10_000)
    with pytest.raises(MemoryEstimateError, match="GiB") as caught:
        read(path)
    assert isinstance(caught.value, LightCRCFError)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("axes", ["-1", "0", "99999999999", "x", ""])
def test_metaimage_headers_that_itk_hangs_on_are_refused(axes: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    head = f"ObjectType = Image\nNDims = {axes}\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    path.write_bytes(head.encode() + bytes(24))
    with pytest.raises(InputError, match="NDims from 1 to 10"):
        read(path)


@pytest.mark.parametrize("name", ["../other/voxels.raw", "/etc/passwd", "below/voxels.raw"])
@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_a_header_names_no_file_outside_of_its_folder(name: str, ending: str, tmp_path: Path) -> None:
    for folder in ("here", "other", "here/below"):
        (tmp_path / folder).mkdir()
    for folder in ("other", "here/below"):
        (tmp_path / folder / "voxels.raw").write_bytes(bytes(24))
    heads = {
        "mhd": f"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = {name}\n",
        "nhdr": f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\ndata file: {name}\n\n",
    }
    header = tmp_path / "here" / f"a.{ending}"
    header.write_text(heads[ending])
    with pytest.raises(InputError, match="in the folder of its header"):
        read(header)
