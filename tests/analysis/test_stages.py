"""Milestones of functions whose critical points are known, and of noise, which has none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.stages import find_milestones, find_stages
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


def test_the_extrema_of_a_sine_lie_in_their_intervals():
    # Extrema of sin at odd multiples of pi/2; the one at x = 1.6 has hardly a checkpoint before it.
    milestones = find_milestones(curve_of(20 * np.sin(X) + noise(0)))
    kinds = [milestone.kind for milestone in milestones]
    assert kinds == ["maximum", "minimum", "maximum", "minimum"]
    for milestone, turn in zip(milestones, np.pi * np.array([0.5, 1.5, 2.5, 3.5]), strict=True):
        # A 90 % interval has a half width of 1.645 standard errors; allow four of them.
        low, high = np.log1p(milestone.low), np.log1p(milestone.high)
        assert abs(np.log1p(milestone.step) - turn) < 4 * (high - low) / (2 * 1.645)
        assert milestone.low <= milestone.step <= milestone.high
        assert milestone.probability == 1.0


def test_a_plateau_between_two_rises_is_one_milestone():
    rises = 50 * logistic(X, 5, 2.5) + 50 * logistic(X, 9, 2.5)
    (plateau,) = find_milestones(curve_of(rises + noise(1, 0.3)))
    assert plateau.kind == "plateau"
    # The two rises are each other's mirror image about x = 7, where the slope is smallest.
    assert np.log1p(plateau.low) < 7 < np.log1p(plateau.high)
    assert np.log1p(plateau.high) - np.log1p(plateau.low) < 2


def test_a_plateau_between_two_falls_is_one_milestone():
    rises = 50 * logistic(X, 5, 2.5) + 50 * logistic(X, 9, 2.5)
    (plateau,) = find_milestones(curve_of(noise(1, 0.3) - rises))
    assert plateau.kind == "plateau"


def test_a_bend_that_is_not_flat_is_no_milestone():
    # The slope falls from 10 to 6 and rises to 10 again.
    bend = 8 * X + 2 * np.sin(X)
    assert find_milestones(curve_of(bend)) == ()


def test_noise_around_a_constant_has_no_milestone():
    # About one noisy curve in fifty may have one; these seeds were not chosen.
    assert all(find_milestones(curve_of(noise(seed)), draws=50) == () for seed in range(4))


def test_a_constant_and_a_line_have_no_milestone_and_one_stage():
    for values in (np.full(len(X), 3.0), 3 * X, 3 * X + noise(2, 0.2)):
        curve = curve_of(values)
        milestones = find_milestones(curve)
        assert milestones == ()
        (stage,) = find_stages(curve, None, milestones)
        assert (stage.start, stage.end, stage.type) == (STEPS[0], STEPS[-1], "A")
        # A line of slope 3; four standard errors, and rounding for the constant.
        change = values[-1] - values[0] if np.ptp(values) == 0 else 3 * (X[-1] - X[0])
        assert abs(stage.delta_llc - change) < 4 * stage.delta_llc_stderr + 1e-9


def test_flat_beginnings_and_ends_are_no_milestones():
    assert find_milestones(curve_of(100 * logistic(X, 7, 3) + noise(3, 0.3))) == ()


def test_milestones_that_only_some_chains_have_are_less_probable():
    # All chains rise; three of six then fall by 8, the others rise on by 6, so the mean falls by 1.
    after = 10 * logistic(X, 10, 3)[:, None] * np.array([-0.8, -0.8, -0.8, 0.6, 0.6, 0.6])
    chains = 50 * logistic(X, 5, 3)[:, None] + after + 0.05 * noise(4, shape=(len(X), 6))
    unsure = find_milestones(curve_of(chains.mean(axis=1), chains=chains), least_probability=0.0)
    sure = find_milestones(curve_of(chains.mean(axis=1)))
    assert [milestone.kind for milestone in sure] == ["maximum"]
    assert sure[0].probability == 1.0
    assert all(milestone.probability < 0.9 for milestone in unsure)


def test_the_same_seed_gives_the_same_answer():
    curve = curve_of(20 * np.sin(X) + noise(5, 3.0))
    assert find_milestones(curve, seed=3) == find_milestones(curve, seed=3)


@settings(max_examples=3, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-2, 1e2))
def test_shifts_and_scales_leave_milestones_in_place(shift, scale):
    values = 20 * np.sin(X) + noise(6)
    plain = find_milestones(curve_of(values), draws=20)
    other = find_milestones(curve_of(shift + scale * values), draws=20)
    assert [(m.step, m.kind) for m in plain] == [(m.step, m.kind) for m in other]


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


def test_the_error_of_a_change_comes_from_whole_chains():
    # A chain's slope differs from the mean's, so the error of a change is in proportion to it.
    slopes = np.array([1.0, 2.0, 4.0, 5.0])
    chains = X[:, None] * slopes + 100 * np.arange(4)
    (stage,) = find_stages(curve_of(chains.mean(axis=1), chains=chains), None, [])
    run = X[-1] - X[0]
    assert np.isclose(stage.delta_llc, 3 * run, rtol=1e-3)
    assert np.isclose(stage.delta_llc_stderr, run * slopes.std(ddof=1) / 2, rtol=1e-3)


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
