"""Which atlases there are: images with their label maps, from a folder or a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightcrcf.cohort.bids_names import ImageName
from lightcrcf.errors import InputError
from lightcrcf.volumes import Volume, check_same_grid, read
from lightcrcf.volumes.nifti import is_nifti, nifti_grid

__all__ = ["TABLE", "Atlas", "check_atlases", "find_atlases"]

TABLE = "atlases.csv"


@dataclass(frozen=True)
class Atlas:
    """An image that somebody has labelled.

    Args:
        image, labels: files; the label map lies on the image's grid.
    """

    image: Path
    labels: Path


def find_atlases(place: Path, images: str = "T1w", labels: str = "dseg") -> list[Atlas]:
    """Atlases of a folder or a table, sorted.

    Args:
        place: a CSV file with columns `image` and `labels`, paths from its folder on; a folder with such a file
            named atlases.csv; or a folder of BIDS names, `sub-X_T1w.nii.gz` with `sub-X_dseg.nii.gz`, in it or in
            sub-X/anat below it.
        images, labels: the suffixes of BIDS names.

    Raises:
        InputError: if there is none, or a partner is missing; the message has its name.
    """
    if place.is_dir() and not (place / TABLE).is_file():
        return _from_folder(place, images, labels)
    return _from_table(place / TABLE if place.is_dir() else place)


def check_atlases(atlases: Sequence[Atlas]) -> None:
    """Refuse a label map that is not on the grid of its image; of NIfTI files only headers are read.

    Raises:
        InputError: naming the file.
    """
    for atlas in atlases:
        image, labels = _grid_of(atlas.image), _grid_of(atlas.labels)
        check_same_grid(
            labels, image, what="labels on the grid", of=image.source, remedy="resample the labels onto their image"
        )


def _grid_of(path: Path) -> Volume:
    """A volume without voxels of its own; others than NIfTI files are read."""
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
    try:
        text = table.read_text(encoding="utf-8-sig")  # spreadsheets like to begin with a byte order mark
    except UnicodeDecodeError:
        raise _bad(table, "a CSV file in UTF-8", "another encoding", "save it as CSV UTF-8") from None
    except OSError as error:
        expected = "a folder of atlases, or a CSV file with columns image and labels"
        raise _bad(table, expected, error.strerror or str(error), "check the name") from None
    reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=text.partition("\n")[0].count))
    rows = [{str(key).strip(): (cell or "") for key, cell in row.items() if isinstance(cell, str)} for row in reader]
    atlases = []
    for line, row in enumerate(rows, start=2):
        files = [row.get(column, "").strip() for column in ("image", "labels")]
        if not all(files):
            missing = ("image", "labels")[files.index("")]
            raise _bad(f"{table} line {line}", f"a file in column {missing}", "none", "fill it in")
        atlases.append(Atlas(*((table.parent / Path(file).expanduser()).absolute() for file in files)))
    if not atlases:
        raise _bad(table, "rows below a header with columns image and labels", "none", "add rows")
    for path in (path for atlas in atlases for path in (atlas.image, atlas.labels)):
        if not path.exists():
            raise _bad(path, f"the files that {table} names", "no such file", "check the table")
    return atlases


def _bad(subject: object, expected: str, got: str, remedy: str) -> InputError:
    return InputError(str(subject), expected=expected, got=got, remedy=remedy)
