"""Publication of results as a BIDS derivatives data set: file names, sidecars and description."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightcrcf.batch.carried import CARRIED, CARRIED_AFFINE
from lightcrcf.bids.contrasts import Contrast, Lead
from lightcrcf.bids.dataset import DataSet
from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path, read_json, write_json
from lightcrcf.transforms.itk import AFFINE_NAME, FIELD_NAME, INVERSE_FIELD_NAME

__all__ = ["WORK", "BidsTemplate", "check_derivatives_folder", "describe", "publish_contrast", "publish_lead"]

BIDS_VERSION = "1.10.0"
WORK = "lightcrcf"
# The specification has neither transforms nor reference volumes of series; fMRIPrep ignores its own in the same way.
_IGNORED = ("*_xfm.*", "*_boldref.*", "*_dwiref.*", "*.html", f"/{WORK}")
_README = """LightCRCF derivatives
=====================

Images of the source data set, registered to a template with LightCRCF {version}, {how}.

- *_space-*_desc-registered_*.nii.gz: the image on the template's grid, interpolated once.
- *_space-*_desc-jacobian_*.nii.gz, if asked for: mm3 of the image for each mm3 of the template, the affine included;
  *_desc-logjacobian_*.nii.gz: the natural logarithm of the same without the affine. No images, but on the same grid.
{transforms}
- Further contrasts of a participant are aligned rigidly with the one that is registered to the template, and carried
  along by its transform: *_from-T2w_to-T1w_mode-image_xfm.txt, an ITK transform, does the first step, and the two
  transforms to the template do both; *_space-T1w_* lies on the grid of that image. Of functional series the
  single-band reference or the mean volume goes along (boldref), of diffusion series the mean b=0 volume (dwiref):
  *_desc-mean_boldref.nii.gz and *_desc-b0_dwiref.nii.gz are those, on their own grids.
- lightcrcf/index.html: a picture and the verdict of quality control for each image; lightcrcf/summary.csv: figures.

