"""Arrivals: which known critical points a run comes near, and which it is at where a stage ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ontogeny.records import Arrival, CriticalPoint, Curve, Stage

DISTANCES = "distance_to"
"""The metric that says how far each critical point is, by name."""

NEAR = 0.01
"""A run is near a point where no other is nearer, and it is no farther than this share of the
farthest that it ever is from it. An excess of loss that grows with the square of the distance is
then at most a ten-thousandth of what it can be."""

CLOSE = 0.1
"""A larger share, for a minimum that the run still creeps to, and for the word near."""

BESIDE = math.log(2)
"""A learning coefficient that was measured farther away in log-step is not that of an arrival."""

AT_POINTS = "llc_at_known_points"
"""The curve of the learning coefficients at known critical points, an item for each."""


class Visit(NamedTuple):
    """A known critical point, and the first and last step at which a run is near it."""

    point: CriticalPoint
    first: int
    last: int


def find_visits(distance: Curve, points: Sequence[CriticalPoint]) -> tuple[Visit, ...]:
    """The known critical points that a run comes near, in order.

    Args:
        distance: How far each is, by name.
        points: Those that are known.

    Examples:
        >>> far = np.array([[0.0, 9.0], [0.05, 8.0], [5.0, 4.0], [9.0, 0.05]])
        >>> distance = Curve("distance_to", "", np.array([0, 1, 9, 99]), far, far, ("a", "b"))
        >>> known = CriticalPoint("a", 1.0), CriticalPoint("b", 0.5)
        >>> [(visit.point.name, visit.first, visit.last) for visit in find_visits(distance, known)]
        [('a', 0, 1), ('b', 99, 99)]
    """
    visits, nearest = [], nearest_points(distance, points)
    for point in points:
        near = np.pad(is_near(distance, point.name, nearest), 1)
        starts, ends = np.flatnonzero(np.diff(near.astype(int))).reshape(-1, 2).T
        pairs = zip(distance.steps[starts].tolist(), distance.steps[ends - 1].tolist(), strict=True)
        visits += [Visit(point, *pair) for pair in pairs]
    return tuple(sorted(visits, key=lambda visit: visit.first))


def is_near(
    distance: Curve, name: str, nearest: Sequence[str | None], share: float = NEAR
) -> Bool[np.ndarray, " step"]:
    """At which steps a run is near a point: `NEAR`, or another share of the farthest.

    Only where no other is nearer, by `nearest_points`.
    """
    if name not in distance.items:
        return np.zeros(len(distance.steps), dtype=bool)
    away = distance.values[:, distance.items.index(name)]
    first = np.array([one == name for one in nearest], dtype=bool)
    near: Bool[np.ndarray, " step"] = first & (away <= share * np.nanmax(away, initial=0.0))
    return near


def llc_at_points(curves: Mapping[str, Curve], points: Sequence[CriticalPoint]) -> Curve | None:
    """The refined learning coefficients near the points that the run comes near.

    An estimate on the data set of which a point is a minimum means something near that point only:
    elsewhere chains go down to it, and what they find is the height.

    Args:
        curves: As for `find_arrivals`.
        points: The critical points that are known; those that name a data set count.

    Returns:
        An item for each point that has one near it; nan where the run is not near it, and no step
        without a value. None if nothing was measured near a point.
    """
    if DISTANCES not in curves:
        return None
    distance, parts = curves[DISTANCES], dict[str, Curve]()
    nearest = nearest_points(distance, points)
    for point in points:
        llc = llc_beside(point, curves) if point.data else None
        if llc is not None:
            near = is_near(distance, point.name, nearest)
            there = near[[nearest_row(distance, step) for step in llc.steps.tolist()]]
            if there.any():
                parts[point.name] = rows_of(llc, there)
    if not parts:
        return None
    steps = np.unique(np.concatenate([part.steps for part in parts.values()]))
    values, stderr = np.full((2, len(steps), len(parts)), np.nan)
    for column, part in enumerate(parts.values()):
        rows = np.searchsorted(steps, part.steps)
        values[rows, column], stderr[rows, column] = part.values[:, 0], part.stderr[:, 0]
    return Curve(AT_POINTS, "", steps, values, stderr, tuple(parts))


def find_arrivals(
    stages: Sequence[Stage], curves: Mapping[str, Curve], points: Sequence[CriticalPoint]
) -> tuple[Stage, ...]:
    """The stages, each with the critical point that it ended at.

    Args:
        stages: In order.
        curves: What was measured: `distance_to` with the names of critical points as items, and if
            they are there `loss`, `llc` and `llc_by_component_on_DATA`.
        points: The critical points that are known.

    Returns:
        The stages as they were if no distance was measured or no point is known.

    Examples:
        >>> near = np.array([[0.0, 2.0], [1.9, 0.1]])
        >>> distance = Curve("distance_to", "", np.array([0, 99]), near, near, ("a", "b"))
        >>> known = CriticalPoint("a", 1.0), CriticalPoint("b", 0.5, learning_coefficient=2.0)
        >>> stages = (Stage("S1", 0, 99, "A", -0.5, 3.0, 0.1),)
        >>> (stage,) = find_arrivals(stages, {"distance_to": distance}, known)
        >>> stage.arrival.point.name, stage.arrival.distance
        ('b', 0.1)
    """
    return tuple(replace(stage, arrival=arrival_at(stage.end, curves, points)) for stage in stages)


def arrival_at(
    step: int, curves: Mapping[str, Curve], points: Sequence[CriticalPoint]
) -> Arrival | None:
    """The critical point that is nearest at a step, None if the distance to none is known.

    The learning coefficient beside it is that of the checkpoint nearest to the point, of those
    within a factor of two in step (`BESIDE`) at which the run is near the point, or close to it if
    it is a minimum: elsewhere chains go down to it, and what they find is the height.
    """
    if DISTANCES not in curves:
        return None
    distance = curves[DISTANCES]
    row = nearest_row(distance, step)
    nearest = nearest_points(distance, points)
    name = nearest[row]
    if name is None:
        return None
    point = next(one for one in points if one.name == name)
    away = distance.values[:, distance.items.index(name)]
    close = is_near(distance, name, nearest, CLOSE)
    step = int(distance.steps[row])
    found = Arrival(point=point, step=step, distance=float(away[row]), near=bool(close[row]))
    if (loss := curves.get("loss")) is not None:
        found = replace(found, loss=float(loss.values[nearest_row(loss, step), 0]))
    llc = llc_beside(point, curves)
    if llc is None:
        return found
    rows = [nearest_row(distance, one) for one in llc.steps.tolist()]
    near = close if point.minimum else is_near(distance, name, nearest)
    there = {
        place: float(away[other])
        for place, other in enumerate(rows)
        if abs(np.log1p(llc.steps[place]) - np.log1p(found.step)) <= BESIDE and near[other]
    }
    if not there:
        return found
    place = min(there, key=lambda one: there[one])
    return replace(
        found,
        llc=float(llc.values[place, 0]),
        llc_stderr=float(llc.stderr[place, 0]),
        llc_step=int(llc.steps[place]),
    )


def nearest_points(distance: Curve, points: Sequence[CriticalPoint]) -> list[str | None]:
    """At each step the name of the known critical point that is nearest; None if none is known."""
    known = np.isin(distance.items, [point.name for point in points])
    away = np.where(known & np.isfinite(distance.values), distance.values, np.inf)
    return [
        distance.items[place] if np.isfinite(row[place]) else None
        for row, place in zip(away, away.argmin(axis=1), strict=True)
    ]


def llc_beside(point: CriticalPoint, curves: Mapping[str, Curve]) -> Curve | None:
    """The learning coefficient on the data set that a point is a minimum of, if it was measured."""
    if not point.data:
        return curves.get("llc") if point.minimum else None
    llc = curves.get(f"llc_by_component_on_{point.data}")
    if llc is None or "all" not in llc.items:
        return None
    item = [llc.items.index("all")]
    one = replace(llc, values=llc.values[:, item], stderr=llc.stderr[:, item], items=("",))
    return rows_of(one, np.isfinite(one.values[:, 0]))


def rows_of(curve: Curve, rows: Bool[np.ndarray, " step"]) -> Curve:
    """Some steps of a curve."""
    return replace(
        curve, steps=curve.steps[rows], values=curve.values[rows], stderr=curve.stderr[rows]
    )


def nearest_row(curve: Curve, step: int) -> int:
    """Which of a curve's steps is nearest, in log-step."""
    return int(np.abs(np.log1p(curve.steps) - np.log1p(step)).argmin())
