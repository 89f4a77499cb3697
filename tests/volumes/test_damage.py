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


Places = list[tuple[float, int]]
DAMAGE = {
    "places": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    "cut": st.floats(0, 4),
}


def check(original: Original, places: Places, cut: float) -> None:
    """Change some bytes, cut the file off if `cut` is below 1, and read it."""
    damaged = bytearray(original.content)
    for place, value in places:
        damaged[int(place * (len(damaged) - 1))] = value
    original.file.write_bytes(damaged[: int(cut * len(damaged))])
    with contextlib.suppress(LightCRCFError):
        assert np.isfinite(read(original.path).grid.affine).all()


@pytest.mark.parametrize("original", [".nii", "2.nii", ".mgh"], indirect=True)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(**DAMAGE)
def test_damage_is_refused_or_read(original: Original, places: Places, cut: float) -> None:
    check(original, places, cut)


@pytest.mark.parametrize("original", [".nrrd", ".mha", "-dicom"], indirect=True)
@settings(max_examples=15, deadline=None, derandomize=True)  # a process for each
@given(**DAMAGE)
def test_damage_is_refused_or_read_in_the_sandbox(original: Original, places: Places, cut: float) -> None:
    check(original, places, cut)