LightCRCF is a research tool and no medical device.
"""
_STRIPPED = "skull-stripped brain"
_MAPS = {"moved.nii.gz": "registered", "jacobian.nii.gz": "jacobian", "log_jacobian.nii.gz": "logjacobian"}
_FIELDS = """\
- *_from-A_to-B_mode-image_desc-affine_xfm.txt and ..._desc-warp_xfm.nii.gz: ITK transforms that move images from A
  to B. Points of B go through the warp first; antsApplyTransforms takes them as "-t WARP -t AFFINE". The way back has
  a warp of its own and the same affine, inverted: "-t [AFFINE,1] -t WARP"."""
_MATRICES = """\
- *_from-A_to-B_mode-image_desc-affine_xfm.txt: ITK transforms that move images from A to B; antsApplyTransforms
  takes them as "-t AFFINE", and for the way back as "-t [AFFINE,1]"."""


@dataclass(frozen=True)
class BidsTemplate:
    """The template of a derivatives data set.

    Args:
        path: of the file.
        label: its BIDS label, letters and digits.
    """

    path: Path
    label: str


def publish_lead(lead: Lead, source: DataSet, out: Path, template: BidsTemplate) -> None:
    """Link the results of a lead image under BIDS names, and remove outdated files."""
    name, results, space = lead.name, lead.results, template.label
    folder = _folder(out / name.folder, results)
    maps = {file: name.registered(space, what) for file, what in _MAPS.items()}
    for file, published in {
        AFFINE_NAME: f"{name.transform(space, 'affine')}.txt",
        FIELD_NAME: f"{name.transform(space, 'warp')}.nii.gz",
        INVERSE_FIELD_NAME: f"{name.transform(space, 'warp', back=True)}.nii.gz",
        **{file: f"{stem}.nii.gz" for file, stem in maps.items()},
    }.items():
        _link(results / file, folder / published)
    _link(results / "report.html", out / f"{name.registered(space)}.html")
    run, origin = read_json(results / "run.json"), source.uri(lead.path)
    for file, stem in maps.items():
        exists = run is not None and (results / file).is_file()
        content = _sidecar_content(run, file, lead, template, origin) if run and exists else None
        _write_sidecar(folder / f"{stem}.json", content)


def publish_contrast(
    contrast: Contrast, results: Path, verdict: str, source: DataSet, out: Path, template: BidsTemplate
) -> None:
    """Link the results of a further image under BIDS names, and remove outdated files.

    Args:
        contrast: the image.
        results: folder of its alignment with the lead image.
        verdict: of its quality control, for the description.
        source, out, template: as for `publish_lead`.
    """
    name, lead, space = contrast.name, contrast.lead, template.label
    native, run = lead.name.suffix, read_json(results / "run.json")
    folder, through = _folder(out / name.folder, results), lead.results if run else results
    steps = {
        through / FIELD_NAME: f"{name.transform(space, 'warp')}.nii.gz",
        results / CARRIED_AFFINE: f"{name.transform(space, 'affine')}.txt",
    }
    rigid = {results / AFFINE_NAME: f"{name.transform(native)}.txt"}
    for file, published in {
        **steps,
        **rigid,
        through / INVERSE_FIELD_NAME: f"{name.transform(space, 'warp', back=True)}.nii.gz",
        results / "moved.nii.gz": f"{name.registered(native)}.nii.gz",
        results / CARRIED: f"{name.registered(space)}.nii.gz",
    }.items():
        _link(file, folder / published)
    _link(results / "report.html", out / f"{name.registered(native)}.html")
    here = out.absolute() in contrast.image.parents
    origin = (
        source.uri(contrast.image) if not here else f"bids::{contrast.image.relative_to(out.absolute()).as_posix()}"
    )
    for stem, onto, used, reference in (
        (name.registered(native), "", rigid, source.uri(lead.path)),
        (name.registered(space), f" and carried along onto {space}", steps, template.path.absolute().as_uri()),
    ):
        about = {
            "Description": f"{name.suffix} image aligned rigidly with {lead.path.name}{onto} by LightCRCF; "
            f"quality control: {verdict}",
            "Sources": [origin, *(f"bids::{name.folder}/{file}" for file in used.values() if (folder / file).exists())],
            "SpatialReference": reference,
            "SkullStripped": run is not None and run["inputs"]["moving"]["content"]["kind"] == _STRIPPED,
        }
        _write_sidecar(folder / f"{stem}.json", about if run else None)


def _folder(folder: Path, results: Path) -> Path:
    """Return the folder, created if there are results."""
    if results.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_sidecar(path: Path, about: Mapping[str, Any] | None) -> None:
    if about is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, dict(about))


def _sidecar_content(
    run: Mapping[str, Any], file: str, lead: Lead, template: BidsTemplate, origin: str
) -> dict[str, Any]:
    """Return the BIDS sidecar of an image on the grid of the template."""
    how, suffix = (
        f"onto {template.label} with LightCRCF, {_transform_phrase(run['options']['transform'])}",
        lead.name.suffix,
    )
    what = {
        "moved.nii.gz": f"{suffix} image moved {how}",
        "jacobian.nii.gz": f"local volume change of the {suffix} image, affine included, moved {how}",
        "log_jacobian.nii.gz": f"logarithm of local volume change of the {suffix} image, affine left out, moved {how}",
    }
    moving = run["inputs"]["moving"]
    return {
        "Description": f"{what[file]}{_brain_phrase(moving.get('brain'))}; quality control: {run['qc']['verdict']}",
        "Sources": [origin],
        "SpatialReference": template.path.absolute().as_uri(),
        "SkullStripped": moving["content"]["kind"] == _STRIPPED,
    }


def _brain_phrase(brain: Mapping[str, Any] | None) -> str:
    """Return a phrase for a head that was registered by its brain alone; empty for other images."""
    alone = brain is not None and brain["registered_alone"]
    return f"; a head, registered by its brain of {brain['litres']:.2f} l alone" if brain and alone else ""


def _link(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it if that is impossible; remove the target if there is no source."""
    if not source.is_file():
        target.unlink(missing_ok=True)
        return
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def check_derivatives_folder(out: Path) -> None:
    """Check that a folder is new or a derivatives data set of LightCRCF.

    Raises:
        InputError: if the folder holds another data set.
    """
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


def _transform_phrase(transform: str) -> str:
    """Return a phrase such as "deformably" or "by a rigid transform"."""
    return (
        "deformably"
        if transform == "deformable"
        else f"by {'an' if transform == 'affine' else 'a'} {transform} transform"
    )


def describe(source: DataSet, out: Path, transform: str) -> None:
    """Write dataset_description.json, README and .bidsignore of the derivatives."""
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
    parts = _FIELDS if transform == "deformable" else _MATRICES
    readme = _README.format(version=version("lightcrcf"), how=_transform_phrase(transform), transforms=parts)
    for name, text in (("README", readme), (".bidsignore", "\n".join(_IGNORED) + "\n")):
        if not (out / name).exists():
            with atomic_path(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
