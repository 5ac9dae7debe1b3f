"""Which known critical point a stage ends at."""

import math

import numpy as np
import pytest

from ontogeny.analysis.arrivals import arrival_at, find_arrivals
from ontogeny.records import CriticalPoint, Curve, Stage

STEPS = np.array([0, 10, 100, 1000])
SADDLE = CriticalPoint("saddle", 1.0, 4.0, minimum=False, data="cut")
BOTTOM = CriticalPoint("bottom", 0.0, 6.0)
POINTS = (SADDLE, BOTTOM)


def curve(name, values, items=("",), steps=STEPS):
    values = np.array(values, dtype=float).reshape(len(steps), len(items))
    return Curve(name, "", steps, values, np.full_like(values, 0.5), items)


CURVES = {
    "distance_to": curve(
        "distance_to", [[0.3, 9], [0.1, 8], [0.2, 5], [7, 0.01]], ("saddle", "bottom")
    ),
    "loss": curve("loss", [1.1, 1.01, 1.02, 0.001]),
    "llc": curve("llc", [-5, -6, -7, 5.5]),
    "llc_by_component_on_cut": curve(
        "llc_by_component_on_cut", [[0, 3.7], [0, 3.9], [0, 3.8], [0, 99]], ("head", "all")
    ),
}


def test_a_saddle_is_compared_where_it_is_a_minimum_and_where_it_is_nearest():
    found = arrival_at(100, CURVES, POINTS)
    assert (found.point, found.step, found.distance, found.loss) == (SADDLE, 100, 0.2, 1.02)
    assert (found.llc, found.llc_stderr, found.llc_step) == (3.9, 0.5, 10)


def test_a_minimum_is_compared_on_the_problems_own_data():
    found = arrival_at(900, CURVES, POINTS)
    assert (found.point, found.step, found.llc, found.llc_step) == (BOTTOM, 1000, 5.5, 1000)


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
    found = arrival_at(10, {name: c for name, c in CURVES.items() if name != missing}, POINTS)
    assert math.isnan(found.loss if missing == "loss" else found.llc)
