"""Loss and learning coefficient over training, with the levels of the known critical points.

ontogeny run superposition --folder RUN
python experiments/critical_levels.py RUN PICTURE.html
"""

import sys
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ontogeny.analysis import read_run
from ontogeny.analysis.milestones import holds

INK, ORANGE = "#1c1c1c", "#d9731a"

if __name__ == "__main__":
    report = read_run(Path(sys.argv[1]))
    loss, llc, smooth = report.curves["loss"], report.curves["llc"], report.smooth_llc
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.05)
    lines = {"mode": "lines", "line": {"color": INK}}
    figure.add_trace(go.Scatter(x=loss.steps + 1, y=loss.values[:, 0], **lines), row=1, col=1)
    figure.add_trace(go.Scatter(x=smooth.steps + 1, y=smooth.values[:, 0], **lines), row=2, col=1)
    dots = go.Scatter(
        x=llc.steps + 1,
        y=llc.values[:, 0],
        error_y={"array": llc.stderr[:, 0], "thickness": 1, "width": 0},
        mode="markers",
        marker={"size": 4, "color": ORANGE},
    )
    figure.add_trace(dots, row=2, col=1)
    arrivals = [report.departure, *(stage.arrival for stage in report.stages)]
    for point in {one.point.name: one.point for one in arrivals if one}.values():
        figure.add_hline(
            point.loss,
            line={"dash": "dot", "color": "#8a8a8a"},
            annotation={"text": point.name, "xanchor": "right", "yanchor": "bottom"},
            row=1,
            col=1,
        )
    for one in report.milestones:
        if holds(one):
            figure.add_vline(one.step + 1, line={"dash": "dash", "color": ORANGE})
            figure.add_vrect(
                one.low + 1, one.high + 1, fillcolor=ORANGE, opacity=0.12, line_width=0
            )
    figure.update_xaxes(type="log")
    figure.update_xaxes(title_text="training step + 1", row=2, col=1)
    figure.update_yaxes(title_text="loss", row=1, col=1)
    figure.update_yaxes(title_text="LLC, with the run's nβ and γ", row=2, col=1)
    figure.update_layout(template="plotly_white", showlegend=False, width=760, height=520)
    figure.update_layout(margin={"l": 60, "r": 20, "t": 20, "b": 50})
    figure.write_html(sys.argv[2], config={"displayModeBar": False})
