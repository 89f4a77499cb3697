"""The brains of the MICCAI 2012 challenge, for the benchmarks of labelling and of templates."""

from __future__ import annotations

import json
from pathlib import Path

from lightcrcf.errors import InputError

__all__ = ["DATA", "TERMS", "oasis_files"]

DATA = "OASIS-1 scans of the MICCAI 2012 multi-atlas challenge, skull-stripped T1, 1 mm"
TERMS = 'images CC BY-NC 3.0, credit OASIS; labels "provided by Neuromorphometrics, Inc. under academic subscription"'


def oasis_files(folder: Path, split: str, count: int | None = None) -> list[tuple[Path, Path]]:
    """Return image and labels of the first subjects of a split; of all if `count` is None.

    Raises:
        InputError: if the folder of the data sets does not say who they are.
    """
    splits = folder / "splits.json"
    try:
        subjects = json.loads(splits.read_text(encoding="utf-8"))["oasis"][split][:count]
    except (OSError, ValueError, LookupError):
        raise InputError(str(splits), expected="the subjects of oasis", got="none", remedy="check --data") from None
    stems = [folder / "oasis" / f"sub-{subject}" for subject in subjects]
    return [(s.with_name(f"{s.name}_T1w.nii.gz"), s.with_name(f"{s.name}_dseg.nii.gz")) for s in stems]
