"""Further images of a participant, and the lead image that carries each to the template."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.batch.carried import CarriedPair
from lightcrcf.batch.options import BatchOptions
from lightcrcf.bids.dataset import DataSet, NamedImage
from lightcrcf.bids.names import ImageName
from lightcrcf.errors import LightCRCFError
from lightcrcf.files import read_json, write_json
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.volumes import write
from lightcrcf.volumes.formats.nifti import nifti_shape
from lightcrcf.volumes.series import mean_volume

__all__ = ["Contrast", "Lead", "alignment_options", "contrasts_of"]

# Largest b-value of a volume without diffusion weighting, in s/mm2; some scanners write small values instead of 0.
_MAX_B0 = 50.0


@dataclass(frozen=True)
class Lead:
    """An image that is registered to the template itself.

    Args:
        path: of the image.
        name: its BIDS name.
        results: folder of its registration.
        state: its verdict, or "failed"; see `work.state_of`.
    """

    path: Path
    name: ImageName
    results: Path
    state: str


@dataclass(frozen=True)
class Contrast:
    """A further image of a participant.

    Args:
        source: file of the data set.
        name: of the registered volume; for a series, of its representative volume.
        image: the registered volume: the file itself, or one computed from it.
        lead: the image that carries it to the template.
        pair: the alignment with the lead image.
    """

    source: Path
    name: ImageName
    image: Path
    lead: Lead
    pair: CarriedPair


def alignment_options(options: BatchOptions) -> BatchOptions:
    """Return the options for aligning further images with their lead: rigid, since both show one subject."""
    return BatchOptions(
        transform="rigid", coarsen=options.coarsen, engine=options.engine, device=options.device,
        precision=options.precision, threads=options.threads, fill=options.fill, report=options.report,
    )  # fmt: skip


def contrasts_of(
    source: DataSet, images: Sequence[NamedImage], leads: Sequence[Lead], out: Path, template: str
) -> list[Contrast]:
    """Assign a lead image to each further image; warn about images without one.

    Args:
        source: the data set.
        images: from `DataSet.contrasts`.
        leads: images registered to the template.
        out: the derivatives data set, for the mean volumes of series.
        template: label of the template.
    """
    found = []
    for path, name in images:
        lead = _lead_of(name, leads)
        if lead is None:
            warnings.warn(f"{path}: left out, since its participant has no {leads[0].name.suffix} image", stacklevel=3)
            continue
        image = _volume_of(source, path, name, out)
        if image is None:
            warnings.warn(f"{path}: left out, since no .bval file beside it tells its b=0 volumes", stacklevel=3)
            continue
        shown = name.representative
        pair = CarriedPair(f"{shown.stem}_{shown.suffix}-to-{template}", lead.path, image, through=lead.results)
        found.append(Contrast(path, shown, image, lead, pair))
    return found


def _lead_of(name: ImageName, leads: Sequence[Lead]) -> Lead | None:
    """Return the lead image of the participant: with a result, of the same session and not failing, if possible."""

    def rank(lead: Lead) -> tuple[bool, ...]:
        elsewhere = lead.name.entities.get("ses") != name.entities.get("ses")
        return lead.state == "failed", elsewhere, lead.state == "fail"

    return min((lead for lead in leads if lead.name.entities["sub"] == name.entities["sub"]), key=rank, default=None)


def _volume_of(source: DataSet, path: Path, name: ImageName, out: Path) -> Path | None:
    """Return the file to register: of a series its single-band reference or a mean volume; None without b=0 volumes.

    An unreadable file is returned as it is: its registration reports the error. Outdated mean volumes are removed.
    """
    if name.suffix not in ("bold", "dwi"):
        return path
    shown, what = name.representative, "mean" if name.suffix == "bold" else "b0"
    target = out / name.folder / f"{shown.stem}_desc-{what}_{shown.suffix}.nii.gz"
    image = _series_volume(source, path, name, target)
    if image != target:
        for stale in (_sidecar(target), target):
            stale.unlink(missing_ok=True)
    return image


def _series_volume(source: DataSet, path: Path, name: ImageName, target: Path) -> Path | None:
    reference = path.with_name(path.name.replace("_bold.nii", "_sbref.nii"))
    if name.suffix == "bold" and reference != path and reference.is_file():
        return reference
    numbers = _b0_volumes(path) if name.suffix == "dwi" else None
    if name.suffix == "dwi" and not numbers:
        return None
    try:
        if nifti_shape(path)[3:] in ((), (1,)):
            return path
        _write_mean(source, path, numbers, target)
    except LightCRCFError:
        return path
    return target


def _b0_volumes(path: Path) -> list[int]:
    """Return the indices of the b=0 volumes of a diffusion series; empty without a readable .bval file."""
    table = path.with_name(f"{path.name.partition('.')[0]}.bval")
    try:
        values = [float(word) for word in table.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []
    return [number for number, value in enumerate(values) if value <= _MAX_B0]


def _write_mean(source: DataSet, path: Path, numbers: list[int] | None, target: Path) -> None:
    """Write the mean volume of a series with its sidecar; skip it if the series is unchanged.

    Raises:
        LightCRCFError: if the series cannot be read.
    """
    known: dict[str, Any] = {"SourceSHA256": fingerprint(path), "Volumes": "all" if numbers is None else numbers}
    found = read_json(_sidecar(target))
    if found is not None and target.is_file() and all(found.get(key) == value for key, value in known.items()):
        return
    _sidecar(target).unlink(missing_ok=True)
    volume = mean_volume(path, numbers)
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, volume)
    which = "all volumes" if numbers is None else "the volumes without diffusion weighting"
    description = f"mean of {which}, motion not corrected"
    write_json(_sidecar(target), {"Description": description, "Sources": [source.uri(path)], **known})


def _sidecar(image: Path) -> Path:
    return image.with_name(f"{image.name.partition('.')[0]}.json")
