"""Arrivals: which known critical point a run is nearest to where a stage ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ontogeny.records import Arrival, CriticalPoint, Curve, Stage

DISTANCES = "distance_to"
"""The metric that says how far each critical point is, by name."""


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
    """The critical point that is nearest at a step, None if the distance to none is known."""
    if DISTANCES not in curves:
        return None
    distance = curves[DISTANCES]
    known = {point.name: point for point in points}
    row = nearest_row(distance, step)
    name = nearest_point(distance, row, known)
    if name is None:
        return None
    found = Arrival(
        point=known[name],
        step=int(distance.steps[row]),
        distance=float(distance.values[row, distance.items.index(name)]),
    )
    if (loss := curves.get("loss")) is not None:
        found = replace(found, loss=float(loss.values[nearest_row(loss, step), 0]))
    llc = llc_beside(known[name], curves)
    if llc is None:
        return found
    rows = [nearest_row(distance, one) for one in llc.steps.tolist()]
    away = {
        place: float(distance.values[row, distance.items.index(name)])
        for place, row in enumerate(rows)
        if nearest_point(distance, row, known) == name
    }
    if not away:
        return found
    place = min(away, key=lambda one: away[one])
    return replace(
        found,
        llc=float(llc.values[place, 0]),
        llc_stderr=float(llc.stderr[place, 0]),
        llc_step=int(llc.steps[place]),
    )


def nearest_point(distance: Curve, row: int, known: Mapping[str, CriticalPoint]) -> str | None:
    """The name of the known critical point that is nearest at a row; None if no distance is."""
    found = {
        name: value
        for name, value in zip(distance.items, distance.values[row].tolist(), strict=True)
        if name in known and np.isfinite(value)
    }
    return min(found, key=lambda name: found[name]) if found else None


def llc_beside(point: CriticalPoint, curves: Mapping[str, Curve]) -> Curve | None:
    """The learning coefficient on the data set that a point is a minimum of, if it was measured."""
    if not point.data:
        return curves.get("llc") if point.minimum else None
    llc = curves.get(f"llc_by_component_on_{point.data}")
    if llc is None or "all" not in llc.items:
        return None
    item = [llc.items.index("all")]
    finite = np.isfinite(llc.values[:, item[0]])
    return replace(
        llc,
        steps=llc.steps[finite],
        values=llc.values[finite][:, item],
        stderr=llc.stderr[finite][:, item],
        items=("",),
    )


def nearest_row(curve: Curve, step: int) -> int:
    """Which of a curve's steps is nearest, in log-step."""
    return int(np.abs(np.log1p(curve.steps) - np.log1p(step)).argmin())
