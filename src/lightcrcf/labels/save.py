"""Output files of a labelling, written all or none."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.labels.labelling import Labelling
from lightcrcf.registration.save import check_output_folder
from lightcrcf.volumes import write

__all__ = ["save_labelling"]

_FILES = ("labels.nii.gz", "confidence.nii.gz", "volumes.csv", "label.json")


def save_labelling(found: Labelling, folder: str | os.PathLike[str], *, confidence: bool = False) -> None:
    """Write `labels.nii.gz`, `volumes.csv`, `label.json` and optionally `confidence.nii.gz` to a folder.

    The folder is created, or its files are replaced, after all are complete; an earlier `confidence.nii.gz` is removed.

    Raises:
        InputError: if the folder cannot be written to, or an input would be replaced.
    """
    check_output_folder(folder)
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - as in `atomic_path`
    _check_inputs_kept(found, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        temporary.mkdir()
        write(temporary / "labels.nii.gz", found.labels)
        if confidence:
            write(temporary / "confidence.nii.gz", found.confidence)
        with (temporary / "volumes.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, ("label", "voxels", "mm3", "confidence"), lineterminator="\n")
            table.writeheader()
            table.writerows(found.record["structures"])
        (temporary / "label.json").write_text(json.dumps(found.record, indent=2) + "\n", encoding="utf-8")
    if not confidence:
        (target / "confidence.nii.gz").unlink(missing_ok=True)


def _check_inputs_kept(found: Labelling, folder: Path) -> None:
    atlases = found.record["atlases"]
    inputs = [found.record["image"]["path"], *(a[role] for a in atlases for role in ("image", "labels"))]
    for path in (folder / name for name in _FILES):
        if path.exists() and any(Path(i).exists() and path.samefile(i) for i in inputs):
            raise InputError(
                str(path), expected="a folder that holds none of the inputs",
                got="an input that the results would replace", remedy="choose another folder",
            )  # fmt: skip
