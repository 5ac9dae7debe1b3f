"""Which milestones are still there if the curve is smoothed, judged or measured in another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ontogeny.analysis.curves import FEWEST_POINTS, SmoothCurve, smooth_curve
from ontogeny.analysis.milestones import Rule, find_milestones, holds
from ontogeny.records import Curve, Milestone, Variation

DRAWS = 100
RULES = {
    "change of 2.5 standard errors, not 3": Rule(sigmas=2.5),
    "change of 4 standard errors": Rule(sigmas=4.0),
    "plateau at 0.35 of the steepest slope, not 0.5": Rule(flatness=0.35),
    "plateau at 0.65 of the steepest slope": Rule(flatness=0.65),
}


def vary(
    llc: Curve, milestones: Sequence[Milestone], measured: Mapping[str, Curve] = {}
) -> tuple[Variation, ...]:
    """Find the milestones again with other constants of the rule and on other curves.

    Args:
        llc: The curve.
        milestones: What was found on it; candidates do not count.
        measured: The same quantity with other settings, by what is different.

    Returns:
        What becomes of each milestone that holds: half and double the length scale, other
        constants, and then the other curves.

    Examples:
        >>> steps = np.arange(0, 3000, 20)
        >>> values = -((np.log1p(steps) - 4) ** 2)[:, None]
        >>> llc = Curve("llc", "", steps, values, np.full_like(values, np.nan))
        >>> variations = vary(llc, find_milestones(llc))
        >>> all(variation.steps != (None,) for variation in variations)
        True
    """
    kept = [one for one in milestones if holds(one)]
    return tuple(
        _compared(what, kept, [one for one in found if holds(one)])
        for what, found in _readings(llc, measured)
    )


def _readings(
    llc: Curve, measured: Mapping[str, Curve]
) -> Iterator[tuple[str, Sequence[Milestone]]]:
    def smooth(curve: Curve, stretch: float = 1.0) -> SmoothCurve:
        return smooth_curve(curve, draws=DRAWS, stretch=stretch)

    yield "half the length scale", find_milestones(smooth(llc, 0.5))
    yield "twice the length scale", find_milestones(smooth(llc, 2.0))
    as_it_is = smooth(llc)
    for what, rule in RULES.items():
        yield what, find_milestones(as_it_is, rule=rule)
    for what, curve in measured.items():
        if len(np.unique(curve.steps[np.isfinite(curve.values[:, 0])])) >= FEWEST_POINTS:
            yield what, find_milestones(smooth(curve))


def _compared(what: str, kept: Sequence[Milestone], found: Sequence[Milestone]) -> Variation:
    """Each milestone with the nearest one whose interval overlaps with its own."""
    steps: list[int | None] = []
    left = list(found)
    for one in kept:
        same = [other for other in left if _overlap(one, other)]
        nearest = min(same, key=lambda other: abs(other.step - one.step), default=None)
        steps.append(None if nearest is None else nearest.step)
        if nearest is not None:
            left.remove(nearest)
    return Variation(what, tuple(steps), tuple(other.step for other in left))


def _overlap(one: Milestone, other: Milestone) -> bool:
    return (one.low or one.step) <= (other.high or other.step) and (other.low or other.step) <= (
        one.high or one.step
    )
