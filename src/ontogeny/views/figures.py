"""Pictures of stages and of essential dynamics: one function for each, from records to plotly.

Stages of type A are orange and stages of type B blue in every picture, in two shades by turns, so
that neighbours of one type can be told apart. A picture of what has not been measured says so in
words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.subplots import make_subplots

from ontogeny.analysis.dynamics import osculating_circles
from ontogeny.analysis.milestones import holds
from ontogeny.analysis.reading import Report
from ontogeny.records import Curve, Milestone, Stage, Trajectory
from ontogeny.views.marks import (
    GREY,
    HOVER,
    INK,
    PAGE_WIDTH,
    TEMPLATE,
    TEXT_COLORS,
    VERDICT_COLORS,
    StepAxis,
    columns_within,
    error_band,
    error_line,
    hover_data,
    milestone_marks,
    plain,
    stage_bands,
    stage_colors,
    step_axis,
    words,
)

CIRCLE_STRIDE = 8
LARGEST_PLANE = 420
PLANE_GAP = 64
"""Pixels between planes that stand above each other, for the labels of an axis."""

# Stages -------------------------------------------------------------------------------------------


def plot_stages(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw the loss and the local learning coefficient over training, with the stages behind.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for; it stretches to any other width.

    Returns:
        One panel for each of the two that was measured, over one axis of steps: estimates with
        their standard errors, the smoothed curve with its band, stages as coloured bands and
        milestones as dashed lines in their intervals. Words if neither was measured.

    Examples:
        >>> empty = Report("")
        >>> plot_stages(empty).layout.annotations[0].text
        'Neither the loss nor the learning coefficient has been measured.'
    """
    panels = [name for name in ("loss", "llc") if name in report.curves]
    if not panels:
        return words("Neither the loss nor the learning coefficient has been measured.")
    axis = step_axis(report)
    labels = _stage_labels(report.stages, axis, width - 80)
    top = 22 + max((label["yshift"] for label in labels), default=0)
    figure = make_subplots(rows=len(panels), shared_xaxes=True, vertical_spacing=0.04)
    titles = {"loss": "test loss", "llc": "local learning coefficient"}
    for row, name in enumerate(panels, start=1):
        curve = report.curves[name]
        traces = _llc_traces(report, axis) if name == "llc" else _loss_traces(curve, axis)
        figure.add_traces(list(traces), rows=row, cols=1)
        unit = f" ({plain(curve.unit)})" if curve.unit else ""
        figure.update_yaxes(title_text=titles[name] + unit, row=row, col=1)
    figure.update_xaxes(axis.layout())
    figure.update_xaxes(title_text="training step (log scale)", row=len(panels), col=1)
    figure.update_layout(
        template=TEMPLATE,
        height=110 + top + 240 * len(panels),
        margin={"l": 64, "r": 14, "t": top, "b": 90 if width >= PAGE_WIDTH else 170},
        legend={"y": 0, "yref": "container", "yanchor": "bottom", "x": 0},
        shapes=[
            *stage_bands(report.stages, axis, len(panels)),
            *milestone_marks(kept_milestones(report), axis, len(panels)),
        ],
        annotations=labels,
    )
    return figure


def _loss_traces(curve: Curve, axis: StepAxis) -> Iterator[go.Scatter]:
    yield from error_band(curve, axis, INK)
    yield error_line(curve, 0, axis, {"color": INK, "width": 2}, "test loss")


