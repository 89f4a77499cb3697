"""What a report shows: the volumes, the transform and the record of a run, just made or read from its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.registration.register import Registration
from lightcrcf.run_record.replay import check_unchanged, read_run
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read

__all__ = ["Subject"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A registration as a report sees it.

    Args:
        fixed, moving: the volumes as they were given.
        moved: the result, on the fixed grid.
        chain: fixed points to moving points.
        record: what `run.json` holds.
        masks: of the fixed and the moving volume, 0 where voxels must not count; None for what there is not.
    """

    fixed: Volume
    moving: Volume
    moved: Volume
    chain: Chain
    record: dict[str, Any]
    masks: tuple[Volume | None, Volume | None] = (None, None)

    @classmethod
    def of(cls, registration: Registration) -> Subject:
        """A registration that was just made."""
        found = registration
        return cls(found.fixed, found.moving, found.moved, found.transform, found.provenance, found.masks)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Subject:
        """A run that lies in a folder; its inputs are read again from where they were.

        Raises:
            InputError: if the folder holds no run, or an input is gone or has changed.
        """
        record = read_run(Path(folder) / "run.json")
        fixed, moving = (read(check_unchanged(record, role)) for role in ("fixed", "moving"))
        given = {source["role"] for source in record["sources"]}
        fixed_mask, moving_mask = (
            read(check_unchanged(record, role)) if role in given else None for role in ("fixed_mask", "moving_mask")
        )
        moved, chain = read(Path(folder) / "moved.nii.gz"), read_transform_folder(folder)
        return cls(fixed, moving, moved, chain, record, (fixed_mask, moving_mask))
