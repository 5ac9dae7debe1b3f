"""Runs in one space: what is common to them, and where known predictors stand."""

import numpy as np
import pytest

from ontogeny.analysis.dynamics import essential_dynamics, project, smooth_trajectory
from ontogeny.analysis.joint import joint_dynamics
from ontogeny.records import Outputs


def run_of(seed, count=30, outputs=40):
    rng = np.random.default_rng(seed)
    return Outputs(10 * np.arange(count), rng.normal(size=(count, outputs)).cumsum(axis=0))


def test_one_run_alone_is_its_essential_dynamics():
    outputs = run_of(0)
    joint, alone = joint_dynamics({"a": outputs})["a"], essential_dynamics(outputs)
    np.testing.assert_allclose(joint.scores, alone.scores, atol=1e-9)
    np.testing.assert_allclose(joint.smoothed, alone.smoothed, atol=1e-9)
    np.testing.assert_array_equal(joint.steps, outputs.steps)


def test_runs_share_one_space_and_are_smoothed_one_by_one():
    runs = {"a": run_of(1), "b": run_of(2, count=20)}
    found = joint_dynamics(runs, components=3)
    for name, outputs in runs.items():
        trajectory = found[name]
        np.testing.assert_allclose(
            project(outputs.values, trajectory), trajectory.scores, atol=1e-9
        )
        expected = smooth_trajectory(trajectory.scores, outputs.steps)
        np.testing.assert_array_equal(trajectory.smoothed, expected)
        np.testing.assert_array_equal(trajectory.loadings, found["a"].loadings)
    centre = np.concatenate([found[name].scores for name in runs]).mean(axis=0)
    np.testing.assert_allclose(centre, 0, atol=1e-9)


def test_a_predictor_that_a_run_ends_at_stands_where_it_ends():
    runs = {"a": run_of(3), "b": run_of(4)}
    found = joint_dynamics(runs)
    placed = project(runs["b"].values[-1:], found["a"])
    np.testing.assert_allclose(placed[0], found["b"].scores[-1], atol=1e-9)


def test_runs_on_other_batches_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="have 7 and 40 outputs; measure them on the same batch"):
        joint_dynamics({"a": run_of(0), "b": run_of(1, outputs=7)})
    with pytest.raises(ValueError, match="have no outputs"):
        joint_dynamics({})
