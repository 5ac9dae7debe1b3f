"""Pictures of what heads attend to, and of where positions are, at the ends of stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int, Shaped
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from ontogeny.analysis.reading import Report
from ontogeny.records import Curve, Passages
from ontogeny.views.catalog import POSITIONS
from ontogeny.views.marks import (
    INK,
    PAGE_WIDTH,
    PALE,
    TEMPLATE,
    columns_within,
    plain,
    title_above,
    words,
)
from ontogeny.views.passages import text_of

COLUMNS = 8
"""Patterns side by side; those of further heads stand below."""

MOST_HEADS = 24
"""Of more heads those are shown whose pattern changed most."""

MOST_ENDS = 6
"""Of more ends of stages some are shown, the first and the last among them."""

GAP = 3
"""Tokens that would fit between two patterns."""

HEADING, FOOT = 26, 52
"""Pixels above each band of patterns, and under the last for the scale of colours."""

PANEL, PANEL_GAP = 190, 54
"""Pixels of a panel of positions, and between two that stand above each other."""

COLORS = ((0.0, "#ffffff"), (0.25, "#c6dbef"), (0.6, "#4a90c4"), (1.0, "#08306b"))


# Patterns -----------------------------------------------------------------------------------------


def plot_patterns(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw what each head attends to in the first row of text, where stages begin and end.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for.

    Returns:
        A square for each head, from left to right, and each end of a stage, downwards; in it the
        queries downwards and the keys from left to right, all on one scale of colours. Words if no
        attention was recorded.

    Examples:
        >>> plot_patterns(Report("")).layout.annotations[0].text
        'No attention was recorded.'
    """
    shown = shown_ends(report.passages)
    if not shown:
        return words("No attention was recorded.")
    heads = shown_heads(shown)
    bands = [heads[i : i + COLUMNS] for i in range(0, len(heads), COLUMNS)]
    left = 76 if width >= PAGE_WIDTH else 40
    side = (width - left - 10) / COLUMNS
    band = side * len(shown)
    figure = make_subplots(
        rows=len(bands),
        cols=1,
        vertical_spacing=HEADING / (len(bands) * (band + HEADING) - HEADING),
    )
    cells = _cells(shown[0])
    for place, some in enumerate(bands):
        figure.add_trace(_mosaic(shown, some), row=place + 1, col=1)
        figure.update_layout(
            annotations=[*figure.layout.annotations, *_labels(shown, some, place, side)],
            shapes=[*figure.layout.shapes, *_frames(len(shown), len(some), cells, place)],
        )
    hidden = {"type": "category", "visible": False}
    figure.update_xaxes(hidden, range=[-1, COLUMNS * cells - GAP])
    figure.update_yaxes(hidden, range=[len(shown) * cells - GAP, -1])
    figure.update_layout(
        template=TEMPLATE,
        height=round(len(bands) * (band + HEADING) + FOOT),
        margin={"l": left, "r": 10, "t": HEADING, "b": FOOT},
        coloraxis={"colorscale": COLORS, "cmin": 0, "cmax": 100, "colorbar": _color_bar()},
    )
    return figure


def patterns_caption(report: Report) -> str:
    """What the picture of patterns shows of how much, in a sentence; empty if there is none.

    Examples:
        >>> row, loss, one = np.zeros((1, 9), dtype=int), np.zeros((1, 8)), np.ones((1, 4, 4))
        >>> passages = Passages(0, ("a",), row, loss, ("1.1",), one)
        >>> patterns_caption(Report("", passages=(passages,)))
        'What each head attends to in the first 4 tokens of the first row of text.'
    """
    shown = shown_ends(report.passages)
    if not shown:
        return ""
    last = shown[-1]
    heads, tokens = len(last.heads), _patterns(last).shape[1]
    who = "each head attends"
    if heads > MOST_HEADS:
        who = f"the {MOST_HEADS} of {heads} heads whose patterns changed most attend"
    part = f"first {tokens} tokens of the " if tokens < last.tokens.shape[1] else ""
    return f"What {who} to in the {part}first row of text."


def shown_ends(passages: Sequence[Passages]) -> list[Passages]:
    """The records of attention that are shown, each step once.

    Examples:
        >>> one = np.ones((1, 1, 1))
        >>> row, loss = np.zeros((1, 1), dtype=int), np.zeros((1, 0))
        >>> known = [Passages(9 * i, ("a",), row, loss, ("1.1",), one) for i in range(11)]
        >>> [found.step for found in shown_ends(known)]
        [0, 18, 36, 54, 72, 90]
        >>> shown_ends([Passages(0, ("a",), row, loss)])
        []
    """
    known = list({one.step: one for one in passages if one.attention is not None}.values())
    if len(known) <= MOST_ENDS:
        return known
    return [known[i] for i in np.linspace(0, len(known) - 1, MOST_ENDS).round().astype(int)]


