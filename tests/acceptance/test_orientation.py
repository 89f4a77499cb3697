"""However the axes of a file run, the brains in it meet in the same place."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import AxisOrder
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import UNKNOWN_SIDES, Volume, read

ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]


def reordered(volume: Volume, order: AxisOrder) -> Volume:
    return Volume(order.array(volume.data), order.grid(volume.grid), volume.source)


@pytest.fixture(scope="module")
def native(pair: tuple[Volume, Volume], coarse_model: Path) -> Registration:
    return register(*pair, model=coarse_model)


@pytest.mark.parametrize("number", range(48))
def test_all_48_axis_orders_give_the_same_world_result(
    number: int, native: Registration, pair: tuple[Volume, Volume], coarse_model: Path
) -> None:
    """The fixed image in each order, the moving image in each other order once. Only rounding differs."""
    order, other = ORDERS[number], ORDERS[(7 * number + 5) % 48]
    turned = register(reordered(pair[0], order), reordered(pair[1], other), model=coarse_model)
    points = pair[0].grid.world(np.random.default_rng(0).uniform(0, np.array(pair[0].grid.shape) - 1, (1000, 3)))
    np.testing.assert_allclose(turned.transform.points(points), native.transform.points(points), rtol=0, atol=1e-5)
    moved = order.inverse().array(turned.moved.data)
    np.testing.assert_allclose(moved, native.moved.data, rtol=0, atol=5e-5 * np.ptp(native.moved.data))
    told, wanted = turned.quality, native.quality
    assert (told.verdict, told.reasons, told.remarks) == (wanted.verdict, wanted.reasons, wanted.remarks)
    for mine, theirs in zip(told.judged, wanted.judged, strict=True):
        assert (mine.figure, mine.state) == (theirs.figure, theirs.state)
        assert mine.value == pytest.approx(theirs.value, rel=1e-3, abs=1e-4)


@pytest.mark.data
def test_a_scan_that_lies_anterior_superior_left_registers_as_well_as_a_native_one(real_run: Any, data: Path) -> None:
    """The same person twice: as released by another project (cropped by another mask), and as in `oasis`."""
    fixed, moving = read(real_run.fixed), read(real_run.moving)
    assert moving.grid.canonical().permutation != (0, 1, 2)
    chain = real_run.chain()
    straight = register(fixed, moving.canonical())
    points = fixed.grid.world(np.argwhere(fixed.data > 0)[::997])
    # The file keeps the field in float32 mm.
    np.testing.assert_allclose(chain.points(points), straight.transform.points(points), rtol=0, atol=1e-3)

    native = register(fixed, data / "oasis" / "sub-1000_T1w.nii.gz")
    for name in ("correlation_affine", "correlation_after", "overlap_after"):
        assert getattr(straight.metrics, name) == pytest.approx(getattr(native.metrics, name), abs=0.05)
    assert native.quality.verdict == straight.quality.verdict == "pass"


def test_a_header_that_does_not_tell_left_from_right_is_a_reason_to_check(
    pair: tuple[Volume, Volume], coarse_model: Path
) -> None:
    fixed, moving = pair
    unknown = replace(moving, notes=(UNKNOWN_SIDES,), source="b.nii")
    known, asked = (register(fixed, image, model=coarse_model).quality for image in (moving, unknown))
    assert known.verdict == "pass"
    assert (asked.verdict, asked.remarks) == ("check", (f"b.nii: {UNKNOWN_SIDES}",))


def test_the_command_tells_what_the_reader_assumed(
    pair: tuple[Volume, Volume], coarse_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, volume in zip("ab", pair, strict=True):
        image = nib.Nifti1Image(volume.data, volume.grid.affine)
        image.set_qform(None, 0)
        image.set_sform(volume.grid.affine, 1)
        image.header.set_xyzt_units("micron" if name == "b" else "mm")
        if name == "b":
            image.header.set_zooms(1000 * volume.grid.spacing_mm)
            image.set_sform(np.diag([1000, 1000, 1000, 1]) @ volume.grid.affine, 1)
        nib.save(image, tmp_path / f"{name}.nii")
    files = [f"--fixed={tmp_path / 'a.nii'}", f"--moving={tmp_path / 'b.nii'}", f"--out={tmp_path / 'out'}"]
    assert run(["register", *files, f"--model={coarse_model}"]) == 0
    assert f"{tmp_path / 'b.nii'}: voxel sizes converted to mm (times 0.001)" in capsys.readouterr().err
