"""Sections of a recipe, and the types of their values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

__all__ = ["LENIENT", "Contradiction", "Fraction", "Positive", "Section", "Template", "Window"]

LENIENT = {"contradictions": "allowed"}
"""Context of a validation that checks types only; contradictions are then collected from the sections."""


def _odd(window: int) -> int:
    if window % 2 == 0:
        raise ValueError("a window must be odd, to have a middle")
    return window


def _template(name: str) -> str:
    try:
        differs = name.format(id="a") != name.format(id="b")
    except (LookupError, ValueError):
        differs = False
    if not differs or any("**" in part and part != "**" for part in name.split("/")) or name.startswith("/"):
        raise ValueError("a template contains {id}, and no other braces")
    return name


Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Window = Annotated[int, Field(ge=3, le=15, json_schema_extra={"odd": True}), AfterValidator(_odd)]
Template = Annotated[str, Field(json_schema_extra={"format": "template"}), AfterValidator(_template)]


@dataclass(frozen=True)
class Contradiction:
    """A value that does not go with another one.

    Args:
        key: of the value, in its section.
        expected: description of a value that would go.
        got: the value, and what it contradicts.
        depends: other keys that it contradicts, in the section; any of the section if empty.
    """

    key: str
    expected: str
    got: str
    depends: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}, got {self.got}"


class Section(BaseModel):
    """A section of the configuration. Unknown names are errors, so that no misspelt option is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield the values of this section that do not go together."""
        yield from ()

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Section:
        found = [] if info.context == LENIENT else list(self.contradictions())
        if found:
            raise ValueError("; ".join(map(str, found)))
        return self
