import json
import math
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ontogeny import ground_truths, validation
from ontogeny.ground_truths import (
    CROSSINGS,
    DEEP,
    PAIRS,
    ROWS,
    Outcome,
    Row,
    measure_linear,
    sampler_for,
)
from ontogeny.problems.exact import monomials_learning_coefficient, monomials_llc
from ontogeny.problems.linear_minima import local_learning_coefficient
from ontogeny.validation import (
    SUMMARIES,
    as_json,
    cells,
    concluded,
    judged,
    measure_row,
    median_error,
    rank_correlation,
    spread,
    told_apart,
    validate,
)

GOOD = Outcome(
    "a row", nbeta=10.0, localization=1.0, exact=2.0, learning_coefficient=2.1, estimate=2.02,
    stderr=0.01,
)  # fmt: skip


def measured(name):
    return Outcome(**json.loads(measure_row(name)))


# The table ---------------------------------------------------------------------------------------


def test_rows_have_names_of_their_own():
    names = [*(row.name for row in ROWS), *(summary.name for summary in SUMMARIES)]
    assert len(set(names)) == len(names)
    assert {summary.group for summary in SUMMARIES} == {row.group for row in ROWS} - {""}


@pytest.mark.parametrize(("k", "nbeta"), [row[:2] for row in CROSSINGS])
def test_the_exact_answers_of_crossings_are_within_a_tenth_of_the_limit(k, nbeta):
    powers = [[2 * one for one in k]]
    limit = monomials_learning_coefficient(powers)
    assert limit == 1 / (2 * max(k))
    assert 0.9 * limit <= monomials_llc(powers, nbeta, 1.0) < limit


def test_there_are_twenty_deep_networks_and_one_is_large():
    sizes = [sum(a * b for a, b in pairwise(widths)) for widths, *_ in DEEP]
    assert len(DEEP) >= 20
    assert max(sizes) >= 100_000


def test_the_two_minima_of_a_pair_differ():
    for widths, rank, pair in PAIRS:
        first, second = (local_learning_coefficient(widths, rank, ranks) for ranks in pair)
        assert second.value > first.value


def test_the_rule_keeps_its_distance_from_the_limit_of_stability():
    settings = sampler_for(1000.0, nbeta=50.0, localization=2.0, chains=3, units=(2, 7))
    assert settings.step_size * 1000 <= 2 < 4
    unit = 1 / math.sqrt(settings.step_size * 2)
    assert math.isclose(settings.momentum, math.exp(-3 / unit))
    assert math.isclose(settings.draws, 9 * unit, rel_tol=0.15)
    assert math.isclose(settings.burn_in / settings.draws, 2 / 9)


# Rows, from end to end ---------------------------------------------------------------------------


def test_a_potential_passes():
    found = measured("½(w1^4)")
    assert found.passed, found.note
    assert found.exact == found.learning_coefficient == 0.25
    assert found.stderr < 0.01 * found.exact
    assert found.seconds > 0


def test_a_linear_network_passes_and_with_another_answer_it_would_not():
    found = judged(measure_linear((30, 20, 30), 20, None, 1e7, 1000.0))
    assert found.passed, found.note
    assert found.learning_coefficient == 400.0
    wrong = judged(replace(found, exact=0.95 * found.exact, learning_coefficient=None))
    assert not wrong.passed
    assert "% off" in wrong.note


def test_layers_are_rescaled_without_a_change_of_what_they_compute(monkeypatch):
    asked = []

    def remember(state, *args, **kwargs):
        asked.append([layer.tolist() for layer in state.values()])
        raise InterruptedError

    monkeypatch.setattr(ground_truths, "gibbs_llc", remember)
    with pytest.raises(InterruptedError):
        measure_linear((1, 1, 1, 1), 1, None, 1e6, 100.0, factor=4.0)
    assert asked == [[[[4.0]], [[0.25]], [[1.0]]]]


def test_a_row_that_crashes_has_failed_and_says_why(monkeypatch):
    def crash():
        raise ArithmeticError("the sea is rough")

    monkeypatch.setattr(validation, "ROWS", (Row("rough", crash),))
    found = measured("rough")
    assert not found.passed
    assert found.note == "ArithmeticError: the sea is rough"


def test_the_suite_runs_in_processes_of_its_own_and_concludes(monkeypatch):
    names = ["½(w1^2)", "½(w1^4)"]
    few = tuple(replace(row, group="few") for row in ROWS if row.name in names)
    monkeypatch.setattr(validation, "ROWS", few)
    summary = validation.Summary("all of them", "few", lambda members: Outcome("", passed=True))
    monkeypatch.setattr(validation, "SUMMARIES", (summary,))
    found = list(validate(quick=True))
    assert sorted(one.name for one in found[:2]) == names
    assert found[2].name == "all of them"
    assert all(one.passed for one in found)
    assert replace(found[0], seconds=0.0) == replace(measured(found[0].name), seconds=0.0)


