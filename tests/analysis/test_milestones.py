"""Milestones of functions whose critical points are known, and of noise, which has none."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.milestones import find_milestones, holds
from ontogeny.analysis.stages import find_stages
from ontogeny.records import Curve

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
    assert all(find_milestones(curve_of(noise(seed))) == () for seed in range(4))


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


def test_a_jump_makes_no_milestones_beside_it():
    """The rule takes noise for a plateau now and then: at most one of eight, where it was most."""
    alarms = 0
    for last in (60, 80):
        values = np.interp(X, [0, 6, 6.5, X[-1]], [0, 0, 60, last])
        for seed in range(4):
            found = find_milestones(curve_of(values + noise(seed)))
            alarms += any(holds(one) for one in found)
    assert alarms <= 1


def test_sharp_corners_without_noise_ring_too_little_to_turn():
    values = np.interp(X, [0, 4, 8, X[-1]], [0, 50, 50, 100])
    (flat,) = [one for one in find_milestones(curve_of(values)) if holds(one)]
    assert flat.kind == "plateau"


def test_jumps_between_flat_stretches_are_not_taken_for_noise():
    jumps = [height * logistic(X, x, 20) for height, x in ((3, 4), (1, 6), (0.4, 8))]
    values = sum(jumps) + noise(0, 1e-4)
    first, second = (one for one in find_milestones(curve_of(values)) if holds(one))
    assert first.kind == second.kind == "plateau"
    assert 4 < np.log1p(first.step) < 6 < np.log1p(second.step) < 8


def test_a_change_far_below_the_error_that_all_estimates_share_is_none():
    rng = np.random.default_rng(0)
    offsets = np.array([-0.06, 0.06, -0.05, 0.05])
    values = 1.8 - 1e-4 * logistic(X, 2, 3) + 5e-5 * logistic(X, 6, 3)
    chains = values[:, None] + offsets + 1e-6 * rng.normal(size=(len(X), 4))
    error = np.full(len(X), offsets.std(ddof=1) / 2)
    assert find_milestones(curve_of(chains.mean(axis=1), error, chains)) == ()


def test_milestones_that_only_some_chains_have_are_less_probable():
    # All chains rise; three of six then fall by 12, the others rise by 6 more: the mean falls by 3.
    after = 10 * logistic(X, 10, 3)[:, None] * np.array([-1.2, -1.2, -1.2, 0.6, 0.6, 0.6])
    chains = 50 * logistic(X, 5, 3)[:, None] + after + 0.05 * noise(4, shape=(len(X), 6))
    unsure = find_milestones(curve_of(chains.mean(axis=1), chains=chains), least_probability=0.0)
    sure = find_milestones(curve_of(chains.mean(axis=1)))
    assert [milestone.kind for milestone in sure] == ["maximum"]
    assert sure[0].probability == 1.0
    assert all(milestone.probability < 0.9 for milestone in unsure)


def test_the_same_seed_gives_the_same_answer():
    curve = curve_of(20 * np.sin(X) + noise(5, 3.0))
    assert find_milestones(curve) == find_milestones(curve)


@settings(max_examples=3, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-2, 1e2))
def test_shifts_and_scales_leave_milestones_in_place(shift, scale):
    values = 20 * np.sin(X) + noise(6)
    plain = find_milestones(curve_of(values))
    other = find_milestones(curve_of(shift + scale * values))
    assert [(m.step, m.kind) for m in plain] == [(m.step, m.kind) for m in other]
