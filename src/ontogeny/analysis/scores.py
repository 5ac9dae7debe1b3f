"""Principal component scores from a plain table, so that forms can be found without a run."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Scores:
    """Positions on principal components over training.

    Attributes:
        steps: Training steps, increasing.
        values: One column for each component.
        notes: What was done to the table, in words.
    """

    steps: Int[np.ndarray, " step"]
    values: Float[np.ndarray, "step component"]
    notes: tuple[str, ...] = ()


def read_scores(path: Path) -> Scores:
    """Read a CSV file with columns `step`, `pc1`, `pc2` and so on, in any order.

    Rows are sorted by step. Those with a missing value, and those whose step comes again later,
    are left out; the notes say how many.

    Raises:
        ValueError: The file is no such table; the sentence names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            names = [name.strip().lower() for name in next(rows, [])]
            columns = _columns(names, path)
            table = [_numbers(row, columns, f"{path}, line {rows.line_num}") for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    found = np.array(table, dtype=float).reshape(len(table), len(columns))
    complete = np.isfinite(found).all(axis=1)
    notes = []
    if lost := int((~complete).sum()):
        notes.append(f"{_rows(lost)} left out: not a finite number in every column.")
    found = found[complete]
    whole = (found[:, 0] >= 0) & (found[:, 0] < 2**53) & (found[:, 0] % 1 == 0)
    if not whole.all():
        raise ValueError(
            f"{path}: a step must be a whole number from 0 on, not {found[~whole][0, 0]:g}"
        )
    if (np.diff(found[:, 0]) < 0).any():
        notes.append("The rows were not in the order of their steps and have been sorted.")
    found = found[np.argsort(found[:, 0], kind="stable")]
    last = np.append(found[1:, 0] != found[:-1, 0], True)[: len(found)]
    if again := int((~last).sum()):
        notes.append(f"{_rows(again)} left out because a later one has the same step.")
    others = sorted(set(names) - {names[column] for column in columns})
    if others:
        notes.append(f"Columns that are not used: {', '.join(others)}.")
    return Scores(found[last, 0].astype(int), found[last, 1:], tuple(notes))


def _columns(names: Sequence[str], path: Path) -> list[int]:
    """Where step, pc1, pc2, ... stand."""
    components = [name for name in names if re.fullmatch(r"pc[1-9]\d*", name)]
    twice = [name for name in ["step", *components] if names.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has more than one column {twice[0]}")
    wanted = ["step", *(f"pc{k}" for k in range(1, max(2, len(components)) + 1))]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(
            f"{path} needs a first line with the columns step, pc1, pc2, ...; "
            f"there is no {missing[0]} in: {', '.join(names) or 'an empty line'}"
        )
    return [names.index(name) for name in wanted]


def _numbers(row: Sequence[str], columns: Sequence[int], place: str) -> list[float]:
    if len(row) <= max(columns):
        raise ValueError(f"{place} has {len(row)} cells, fewer than there are columns")
    cells = [row[column].strip() for column in columns]
    try:
        return [float(cell) if cell else math.nan for cell in cells]
    except ValueError as error:
        raise ValueError(
            f"{place}: {error}".replace("could not convert string to float", "not a number")
        ) from None


def _rows(count: int) -> str:
    return "1 row was" if count == 1 else f"{count:,} rows were"
