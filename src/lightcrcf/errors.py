"""Everything that LightCRCF raises on purpose.

LightCRCFError            exit code 1, never raised itself
├── UsageError            2   an option or a combination of options is wrong
├── InputError            3   a file, an array or a header cannot be used
├── QualityError          4   the registration ran, its quality control failed
└── MemoryEstimateError   5   the work would not fit into memory
"""

from __future__ import annotations

from typing import Any

__all__ = ["InputError", "LightCRCFError", "MemoryEstimateError", "QualityError", "UsageError", "how_to_install"]


class LightCRCFError(Exception):
    """Base of all errors raised on purpose; its text is one line.

    Args:
        subject: what is wrong, usually a file or option name.
        expected: what a valid value looks like.
        got: what came instead.
        remedy: what the user can do about it.

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
        # Workers in other processes send errors home; without this only `args` would go, which is the text.
        return _rebuilt, (type(self), self.subject, self.expected, self.got, self.remedy)


def _rebuilt(kind: type[LightCRCFError], subject: str, expected: str, got: str, remedy: str) -> LightCRCFError:
    return kind(subject, expected=expected, got=got, remedy=remedy)


class UsageError(LightCRCFError):
    """An option or a combination of options is wrong."""

    exit_code = 2


class InputError(LightCRCFError):
    """A file, an array or a header cannot be used."""

    exit_code = 3


class QualityError(LightCRCFError):
    """The registration ran, but its quality control failed."""

    exit_code = 4


class MemoryEstimateError(LightCRCFError):
    """The work would need more memory than there is."""

    exit_code = 5


def how_to_install(extra: str) -> str:
    """Say how to install an optional part of the package; the one place that knows where the package comes from.

    Args:
        extra: a name from `project.optional-dependencies` in pyproject.toml.

    Example:
        >>> how_to_install("train").split("; ")[0]
        'install the extra train: in a clone, pip install ".[train]"'
    """
    from importlib.metadata import version

    wheel = f"lightcrcf-{version('lightcrcf')}-py3-none-any.whl[{extra}]"
    return f'install the extra {extra}: in a clone, pip install ".[{extra}]"; beside a wheel, pip install "{wheel}"'
