"""Curves in plain CSV files, so that anybody can use the rule: no run, no plan, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.curves import MOST_POINTS
from ontogeny.analysis.development import Beside, read_development
from ontogeny.analysis.reading import Report
from ontogeny.analysis.tables import LARGEST, by_step, check_unit, read_table
from ontogeny.records import Curve

FEWEST_ROWS = 8
# A value with a standard error of so many times the largest value says nothing.
VAGUE = 1e9


def read_curve(path: Path) -> Curve:
    """Read a curve from a CSV file.

    Args:
        path: A table with the columns `step`, `value` and, if the errors are known, `stderr`;
            others are passed over. An empty cell is a value that could not be measured, or an
            error that is not known. Semicolons or tabs may stand for commas.

    Returns:
        The curve, named after the file, its steps increasing. What was done to get there stands
        in `warnings`: rows that were out of order are sorted, values at the same step averaged, and
        values that are not finite, absurdly large, or known to nothing left out.

    Raises:
        ValueError: It is no such table, a cell holds no number, a step is no whole number, or there
            are fewer than eight values.
    """

    def choose(names: Sequence[str]) -> list[int | None]:
        return _columns(path, names)

    table = read_table(path, choose)
    if len(table) and (lowest := np.nanmin(table[:, 2], initial=0)) < 0:
        raise ValueError(f"{path} has a standard error of {lowest:g}; none can be negative")
    table, said = _measured(path, table)
    steps, rows, done = by_step(table)
    said += done
    if len(steps) < FEWEST_ROWS:
        why = f" ({'; '.join(said)})" if said else ""
        raise ValueError(
            f"{path} has values at {len(steps)} steps{why}; to find stages takes at least "
            f"{FEWEST_ROWS}"
        )
    if len(steps) > MOST_POINTS:
        said.append(
            f"{len(steps):,} steps are averaged over {MOST_POINTS} cells of log-step to smooth them"
        )
    return Curve(
        name=path.stem,
        unit="",
        steps=steps,
        values=rows[:, [0]],
        stderr=rows[:, [1]],
        warnings=tuple(said),
    )


def _measured(
    path: Path, table: Float[np.ndarray, "row 3"]
) -> tuple[Float[np.ndarray, "kept 3"], list[str]]:
    """The rows whose value says something, and how many others were left out, in words."""
    said, rows = list[str](), len(table)
    finite = np.isfinite(table[:, 1])
    if not finite.all():
        said.append(f"{(~finite).sum():,} of {rows:,} values are not finite; left out")
    table = table[finite]
    absurd = np.abs(table[:, 1]) >= LARGEST
    if 0 < absurd.sum() < len(table) / 2:
        said.append(
            f"{absurd.sum():,} of {rows:,} values are {LARGEST:g} or larger: taken for failed "
            "estimates; left out"
        )
        table = table[~absurd]
    check_unit(path, table[:, 1], "values")
    largest = np.abs(table[:, 1]).max(initial=0) or LARGEST
    vague = np.isfinite(table[:, 2]) & (table[:, 2] > min(VAGUE * largest, LARGEST))
    if vague.any():
        said.append(
            f"{vague.sum():,} of {rows:,} values have a standard error of more than {VAGUE:g} "
            "times the largest of them; left out"
        )
    return table[~vague], said


def read_curves_alone(path: Path, loss: Path | None = None, prefix: str = "S") -> Report:
    """What can be concluded from one curve in a file, and from the loss in another.

    Args:
        path: A curve, as for `read_curve`: the learning coefficient, or any other.
        loss: The test loss, in the same shape.
        prefix: What the names of the stages begin with.

    Returns:
        A report of milestones and stages, with what was done to the files among its notes. Only
        the loss is asked for a second opinion, and only it may say what formed.

    Raises:
        ValueError: As for `read_curve`.
    """
    llc = read_curve(path)
    curves, beside = {"llc": llc}, Beside()
    if loss is not None:
        curves["loss"] = replace(read_curve(loss), name="loss")
        beside = Beside(loss=curves["loss"], metrics={"loss": curves["loss"]})
    found = read_development(llc, beside, prefix)
    said = [f"{one.name}: {sentence}." for one in curves.values() for sentence in one.warnings]
    return Report(
        title=path.stem,
        notes=(*said, *_other_steps(llc, beside.loss), *found.notes),
        curves=curves,
        smooth_llc=found.smooth_llc,
        milestones=found.milestones,
        stages=found.stages,
        probes=found.probes,
        variations=found.variations,
    )


def _other_steps(llc: Curve, loss: Curve | None) -> list[str]:
    """That the loss is not known where the curve is, in words, if so."""
    if loss is None or np.isin(llc.steps, loss.steps).all():
        return []
    first, last = int(loss.steps[0]), int(loss.steps[-1])
    said = "The loss is given at other steps: its changes are interpolated in log-step"
    if first > llc.steps[0] or last < llc.steps[-1]:
        said += f", and not known outside of steps {first:,} to {last:,}"
    return [f"{said}."]


def _columns(path: Path, names: Sequence[str]) -> list[int | None]:
    """Where step, value and stderr are."""
    if not {"step", "value"} <= set(names):
        has = ", ".join(names) if any(names) else "no columns"
        raise ValueError(f"{path} needs the columns step and value; its first line has {has}")
    if "item" in names:
        raise ValueError(
            f"{path} has a column item, so it may hold several curves; keep the rows of one, "
            "without that column"
        )
    return [names.index("step"), names.index("value"),
            names.index("stderr") if "stderr" in names else None]  # fmt: skip
