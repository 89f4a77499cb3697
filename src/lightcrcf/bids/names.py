"""File names as the Brain Imaging Data Structure (BIDS) wants them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from lightcrcf.errors import UsageError

__all__ = ["ImageName", "label", "template_label"]

_DATATYPES = ("anat", "func", "dwi")
# A series of volumes is represented by one: what that is called, as fMRIPrep and QSIPrep call it.
_REPRESENTED = {"bold": "boldref", "sbref": "boldref", "dwi": "dwiref"}
# Entities that an image may have, in the order of the specification, up to where `space` comes in.
_BEFORE_SPACE = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip",
    "inv", "mt", "part", "proc", "hemi",
)  # fmt: skip
_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9+]+_)+)([A-Za-z0-9]+)(\.nii(?:\.gz)?)")


@dataclass(frozen=True)
class ImageName:
    """The name of an image, taken apart.

    Args:
        entities: such as {"sub": "01", "run": "1"}, in the order of the name.
        suffix: what kind of image it is, such as T1w.
        datatype: the folder that such images lie in: anat, func or dwi.
    """

    entities: dict[str, str]
    suffix: str
    datatype: str = "anat"

    @classmethod
    def parse(cls, path: Path) -> ImageName | None:
        """The parts of a name; None if it is no BIDS name of a NIfTI file.

        Example:
            >>> ImageName.parse(Path("sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz"))
            ImageName(entities={'sub': '01', 'ses': 'a', 'run': '2'}, suffix='T1w', datatype='anat')
        """
        found = _NAME.fullmatch(path.name)
        if not found:
            return None
        entities = [part.partition("-") for part in found[1].rstrip("_").split("_")]
        datatype = path.parent.name if path.parent.name in _DATATYPES else "anat"
        return cls({key: value for key, _, value in entities}, found[2], datatype)

    @property
    def folder(self) -> str:
        """Where files about the image go: sub-01/ses-a/anat."""
        session = f"/ses-{self.entities['ses']}" if "ses" in self.entities else ""
        return f"sub-{self.entities['sub']}{session}/{self.datatype}"

    @property
    def representative(self) -> ImageName:
        """The name of the one volume that stands for a series; of any other image its own.

        Example:
            >>> ImageName({"sub": "01", "task": "rest"}, "bold", "func").representative.suffix
            'boldref'
        """
        return replace(self, suffix=_REPRESENTED.get(self.suffix, self.suffix))

    @property
    def stem(self) -> str:
        """Entities that say which image it is, without those that say what was done to it."""
        return "_".join(f"{key}-{self.entities[key]}" for key in _BEFORE_SPACE if key in self.entities)

    def registered(self, space: str, what: str = "registered") -> str:
        """Name without ending of the image on a template's grid, or of what was measured of it there.

        Example:
            >>> ImageName({"sub": "01", "run": "2"}, "T1w").registered("MNI152NLin2009aSym")
            'sub-01_run-2_space-MNI152NLin2009aSym_desc-registered_T1w'
        """
        return f"{self.stem}_space-{space}_desc-{what}_{self.suffix}"

    def transform(self, space: str, part: str = "", *, back: bool = False) -> str:
        """Name without ending of a transform that moves images, or of a part of it.

        Example:
            >>> ImageName({"sub": "01"}, "T1w").transform("TPL", "warp", back=True)
            'sub-01_from-TPL_to-T1w_mode-image_desc-warp_xfm'
        """
        ends = (space, self.suffix) if back else (self.suffix, space)
        return f"{self.stem}_from-{ends[0]}_to-{ends[1]}_mode-image{f'_desc-{part}' if part else ''}_xfm"


def label(text: str, what: str) -> str:
    """`text` without a prefix such as sub-, checked.

    Raises:
        UsageError: if it is no label.
    """
    bare = text.partition("-")[2] if "-" in text else text
    if not re.fullmatch(r"[A-Za-z0-9+]+", bare):
        raise UsageError(what, expected="a label of letters and digits", got=repr(text), remedy="correct it")
    return bare


def template_label(path: Path) -> str:
    """What a template is called: after tpl- in its name, or the letters and digits of the name.

    Example:
        >>> template_label(Path("tpl-MNI152NLin6Asym_res-01_T1w.nii.gz")), template_label(Path("our mean_2.nii"))
        ('MNI152NLin6Asym', 'ourmean2')
    """
    found = re.match(r"tpl-([A-Za-z0-9+]+)_", path.name)
    return found[1] if found else re.sub(r"[^A-Za-z0-9]", "", path.name.split(".")[0]) or "template"
