"""Milestones: the turning points and the plateaus of a curve, as a posterior over steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analysis.curves import SmoothCurve, change_stderr, smooth_curve
from ontogeny.records import Curve, Milestone

# A change counts if it exceeds this many of its standard errors: noise is looked at in many places.
SIGMAS = 3.0
# The same for how flat a plateau is, which is looked at only where changes count.
FLAT_SIGMAS = 2.0
# On a plateau the curve is flatter than this share of the steepest slope on either side of it.
FLATNESS = 0.5
# And this share of the range of the curve: a change may be as certain as it is small, where errors
# are shared by all checkpoints, and smoothing rings beside a corner.
NOTABLE = 0.02
# And this share of the standard error of a typical value, for a curve that hardly moves at all.
DISCERNIBLE = 0.1
# A milestone holds if it is in at least this share of the functions that the curve might be.
HOLDS = 0.5
# A corner may be this many times as far again as a shorter length scale moves it.
CORNER = 2.0
# Between these quantiles of the places an interval lies. The functions are rougher than most curves
# and their places more spread: these hold 90 % or more of true ones (benchmarks/coverage.py).
TAILS = (0.06, 0.94)
# Places where the rule holds with thresholds lower by this factor are looked at as candidates.
EASIER = 0.6

Kind = Literal["maximum", "minimum", "plateau"]


@dataclass(frozen=True)
class Rule:
    """What counts as a milestone; the defaults are the constants of this module.

    Attributes:
        sigmas: A change counts if it exceeds this many of its standard errors.
        flat_sigmas: So does the flatness of a plateau.
        flatness: Slope of a plateau, at most, in units of the steepest slope beside it.
        notable: Change on either side of a milestone, at least, in units of the curve's range.
    """

    sigmas: float = SIGMAS
    flat_sigmas: float = FLAT_SIGMAS
    flatness: float = FLATNESS
    notable: float = NOTABLE


@dataclass(frozen=True, eq=False)
class _Errors:
    """What a change between two points of the grid must exceed: to count, to be flat."""

    change: Float[np.ndarray, "grid grid"]
    flat: Float[np.ndarray, "grid grid"]


def find_milestones(
    curve: Curve | SmoothCurve, *, rule: Rule = Rule(), least_probability: float = 0.1
) -> tuple[Milestone, ...]:
    r"""The turning points and plateaus of a curve, each with its interval and its probability.

    The curve is smoothed in log-step. A function has a milestone where

    - it turns: it is highest or lowest, and the change to the next milestone of this kind, or to
      the end of the curve, exceeds 3 of its standard errors on both sides, 2 % of the curve's
      range and a tenth of a typical value's standard error; or
    - it pauses between two rises, or two falls: while it is slower than half of the steepest slope
      on either side, whichever is less steep, it falls behind by more than 2 standard errors.
      Before and after it changes by as much as for a turn.

    A flat beginning is no milestone: nothing changed before it. The rule is applied to the smoothed
    curve and to functions that the curve might be, whole chains resampled. The probability of a
    milestone is the share of functions that have one between the steepest places on either
    side of it. Its interval comes from where these functions are highest, lowest or flattest
    there, whether or not the rule calls it a milestone. Where the curve turns it may turn in a
    corner, which smoothing moves to the flatter side: there functions with a shorter length scale
    have their say instead, and the interval is extended by twice as far as these move the turn.

    Args:
        curve: A curve of one item, usually the local learning coefficient; or smoothed already.
        rule: What counts as a milestone.
        least_probability: Milestones in a smaller share of the functions are left out.

    Returns:
        Milestones in order, strictly inside the curve: the step on the smoothed curve, to the
        resolution of its grid; the interval; the probability;
        and the kind. Those below one half are candidates and end no stage. None if the curve
        only rises, only falls, or is only noise.

    Raises:
        ValueError: The curve has several items, or finite values at fewer than five steps.

    Examples:
        A parabola in log-step that is highest at x = 4, which is step 53.6.

        >>> steps = np.arange(0, 3000, 20)
        >>> values = -((np.log1p(steps) - 4) ** 2)[:, None]
        >>> (top,) = find_milestones(Curve("llc", "", steps, values, np.full_like(values, np.nan)))
        >>> top.kind, top.probability, 20 < top.low < 53.6 < top.high < 80
        ('maximum', 1.0, True)
    """
    smooth = curve if isinstance(curve, SmoothCurve) else smooth_curve(curve)
    errors = _errors(smooth, rule)
    seen = [_places(function, errors, rule.flatness) for function in smooth.functions]
    places = _places(smooth.mean, errors, rule.flatness)
    while True:
        found = [_milestone(smooth, places, k, seen) for k in range(len(places))]
        weak = [k for k, one in enumerate(found) if not holds(one)]
        if not weak:
            break
        del places[min(weak, key=lambda k: found[k].probability or 0.0)]
    easier = _places(smooth.mean, errors, rule.flatness, EASIER)
    for place in places:
        nearest = min(easier, key=lambda other: abs(other - place))
        easier[easier.index(nearest)] = place
    candidates = [
        _milestone(smooth, easier, k, seen) for k, place in enumerate(easier) if place not in places
    ]
    inside = range(int(smooth.checkpoints[0]) + 1, int(smooth.checkpoints[-1]))
    both = [*found, *(one for one in candidates if not holds(one))]
    both.sort(key=lambda one: one.probability or 0.0)
    alone = {one.step: one for one in both}  # of two within one step, the more probable
    return tuple(
        alone[step]
        for step in sorted(alone)
        if step in inside and (alone[step].probability or 0.0) >= least_probability
    )


def holds(milestone: Milestone) -> bool:
    """Whether a milestone is more than a candidate, so that a stage ends there.

    Examples:
        >>> holds(Milestone(9, 8, 10, 0.4, "plateau")), holds(Milestone(9, 8, 10, 0.6, "plateau"))
        (False, True)
        >>> holds(Milestone(9, None, None, None, "plateau"))
        True
    """
    return milestone.probability is None or milestone.probability >= HOLDS


def _milestone(
    smooth: SmoothCurve, places: Sequence[int], k: int, seen: Sequence[Sequence[int]]
) -> Milestone:
    """The milestone at one of some places, between the steepest places on either side."""
    ends = [0, *places, len(smooth.mean) - 1]
    before, middle, after = ends[k : k + 3]
    steepness = np.abs(np.diff(smooth.mean))
    first = before + int(np.argmax(steepness[before:middle]))
    last = middle + int(np.argmax(steepness[middle:after]))
    kind, up = _kind(smooth.mean[[before, middle, after]])
    window = slice(first, last + 2)
    (place,) = first + _extreme(smooth.mean[None, window], kind, up)
    at = first + _extreme(smooth.functions[:, window], kind, up)
    if kind == "plateau":
        bounds = np.quantile(at, TAILS)
    else:
        rougher = first + _extreme(smooth.rougher[:, window], kind, up)
        bounds = np.quantile(rougher, TAILS)
        shift = CORNER * (np.median(rougher) - np.median(at))
        bounds += [min(shift, 0.0), max(shift, 0.0)]
    # No place is known better than to half a cell of the grid.
    bounds = [min(bounds[0], place) - 0.5, max(bounds[1], place) + 0.5]
    low, high = np.interp(bounds, np.arange(len(smooth.mean)), smooth.steps)
    return Milestone(
        step=round(smooth.steps[place]),
        low=math.floor(low),
        high=math.ceil(high),
        probability=float(np.mean([any(first <= p <= last for p in one) for one in seen])),
        kind=kind,
    )


def _kind(values: Float[np.ndarray, " 3"]) -> tuple[Kind, bool]:
    """The kind of a place from the values before, at and after it; and whether they rise."""
    before, after = np.diff(values)
    if before * after > 0:
        return "plateau", bool(before > 0)
    return ("maximum" if before > after else "minimum"), True


def _extreme(rows: Float[np.ndarray, "row grid"], kind: Kind, up: bool) -> Int[np.ndarray, " row"]:
    """Where each function is highest, lowest or flattest."""
    if kind == "plateau":
        rows = np.diff(rows, axis=1) * (-1 if up else 1)
    elif kind == "minimum":
        rows = -rows
    at: np.ndarray = np.argmax(rows, axis=1)
    return at


# The rule -----------------------------------------------------------------------------------------


def _errors(smooth: SmoothCurve, rule: Rule) -> _Errors:
    change = change_stderr(smooth)
    least = max(rule.notable * np.ptp(smooth.mean), DISCERNIBLE * np.median(smooth.stderr))
    return _Errors(np.maximum(rule.sigmas * change, least), rule.flat_sigmas * change)


def _places(
    values: Float[np.ndarray, " grid"], errors: _Errors, flatness: float, ease: float = 1.0
) -> list[int]:
    """Where the rule finds milestones in a function, in order."""
    ends = extremes(values, lambda at: ease * errors.change[at[:-1], at[1:]])
    found: list[int] = []
    for start, end in pairwise(ends):
        found += _plateaus(values, (start, end), errors, flatness, ease)
        found.append(end)
    return found[:-1]


def extremes(
    values: Float[np.ndarray, " grid"],
    least: Callable[[Int[np.ndarray, " end"]], Float[np.ndarray, " change"]],
) -> list[int]:
    """Both ends of a function, and its extrema between changes that count.

    The least of the changes goes first, and with it the two extrema that it parts.

    Args:
        values: The function.
        least: What the changes between some places must come to.
    """
    slope = np.diff(values)
    ends = [0, *(np.flatnonzero(slope[:-1] * slope[1:] < 0) + 1).tolist(), len(values) - 1]
    while len(ends) > 2:
        at = np.array(ends)
        clear = np.abs(np.diff(values[at])) / least(at)
        weakest = int(np.argmin(clear))
        if clear[weakest] >= 1:
            break
        del ends[max(weakest, 1) : min(weakest + 2, len(ends) - 1)]
    return ends


def _plateaus(
    values: Float[np.ndarray, " grid"],
    span: tuple[int, int],
    errors: _Errors,
    flatness: float,
    ease: float,
) -> list[int]:
    """Where a function pauses on its way from one end of a span to the other: clearest first."""
    start, end = span
    way = values[start : end + 1] * np.sign(values[end] - values[start])
    slope = np.diff(way)
    dips = np.flatnonzero((slope[1:-1] < slope[:-2]) & (slope[1:-1] <= slope[2:])) + 1
    before, after = np.maximum.accumulate(slope), np.maximum.accumulate(slope[::-1])[::-1]
    tilts = flatness * np.minimum(before[dips], after[dips])
    best, clearest = 0, ease
    for dip, tilt in zip(dips.tolist(), tilts.tolist(), strict=True):
        if slope[dip] >= tilt:
            continue
        steep = np.flatnonzero(slope >= tilt)
        high = int(steep[steep < dip].max(initial=-1)) + 1
        low = int(steep[steep > dip].min(initial=len(slope)))
        flattest = high + int(np.argmin(slope[high:low]))
        i, p, j = start + high, start + flattest, start + low
        clear = min(
            (tilt * (low - high) - (way[low] - way[high])) / errors.flat[i, j],
            (way[flattest] - way[0]) / errors.change[start, p],
            (way[-1] - way[flattest]) / errors.change[p, end],
        )
        if clear >= clearest and flattest:
            best, clearest = p, clear
    if not best:
        return []
    left = _plateaus(values, (start, best), errors, flatness, ease)
    return [*left, best, *_plateaus(values, (best, end), errors, flatness, ease)]
