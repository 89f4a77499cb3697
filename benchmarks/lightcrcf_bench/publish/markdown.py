"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the first column is text, the others are numbers.

    Example:
        >>> table(("part", "ms"), [("warp", "3")])
        ['| part | ms |', '| --- | ---: |', '| warp | 3 |']
    """
    rule = ("---", *("---:" for _ in header[1:]))
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
