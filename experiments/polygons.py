"""The features of the toy model of superposition at each step: the polygon that they form.

ontogeny run superposition --folder RUN
python experiments/polygons.py RUN PICTURE.html

Each panel shows the columns of W at one checkpoint: one in the middle of each stretch during which
one critical point is nearest, and one where it changes. A feature whose bias is positive is orange.
"""

import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ontogeny.analysis import read_run
from ontogeny.runs import open_run


def chosen_rows(nearest, steps):
    """The rows in the middle, in log-step, of each stretch, and those where stretches meet."""
    edges = np.flatnonzero(np.diff(nearest)) + 1
    rows = []
    for stretch in np.split(np.arange(len(nearest)), edges):
        x = np.log1p(steps[stretch])
        if np.ptp(x) > 0.2:
            rows += [stretch[0], stretch[np.abs(x - x.mean()).argmin()]]
    return [*rows, len(nearest) - 1]


if __name__ == "__main__":
    folder, picture = Path(sys.argv[1]), sys.argv[2]
    run, distance = open_run(folder), read_run(folder).curves["distance_to"]
    nearest = distance.values.argmin(axis=1)
    rows = chosen_rows(nearest, distance.steps)
    titles = [
        f"step {distance.steps[row]:,}<br>{distance.items[nearest[row]]}, "
        f"{distance.values[row, nearest[row]]:.2g} away"
        for row in rows
    ]
    figure = make_subplots(cols=len(rows), subplot_titles=titles, horizontal_spacing=0.01)
    for column, row in enumerate(rows, start=1):
        state = run.checkpoints[int(distance.steps[row])]
        x, y = state["weights"].numpy()
        for i, bias in enumerate(state["bias"].tolist()):
            color = "#d9731a" if bias > 0.01 else "#154f80"
            line = go.Scatter(
                x=[0, x[i]],
                y=[0, y[i]],
                mode="lines+markers",
                marker={"size": [0, 8]},
                line={"color": color, "width": 2},
                showlegend=False,
            )
            figure.add_trace(line, row=1, col=column)
        figure.update_xaxes(range=[-1.4, 1.4], showticklabels=False, row=1, col=column)
        figure.update_yaxes(
            range=[-1.4, 1.4],
            showticklabels=False,
            row=1,
            col=column,
            scaleanchor=f"x{column if column > 1 else ''}",
        )
    figure.update_annotations(font_size=12)
    figure.update_layout(template="plotly_white", width=180 * len(rows), height=250)
    figure.update_layout(margin={"l": 8, "r": 8, "t": 56, "b": 8})
    figure.write_html(picture, config={"displayModeBar": False})
