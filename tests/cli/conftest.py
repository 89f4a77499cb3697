"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightcrcf.volumes import Volume, write


@pytest.fixture(scope="module")
def good(pair: tuple[Volume, Volume], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two files that register."""
    folder = tmp_path_factory.mktemp("good")
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write(folder / f"{name}.nii.gz", volume)
    return folder / "fixed.nii.gz", folder / "moving.nii.gz"
