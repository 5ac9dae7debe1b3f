"""Pictures of essential dynamics: planes, circles, forms, and components over time."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from plotly.utils import PlotlyJSONEncoder

from ontogeny.views.dynamics import CIRCLE_STRIDE, plot_dynamics, plot_scores
from ontogeny.views.marks import STAGE_COLORS, stage_colors
from tests.views.reports import EMPTY, STEPS, full, trajectory, without


def named(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def points_of(trace):
    return np.stack([np.asarray(trace.x, float), np.asarray(trace.y, float)], axis=1)


# Planes


def circle(n=97, radius=2.0, center=(3.0, -1.0)):
    angle = np.linspace(0.0, 6.0, n)
    return np.array(center) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_every_eighth_circle_of_a_circle_is_that_circle_and_its_evolute_the_centre():
    # Second-order differences in angle: relative error of the radius about (6/96)²/6.
    figure = plot_dynamics(replace(EMPTY, trajectory=trajectory(circle())))
    (arcs,), (evolute,) = named(figure, "osculating circles"), named(figure, "evolute")
    points = points_of(arcs)
    assert np.isnan(points[:, 0]).sum() == len(circle()) // CIRCLE_STRIDE
    radii = np.linalg.norm(points[np.isfinite(points[:, 0])] - (3.0, -1.0), axis=1)
    assert np.allclose(radii, 2.0, rtol=5e-3)
    assert len(evolute.x) == len(circle())
    assert np.allclose(points_of(evolute), (3.0, -1.0), atol=2e-2)


def test_huge_circles_do_not_widen_the_picture():
    x = np.linspace(-1.0, 1.0, 65)
    figure = plot_dynamics(replace(EMPTY, trajectory=trajectory(np.stack([x, 1e-4 * x**2], 1))))
    (arcs,), (evolute,) = named(figure, "osculating circles"), named(figure, "evolute")
    low, high = figure.layout.xaxis.range
    points = points_of(arcs)
    finite = points[np.isfinite(points[:, 0])]
    assert len(finite) > 0
    assert np.abs(finite).max() <= 1 + np.sqrt(2) * (high - low)
    assert len(evolute.x) == 0  # the centres are 5,000 away


def test_a_straight_line_has_neither_circles_nor_evolute():
    x = np.arange(32.0)
    figure = plot_dynamics(replace(EMPTY, trajectory=trajectory(np.stack([x, 2 * x], 1))))
    assert len(named(figure, "osculating circles")[0].x) == 0
    assert len(named(figure, "evolute")[0].x) == 0


def test_frames_are_squares_that_hold_every_point_and_reference():
    report = full()
    figure = plot_dynamics(report)
    axes = zip(figure.select_xaxes(), figure.select_yaxes(), strict=True)
    for (across, up), (xaxis, yaxis) in zip([(0, 1), (0, 2), (1, 2)], axes, strict=True):
        x, y = np.array(xaxis.range), np.array(yaxis.range)
        assert np.isclose(np.diff(x), np.diff(y))
        points = np.vstack([report.trajectory.scores, report.reference_scores["ridge"]])
        assert ((x[0] < points[:, across]) & (points[:, across] < x[1])).all()
        assert ((y[0] < points[:, up]) & (points[:, up] < y[1])).all()
        assert yaxis.scaleanchor == xaxis.anchor.replace("y", "x")


def test_the_curve_is_coloured_by_stage_without_gaps():
    report = full()
    figure = plot_dynamics(report)
    pieces = [named(figure, f"{s.name} ({s.type})")[0] for s in report.stages]
    assert [piece.line.color for piece in pieces] == stage_colors(report.stages)
    assert pieces[0].line.color == STAGE_COLORS["A"][0]
    assert [list(piece.customdata) for piece in pieces] == [
        [0, 1, 2, 5, 10],
        [10, 20, 50, 100],
        [100, 200, 500],
        [500, 1000],
        [1000, 2000],
    ]


def test_a_stage_that_ends_between_checkpoints_reaches_both():
    report = full()
    stages = (replace(report.stages[0], end=30), replace(report.stages[1], start=30, end=2000))
    figure = plot_dynamics(replace(report, stages=stages))
    assert list(named(figure, "LR1 (A)")[0].customdata) == [0, 1, 2, 5, 10, 20, 50]
    assert named(figure, "LR2 (A)")[0].customdata[0] == 20


def test_axes_say_their_share_of_the_variance():
    figure = plot_dynamics(full())
    titles = [axis.title.text for axis in figure.select_yaxes()]
    assert titles == [
        f"PC{k} ({share} % of variance)" for k, share in ((2, 15.2), (3, 6.8), (3, 6.8))
    ]


def test_references_are_labelled_diamonds():
    (diamond, *_) = [trace for trace in plot_dynamics(full()).data if trace.text is not None]
    assert (diamond.text[0], diamond.x[0], diamond.y[0]) == ("ridge", 1.0, 2.0)
    assert diamond.marker.symbol == "diamond"


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_points_for_circles_are_drawn_all_the_same(n):
    figure = plot_dynamics(replace(EMPTY, trajectory=trajectory(circle()[:n])))
    assert not named(figure, "osculating circles")
    assert len(named(figure, "measured")[0].x) == n


def test_absent_parts_are_said_in_words():
    line = replace(EMPTY, trajectory=trajectory(np.ones((9, 1))))
    for report, said in ((EMPTY, "not been measured"), (line, "along a straight line only")):
        figure = plot_dynamics(report)
        assert not figure.data
        assert said in figure.layout.annotations[0].text
    assert [t.name for t in plot_dynamics(without(full(), "stages")).data if t.showlegend][2] == (
        "smoothed"
    )


def test_a_narrow_picture_shows_the_same_traces_one_below_the_other():
    def traces(figure):
        return json.dumps(figure.to_plotly_json()["data"], cls=PlotlyJSONEncoder)

    for plot in (plot_dynamics, plot_scores):
        assert traces(plot(full(), 1060)) == traces(plot(full(), 330))
    assert len({axis.domain for axis in plot_dynamics(full(), 330).select_xaxes()}) == 1


# Forms


def test_forms_are_stars_at_their_points_full_where_they_stand_out():
    figure = plot_dynamics(replace(full(), reference_scores={}))
    stars = named(figure, "form and its step")
    forms = full().forms.forms
    assert len(stars) == 3
    for star, plane in zip(stars, itertools.combinations(range(3), 2), strict=True):
        expected = [[form.point[component] for component in plane] for form in forms]
        np.testing.assert_allclose(points_of(star), expected)
        assert star.marker.symbol == ("star", "star-open")
        assert star.text == ("20", "500")


def test_of_forms_that_lie_close_together_only_the_best_shows_its_step():
    report = full()
    first, then = report.forms.forms
    near = replace(then, point=tuple(x + 0.01 for x in first.point))
    figure = plot_dynamics(replace(report, forms=replace(report.forms, forms=(near, first))))
    assert [star.text for star in named(figure, "form and its step")] == [("", "20")] * 3


def test_the_name_of_a_predictor_goes_before_the_step_of_a_form_that_may_be_chance():
    report = full()
    for form, text in zip(report.forms.forms, ["20", ""], strict=True):
        alone = replace(report.forms, forms=(form,))
        there = {"ridge": np.array(form.point)}
        figure = plot_dynamics(replace(report, forms=alone, reference_scores=there))
        assert [star.text for star in named(figure, "form and its step")] == [(text,)] * 3


def test_frames_hold_forms_beyond_the_path():
    report = full()
    far = replace(report.forms.forms[0], point=(90.0, -70.0, 50.0))
    figure = plot_dynamics(replace(report, forms=replace(report.forms, forms=(far,))))
    for place, plane in enumerate(itertools.combinations((90.0, -70.0, 50.0), 2), start=1):
        number = "" if place == 1 else place
        for letter, value in zip("xy", plane, strict=True):
            low, high = figure.layout[f"{letter}axis{number}"].range
            assert low < value < high


# Components over time


def test_each_component_has_a_panel_with_the_forms_in_it():
    report = full()
    figure = plot_scores(report)
    smoothed = named(figure, "smoothed")
    assert len(smoothed) == 3
    for k, line in enumerate(smoothed):
        np.testing.assert_array_equal(line.y, report.trajectory.smoothed[:, k])
        np.testing.assert_array_equal(line.customdata, STEPS)
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert [line.x0 for line in lines] == [20.0, 500.0]
    assert [label.text for label in figure.layout.annotations] == ["20", "500"]


def test_components_without_forms_or_dynamics_make_a_picture_or_words():
    assert not plot_scores(EMPTY).data
    alone = plot_scores(replace(EMPTY, trajectory=full().trajectory))
    assert len(named(alone, "smoothed")) == 3
    assert not alone.layout.shapes
