"""Tables in plain files, as people write them: with commas, semicolons or tabs."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

CHUNK = 100_000
"""Rows that are read at once: a file may have millions."""

LAST_STEP = 2**53
"""Larger whole numbers are not told apart."""

LARGEST = 1e100
"""Squares of what is larger, or smaller than one in this, may be lost."""


def read_table(
    path: Path, choose: Callable[[Sequence[str]], Sequence[int | None]]
) -> Float[np.ndarray, "row column"]:
    """Read columns of numbers from a text file.

    Args:
        path: A file, or a pipe. Its first line names the columns; what parts them there, a comma, a
            semicolon or a tab, parts cells.
        choose: Takes the names, in small letters, to the places of the columns that are wanted,
            the step first. None stands for a column that is not there.

    Returns:
        Rows as they come; nan for an empty cell.

    Raises:
        ValueError: It is no such table, a cell holds no number, or a step is none that can be.
    """
    if path.is_dir() or not path.exists():
        raise ValueError(f"{path} is not a file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            rows = csv.reader(chain([first], file), delimiter=separator)
            names = [name.strip().lower() for name in next(rows, [])]
            columns = choose(names)
            if twice := [names[k] for k in columns if k is not None and names.count(names[k]) > 1]:
                raise ValueError(f"{path} has more than one column {twice[0]}")
            empty = np.empty((0, len(columns)))
            return np.concatenate([empty, *_chunks(path, rows, columns)])
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path} is not a table of comma-separated values") from None


def by_step(
    table: Float[np.ndarray, "row column"],
) -> tuple[Int[np.ndarray, " step"], Float[np.ndarray, "step value"], list[str]]:
    """Rows in the order of their steps, averaged where a step comes more than once.

    Returns:
        The steps, the other columns, and what was done, in words.

    Examples:
        >>> by_step(np.array([[9.0, 1.0], [2.0, 5.0], [9.0, 3.0]]))[:2]
        (array([2, 9]), array([[5.],
               [2.]]))
    """
    said = []
    if (np.diff(table[:, 0]) < 0).any():
        said.append("the steps are not in order; sorted")
    steps, place, counts = np.unique(table[:, 0], return_inverse=True, return_counts=True)
    if several := int((counts > 1).sum()):
        said.append(f"{several:,} steps have several values; averaged")
    # Each is divided first: so the mean of values that are nearly too large is none.
    columns = (table[:, 1:] / counts[place, None]).T
    # Of no rows the sums would be whole numbers.
    values = np.stack([np.bincount(place, one, len(steps)) for one in columns], axis=1) + 0.0
    return steps.astype(int), values, said


def check_unit(path: Path, values: Float[np.ndarray, " value"], noun: str) -> None:
    """Refuse values so large or so small that their squares would be lost.

    Raises:
        ValueError: They are.
    """
    largest = float(np.abs(values).max(initial=0))
    if largest and not 1 / LARGEST < largest < LARGEST:
        raise ValueError(f"{path} has {noun} up to {largest:.3g}; give them in another unit")


def _chunks(
    path: Path, rows: Iterator[list[str]], columns: Sequence[int | None]
) -> Iterator[Float[np.ndarray, "row column"]]:
    first = 2
    while chunk := list(islice(rows, CHUNK)):
        lines = [(first + i, row) for i, row in enumerate(chunk) if row]
        first += len(chunk)
        table = [_numbers(path, line, row, columns) for line, row in lines]
        yield np.array(table).reshape(-1, len(columns))


def _numbers(
    path: Path, line: int, row: Sequence[str], columns: Sequence[int | None]
) -> list[float]:
    """The cells of one row that are wanted, the step first."""
    cells = ["" if k is None or k >= len(row) else row[k].strip() for k in columns]
    try:
        step, *others = (float(cell) if cell else math.nan for cell in cells)
    except ValueError:
        raise ValueError(
            f"line {line} of {path} holds {', '.join(map(repr, cells))}; these should be numbers"
        ) from None
    if wrong := _wrong(step):
        raise ValueError(f"line {line} of {path}: the step {cells[0]!r} is {wrong}")
    return [step, *others]


def _wrong(step: float) -> str:
    """What keeps a number from being a training step."""
    if step < 0:
        return "negative"
    if step >= LAST_STEP:
        return f"too large; steps go up to {LAST_STEP - 1:,}"
    return "" if step.is_integer() else "no whole number"
