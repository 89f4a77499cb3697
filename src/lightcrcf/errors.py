"""Exceptions of LightCRCF, with their exit codes.

LightCRCFError            exit code 1, never raised itself
├── UsageError            2   an option or a combination of options is wrong
├── InputError            3   a file, an array or a header cannot be used
│   └── InputErrors           several things in one file are wrong
├── QualityError          4   the registration ran, its quality control failed
└── MemoryEstimateError   5   the work would not fit into memory
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "InputError", "InputErrors", "LightCRCFError", "MemoryEstimateError", "QualityError", "UsageError",
    "how_to_install",
]  # fmt: skip


class LightCRCFError(Exception):
    """Base class of all errors of LightCRCF; the message is one line.

    Args:
        subject: of the error, usually a file or option name.
        expected: description of a valid value.
        got: the invalid value.
        remedy: advice to the user.

    Example:
        >>> print(InputError("brain.nii", expected="a 3-D volume", got="4-D (2, 2, 2, 9)",
        ...                  remedy="extract one frame"))
        brain.nii: expected a 3-D volume, got 4-D (2, 2, 2, 9); extract one frame
    """

    exit_code = 1

    def __init__(self, subject: str, *, expected: str, got: str, remedy: str) -> None:
        self.subject, self.expected, self.got, self.remedy = subject, expected, got, remedy
        text = f"{subject}: expected {expected}, got {got}; {remedy}"
        super().__init__(" ".join(text.split()))

    def __reduce__(self) -> tuple[Any, ...]:
        # For pickling between processes: by default only `args`, the message, would be preserved.
        return _rebuild, (type(self), self.subject, self.expected, self.got, self.remedy)


def _rebuild(kind: type[LightCRCFError], subject: str, expected: str, got: str, remedy: str) -> LightCRCFError:
    return kind(subject, expected=expected, got=got, remedy=remedy)


class UsageError(LightCRCFError):
    """An option or a combination of options is wrong."""

    exit_code = 2


class InputError(LightCRCFError):
    """A file, an array or a header cannot be used."""

    exit_code = 3


class InputErrors(InputError):
    """Several things in one file cannot be used; the message names them all.

    Args:
        subject: the file.
        expected: description of a valid file.
        each: the errors.

    Example:
        >>> wrong = [InputError("[a]", expected="1", got="2", remedy="correct it")] * 2
        >>> print(InputErrors("a.toml", expected="no mistake", each=wrong).summary)
        a.toml: expected no mistake, got 2
    """

    def __init__(self, subject: str, *, expected: str, each: Sequence[InputError]) -> None:
        self.each = tuple(each)
        super().__init__(subject, expected=expected, got=str(len(each)), remedy="; ".join(map(str, each)))

    @property
    def summary(self) -> str:
        """The message without the single errors."""
        return f"{self.subject}: expected {self.expected}, got {self.got}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_several, (self.subject, self.expected, self.each)


def _rebuild_several(subject: str, expected: str, each: Sequence[InputError]) -> InputErrors:
    return InputErrors(subject, expected=expected, each=each)


class QualityError(LightCRCFError):
    """The registration ran, but its quality control failed."""

    exit_code = 4


class MemoryEstimateError(LightCRCFError):
    """The work would need more memory than there is."""

    exit_code = 5


def how_to_install(extra: str) -> str:
    """Return instructions for installing an extra; the only place that knows the source of the package.

    Args:
        extra: a name from `project.optional-dependencies` in pyproject.toml.

    Example:
        >>> how_to_install("train").split("; ")[0]
        'install the extra train: in a clone, pip install ".[train]"'
    """
    from importlib.metadata import version

    wheel = f"lightcrcf-{version('lightcrcf')}-py3-none-any.whl[{extra}]"
    return f'install the extra {extra}: in a clone, pip install ".[{extra}]"; beside a wheel, pip install "{wheel}"'
