"""Principal component scores from a plain table, so that forms can be found without a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analysis.robust import wild_rows
from ontogeny.analysis.tables import by_step, check_unit, read_table


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

    Rows are sorted by step, and averaged where a step comes again. Those with a missing value, and
    single ones far from all others, are left out; the notes say so.

    Raises:
        ValueError: The file is no such table; the sentence names the line.
    """
    others = list[str]()

    def choose(names: Sequence[str]) -> list[int]:
        columns = _columns(path, names)
        others.extend(sorted(set(names) - {names[column] for column in columns} - {""}))
        return columns

    table = read_table(path, choose)
    complete = np.isfinite(table).all(axis=1)
    notes = []
    if lost := int((~complete).sum()):
        notes.append(f"{_rows(lost)} left out: not a finite number in every column.")
    steps, values, said = by_step(table[complete])
    notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in said]
    wild = wild_rows(values)
    if len(wild):
        notes.append(wild_sentence(steps[wild]))
        steps, values = np.delete(steps, wild), np.delete(values, wild, axis=0)
    check_unit(path, values.ravel(), "scores")
    if others:
        notes.append(f"Columns that are not used: {', '.join(others)}.")
    return Scores(steps, values, tuple(notes))


def wild_sentence(steps: Int[np.ndarray, " wild"]) -> str:
    """That single rows were set aside, in words.

    Examples:
        >>> wild_sentence(np.array([40, 5001]))
        'Far from all others, and alone with that: steps 40 and 5,001. They are left out.'
    """
    numbers = [f"{step:,}" for step in steps]
    if len(numbers) == 1:
        return f"Far from all others, and alone with that: step {numbers[0]}. It is left out."
    named = f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    return f"Far from all others, and alone with that: steps {named}. They are left out."


def _columns(path: Path, names: Sequence[str]) -> list[int]:
    """Where step, pc1, pc2, ... stand."""
    components = {name for name in names if re.fullmatch(r"pc[1-9]\d*", name)}
    wanted = ["step", *(f"pc{k}" for k in range(1, max(2, len(components)) + 1))]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(
            f"{path} needs a first line with the columns step, pc1, pc2, ...; "
            f"there is no {missing[0]} in: {', '.join(names) or 'an empty line'}"
        )
    return [names.index(name) for name in wanted]


def _rows(count: int) -> str:
    return "1 row was" if count == 1 else f"{count:,} rows were"
