"""Whatever happens to the bytes of a header, reading ends in a volume or in an error of ours."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightcrcf.errors import LightCRCFError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read, write
from lightcrcf.volumes.formats.dicom import read_series

DATA = np.random.default_rng(5).integers(0, 200, (3, 4, 5)).astype(np.int16)


class Original(NamedTuple):
    path: Path  # what is read
    file: Path  # what is damaged
    content: bytes


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, write_series: Callable[..., None]
) -> Original:
    file = path = tmp_path_factory.mktemp("damage") / f"a{request.param}"
    if request.param == ".mgh":
        nib.save(nib.MGHImage(DATA.astype(np.int32), np.eye(4)), path)
    elif request.param == "2.nii":
        nib.save(nib.Nifti2Image(DATA, np.eye(4)), path)
    elif request.param == "-dicom":
        write_series(path, DATA, np.eye(4))
        file = path / "1_98.dcm"
    else:
        write(path, Volume(DATA, Grid(DATA.shape, np.eye(4))))
    return Original(path, file, file.read_bytes())


@pytest.mark.parametrize("original", [".nii", "2.nii", ".nrrd", ".mha", ".mgh", "-dicom"], indirect=True)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4), cut=st.floats(0, 4))
def test_damage_is_refused_or_read(original: Original, places: list[tuple[float, int]], cut: float) -> None:
    damaged = bytearray(original.content)
    for place, value in places:
        damaged[int(place * (len(damaged) - 1))] = value
    original.file.write_bytes(damaged[: int(cut * len(damaged))])
    # Series are decoded in this process here: the other one would only hide what goes wrong.
    reader = read_series if original.path.is_dir() else read
    with contextlib.suppress(LightCRCFError):
        assert np.isfinite(reader(original.path).grid.affine).all()
