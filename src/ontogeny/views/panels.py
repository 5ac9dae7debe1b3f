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
    stage_bands,
    step_axis,
    words,
)

BUNDLE_STEPS = 100
"""A bundle of thin lines shows this many steps, for the sake of the page's size."""
MOST_LINES = 20
"""More lines than this are drawn as one faint bundle."""

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
        behind: A curve of many items that is drawn as a faint bundle behind the others.
    """

    title: str
    curves: Mapping[str, str]
    key: str = ""
    log: bool = False
    squared_shares: bool = False
    behind: str = ""


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
    Panel("The same on inputs scaled by g, over g", {"ood_icl_score": ""}, key="g ="),
    Panel("Loss on inputs scaled by g", {"ood_loss": ""}, key="g =", log=True),
    Panel("Loss on tasks scaled by g", {"ood_task_loss": ""}, key="g =", log=True),
    Panel(
        "Squared distance to ridge",
        {"distance_to_ridge": "all", "distance_to_ridge_by_position": ""},
        key="pair",
        log=True,
    ),
    Panel("Loss by position", {"loss_by_position": ""}, key="position"),
    Panel("LLC by position", {"llc_by_position": ""}, key="position"),
    *(
        Panel(
            f"{matrix} embedding: shares of σ²",
            {f"{matrix.lower()}_singular_values": ""},
            key="rank",
            squared_shares=True,
        )
        for matrix in ("Positional", "Token")
    ),
    Panel("Layer norms: share of weights near 0", {"layer_norm_weight_fraction": ""}),
    Panel("Layer norms: share of biases near 0", {"layer_norm_bias_fraction": ""}),
    *(
        Panel(f"Layer norms: {title} of {part}", {f"layer_norm_{name}": ""})
        for title, part, name in (
            ("mean", "weights", "weight_mean"),
            ("spread", "weights", "weight_std"),
            ("mean", "biases", "bias_mean"),
            ("spread", "biases", "bias_std"),
        )
    ),
    Panel("Effective unembedding weights", {"effective_unembedding_weight": ""}),
    Panel("Effective unembedding bias", {"effective_unembedding_bias": ""}),
    *(
        Panel(title, {name: ""}, key="head", behind=f"{name}_by_position")
        for title, name in (
            ("Attention entropy", "attention_entropy"),
            ("Attention variability", "attention_variability"),
            ("Attention to itself", "self_attention"),
            ("Attention to the previous token", "previous_token_attention"),
            ("Attention to x tokens", "x_token_attention"),
        )
    ),
    Panel("Weight norm", {"weight_norm": ""}),
    Panel("Trace of the Hessian", {"hessian_trace": ""}),
    Panel("Top eigenvalues of the Hessian", {"hessian_eigenvalues": ""}, key="rank"),
    Panel("Loss on the training batches", {"training_loss": ""}),
    Panel("Loss on the sampler's batches", {"initial_loss": ""}),
)
IN_FIRST_FIGURE = ("loss", "llc")


def plot_metrics(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw every measured curve besides the loss and the learning coefficient, in small panels.

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
        behind = report.curves.get(panel.behind)
        figure.add_traces(list(_traces(lines, behind, axis)), rows=row, cols=column)
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
        >>> report = Report("", curves={"my_score": mine})
        >>> [panel.title for panel in measured_panels(report)]
        ['My score']
    """
    known = [panel for panel in PANELS if any(name in report.curves for name in panel.curves)]
    named = {name for panel in known for name in (*panel.curves, panel.behind)}
    others = [name for name in report.curves if name not in named | set(IN_FIRST_FIGURE)]
    plain = [Panel(name[:1].upper() + name[1:].replace("_", " "), {name: ""}) for name in others]
    return known + plain


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
        (curve, item, name or label)
        for curve, label in shown
        for item, name in enumerate(curve.items)
    ]
    leading = int(len(shown[0][0].items) == 1)
    looks = [{"color": INK, "width": 2.0}] * leading
    looks += _looks([label for _, _, label in parts[leading:]])
    return [_Line(*part, look) for part, look in zip(parts, looks, strict=True)]


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


def _traces(lines: Sequence[_Line], behind: Curve | None, axis: StepAxis) -> Iterator[go.Scatter]:
    if behind is not None:
        yield _bundle(behind, axis, opacity=0.1)
    if len(lines) > MOST_LINES:
        curves = {line.curve.name: line.curve for line in lines}
        yield from (_bundle(curve, axis, opacity=0.35) for curve in curves.values())
        return
    if len(lines) == 1:
        yield from error_band(lines[0].curve, axis, INK)
    for line in lines:
        yield error_line(line.curve, line.item, axis, line.look, line.label)


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


def short(values: np.ndarray) -> list[float | None]:
    """Four digits of each value: enough for a thin line, and a fraction of the page."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]


def _value_axis(panel: Panel, lines: Sequence[_Line]) -> dict[str, Any]:
    positive = all((np.nan_to_num(line.curve.values, nan=1.0) > 0).all() for line in lines)
    logarithmic = {"type": "log", "tickformat": "~g"}
    nonnegative = all((np.nan_to_num(line.curve.values) >= 0).all() for line in lines)
    linear = {"rangemode": "nonnegative"} if nonnegative else {}
    return {"nticks": 5} | (logarithmic if panel.log and positive else linear)


def _heading(panel: Panel, lines: Sequence[_Line], place: int) -> dict[str, Any]:
    """The title above a panel, and under it the labels in the colours of their lines."""
    number = place + 1 if place else ""
    unit = lines[0].curve.unit
    title = f"<b>{plain(panel.title)}</b>" + (f" ({plain(unit)})" if unit else "")
    return {
        "text": f"{title}<br>{_key(panel, lines)}",
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


def _key(panel: Panel, lines: Sequence[_Line]) -> str:
    """The labels of a panel, the word before them, and where dashed lines begin."""
    if len(lines) > MOST_LINES:
        return f'<span style="color:{GREY}">{len(lines)} lines</span>'
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
    if sum(len(line.label) + 1 for line in lines) > LONGEST_KEY:
        texts = [texts[0], "…", texts[-1]]
    return " ".join(texts)
