"""Small persons in small files, and what a batch left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lightcrcf.cohort.options import Options
from lightcrcf.files import atomic_path
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write

QUICK = Options(model="none", init="none", preset="fast", threads=1)
"""Nothing is searched for: a pair takes a moment."""


@pytest.fixture(scope="session")
def quick() -> Options:
    """Options with which a pair takes a moment."""
    return QUICK


@pytest.fixture(scope="session")
def people(
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """Images of five persons at 6 mm, on grids of their own; labels lie beside them as NAME_labels.nii.gz."""
    folder = tmp_path_factory.mktemp("people")
    for person in range(5):
        grid = grids(
            (25, 31, 22), (6.0, 6.1 + 0.1 * person, 6.2), axes="LPS" if person % 2 else "ASR", turn=(person, 2, 3)
        )
        image, labels = brains(grid, person=person)
        write(folder / f"person{person}.nii.gz", image)
        write(folder / f"person{person}_labels.nii.gz", labels)
    return [folder / f"person{person}.nii.gz" for person in range(5)]


def left(folder: Path) -> dict[str, str]:
    """Content of every file that a batch leaves, but for what tells of times."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.name not in ("run.json", "timings.jsonl", ".lock")
    }


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, str]]:
    """`left`: the content of every file of a batch, but for what tells of times."""
    return left


def temporary_of(path: Path) -> Path:
    """A name under which a killed process could have left a half of `path`."""
    with suppress(KeyboardInterrupt), atomic_path(path) as found:
        raise KeyboardInterrupt
    return found


@pytest.fixture(scope="session")
def temporary() -> Callable[[Path], Path]:
    """`temporary_of`: a name under which a killed process could have left a half of a file."""
    return temporary_of
