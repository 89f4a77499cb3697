"""A run that was made before: reading its `run.json`, finding its inputs again, repeating it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.options import Options, word_of
from lightcrcf.run_record.environment import cpu_name, versions
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.weights.store import load

__all__ = ["check_unchanged", "command_line", "differences", "options_to_repeat", "read_run"]

_LARGEST = 16 << 20
_DEFAULTS: dict[str, Any] = Options().record()
_SINGLE, _SEVERAL = ("fixed_mask", "moving_mask", "fixed_labels"), ("fixed", "moving", "moving_labels", "also")


def read_run(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record of a run, checked against its schema.

    Args:
        path: `run.json`, or the folder that holds it.

    Raises:
        InputError: if it is missing or no such record.
    """
    path = Path(path)
    path = path / "run.json" if path.is_dir() else path
    try:
        if path.stat().st_size > _LARGEST:
            raise _no_run(path, f"{path.stat().st_size} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _no_run(path, getattr(error, "strerror", None) or str(error)) from None
    return _checked(path, text)


def _checked(path: Path, text: str) -> dict[str, Any]:
    from pydantic import ValidationError  # pydantic takes a while to import, and most runs read no record

    from lightcrcf.run_record.schema import RunRecord

    try:
        RunRecord.model_validate_json(text)
        record: dict[str, Any] = json.loads(text)
    except (ValidationError, ValueError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, first["loc"]))
        raise _no_run(path, f"{first['msg']}{f' at {place}' if place else ''}") from None
    return record


def _no_run(path: Path, got: str) -> InputError:
    return InputError(
        str(path), expected="run.json of `lightcrcf register`", got=got, remedy="give the folder of a finished run"
    )


def check_unchanged(record: Mapping[str, Any], role: str) -> Path:
    """Where the one source of that role lies, or the first one.

    Raises:
        InputError: if it was in memory, is gone, or is not what it was.
    """
    return _found(next(source for source in record["sources"] if source["role"] == role))


def _found(source: Mapping[str, Any]) -> Path:
    role = str(source["role"]).replace("_", " ")
    if source["path"] is None:
        raise InputError(
            f"the run's {role}", expected="a file", got="something in memory", remedy="it cannot be read again"
        )
    path = Path(source["path"])
    try:
        now = fingerprint(path)
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise InputError(
            str(path), expected=f"the {role} of the run", got=got, remedy="put it back where it was"
        ) from None
    if now != source["sha256"]:
        raise InputError(
            str(path),
            expected=f"the {role} of the run, SHA-256 {source['sha256'][:12]}...",
            got=f"another content, {now[:12]}...",
            remedy="restore the file, or register it anew",
        )
    return path


def options_to_repeat(record: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `registration.register.register` that repeat a run, its sources checked one by one.

    Raises:
        InputError: if a source was in memory, is gone or has changed, or the model is not the one of the run.
    """
    options = {name: record["options"].get(name, default) for name, default in _DEFAULTS.items()}
    several: dict[str, list[Path]] = {name: [] for name in _SEVERAL}
    single: dict[str, Path] = {}
    for source in record["sources"]:
        path, role = _found(source), source["role"]
        if role in several:
            several[role].append(path)
        else:
            single[role] = path
    options |= {name: single[name] for name in ("init", "model") if name in single}
    _check_model(record, options["model"])
    masks = {name: single.get(name) for name in _SINGLE}
    return {**several, **options, **masks}


def _check_model(record: Mapping[str, Any], asked: str | os.PathLike[str]) -> None:
    """Refuse where the model of the run is not what its name stands for any more."""
    told = record["model"]
    if told["name"] is None:
        return
    now = load(told["name"] if os.fspath(asked) == "auto" else asked).sha256
    if now != told["sha256"]:
        raise InputError(
            f"model {told['name']}",
            expected=f"the weights of the run, SHA-256 {told['sha256'][:12]}...",
            got=f"others, {now[:12]}...",
            remedy=f"install lightcrcf {record['versions']['lightcrcf']}, or register anew",
        )


def differences(record: Mapping[str, Any]) -> list[str]:
    """What on this machine differs from where a run was made and may change its last bits, in words."""
    from importlib.metadata import version

    here = {"lightcrcf": version("lightcrcf"), **versions()}
    found = [
        f"{package} {record['versions'][package]} then, {here.get(package, 'none')} now"
        for package in ("lightcrcf", "numpy", "numba", "openvino", "nibabel", "SimpleITK")
        if record["versions"].get(package) != here.get(package)
    ]
    if record["machine"]["cpu"] != cpu_name():
        found.append(f"processor {record['machine']['cpu']} then, {cpu_name()} now")
    return found


def command_line(record: Mapping[str, Any], out: str) -> list[str]:
    """The words of a command that registers the same files in the same way; what was in memory is in brackets."""
    words = ["lightcrcf", "register"]
    given = [s for s in record["sources"] if s["role"] not in ("init", "model")]
    for source in given:
        words += [f"--{source['role'].replace('_', '-')}", source["path"] or "[in memory]"]
    words += ["--out", out]
    for name, default in _DEFAULTS.items():
        value = record["options"].get(name, default)
        if value == default:
            continue
        option = word_of(name)
        if isinstance(value, list):
            words += [word for each in value for word in (option, str(each))]
        else:
            words += [option] if value is True else [option, str(value)]
    return words
