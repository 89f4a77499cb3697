"""File names of the Brain Imaging Data Structure (BIDS)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from lightcrcf.errors import UsageError

__all__ = ["ImageName", "parse_label", "template_label"]

_DATATYPES = ("anat", "func", "dwi")
# Suffix of the volume that represents a series, as in fMRIPrep and QSIPrep.
_REPRESENTED = {"bold": "boldref", "sbref": "boldref", "dwi": "dwiref"}
# Entities of images before `space`, in the order of the specification.
_BEFORE_SPACE = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip",
    "inv", "mt", "part", "proc", "hemi",
)  # fmt: skip
_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9+]+_)+)([A-Za-z0-9]+)(\.nii(?:\.gz)?)")


@dataclass(frozen=True)
class ImageName:
    """A parsed file name of an image.

    Args:
        entities: such as {"sub": "01", "run": "1"}, in the order of the name.
        suffix: of the modality, such as T1w.
        datatype: anat, func or dwi.
    """

    entities: dict[str, str]
    suffix: str
    datatype: str = "anat"

    @classmethod
    def parse(cls, path: Path) -> ImageName | None:
        """Parse the name of a file; None if it is not a BIDS name of a NIfTI file.

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
        """Folder of the image in a data set, as sub-01/ses-a/anat."""
        session = f"/ses-{self.entities['ses']}" if "ses" in self.entities else ""
        return f"sub-{self.entities['sub']}{session}/{self.datatype}"

    @property
    def representative(self) -> ImageName:
        """Name of the volume that represents a series; of any other image, its own name.

        Example:
            >>> ImageName({"sub": "01", "task": "rest"}, "bold", "func").representative.suffix
            'boldref'
        """
        return replace(self, suffix=_REPRESENTED.get(self.suffix, self.suffix))

    @property
    def stem(self) -> str:
        """Entities that identify the image, without those that describe processing."""
        return "_".join(f"{key}-{self.entities[key]}" for key in _BEFORE_SPACE if key in self.entities)

    def registered(self, space: str, what: str = "registered") -> str:
        """Return the name, without extension, of the image on the grid of a template, or of a map computed there.

        Args:
            space: label of the template.
            what: value of the `desc` entity.

        Example:
            >>> ImageName({"sub": "01", "run": "2"}, "T1w").registered("MNI152NLin2009aSym")
            'sub-01_run-2_space-MNI152NLin2009aSym_desc-registered_T1w'
        """
        return f"{self.stem}_space-{space}_desc-{what}_{self.suffix}"

    def transform(self, space: str, part: str = "", *, back: bool = False) -> str:
        """Return the name, without extension, of a transform of images, or of a part of it.

        Args:
            space: label of the template.
            part: value of the `desc` entity.
            back: whether the transform maps from the template to the image.

        Example:
            >>> ImageName({"sub": "01"}, "T1w").transform("TPL", "warp", back=True)
            'sub-01_from-TPL_to-T1w_mode-image_desc-warp_xfm'
        """
        ends = (space, self.suffix) if back else (self.suffix, space)
        return f"{self.stem}_from-{ends[0]}_to-{ends[1]}_mode-image{f'_desc-{part}' if part else ''}_xfm"


def parse_label(text: str, what: str) -> str:
    """Return a label without prefix such as sub-.

    Args:
        text: the label.
        what: its origin, for the message.

    Raises:
        UsageError: if it is not a BIDS label.
    """
    bare = text.partition("-")[2] if "-" in text else text
    if not re.fullmatch(r"[A-Za-z0-9+]+", bare):
        raise UsageError(what, expected="a label of letters and digits", got=repr(text), remedy="correct it")
    return bare


def template_label(path: Path) -> str:
    """Return the label of a template: after tpl- in its file name, or the letters and digits of the name.

    Example:
        >>> template_label(Path("tpl-MNI152NLin6Asym_res-01_T1w.nii.gz")), template_label(Path("our mean_2.nii"))
        ('MNI152NLin6Asym', 'ourmean2')
    """
    found = re.match(r"tpl-([A-Za-z0-9+]+)_", path.name)
    return found[1] if found else re.sub(r"[^A-Za-z0-9]", "", path.name.split(".")[0]) or "template"
