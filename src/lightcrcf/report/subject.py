"""What a report shows: the volumes, the transform and the record of a run, just made or read from its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.pipeline.register import Registration
from lightcrcf.pipeline.runs import check_unchanged, read_run
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
    """

    fixed: Volume
    moving: Volume
    moved: Volume
    chain: Chain
    record: dict[str, Any]

    @classmethod
    def of(cls, registration: Registration) -> Subject:
        """A registration that was just made."""
        found = registration
        return cls(found.fixed, found.moving, found.moved, found.transform, found.provenance)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Subject:
        """A run that lies in a folder; its inputs are read again from where they were.

        Raises:
            InputError: if the folder holds no run, or an input is gone or has changed.
        """
        record = read_run(Path(folder) / "run.json")
        fixed, moving = (read(check_unchanged(record, role)) for role in ("fixed", "moving"))
        return cls(fixed, moving, read(Path(folder) / "moved.nii.gz"), read_transform_folder(folder), record)
