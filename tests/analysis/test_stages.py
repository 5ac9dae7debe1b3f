"""Stages partition the run, and their changes come with errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.milestones import find_milestones
from ontogeny.analysis.stages import find_stages
from ontogeny.records import Curve, Milestone

STEPS = np.unique(np.geomspace(1, 500_000, 150).astype(int))
X = np.log1p(STEPS)
# Whole steps that are evenly spaced in log-step, so that time can be reversed.
DOUBLING = 2 ** np.arange(40) - 1


def noise(seed, size=1.0, shape=X.shape):
    return size * np.random.default_rng(seed).normal(size=shape)


def curve_of(values, stderr=np.nan, chains=None, steps=STEPS):
    return Curve(
        "llc", "", steps, values[:, None], np.broadcast_to(stderr, len(values))[:, None], ("",),
        chains,
    )  # fmt: skip


def logistic(x, middle, rate):
    return 1 / (1 + np.exp(-rate * (x - middle)))


def test_a_reversed_curve_has_its_stages_reversed_and_their_types_swapped():
    x = np.arange(40.0)
    values = 20 * np.sin(x / 4) + noise(7, 0.3, (40,))
    forth, back = (curve_of(v, steps=DOUBLING) for v in (values, values[::-1]))
    stages = find_stages(forth, None, find_milestones(forth))
    reverse = find_stages(back, None, find_milestones(back))[::-1]
    swap = {"A": "B", "B": "A"}
    assert [stage.type for stage in stages] == [swap[stage.type] for stage in reverse]
    for stage, mirror in zip(stages, reverse, strict=True):
        assert abs(stage.delta_llc + mirror.delta_llc) < 0.1 * stage.delta_llc_stderr
        ends = np.log1p([stage.start, mirror.end]).sum()
        # Steps are rounded to the grid, of which one cell is the 399th part of the run.
        assert abs(ends - np.log1p(DOUBLING[-1])) <= 1.01 * np.log1p(DOUBLING[-1]) / 399


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(int(STEPS[0]) + 1, int(STEPS[-1]) - 1), max_size=5))
def test_stages_partition_the_run(ends):
    milestones = [Milestone(step, None, None, None, "plateau") for step in ends]
    curve = curve_of(20 * np.sin(X) + noise(8))
    stages = find_stages(curve, None, milestones, prefix="S")
    assert [stage.start for stage in stages] == [STEPS[0], *sorted(set(ends))]
    assert [stage.end for stage in stages] == [*sorted(set(ends)), STEPS[-1]]
    assert [stage.name for stage in stages] == [f"S{k + 1}" for k in range(len(stages))]
    (whole,) = find_stages(curve, None, [])
    assert np.isclose(sum(stage.delta_llc for stage in stages), whole.delta_llc)
    assert all((stage.type == "A") == (stage.delta_llc >= 0) for stage in stages)


def test_the_change_of_the_loss_is_interpolated_in_log_step():
    llc = curve_of(20 * np.sin(X))
    ends = [Milestone(int(np.exp(5)) - 1, None, None, None, "minimum")]
    few = np.array([1, 63, 1023, 499_999])
    loss = dataclasses.replace(curve_of(-2 * np.log1p(few), steps=few), name="loss")
    first, second = find_stages(llc, loss, ends)
    x = np.log1p([STEPS[0], ends[0].step])
    assert np.isclose(first.delta_loss, -2 * (x[1] - x[0]))
    # The loss ends one step before the run does.
    assert np.isnan(second.delta_loss)
    assert np.isnan(find_stages(llc, None, ends)[0].delta_loss)


def test_the_change_of_the_loss_has_an_error_and_no_outlier_in_it():
    llc, end = curve_of(20 * np.sin(X)), Milestone(int(STEPS[75]), None, None, None, "minimum")
    values = 10 - X + noise(3, 0.01)
    values[75] = 1e6
    for known, expected in ((np.nan, 0.01), (0.5, 0.5)):
        for stage in find_stages(llc, curve_of(values, known), [end]):
            error = stage.delta_loss_stderr
            # The scatter is a median of 148 values that share neighbours.
            assert error == pytest.approx(np.sqrt(2) * expected, rel=0.3)
            run = np.log1p([stage.start, stage.end])
            assert abs(stage.delta_loss + run[1] - run[0]) < 4 * np.sqrt(2) * 0.01 + 0.1


def test_the_error_of_a_change_comes_from_whole_chains():
    # A chain's slope differs from the mean's, so the error of a change is in proportion to it.
    slopes = np.array([1.0, 2.0, 4.0, 5.0])
    chains = X[:, None] * slopes + 100 * np.arange(4)
    (stage,) = find_stages(curve_of(chains.mean(axis=1), chains=chains), None, [])
    run = X[-1] - X[0]
    assert np.isclose(stage.delta_llc, 3 * run, rtol=1e-3)
    assert np.isclose(stage.delta_llc_stderr, run * slopes.std(ddof=1) / 2, rtol=4 / 28)


def test_failed_estimates_at_the_ends_are_replaced_by_their_neighbours():
    values = 3 * X
    values[[0, -1]] = np.nan
    (stage,) = find_stages(curve_of(values), None, [])
    assert (stage.start, stage.end) == (STEPS[0], STEPS[-1])
    assert np.isclose(stage.delta_llc, 3 * (X[-2] - X[1]), rtol=1e-3)


def test_milestones_outside_the_run_are_refused():
    outside = [Milestone(int(STEPS[-1]), None, None, None, "maximum")]
    with pytest.raises(ValueError, match="do not lie inside the run, from 1 to 500000"):
        find_stages(curve_of(X), None, outside)
