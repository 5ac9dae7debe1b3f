"""The critical points that are known beforehand, in the pictures of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ontogeny.analysis.arrivals import AT_POINTS, DISTANCES, Visit, find_visits
from ontogeny.analysis.reading import Report
from ontogeny.records import CriticalPoint
from ontogeny.views.marks import PAGE_WIDTH, StepAxis, plain

HIGH = 0.7
"""Names of points whose loss is above this share of the highest stand below their line."""


def visit_lines(report: Report, axis: StepAxis) -> Iterator[go.Scatter]:
    """A dotted line at the loss of each known critical point, as long as the run is near it."""
    for visit in _visits(report):
        yield go.Scatter(
            x=axis.place([visit.first, visit.last]),
            y=[visit.point.loss] * 2,
            mode="lines",
            line={"color": "#a3227a", "width": 4, "dash": "2px,3px"},
            hovertemplate=f"{plain(point_words(visit.point))}<br>%{{y:.4g}}<extra></extra>",
            showlegend=False,
        )


def _visits(report: Report) -> tuple[Visit, ...]:
    distance = report.curves.get(DISTANCES)
    return () if distance is None else find_visits(distance, report.critical_points)


def point_words(point: CriticalPoint) -> str:
    """A critical point's name, and whether it is no minimum.

    Examples:
        >>> point_words(CriticalPoint("rank 1", 0.25, minimum=False))
        'rank 1, not a minimum'
    """
    return point.name + ", not a minimum" * (not point.minimum)


def visit_labels(report: Report, axis: StepAxis, width: int) -> list[dict[str, Any]]:
    """The name of each point that the run comes near, on the lowest level where it is alone."""
    low, high = axis.layout()["range"]
    most = float(np.nanmax(report.curves["loss"].values[:, 0]))
    labels, taken = [], list[float]()
    for visit in _visits(report):
        middle = float(np.log10(axis.place([visit.first, visit.last])).mean())
        text = point_words(visit.point) if width >= PAGE_WIDTH else visit.point.name
        lines = plain(text).split(", ")
        pixel = (middle - low) / (high - low) * (width - 80)
        half = 3.2 * max(map(len, lines))
        free = [level for level, end in enumerate(taken) if pixel - half > end]
        level = free[0] if free else len(taken)
        taken[level : level + 1] = [pixel + half]
        below = visit.point.loss > HIGH * most
        labels.append(
            {
                "text": "<br>".join(lines),
                "x": middle,
                "y": visit.point.loss,
                "yanchor": "top" if below else "bottom",
                "yshift": (-4 if below else 4) + 26 * level * (-1 if below else 1),
                "showarrow": False,
                "bgcolor": "rgba(255, 255, 255, 0.5)",
                "borderpad": 1,
                "font": {"size": 11, "color": "#7d1a5d"},
            }
        )
    return labels


def points_caption(report: Report) -> str:
    """What the panel of learning coefficients near known points shows; empty if there is none.

    Examples:
        >>> points_caption(Report(""))
        ''
    """
    if AT_POINTS not in report.curves:
        return ""
    shown = [one for one in report.critical_points if one.name in report.curves[AT_POINTS].items]
    saddles = [one.name for one in shown if not one.minimum]
    text = "Near a known point the LLC is that on the data set of which the point is a minimum."
    if saddles:
        names = " and ".join(filter(None, [", ".join(saddles[:-1]), saddles[-1]]))
        text += f" {names}: not a minimum of the run’s own loss, which has no LLC there."
    return text
