"""The figure of docs/stages.md: how milestones are found on a made-up curve.

python experiments/stage_figure.py FIGURE.html

The curve rises twice with a plateau between, turns, and falls; its noise is known and shared by
neighbours. The picture is 1000 by 900 pixels.
"""

import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ontogeny.analysis import find_milestones, smooth_curve
from ontogeny.analysis.milestones import FLATNESS, Rule, _errors, _places
from ontogeny.records import Curve
from ontogeny.views.marks import GREY, INK, TEMPLATE

STEPS = np.unique(np.geomspace(1, 200_000, 130).astype(int))
ORANGE, BLUE = "#c8611a", "#2a6fa8"


def rise(x, middle, rate):
    """A logistic step of height one."""
    return 1 / (1 + np.exp(-rate * (x - middle)))


def made_up():
    """The curve, with noise whose correlation between neighbours is 0.8."""
    x = np.log1p(STEPS)
    truth = 25 * rise(x, 4, 2.5) + 70 * rise(x, 7.5, 2.5) - 35 * rise(x, 11, 3)
    noise = np.random.default_rng(1).normal(size=len(x))
    for i in range(1, len(x)):
        noise[i] = 0.8 * noise[i - 1] + 0.6 * noise[i]
    stderr = np.full((len(x), 1), 0.8)
    return Curve("llc", "", STEPS, (truth + 0.8 * noise)[:, None], stderr)


def figure():
    """Values, slopes, and where the milestone is in each function that the curve might be."""
    curve = made_up()
    smooth = smooth_curve(curve)
    milestones = find_milestones(smooth)
    picture = make_subplots(
        rows=3,
        shared_xaxes=True,
        vertical_spacing=0.07,
        row_heights=[0.42, 0.32, 0.26],
        subplot_titles=[
            "The estimates, the smoothed curve, and functions that it might be",
            "Their slopes: on a plateau, below half of the steepest slope beside it",
            "In which share of the functions the rule finds a milestone there",
        ],
    )
    steps = smooth.steps + 1
    for function in smooth.functions[:25]:
        thin = {"mode": "lines", "line": {"width": 0.5, "color": BLUE}, "opacity": 0.5}
        picture.add_trace(go.Scatter(x=steps, y=function, **thin), row=1, col=1)
        slope = np.gradient(function, np.log(steps))
        picture.add_trace(go.Scatter(x=steps, y=slope, **thin), row=2, col=1)
    points = {"mode": "markers", "marker": {"size": 4, "color": GREY}}
    bars = {"array": curve.stderr[:, 0], "width": 0, "thickness": 0.7}
    picture.add_trace(
        go.Scatter(x=STEPS + 1, y=curve.values[:, 0], error_y=bars, **points), row=1, col=1
    )
    for row, line in ((1, smooth.mean), (2, smooth.slope)):
        bold = {"mode": "lines", "line": {"width": 2, "color": INK}}
        picture.add_trace(go.Scatter(x=steps, y=line, **bold), row=row, col=1)
    (plateau,) = (one for one in milestones if one.kind == "plateau")
    before = smooth.slope[smooth.steps < plateau.step].max()
    ends = np.array([20, 600])
    picture.add_trace(
        go.Scatter(
            x=ends,
            y=np.full(2, FLATNESS * before),
            mode="lines",
            line={"dash": "dash", "color": ORANGE},
        ),
        row=2,
        col=1,
    )
    errors = _errors(smooth, Rule())
    places = np.concatenate([_places(one, errors, FLATNESS) for one in smooth.functions])
    counts = np.bincount(places.astype(int), minlength=len(steps)).reshape(-1, 5).sum(axis=1)
    share = counts / len(smooth.functions)
    picture.add_trace(
        go.Bar(x=steps.reshape(-1, 5).mean(axis=1), y=share, marker_color=BLUE), row=3, col=1
    )
    for one in milestones:
        picture.add_vrect(
            x0=one.low + 1, x1=one.high + 1, fillcolor=ORANGE, opacity=0.18, line_width=0
        )
        picture.add_vline(x=one.step + 1, line={"dash": "dot", "width": 1, "color": INK})
    picture.update_xaxes(type="log", range=[0.6, 5.31])
    picture.update_xaxes(title_text="training step (log scale)", row=3, col=1)
    picture.update_yaxes(title_text="LLC", row=1, col=1)
    picture.update_yaxes(title_text="slope", row=2, col=1)
    picture.update_yaxes(title_text="share", row=3, col=1)
    picture.update_layout(template=TEMPLATE, showlegend=False, width=1000, height=880)
    for one in milestones:
        print(one)
    return picture


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(figure().to_html(include_plotlyjs=True))
