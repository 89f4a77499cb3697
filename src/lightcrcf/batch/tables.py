"""Reader of CSV tables of files, with a checked header."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from lightcrcf.errors import InputError

__all__ = ["read_table"]


def read_table(
    table: Path, required: Sequence[str], optional: Sequence[str] | None, *, what: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the cells by column of each row that is not empty.

    Args:
        table: a CSV file with a header; commas, semicolons or tabs between cells.
        required: columns that the header must have and whose cells must not be empty.
        optional: columns that it may have; None allows any others.
        what: describes the file, for messages.

    Raises:
        InputError: if the file cannot be read, a column is missing, unknown or there twice, or a cell is missing or too
            many; the message names the column and the nearest known one, or the line.
    """
    text = _text(table, what)
    header = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=header.count))
    columns = [name.strip() for name in next(reader, [])]
    _check_columns(table, columns, required, optional)
    for cells in reader:
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
        if not any(row.values()):
            continue
        where = f"{table} line {reader.line_num}"
        if len(cells) > len(columns):
            raise _bad(where, f"{len(columns)} cells", f"{len(cells)}", 'put names with commas between "quotes"')
        if optional is not None and row.get(""):
            remedy = "name the column, or remove it (pandas: to_csv(..., index=False))"
            raise _bad(where, "cells in columns that have a name", repr(row[""]), remedy)
        for column in required:
            if not row.get(column):
                raise _bad(where, f"a file in column {column}", "an empty cell", "fill it in")
        yield reader.line_num, row


def _text(table: Path, what: str) -> str:
    try:
        return table.read_text(encoding="utf-8-sig")  # spreadsheets like to begin with a byte order mark
    except UnicodeDecodeError:
        raise _bad(table, "a CSV file in UTF-8", "another encoding", "save it as CSV UTF-8") from None
    except OSError as error:
        raise _bad(table, what, error.strerror or str(error), "check the name") from None


def _check_columns(
    table: Path, columns: Sequence[str], required: Sequence[str], optional: Sequence[str] | None
) -> None:
    known = [*required, *(optional or ())]
    strange = [name for name in columns if name and name not in known]
    missing = [name for name in required if name not in columns]
    expected = f"a header with columns {', '.join(known)}"
    if missing:
        alike = _nearest(missing[0], strange)
        remedy = f"rename {alike!r}, or add the column" if alike else "add the column"
        raise _bad(table, expected, f"no {missing[0]}", remedy)
    if strange and optional is not None:
        alike = _nearest(strange[0], known)
        remedy = f"did you mean {alike}? Rename or remove the column" if alike else "rename or remove the column"
        raise _bad(table, expected, f"the unknown column {strange[0]!r}", remedy)
    twice = [name for name, count in Counter(columns).items() if count > 1 and name in known]
    if twice:
        raise _bad(table, expected, f"{twice[0]!r} twice", "remove one")


def _nearest(name: str, candidates: Sequence[str]) -> str | None:
    """Return the candidate closest to `name`, ignoring case and separators; None if none is close."""
    plain = {"".join(filter(str.isalnum, c.lower())): c for c in candidates}
    found = get_close_matches("".join(filter(str.isalnum, name.lower())), plain, n=1)
    return plain[found[0]] if found else None


def _bad(subject: object, expected: str, got: str, remedy: str) -> InputError:
    return InputError(str(subject), expected=expected, got=got, remedy=remedy)
