"""Values of a recipe in words, from the JSON Schema of its sections: in error messages and in the documentation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

__all__ = ["expected_value", "toml"]

Schema = Mapping[str, Any]

_COUNTS = {2: "two", 3: "three", 4: "four"}
_FORMATS = {"path": "path", "template": "file name with {id}"}
_PATTERN = "name of lower-case letters, digits, dots and hyphens"


def expected_value(schema: Schema) -> str:
    """Describe the valid values of a key.

    Args:
        schema: of the key, from `model_json_schema` of its section.

    Example:
        >>> expected_value({"type": "integer", "minimum": 1}), expected_value({"enum": ["full", "half"]})
        ('integer from 1', '"full" or "half"')
        >>> expected_value({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]})
        'number above 0'
    """
    if "anyOf" in schema:
        return _either([expected_value(each) for each in schema["anyOf"] if each.get("type") != "null"])
    if "enum" in schema or "const" in schema:
        return _either([toml(value) for value in schema.get("enum", [schema.get("const")])])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "array":
        return _array(schema)
    if kind == "string":
        return _PATTERN if "pattern" in schema else _FORMATS.get(schema.get("format", ""), "string")
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return "table of strings"
    return "true or false" if kind == "boolean" else "table"


def _either(choices: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))


def _number(schema: Schema) -> str:
    name = ("odd " if schema.get("odd") else "") + schema["type"]
    if "exclusiveMinimum" in schema:
        return f"{name} above {schema['exclusiveMinimum']:g}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is None and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - 1  # of integers
    until = "" if high is None else f" to {high:g}"
    return name if low is None else f"{name} from {low:g}{until}"


def _array(schema: Schema) -> str:
    if "prefixItems" in schema:
        items = schema["prefixItems"]
        return f"{_COUNTS[len(items)]} {_plural(expected_value(items[0]))}"
    return f"list of {_plural(expected_value(schema['items']))}"


def _plural(words: str) -> str:
    for one, many in (
        ("integer", "integers"),
        ("number", "numbers"),
        ("string", "strings"),
        ("file name", "file names"),
    ):
        if words.startswith(one):
            return many + words[len(one) :]
    return f"{words}s"


def toml(value: Any) -> str:
    """Return a value as a recipe has it, on one line and at most 60 characters.

    Example:
        >>> toml([1, 0.5]), toml("a"), toml(True), toml(float("inf"))
        ('[1, 0.5]', '"a"', 'true', 'inf')
    """
    text = _toml(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(str(value) if isinstance(value, PurePath) else value, default=str, ensure_ascii=False)
