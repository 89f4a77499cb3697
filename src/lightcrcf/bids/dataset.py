"""A BIDS data set onto a template: images and transforms under BIDS names, in a data set of derivatives."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import Options
from lightcrcf.batch.pairs import Pair
from lightcrcf.batch.run import run_batch
from lightcrcf.batch.summary import Summary, write_summary
from lightcrcf.batch.tally import Tally
from lightcrcf.bids.names import ImageName
from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path, read_json, write_json

__all__ = ["DataSet", "Template", "register_participants"]

BIDS_VERSION = "1.10.0"
WORK = "lightcrcf"
# The specification has no transforms yet, and fMRIPrep lists its own like this.
_IGNORED = ("*_xfm.*", "*.html", f"/{WORK}")
_README = """LightCRCF derivatives
=====================

Images of the source data set, registered to a template with LightCRCF {version}, {how}.

- *_space-*_desc-registered_*.nii.gz: the image on the template's grid, interpolated once.
- *_space-*_desc-jacobian_*.nii.gz, if asked for: mm3 of the image for each mm3 of the template, the affine included;
  *_desc-logjacobian_*.nii.gz: the natural logarithm of the same without the affine. No images, but on the same grid.
{transforms}
- lightcrcf/index.html: a picture and the verdict of quality control for each image; lightcrcf/summary.csv: figures.

LightCRCF is a research tool and no medical device.
"""
_MEASURED = {"moved.nii.gz": "registered", "jacobian.nii.gz": "jacobian", "log_jacobian.nii.gz": "logjacobian"}
_FIELDS = """\
- *_from-A_to-B_mode-image_desc-affine_xfm.txt and ..._desc-warp_xfm.nii.gz: ITK transforms that move images from A
  to B. Points of B go through the warp first; antsApplyTransforms takes them as "-t WARP -t AFFINE". The way back has
  a warp of its own and the same affine, inverted: "-t [AFFINE,1] -t WARP"."""
_MATRICES = """\
- *_from-A_to-B_mode-image_desc-affine_xfm.txt: ITK transforms that move images from A to B; antsApplyTransforms
  takes them as "-t AFFINE", and for the way back as "-t [AFFINE,1]"."""


@dataclass(frozen=True)
class Template:
    """What images are registered to.

    Args:
        path: of the file.
        label: its name in BIDS, letters and digits.
    """

    path: Path
    label: str


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

    def images(self, suffix: str, participants: Sequence[str] = ()) -> list[tuple[Path, ImageName]]:
        """Anatomical images with that suffix, of those participants or of all, sorted; not those in another space.

        Raises:
            InputError: if there is none, of one of the participants.
        """
        found = []
        for path in sorted((*self.folder.glob("sub-*/anat/*"), *self.folder.glob("sub-*/ses-*/anat/*"))):
            name = ImageName.parse(path)
            if name and name.suffix == suffix and "space" not in name.entities and "sub" in name.entities:
                found.append((path, name))
        there = {name.entities["sub"] for _, name in found}
        for wanted in sorted(set(participants) - there) or ([] if there else ["LABEL"]):
            raise InputError(
                str(self.folder), expected=f"an image sub-{wanted}/anat/*_{suffix}.nii.gz", got="none",
                remedy="check the folder, the labels and --suffix",
            )  # fmt: skip
        return [(p, name) for p, name in found if not participants or name.entities["sub"] in participants]


def register_participants(
    source: DataSet,
    out: Path,
    template: Template,
    options: Options,
    *,
    suffix: str = "T1w",
    participants: Sequence[str] = (),
    workers: int = 1,
    scheduler: str | None = None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[Tally], None] | None = None,
) -> Summary:
    """Register the images of participants to a template; what an earlier call finished is not done again.

    Calls for other participants may work in `out` at the same time.

    Args:
        source: where the images are.
        out: the data set of derivatives, made if it does not exist.
        template: what to register to.
        options: how.
        suffix: which images.
        participants: labels without "sub-"; all if empty.
        workers, scheduler, begun, progress: see `batch.run_batch`.

    Returns:
        how the images of these participants stand.

    Raises:
        UsageError: for options that do not fit.
        InputError: if there are no images, or `out` holds something else.
    """
    images = source.images(suffix, participants)
    _check_ours(out)
    pairs = [Pair(f"{n.stem}_{n.suffix}-to-{template.label}", template.path.absolute(), path) for path, n in images]
    claims = sorted({f"-sub-{name.entities['sub']}" for _, name in images})
    work = out / WORK
    summary = run_batch(
        pairs, work, options, workers=workers, scheduler=scheduler, resume=True, retry_failed=True, begun=begun,
        progress=progress, claims=claims,
    )  # fmt: skip
    _describe(source, out, options.transform)
    manifest = Manifest(work)
    for pair, (path, name) in zip(pairs, images, strict=True):
        _publish(manifest.results(pair), out, name, template, path.relative_to(source.folder))
    write_summary(work, manifest.records())
    return summary


def _publish(results: Path, out: Path, name: ImageName, template: Template, source: Path) -> None:
    """Give the results of one image their BIDS names; where there are none, none is left of an earlier run."""
    folder, space = out / name.folder, template.label
    if results.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    measured = {file: name.registered(space, what) for file, what in _MEASURED.items()}
    names = {
        "affine.tfm": f"{name.transform(space, 'affine')}.txt",
        "warp.nii.gz": f"{name.transform(space, 'warp')}.nii.gz",
        "inverse_warp.nii.gz": f"{name.transform(space, 'warp', back=True)}.nii.gz",
        **{file: f"{stem}.nii.gz" for file, stem in measured.items()},
    }
    for file, published in names.items():
        _link(results / file, folder / published)
    _link(results / "report.html", out / f"{name.registered(space)}.html")
    run = read_json(results / "run.json")
    for file, stem in measured.items():
        if run is not None and (results / file).is_file():
            write_json(folder / f"{stem}.json", _about(run, file, name, template, source))
        else:
            (folder / f"{stem}.json").unlink(missing_ok=True)


def _about(run: Mapping[str, Any], file: str, name: ImageName, template: Template, source: Path) -> dict[str, Any]:
    """What BIDS wants to know of an image on the template's grid."""
    how = f"moved onto {template.label} with LightCRCF, {_how(run['options']['transform'])}"
    what = {
        "moved.nii.gz": f"{name.suffix} image {how}",
        "jacobian.nii.gz": f"local volume change of the {name.suffix} image, affine included, {how}",
        "log_jacobian.nii.gz": f"logarithm of local volume change of the {name.suffix} image, affine left out, {how}",
    }
    return {
        "Description": f"{what[file]}; quality control: {run['qc']['verdict']}",
        "Sources": [f"bids:source:{source.as_posix()}"],
        "SpatialReference": template.path.absolute().as_uri(),
        "SkullStripped": run["inputs"]["moving"]["content"]["kind"] == "skull-stripped brain",
    }


