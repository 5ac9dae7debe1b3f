"""The sampler at the known critical points, beside what is exact there.

python experiments/llc_against_truth.py PICTURE.html

First at the minima of the toy model of superposition, with nβ = 10⁶ and γ = 1000; then at each rank
of a deep linear network, where the teacher is truncated to that rank, with nβ = 10⁴ and γ = 1, and
block Gibbs sampling says what a perfect sampler finds. Last at the same points under the whole
teacher: there they are saddles, and what is estimated is no learning coefficient.
"""

import math
import sys
from dataclasses import replace

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from ontogeny.analysis import estimate_llc
from ontogeny.ground_truths import sampler_for
from ontogeny.probes import Sampler
from ontogeny.probes.batched import sample_together
from ontogeny.problems.gibbs import gibbs_excess
from ontogeny.problems.linear import deep_linear, saddles, truncated_teachers
from ontogeny.problems.superposition import superposition
from ontogeny.problems.superposition_landscape import critical_point, critical_points

WIDTHS, MODES = [6, 6, 6], [9.0, 3.0, 1.0]


def estimate(problem, states, settings):
    """λ̂ and its standard error at each of some points."""
    llc = estimate_llc(sample_together(problem, dict(enumerate(states)), settings))
    return list(zip(llc.values[:, 0].tolist(), llc.stderr[:, 0].tolist(), strict=True))


def away_from_corners(name):
    """A minimum; of one or two features, where there is room for all that costs nothing.

    Where the columns of the others are 0 as well, several such sets meet, and the estimate comes to
    λ only slowly with nβ.
    """
    state, k = critical_point(name), int(name[0])
    if k in (1, 2):
        angles = 0.75 * math.pi * torch.arange(k)
        beside = angles.mean() + math.pi
        state["weights"][:, :k] = torch.stack([angles.cos(), angles.sin()])
        state["weights"][:, k:] = 0.3 * torch.stack([beside.cos(), beside.sin()])[:, None]
    return state


def superposed():
    """Name, λ, estimate and error at each minimum."""
    settings = Sampler(
        step_size=1e-6, nbeta=1e6, localization=1000.0, momentum=0.9,
        draws=6000, burn_in=1000, batch_size=1,
    )  # fmt: skip
    points = [point for point in critical_points() if point.learning_coefficient is not None]
    states = [away_from_corners(point.name) for point in points]
    for point, found in zip(points, estimate(superposition(), states, settings), strict=True):
        yield point.name, point.learning_coefficient, *found


def truncated(nbeta=1e4, localization=1.0):
    """Rank, λ, the estimate and its error, Gibbs and its error, where the teacher is truncated."""
    problem, teachers = deep_linear(WIDTHS, MODES), truncated_teachers(WIDTHS, MODES)
    for rank, (point, teacher) in enumerate(zip(saddles(WIDTHS, MODES), teachers, strict=True)):
        state = {f"layers.{i}": teacher.sqrt() for i in range(2)}
        exact = gibbs_excess(state, teacher, nbeta, localization, (16, 1100))
        settings = sampler_for(exact.stiffness, nbeta, localization, chains=4, units=(8, 160))
        (found,) = estimate(problem, [state], replace(settings, data=f"rank_{rank}"))
        yield point.name, point.learning_coefficient, *found, exact.value, exact.stderr


def under_the_whole_teacher(localization=1.0):
    """Rank, nβ, −nβL, the estimate and Gibbs, at each saddle."""
    problem, teachers = deep_linear(WIDTHS, MODES), truncated_teachers(WIDTHS, MODES)
    for rank, point in enumerate(saddles(WIDTHS, MODES)[:-1]):
        state = {f"layers.{i}": teachers[rank].sqrt() for i in range(2)}
        for nbeta in (10.0, 100.0, 1000.0, 10_000.0):
            exact = gibbs_excess(state, teachers[-1], nbeta, localization, (16, 600))
            settings = sampler_for(exact.stiffness, nbeta, localization, chains=4, units=(20, 60))
            (found,) = estimate(problem, [state], settings)
            yield point.name, nbeta, -nbeta * point.loss, *found, exact.value, exact.stderr


def draw(toy, linear):
    """Each point's exact λ as a stroke, the estimate with its error, and Gibbs as a diamond."""
    titles = "superposition, nβ = 10⁶, γ = 1000", "deep linear, nβ = 10⁴, γ = 1"
    figure = make_subplots(cols=2, subplot_titles=titles, horizontal_spacing=0.08)
    kinds = (
        ("exact λ", 1, {"symbol": "line-ew", "size": 16, "line": {"width": 2, "color": "#d9731a"}}),
        ("block Gibbs", 4, {"symbol": "diamond-open", "size": 11, "color": "#6b6b6b"}),
        ("estimate", 2, {"size": 7, "color": "#154f80"}),
    )
    for column, rows in enumerate((toy, linear), start=1):
        for label, place, marker in kinds:
            shown = [row for row in rows if place < len(row)]
            errors = [row[3] for row in shown] if label == "estimate" else None
            scatter = go.Scatter(
                x=[row[0] for row in shown], y=[row[place] for row in shown], mode="markers",
                error_y={"array": errors}, marker=marker, name=label, showlegend=column == 2,
            )  # fmt: skip
            figure.add_trace(scatter, row=1, col=column)
    figure.update_xaxes(type="category")
    figure.update_yaxes(title_text="learning coefficient", row=1, col=1)
    figure.update_layout(template="plotly_white", width=760, height=380)
    return figure.update_layout(
        legend={"orientation": "h", "y": -0.12}, margin={"l": 60, "r": 20, "t": 40, "b": 50}
    )


def print_rows(toy, linear, saddle):
    """The numbers, and whether the sampler is within 3 standard errors and 1 % of Gibbs."""
    print("superposition: name, λ, estimate, its error")
    for name, exact, value, stderr in toy:
        off = f", {100 * (value / exact - 1):+.1f} %" if exact else ""
        print(f"  {name}: {exact} {value:.3f} ± {stderr:.3f}{off}")
    print("deep linear, truncated teacher: rank, λ, estimate, Gibbs, off by, bar")
    for name, exact, value, stderr, gibbs, error in linear:
        bar = 3 * math.hypot(stderr, error) + 0.01 * gibbs
        print(
            f"  {name}: {exact} {value:.3f} ± {stderr:.3f}, {gibbs:.3f} ± {error:.3f}, "
            f"{abs(value - gibbs):.3f}, {bar:.3f}; {100 * (value / exact - 1):+.1f} % off λ"
        )
    print("the whole teacher, at its saddles: rank, nβ, −nβL, estimate, Gibbs")
    for name, nbeta, lost, value, stderr, gibbs, error in saddle:
        print(
            f"  {name}, {nbeta:g}: {lost:.2f}, {value:.2f} ± {stderr:.2f}, "
            f"{gibbs:.2f} ± {error:.2f}: not a minimum"
        )


if __name__ == "__main__":
    minima = list(superposed()), list(truncated())
    print_rows(*minima, under_the_whole_teacher())
    draw(*minima).write_html(sys.argv[1], config={"displayModeBar": False})
