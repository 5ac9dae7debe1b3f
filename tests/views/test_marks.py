import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.views.marks import (
    STAGE_COLORS,
    StepAxis,
    columns_within,
    measured,
    milestone_marks,
    stage_bands,
    stage_colors,
    step_axis,
)
from tests.views.reports import EMPTY, curve, full, stages_between


def test_five_stages_take_two_shades_of_each_hue_by_turns():
    (dark_a, pale_a), (dark_b, pale_b) = STAGE_COLORS["A"], STAGE_COLORS["B"]
    assert stage_colors(full().stages) == [dark_a, pale_a, dark_b, pale_b, dark_a]


@given(st.text(alphabet="AB", min_size=1, max_size=12))
def test_neighbours_never_share_a_colour_and_types_never_a_hue(types):
    colors = stage_colors(stages_between(range(1, len(types) + 1), types))
    assert all(a != b for a, b in itertools.pairwise(colors))
    assert all(color in STAGE_COLORS[kind] for color, kind in zip(colors, types, strict=True))


def test_bands_begin_and_end_where_stages_do_in_every_panel():
    stages = stages_between([10, 100, 2000], "ABA")
    bands = stage_bands(stages, StepAxis(0.5, 2000, True), panels=2)
    edges = [(band["x0"], band["x1"], band["fillcolor"]) for band in bands]
    a, b = STAGE_COLORS["A"], STAGE_COLORS["B"]
    assert edges == [(0.5, 10, a[0]), (10, 100, b[0]), (100, 2000, a[1])] * 2
    assert [band["xref"] for band in bands] == ["x"] * 3 + ["x2"] * 3
    assert [band["yref"] for band in bands] == ["y domain"] * 3 + ["y2 domain"] * 3


def test_a_milestone_is_a_line_and_its_interval_a_shade_where_it_is_known():
    marks = milestone_marks(full().milestones, StepAxis(0.5, 2000, True), panels=1)
    shades = [(m["x0"], m["x1"]) for m in marks if m["type"] == "rect"]
    lines = [m["x0"] for m in marks if m["type"] == "line"]
    assert shades == [(8, 12), (400, 600), (900, 1100)]
    assert lines == [10, 100, 500, 1000]


@given(st.integers(1, 10**6), st.lists(st.integers(1, 10**7), min_size=1, max_size=20))
def test_step_zero_stands_left_of_all_others_and_they_stand_where_they_are(first, more):
    steps = np.unique([0, first, *more])
    report = replace(EMPTY, curves={"loss": curve("loss", np.ones(len(steps)), steps=steps)})
    axis = step_axis(report)
    placed, layout = axis.place(steps), axis.layout()
    assert (np.diff(placed) > 0).all()
    assert placed[1:].tolist() == steps[1:].tolist()
    assert layout["ticktext"][0] == "0"
    low, high = layout["range"]
    assert low < np.log10(placed[0])
    assert np.log10(placed[-1]) < high
    assert all(low <= np.log10(tick) <= high for tick in layout["tickvals"])


def test_ticks_are_powers_of_ten_after_zero():
    layout = step_axis(full()).layout()
    assert layout["ticktext"] == ["0", "1", "10", "100", "1k"]
    assert layout["tickvals"] == [0.5, 1, 10, 100, 1000]


def test_a_run_that_starts_later_has_no_zero_and_finer_ticks():
    steps = np.array([100, 200, 1000])
    axis = step_axis(replace(EMPTY, curves={"a": curve("a", [1, 2, 3], steps=steps)}))
    assert axis.layout()["ticktext"] == ["100", "200", "500", "1k"]


@pytest.mark.parametrize(("width", "panels", "columns"), [(1060, 7, 3), (700, 7, 2), (100, 7, 1)])
def test_columns_follow_the_width(width, panels, columns):
    assert columns_within(width, panels) == columns


@given(
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6),
    st.floats(1e-6, 1e6),
)
def test_a_measured_number_is_rounded_by_less_than_a_tenth_of_its_error(value, stderr):
    text = measured(value, stderr).replace("−", "-").replace(",", "")
    shown, error = map(float, text.split(" ± "))
    assert abs(shown - value) <= 0.05 * stderr + 1e-9 * abs(value)
    assert error == pytest.approx(stderr, rel=0.051)
