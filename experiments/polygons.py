"""The features of the toy model of superposition at each step: the polygon that they form.

ontogeny run superposition --folder RUN
python experiments/polygons.py RUN PICTURE.html            # a slider over all kept steps
python experiments/polygons.py RUN PICTURE.html --panels   # some steps side by side

A polygon is the columns of W at one checkpoint, orange where the bias is positive. Beside that of
the slider is the loss, with the levels of the critical points that stages end at. Side by side
stand one step of each rest at a critical point, and one half-way down from each to the next.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ontogeny.analysis import read_run
from ontogeny.runs import open_run

ORANGE, BLUE, GRAY = "#d9731a", "#154f80", "#b0b0b0"


def spokes(state):
    """The columns of W as lines from the origin: those of positive bias, and the others."""
    ends, positive = state["weights"].numpy().T, state["bias"].numpy() > 0.01
    for color, chosen in ((ORANGE, ends[positive]), (BLUE, ends[~positive])):
        path = np.full((len(chosen), 3, 2), np.nan)  # the third parts a line from the next
        path[:, 0], path[:, 1] = 0, chosen
        x, y = path.reshape(-1, 2).T
        yield go.Scatter(
            x=x,
            y=y,
            mode="lines+markers",
            marker={"size": np.tile([0, 9, 0], len(chosen)), "opacity": 1},
            line={"color": color, "width": 2.5},
            showlegend=False,
        )


def square(figure, column, extent):
    """Axes of one panel, alike in both directions and without numbers."""
    shown = {"range": [-extent, extent], "showticklabels": False, "zeroline": False}
    figure.update_xaxes(**shown, row=1, col=column)
    anchor = f"x{column if column > 1 else ''}"
    figure.update_yaxes(**shown, scaleanchor=anchor, row=1, col=column)


def chosen_rows(nearest, away, steps, loss):
    """The middle, in log-step, of each rest, and where the loss is half-way between two."""
    edges = np.flatnonzero(np.diff(nearest)) + 1
    rests = [rows[away[rows] < 0.1] for rows in np.split(np.arange(len(nearest)), edges)]
    x = np.log1p(steps)
    middles = [rows[np.abs(x[rows] - x[rows].mean()).argmin()] for rows in rests if len(rows)]
    between = [
        a + np.abs(loss[a : b + 1] - (loss[a] + loss[b]) / 2).argmin() for a, b in pairwise(middles)
    ]
    return sorted([*middles, *between])


def side_by_side(states, titles, rows, extent):
    """Small multiples, one for each of some rows."""
    figure = make_subplots(
        cols=len(rows), subplot_titles=[titles[row] for row in rows], horizontal_spacing=0.01
    )
    for column, row in enumerate(rows, start=1):
        figure.add_traces(list(spokes(states[row])), rows=1, cols=column)
        square(figure, column, extent)
    figure.update_annotations(font_size=12)
    figure.update_layout(
        width=168 * len(rows), height=222, margin={"l": 4, "r": 4, "t": 50, "b": 4}
    )
    return figure


def at_one_step(state, step, loss, title, extent):
    """The polygon, its title, and where the loss is."""
    words = {"mode": "text", "text": [title.replace("<br>", ": ")], "textfont": {"size": 14}}
    here = {"mode": "markers", "marker": {"size": 11, "color": ORANGE}}
    return [
        *spokes(state),
        go.Scatter(x=[0], y=[0.93 * extent], showlegend=False, **words),
        go.Scatter(x=[step + 1], y=[loss], showlegend=False, **here),
    ]


def with_slider(states, titles, steps, loss, levels, extent):
    """The polygon and how far the loss has come, at the step of a slider."""
    shown = [at_one_step(*one, extent) for one in zip(states, steps, loss, titles, strict=True)]
    figure = make_subplots(cols=2, column_widths=[0.5, 0.5])
    figure.add_traces(shown[0], rows=[1] * 4, cols=[1, 1, 1, 2])
    line = {"mode": "lines", "line": {"color": BLUE}, "showlegend": False}
    figure.add_trace(go.Scatter(x=steps + 1, y=loss, **line), row=1, col=2)
    for name, level in levels.items():
        figure.add_hline(
            level, line={"dash": "dot", "color": GRAY}, annotation={"text": name}, row=1, col=2
        )
    figure.frames = [
        go.Frame(name=str(step), traces=[0, 1, 2, 3], data=one)
        for step, one in zip(steps, shown, strict=True)
    ]
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}
    moves = [
        {"method": "animate", "args": [[str(step)], now], "label": f"{step:,}"} for step in steps
    ]
    square(figure, 1, extent)
    figure.update_xaxes(type="log", title_text="training step + 1", row=1, col=2)
    figure.update_yaxes(title_text="loss", row=1, col=2)
    figure.update_layout(
        sliders=[{"steps": moves, "currentvalue": {"visible": False}, "pad": {"t": 50}}],
        width=900,
        height=460,
        margin={"t": 30, "r": 30},
    )
    return figure


if __name__ == "__main__":
    folder, picture = Path(sys.argv[1]), sys.argv[2]
    report = read_run(folder)
    run, distance, loss = open_run(folder), report.curves["distance_to"], report.curves["loss"]
    nearest, steps = distance.values.argmin(axis=1), distance.steps
    states = [run.checkpoints[int(step)] for step in steps]
    titles = [
        f"step {step:,}<br>{distance.items[i]}, {row[i]:.2g} away"
        for step, i, row in zip(steps, nearest, distance.values, strict=True)
    ]
    extent = 1.15 * max(float(state["weights"].abs().max()) for state in states)
    if sys.argv[3:] == ["--panels"]:
        rows = chosen_rows(nearest, distance.values.min(axis=1), steps, loss.values[:, 0])
        figure = side_by_side(states, titles, rows, extent)
    else:
        ends = [report.departure, *(stage.arrival for stage in report.stages)]
        levels = {one.point.name: one.point.loss for one in ends if one}
        figure = with_slider(states, titles, steps, loss.values[:, 0], levels, extent)
    figure.update_layout(template="plotly_white")
    figure.write_html(picture, config={"displayModeBar": False}, auto_play=False)
