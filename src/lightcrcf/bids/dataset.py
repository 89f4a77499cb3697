"""A BIDS data set: its description, and the images in it that can be registered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.bids.names import ImageName
from lightcrcf.errors import InputError, UsageError

__all__ = ["CONTRASTS", "DataSet", "NamedImage", "parse_contrasts"]

CONTRASTS = {
    "T1w": "anat", "T2w": "anat", "FLAIR": "anat", "PDw": "anat", "T2starw": "anat", "inplaneT1": "anat",
    "inplaneT2": "anat", "bold": "func", "dwi": "dwi",
}  # fmt: skip
"""Suffixes of further contrasts, with their BIDS data type."""

NamedImage = tuple[Path, ImageName]


def parse_contrasts(text: str, lead: str) -> tuple[str, ...]:
    """Parse "all", "none" or a list of suffixes such as "T2w,FLAIR".

    Args:
        text: value of the option.
        lead: suffix of the lead image, which is excluded.

    Raises:
        UsageError: for an unknown suffix.

    Example:
        >>> parse_contrasts("FLAIR, bold", "T1w"), parse_contrasts("none", "T1w")
        (('FLAIR', 'bold'), ())
    """
    if text == "none":
        return ()
    words = tuple(CONTRASTS) if text == "all" else tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in CONTRASTS:
            raise UsageError(
                "--contrasts", expected=f"all, none, or some of {', '.join(CONTRASTS)} with commas between",
                got=repr(word), remedy="correct it",
            )  # fmt: skip
    return tuple(dict.fromkeys(word for word in words if word != lead))


@dataclass(frozen=True)
class DataSet:
    """A BIDS data set.

    Args:
        folder: of the data set.
        description: content of its dataset_description.json.
    """

    folder: Path
    description: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> DataSet:
        """Open a folder.

        Raises:
            InputError: if it is not a BIDS data set.
        """
        folder = folder.absolute()
        try:
            description = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
            return cls(folder, {"Name": str(description.get("Name", folder.name)), **description})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                str(folder), expected="a BIDS data set with a dataset_description.json",
                got=getattr(error, "strerror", None) or "a damaged one", remedy="check the folder",
            ) from None  # fmt: skip

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of a file of the data set, for derivatives."""
        return f"bids:source:{path.relative_to(self.folder).as_posix()}"

    def images(self, suffix: str, participants: Sequence[str] = ()) -> list[NamedImage]:
        """Return anatomical images with this suffix, sorted; without images that have a `space` entity.

        Args:
            suffix: BIDS suffix.
            participants: labels; all if empty.

        Raises:
            InputError: if there are none for one of the participants.
        """
        found = [(path, name) for path, name in self._images_in("anat") if name.suffix == suffix]
        there = {name.entities["sub"] for _, name in found}
        for wanted in sorted(set(participants) - there) or ([] if there else ["LABEL"]):
            raise InputError(
                str(self.folder), expected=f"an image sub-{wanted}/anat/*_{suffix}.nii.gz", got="none",
                remedy="check the folder, the labels and --suffix",
            )  # fmt: skip
        return [(p, name) for p, name in found if not participants or name.entities["sub"] in participants]

    def contrasts(self, suffixes: Sequence[str], participants: Sequence[str] = ()) -> list[NamedImage]:
        """Return images and series with these suffixes, sorted.

        Processed images (`desc-`), parts of complex images other than the magnitude, and later echoes are excluded.

        Args:
            suffixes: BIDS suffixes.
            participants: labels; all if empty.
        """
        found = [
            (path, name)
            for datatype in dict.fromkeys(CONTRASTS[suffix] for suffix in suffixes)
            for path, name in self._images_in(datatype)
            if name.suffix in suffixes
            and CONTRASTS[name.suffix] == datatype
            and "desc" not in name.entities
            and name.entities.get("part", "mag") == "mag"
            and (not participants or name.entities["sub"] in participants)
        ]
        return _first_echoes(found)

    def _images_in(self, datatype: str) -> Iterator[NamedImage]:
        """Yield all images of a datatype with a BIDS name, sorted; without images that have a `space` entity."""
        paths = (*self.folder.glob(f"sub-*/{datatype}/*"), *self.folder.glob(f"sub-*/ses-*/{datatype}/*"))
        for path in sorted(paths):
            name = ImageName.parse(path)
            if name and "space" not in name.entities and "sub" in name.entities:
                yield path, name


def _first_echoes(images: Sequence[NamedImage]) -> list[NamedImage]:
    """Return the images without those that differ from another one only by a later echo."""
    first: dict[tuple[Any, ...], NamedImage] = {}
    for path, name in images:
        rest = tuple((key, value) for key, value in name.entities.items() if key != "echo")
        _, other = first.setdefault((name.suffix, rest), (path, name))
        if _echo(name) < _echo(other):
            first[name.suffix, rest] = path, name
    return list(first.values())


def _echo(name: ImageName) -> int:
    number = name.entities.get("echo", "")
    return int(number) if number.isdecimal() else 0
