"""Saving a registration: all of its files appear, or none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.registration.register import Registration
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.run_record.record import RunRecord
from lightcrcf.run_record.schema import to_json
from lightcrcf.transforms.itk import write_affine, write_field
from lightcrcf.volumes import Volume, write

__all__ = ["check_output_folder", "save"]


def check_output_folder(folder: str | os.PathLike[str]) -> None:
    """Raise now the error that `save` would raise after the work; create nothing.

    Raises:
        InputError: if the folder, or the closest one above it that exists, cannot be written to.
    """
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - as in `atomic_path`
    existing = next(p for p in (path, *path.parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        got = "no permission to write" if existing.is_dir() else "a file of that name"
        raise InputError(str(existing), expected="a folder for the results", got=got, remedy="choose another place")


def save(
    registration: Registration,
    folder: str | os.PathLike[str],
    *,
    extra_files: Mapping[str, Callable[[Path], None]] | None = None,
) -> RunRecord:
    """Write a registration to a folder; the folder appears, or its files are replaced, when all are complete.

    Files of an earlier run that this one does not replace are removed. run.json comes last: a folder that has it is
    complete.

    Args:
        registration: to write.
        folder: made if it does not exist, with those above it.
        extra_files: name of each further file, and the function that writes it to a path.

    Returns:
        the content of run.json: the record of the registration, with all files and their checksums.

    Raises:
        InputError: if the folder cannot be written to.
    """
    check_output_folder(folder)
    target, extra = Path(os.path.abspath(folder)), extra_files or {}  # noqa: PTH100
    earlier = _earlier_files(target)
    _protect_inputs(registration, target, earlier)
    with _parents(target), atomic_path(target, last="run.json") as temporary:
        temporary.mkdir()
        files = _write_volumes(registration, temporary) | _write_transforms(registration, temporary)
        hashes = {name: fingerprint(temporary / name) for name in files}
        for name, writer in extra.items():
            writer(temporary / name)
            files[name] = "report with pictures" if name == "report.html" else "further output"
        _protect_inputs(registration, target, files)
        record = replace(registration.record, files=files, files_sha256=hashes)
        (temporary / "run.json").write_text(json.dumps(to_json(record), indent=2) + "\n", encoding="utf-8")
        (target / "run.json").unlink(missing_ok=True)
        for name in earlier - set(files):  # an old warp.nii.gz beside a new affine.tfm would be another transform
            (target / name).unlink(missing_ok=True)
    return record


def _write_volumes(registration: Registration, folder: Path) -> dict[str, str]:
    """Write all volumes; return the description of each file."""
    volumes = _volumes(registration)
    for name, (volume, _) in volumes.items():
        like = registration.moving if name == "brain_mask_moving.nii.gz" else registration.fixed
        write(folder / name, volume, like=like)
    return {name: description for name, (_, description) in volumes.items()}


def _volumes(registration: Registration) -> dict[str, tuple[Volume, str]]:
    """Return all volumes of a registration with their descriptions, by the name of the file."""
    volumes = {"moved.nii.gz": (registration.moved, "the moving image on the fixed grid")}
    for source, labels in registration.moved_labels.items():
        volumes[_free_name("moved_labels", volumes)] = (labels, f"labels moved from {source}")
    for source, image in registration.also.items():
        volumes[_free_name(f"moved_{_stem(source)}", volumes)] = (image, f"moved from {source}")
    for role, mask in zip(("fixed", "moving"), registration.brain_masks, strict=True):
        if mask is not None:
            volumes[f"brain_mask_{role}.nii.gz"] = mask, f"brain mask of the {role} image, on its grid"
    if registration.jacobian is not None:
        volumes["jacobian.nii.gz"] = registration.jacobian.determinant, "moving volume to fixed volume, affine included"
        volumes["log_jacobian.nii.gz"] = registration.jacobian.log, "natural logarithm of it, without the affine"
    return volumes


def _earlier_files(folder: Path) -> set[str]:
    """Return the files of an earlier run in the folder, as its run.json lists them."""
    try:
        files = json.loads((folder / "run.json").read_text(encoding="utf-8"))["files"]
        return {name for name in files if Path(name).name == name}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def _protect_inputs(registration: Registration, folder: Path, names: Iterable[str]) -> None:
    """Refuse to replace or remove inputs."""
    pairs = ((registration.fixed, registration.moving), *registration.further)
    images = [image.source for pair in pairs for image in pair]
    inputs = [Path(s) for s in (*images, *registration.moved_labels, *registration.also)]
    for path in (folder / name for name in names):
        if path.exists() and any(i.exists() and i.samefile(path) for i in inputs):
            raise InputError(
                str(path),
                expected="a folder that holds none of the inputs",
                got="an input that the results would replace",
                remedy="choose another folder",
            )


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make the folders above `target`; remove new ones if the block fails."""
    new = [p for p in target.parents if not p.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(
                str(target), expected="a folder for the results", got=str(error.strerror), remedy="choose another place"
            ) from None
        raise


def _write_transforms(registration: Registration, folder: Path) -> dict[str, str]:
    """Write the transform, and its inverse if there is one; return the description of each file."""
    chain, files = registration.transform, {"affine.tfm": "ITK affine, fixed to moving points, applied last"}
    write_affine(folder / "affine.tfm", chain.after)
    if chain.field is not None:
        write_field(folder / "warp.nii.gz", chain.field)
        files["warp.nii.gz"] = "ITK displacement field on the fixed grid or its half, applied to points first"
    if registration.inverse is not None and registration.inverse.field is not None:
        write_field(folder / "inverse_warp.nii.gz", registration.inverse.field)
        files["inverse_warp.nii.gz"] = "ITK displacement field of the inverse, applied after the inverse affine"
    return files


def _stem(source: str) -> str:
    name = Path(source).name
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".")
    return name or "image"


def _free_name(stem: str, taken: Mapping[str, Any]) -> str:
    """Return `stem`.nii.gz, with a number if that is taken."""
    candidates = [f"{stem}.nii.gz", *(f"{stem}_{n}.nii.gz" for n in range(2, len(taken) + 3))]
    return next(name for name in candidates if name not in taken)
