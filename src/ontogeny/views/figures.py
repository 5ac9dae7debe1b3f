"""The picture of stages, from records to plotly.

Stages of type A are orange and stages of type B blue in every picture, in two shades by turns, so
that neighbours of one type can be told apart. A picture of what has not been measured says so in
words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool
from plotly.subplots import make_subplots

from ontogeny.analysis.milestones import holds
from ontogeny.analysis.reading import Report
from ontogeny.records import Curve, Milestone, Stage
from ontogeny.views.marks import (
    HOVER,
    INK,
    PAGE_WIDTH,
    TEMPLATE,
    TEXT_COLORS,
    VERDICT_COLORS,
    StepAxis,
    error_band,
    error_line,
    hover_data,
    milestone_marks,
    plain,
    stage_bands,
    step_axis,
    words,
)
from ontogeny.views.points import visit_labels, visit_lines


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
        traces = _llc_traces(report, axis) if name == "llc" else _loss_traces(report, axis)
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
        annotations=labels + (visit_labels(report, axis, width) if "loss" in panels else []),
    )
    return figure


def _loss_traces(report: Report, axis: StepAxis) -> Iterator[go.Scatter]:
    """The loss, and behind it the known critical points that the run comes near."""
    curve = report.curves["loss"]
    yield from visit_lines(report, axis)
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
