"""Known critical points in the pictures: named where the run is near them, silent elsewhere."""

from dataclasses import replace

import numpy as np

from ontogeny.analysis.arrivals import AT_POINTS, arrival_at, llc_at_points
from ontogeny.records import CriticalPoint
from ontogeny.views.catalog import measured_panels
from ontogeny.views.figures import plot_stages
from ontogeny.views.panels import plot_metrics
from ontogeny.views.points import points_caption
from ontogeny.views.report import render_report
from tests.views.reports import EMPTY, STEPS, curve, full

SADDLE = CriticalPoint("rank 0", 3.9, 4.0, minimum=False, data="rank_0")
BOTTOM = CriticalPoint("rank 1", 1.0, 6.5, data="rank_1")
FAR = [CriticalPoint(f"far {i}", 9.0, 1.0) for i in range(20)]
N = len(STEPS)


def visited():
    """A run that rests at a saddle up to step 20, and at a minimum from step 500 on."""
    away = np.full((N, 22), 50.0)
    away[:, 0] = np.where(STEPS <= 20, 0.01, 9.0)
    away[:, 1] = np.where(STEPS >= 500, 0.02, 9.0)
    away[0, 1:] = 60.0
    points = (SADDLE, BOTTOM, *FAR)
    refined = {
        f"llc_by_component_on_rank_{rank}": curve(
            f"llc_by_component_on_rank_{rank}",
            np.where(away[:, rank] < 1, 3.8 + 2 * rank, -4000.0),
            ("all",),
            0.2,
        )
        for rank in (0, 1)
    }
    distance = curve("distance_to", away, tuple(point.name for point in points))
    curves = dict(full().curves) | refined | {"distance_to": distance}
    curves[AT_POINTS] = llc_at_points(curves, points)
    return replace(
        full(), curves=curves, critical_points=points, departure=arrival_at(0, curves, points)
    )


def panel_of(figure, title):
    """The traces of the panel with a title, and the words above it."""
    (heading,) = [one for one in figure.layout.annotations if title in one.text]
    axis = heading.yref.removesuffix(" domain")
    return [trace for trace in figure.data if trace.yaxis == axis], heading.text


def test_refined_estimates_are_shown_near_their_point_only():
    traces, words = panel_of(plot_metrics(visited()), "LLC near known points")
    drawn = {trace.name: trace for trace in traces if trace.name}
    assert np.allclose(drawn["rank 0"].y, 3.8)
    assert max(drawn["rank 0"].x) == 20
    assert np.allclose(drawn["rank 1"].y, 5.8)
    assert min(drawn["rank 1"].x) == 500
    assert set(drawn["rank 1"].error_y.array) == {0.2}
    assert "dotted: exact λ" in words
    assert not any("LLC on" in panel.title for panel in measured_panels(visited()))


def test_exact_values_are_dotted_and_labelled():
    traces, _ = panel_of(plot_metrics(visited()), "LLC near known points")
    levels = [trace for trace in traces if trace.mode == "lines+text"]
    assert [(level.y, level.text[0]) for level in levels] == [
        ((4.0, 4.0), "4"),
        ((6.5, 6.5), "6.5"),
    ]
    assert [level.x[0] for level in levels] == [0.5, 500]


def test_points_that_are_never_the_nearest_are_left_out_of_the_distances():
    traces, words = panel_of(plot_metrics(visited()), "Distance to known points")
    assert [trace.name for trace in traces] == ["rank 0", "rank 1"]
    assert "20 others never the nearest" in words


def test_a_point_is_named_at_its_loss_while_the_run_is_near():
    figure = plot_stages(visited())
    dotted = [t for t in figure.data if t.hovertemplate and t.hovertemplate.startswith("rank")]
    assert [(tuple(t.x), tuple(t.y)) for t in dotted] == [
        ((0.5, 20), (3.9, 3.9)),
        ((500, 2000), (1.0, 1.0)),
    ]
    texts = [one.text for one in figure.layout.annotations if "rank" in one.text]
    assert texts == ["rank 0<br>not a minimum", "rank 1"]
    narrow = [one.text for one in plot_stages(visited(), 330).layout.annotations]
    assert "rank 0" in narrow


def test_the_page_says_where_the_run_begins_and_what_is_no_minimum():
    page = render_report(visited())
    assert page.count("Begins near rank 0, 0.01 away") == 1
    assert page.index("Begins near rank 0") < page.index("<td><b>LR1</b></td>")
    assert "rank 0: not a minimum of the run’s own loss" in page
    assert "rank 1: not a" not in points_caption(visited())


def test_a_curve_that_others_show_has_no_panel():
    loss = curve("loss", np.linspace(4.0, 1.0, N))
    same, other = (
        replace(loss, name="initial_loss"),
        replace(loss, name="training_loss", values=1.1 * loss.values),
    )
    alone = curve("llc_by_position", np.ones(N), ("1",))
    curves = {one.name: one for one in (loss, same, other, alone)}
    titles = [panel.title for panel in measured_panels(replace(EMPTY, curves=curves))]
    assert titles == ["Loss on the training batches"]
    del curves["loss"]
    titles = [panel.title for panel in measured_panels(replace(EMPTY, curves=curves))]
    assert titles == ["Loss on the training batches", "Loss on the sampler's batches"]
