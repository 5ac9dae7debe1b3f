import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from plotly.utils import PlotlyJSONEncoder

from ontogeny.views.figures import plot_stages
from ontogeny.views.marks import stage_colors
from tests.views.reports import EMPTY, STEPS, curve, full


def named(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def points_of(trace):
    return np.stack([np.asarray(trace.x, float), np.asarray(trace.y, float)], axis=1)


# Stages


def test_both_panels_carry_a_band_for_each_stage():
    report = full()
    bands = [s for s in plot_stages(report).layout.shapes if s.opacity == 0.2]
    assert [band.fillcolor for band in bands] == stage_colors(report.stages) * 2
    assert [(band.x0, band.x1) for band in bands[:2]] == [(0.5, 10), (10, 100)]


def test_every_estimate_is_drawn_with_its_error_under_its_verdict():
    figure = plot_stages(full())
    (ok,) = named(figure, "estimate ± standard error")
    (suspect,) = named(figure, "suspect estimate")
    (lost,) = named(figure, "failed, no value")
    assert len(ok.x) == len(STEPS) - 2
    assert ok.x[0] == 0.5  # step 0, at the left edge
    assert ok.customdata[0][0] == 0  # and named as what it is
    assert set(ok.error_y.array) == {1.5}
    assert list(suspect.x) == [STEPS[6]]
    assert list(lost.x) == [STEPS[3]]


def test_the_smoothed_curve_has_a_band_of_one_standard_error():
    figure = plot_stages(full())
    (line,) = named(figure, "smoothed ± standard error")
    bands = [trace for trace in figure.data if trace.fill == "toself" and trace.yaxis == "y2"]
    n = len(STEPS)
    assert np.allclose(bands[0].y[:n], line.y - 0.5)
    assert np.allclose(bands[0].y[n:][::-1], line.y + 0.5)


def test_milestones_sit_on_the_smoothed_curve():
    (points,) = named(plot_stages(full()), "milestone and its 90 % interval")
    smooth = dict(zip(STEPS.tolist(), np.linspace(0, 50, len(STEPS)), strict=True))
    assert np.allclose(points.y, [smooth[step] for step in (10, 100, 500, 1000)])
    assert points.text[0] == "plateau at step 10, 90 % interval 8 to 12, probability 0.97"


def test_no_verdicts_no_smoothing_and_no_value_at_all_still_make_a_picture():
    nothing = curve("llc", np.full(len(STEPS), np.nan))
    figure = plot_stages(replace(EMPTY, curves={"llc": nothing}))
    assert [trace.name for trace in figure.data] == ["failed, no value"]


@pytest.mark.parametrize("name", ["loss", "llc"])
def test_one_of_the_two_curves_alone_takes_one_panel(name):
    report = full()
    figure = plot_stages(replace(report, curves={name: report.curves[name]}))
    assert {trace.yaxis for trace in figure.data} <= {"y", None}


@pytest.mark.parametrize("width", [330, 1060])
def test_stage_names_do_not_touch(width):
    labels = plot_stages(full(), width).layout.annotations
    low, high = plot_stages(full(), width).layout.xaxis.range
    assert [label.text[3:6] for label in labels] == ["LR1", "LR2", "LR3", "LR4", "LR5"]
    for one, other in itertools.combinations(labels, 2):
        apart = abs(one.x - other.x) / (high - low) * (width - 80)
        assert one.yshift != other.yshift or apart >= 35  # five letters of 7 pixels


def test_a_narrow_picture_shows_the_same_traces():
    def traces(figure):
        return json.dumps(figure.to_plotly_json()["data"], cls=PlotlyJSONEncoder)

    assert traces(plot_stages(full(), 1060)) == traces(plot_stages(full(), 330))
