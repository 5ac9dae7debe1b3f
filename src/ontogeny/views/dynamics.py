"""Pictures of essential dynamics: the path on its planes, and its components over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from ontogeny.analysis.dynamics import osculating_circles
from ontogeny.analysis.forms import COMPONENTS
from ontogeny.analysis.nulls import stands_out
from ontogeny.analysis.reading import Report
from ontogeny.records import Form, Stage, Trajectory
from ontogeny.views.marks import (
    GREY,
    INK,
    PAGE_WIDTH,
    TEMPLATE,
    StepAxis,
    columns_within,
    plain,
    rectangle,
    stage_bands,
    stage_colors,
    step_axis,
    words,
)

CIRCLE_STRIDE = 8
LARGEST_PLANE = 420
PLANE_GAP = 64
"""Pixels between planes that stand above each other, for the labels of an axis."""

FORM_COLOR = "#b3001b"

# Planes -------------------------------------------------------------------------------------------


def plot_dynamics(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw the outputs over training on each two of their first three principal components.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for: as many planes side by side as fit.

    Returns:
        One panel for each plane, both axes to one scale: measured points in grey, the smoothed
        curve in the colours of the stages, every eighth osculating circle, the evolute, the
        reference predictors, and forms as stars, full where p is at most 0.05. Of forms that are
        close together the best has its step beside it.
        The frame is laid around points, predictors and forms: circles and evolute end at it.
        Words if there is no trajectory of two components or more.

    Examples:
        >>> empty = Report("")
        >>> plot_dynamics(empty).layout.annotations[0].text
        'Essential dynamics has not been measured.'
    """
    trajectory = report.trajectory
    if trajectory is None:
        return words("Essential dynamics has not been measured.")
    if trajectory.scores.shape[1] < 2:
        return words("The outputs move along a straight line only.")

    def content(plane: tuple[int, int]) -> tuple[Float[np.ndarray, "2 2"], list[go.Scatter]]:
        frame = _frame(report, trajectory, *plane)
        return frame, list(_plane_traces(report, trajectory, plane, frame))

    return planes_of(trajectory, content, width)


def planes_of(
    trajectory: Trajectory,
    content: Callable[[tuple[int, int]], tuple[Float[np.ndarray, "2 2"], list[go.Scatter]]],
    width: int = PAGE_WIDTH,
) -> go.Figure:
    """A panel for each two of the first three components, both axes to one scale.

    Args:
        trajectory: Says what share of the variance each component has.
        content: The frame of a plane, as the ends of both axes, and what is in it.
        width: Pixels to arrange the picture for.
    """
    n_components = min(COMPONENTS, trajectory.scores.shape[1])
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
        frame, traces = content((across, up))
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
    """The square around every point and mark: lower and upper end of each axis."""
    marks = [scores[[across, up]] for scores in report.reference_scores.values()]
    marks += [np.array(form.point)[[across, up]] for form in forms_of(report)]
    plane = [trajectory.scores[:, [across, up]], trajectory.smoothed[:, [across, up]]]
    return square_around(np.concatenate([*plane, np.reshape(marks, (-1, 2))]))


def square_around(points: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "2 2"]:
    """A square that holds points with some room: lower and upper end of each axis."""
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
    """From back to front: circles, raw points, the curve by stage, evolute, references, forms."""
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
    yield from diamonds(report.reference_scores, plane)
    if forms := forms_of(report):
        known = [scores[list(plane)] for scores in report.reference_scores.values()]
        yield _form_marks(forms, plane, np.reshape(known, (-1, 2)), frame)


def diamonds(
    reference_scores: Mapping[str, Float[np.ndarray, " component"]], plane: tuple[int, int]
) -> Iterator[go.Scatter]:
    """Known predictors with their names."""
    for name, scores in reference_scores.items():
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


def forms_of(report: Report) -> tuple[Form, ...]:
    """The forms that were found."""
    return report.forms.forms if report.forms else ()


def describe_form(form: Form) -> str:
    """A form in words.

    Examples:
        >>> describe_form(Form(34500, 30000, 40000, (1.0, 2.0), 16.34, 0.001))
        'form at step 34,500, influence 30,000 to 40,000, score 16, p = 0.001'
    """
    text = f"form at step {form.step:,}, influence {form.low:,} to {form.high:,}"
    text += f", score {form.score:.2g}"
    return text if form.p_value is None else f"{text}, p = {form.p_value:.3f}"