def _readme(transform: str) -> str:
    parts = _FIELDS if transform == "deformable" else _MATRICES
    return _README.format(version=version("lightcrcf"), how=_how(transform), transforms=parts)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where links cannot be; nothing of the name where there is no file."""
    if not source.is_file():
        target.unlink(missing_ok=True)
        return
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _check_ours(out: Path) -> None:
    """Refuse to mix with what somebody else made."""
    path = out / "dataset_description.json"
    if not path.exists():
        return
    try:
        made_by = [tool["Name"] for tool in json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"]]
    except (OSError, ValueError, LookupError, TypeError):
        made_by = []
    if "LightCRCF" not in made_by:
        raise InputError(
            str(out), expected="a new folder, or one that `lightcrcf bids` made", got="another data set",
            remedy="choose a folder of its own, such as BIDS_DIR/derivatives/lightcrcf",
        )  # fmt: skip


def _how(transform: str) -> str:
    """In words: "deformably", "by a rigid transform"."""
    return (
        "deformably"
        if transform == "deformable"
        else f"by {'an' if transform == 'affine' else 'a'} {transform} transform"
    )


def _describe(source: DataSet, out: Path, transform: str) -> None:
    """What says of a folder that it is a BIDS data set, and of what."""
    origin = {key: source.description[key] for key in ("DatasetDOI",) if key in source.description}
    description = {
        "Name": f"LightCRCF registrations of {source.description['Name']}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **{key: source.description[key] for key in ("License", "Authors") if key in source.description},
        "GeneratedBy": [
            {
                "Name": "LightCRCF",
                "Version": version("lightcrcf"),
                "Description": f"{transform} registration to a template",
            }
        ],
        "SourceDatasets": [{"URL": source.folder.as_uri(), **({"DOI": origin["DatasetDOI"]} if origin else {})}],
        "DatasetLinks": {"source": source.folder.as_uri()},
    }
    write_json(out / "dataset_description.json", description)
    for name, text in (
        ("README", _readme(transform)),
        (".bidsignore", "\n".join(_IGNORED) + "\n"),
    ):
        if not (out / name).exists():
            with atomic_path(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
