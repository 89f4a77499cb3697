"""The folder of records, `DATE-NAME.json` in `benchmarks/history`: finding the newest of a name, and reading it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lightcrcf.errors import InputError

__all__ = ["has_record", "newest", "newest_valid", "parsed", "plain"]

T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=BaseModel)


def has_record(folder: Path, name: str) -> bool:
    """Return whether there is a record of this name."""
    return any(folder.glob(f"????-??-??-{name}.json"))


def newest(folder: Path, name: str) -> Path:
    """Return the newest record of that name.

    Raises:
        InputError: if there is none.
    """
    files = sorted(folder.glob(f"????-??-??-{name}.json"))
    if not files:
        raise InputError(str(folder), expected=f"a record named {name}", got="none", remedy="measure it first")
    return files[-1]


def parsed(path: Path, parse: Callable[[str], T], expected: str) -> T:
    """Parse a file by a pydantic model.

    Raises:
        InputError: if it is no valid record.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(str(path), expected=f"a record, {expected}", got=first, remedy="measure it again") from error


def newest_valid(folder: Path, name: str, model: type[RecordT]) -> RecordT:
    """Return the newest record of that name in a folder of `DATE-NAME.json` files.

    Args:
        folder: of the records.
        name: of the record.
        model: of its content, whose format has a default.

    Raises:
        InputError: if there is none, or it is no valid record.
    """
    form = model.model_fields["format"].default
    return parsed(newest(folder, name), model.model_validate_json, f"format {form} 1")


def plain(path: Path, form: str) -> dict[str, Any]:
    """Return a record that is read as it is, of the format `form`.

    Raises:
        InputError: if it is none.
    """
    record: Any = parsed(path, json.loads, f"format {form}")
    if not isinstance(record, dict) or record.get("format") != form:
        got = str(record.get("format")) if isinstance(record, dict) else type(record).__name__
        raise InputError(str(path), expected=form, got=got, remedy="choose another file")
    return record
