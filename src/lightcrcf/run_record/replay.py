"""Repeating an earlier run: reading its `run.json`, finding its inputs unchanged, and comparing the environment."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.options import Options, word_of
from lightcrcf.run_record.environment import cpu_name, versions
from lightcrcf.run_record.input_files import Source, fingerprint
from lightcrcf.run_record.record import RunRecord
from lightcrcf.run_record.schema import parse
from lightcrcf.weights.store import load

__all__ = ["arguments_to_repeat", "check_unchanged", "command_line", "differences", "read_run"]

_MAX_BYTES = 16 << 20
_SINGLE, _SEVERAL = ("fixed_mask", "moving_mask", "fixed_labels"), ("fixed", "moving", "moving_labels", "also")
_COMPARED = ("lightcrcf", "numpy", "nibabel", "SimpleITK")


def read_run(path: str | os.PathLike[str]) -> RunRecord:
    """Read the record of a run.

    Args:
        path: `run.json`, or the folder that holds it.

    Raises:
        InputError: if it is missing or no such record.
    """
    path = Path(path)
    path = path / "run.json" if path.is_dir() else path
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _not_a_run(path, f"{path.stat().st_size} bytes")
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_a_run(path, getattr(error, "strerror", None) or str(error)) from None


def _not_a_run(path: Path, got: str) -> InputError:
    return InputError(
        str(path), expected="run.json of `lightcrcf register`", got=got, remedy="give the folder of a finished run"
    )


def check_unchanged(source: Source) -> Path:
    """Return the path of an input of a run.

    Raises:
        InputError: if the input was in memory, is gone, or has other bytes than at the time of the run.
    """
    role = source.role.replace("_", " ")
    if source.path is None or source.sha256 is None:
        raise InputError(
            f"the run's {role}", expected="a file", got="something in memory", remedy="it cannot be read again"
        )
    path = Path(source.path)
    try:
        now = fingerprint(path)
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise InputError(
            str(path), expected=f"the {role} of the run", got=got, remedy="put it back where it was"
        ) from None
    if now != source.sha256:
        raise InputError(
            str(path),
            expected=f"the {role} of the run, SHA-256 {source.sha256[:12]}...",
            got=f"another content, {now[:12]}...",
            remedy="restore the file, or register it anew",
        )
    return path


def arguments_to_repeat(record: RunRecord) -> dict[str, Any]:
    """Return the arguments of `registration.register.register` that repeat a run, each input checked.

    Raises:
        InputError: if an input was in memory, is gone or has changed, or the model is not the one of the run.
    """
    options = asdict(record.options)
    several: dict[str, list[Path]] = {name: [] for name in _SEVERAL}
    single: dict[str, Path] = {}
    for source in record.sources:
        path = check_unchanged(source)
        if source.role in several:
            several[source.role].append(path)
        else:
            single[source.role] = path
    options |= {name: single[name] for name in ("init", "model") if name in single}
    _check_model(record, options["model"])
    masks = {name: single.get(name) for name in _SINGLE}
    return {**several, **options, **masks}


def _check_model(record: RunRecord, asked: str | os.PathLike[str]) -> None:
    """Raise InputError if the model of the run has other weights now."""
    name, sha256 = record.model.name, record.model.sha256
    if name is None or sha256 is None:
        return
    now = load(name if os.fspath(asked) == "auto" else asked).sha256
    if now != sha256:
        raise InputError(
            f"model {name}",
            expected=f"the weights of the run, SHA-256 {sha256[:12]}...",
            got=f"others, {now[:12]}...",
            remedy=f"install lightcrcf {record.versions['lightcrcf']}, or register anew",
        )


def differences(record: RunRecord) -> list[str]:
    """Return differences between this machine and that of a run which may change the last bits of the result."""
    from importlib.metadata import version

    here = {"lightcrcf": version("lightcrcf"), **versions()}
    found = [
        f"{package} {record.versions[package]} then, {here.get(package, 'none')} now"
        for package in _COMPARED
        if record.versions.get(package) != here.get(package)
    ]
    if record.machine.cpu != cpu_name():
        found.append(f"processor {record.machine.cpu} then, {cpu_name()} now")
    return found


def command_line(record: RunRecord, out: str) -> list[str]:
    """Return the arguments of a command that registers the same files in the same way; `[in memory]` for no file."""
    words = ["lightcrcf", "register"]
    for source in record.sources:
        if source.role not in ("init", "model"):
            words += [f"--{source.role.replace('_', '-')}", source.path or "[in memory]"]
    words += ["--out", out]
    for field in fields(Options):
        value, option = getattr(record.options, field.name), word_of(field.name)
        if value == field.default:
            continue
        if isinstance(value, tuple):
            words += [word for each in value for word in (option, str(each))]
        else:
            words += [option] if value is True else [option, str(value)]
    return words
