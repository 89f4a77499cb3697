"""The record of brain masks, of a made-up head whose mask is replaced by a threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.measure import Measured
from lightcrcf_bench.publish.kinds import NOT_YET, table_of
from lightcrcf_bench.quality import brain_masks
from lightcrcf_bench.quality.brain_masks import CHANGES
from lightcrcf_bench.records.history import newest_valid

SHAPE = (46, 54, 48)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A head of one person: a bright ball in a darker one."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((at**2).sum(axis=0))
    head = np.where(radius < 0.6, 800, np.where(radius < 0.9, 300, 0)).astype(np.int16)
    (tmp_path / "ixi-2mm").mkdir()
    write(tmp_path / "ixi-2mm/sub-7_T1w.nii.gz", Volume(head, GRID))
    write(tmp_path / "ixi-2mm/sub-7_dseg.nii.gz", Volume((head > 500).astype(np.uint8), GRID))
    (tmp_path / "splits.json").write_text('{"ixi-2mm": {"train": ["6"], "val": ["7"]}}')
    return tmp_path


def threshold(image: Volume) -> Volume:
    """Return what is brighter than half, one voxel too high."""
    high = image.data > 0.6 * float(image.data.max())
    return Volume(np.roll(high, 1, axis=2).astype(np.uint8), image.grid)


def test_heads_are_changed_and_masks_are_scored(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(brain_masks, "brain_mask", threshold)
    monkeypatch.setattr(brain_masks, "run", lambda _: Measured(2.0, 300.0, 9.0))
    folder = data / "history"
    assert table_of("brain-mask", "masks", folder) == NOT_YET
    assert brain_masks.main(["--data", str(data), "--out", str(folder / "2026-01-02-brain-mask.json")]) == 0
    record = newest_valid(folder, brain_masks.BRAIN_MASK, brain_masks.BrainMaskRecord)
    assert [case.image for case in record.cases] == list(CHANGES)
    by_name = {case.image: case for case in record.cases}
    assert by_name["T1, 2 mm"].higher_mm == pytest.approx(2.0, abs=0.1)
    assert by_name["T1, 2 mm"].dice > 0.93 > by_name["negative"].dice
    assert by_name["slices of 6 mm"].higher_mm == pytest.approx(6.0, abs=0.5)
    text = table_of("brain-mask", "masks", folder)
    assert text == capsys.readouterr().out.split("s\n", 1)[1].strip()
    assert "2.0 s† a head" in text


def test_parts_of_a_head() -> None:
    brain = np.zeros(SHAPE, np.bool_)
    brain[10:30, 10:40, 8:40] = True
    image = Volume(np.arange(brain.size, dtype=np.float32).reshape(SHAPE), GRID)
    for name, first, end in (("lower quarter", 16, 48), ("top", 0, 36)):
        shown, mask = CHANGES[f"cut through the {name} of the brain"](image, brain, "")
        assert np.array_equal(shown.data, image.data[:, :, first:end])
        assert mask.shape == shown.data.shape
        assert np.allclose(shown.grid.world(np.zeros(3)), GRID.world(np.array([0, 0, first])))


def test_slices_lie_where_they_were_taken() -> None:
    image = Volume(np.broadcast_to(np.arange(48, dtype=np.float32), SHAPE).copy(), GRID)
    shown, _ = CHANGES["slices of 6 mm"](image, image.data > 20, "")
    place = np.array([3.0, 3.0, 4.0])
    assert shown.data[3, 3, 4] == pytest.approx((GRID.inverse @ [*shown.grid.world(place), 1])[2])


def test_data_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        brain_masks.measure(tmp_path)
