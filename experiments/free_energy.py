"""Free energy in numbers: which critical point is preferred, and the way that runs take.

ontogeny run linear --folder RUN        (or superposition, or your own problem)
python experiments/free_energy.py PICTURE.html RUN [RUN ...]

Prints loss L and learning coefficient λ of the critical points that the runs know of, nL + λ ln n,
and the n at which the preferred one changes. Draws them in the plane of loss and learning
coefficient: above, exact values, and the refined estimates where each run rests; below, the path of
each run with the estimates at its own nβ and γ, from which stages are read. A saddle counts with
its λ where it has one: on the data set of which it is a minimum.
"""

import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ontogeny.analysis import read_run
from ontogeny.analysis.arrivals import AT_POINTS, find_visits, nearest_row
from ontogeny.analysis.free_energy import free_energy, preferences

EXAMPLES = (10, 100, 1000, 10_000)
ORANGE, BLUE, GREY = "#d9731a", "#154f80", "#8a8a8a"


def print_table(points):
    """A row for each point: L, λ, its free energies, and where it is preferred."""
    best = {one.point.name: one for one in preferences(points)}
    print("| point | L | λ |", *(f"n = {n:,} |" for n in EXAMPLES), "preferred |")
    print("| --- | --- | --- |" + " --- |" * (len(EXAMPLES) + 1))
    for point in points:
        where = ""
        if one := best.get(point.name):
            last = f"{one.high:,.0f}" if np.isfinite(one.high) else "∞"
            where = f"n = {one.low:,.0f} to {last}"
        energies = free_energy(np.array(EXAMPLES), point.loss, point.learning_coefficient)
        cells = [f"{point.loss:.4g}", f"{point.learning_coefficient:g}", *energies.round(1)]
        print(f"| {point.name} | {' | '.join(map(str, cells))} | {where} |")


def resting(report):
    """Loss, refined estimate and its error where a run rests, nearest to each point in turn."""
    distance, loss = report.curves["distance_to"], report.curves["loss"]
    for visit in find_visits(distance, report.critical_points):
        llc = report.curves.get(AT_POINTS)
        if llc is None or visit.point.name not in llc.items:
            continue
        column = llc.items.index(visit.point.name)
        there = (visit.first <= llc.steps) & (llc.steps <= visit.last)
        rows = np.flatnonzero(there & np.isfinite(llc.values[:, column]))
        if len(rows):
            away = distance.values[:, distance.items.index(visit.point.name)]
            row = min(rows, key=lambda one: away[nearest_row(distance, llc.steps[one])])
            at = loss.values[nearest_row(loss, llc.steps[row]), 0]
            yield at, llc.values[row, column], llc.stderr[row, column]


def draw(reports, points):
    """The two panels over one axis of loss, which falls to the right as training goes on."""
    positive = min(point.loss for point in points if point.loss > 0)
    some_zero = min(point.loss for point in points) <= 0
    edge = positive / 10 if some_zero else positive / 1.5

    def place(losses):
        return np.maximum(losses, edge)

    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.6, 0.4])
    visited = {}
    for number, report in enumerate(reports):
        label = "a run" if len(reports) == 1 else f"run {number + 1}"
        look = {"color": BLUE, "width": 1.2}
        at, value, error = np.array(list(resting(report))).reshape(-1, 3).T
        rests = go.Scatter(
            x=place(at), y=value, error_y={"array": error, "width": 0}, mode="markers+lines",
            line=look | {"dash": "dot"}, marker={"size": 7}, name=f"{label} where it rests",
        )  # fmt: skip
        figure.add_trace(rests, row=1, col=1)
        loss, llc = report.curves["loss"], report.curves["llc"]
        passing = np.interp(np.log1p(llc.steps), np.log1p(loss.steps), loss.values[:, 0])
        path = go.Scatter(
            x=place(passing), y=llc.values[:, 0], mode="lines+markers", marker={"size": 3},
            line=look, name=f"{label}, at its own nβ and γ",
        )  # fmt: skip
        figure.add_trace(path, row=2, col=1)
        visits = find_visits(report.curves["distance_to"], report.critical_points)
        visited |= {one.point.name: one.point for one in visits}
    for point in visited.values():
        line = {"color": GREY, "dash": "dot", "width": 1}
        figure.add_vline(float(place(point.loss)), line=line, layer="below")
        text = point.name + "<br>not a minimum" * (not point.minimum)
        figure.add_annotation(
            x=float(np.log10(place(point.loss))), y=1, yref="paper", yanchor="bottom", text=text,
            showarrow=False, font={"size": 11, "color": "#555"},
        )  # fmt: skip
    # A name stands on the left where the line of a visited point would cross it on the right.
    crossed = [
        any(0 < np.log10(place(point.loss) / place(other.loss)) < 0.1 for other in visited.values())
        for point in points
    ]
    aside = cycle(["bottom left", "top left"])  # neighbours by turns
    exact = go.Scatter(
        x=place(np.array([point.loss for point in points])),
        y=[point.learning_coefficient for point in points],
        text=[f"  {one.name}: {one.learning_coefficient:g}  " for one in points],
        mode="markers+text", name="exact λ",
        textposition=[next(aside) if one else "middle right" for one in crossed],
        marker={"size": 9, "color": ORANGE, "symbol": "diamond"},
    )  # fmt: skip
    figure.add_trace(exact, row=1, col=1)
    most = max(report.curves["loss"].values.max() for report in reports)
    return layout(figure, edge, most, [edge] if some_zero else [])


def layout(figure, edge, most, zero):
    """Axes, the places of their ticks, and the legend below."""
    ticks = [m * 10.0**e for e in range(-9, 3) for m in (1, 2, 5)]
    shown = [tick for tick in ticks if 1.2 * edge < tick < 1.3 * most]
    figure.update_xaxes(
        type="log", tickvals=zero + shown,
        range=[np.log10(1.35 * most), np.log10(edge) - (0.6 if zero else 0)],
        ticktext=["0"] * len(zero) + [f"{tick:g}" for tick in shown],
    )  # fmt: skip
    figure.update_xaxes(title_text="loss, falling to the right (log scale)", row=2, col=1)
    exact = figure.data[-1].y
    room = 0.12 * (max(exact) - min(exact))
    figure.update_yaxes(
        title_text="learning coefficient",
        range=[min(exact) - 1.5 * room, max(exact) + room],
        row=1,
        col=1,
    )
    figure.update_yaxes(title_text="LLC of the curve", row=2, col=1)
    figure.update_layout(
        template="plotly_white", width=760, height=560, legend={"orientation": "h", "y": -0.16},
        margin={"l": 60, "r": 20, "t": 50, "b": 70},
    )  # fmt: skip
    return figure


if __name__ == "__main__":
    picture, *folders = sys.argv[1:]
    found = [read_run(Path(folder)) for folder in folders]
    known = found[0].critical_points
    compared = [replace(one, minimum=True) for one in known if one.learning_coefficient is not None]
    print_table(compared)
    draw(found, compared).write_html(picture, config={"displayModeBar": False})