def _llc_traces(report: Report, axis: StepAxis) -> Iterator[go.Scatter]:
    """Estimates with error bars by verdict, then the smoothed curve and its milestones."""
    curve, smooth = report.curves["llc"], report.smooth_llc
    verdicts = {diagnosis.step: diagnosis.verdict for diagnosis in report.diagnoses}
    seen = np.array([verdicts.get(int(step), "ok") for step in curve.steps])
    finite = np.isfinite(curve.values[:, 0])
    for verdict, symbol in (("ok", "circle"), ("suspect", "diamond-open"), ("failed", "x-thin")):
        chosen = finite & (seen == verdict)
        if chosen.any():
            label = "estimate ± standard error" if verdict == "ok" else f"{verdict} estimate"
            yield _estimates(curve, chosen, axis, VERDICT_COLORS[verdict], (symbol, label))
    lost = curve.steps[~finite]
    if len(lost):
        bottom = np.nanmin(curve.values, initial=0.0)
        yield go.Scatter(
            x=axis.place(lost),
            y=np.full(len(lost), bottom),
            customdata=lost,
            mode="markers",
            marker={"symbol": "x", "size": 8, "color": VERDICT_COLORS["failed"]},
            name="failed, no value",
            hovertemplate="step %{customdata:,}: no value<extra></extra>",
        )
    if smooth is not None:
        yield from error_band(smooth, axis, INK)
        yield error_line(smooth, 0, axis, {"color": INK, "width": 1.8}, "smoothed ± standard error")
    if kept := kept_milestones(report):
        yield _milestone_points(kept, smooth or curve, axis)


def _estimates(
    curve: Curve,
    chosen: Bool[np.ndarray, " step"],
    axis: StepAxis,
    color: str,
    look: tuple[str, str],
) -> go.Scatter:
    symbol, label = look
    return go.Scatter(
        x=axis.place(curve.steps[chosen]),
        y=curve.values[chosen, 0],
        error_y={
            "array": np.nan_to_num(curve.stderr[chosen, 0]),
            "thickness": 1,
            "width": 0,
            "color": color,
        },
        customdata=hover_data(curve, 0)[chosen],
        mode="markers",
        marker={
            "symbol": symbol,
            "size": 5,
            "color": color,
            "line": {"width": 1.5, "color": color},
        },
        opacity=0.75,
        name=label,
        hovertemplate=HOVER + f"<extra>{label}</extra>",
    )


def kept_milestones(report: Report) -> list[Milestone]:
    """The milestones at which stages end: without mere candidates."""
    return [milestone for milestone in report.milestones if holds(milestone)]


def _milestone_points(milestones: Sequence[Milestone], curve: Curve, axis: StepAxis) -> go.Scatter:
    steps = np.array([milestone.step for milestone in milestones])
    return go.Scatter(
        x=axis.place(steps),
        y=np.interp(axis.place(steps), axis.place(curve.steps), curve.values[:, 0]),
        text=[describe_milestone(milestone) for milestone in milestones],
        mode="markers",
        marker={"size": 9, "color": "white", "line": {"width": 2, "color": INK}},
        name="milestone and its 90 % interval",
        hovertemplate="%{text}<extra></extra>",
    )


def describe_milestone(milestone: Milestone) -> str:
    """A milestone in words.

    Examples:
        >>> describe_milestone(Milestone(1500, 1300, 1800, 0.97, "maximum"))
        'maximum at step 1,500, 90 % interval 1,300 to 1,800, probability 0.97'
        >>> describe_milestone(Milestone(93, None, None, None, "plateau"))
        'plateau at step 93'
    """
    text = f"{milestone.kind} at step {milestone.step:,}"
    if milestone.low is not None and milestone.high is not None:
        text += f", 90 % interval {milestone.low:,} to {milestone.high:,}"
    if milestone.probability is not None:
        text += f", probability {milestone.probability:.2f}"
    return text


def _stage_labels(stages: Sequence[Stage], axis: StepAxis, width: int) -> list[dict[str, Any]]:
    """Names above the bands, each on the lowest level where it touches no other."""
    low, high = axis.layout()["range"]
    labels, taken = [], list[float]()
    for stage in stages:
        middle = float(np.log10(axis.place([stage.start, stage.end])).mean())
        pixel = (middle - low) / (high - low) * width
        half = 4.4 * (len(stage.name) + 2)
        free = [level for level, end in enumerate(taken) if pixel - half > end]
        level = free[0] if free else len(taken)
        taken[level : level + 1] = [pixel + half]
        labels.append(
            {
                "text": f"<b>{plain(stage.name)}</b> {stage.type}",
                "x": middle,
                "y": 1,
                "xref": "x",
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": 15 * level,
                "showarrow": False,
                "font": {"size": 11, "color": TEXT_COLORS[stage.type]},
            }
        )
    return labels


