"""Which known critical points a run comes near, and which a stage ends at."""

import math

import numpy as np
import pytest

from ontogeny.analysis.arrivals import arrival_at, find_arrivals, find_visits, llc_at_points
from ontogeny.records import CriticalPoint, Curve, Stage

STEPS = np.array([0, 10, 100, 150, 1000])
SADDLE = CriticalPoint("saddle", 1.0, 4.0, minimum=False, data="cut")
BOTTOM = CriticalPoint("bottom", 0.0, 6.0)
POINTS = (SADDLE, BOTTOM)


def curve(name, values, items=("",), steps=STEPS):
    values = np.array(values, dtype=float).reshape(len(steps), len(items))
    return Curve(name, "", steps, values, np.full_like(values, 0.5), items)


AWAY = [[0.3, 9], [0.01, 8], [0.06, 5], [0.03, 5], [7, 0.01]]
CURVES = {
    "distance_to": curve("distance_to", AWAY, ("saddle", "bottom")),
    "loss": curve("loss", [1.1, 1.01, 1.02, 1.01, 0.001]),
    "llc": curve("llc", [-5, -6, -7, -7, 5.5]),
    "llc_by_component_on_cut": curve(
        "llc_by_component_on_cut",
        [[0, 3.7], [0, 3.9], [0, 3.8], [0, 3.85], [0, -99]],
        ("head", "all"),
    ),
}


def refined_at(steps, values):
    """The same with the refined estimates at other steps."""
    return CURVES | {
        "llc_by_component_on_cut": curve("", values, ("all",), np.array(steps)),
    }


def test_a_saddle_is_compared_where_it_is_a_minimum_and_at_the_nearest_checkpoint_around():
    found = arrival_at(100, CURVES, POINTS)
    assert (found.point, found.step, found.distance, found.loss) == (SADDLE, 100, 0.06, 1.02)
    # Step 10 is nearer to the saddle, but a tenth of the time earlier.
    assert (found.llc, found.llc_stderr, found.llc_step) == (3.85, 0.5, 150)


def test_an_estimate_from_another_time_is_not_quoted():
    for steps in ([10], [49], [202], [10, 202]):
        found = arrival_at(100, refined_at(steps, [3.0] * len(steps)), POINTS)
        assert (found.distance, found.llc_step) == (0.06, -1)
        assert math.isnan(found.llc)
    assert arrival_at(100, refined_at([51], [3.0]), POINTS).llc_step == 51
    assert arrival_at(100, refined_at([200], [3.0]), POINTS).llc_step == 200


def test_an_estimate_far_from_the_saddle_is_not_quoted():
    found = arrival_at(0, CURVES, POINTS)
    assert (found.point, found.distance) == (SADDLE, 0.3)  # and 0.01 of 7 is 0.07
    assert found.llc_step == -1


def test_a_minimum_is_compared_on_the_problems_own_data():
    found = arrival_at(900, CURVES, POINTS)
    assert (found.point, found.step, found.llc, found.llc_step) == (BOTTOM, 1000, 5.5, 1000)


def test_a_minimum_that_is_far_away_is_said_to_be_and_not_compared():
    distance = curve("distance_to", [[9, 9], [9, 8], [9, 7], [9, 5], [9, 4]], ("saddle", "bottom"))
    found = arrival_at(1000, CURVES | {"distance_to": distance}, POINTS)
    assert (found.point, found.near, found.llc_step) == (BOTTOM, False, -1)
    assert arrival_at(1000, CURVES, POINTS).near


def test_a_saddle_of_no_data_set_has_no_learning_coefficient():
    found = arrival_at(0, CURVES, (CriticalPoint("saddle", 1.0, minimum=False),))
    assert found.llc_step == -1
    assert math.isnan(found.llc)


def test_stages_stay_as_they_are_where_nothing_is_known():
    stages = (
        Stage("S1", 0, 100, "A", -0.1, 1.0, 0.5),
        Stage("S2", 100, 1000, "A", -1.0, 12.0, 0.5),
    )
    assert find_arrivals(stages, {}, POINTS) == stages
    assert find_arrivals(stages, CURVES, ()) == stages
    names = [stage.arrival.point.name for stage in find_arrivals(stages, CURVES, POINTS)]
    assert names == ["saddle", "bottom"]


@pytest.mark.parametrize("missing", ["loss", "llc_by_component_on_cut"])
def test_what_was_not_measured_is_not_known(missing):
    found = arrival_at(100, {name: c for name, c in CURVES.items() if name != missing}, POINTS)
    assert math.isnan(found.loss if missing == "loss" else found.llc)


def test_a_visit_lasts_while_the_run_is_near():
    visits = find_visits(CURVES["distance_to"], POINTS)
    assert [(one.point, one.first, one.last) for one in visits] == [
        (SADDLE, 10, 150),
        (BOTTOM, 1000, 1000),
    ]
    assert find_visits(CURVES["distance_to"], (CriticalPoint("elsewhere", 1.0),)) == ()


def test_a_second_visit_is_another():
    away = [[0.0, 9], [5, 5], [0.0, 9], [0.0, 9], [9, 0.0]]
    visits = find_visits(curve("distance_to", away, ("saddle", "bottom")), POINTS)
    assert [visit[1:] for visit in visits] == [(0, 0), (100, 150), (1000, 1000)]


def test_refined_estimates_are_kept_only_near_their_point():
    end = CriticalPoint("bottom", 0.0, 6.0, data="own")
    own = {"llc_by_component_on_own": curve("", [-900, -900, -900, -800, 5.9], ("all",))}
    found = llc_at_points(CURVES | own, (SADDLE, end))
    assert found.items == ("saddle", "bottom")
    assert found.steps.tolist() == [10, 100, 150, 1000]
    np.testing.assert_array_equal(found.values[:, 0], [3.9, 3.8, 3.85, np.nan])
    np.testing.assert_array_equal(found.values[:, 1], [np.nan, np.nan, np.nan, 5.9])
    assert np.isfinite(found.stderr).tolist() == np.isfinite(found.values).tolist()


def test_without_an_estimate_near_a_point_there_are_none():
    assert llc_at_points(refined_at([0, 1000], [3.0, 3.0]), POINTS) is None
    assert llc_at_points({"loss": CURVES["loss"]}, POINTS) is None
