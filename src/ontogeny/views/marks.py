"""What pictures and tables share: the axis of steps, colours, lines with their errors, numbers."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy.typing import ArrayLike

from ontogeny.analysis.reading import Report
from ontogeny.records import Curve, Milestone, Stage

STAGE_COLORS = {"A": ("#d9731a", "#f2b45c"), "B": ("#1f6fb2", "#6db3e0")}
TEXT_COLORS = {"A": "#8f430b", "B": "#154f80"}
VERDICT_COLORS = {"ok": "#3f5f6b", "suspect": "#b86e00", "failed": "#b3261e"}
VERDICT_MARKS = {"ok": "●", "suspect": "▲", "failed": "✕"}
INK, GREY, PALE = "#1c1c1c", "#6b6b6b", "#c9c9c9"

PAGE_WIDTH = 1060
"""Pixels that a page in a wide window leaves for a picture."""

_AXIS = {
    "showline": True,
    "linecolor": "#8a8a8a",
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": "#8a8a8a",
    "gridcolor": "#ececec",
    "zeroline": False,
    "exponentformat": "power",
    "title": {"standoff": 8, "font": {"size": 12}},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif",
            "size": 12,
            "color": "#333333",
        },
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "white", "bordercolor": PALE, "font": {"color": INK}},
        "legend": {"orientation": "h", "font": {"size": 12}, "itemsizing": "constant"},
    }
)


def stage_colors(stages: Sequence[Stage]) -> list[str]:
    """The colour of each stage: a hue by its type, shades by turns within a type.

    Examples:
        >>> two = [Stage("S1", 0, 9, "A", 0.0, 1.0, 0.1), Stage("S2", 9, 99, "A", 0.0, 1.0, 0.1)]
        >>> stage_colors(two)
        ['#d9731a', '#f2b45c']
    """
    shades = {kind: itertools.cycle(colors) for kind, colors in STAGE_COLORS.items()}
    return [next(shades[stage.type]) for stage in stages]


def plain(text: str) -> str:
    """Text that plotly shows letter by letter, tags included.

    Examples:
        >>> plain("a <b>bold</b> name")
        'a &lt;b&gt;bold&lt;/b&gt; name'
    """
    return html.escape(text, quote=False)


# Numbers ------------------------------------------------------------------------------------------

UNKNOWN = "—"

SMALLEST, LARGEST = 1e-4, 1e9
"""Numbers beyond these are written with an exponent."""


def short_number(value: float) -> str:
    """A round number as a tick shows it.

    Examples:
        >>> short_number(500.0), short_number(20e3), short_number(1e6)
        ('500', '20k', '1M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def short(values: np.ndarray) -> list[float | None]:
    """Four digits of each value: enough for a thin line, and a fraction of the page."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]


def measured(value: float, stderr: float = math.nan, signed: bool = False) -> str:
    """A number with as many digits as it deserves: two of its error, or three of its own.

    Examples:
        >>> measured(148.5864, 3.21), measured(-2.2361, signed=True), measured(math.nan)
        ('148.6 ± 3.2', '−2.24', '—')
        >>> measured(-1.25e-12, 1e-13)
        '−1.25e−12 ± 1.0e−13'
    """
    if not math.isfinite(value):
        return UNKNOWN
    known = math.isfinite(stderr) and stderr > 1e-13 * abs(value)  # less is rounding
    whole = max(abs(value), stderr if known else 0)
    if whole and not SMALLEST <= whole < LARGEST:
        text = f"{value:{'+' if signed else ''}.2e}" + (f" ± {stderr:.1e}" if known else "")
        return text.replace("-", "−")
    size = stderr if known else abs(value)
    leading = math.floor(math.log10(size)) if size > 0 else 0
    digits = min(max((1 if known else 2) - leading, 0), 9)
    text = f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "−")
    return f"{text} ± {stderr:,.{digits}f}" if known else text


# The axis of steps --------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepAxis:
    """A logarithmic axis of training steps that has a place for step 0.

    Attributes:
        edge: Where step 0 stands: half of the first step after it.
        last: The last step.
        has_zero: Whether anything happens at step 0.
    """

    edge: float
    last: int
    has_zero: bool

    def place(self, steps: Any) -> Float[np.ndarray, " step"]:
        """Where steps stand on the axis."""
        return np.where(np.asarray(steps) > 0, steps, self.edge).astype(float)

    def layout(self) -> dict[str, Any]:
        """The axis as plotly wants it."""
        first = self.edge if self.has_zero else 2 * self.edge
        low, high = math.log10(first), math.log10(self.last)
        multiples = (1, 2, 5) if high - low < 2 else (1,)
        decades = range(math.floor(low), math.ceil(high) + 1)
        ticks = [m * 10.0**d for d in decades for m in multiples]
        ticks = [tick for tick in ticks if 2 * self.edge <= tick <= self.last]
        zero = [self.edge] if self.has_zero else []
        margin = 0.015 * (high - low + 0.1)
        return {
            "type": "log",
            "range": [low - margin, high + margin],
            "tickvals": zero + ticks,
            "ticktext": ["0"] * len(zero) + [short_number(tick) for tick in ticks],
            "tickangle": 0,
        }


def step_axis(report: Report) -> StepAxis:
    """The axis that holds every step of a report.

    Examples:
        >>> empty = Report("")
        >>> step_axis(empty)
        StepAxis(edge=0.5, last=1, has_zero=False)
    """
    measured = [curve.steps for curve in report.curves.values()]
    measured += [report.trajectory.steps] if report.trajectory is not None else []
    ends = np.array([[stage.start, stage.end] for stage in report.stages], dtype=int).ravel()
    steps = np.concatenate([*measured, ends]) if measured else ends
    positive = steps[steps > 0]
    first, last = (positive.min(), positive.max()) if len(positive) else (1, 1)
    return StepAxis(edge=float(first) / 2, last=int(last), has_zero=bool((steps == 0).any()))


# Marks that every step axis shares ----------------------------------------------------------------

HOVER = "step %{customdata[0]:,.0f}<br>%{y:.4g}%{customdata[1]}"


def hover_data(curve: Curve, column: int) -> np.ndarray:
    """For each step of one item: the step, and its error in words if it is known."""
    errors = [f" ± {error:.2g}" if error > 0 else "" for error in curve.stderr[:, column]]
    return np.array([list(pair) for pair in zip(curve.steps.tolist(), errors, strict=True)], object)


def error_line(
    curve: Curve, column: int, axis: StepAxis, line: Mapping[str, object], label: str
) -> go.Scatter:
    """One item of a curve as a line."""
    return go.Scatter(
        x=axis.place(curve.steps),
        y=curve.values[:, column],
        customdata=hover_data(curve, column),
        mode="lines",
        line=dict(line),
        name=label,
        showlegend=label.startswith("smoothed"),
        hovertemplate=HOVER + f"<extra>{plain(label)}</extra>",
    )


def error_band(curve: Curve, axis: StepAxis, color: str, column: int = 0) -> Iterator[go.Scatter]:
    """The band of one standard error around one item, where it is known."""
    values, stderr = curve.values[:, column], curve.stderr[:, column]
    known = np.isfinite(values) & (stderr > 0)
    if known.any():
        x, y, error = axis.place(curve.steps[known]), values[known], stderr[known]
        yield shade(np.concatenate([x, x[::-1]]), [*(y - error), *(y + error)[::-1]], color)


def shade(x: ArrayLike, y: ArrayLike, color: str) -> go.Scatter:
    """The area within a line that closes."""
    return go.Scatter(
        x=np.asarray(x),
        y=np.asarray(y),
        fill="toself",
        fillcolor=color,
        opacity=0.18,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def stage_bands(stages: Sequence[Stage], axis: StepAxis, panels: int) -> list[dict[str, Any]]:
    """A coloured rectangle for each stage in each panel."""
    return [
        rectangle(panel, axis.place([stage.start, stage.end]), color, 0.2)
        for panel in range(panels)
        for stage, color in zip(stages, stage_colors(stages), strict=True)
    ]


def milestone_marks(
    milestones: Sequence[Milestone], axis: StepAxis, panels: int
) -> list[dict[str, Any]]:
    """A dashed line for each milestone, over the shade of its interval."""
    shades = [
        rectangle(panel, axis.place([milestone.low, milestone.high]), "#404040", 0.16)
        for panel in range(panels)
        for milestone in milestones
        if milestone.low is not None and milestone.high is not None
    ]
    line = {"color": "#404040", "width": 1, "dash": "4px,3px"}
    lines = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1}
        | {"line": line, "layer": "below"}
        for x in axis.place([milestone.step for milestone in milestones]).tolist()
    ]
    return shades + lines


def rectangle(
    panel: int, ends: Float[np.ndarray, " 2"], color: str, opacity: float
) -> dict[str, Any]:
    """A shade over part of the steps, as high as its panel."""
    number = panel + 1 if panel else ""
    return {
        "type": "rect",
        "xref": f"x{number}",
        "yref": f"y{number} domain",
        "x0": float(ends[0]),
        "x1": float(ends[1]),
        "y0": 0,
        "y1": 1,
        "fillcolor": color,
        "opacity": opacity,
        "line": {"width": 0},
        "layer": "below",
    }


def title_above(text: str, panel: int) -> dict[str, Any]:
    """Words above the left end of a panel, the first of which is 0."""
    number = panel + 1 if panel else ""
    return {
        "text": text,
        "x": 0,
        "y": 1,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": INK},
    }


def columns_within(width: int, panels: int) -> int:
    """How many panels stand side by side in a picture of some width.

    Examples:
        >>> columns_within(1060, 20), columns_within(1060, 2), columns_within(330, 20)
        (3, 2, 1)
    """
    return max(1, min(panels, width // 320))


def words(text: str) -> go.Figure:
    """An empty picture that says why it is empty."""
    figure = go.Figure()
    figure.add_annotation(text=text, showarrow=False, font={"size": 14, "color": GREY})
    figure.update_layout(template=TEMPLATE, height=120)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)
