"""Columns of a table, each checked and made of one type.

A column is `[rows]`: numbers, or Python objects that are texts or missing. Rows of an
error count from 1, without the header.
"""

from pathlib import Path
from typing import Any

import numpy as np

FLAGS = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}
"""Texts that are true or false, in small letters."""

UNKNOWN = ("", "nan", "none", "<na>")
"""Texts of a cell that says nothing."""


def names(field: str, column: np.ndarray, where: Path | str) -> np.ndarray:
    """A column as texts that a person can read.

    Raises:
      ValueError: a cell is empty or missing, or has a character that does not print.
    """
    import pandas as pd

    cells = column.tolist()
    for row, cell in enumerate(cells):
        if pd.isna(cell) or cell == "" or not str(cell).isprintable():
            raise bad_cell(field, row, "a printable name", cell, where)
    return np.array([str(cell) for cell in cells], object)


def numbers(field: str, column: np.ndarray, where: Path | str) -> np.ndarray:
    """A column as float64, NaN where a cell says nothing.

    Raises:
      ValueError: a cell is no number.
    """
    if column.dtype.kind in "iuf":
        return column.astype(np.float64)
    values = np.full(len(column), np.nan)
    for row, cell in enumerate(column.tolist()):
        try:  # Python's float() reads a text to the last bit.
            if str(cell).lower() not in UNKNOWN:
                values[row] = float(str(cell))
        except ValueError:
            raise bad_cell(field, row, "a number", cell, where) from None
    return values


def whole(
    field: str, column: np.ndarray, where: Path | str, least: int = 1 - 2**53
) -> np.ndarray:
    """A column as int64, in the range in which a float64 holds every integer.

    Raises:
      ValueError: a cell is no whole number in [`least`, 2^53).
    """
    values = numbers(field, column, where)
    good = (np.floor(values) == values) & (values >= least) & (values < 2**53)
    if not good.all():
        row = int(good.argmin())
        rule = f"a whole number in [{least}, 2^53)"
        raise bad_cell(field, row, rule, column.tolist()[row], where)
    return values.astype(np.int64)


def flags(field: str, column: np.ndarray, where: Path | str) -> np.ndarray:
    """A column as 1 for true, 0 for false, and NaN where a cell says nothing.

    Raises:
      ValueError: a cell is something else.
    """
    values = np.full(len(column), np.nan)
    for row, cell in enumerate(column.tolist()):
        text = str(cell).strip().lower()
        if text in FLAGS:
            values[row] = FLAGS[text]
        elif text not in UNKNOWN:
            raise bad_cell(field, row, "true, false or empty", cell, where)
    return values


def bad_cell(
    field: str, row: int, rule: str, cell: Any, where: Path | str
) -> ValueError:
    """The error that says what was expected of a cell."""
    return ValueError(
        f"Expected {field} in row {row + 1} of {where} to be {rule}, got {cell!r:.60}."
    )
