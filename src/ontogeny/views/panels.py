"""The picture of all metrics: a small panel for each question about a run."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from ontogeny.analysis.reading import Report
from ontogeny.records import Curve
from ontogeny.views.marks import (
    GREY,
    INK,
    TEMPLATE,
    StepAxis,
    error_band,
    error_line,
    stage_bands,
    step_axis,
    words,
)

MOST_ITEMS = 20
"""More items than this are drawn as one faint bundle."""

LONGEST_KEY = 56
"""Letters of labels that fit above a panel; of longer keys the two ends are shown."""

HEAD_COLORS = ("#1c1c1c", "#0072b2", "#d55e00", "#009e73")


@dataclass(frozen=True)
class Panel:
    """What one small panel shows.

    Attributes:
        title: Its heading.
        curves: Names of the curves in it, and the label of each that has a single item.
        key: A word before the labels, such as position.
        log: Whether values stand on a logarithmic axis, if all are positive.
        squared_shares: Whether to show each item's share of the sum of squares.
    """

    title: str
    curves: Mapping[str, str]
    key: str = ""
    log: bool = False
    squared_shares: bool = False


PANELS = (
    Panel(
        "Task prior: mean squared prediction",
        {"prediction_norm": "all", "prediction_norm_by_position": ""},
        key="pair",
        log=True,
    ),
    Panel(
        "In-context learning score",
        {"icl_score": "overall", "icl_score_1_4": "pair 4 − 1", "icl_score_4_8": "pair 8 − 4"},
    ),
    Panel("Score on inputs scaled by g, over g", {"ood_icl_score": ""}, key="g ="),
    Panel("Squared distance to ridge", {"distance_to_ridge": ""}, log=True),
    Panel("Loss by position", {"loss_by_position": ""}, key="position"),
    Panel("LLC by position", {"llc_by_position": ""}, key="position"),
    Panel(
        "Positional embedding: shares of σ²",
        {"positional_singular_values": ""},
        key="rank",
        squared_shares=True,
    ),
    Panel(
        "Token embedding: shares of σ²",
        {"token_singular_values": ""},
        key="rank",
        squared_shares=True,
    ),
    Panel("Layer norm: share of weights near 0", {"layer_norm_fraction": ""}),
    Panel("Effective unembedding weights", {"effective_unembedding_weight": ""}),
    Panel("Attention entropy", {"attention_entropy": ""}),
    Panel("Attention variability", {"attention_variability": ""}),
    Panel("Attention to itself", {"self_attention": ""}),
    Panel("Attention to the previous token", {"previous_token_attention": ""}),
    Panel("Attention to x tokens", {"x_token_attention": ""}),
    Panel("Weight norm", {"weight_norm": ""}),
    Panel("Trace of the Hessian", {"hessian_trace": ""}),
    Panel("Top eigenvalues of the Hessian", {"hessian_eigenvalues": ""}, key="rank"),
)
IN_FIRST_FIGURE = ("loss", "llc")


def plot_metrics(report: Report, columns: int = 3) -> go.Figure:
    """Draw every measured curve besides the loss and the learning coefficient, in small panels.

    Args:
        report: What is known about the run.
        columns: How many panels stand side by side.

    Returns:
        The panels of `PANELS` whose curves were measured, then one for each curve that none of
        them names, all over one axis of steps with the stages behind. Words if there is no curve.

    Examples:
        >>> empty = Report("", (), {}, None, (), None, {}, (), (), {}, ())
        >>> plot_metrics(empty).layout.annotations[0].text
        'No metric has been measured.'
    """
    panels = measured_panels(report)
    if not panels:
        return words("No metric has been measured.")
    axis = step_axis(report)
    columns = min(columns, len(panels))
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
        lines = list(_lines(panel, report.curves))
        figure.add_traces(list(_traces(lines, axis)), rows=row, cols=column)
        figure.update_yaxes(_value_axis(panel, lines), row=row, col=column)
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


def measured_panels(report: Report) -> list[Panel]:
    """The panels that have something to show, those of unnamed curves last.

    Examples:
        >>> step = np.array([0, 1])
        >>> mine = Curve("my_score", "", step, np.zeros((2, 1)), np.zeros((2, 1)))
        >>> report = Report("", (), {"my_score": mine}, None, (), None, {}, (), (), {}, ())
        >>> [panel.title for panel in measured_panels(report)]
        ['My score']
    """
    known = [panel for panel in PANELS if any(name in report.curves for name in panel.curves)]
    named = {name for panel in PANELS for name in panel.curves} | set(IN_FIRST_FIGURE)
    others = [name for name in report.curves if name not in named]
    plain = [Panel(name[:1].upper() + name[1:].replace("_", " "), {name: ""}) for name in others]
    return known + plain


@dataclass(frozen=True, eq=False)
class _Item:
    """One line of a panel: a curve of a single item, how it looks and what it is called."""

    curve: Curve
    label: str
    look: dict[str, Any] = field(default_factory=dict)


def _lines(panel: Panel, curves: Mapping[str, Curve]) -> Iterator[_Item]:
    """The lines of a panel: its first curve black if it is one line, the others by colour."""
    pairs = [(curves[name], label) for name, label in panel.curves.items() if name in curves]
    items = [
        (_single(curve, column, panel.squared_shares), item or label)
        for curve, label in pairs
        for column, item in enumerate(curve.items)
    ]
    leading = int(len(pairs[0][0].items) == 1)
    labels = [label for _, label in items]
    looks = [{"color": INK, "width": 2.0}] * leading + _looks(labels[leading:])
    for (curve, label), look in zip(items, looks, strict=True):
        yield _Item(curve, label, look)


def _single(curve: Curve, column: int, squared_shares: bool) -> Curve:
    values, stderr = curve.values, curve.stderr
    if squared_shares:
        values = values**2 / (values**2).sum(axis=1, keepdims=True)
        stderr = np.full_like(values, np.nan)
    chosen = slice(column, column + 1)
    return Curve(curve.name, curve.unit, curve.steps, values[:, chosen], stderr[:, chosen])


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
    colors = sample_colorscale("Viridis", np.linspace(0, 0.88, len(labels))) if labels else []
    return [{"color": color, "width": 1.6} for color in colors]


def _traces(items: Sequence[_Item], axis: StepAxis) -> Iterator[go.Scatter]:
    if len(items) > MOST_ITEMS:
        yield _bundle(items, axis)
        return
    if len(items) == 1:
        yield from error_band(items[0].curve, axis, INK)
    for item in items:
        yield error_line(item.curve, 0, axis, item.look, item.label)


def _bundle(items: Sequence[_Item], axis: StepAxis) -> go.Scatter:
    """Many lines as one trace, parted by nan."""
    gap = np.array([np.nan])
    return go.Scatter(
        x=np.concatenate([part for i in items for part in (axis.place(i.curve.steps), gap)]),
        y=np.concatenate([part for i in items for part in (i.curve.values[:, 0], gap)]),
        text=[
            text
            for i in items
            for text in [*(f"{html.escape(i.label)}, step {step:,}" for step in i.curve.steps), ""]
        ],
        mode="lines",
        line={"color": INK, "width": 0.8},
        opacity=0.35,
        hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
    )


def _value_axis(panel: Panel, items: Sequence[_Item]) -> dict[str, Any]:
    positive = all((item.curve.values[np.isfinite(item.curve.values)] > 0).all() for item in items)
    return {"type": "log" if panel.log and positive else "linear", "nticks": 5}


def _heading(panel: Panel, items: Sequence[_Item], place: int) -> dict[str, Any]:
    """The title above a panel, and under it the labels in the colours of their lines."""
    number = place + 1 if place else ""
    unit = items[0].curve.unit
    title = f"<b>{html.escape(panel.title)}</b>" + (f" ({html.escape(unit)})" if unit else "")
    return {
        "text": f"{title}<br>{_key(panel, items)}",
        "x": 0,
        "y": 1,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "xanchor": "left",
        "yanchor": "bottom",
        "align": "left",
        "showarrow": False,
        "font": {"size": 12, "color": INK},
    }


def _key(panel: Panel, items: Sequence[_Item]) -> str:
    if len(items) > MOST_ITEMS:
        return f'<span style="color:{GREY}">{len(items)} lines</span>'
    if len(items) == 1 and not items[0].label:
        return " "
    texts = []
    for item, before in zip(items, [items[0], *items[:-1]], strict=True):
        if item.look.get("dash") != before.look.get("dash"):
            texts.append("dashed:")
        texts.append(f'<span style="color:{item.look["color"]}">{html.escape(item.label)}</span>')
    if sum(len(item.label) + 1 for item in items) > LONGEST_KEY:
        texts = [texts[0], "…", texts[-1]]
    return " ".join([html.escape(panel.key), *texts] if panel.key else texts)