def shown_heads(shown: Sequence[Passages]) -> Int[np.ndarray, " head"]:
    """Which heads are shown, in order: of many those that changed most from the first to the last.

    Examples:
        >>> row, loss = np.zeros((1, 1), dtype=int), np.zeros((1, 0))
        >>> names = tuple(str(i) for i in range(30))
        >>> ends = np.zeros((30, 1, 1)), np.arange(30.0)[:, None, None]
        >>> shown_heads([Passages(0, ("a",), row, loss, names, end) for end in ends]).tolist()[:3]
        [6, 7, 8]
    """
    changed = np.abs(_patterns(shown[-1]) - _patterns(shown[0])).mean(axis=(1, 2))
    return np.sort(np.argsort(-changed, kind="stable")[:MOST_HEADS])


def _patterns(passages: Passages) -> Float[np.ndarray, "head query key"]:
    assert passages.attention is not None
    patterns: Float[np.ndarray, "head query key"] = np.nan_to_num(passages.attention.astype(float))
    return patterns


def _cells(passages: Passages) -> int:
    """Places that a pattern takes in a mosaic, the gap behind it among them."""
    return len(_patterns(passages)[0]) + GAP


def _mosaic(shown: Sequence[Passages], heads: Int[np.ndarray, " head"]) -> go.Heatmap:
    """Many patterns as one picture: so many pictures of their own would be slow to draw.

    The name of each column says head and key, that of each row step and query.
    """
    names = shown[0].heads
    return go.Heatmap(
        x=list(_places([f"head {names[head]}, key" for head in heads], shown[0])),
        y=list(_places([f"step {one.step:,}, query" for one in shown], shown[0])),
        z=_tiles(shown, heads).tolist(),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="%{y}<br>%{x}<br>attention %{z} %<extra></extra>",
    )


def _places(before: Sequence[str], passages: Passages) -> Iterator[str]:
    """The names of places along an axis; those of gaps are never seen."""
    n = _cells(passages) - GAP
    texts = [plain(text_of(passages.vocabulary[token])) for token in passages.tokens[0, :n]]
    for what in before:
        yield from (f"{what} {i}: {text}" for i, text in enumerate(texts, start=1))
        yield from (f"{what} gap {i}" for i in range(GAP))


def _tiles(
    shown: Sequence[Passages], heads: Int[np.ndarray, " head"]
) -> Shaped[np.ndarray, "row column"]:
    """The patterns beside and below each other in whole per cent, None in the gaps."""
    size = _cells(shown[0])
    tiles = np.full((len(shown) * size, len(heads) * size), None, dtype=object)
    for i, one in enumerate(shown):
        for j, pattern in enumerate(_patterns(one)[heads]):
            found = np.rint(100 * pattern).astype(int)
            tiles[i * size : (i + 1) * size - GAP, j * size : (j + 1) * size - GAP] = found
    return tiles


def _labels(
    shown: Sequence[Passages], heads: Int[np.ndarray, " head"], place: int, side: float
) -> list[dict[str, Any]]:
    """Names of heads above a band, and steps on its left."""
    size, number = _cells(shown[0]), place + 1 if place else ""
    middle = (size - GAP - 1) / 2
    wide = side > 60
    look = {"showarrow": False, "font": {"size": 11, "color": INK}}
    above = [
        {"text": f"{'head ' * wide}{plain(shown[0].heads[head])}", "x": j * size + middle, "y": 1}
        | {"xref": f"x{number}", "yref": f"y{number} domain", "yanchor": "bottom"}
        for j, head in enumerate(heads)
    ]
    beside = [
        {"text": f"{'step ' * wide}{one.step:,}", "x": 0, "y": i * size + middle}
        | {"xref": f"x{number} domain", "yref": f"y{number}", "xanchor": "right"}
        for i, one in enumerate(shown)
    ]
    return [label | look for label in above + beside]


