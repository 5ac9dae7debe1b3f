"""Stages: what lies between the milestones of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analysis.curves import SmoothCurve, smooth_curve
from ontogeny.analysis.milestones import holds
from ontogeny.analysis.robust import running_median, scatter
from ontogeny.records import Curve, Milestone, Stage


def find_stages(
    llc: Curve,
    loss: Curve | None,
    milestones: Sequence[Milestone],
    prefix: str = "",
    smooth: SmoothCurve | None = None,
) -> tuple[Stage, ...]:
    r"""What lies between the milestones of a run, from its first checkpoint to its last.

    The change of the learning coefficient is read off its smoothed curve, because single
    measurements at the ends would bring their noise in twice. Its error is the spread of the change
    over the functions that the curve might be, and the probability of the type the share of them
    that rise, or fall.

    Args:
        llc: The local learning coefficient, a curve of one item.
        loss: The test loss, a curve of one item, if there is one.
        milestones: Where stages end, in any order; candidates end none.
        prefix: What the names of the stages begin with.
        smooth: The learning coefficient, smoothed already.

    Returns:
        Stages in order, each beginning where the one before ended: type A if the coefficient
        rises or stays equal, B if it falls. The change of the loss is interpolated in log-step
        between medians of three neighbours, nan without a curve or outside of it; where its
        standard error is not known, it is how far values scatter around lines through their
        neighbours. Where the first or last estimate failed, the nearest finite one counts.

    Raises:
        ValueError: A milestone is not inside the run, or the curve cannot be smoothed.

    Examples:
        >>> from ontogeny.analysis import find_milestones
        >>> steps = np.arange(0, 3000, 20)
        >>> values = -((np.log1p(steps) - 4) ** 2)[:, None]
        >>> llc = Curve("llc", "", steps, values, np.full_like(values, np.nan))
        >>> stages = find_stages(llc, None, find_milestones(llc), prefix="P")
        >>> [(stage.name, stage.type, round(stage.delta_llc)) for stage in stages]
        [('P1', 'A', 16), ('P2', 'B', -16)]
    """
    first, last = int(llc.steps[0]), int(llc.steps[-1])
    inner = sorted({milestone.step for milestone in milestones if holds(milestone)})
    if inner and not first < inner[0] <= inner[-1] < last:
        raise ValueError(
            f"milestones at steps {inner} do not lie inside the run, from {first} to {last}"
        )
    ends = np.array([first, *inner, last])
    delta_llc, functions = _changes(smooth or smooth_curve(llc), ends)
    errors, rises = functions.std(axis=0), np.mean(functions >= 0, axis=0)
    delta_loss, loss_errors = _loss_changes(loss, ends)
    return tuple(
        Stage(
            name=f"{prefix}{k + 1}",
            start=int(ends[k]),
            end=int(ends[k + 1]),
            type="A" if delta_llc[k] >= 0 else "B",
            delta_loss=float(delta_loss[k]),
            delta_llc=float(delta_llc[k]),
            delta_llc_stderr=float(errors[k]),
            type_probability=float(rises[k] if delta_llc[k] >= 0 else 1 - rises[k]),
            delta_loss_stderr=float(loss_errors[k]),
        )
        for k in range(len(delta_llc))
    )


# Changes over stages ------------------------------------------------------------------------------


def _loss_changes(
    loss: Curve | None, ends: Int[np.ndarray, " end"]
) -> tuple[Float[np.ndarray, " stage"], Float[np.ndarray, " stage"]]:
    """Change of the loss between neighbouring ends, and its error if they have none in common."""
    finite = np.isfinite(loss.values[:, 0]) if loss is not None else np.zeros(0, bool)
    if loss is None or not finite.any():
        unknown = np.full(len(ends) - 1, np.nan)
        return unknown, unknown
    x, values, errors = (
        rows[finite] for rows in (np.log1p(loss.steps), loss.values[:, 0], loss.stderr[:, 0])
    )
    errors = np.where(np.isfinite(errors), errors, scatter(x, values))

    def at_ends(rows: Float[np.ndarray, " step"]) -> Float[np.ndarray, " end"]:
        there: np.ndarray = np.interp(np.log1p(ends), x, rows, left=np.nan, right=np.nan)
        return there

    variances = at_ends(errors**2)
    return np.diff(at_ends(running_median(values))), np.sqrt(variances[1:] + variances[:-1])


def _changes(
    smooth: SmoothCurve, ends: Int[np.ndarray, " end"]
) -> tuple[Float[np.ndarray, " stage"], Float[np.ndarray, "draw stage"]]:
    """Change of the smoothed curve between neighbouring ends, and of the functions it might be."""
    place = np.interp(ends, smooth.steps, np.arange(len(smooth.steps)))
    before = np.minimum(place.astype(int), len(smooth.steps) - 2)

    def change(rows: Float[np.ndarray, "... grid"]) -> Float[np.ndarray, "... stage"]:
        after = place - before
        return np.diff(rows[..., before] * (1 - after) + rows[..., before + 1] * after)

    return change(smooth.mean), change(smooth.functions)
