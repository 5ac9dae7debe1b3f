"""Changepoints: where a curve bends, because something sets in, levels off or turns."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ontogeny.analysis.curves import SmoothCurve
from ontogeny.analysis.milestones import extremes

# A change of slope counts if it exceeds this many of its standard errors,
SIGMAS = 3.0
# and this share of the range of all slopes.
NOTABLE = 0.25


class Changepoint(NamedTuple):
    """Where a curve bends.

    Attributes:
        step: Where the slope is half-way from what it was to what it becomes.
        low: First step of the 90 % interval.
        high: Last step of it.
    """

    step: int
    low: int
    high: int


def find_changepoints(smooth: SmoothCurve) -> tuple[Changepoint, ...]:
    r"""The places where the slope of a curve changes, each with its interval.

    The slope swings from one extreme to the next. A swing counts if it exceeds 3 of its standard
    errors and a quarter of the range of all slopes; the least of the others goes first, and joins
    its neighbours. A changepoint is where the slope is half-way, $(s_i + s_{i+1}) / 2$, and its
    interval holds 90 % of the places where that is so in the functions that the curve might be.

    Args:
        smooth: A smoothed curve.

    Returns:
        In order. A curve that is flat, rises and is flat again has two; a straight line has none.

    Examples:
        A rise between x = 3 and x = 6, which is from step 19 to step 402.

        >>> from ontogeny.analysis.curves import smooth_curve
        >>> from ontogeny.records import Curve
        >>> steps = np.unique(np.geomspace(1, 10_000, 100).astype(int))
        >>> values = np.clip(np.log1p(steps), 3, 6)[:, None]
        >>> score = Curve("score", "", steps, values, np.full_like(values, np.nan))
        >>> onset, end = find_changepoints(smooth_curve(score))
        >>> bool(onset.low <= np.expm1(3) <= onset.high), bool(end.low <= np.expm1(6) <= end.high)
        (True, True)
    """
    x = np.log1p(smooth.steps)
    slopes = np.gradient(smooth.functions, x, axis=1)
    slope = np.gradient(smooth.mean, x)
    if not np.ptp(slope) > 0:
        return ()

    def least(at: Int[np.ndarray, " end"]) -> Float[np.ndarray, " swing"]:
        errors = np.diff(slopes[:, at], axis=1).std(axis=0)
        swing: Float[np.ndarray, " swing"] = np.maximum(SIGMAS * errors, NOTABLE * np.ptp(slope))
        return swing

    ends = np.array(extremes(slope, least))
    if (np.abs(np.diff(slope[ends])) < least(ends)).any():
        return ()  # a single swing, that does not count
    return tuple(_between(smooth, slope, slopes, *swing) for swing in pairwise(ends.tolist()))


def _between(
    smooth: SmoothCurve,
    slope: Float[np.ndarray, " grid"],
    slopes: Float[np.ndarray, "draw grid"],
    first: int,
    last: int,
) -> Changepoint:
    """Where the slope is half-way between two extremes."""
    up = np.sign(slope[last] - slope[first])
    half = (slope[first] + slope[last]) / 2
    window = slice(first, last + 1)
    (place,) = first + np.argmax(up * slope[None, window] >= up * half, axis=1)
    places = first + np.argmax(up * slopes[:, window] >= up * half, axis=1)
    low, high = np.quantile(places, [0.05, 0.95])
    bounds = [min(low, place) - 0.5, max(high, place) + 0.5]
    steps = np.interp(bounds, np.arange(len(slope)), smooth.steps)
    return Changepoint(round(smooth.steps[place]), math.floor(steps[0]), math.ceil(steps[1]))