def _form_marks(
    forms: Sequence[Form],
    plane: tuple[int, int],
    known: Float[np.ndarray, "known 2"],
    frame: Float[np.ndarray, "2 2"],
) -> go.Scatter:
    """A star for each; of those that lie close together only the best shows its step.

    Hollow ones that lie close to the name of a known predictor do not.
    """
    points = np.array([[form.point[component] for component in plane] for form in forms])
    labelled = list[int]()
    for i in sorted(range(len(forms)), key=lambda i: -forms[i].score):
        others = points[labelled]
        if not stands_out(forms[i]):
            others = np.concatenate([others, known])
        apart = np.abs(others - points[i]) / (frame[:, 1] - frame[:, 0])
        if not (apart < [0.2, 0.08]).all(axis=1).any():
            labelled.append(i)
    across, up = points.T
    return go.Scatter(
        x=across,
        y=up,
        text=[f"{form.step:,}" if i in labelled else "" for i, form in enumerate(forms)],
        hovertext=[describe_form(form) for form in forms],
        mode="markers+text",
        textposition="bottom center",
        marker={
            "symbol": ["star" if stands_out(form) else "star-open" for form in forms],
            "size": [11 if stands_out(form) else 8 for form in forms],
            "color": FORM_COLOR,
        },
        textfont={"color": FORM_COLOR, "size": 11},
        name="form and its step",
        hovertemplate="%{hovertext}<extra></extra>",
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


# Components over time -----------------------------------------------------------------------------


def plot_scores(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw the first three principal component scores over training.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for.

    Returns:
        One panel for each component over one axis of steps: measured points in grey, the smoothed
        line, stages as coloured bands, and forms as dashed lines in their intervals of influence.
        Words if there is no trajectory.

    Examples:
        >>> empty = Report("")
        >>> plot_scores(empty).layout.annotations[0].text
        'Essential dynamics has not been measured.'
    """
    trajectory = report.trajectory
    if trajectory is None:
        return words("Essential dynamics has not been measured.")
    count = min(COMPONENTS, trajectory.scores.shape[1])
    axis = step_axis(report)
    figure = make_subplots(rows=count, shared_xaxes=True, vertical_spacing=0.05)
    x = axis.place(trajectory.steps)
    for k in range(count):
        raw, smooth = trajectory.scores[:, k], trajectory.smoothed[:, k]
        dots = _dots(np.stack([x, raw], axis=1), "measured", mode="markers")
        dots.update(marker={"size": 3, "color": "#b5b5b5"}, showlegend=k == 0)
        line = go.Scatter(
            x=x,
            y=smooth,
            customdata=trajectory.steps,
            mode="lines",
            line={"color": INK, "width": 1.8},
            name="smoothed",
            showlegend=k == 0,
            hovertemplate=f"step %{{customdata:,}}: %{{y:.4g}}<extra>PC{k + 1}</extra>",
        )
        figure.add_traces([dots, line], rows=k + 1, cols=1)
        figure.update_yaxes(title_text=f"PC{k + 1}", nticks=5, row=k + 1, col=1)
    forms = forms_of(report)
    marks = [mark for form in forms for mark in _form_lines(form, axis, count)]
    labels = _step_labels(forms, axis, width - 80)
    figure.update_xaxes(axis.layout())
    figure.update_xaxes(title_text="training step (log scale)", row=count, col=1)
    top = 22 + max((label["yshift"] for label in labels), default=0)
    figure.update_layout(
        template=TEMPLATE,
        height=70 + top + 130 * count,
        margin={"l": 64, "r": 14, "t": top, "b": 70},
        legend={"y": 0, "yref": "container", "yanchor": "bottom", "x": 0},
        shapes=[*stage_bands(report.stages, axis, count), *marks],
        annotations=labels,
    )
    return figure


def _form_lines(form: Form, axis: StepAxis, panels: int) -> Iterator[dict[str, Any]]:
    """A dashed line through all panels, over the shade of its influence if it stands out."""
    if stands_out(form):
        for panel in range(panels):
            yield rectangle(panel, axis.place([form.low, form.high]), FORM_COLOR, 0.1)
    at = float(axis.place([form.step])[0])
    line = {"color": FORM_COLOR, "width": 1.5 if stands_out(form) else 0.7, "dash": "4px,3px"}
    yield {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": at,
        "x1": at,
        "y0": 0,
        "y1": 1,
        "line": line,
        "layer": "below",
    }


def _step_labels(forms: Sequence[Form], axis: StepAxis, width: int) -> list[dict[str, Any]]:
    """The steps of the forms above their lines, each on the lowest level where it is free."""
    low, high = axis.layout()["range"]
    labels, taken = [], list[float]()
    for form in forms:
        at = math.log10(axis.place([form.step])[0])
        pixel, half = (at - low) / (high - low) * width, 4.0 * (len(f"{form.step:,}") + 1)
        free = [level for level, end in enumerate(taken) if pixel - half > end]
        level = free[0] if free else len(taken)
        taken[level : level + 1] = [pixel + half]
        labels.append(
            {
                "text": f"{form.step:,}",
                "x": at,
                "y": 1,
                "xref": "x",
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": 14 * level,
                "showarrow": False,
                "font": {"size": 11, "color": FORM_COLOR},
            }
        )
    return labels
