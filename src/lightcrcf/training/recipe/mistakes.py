"""Reading of recipes: all of their mistakes at once, each with its key, what is expected and what was got."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from lightcrcf.errors import InputError, InputErrors
from lightcrcf.training.recipe.section import LENIENT, Section
from lightcrcf.training.recipe.words import expected_value, toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Key", "Mistake", "Reading", "mistakes_error", "read_recipe", "read_section"]

AnySection = TypeVar("AnySection", bound=Section)
Key = tuple[str | int, ...]

_RECIPE = "a TOML training configuration (recipes/*.toml)"
_PLACEHOLDERS: Mapping[str, Any] = {"integer": 1, "number": 1.0, "string": "x"}
_MOST_PASSES = 4  # of repairing: values that a repaired union hid


@dataclass(frozen=True)
class Mistake:
    """A value that a recipe must not have, or lacks.

    Args:
        key: of it, from the top of the recipe.
        expected, got, remedy: as for `InputError`.
    """

    key: Key
    expected: str
    got: str
    remedy: str = "correct this value"

    @property
    def dotted(self) -> str:
        """The key as written, list items by their number from 0."""
        return ".".join(map(str, self.key))


@dataclass(frozen=True, eq=False)
class Reading(Generic[AnySection]):
    """A recipe as read.

    Args:
        recipe: its sections, with mistakes replaced by defaults; None if that is impossible.
        mistakes: of its values.
        values: the tables of the file.
    """

    recipe: AnySection | None
    mistakes: list[Mistake]
    values: Mapping[str, Any]

    def is_sound(self, *key: str | int) -> bool:
        """Return whether nothing is wrong at this key or below it."""
        return not any(mistake.key[: len(key)] == key for mistake in self.mistakes)

    def in_order(self, mistakes: Sequence[Mistake]) -> list[Mistake]:
        """Sort mistakes as the recipe has their keys; missing ones come last in their section."""
        return sorted(mistakes, key=lambda mistake: self._places(mistake.key))

    def _places(self, key: Key) -> list[int]:
        at: Any = self.values
        places: list[int] = []
        for part in key:
            keys = list(at) if isinstance(at, Mapping) else list(range(len(at))) if isinstance(at, list) else []
            places.append(keys.index(part) if part in keys else len(keys))
            at = at[part] if part in keys else None
        return places


def mistakes_error(path: Path, mistakes: Sequence[Mistake]) -> InputError:
    """Return the error for one or several mistakes of a recipe."""
    where = f"{path} " if len(mistakes) == 1 else ""
    each = [InputError(f"{where}[{m.dotted}]", expected=m.expected, got=m.got, remedy=m.remedy) for m in mistakes]
    return each[0] if len(each) == 1 else InputErrors(str(path), expected="a recipe without mistakes", each=each)


def read_section(path: Path, section: type[AnySection]) -> AnySection:
    """Read and check a TOML file as a section; paths stay unchanged.

    Raises:
        InputError: if the file is missing or no TOML, or values are invalid; the message names all of them.
    """
    reading = read_recipe(path, section)
    if reading.recipe is None or reading.mistakes:
        raise mistakes_error(path, reading.in_order(reading.mistakes))
    return reading.recipe


def read_recipe(path: Path, section: type[AnySection]) -> Reading[AnySection]:
    """Read a TOML file as a section, and collect its mistakes.

    Raises:
        InputError: if the file is missing or no TOML.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), expected=_RECIPE, got=str(error.strerror), remedy="check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), expected=_RECIPE, got=f"broken TOML: {error}", remedy="mend that line") from None
    return _collect(values, section)


def _collect(values: dict[str, Any], section: type[AnySection]) -> Reading[AnySection]:
    schemas, repaired = _Schemas(section.model_json_schema()), deepcopy(values)
    mistakes: dict[Key, Mistake] = {}
    for _ in range(_MOST_PASSES):
        try:
            recipe = section.model_validate_json(json.dumps(repaired, default=str), strict=True, context=LENIENT)
        except ValidationError as error:
            found = [schemas.mistake(each["loc"], each["type"], values) for each in error.errors()]
            mistakes |= {mistake.key: mistake for mistake in found if mistake.key not in mistakes}
            repairs = [schemas.repair(repaired, mistake.key) for mistake in found]
            if not all(repairs):
                break
        else:
            found = list(_contradictions(recipe, (), list(mistakes)))
            return Reading(recipe, [*mistakes.values(), *found], values)
    return Reading(None, list(mistakes.values()), values)


def _contradictions(section: Section, at: Key, wrong: Sequence[Key]) -> Iterator[Mistake]:
    """Yield the contradictions of a section and those below it that are no consequences of wrong values."""
    for found in section.contradictions():
        key, *others = [(*at, *_parts(each)) for each in (found.key, *found.depends)]
        beside = others or [(*at, name) for name in type(section).model_fields]
        unknown = [wrong_key for wrong_key in wrong if not found.depends and wrong_key[:-1] == at]
        if not unknown and not any(wrong_key[: len(k)] == k for k in (key, *beside) for wrong_key in wrong):
            yield Mistake(key, found.expected, found.got)
    for name in type(section).model_fields:
        value = getattr(section, name)
        for place, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(item, Section):
                yield from _contradictions(item, (*at, name) if place is None else (*at, name, place), wrong)


def _parts(key: str) -> Key:
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


class _Schemas:
    """The JSON Schema of a recipe, by key.

    Args:
        root: schema of the whole recipe.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def mistake(self, location: Sequence[str | int], kind: str, values: Mapping[str, Any]) -> Mistake:
        """Return the mistake at the location of an error of pydantic."""
        key, schema = self._known(location)
        if kind == "extra_forbidden":
            return _unknown((*key, location[-1]), schema.get("properties", {}))
        if kind == "missing":
            return Mistake(key, expected_value(schema), "nothing", "add it")
        return Mistake(key, expected_value(schema), toml(_value(values, key)))

    def repair(self, values: dict[str, Any], key: Key) -> bool:
        """Replace a wrong value by its default, or a required one by any; return whether that is possible."""
        try:
            section: Any = _value(values, key[:-1])
            section.pop(key[-1], None)
        except (LookupError, TypeError, AttributeError):
            return False
        name, schema = key[-1], self._known(key[:-1])[1]
        if name in schema.get("required", ()):
            own = self._resolve(schema["properties"][name])
            if own.get("type") not in _PLACEHOLDERS:
                return False
            section[name] = _PLACEHOLDERS[own["type"]]
        return True

    def _known(self, location: Sequence[str | int]) -> tuple[Key, Mapping[str, Any]]:
        """Follow a location down to the value of a key; what follows are items of lists and parts of unions."""
        schema, key = self._root, list[str | int]()
        for part in location:
            if isinstance(part, int) and schema.get("type") == "array" and "$ref" in schema.get("items", {}):
                schema = self._resolve(schema["items"])
            elif part in schema.get("properties", {}):
                schema = self._resolve(schema["properties"][part])
            else:
                break
            key.append(part)
        return tuple(key), schema

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the schema that a reference, or a value that may be left out, stands for."""
        choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
        if len(choices) == 1:
            schema = choices[0]
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        found: Mapping[str, Any] = self._root["$defs"][name] if name else schema
        return found


def _unknown(key: Key, known: Mapping[str, Any]) -> Mistake:
    near = get_close_matches(str(key[-1]), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return Mistake(key, "a known key", "an unknown one", remedy)


def _value(values: Any, key: Key) -> Any:
    for part in key:
        values = values[part]
    return values