def test_slow_rows_are_left_out_of_a_quick_run_and_a_dead_process_is_a_failed_row(monkeypatch):
    class Broken:
        def submit(self, function, name):
            future = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

    @contextmanager
    def pool():
        yield Broken()

    monkeypatch.setattr(validation, "worker_pool", pool)
    quick, all_of_it = list(validate(quick=True)), list(validate())
    assert not any(one.passed for one in all_of_it)
    assert len(all_of_it) == len(ROWS) + len(SUMMARIES)
    assert {one.name for one in all_of_it} - {one.name for one in quick} >= {"crossing 3, 3"}
    assert quick[0].note == "its process was killed"


# Bars --------------------------------------------------------------------------------------------


def test_a_good_row_passes():
    found = judged(GOOD)
    assert found.passed
    assert found.note == ""
    assert math.isclose(found.relative_error, 0.01)
    assert math.isclose(found.bar, 3 * 0.005 + 0.01)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"estimate": 2.06}, "it is 3 % off"),
        ({"estimate": math.nan}, "it is nan % off"),
        ({"stderr": 0.021}, "its standard error is 1.1 %"),
        ({"exact_stderr": 0.05}, "the exact answer's standard error is 2.5 %"),
        ({"learning_coefficient": 2.5}, "the exact answer is 20 % from λ"),
        ({"estimate": None}, "no estimate"),
    ],
)
def test_a_bar_that_is_not_met_is_named(change, note):
    found = judged(replace(GOOD, **change))
    assert not found.passed
    assert note in found.note


def test_the_error_of_the_exact_answer_widens_the_bar():
    far = replace(GOOD, estimate=2.07)
    assert not judged(far).passed
    assert judged(replace(far, exact_stderr=0.019)).passed


# What is concluded of several rows ---------------------------------------------------------------


def test_minima_are_told_apart_by_their_difference():
    first, second = GOOD, replace(GOOD, exact=2.5, learning_coefficient=2.6, estimate=2.51)
    found = told_apart([first, second])
    assert found.passed
    assert math.isclose(found.estimate, 0.49)
    assert math.isclose(found.stderr, 0.01 * math.sqrt(2))
    assert not told_apart([first, replace(second, estimate=2.03)]).passed
    assert not told_apart([replace(first, stderr=1.0), second]).passed


def test_networks_are_held_to_their_median_and_their_order():
    networks = [
        replace(GOOD, learning_coefficient=1.0 * i, estimate=0.95 * i) for i in range(1, 21)
    ]
    assert math.isclose(median_error(networks).relative_error, 0.05)
    assert median_error(networks).passed
    assert rank_correlation(networks).estimate == 1.0
    assert rank_correlation(networks).passed
    swapped = [*networks[10:], *networks[:10]]
    wrong = [
        replace(one, learning_coefficient=other.learning_coefficient)
        for one, other in zip(networks, swapped, strict=True)
    ]
    assert not rank_correlation(wrong).passed
    assert not median_error(wrong).passed


def test_the_spread_is_from_the_least_to_the_most():
    factors = [replace(GOOD, estimate=value) for value in (2.0, 2.02, 1.98)]
    assert math.isclose(spread(factors).relative_error, 0.02)
    assert not spread(factors).passed
    assert spread(factors[:2]).passed


def test_nothing_is_concluded_before_all_rows_are_there():
    members = [row.name for row in ROWS if row.group == "rescaling"]
    found = {name: replace(GOOD, name=name) for name in members}
    assert [one.name for one in concluded("rescaling", found)] == ["layers rescaled: spread"]
    assert next(concluded("rescaling", found)).passed
    broken = {**found, members[0]: Outcome(members[0])}
    assert f"{members[0]} could not be measured" in next(concluded("rescaling", broken)).note
    del found[members[1]]
    assert not list(concluded("rescaling", found))
    assert not list(concluded("", found))


# For readers -------------------------------------------------------------------------------------


def test_a_machine_reads_the_rows_in_the_order_of_the_table():
    outcomes = [replace(judged(GOOD), name=name) for name in ("crossing 2, 2", "½(w1^2)")]
    rows = json.loads(as_json(outcomes))
    assert [row["name"] for row in rows] == ["½(w1^2)", "crossing 2, 2"]
    wanted = {"name", "exact", "lambda", "estimate", "stderr", "relative_error", "bar", "passed"}
    assert wanted <= set(rows[0])
    assert rows[0]["lambda"] == 2.1


def test_what_cannot_be_a_number_in_json_is_null():
    rows = json.loads(as_json([replace(GOOD, name="½(w1^2)", estimate=math.nan)]))
    assert rows[0]["estimate"] is None


def test_cells_say_whether_it_passed():
    assert cells(judged(GOOD))[-1] == "passed"
    assert cells(replace(GOOD, passed=False))[-1] == "FAILED"
    assert len(cells(GOOD)) == len(validation.HEADINGS)


def test_the_worst_of_the_networks_is_named():
    networks = [replace(GOOD, estimate=2.1 * (1 + one)) for one in (0.0, 0.01, -0.07)]
    assert "at most 7 %" in median_error(networks).note
    assert np.isclose(median_error(networks).relative_error, 0.01)
