"""CSV tables of points, transformed by a chain; all other columns are preserved."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import flip_lps_ras, read_transform_folder

__all__ = ["PointTable", "move_points"]

_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class PointTable:
    """A CSV file with one point a row.

    Args:
        header: column names, as in the file.
        rows: the cells, as in the file.
        columns: indices of x, y and z.
        delimiter: comma, semicolon or tab.
        source: the file, for messages.
    """

    header: list[str]
    rows: list[list[str]]
    columns: tuple[int, int, int]
    delimiter: str
    source: str

    @classmethod
    def read(cls, path: Path) -> PointTable:
        """Read a CSV file whose first row names the columns x, y and z among any others.

        Raises:
            InputError: if the file is missing or not text, or a column or a cell is missing.
        """
        text = _read_text(path)
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        header, *rows = [row for row in csv.reader(StringIO(text, newline=""), delimiter=delimiter) if row] or [[]]
        names = [name.strip().lower() for name in header]
        if any(names.count(axis) != 1 for axis in _AXES):
            raise _table_error(
                path, "one column each of x, y and z in the first row", ", ".join(header) or "an empty row"
            )
        short = next((index for index, row in enumerate(rows) if len(row) != len(header)), None)
        if short is not None:
            raise _table_error(path, f"{len(header)} cells in every row", f"{len(rows[short])} in data row {short + 1}")
        x, y, z = (names.index(axis) for axis in _AXES)
        return cls(header, rows, (x, y, z), delimiter, str(path))

    def points(self) -> NDArray[np.float64]:
        """Return (N, 3) float64 coordinates, as in the file.

        Raises:
            InputError: if a coordinate is not a finite number.
        """
        x, y, z = self.columns
        try:
            cells = chain.from_iterable((row[x], row[y], row[z]) for row in self.rows)
            points = np.fromiter(map(float, cells), np.float64, 3 * len(self.rows)).reshape(-1, 3)
        except ValueError as error:
            raise _table_error(self.source, "numbers in the columns x, y and z", str(error)) from None
        if not np.isfinite(points).all():
            raise _table_error(self.source, "finite numbers in the columns x, y and z", "NaN or infinity")
        return points

    def write(self, path: Path, points: NDArray[np.float64]) -> None:
        """Write the table with new coordinates, (N, 3), to a micrometre; all other cells are preserved."""
        order = np.argsort(self.columns)
        left, middle, right = sorted(self.columns)
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter=self.delimiter, lineterminator="\n")
            writer.writerow(self.header)
            for row, (a, b, c) in zip(self.rows, points[:, order].tolist(), strict=True):
                moved = [*row]
                moved[left], moved[middle], moved[right] = f"{a:.6f}", f"{b:.6f}", f"{c:.6f}"
                writer.writerow(moved)


def move_points(
    table: Path, transform: Path | Chain, output: Path, *, to: Literal["moving", "fixed"], lps: bool = False
) -> int:
    """Transform the points of a CSV file from the space of one volume to the other.

    A chain maps points from fixed to moving: `to="moving"` applies it, and `to="fixed"` its inverse.

    Args:
        table: CSV with columns x, y, z in RAS+ mm.
        transform: the folder of a registration, or its chain.
        output: CSV to write.
        to: the space of the result.
        lps: whether coordinates are LPS+ mm, in input and output.

    Returns:
        The number of points.

    Raises:
        InputError: if the table or the transform cannot be read, or the output cannot be written.
    """
    source = PointTable.read(table)
    points = source.points()
    chain_ = transform if isinstance(transform, Chain) else read_transform_folder(transform)
    world = flip_lps_ras(points) if lps else points
    moved = chain_.points(world) if to == "moving" else chain_.inverse_points(world)
    source.write(output, flip_lps_ras(moved) if lps else moved)
    return len(points)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _table_error(path, "a CSV file", "bytes that are no UTF-8 text") from None
    except OSError as error:
        raise _table_error(path, "a CSV file", error.strerror or str(error)) from None


def _table_error(path: Path | str, expected: str, got: str) -> InputError:
    return InputError(str(path), expected=expected, got=got, remedy="give a CSV file with the columns x, y, z in mm")
