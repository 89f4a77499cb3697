"""The subject of a report: volumes, transform and record of a run, from memory or from its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightcrcf.registration.register import Registration
from lightcrcf.run_record.input_files import Role
from lightcrcf.run_record.record import RunRecord
from lightcrcf.run_record.replay import check_unchanged, read_run
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read

__all__ = ["Shown", "Subject"]

_IMAGES: tuple[Role, Role] = ("fixed", "moving")
_MASKS: tuple[Role, Role] = ("fixed_mask", "moving_mask")


class Shown(Protocol):
    """A registered pair, as pictures need it; see `Subject`."""

    @property
    def fixed(self) -> Volume:
        """The fixed volume."""

    @property
    def moving(self) -> Volume:
        """The moving volume."""

    @property
    def moved(self) -> Volume:
        """The moved volume, on the fixed grid."""

    @property
    def chain(self) -> Chain:
        """Fixed points to moving points."""

    @property
    def masks(self) -> tuple[Volume | None, Volume | None]:
        """Masks of the fixed and the moving volume; None for a missing one."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The part of a registration that a report shows.

    Args:
        fixed, moving: the volumes as given.
        moved: the result, on the fixed grid.
        chain: fixed points to moving points.
        record: of the run.
        masks: of the fixed and the moving volume, 0 where voxels must not count; None for a missing one.
    """

    fixed: Volume
    moving: Volume
    moved: Volume
    chain: Chain
    record: RunRecord
    masks: tuple[Volume | None, Volume | None] = (None, None)

    @classmethod
    def of(cls, registration: Registration) -> Subject:
        """Return the subject of a registration in memory."""
        made = registration
        return cls(made.fixed, made.moving, made.moved, made.transform, made.record, made.masks)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Subject:
        """Return the subject of a run in a folder; its inputs are read again from their paths.

        Raises:
            InputError: if the folder holds no run, or an input is gone or has changed.
        """
        record = read_run(Path(folder) / "run.json")
        sources = {source.role: source for source in reversed(record.sources)}
        fixed, moving = (read(check_unchanged(sources[role])) for role in _IMAGES)
        masks = [sources.get(role) for role in _MASKS]
        fixed_mask, moving_mask = (None if mask is None else read(check_unchanged(mask)) for mask in masks)
        moved, chain = read(Path(folder) / "moved.nii.gz"), read_transform_folder(folder)
        return cls(fixed, moving, moved, chain, record, (fixed_mask, moving_mask))