# Essential dynamics -------------------------------------------------------------------------------


def plot_dynamics(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw the outputs over training on each two of their first three principal components.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for: as many planes side by side as fit.

    Returns:
        One panel for each plane, both axes to one scale: measured points in grey, the smoothed
        curve in the colours of the stages, every eighth osculating circle, the evolute, and the
        reference predictors. The frame is laid around points and predictors alone: circles
        and evolute end at it. Words if there is no trajectory of two components or more.

    Examples:
        >>> empty = Report("")
        >>> plot_dynamics(empty).layout.annotations[0].text
        'Essential dynamics has not been measured.'
    """
    trajectory = report.trajectory
    if trajectory is None:
        return words("Essential dynamics has not been measured.")
    n_components = min(3, trajectory.scores.shape[1])
    if n_components < 2:
        return words("The outputs move along a straight line only.")
    planes = list(itertools.combinations(range(n_components), 2))
    columns = columns_within(width, len(planes))
    rows = math.ceil(len(planes) / columns)
    side = min((width - 66) * (1 - 0.21 * (columns - 1) / columns) / columns, LARGEST_PLANE)
    inner = rows * side + (rows - 1) * PLANE_GAP
    figure = make_subplots(
        rows=rows,
        cols=columns,
        horizontal_spacing=0.21 / columns,
        vertical_spacing=PLANE_GAP / inner if rows > 1 else 0,
    )
    for place, (across, up) in enumerate(planes):
        row, column = place // columns + 1, place % columns + 1
        frame = _frame(report, trajectory, across, up)
        traces = list(_plane_traces(report, trajectory, (across, up), frame))
        for trace in traces:
            trace.showlegend = trace.showlegend is not False and place == 0
        figure.add_traces(traces, rows=row, cols=column)
        scale = {"scaleanchor": f"x{place + 1}", "constrain": "domain"}
        figure.update_xaxes(_component_axis(trajectory, across, frame[0]), row=row, col=column)
        figure.update_yaxes(_component_axis(trajectory, up, frame[1]) | scale, row=row, col=column)
    bottom = 84 if columns > 1 else 150
    figure.update_layout(
        template=TEMPLATE,
        height=round(inner) + 10 + bottom,
        margin={"l": 56, "r": 10, "t": 10, "b": bottom},
        legend={"y": 0, "yref": "container", "yanchor": "bottom", "x": 0},
    )
    return figure


def _component_axis(
    trajectory: Trajectory, component: int, ends: Float[np.ndarray, " 2"]
) -> dict[str, Any]:
    share = trajectory.explained_variance_ratio[component]
    return {
        "title": {"text": f"PC{component + 1} ({100 * share:.1f} % of variance)"},
        "range": ends.tolist(),
        "constrain": "domain",
        "nticks": 6,
    }


def _frame(
    report: Report, trajectory: Trajectory, across: int, up: int
) -> Float[np.ndarray, "2 2"]:
    """The square around every point and reference: lower and upper end of each axis."""
    references = [scores[[across, up]] for scores in report.reference_scores.values()]
    plane = [trajectory.scores[:, [across, up]], trajectory.smoothed[:, [across, up]]]
    points = np.concatenate([*plane, np.reshape(references, (-1, 2))])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    half = 0.58 * max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1)


def _plane_traces(
    report: Report,
    trajectory: Trajectory,
    plane: tuple[int, int],
    frame: Float[np.ndarray, "2 2"],
) -> Iterator[go.Scatter]:
    """From back to front: circles, raw points, the curve by stage, evolute, references."""
    smooth = trajectory.smoothed[:, plane]
    if len(smooth) >= 3:
        circles = osculating_circles(smooth, trajectory.steps.astype(float))
        arcs = _arcs(smooth, circles.centers, frame)
        yield _dots(arcs, "osculating circles", mode="lines", line={"color": "#d4d4d4", "width": 1})
    raw = trajectory.scores[:, plane]
    yield _dots(raw, "measured", mode="markers", marker={"size": 4, "color": "#b5b5b5"})
    yield from _staged_curve(report.stages, trajectory.steps, smooth)
    if len(smooth) >= 3:
        inside = ((circles.centers > frame[:, 0]) & (circles.centers < frame[:, 1])).all(axis=1)
        evolute = circles.centers[inside]
        yield _dots(evolute, "evolute", mode="markers", marker={"size": 3, "color": "black"})
    for name, scores in report.reference_scores.items():
        yield go.Scatter(
            x=scores[[plane[0]]],
            y=scores[[plane[1]]],
            text=[plain(name)],
            mode="markers+text",
            textposition="top center",
            marker={"symbol": "diamond", "size": 9, "color": "#8e3b8a"},
            textfont={"color": "#6f2a6c"},
            showlegend=False,
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        )


def _dots(points: Float[np.ndarray, "point 2"], name: str, **look: Any) -> go.Scatter:
    x, y = points.astype(np.float32).T
    return go.Scatter(x=x, y=y, name=name, hoverinfo="skip", **look)


def _arcs(
    points: Float[np.ndarray, "step 2"],
    centers: Float[np.ndarray, "step 2"],
    frame: Float[np.ndarray, "2 2"],
) -> Float[np.ndarray, "point 2"]:
    """What the frame can show of every eighth circle, the pieces parted by nan.

    An arc reaches as far from the point where its circle touches the curve as the frame's
    diagonal, so a circle of any size is drawn finely and cannot widen the picture.
    """
    chosen = slice(CIRCLE_STRIDE // 2, None, CIRCLE_STRIDE)
    points, centers = points[chosen], centers[chosen]
    finite = np.isfinite(centers).all(axis=1)
    points, centers = points[finite], centers[finite]
    spokes = points - centers
    radii = np.linalg.norm(spokes, axis=1)
    diagonal = float(np.linalg.norm(frame[:, 1] - frame[:, 0]))
    widest = 2 * np.arcsin(np.minimum(1, diagonal / np.maximum(2 * radii, 1e-300)))
    angles = widest[:, None] * np.linspace(-1, 1, 65)
    cos, sin = np.cos(angles), np.sin(angles)
    x = centers[:, :1] + cos * spokes[:, :1] - sin * spokes[:, 1:]
    y = centers[:, 1:] + sin * spokes[:, :1] + cos * spokes[:, 1:]
    arcs = np.pad(np.stack([x, y], axis=2), ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
    return arcs.reshape(-1, 2)


def _staged_curve(
    stages: Sequence[Stage], steps: np.ndarray, smooth: Float[np.ndarray, "step 2"]
) -> Iterator[go.Scatter]:
    """The whole curve in grey, and over it the part that belongs to each stage."""
    pieces = [("smoothed", GREY, 0, len(steps), 1.5)] + [
        (
            f"{plain(stage.name)} ({stage.type})",
            color,
            max(int(np.searchsorted(steps, stage.start, side="right")) - 1, 0),
            int(np.searchsorted(steps, stage.end)) + 1,
            3.5,
        )
        for stage, color in zip(stages, stage_colors(stages), strict=True)
    ]
    for name, color, start, stop, width in pieces:
        yield go.Scatter(
            x=smooth[start:stop, 0],
            y=smooth[start:stop, 1],
            customdata=steps[start:stop],
            mode="lines",
            line={"color": color, "width": width},
            name=name,
            showlegend=name != "smoothed" or not stages,
            hovertemplate=f"step %{{customdata:,}}<br>%{{x:.4g}}, %{{y:.4g}}<extra>{name}</extra>",
        )
