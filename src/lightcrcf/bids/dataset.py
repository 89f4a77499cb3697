"""A BIDS data set: its description, and the images in it that can be registered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.bids.names import ImageName
from lightcrcf.errors import InputError, UsageError

__all__ = ["CONTRASTS", "DataSet", "Image", "chosen_contrasts"]

CONTRASTS = {
    "T1w": "anat", "T2w": "anat", "FLAIR": "anat", "PDw": "anat", "T2starw": "anat", "inplaneT1": "anat",
    "inplaneT2": "anat", "bold": "func", "dwi": "dwi",
}  # fmt: skip
"""Suffixes of the images that go along with the one that is registered to the template, and where they lie."""

Image = tuple[Path, ImageName]


def chosen_contrasts(text: str, lead: str) -> tuple[str, ...]:
    """The suffixes that "all", "none" or a list such as "T2w,FLAIR" names.

    Args:
        text: what was typed.
        lead: the suffix that is registered to the template itself.

    Raises:
        UsageError: for a suffix that cannot go along.

    Example:
        >>> chosen_contrasts("FLAIR, bold", "T1w"), chosen_contrasts("none", "T1w")
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
        description: what its dataset_description.json holds.
    """

    folder: Path
    description: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> DataSet:
        """Look at a folder.

        Raises:
            InputError: if it is no BIDS data set.
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
        """A file of the data set, as derivatives name it."""
        return f"bids:source:{path.relative_to(self.folder).as_posix()}"

    def images(self, suffix: str, participants: Sequence[str] = ()) -> list[Image]:
        """Anatomical images with that suffix, of those participants or of all, sorted; not those in another space.

        Raises:
            InputError: if there is none, of one of the participants.
        """
        found = [(path, name) for path, name in self._named("anat") if name.suffix == suffix]
        there = {name.entities["sub"] for _, name in found}
        for wanted in sorted(set(participants) - there) or ([] if there else ["LABEL"]):
            raise InputError(
                str(self.folder), expected=f"an image sub-{wanted}/anat/*_{suffix}.nii.gz", got="none",
                remedy="check the folder, the labels and --suffix",
            )  # fmt: skip
        return [(p, name) for p, name in found if not participants or name.entities["sub"] in participants]

    def contrasts(self, suffixes: Sequence[str], participants: Sequence[str] = ()) -> list[Image]:
        """Images and series with those suffixes, of those participants or of all, sorted.

        Left out: what somebody has processed (`desc-`), parts of complex images other than the magnitude, and all but
        the first of several echoes.
        """
        found = [
            (path, name)
            for datatype in dict.fromkeys(CONTRASTS[suffix] for suffix in suffixes)
            for path, name in self._named(datatype)
            if name.suffix in suffixes
            and CONTRASTS[name.suffix] == datatype
            and "desc" not in name.entities
            and name.entities.get("part", "mag") == "mag"
            and (not participants or name.entities["sub"] in participants)
        ]
        return _first_echoes(found)

    def _named(self, datatype: str) -> Iterator[Image]:
        """All images of a datatype that have a BIDS name, sorted; not those in another space."""
        paths = (*self.folder.glob(f"sub-*/{datatype}/*"), *self.folder.glob(f"sub-*/ses-*/{datatype}/*"))
        for path in sorted(paths):
            name = ImageName.parse(path)
            if name and "space" not in name.entities and "sub" in name.entities:
                yield path, name


def _first_echoes(images: Sequence[Image]) -> list[Image]:
    """The images without those that differ from another one by a later echo alone."""
    first: dict[tuple[Any, ...], Image] = {}
    for path, name in images:
        rest = tuple((key, value) for key, value in name.entities.items() if key != "echo")
        _, other = first.setdefault((name.suffix, rest), (path, name))
        if _echo(name) < _echo(other):
            first[name.suffix, rest] = path, name
    return list(first.values())


def _echo(name: ImageName) -> int:
    number = name.entities.get("echo", "")
    return int(number) if number.isdecimal() else 0
