"""Atlases, images with label maps, from a folder or a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightcrcf.batch.tables import read_table
from lightcrcf.bids.names import ImageName
from lightcrcf.errors import InputError
from lightcrcf.volumes import Volume, on_grid_of, read
from lightcrcf.volumes.formats.nifti import is_nifti, nifti_grid

__all__ = ["TABLE", "Atlas", "check_atlases", "find_atlases"]

TABLE = "atlases.csv"


@dataclass(frozen=True)
class Atlas:
    """A labelled image.

    Args:
        image: file of the image.
        labels: file of the label map, on the grid of the image.
    """

    image: Path
    labels: Path


def find_atlases(place: Path, images: str = "T1w", labels: str = "dseg") -> list[Atlas]:
    """Find the atlases of a folder or a table, sorted.

    Args:
        place: a CSV file with columns `image` and `labels`, paths relative to its folder; a folder with such a file
            named atlases.csv; or a folder with BIDS names, `sub-X_T1w.nii.gz` with `sub-X_dseg.nii.gz`, in it or in
            sub-X/anat.
        images: BIDS suffix of the images.
        labels: BIDS suffix of the label maps.

    Raises:
        InputError: if there are no atlases, or the file of a pair is missing; the message names it.
    """
    if place.is_dir() and not (place / TABLE).is_file():
        return _from_folder(place, images, labels)
    return _from_table(place / TABLE if place.is_dir() else place)


def check_atlases(atlases: Sequence[Atlas]) -> None:
    """Check that each label map lies on the grid of its image; of NIfTI files only headers are read.

    Raises:
        InputError: naming the file that does not.
    """
    for atlas in atlases:
        image, labels = _grid_of(atlas.image), _grid_of(atlas.labels)
        on_grid_of(labels, image, what="labels")


def _grid_of(path: Path) -> Volume:
    """Return a volume on the grid of a file; of a NIfTI file without its voxels."""
    if path.is_dir() or not path.name.lower().endswith((".nii", ".nii.gz")) or not is_nifti(path):
        return read(path)
    grid, _ = nifti_grid(path)
    return Volume(np.broadcast_to(np.int8(0), grid.shape), grid, str(path))


def _from_folder(folder: Path, images: str, labels: str) -> list[Atlas]:
    found: dict[str, dict[tuple[Path, str], Path]] = {images: {}, labels: {}}
    for path in sorted((*folder.glob("*"), *folder.glob("sub-*/anat/*"), *folder.glob("sub-*/ses-*/anat/*"))):
        name = ImageName.parse(path)
        if name and name.suffix in found:
            found[name.suffix][path.parent, "_".join(f"{k}-{v}" for k, v in name.entities.items())] = path
    for suffix, other in ((images, labels), (labels, images)):
        for key, path in found[suffix].items():
            if key not in found[other]:
                partner = path.with_name(f"{key[1]}_{other}.nii.gz")
                raise _bad(path, f"an atlas with {partner.name} beside it", "no such file", "add it, or move this away")
    if not found[images]:
        wanted = f"{TABLE}, or images like sub-X_{images}.nii.gz with sub-X_{labels}.nii.gz"
        raise _bad(folder, wanted, "neither", "check the folder, --atlas-images and --atlas-labels")
    return [Atlas(path.absolute(), found[labels][key].absolute()) for key, path in found[images].items()]


def _from_table(table: Path) -> list[Atlas]:
    what = "a folder of atlases, or a CSV file with columns image and labels"
    rows = [row for _, row in read_table(table, ("image", "labels"), None, what=what)]
    files = [[(table.parent / Path(row[name]).expanduser()).absolute() for name in ("image", "labels")] for row in rows]
    atlases = [Atlas(*pair) for pair in files]
    if not atlases:
        raise _bad(table, "rows below a header with columns image and labels", "none", "add rows")
    for path in (path for atlas in atlases for path in (atlas.image, atlas.labels)):
        if not path.exists():
            raise _bad(path, f"the files that {table} names", "no such file", "check the table")
    return atlases


def _bad(subject: object, expected: str, got: str, remedy: str) -> InputError:
    return InputError(str(subject), expected=expected, got=got, remedy=remedy)
