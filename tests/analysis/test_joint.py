"""Runs in one space: what is common to them, and where known predictors stand."""

import json

import numpy as np
import pytest

from ontogeny.analysis.dynamics import essential_dynamics, project, smooth_trajectory
from ontogeny.analysis.joint import joint_dynamics, read_joint
from ontogeny.records import Outputs, References
from ontogeny.storage import save_record


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


def recorded(folder, outputs, **settings):
    """A run's folder with outputs that were recorded, and a predictor that it ends at."""
    measured = folder / "measured"
    for step, row in zip(outputs.steps.tolist(), outputs.values, strict=True):
        one = Outputs(np.array([step]), row[None])
        save_record(one, measured / "record_outputs" / f"{step:08d}.npz")
    said = {"problem": {"name": "a:b", "data": "0"}, "settings": {"examples": 9} | settings}
    (measured / "record_outputs" / "settings.json").write_text(json.dumps(said))
    labels = np.arange(outputs.values.shape[1])[:, None]
    references = References(("place",), labels, ("end",), outputs.values[-1:])
    save_record(references, measured / "record_references" / "00000000.npz")
    return folder


def test_runs_are_read_with_their_predictors_in_the_same_space(tmp_path):
    runs = {"a": run_of(5), "b": run_of(6)}
    found = read_joint([recorded(tmp_path / name, outputs) for name, outputs in runs.items()])
    expected = joint_dynamics(runs)
    for name, trajectory in found.trajectories.items():
        np.testing.assert_allclose(trajectory.scores, expected[name].scores, atol=1e-9)
    np.testing.assert_allclose(found.reference_scores["end"], expected["a"].scores[-1], atol=1e-9)


def test_runs_that_cannot_be_compared_are_refused_in_one_sentence(tmp_path):
    first = recorded(tmp_path / "a", run_of(0))
    with pytest.raises(ValueError, match="takes two of them or more"):
        read_joint([first, first])
    with pytest.raises(ValueError, match=r"of .*b were recorded with examples = 10, .* with 9"):
        read_joint([first, recorded(tmp_path / "b", run_of(1), examples=10)])
    with pytest.raises(ValueError, match="have 7 and 40 outputs"):
        read_joint([first, recorded(tmp_path / "c", run_of(1, outputs=7))])
    with pytest.raises(ValueError, match="holds no run with recorded outputs"):
        read_joint([first, tmp_path])
