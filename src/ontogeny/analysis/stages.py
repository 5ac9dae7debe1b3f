"""Milestones, the critical points of a curve, and the stages that lie between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analysis.curves import (
    SmoothCurve,
    draw_functions,
    error_directions,
    smooth_curve,
)
from ontogeny.records import Curve, Milestone, Stage

# A plateau is flatter than this share of the steepest slope on either side of it.
FLATNESS = 0.5
# A change counts if it exceeds this many of its standard errors: noise is looked at in many places.
SIGMAS = 3.5


@dataclass(frozen=True, eq=False)
class _Noise:
    """What a change between two points of the grid, and a slope, must exceed to count."""

    change: Float[np.ndarray, "grid grid"]
    slope: Float[np.ndarray, " grid"]


def find_milestones(
    curve: Curve, *, draws: int = 400, seed: int = 0, least_probability: float = 0.5
) -> tuple[Milestone, ...]:
    r"""The critical points of a curve, each with its interval and its probability.

    The curve is smoothed in $x = \log(\text{step} + 1)$. Candidates are the zeros of its slope
    and the local minima of $|\text{slope}|$. Two rules thin them out:

    - the change from each milestone to the next, and to the ends of the curve, exceeds 3.5 of its
      standard errors;
    - a milestone between two rises, or between two falls, is a plateau: $|\text{slope}|$ there is
      below half of the steepest slope on each side, of which 3.5 of its standard errors are
      taken off first.

    A flat beginning is therefore no milestone: nothing changed before it. The same rules are then
    applied to functions that the curve might be, whole chains resampled. What stands for a
    milestone in such a function is the nearest one between the steepest places on either side.

    Args:
        curve: A curve of one item, usually the local learning coefficient.
        draws: How many functions to draw.
        seed: Seed of the draws.
        least_probability: Milestones found in a smaller share of the draws are left out.

    Returns:
        Milestones in order, strictly inside the curve: the step on the smoothed curve, to the
        resolution of its grid; the 5 % and 95 % quantiles over the draws that have it; the share
        of the draws that do; and the kind, from the changes before and after it. None if the
        curve only rises, only falls, or is only noise.

    Raises:
        ValueError: The curve has several items, or fewer than five finite points.

    Examples:
        A parabola in log-step that is highest at x = 4, which is step 53.6.

        >>> steps = np.arange(0, 3000, 20)
        >>> values = -((np.log1p(steps) - 4) ** 2)[:, None]
        >>> (top,) = find_milestones(Curve("llc", "", steps, values, np.full_like(values, np.nan)))
        >>> top.kind, top.probability, 51 < top.step < 56
        ('maximum', 1.0, True)
    """
    smooth = smooth_curve(curve)
    noise = _noise(smooth)
    functions = draw_functions(smooth, draws, np.random.default_rng(seed))
    found = _critical_points(smooth.mean, smooth.slope, noise)
    again = [_critical_points(value, slope, noise) for value, slope in functions]

    ends = np.array([0, *found, len(smooth.steps) - 1])
    steepest = [int(i + np.abs(smooth.slope[i : j + 1]).argmax()) for i, j in pairwise(ends)]
    changes = np.diff(smooth.mean[ends])
    milestones = []
    for k, at in enumerate(found.tolist()):
        seen = _seen(at, steepest[k], steepest[k + 1], again)
        step = float(smooth.steps[at])
        inside = curve.steps[0] < round(step) < curve.steps[-1]
        if len(seen) < max(least_probability * draws, 1) or not inside:
            continue
        low, high = np.quantile(smooth.steps[seen], [0.05, 0.95])
        milestones.append(
            Milestone(
                step=round(step),
                low=round(min(low, step)),
                high=round(max(high, step)),
                probability=len(seen) / draws,
                kind=_kind(changes[k], changes[k + 1]),
            )
        )
    return tuple(milestones)


def find_stages(
    llc: Curve, loss: Curve | None, milestones: Sequence[Milestone], prefix: str = ""
) -> tuple[Stage, ...]:
    r"""What lies between the milestones of a run, from its first checkpoint to its last.

    The change of the learning coefficient is read off its smoothed curve, because single
    measurements at the ends would bring their noise in twice. Its variance is that of the changes
    along the smoothed chains, over their number, plus what the smoothing leaves open.

    Args:
        llc: The local learning coefficient, a curve of one item.
        loss: The test loss, a curve of one item, if there is one.
        milestones: Where stages end, in any order.
        prefix: What the names of the stages begin with.

    Returns:
        Stages in order, each beginning where the one before ended: type A if the coefficient
        rises or stays equal, B if it falls. The change of the loss is interpolated in log-step,
        nan without a curve or outside of it. Where the first or last estimate failed, the nearest
        finite one counts.

    Raises:
        ValueError: A milestone is not inside the run, or the curve cannot be smoothed.

    Examples:
        >>> steps = np.arange(0, 3000, 20)
        >>> values = -((np.log1p(steps) - 4) ** 2)[:, None]
        >>> llc = Curve("llc", "", steps, values, np.full_like(values, np.nan))
        >>> stages = find_stages(llc, None, find_milestones(llc), prefix="P")
        >>> [(stage.name, stage.type, round(stage.delta_llc)) for stage in stages]
        [('P1', 'A', 16), ('P2', 'B', -16)]
    """
    first, last = int(llc.steps[0]), int(llc.steps[-1])
    inner = sorted({milestone.step for milestone in milestones})
    if inner and not first < inner[0] <= inner[-1] < last:
        raise ValueError(
            f"milestones at steps {inner} do not lie inside the run, from {first} to {last}"
        )
    ends = np.array([first, *inner, last])
    delta_llc, delta_llc_stderr = _changes(llc, ends)
    delta_loss = np.diff(_interpolated(loss, ends)) if loss else np.full(len(delta_llc), np.nan)
    return tuple(
        Stage(
            name=f"{prefix}{k + 1}",
            start=int(ends[k]),
            end=int(ends[k + 1]),
            type="A" if delta_llc[k] >= 0 else "B",
            delta_loss=float(delta_loss[k]),
            delta_llc=float(delta_llc[k]),
            delta_llc_stderr=float(delta_llc_stderr[k]),
        )
        for k in range(len(delta_llc))
    )


# The rule -----------------------------------------------------------------------------------------


def _noise(smooth: SmoothCurve) -> _Noise:
    errors = error_directions(smooth.modes, smooth.offsets)[:, 0]
    covariance = errors.T @ errors
    variance = np.diag(covariance)
    change = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 0.0))
    # The floor is rounding: without it an exactly flat curve would have changes to speak of.
    floor = 1e-9 * (np.ptp(smooth.mean) + np.abs(smooth.mean).max()) + np.finfo(float).tiny
    return _Noise(SIGMAS * (change + floor), SIGMAS * smooth.slope_stderr)


def _critical_points(
    value: Float[np.ndarray, " grid"], slope: Float[np.ndarray, " grid"], noise: _Noise
) -> Int[np.ndarray, " found"]:
    """The places on the grid that the rule of `find_milestones` leaves, worst offender first."""
    steepness, zero = np.abs(slope), _zeros(slope)
    dip = (steepness[1:-1] < steepness[:-2]) & (steepness[1:-1] <= steepness[2:])
    inside = np.flatnonzero(dip | zero[1:-1]) + 1
    flat = np.where(zero, 0.0, steepness)
    steep = np.maximum(steepness - noise.slope, 0.0)
    at = np.concatenate([[0], inside, [len(value) - 1]])
    while len(at) > 2:
        change = np.diff(value[at])
        clear = np.abs(change) / noise.change[at[:-1], at[1:]]
        weakest = int(np.argmin(clear))
        if clear[weakest] < 1:
            at = np.delete(at, _less_of_the_two(weakest, change, flat[at]))
            continue
        steepest = np.maximum.reduceat(steep, at[:-1])
        excess = flat[at[1:-1]] - FLATNESS * np.minimum(steepest[1:], steepest[:-1])
        plateau = change[1:] * change[:-1] > 0
        worst = int(np.argmax(np.where(plateau, excess, -np.inf)))
        if not (plateau[worst] and excess[worst] >= 0):
            break
        at = np.delete(at, worst + 1)
    return at[1:-1]


def _zeros(slope: Float[np.ndarray, " grid"]) -> np.ndarray:
    """Where the slope changes sign: of the two points, the one where it is smaller."""
    crossed = slope[:-1] * slope[1:] < 0
    left = np.abs(slope[:-1]) <= np.abs(slope[1:])
    zero = np.zeros(len(slope), dtype=bool)
    zero[:-1] |= crossed & left
    zero[1:] |= crossed & ~left
    return zero


def _less_of_the_two(
    segment: int, change: Float[np.ndarray, " segment"], flat: Float[np.ndarray, " end"]
) -> int:
    """Which end of a segment without a change of its own is less of a milestone.

    The ends of the curve stay. A plateau is less than a turning point, a steeper place less than
    a flatter one, and of two turning points the one is less that is followed by less.
    """
    if segment == 0:
        return 1
    if segment == len(change) - 1:
        return segment
    before, this, after = change[segment - 1 : segment + 2]
    left = (before * this > 0, flat[segment], -abs(before))
    right = (this * after > 0, flat[segment + 1], -abs(after))
    return segment if left > right else segment + 1


def _kind(before: float, after: float) -> Literal["maximum", "minimum", "plateau"]:
    if before * after > 0:
        return "plateau"
    return "maximum" if before > 0 else "minimum"


def _seen(at: int, low: int, high: int, again: Sequence[np.ndarray]) -> Int[np.ndarray, " draw"]:
    """The point nearest to `at` between two borders, for each draw that has one there."""
    near = [points[(points >= low) & (points <= high)] for points in again]
    return np.array([p[np.argmin(np.abs(p - at))] for p in near if len(p)], dtype=int)


# Changes over stages ------------------------------------------------------------------------------


def _interpolated(curve: Curve, steps: Int[np.ndarray, " end"]) -> Float[np.ndarray, " end"]:
    finite = np.isfinite(curve.values[:, 0])
    x, values = np.log1p(curve.steps[finite]), curve.values[finite, 0]
    if len(x) == 0:
        return np.full(len(steps), np.nan)
    at_steps: np.ndarray = np.interp(np.log1p(steps), x, values, left=np.nan, right=np.nan)
    return at_steps


def _changes(
    llc: Curve, ends: Int[np.ndarray, " end"]
) -> tuple[Float[np.ndarray, " stage"], Float[np.ndarray, " stage"]]:
    """Change of the smoothed curve between neighbouring ends, and its standard error."""
    smooth = smooth_curve(llc)
    x = np.log1p(smooth.steps)
    place = np.clip((np.log1p(ends) - x[0]) / (x[-1] - x[0]) * (len(x) - 1), 0, len(x) - 1)
    before = np.minimum(place.astype(int), len(x) - 2)

    def change(rows: Float[np.ndarray, "... grid"]) -> Float[np.ndarray, "... stage"]:
        after = place - before
        return np.diff(rows[..., before] * (1 - after) + rows[..., before + 1] * after)

    directions = error_directions(smooth.modes, smooth.offsets)[:, 0]
    return change(smooth.mean), np.sqrt((change(directions) ** 2).sum(axis=0))
