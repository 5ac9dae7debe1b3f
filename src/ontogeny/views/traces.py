"""The picture of single chains: what an estimate of the learning coefficient is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from ontogeny.analysis.llc import excess, failed_chains, kept_draws, mean_stderr
from ontogeny.analysis.reading import Report
from ontogeny.records import Chains
from ontogeny.views.marks import (
    GREY,
    INK,
    PAGE_WIDTH,
    TEMPLATE,
    VERDICT_COLORS,
    VERDICT_MARKS,
    columns_within,
    rectangle,
    shade,
    short,
    title_above,
    words,
)

MOST_POINTS = 300
"""A line with more points than this is thinned."""

SETTLED = 0.2
"""A running estimate may leave the picture in this first part of it, where it is noise."""

ROW_HEIGHT, ROW_GAP = 190, 34


@dataclass(frozen=True, eq=False)
class Lines:
    """One line for each chain of a checkpoint.

    Attributes:
        draws: Where on the axis of draws the points are.
        values: The lines, not finite from where a chain failed.
        mean: The mean over the chains that did not fail, if it is to be shown.
        stderr: Standard error of the end of the mean.
    """

    draws: Float[np.ndarray, " point"]
    values: Float[np.ndarray, "chain point"]
    mean: Float[np.ndarray, " point"] | None = None
    stderr: float = np.nan


def plot_traces(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw the chains at an early, a middle and a late checkpoint.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for: checkpoints stand side by side where they fit.

    Returns:
        For each checkpoint of `Report.traces` the excess of the loss along each chain, the running
        estimate from burn-in on with its mean and the standard error of its end, and the distance
        from the checkpoint if it was recorded. Burn-in is shaded. A failed chain is red and ends
        where it failed; the axes are made for the others. Words if there are no chains.

    Examples:
        >>> empty = Report("")
        >>> plot_traces(empty).layout.annotations[0].text
        'There are no chains to look at.'
    """
    traces = report.traces
    if not traces:
        return words("There are no chains to look at.")
    kinds = [kind for kind in KINDS if any(kind.lines(chains) for chains in traces)]
    panels = [(kind, chains) for kind in kinds for chains in traces]
    stacked = columns_within(width, len(traces)) < len(traces)
    columns = 1 if stacked else len(traces)
    figure = _grid(len(panels) // columns, columns, ROW_GAP + 20 * stacked)
    for place, (kind, chains) in enumerate(panels):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        last, first = where["row"] * columns == len(panels), where["col"] == 1
        if lines := kind.lines(chains):
            failed = failed_chains(chains)
            for scatter in _scatters(lines, failed):
                figure.add_trace(scatter, **where)
            figure.update_yaxes(range=_range(kind, lines, failed), **where)
        figure.update_xaxes(_draw_axis(chains, titled=last, ticks=last or stacked), **where)
        figure.update_yaxes(_value_axis(kind.title if first else ""), **where)
        figure.add_shape(rectangle(place, np.array([0.0, chains.burn_in]), GREY, 0.12))
        if stacked or kind is kinds[0]:
            figure.add_annotation(_title(report, chains, place))
    return figure


def _grid(rows: int, columns: int, gap: int) -> go.Figure:
    """Empty panels, with some pixels between those that stand above each other."""
    height = rows * ROW_HEIGHT + (rows - 1) * gap
    figure = make_subplots(
        rows=rows,
        cols=columns,
        horizontal_spacing=0.18 / columns,
        vertical_spacing=gap / height,
    )
    return figure.update_layout(
        template=TEMPLATE,
        height=height + 76,
        margin={"l": 60, "r": 10, "t": 28, "b": 48},
        font={"size": 11},
        showlegend=False,
    )


# What there is to see -----------------------------------------------------------------------------


def excess_lines(chains: Chains) -> Lines:
    r"""The excess $n\beta\,(L(w) - L(w^*))$ along each chain, burn-in included."""
    values = chains.nbeta * excess(chains)
    return Lines(_paired_draws(chains), values)


def running_lines(chains: Chains) -> Lines:
    r"""The running estimate $\hat\lambda$ of each chain from burn-in on, and that of all of them.

    Examples:
        >>> losses, ones = np.array([[1.0, 1.2, 1.4, 1.2, 1.4]]), np.ones((1, 5))
        >>> blocks, ones_too = losses[..., None], ones[..., None]
        >>> one = Chains(0, losses, ones, blocks, ones_too, 10.0, 1e-3, 1.0, burn_in=1)
        >>> running_lines(one).values.round(6).tolist(), running_lines(one).draws.tolist()
        ([[2.0, 3.0, 2.666667, 3.0]], [1.0, 2.0, 3.0, 4.0])
    """
    kept, good = kept_draws(chains), ~failed_chains(chains)
    values = chains.nbeta * kept.cumsum(axis=1) / np.arange(1, kept.shape[1] + 1)
    mean = values[good].mean(axis=0) if good.any() else None
    stderr = chains.nbeta * mean_stderr(kept[good])
    return Lines(_paired_draws(chains)[-kept.shape[1] :], values, mean, stderr)


def distance_lines(chains: Chains) -> Lines | None:
    """The distance |w − w*| along each chain; None if it was not recorded."""
    if chains.distances is None:
        return None
    blocks = chains.distances.shape[1]
    ends = np.arange(1, blocks + 1) * (chains.losses.shape[1] / blocks)
    if chains.groups > 1:  # chains that start apart from the checkpoint, it is not known how far
        return Lines(ends, chains.distances)
    return Lines(np.append(0.0, ends), np.pad(chains.distances, ((0, 0), (1, 0))))


def _paired_draws(chains: Chains) -> Float[np.ndarray, " point"]:
    draws, pairs = chains.losses.shape[1], chains.initial_losses.shape[1]
    return np.arange(0.0, draws, draws // pairs)


@dataclass(frozen=True)
class Kind:
    """What a row of panels shows.

    Attributes:
        title: Of the axis of values.
        lines: What is drawn of the chains at one checkpoint; None if it is not known.
        start: Up to which share of the draws a line may leave the picture.
    """

    title: str
    lines: Callable[[Chains], Lines | None]
    start: float = 0.0


KINDS = (
    Kind("nβ (L(w) − L(w*))", excess_lines),
    Kind("running estimate λ̂", running_lines, SETTLED),
    Kind("distance |w − w*|", distance_lines),
)

# How it looks -------------------------------------------------------------------------------------


def _scatters(lines: Lines, failed: Bool[np.ndarray, " chain"]) -> Iterator[go.Scatter]:
    """The band around the end of the mean, the chains, and the mean over them."""
    few = np.arange(0, len(lines.draws), -(-len(lines.draws) // MOST_POINTS))
    x = short(lines.draws[few])
    if lines.mean is not None and lines.stderr > 0:
        low, high = lines.mean[-1] - lines.stderr, lines.mean[-1] + lines.stderr
        yield shade(lines.draws[[0, -1, -1, 0]], [low, low, high, high], INK)
    for chain, (color, values) in enumerate(zip(_colors(failed), lines.values, strict=True)):
        label = f"chain {chain}" + (", failed" if failed[chain] else "")
        look = {"color": color, "width": 1}
        yield _line(x, short(values[few]), look, label, opacity=0.75)
    if lines.mean is not None:
        yield _line(x, short(lines.mean[few]), {"color": INK, "width": 2.2}, "all chains")


def _line(
    x: Sequence[float | None],
    y: Sequence[float | None],
    look: dict[str, Any],
    label: str,
    **more: Any,
) -> go.Scatter:
    hover = f"draw %{{x:,.0f}}<br>%{{y:.4g}}<extra>{label}</extra>"
    return go.Scatter(x=x, y=y, mode="lines", line=look, name=label, hovertemplate=hover, **more)


def _colors(failed: Bool[np.ndarray, " chain"]) -> list[str]:
    """Chains run along one scale; those that failed are red."""
    scale = sample_colorscale("Viridis", np.linspace(0, 0.8, len(failed)))
    return [VERDICT_COLORS["failed"] if lost else c for c, lost in zip(scale, failed, strict=True)]


def _range(kind: Kind, lines: Lines, failed: Bool[np.ndarray, " chain"]) -> list[float] | None:
    """Where the values of the chains that did not fail lie, but for a few of them."""
    start = int(kind.start * len(lines.draws))
    shown = lines.values if failed.all() else lines.values[~failed]
    shown = shown[:, start:][np.isfinite(shown[:, start:])]
    if not shown.size:
        return None
    low, high = np.quantile(shown, [0.002, 0.998])
    if lines.mean is not None and lines.stderr > 0:
        low = min(low, lines.mean[-1] - lines.stderr)
        high = max(high, lines.mean[-1] + lines.stderr)
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.06 * (high - low) or 1.0
    return [float(low - margin), float(high + margin)]


def _draw_axis(chains: Chains, titled: bool, ticks: bool) -> dict[str, Any]:
    return {
        "range": [0, chains.losses.shape[1]],
        "title": {"text": "draw" if titled else ""},
        "showticklabels": ticks,
        "tickformat": ",d",
        "nticks": 6,
        "showgrid": False,
    }


def _value_axis(title: str) -> dict[str, Any]:
    zero = {"zeroline": True, "zerolinecolor": "#8a8a8a", "zerolinewidth": 1}
    return {"title": {"text": title}, "nticks": 5} | zero


def _title(report: Report, chains: Chains, place: int) -> dict[str, Any]:
    """The step above a panel, and the verdict on its estimate."""
    text = f"<b>step {chains.step:,}</b>"
    for verdict in (d.verdict for d in report.diagnoses if d.step == chains.step):
        color = VERDICT_COLORS[verdict]
        text += f'  <span style="color:{color}">{VERDICT_MARKS[verdict]} {verdict}</span>'
    return title_above(text, place) | {"yshift": 3}
