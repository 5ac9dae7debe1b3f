"""Free energy in numbers: which critical point is preferred, and the way that runs take.

python experiments/free_energy.py PICTURE.html [RUN ...]

Prints loss and λ of the known minima of the toy model of superposition and the n at which the
preferred one changes; draws them in the plane of loss and learning coefficient with the path of
each run, which was made by `ontogeny run superposition`.
"""

import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from ontogeny.analysis import read_run
from ontogeny.analysis.free_energy import free_energy, preferences
from ontogeny.problems.superposition import critical_points

if __name__ == "__main__":
    points = [point for point in critical_points() if point.learning_coefficient is not None]
    print("point, L, λ, nL + λ ln n at n = 100, 1000, 10000")
    for point in points:
        energies = free_energy(
            np.array([100, 1000, 10_000]), point.loss, point.learning_coefficient
        )
        print(f"  {point.name}: {point.loss:.5f}, {point.learning_coefficient}", energies.round(1))
    for one in preferences(points):
        print(f"  from n = {one.low:.0f} to {one.high:.0f}: {one.point.name}")
    figure = go.Figure()
    for number, folder in enumerate(sys.argv[2:]):
        report = read_run(Path(folder))
        loss, llc = report.curves["loss"], report.curves["llc"]
        at = np.interp(np.log1p(llc.steps), np.log1p(loss.steps), loss.values[:, 0])
        path = go.Scatter(
            x=at, y=llc.values[:, 0], mode="lines+markers", marker={"size": 3}, line={"width": 1},
            name=f"run {number + 1}, at its nβ and γ",
        )  # fmt: skip
        figure.add_trace(path)
        ends = [report.departure, *(stage.arrival for stage in report.stages)]
        for place in {one.point.name: one.point for one in ends if one}.values():
            figure.add_vline(place.loss, line={"dash": "dot", "color": "#bbb"})
            figure.add_annotation(x=place.loss, y=0, text=place.name, showarrow=False, yshift=-12)
    exact = go.Scatter(
        x=[point.loss for point in points],
        y=[point.learning_coefficient for point in points],
        text=[point.name for point in points],
        mode="markers+text",
        textposition="top center",
        marker={"size": 9, "color": "#d9731a"},
        name="minima, exact λ",
    )
    figure.add_trace(exact)
    figure.update_layout(template="plotly_white", width=760, height=480)
    figure.update_layout(xaxis_title="loss", yaxis_title="learning coefficient")
    figure.update_layout(
        legend={"x": 0.98, "xanchor": "right", "y": 0.9}, margin={"t": 20, "r": 20}
    )
    figure.write_html(sys.argv[1], config={"displayModeBar": False})
