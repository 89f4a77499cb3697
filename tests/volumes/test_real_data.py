from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.volumes import check_usable, read, write

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = [
    "oasis/*_T1w",
    "oasis/*_dseg",
    "oasis-trt-asl/*_T1w",
    "ixi-2mm/*_T1w",
    "acdc/*_ED",
    "hippocampus/*",
    "chaos-t2/*_T2w",
]


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("pattern", FILES)
def test_real_volumes_read_and_write_as_nibabel_has_them(tmp_path: Path, pattern: str) -> None:
    path = min(DATA.glob(f"{pattern}.nii.gz"))
    volume, theirs = read(path), nib.load(path)
    check_usable(volume, "fixed")
    np.testing.assert_array_equal(volume.data, np.asanyarray(theirs.dataobj))
    np.testing.assert_allclose(volume.grid.affine, theirs.affine, atol=1e-4)
    write(tmp_path / "a.nii.gz", volume)
    back = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(back.affine, theirs.affine)
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), volume.data)
    assert [int(back.header[f"{form}_code"]) for form in ("qform", "sform")] == [
        int(theirs.header[f"{form}_code"]) for form in ("qform", "sform")
    ]
