"""The page of all keys of a recipe, from the sections that read it: python -m lightcrcf.training.recipe.keys PAGE."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from lightcrcf.training.brain.mask import BrainConfig
from lightcrcf.training.config import TrainingConfig
from lightcrcf.training.recipe.section import Section
from lightcrcf.training.recipe.words import expected_value, toml

__all__ = ["key_page", "key_rows", "sections"]

_HEAD = """# Keys of a recipe

A recipe is a TOML file. This page lists every key of it, from the declarations that read it.
[Training on your own data](guides/training.md) has a recipe to begin with, and `recipes/` has those of the shipped
models. Unknown keys are errors. Paths are relative to the recipe.
"""
_MASKS = """## Brain masks

The network that finds the brain in a head has recipes of its own, as `recipes/brain-mask.toml`: `task = "brain-mask"`.
"""


def key_page() -> str:
    """Return the page in Markdown: a table for each section."""
    parts = [_HEAD, *_tables(TrainingConfig, 2), _MASKS, *_tables(BrainConfig, 3)]
    return "\n".join(parts)


def _tables(recipe: type[Section], depth: int) -> Iterator[str]:
    for title, section in sections(recipe):
        summary = " ".join((section.__doc__ or "").partition("Args:")[0].split())
        rows = [("key", "value", "default", "meaning"), ("---",) * 4, *key_rows(section)]
        yield f"{'#' * depth} {title}\n\n{summary}\n\n" + "".join(f"{_line(row)}\n" for row in rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def sections(section: type[Section], at: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Yield the heading of each section, and its class, from the top of the recipe down."""
    yield (f"`{at}`" if at else "At the top"), section
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is not None:
            path = ".".join(filter(None, [at.strip("[]"), name]))
            yield from sections(inner, f"[[{path}]]" if "list" in str(field.annotation) else f"[{path}]")


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the section that a value, or the items of a list, or a value that may be left out, is."""
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((each for each in choices if isinstance(each, type) and issubclass(each, Section)), None)


def key_rows(section: type[Section]) -> list[tuple[str, str, str, str]]:
    """Return key, value, default and meaning of the keys of a section, without its subsections.

    Raises:
        ValueError: if the docstring does not tell what a key means.
    """
    schemas: Mapping[str, Any] = section.model_json_schema()["properties"]
    rows = []
    for names, meaning in _meanings(section):
        own = [name for name in names if _section_in(section.model_fields[name].annotation) is None]
        for name in own:
            default = section.model_fields[name].default
            value = "" if default is None or default == [] or default == {} else f"`{toml(default)}`"
            required = "required" if default is PydanticUndefined else value
            rows.append((f"`{name}`", expected_value(schemas[name]), required, meaning))
    missing = [
        name for name in section.model_fields if name not in {n for names, _ in _meanings(section) for n in names}
    ]
    if missing:
        raise ValueError(f"the docstring of {section.__name__} says nothing of {', '.join(missing)}")
    return rows


def _meanings(section: type[Section]) -> Iterator[tuple[list[str], str]]:
    """Yield the names and the text of each entry below `Args:` of a docstring."""
    entries = (section.__doc__ or "").partition("Args:")[2]
    for found in re.finditer(r"^ {8}(\w[\w, ]*): (.*(?:\n {12}.*)*)", entries, re.MULTILINE):
        yield [name.strip() for name in found[1].split(",")], " ".join(found[2].split())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(key_page(), encoding="utf-8")
