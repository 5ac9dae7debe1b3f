"""The picture of all metrics: a small panel for each question about a run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from ontogeny.analysis.reading import Report
from ontogeny.records import Curve
from ontogeny.views.catalog import (
    LONGEST_KEY,
    Panel,
    letters,
    measured_panels,
)
from ontogeny.views.marks import (
    GREY,
    INK,
    PAGE_WIDTH,
    TEMPLATE,
    StepAxis,
    columns_within,
    error_band,
    error_line,
    plain,
    short,
    stage_bands,
    step_axis,
    title_above,
    words,
)

BUNDLE_STEPS = 100
"""A bundle of thin lines shows this many steps, for the sake of the page's size."""
MOST_LINES = 20
"""More lines than this are drawn as one faint bundle."""

FEW_POINTS = 16
"""A line through no more points than this shows them."""

HEAD_COLORS = ("#1c1c1c", "#0072b2", "#d55e00", "#009e73")


def plot_metrics(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw every measured curve that has no picture of its own, in small panels.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for: as many panels side by side as fit.

    Returns:
        The panels of `PANELS` whose curves were measured, then one for each curve that none of
        them names, all over one axis of steps with the stages behind. Words if there is no curve.

    Examples:
        >>> empty = Report("")
        >>> plot_metrics(empty).layout.annotations[0].text
        'No metric has been measured.'
    """
    panels = measured_panels(report)
    if not panels:
        return words("No metric has been measured.")
    axis = step_axis(report)
    columns = columns_within(width, len(panels))
    rows = math.ceil(len(panels) / columns)
    height = 252 * rows + 20
    figure = make_subplots(
        rows=rows,
        cols=columns,
        specs=[
            [{} if place < len(panels) else None for place in range(first, first + columns)]
            for first in range(0, rows * columns, columns)
        ],
        horizontal_spacing=0.17 / columns,
        vertical_spacing=min(78 / height, 1 / max(rows - 1, 1)),
    )
    annotations: list[dict[str, Any]] = []
    for place, panel in enumerate(panels):
        row, column = place // columns + 1, place % columns + 1
        lines = _lines(panel, report.curves)
        traces = _traces(panel, lines, report.curves, axis)
        figure.add_traces(list(traces), rows=row, cols=column)
        figure.update_yaxes(_value_axis(panel, lines), row=row, col=column)
        if panel.row:
            first = [other.row for other in panels].index(panel.row)
            figure.update_yaxes(matches=f"y{first + 1 if first else ''}", row=row, col=column)
        annotations.append(_heading(panel, lines, place))
    figure.update_xaxes(axis.layout())
    figure.update_layout(
        template=TEMPLATE,
        height=height,
        margin={"l": 52, "r": 10, "t": 44, "b": 28},
        font={"size": 11},
        showlegend=False,
        shapes=stage_bands(report.stages, axis, len(panels)),
        annotations=annotations,
    )
    return figure


@dataclass(frozen=True, eq=False)
class _Line:
    """One item of a curve, how it looks and what it is called."""

    curve: Curve
    item: int
    label: str
    look: dict[str, Any]


def _lines(panel: Panel, curves: Mapping[str, Curve]) -> list[_Line]:
    """The lines of a panel: its first curve black if it is one line, the others by colour."""
    shown = [
        (squared_shares(curves[name]) if panel.squared_shares else curves[name], label)
        for name, label in panel.curves.items()
        if name in curves
    ]
    parts = [
        (_known(curve, item) if panel.items else curve, item, label or _short(name, panel))
        for curve, label in shown
        for item, name in enumerate(curve.items)
        if not panel.items or name in panel.items
    ]
    leading = int(panel.key != "head" and 1 in (len(shown[0][0].items), len(parts)))
    looks = [{"color": INK, "width": 2.0}] * leading
    looks += _looks([label for _, _, label in parts[leading:]])
    return [_Line(*part, look) for part, look in zip(parts, looks, strict=True)]


def _short(item: str, panel: Panel) -> str:
    """The name of an item without the word that stands before all labels."""
    return item.removeprefix(f"{panel.key}.")


def _known(curve: Curve, item: int) -> Curve:
    """The steps of a curve at which one item was measured: components may differ in them."""
    known = np.isfinite(curve.values[:, item])
    return replace(
        curve, steps=curve.steps[known], values=curve.values[known], stderr=curve.stderr[known]
    )


def squared_shares(curve: Curve) -> Curve:
    """Each item's share of the sum of squares over the items, its error unknown.

    Examples:
        >>> one = np.array([[3.0, 4.0]])
        >>> squared_shares(Curve("s", "", np.array([0]), one, one, ("1", "2"))).values.round(2)
        array([[0.36, 0.64]])
    """
    squares = curve.values**2
    shares = squares / squares.sum(axis=1, keepdims=True)
    return replace(curve, values=shares, stderr=np.full_like(shares, np.nan))


def _looks(labels: Sequence[str]) -> list[dict[str, Any]]:
    """Heads get a colour each and a dash by layer, other items run along viridis."""
    heads = [re.fullmatch(r"(\d+)\.(\d+)", label) for label in labels]
    ranks = [(int(head[1]) - 1, int(head[2]) - 1) for head in heads if head]
    fits = all(layer < 2 and head < len(HEAD_COLORS) for layer, head in ranks)
    if labels and len(ranks) == len(labels) and fits:
        dashes = ("solid", "4px,2px")
        return [
            {"color": HEAD_COLORS[head], "dash": dashes[layer], "width": 1.6}
            for layer, head in ranks
        ]
    colors = sample_colorscale("Viridis", np.linspace(0, 0.8, len(labels))) if labels else []
    return [{"color": color, "width": 1.6} for color in colors]


def _traces(
    panel: Panel, lines: Sequence[_Line], curves: Mapping[str, Curve], axis: StepAxis
) -> Iterator[go.Scatter]:
    if panel.behind in curves:
        yield _bundle(curves[panel.behind], axis, opacity=0.1)
    if len(lines) > MOST_LINES and not panel.items:
        shown = {line.curve.name: line.curve for line in lines}
        yield from (_bundle(curve, axis, opacity=0.35) for curve in shown.values())
        return
    for line in lines if len(lines) <= panel.most_bands and not panel.levels else ():
        yield from error_band(line.curve, axis, line.look["color"], line.item)
    for line in lines:
        trace = error_line(line.curve, line.item, axis, line.look, line.label)
        if len(line.curve.steps) <= FEW_POINTS:
            trace.update(mode="lines+markers", marker={"size": 4})
        if panel.levels:
            yield _level(panel.levels.get(line.label), line, axis)
            error = line.curve.stderr[:, line.item]
            trace.update(error_y={"array": np.nan_to_num(error), "thickness": 1, "width": 0})
        yield trace


def _level(value: float | None, line: _Line, axis: StepAxis) -> go.Scatter:
    """A dotted line at what is known of an item, from its first step on, after the number."""
    start = float(axis.place(line.curve.steps[:1])[0])
    room = start**2 > axis.edge * axis.last  # to the left of it
    return go.Scatter(
        x=[start, axis.last],
        y=[value, value],
        text=["" if value is None else f"{value:g}", ""],
        mode="lines+text",
        textposition="middle left" if room else "top right",
        textfont={"size": 10, "color": line.look["color"]},
        line={"color": line.look["color"], "width": 1.2, "dash": "1.5px,2.5px"},
        hoverinfo="skip",
    )


def _bundle(curve: Curve, axis: StepAxis, opacity: float) -> go.Scatter:
    """All items of a curve as one trace of thin lines, parted by nan."""
    few = np.unique(np.linspace(0, len(curve.steps) - 1, BUNDLE_STEPS).round().astype(int))
    x = np.tile(np.append(axis.place(curve.steps[few]), np.nan), len(curve.items))
    y = np.pad(curve.values[few], ((0, 1), (0, 0)), constant_values=np.nan).T.ravel()
    return go.Scatter(
        x=short(x),
        y=short(y),
        mode="lines",
        line={"color": INK, "width": 0.8},
        opacity=opacity,
        hoverinfo="skip",
    )


def _value_axis(panel: Panel, lines: Sequence[_Line]) -> dict[str, Any]:
    positive = all((np.nan_to_num(line.curve.values, nan=1.0) > 0).all() for line in lines)
    logarithmic = {"type": "log", "tickformat": "~g"}
    nonnegative = all((np.nan_to_num(line.curve.values) >= 0).all() for line in lines)
    linear = {"rangemode": "nonnegative"} if nonnegative else {}
    if panel.row:
        linear = {"rangemode": "tozero"}
    return {"nticks": 5} | (logarithmic if panel.log and positive else linear)


def _heading(panel: Panel, lines: Sequence[_Line], place: int) -> dict[str, Any]:
    """The title above a panel, and under it the labels in the colours of their lines."""
    unit = lines[0].curve.unit
    title = f"<b>{plain(panel.title)}</b>" + (f" ({plain(unit)})" if unit else "")
    return title_above(f"{title}<br>{_key(panel, lines)}", place) | {"align": "left"}


def _key(panel: Panel, lines: Sequence[_Line]) -> str:
    """The labels of a panel, the word before them, where dashed lines begin, and the note."""
    note = f' <span style="color:{GREY}">{plain(panel.note)}</span>' if panel.note else ""
    if len(lines) > MOST_LINES:
        return f'<span style="color:{GREY}">{len(lines)} lines</span>{note}'
    if len(lines) == 1 and not lines[0].curve.items[lines[0].item]:
        return " "
    texts = list[str]()
    word = plain(panel.key)
    for line, before in zip(lines, [lines[0], *lines[:-1]], strict=True):
        if word and line.curve.items[line.item]:
            texts.append(f"· {word}" if texts else word)
            word = ""
        if line.look.get("dash") != before.look.get("dash"):
            texts.append("dashed")
        texts.append(f'<span style="color:{line.look["color"]}">{plain(line.label)}</span>')
    if len(lines) > 1 and letters([line.label for line in lines]) > LONGEST_KEY:
        texts = [*texts[: 1 + bool(panel.key)], "…", texts[-1]]
    return " ".join(texts) + note
