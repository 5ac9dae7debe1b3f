"""Curves in plain CSV files, so that anybody can use the rule: no run, no plan, no torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.curves import MOST_POINTS
from ontogeny.analysis.development import Beside, read_development
from ontogeny.analysis.reading import Report
from ontogeny.records import Curve

FEWEST_ROWS = 8
CHUNK = 100_000
"""Rows that are read at once: a file may have millions."""


def read_curve(path: Path) -> Curve:
    """Read a curve from a CSV file.

    Args:
        path: A table with the columns `step`, `value` and, if the errors are known, `stderr`;
            others are passed over. An empty cell is a value that could not be measured, or an
            error that is not known.

    Returns:
        The curve, named after the file, its steps increasing. What was done to get there stands
        in `warnings`: rows that were out of order are sorted, values at the same step averaged, and
        values that are not finite left out.

    Raises:
        ValueError: It is no such table, a cell holds no number, a step is no whole number, or there
            are fewer than eight values.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            columns = _columns(path, next(rows, []))
            table = np.concatenate([np.empty((0, 3)), *_chunks(path, rows, columns)])
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path} is not a table of comma-separated values") from None
    return _curve(path, table)


def _curve(path: Path, table: Float[np.ndarray, "row 3"]) -> Curve:
    """The curve in a table of steps, values and standard errors."""
    said = list[str]()
    finite = np.isfinite(table[:, 1])
    if not finite.all():
        said.append(f"{(~finite).sum():,} of {len(table):,} values are not finite; left out")
        table = table[finite]
    if (np.diff(table[:, 0]) < 0).any():
        said.append("the steps are not in order; sorted")
    steps, place, counts = np.unique(table[:, 0], return_inverse=True, return_counts=True)
    if (counts > 1).any():
        said.append(f"{(counts > 1).sum():,} steps have several values; averaged")
    if len(steps) < FEWEST_ROWS:
        raise ValueError(
            f"{path} has values at {len(steps)} steps; to find stages takes at least {FEWEST_ROWS}"
        )
    largest = float(np.abs(table[:, 1]).max())
    if largest and not 1e-100 < largest < 1e100:
        raise ValueError(f"{path} has values up to {largest:.3g}; give them in another unit")
    if len(steps) > MOST_POINTS:
        said.append(
            f"{len(steps):,} steps are averaged over {MOST_POINTS} cells of log-step to smooth them"
        )
    values, stderr = (np.bincount(place, table[:, k]) / counts for k in (1, 2))
    return Curve(
        name=path.stem,
        unit="",
        steps=steps.astype(int),
        values=values[:, None],
        stderr=stderr[:, None],
        warnings=tuple(said),
    )


def read_curves_alone(path: Path, loss: Path | None = None, prefix: str = "S") -> Report:
    """What can be concluded from one curve in a file, and from the loss in another.

    Args:
        path: A curve, as for `read_curve`: the learning coefficient, or any other.
        loss: The test loss, in the same shape.
        prefix: What the names of the stages begin with.

    Returns:
        A report of milestones and stages, with what was done to the files among its notes.

    Raises:
        ValueError: As for `read_curve`.
    """
    llc = read_curve(path)
    beside = Beside() if loss is None else Beside(loss=read_curve(loss))
    curves = {"llc": llc} | ({} if beside.loss is None else {"loss": beside.loss})
    metrics = {curve.name: curve for curve in curves.values()}
    found = read_development(llc, replace(beside, metrics=metrics), prefix)
    said = [f"{one.name}: {sentence}." for one in curves.values() for sentence in one.warnings]
    return Report(
        title=path.stem,
        notes=(*said, *found.notes),
        curves=curves,
        smooth_llc=found.smooth_llc,
        milestones=found.milestones,
        stages=found.stages,
        probes=found.probes,
        variations=found.variations,
    )


def _columns(path: Path, names: Sequence[str]) -> list[int | None]:
    """Where step, value and stderr are."""
    found = [name.strip().lower() for name in names]
    if not {"step", "value"} <= set(found):
        has = ", ".join(found) if any(found) else "no columns"
        raise ValueError(f"{path} needs the columns step and value; its first line has {has}")
    if "item" in found:
        raise ValueError(
            f"{path} has a column item, so it may hold several curves; keep the rows of one, "
            "without that column"
        )
    return [found.index("step"), found.index("value"),
            found.index("stderr") if "stderr" in found else None]  # fmt: skip


def _chunks(
    path: Path, rows: Iterator[list[str]], columns: Sequence[int | None]
) -> Iterator[Float[np.ndarray, "row 3"]]:
    first = 2
    while chunk := list(islice(rows, CHUNK)):
        lines = [(first + i, row) for i, row in enumerate(chunk) if row]
        first += len(chunk)
        yield np.array([_numbers(path, line, row, columns) for line, row in lines]).reshape(-1, 3)


def _numbers(
    path: Path, line: int, row: Sequence[str], columns: Sequence[int | None]
) -> tuple[float, float, float]:
    """Step, value and stderr in one row."""
    cells = ["" if k is None or k >= len(row) else row[k].strip() for k in columns]
    try:
        step, value, stderr = (float(cell) if cell else math.nan for cell in cells)
    except ValueError:
        raise ValueError(
            f"line {line} of {path} holds {', '.join(map(repr, cells))}; these should be numbers"
        ) from None
    if not (0 <= step < 2**53 and step.is_integer()):
        raise ValueError(f"line {line} of {path}: the step {cells[0]!r} is no whole number")
    if stderr < 0:
        raise ValueError(f"line {line} of {path}: the standard error {cells[2]} is negative")
    return step, value, stderr