def _frames(rows: int, columns: int, size: int, place: int) -> Iterator[dict[str, Any]]:
    """A thin line around each pattern."""
    number = place + 1 if place else ""
    for i in range(rows):
        for j in range(columns):
            yield {
                "type": "rect",
                "xref": f"x{number}",
                "yref": f"y{number}",
                "x0": j * size - 0.5,
                "x1": (j + 1) * size - GAP - 0.5,
                "y0": i * size - 0.5,
                "y1": (i + 1) * size - GAP - 0.5,
                "line": {"color": PALE, "width": 1},
            }


def _color_bar() -> dict[str, Any]:
    return {
        "title": {"text": "attention", "side": "right", "font": {"size": 12}},
        "orientation": "h",
        "lenmode": "pixels",
        "len": 200,
        "thickness": 10,
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "tickvals": [0, 50, 100],
        "ticktext": ["0", "0.5", "1"],
        "outlinewidth": 0.5,
    }


# Positions ----------------------------------------------------------------------------------------


def plot_positions(report: Report, width: int = PAGE_WIDTH) -> go.Figure:
    """Draw the principal components of the positional embedding where stages begin and end.

    Args:
        report: What is known about the run.
        width: Pixels to arrange the picture for.

    Returns:
        A panel for each component over the position, with a line for each step: those nearest to
        the ends of stages, or the first and the last if there is no stage. Words if it was not
        measured.

    Examples:
        >>> plot_positions(Report("")).layout.annotations[0].text
        'The components of positions have not been measured.'
    """
    curve = report.curves.get(POSITIONS)
    if curve is None or not len(_known_rows(curve)):
        return words("The components of positions have not been measured.")
    places = [tuple(int(part) for part in item.split(".")) for item in curve.items]
    components = sorted({component for component, _ in places})
    columns = columns_within(width, len(components))
    lines = math.ceil(len(components) / columns)
    height = PANEL * lines + PANEL_GAP * (lines - 1)
    figure = make_subplots(
        rows=lines,
        cols=columns,
        horizontal_spacing=0.17 / columns,
        vertical_spacing=PANEL_GAP / height,
    )
    for k, component in enumerate(components):
        chosen = [i for i, place in enumerate(places) if place[0] == component]
        across = np.array([places[i][1] for i in chosen])
        for trace in _position_lines(report, curve, chosen, across):
            trace.showlegend = k == 0
            figure.add_trace(trace, row=k // columns + 1, col=k % columns + 1)
    figure.update_yaxes(nticks=5, zeroline=True, zerolinecolor=PALE)
    figure.update_xaxes(title_text="position", row=lines)
    figure.update_layout(
        template=TEMPLATE,
        height=height + 110,
        margin={"l": 52, "r": 10, "t": 26, "b": 84},
        legend={"y": 0, "yref": "container", "yanchor": "bottom", "x": 0},
        annotations=[_component_title(report, component) for component in components],
    )
    return figure


def _position_lines(
    report: Report,
    curve: Curve,
    chosen: Sequence[int],
    across: Int[np.ndarray, " position"],
) -> Iterator[go.Scatter]:
    """One component as a line for each step, in colours that run along with training."""
    rows = _rows_at_ends(report, curve)
    colors = sample_colorscale("Viridis", np.linspace(0, 0.8, len(rows)))
    for row, color in zip(rows, colors, strict=True):
        yield go.Scatter(
            x=across,
            y=curve.values[row, chosen].astype(np.float32),
            mode="lines",
            line={"color": color, "width": 1.6},
            name=f"step {curve.steps[row]:,}",
            hovertemplate="position %{x}: %{y:.3g}<extra>%{fullData.name}</extra>",
        )


def _component_title(report: Report, component: int) -> dict[str, Any]:
    """The name of a component above its panel, with its share of the variance at the end."""
    shares = report.curves.get("position_variance_ratio")
    share = ""
    if shares is not None and str(component) in shares.items:
        at_end = shares.values[_known_rows(shares)[-1], shares.items.index(str(component))]
        share = f", {100 * at_end:.0f} % of the variance at the end"
    return title_above(f"<b>Component {component}</b>{share}", component - 1)


def _rows_at_ends(report: Report, curve: Curve) -> list[int]:
    """The rows of a curve that are nearest to the ends of stages, or the first and the last."""
    known = _known_rows(curve)
    if not report.stages:
        return sorted({known[0], known[-1]})
    ends = [report.stages[0].start, *(stage.end for stage in report.stages)]
    return sorted({known[int(np.abs(curve.steps[known] - end).argmin())] for end in ends})


def _known_rows(curve: Curve) -> list[int]:
    """The rows of a curve that were measured."""
    rows: list[int] = np.flatnonzero(np.isfinite(curve.values).all(axis=1)).tolist()
    return rows
