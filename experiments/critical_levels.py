"""Loss and learning coefficient over training, with the critical points that the run rests at.

ontogeny run superposition --folder RUN        (or linear, or your own problem)
python experiments/critical_levels.py RUN PICTURE.html

Above the loss; then the learning coefficient with the run's own nβ and γ, the milestones and their
intervals; and where the run rests at several points whose λ is known, the refined estimates there
beside it.
"""

import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ontogeny.analysis import read_run
from ontogeny.analysis.arrivals import AT_POINTS, find_visits
from ontogeny.analysis.milestones import holds

INK, ORANGE, BLUE, GREY = "#1c1c1c", "#d9731a", "#154f80", "#6b6b6b"


def estimates(curve, item, color):
    """The estimates of one item with their errors, where there are any."""
    known = np.isfinite(curve.values[:, item])
    return go.Scatter(
        x=curve.steps[known] + 1, y=curve.values[known, item], mode="markers",
        error_y={"array": curve.stderr[known, item], "thickness": 1, "width": 0},
        marker={"size": 4, "color": color},
    )  # fmt: skip


def draw_visits(figure, report):
    """The loss of each point while the run is near it, and its name."""
    highest = max(point.loss for point in report.critical_points)
    for visit in find_visits(report.curves["distance_to"], report.critical_points):
        steps, loss = np.array([visit.first, visit.last]) + 1, visit.point.loss
        line = {"color": ORANGE, "width": 5, "dash": "2px,3px"}
        figure.add_trace(go.Scatter(x=steps, y=[loss] * 2, mode="lines", line=line), row=1, col=1)
        high = loss > 0.7 * highest
        figure.add_annotation(
            x=np.log10(steps).mean(), y=loss, yanchor="top" if high else "bottom", showarrow=False,
            text=visit.point.name + "<br>saddle" * (not visit.point.minimum),
            yshift=-3 if high else 3, font={"size": 11, "color": GREY}, row=1, col=1,
        )  # fmt: skip


def draw_exact(figure, report):
    """The refined estimates near each point, and the exact λ as a dotted line from there on."""
    llc = report.curves[AT_POINTS]
    exact = {point.name: point.learning_coefficient for point in report.critical_points}
    for item, name in enumerate(llc.items):
        dots = estimates(llc, item, BLUE)
        figure.add_trace(dots, row=3, col=1)
        level = go.Scatter(
            x=[dots.x[0], report.curves["loss"].steps[-1] + 1], y=[exact[name]] * 2,
            mode="lines+text", line={"color": GREY, "dash": "dot", "width": 1},
            text=[f"{name}: {exact[name]:g} ", ""], textfont={"size": 11, "color": GREY},
            textposition="middle left" if dots.x[0] > 10 else "top right",
        )  # fmt: skip
        figure.add_trace(level, row=3, col=1)
    figure.update_yaxes(title_text="refined LLC, exact λ", row=3, col=1)


def draw(report):
    """The whole picture."""
    loss, llc, smooth = report.curves["loss"], report.curves["llc"], report.smooth_llc
    several = AT_POINTS in report.curves and len(report.curves[AT_POINTS].items) > 1
    rows = 3 if several else 2
    figure = make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=0.04)
    draw_visits(figure, report)
    lines = {"mode": "lines", "line": {"color": INK}}
    figure.add_trace(go.Scatter(x=loss.steps + 1, y=loss.values[:, 0], **lines), row=1, col=1)
    figure.add_trace(go.Scatter(x=smooth.steps + 1, y=smooth.values[:, 0], **lines), row=2, col=1)
    figure.add_trace(estimates(llc, 0, ORANGE), row=2, col=1)
    for one in filter(holds, report.milestones):
        figure.add_vline(one.step + 1, line={"dash": "dash", "color": ORANGE, "width": 1})
        figure.add_vrect(one.low + 1, one.high + 1, fillcolor=ORANGE, opacity=0.12, line_width=0)
    if several:
        draw_exact(figure, report)
    figure.update_xaxes(type="log", dtick=1)
    figure.update_xaxes(title_text="training step + 1", row=rows, col=1)
    figure.update_yaxes(title_text="loss", row=1, col=1)
    figure.update_yaxes(title_text="LLC, at its nβ and γ", row=2, col=1)
    figure.update_layout(template="plotly_white", showlegend=False, width=760)
    return figure.update_layout(height=90 + 210 * rows, margin={"l": 60, "r": 20, "t": 20, "b": 50})


if __name__ == "__main__":
    draw(read_run(Path(sys.argv[1]))).write_html(sys.argv[2], config={"displayModeBar": False})
