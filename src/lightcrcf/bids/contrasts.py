"""Which further images of a participant go along with which image that is registered to the template."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.batch.carried import CarriedPair
from lightcrcf.batch.options import Options
from lightcrcf.bids.dataset import DataSet, Image
from lightcrcf.bids.names import ImageName
from lightcrcf.errors import LightCRCFError
from lightcrcf.files import read_json, write_json
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.volumes import write
from lightcrcf.volumes.formats.nifti import nifti_shape
from lightcrcf.volumes.series import mean_volume

__all__ = ["Contrast", "Lead", "aligned_by", "contrasts_of"]

# A diffusion volume counts as without diffusion weighting up to here, in s/mm2, as scanners do not write 0 only.
_MOST_B0 = 50.0


@dataclass(frozen=True)
class Lead:
    """An image that is registered to the template itself.

    Args:
        path, name: of the image.
        results: folder of its registration.
        state: the verdict on it, or "failed"; see `work.state_of`.
    """

    path: Path
    name: ImageName
    results: Path
    state: str


@dataclass(frozen=True)
class Contrast:
    """A further image of a participant.

    Args:
        source: the file of the data set.
        name: of what is registered: of a series that of the volume that stands for it.
        image: the volume that is registered: the file itself, or one made of it.
        lead: the image that takes it along.
        pair: to align it with that image and to carry it along.
    """

    source: Path
    name: ImageName
    image: Path
    lead: Lead
    pair: CarriedPair


def aligned_by(options: Options) -> Options:
    """How further images are aligned with the one that takes them along: they show the same person."""
    return Options(
        transform="rigid", coarsen=options.coarsen, engine=options.engine, device=options.device,
        precision=options.precision, threads=options.threads, fill=options.fill, report=options.report,
    )  # fmt: skip


def contrasts_of(
    source: DataSet, images: Sequence[Image], leads: Sequence[Lead], out: Path, template: str
) -> list[Contrast]:
    """The further images with what takes each along; a warning names those for which there is nothing.

    Args:
        source: the data set.
        images: as `DataSet.contrasts` finds them.
        leads: what is registered to the template.
        out: the data set of derivatives, for the mean volumes of series.
        template: its label.
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
    """The participant's image that takes an image along: one with a result, of the same session, that does not fail."""

    def rank(lead: Lead) -> tuple[bool, ...]:
        elsewhere = lead.name.entities.get("ses") != name.entities.get("ses")
        return lead.state == "failed", elsewhere, lead.state == "fail"

    return min((lead for lead in leads if lead.name.entities["sub"] == name.entities["sub"]), key=rank, default=None)


def _volume_of(source: DataSet, path: Path, name: ImageName, out: Path) -> Path | None:
    """The file to register: of a series its single-band reference, or a mean volume; None if it has no b=0 volumes.

    What cannot be read stays as it is: its registration will tell. No mean volume of an earlier series is left.
    """
    if name.suffix not in ("bold", "dwi"):
        return path
    shown, what = name.representative, "mean" if name.suffix == "bold" else "b0"
    target = out / name.folder / f"{shown.stem}_desc-{what}_{shown.suffix}.nii.gz"
    image = _of_series(source, path, name, target)
    if image != target:
        for stale in (_sidecar(target), target):
            stale.unlink(missing_ok=True)
    return image


def _of_series(source: DataSet, path: Path, name: ImageName, target: Path) -> Path | None:
    reference = path.with_name(path.name.replace("_bold.nii", "_sbref.nii"))
    if name.suffix == "bold" and reference != path and reference.is_file():
        return reference
    numbers = _without_diffusion(path) if name.suffix == "dwi" else None
    if name.suffix == "dwi" and not numbers:
        return None
    try:
        if nifti_shape(path)[3:] in ((), (1,)):
            return path
        _write_mean(source, path, numbers, target)
    except LightCRCFError:
        return path
    return target


def _without_diffusion(path: Path) -> list[int]:
    """Numbers of the volumes of a diffusion series that are not weighted; none if no file tells."""
    table = path.with_name(f"{path.name.partition('.')[0]}.bval")
    try:
        values = [float(word) for word in table.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []
    return [number for number, value in enumerate(values) if value <= _MOST_B0]


def _write_mean(source: DataSet, path: Path, numbers: list[int] | None, target: Path) -> None:
    """Write the mean volume of a series, and what it was made of; nothing to do if the series is the same still.

    Raises:
        LightCRCFError: if it cannot be made.
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
