"""Reading and writing of `run.json`, and its JSON Schema, all from the classes of `record`."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from lightcrcf.options import Options, help_of
from lightcrcf.refinement.schedule import Level
from lightcrcf.run_record.record import RunRecord
from lightcrcf.weights.preparation import Preparation

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["json_schema", "parse", "shipped_schema", "to_json"]

_COMPLETE = (Options, Preparation, Level)  # settings are recorded completely, also where they are None


def to_json(value: Any) -> Any:
    """Return a record, or a part of one, as JSON values; fields whose default is None are left out where they are None.

    Example:
        >>> from lightcrcf.quality.metrics import QualityMetrics
        >>> to_json((QualityMetrics(covered=1.0, affine_scales=(1.0, 1.0, 2.0)), None))
        [{'covered': 1.0, 'affine_scales': [1.0, 1.0, 2.0]}, None]
    """
    if is_dataclass(value):
        kept = [field for field in fields(value) if not _is_absent(value, field.name, field.default)]
        return {field.name: to_json(getattr(value, field.name)) for field in kept}
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    return [to_json(each) for each in value] if isinstance(value, list | tuple) else value


def _is_absent(part: Any, name: str, default: Any) -> bool:
    return default is None and getattr(part, name) is None and not isinstance(part, _COMPLETE)


@cache
def _adapter() -> TypeAdapter[RunRecord]:
    from pydantic import TypeAdapter  # takes a while to import, and most runs read no record

    return TypeAdapter(RunRecord)


def parse(text: str) -> RunRecord:
    """Return the record in the text of a `run.json`, validated; unknown names are ignored.

    Raises:
        ValueError: for text that is no such record; the message names the place and the problem.
    """
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{first['msg']}{f' at {place}' if place else ''}") from None
    except RecursionError as error:
        raise ValueError(str(error)) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `run.json`."""
    schema = _adapter().json_schema()
    for part in (schema, *schema["$defs"].values()):
        part["description"] = part["description"].split("\n\n")[0].replace("\n", " ")
    for name, described in schema["$defs"]["Options"]["properties"].items():
        described["description"] = help_of(name)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def shipped_schema() -> dict[str, Any]:
    """Return the JSON Schema in the package, `lightcrcf/run_record/run.schema.json`."""
    text = (resources.files("lightcrcf.run_record") / "run.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
