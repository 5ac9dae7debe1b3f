"""Reading a run's folder concludes from what is there and names what is not."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ontogeny.analysis import gather_curves, read_run, read_status
from ontogeny.analysis.dynamics import essential_dynamics
from ontogeny.analysis.evidence import Turn
from ontogeny.analysis.nulls import WeighedForms
from ontogeny.analysis.reading import read_forms, read_refined, refined_curves, turns_of
from ontogeny.records import Chains, Form, Measurements, Outputs, References
from ontogeny.storage import load_record, save_record

STEPS = [0, 3, 10, 30, 100, 300]


@pytest.fixture
def folder(tmp_path):
    """A run whose learning coefficient rises, made without torch."""
    (tmp_path / "run.json").write_text(
        json.dumps({"problem": {"name": "a:b", "settings": {"x": 1}}, "training": {"steps": 301}})
    )
    rng = np.random.default_rng(0)
    for step in STEPS:
        name = f"{step:08d}.npz"
        excess = 0.1 * np.log1p(step) + 0.01 * rng.normal(size=(3, 40, 2))
        losses, blocks = excess.mean(axis=2), excess.reshape(3, 4, 10, 2).mean(axis=2)
        level = 4 - 0.5 * np.log1p(step)
        initial, its_blocks = np.full_like(losses, level), np.full_like(blocks, level)
        pairs = (level + losses, initial, level + blocks, its_blocks)
        chains = Chains(step, *pairs, 10.0, 1e-3, 1.0, 10)
        save_record(chains, tmp_path / "measured" / "sample_chains" / name)
        values = np.array([4 - 0.5 * np.log1p(step)])
        table = Measurements(step, ("loss",), ("",), values, np.array([0.01]))
        save_record(table, tmp_path / "measured" / "measure_metrics" / name)
        outputs = Outputs(np.array([step]), rng.normal(size=(1, 8)) + step)
        save_record(outputs, tmp_path / "measured" / "record_outputs" / name)
    labels = np.arange(8)[:, None]
    references = References(("place",), labels, ("zero",), np.zeros((1, 8)))
    save_record(references, tmp_path / "measured" / "record_references" / "00000000.npz")
    settings = {"settings": {"chains": 3}, "device": "cpu"}
    for measured in (tmp_path / "measured").iterdir():
        (measured / "settings.json").write_text(json.dumps(settings))
    return tmp_path


def plan(folder, steps):
    described = {
        "title": "A run",
        "notes": ["Know this."],
        "prefix": "S",
        "checkpoints": steps,
        "measurements": [{"probe": "m:sample_chains", "settings": {}, "steps": steps}],
    }
    (folder / "plan.json").write_text(json.dumps(described))


def test_everything_that_is_there_is_concluded_from(folder):
    found = read_run(folder)
    assert set(found.curves) == {"llc", "llc_by_position", "initial_loss", "loss"}
    np.testing.assert_allclose(found.curves["llc"].values[:, 0], np.log1p(STEPS), atol=0.1)
    assert [stage.type for stage in found.stages] == ["A"]
    assert found.stages[0].delta_loss == pytest.approx(-0.5 * np.log(301))
    assert [diagnosis.step for diagnosis in found.diagnoses] == STEPS
    assert found.trajectory.steps.tolist() == STEPS
    assert set(found.reference_scores) == {"zero"}
    assert found.settings["problem"]["x"] == 1
    assert found.settings["sample chains"] == {"chains": 3, "device": "cpu"}


def test_burn_in_is_a_matter_of_reading(folder):
    default, all_draws = read_run(folder), read_run(folder, burn_in=0)
    assert (default.curves["llc"].values != all_draws.curves["llc"].values).any()


def test_the_plan_names_the_run_and_what_is_missing(folder):
    plan(folder, [*STEPS, 1000])
    found = read_run(folder)
    assert (found.title, found.notes) == ("A run", ("Know this.",))
    assert found.stages[0].name == "S1"
    assert found.missing == (
        "Not all is measured yet: training: 0 of 7 checkpoints.",
        "Not all is measured yet: sample chains: 6 of 7 checkpoints.",
    )


def test_a_failed_checkpoint_is_named(folder):
    plan(folder, [*STEPS, 1000])
    (folder / "measured" / "sample_chains" / "00001000.failed").write_text("Traceback")
    text = str(read_status(folder)[1])
    assert text == "sample chains: 6 of 7 checkpoints, failed at step 1000"


def fail(folder, step, *chains):
    """Make chains of a checkpoint fail at the end of their burn-in."""
    path = folder / "measured" / "sample_chains" / f"{step:08d}.npz"
    whole = load_record(Chains, path)
    losses, blocks = whole.losses.copy(), whole.position_losses.copy()
    losses[list(chains), 10:], blocks[list(chains), 1:] = np.nan, np.nan
    save_record(replace(whole, losses=losses, position_losses=blocks), path)


def test_a_failed_chain_is_left_out_and_named(folder):
    before = read_run(folder).curves["llc"]
    fail(folder, 30, 1)
    found = read_run(folder)
    llc = found.curves["llc"]
    expected = before.values[:, 0].copy()
    expected[3] = before.chains[3, [0, 2]].mean()
    np.testing.assert_allclose(llc.values[:, 0], expected, rtol=1e-12)
    assert np.isnan(llc.chains[3]).tolist() == [False, True, False]
    assert llc.warnings == ("step 30: 1 of 3 chains failed (1); they are left out",)
    assert (found.diagnoses[3].verdict, found.diagnoses[3].failed) == ("suspect", (1,))
    assert [stage.type for stage in found.stages] == ["A"]


def test_a_step_at_which_all_chains_failed_leaves_a_gap(folder):
    before = read_run(folder).curves["llc"]
    fail(folder, 30, 0, 1, 2)
    found = read_run(folder)
    expected = before.values.copy()
    expected[3] = np.nan
    np.testing.assert_array_equal(found.curves["llc"].values, expected)
    assert np.isnan(found.curves["llc_by_position"].values[3]).all()
    assert found.diagnoses[3].verdict == "failed"
    assert [(stage.start, stage.end, stage.type) for stage in found.stages] == [(0, 300, "A")]
    assert np.isfinite(found.smooth_llc.values).all()


def test_a_checkpoint_whose_outputs_are_alone_far_off_is_left_out_and_said(folder):
    wild = Outputs(np.array([30]), np.full((1, 8), 1e12))
    save_record(wild, folder / "measured" / "record_outputs" / "00000030.npz")
    found = read_run(folder)
    assert found.trajectory.steps.tolist() == [0, 3, 10, 100, 300]
    assert np.abs(found.trajectory.scores).max() < 1e4
    assert (
        "Recorded outputs. Far from all others, and alone with that: step 30. It is left out."
    ) in found.notes


def test_outputs_that_never_move_are_said_and_lose_nothing_else(folder):
    for step in STEPS:
        path = folder / "measured" / "record_outputs" / f"{step:08d}.npz"
        save_record(Outputs(np.array([step]), np.ones((1, 8))), path)
    found = read_run(folder)
    assert found.trajectory is None
    assert found.stages
    assert "The recorded outputs are the same at all checkpoints." in found.notes


def test_outputs_that_move_in_two_directions_have_two_components(folder):
    x, y = np.log1p(STEPS), np.sin(np.arange(len(STEPS)))
    for step, across, up in zip(STEPS, x, y, strict=True):
        outputs = Outputs(np.array([step]), np.array([[3 * across, 4 * across, up, 7.0]]))
        save_record(outputs, folder / "measured" / "record_outputs" / f"{step:08d}.npz")
    labels = np.arange(4)[:, None]
    references = References(("place",), labels, ("end",), np.array([[3.0, 4.0, 1.0, 7.0]]))
    save_record(references, folder / "measured" / "record_references" / "00000000.npz")
    found = read_run(folder)
    trajectory = found.trajectory
    assert trajectory.scores.shape == (len(STEPS), 2)
    assert trajectory.explained_variance_ratio.sum() == pytest.approx(1)
    plane = np.array([[0.6, 0.8, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_allclose(trajectory.loadings @ plane.T @ plane, trajectory.loadings)
    reference = trajectory.loadings @ ([3.0, 4.0, 1.0, 7.0] - trajectory.mean)
    np.testing.assert_allclose(found.reference_scores["end"], reference)


def test_a_form_that_stands_out_is_a_probe_and_one_that_does_not_is_none():
    kept = Form(300, 200, 500, (0.0, 1.0, 2.0), 9.0, p_value=0.01)
    forms = WeighedForms((replace(kept, step=30, p_value=0.3), kept), 999, 10.0, 1.0, 0.0)
    assert turns_of(forms) == [Turn("forms", 300, 200, 500)]
    assert turns_of(None) == []


def test_weights_and_gradients_have_paths_of_their_own(folder):
    outputs = folder / "measured" / "record_outputs"
    shutil.copytree(outputs, folder / "measured" / "record_weights")
    found = read_run(folder)
    assert list(found.paths) == ["weights"]
    np.testing.assert_array_equal(found.paths["weights"].scores, found.trajectory.scores)


@pytest.mark.parametrize(("checkpoints", "components"), [(1, None), (2, 1), (3, 2)])
def test_a_few_checkpoints_have_as_many_components_as_they_can(checkpoints, components, folder):
    for step in STEPS[checkpoints:]:
        (folder / "measured" / "record_outputs" / f"{step:08d}.npz").unlink()
    trajectory = read_run(folder).trajectory
    assert (trajectory and trajectory.scores.shape[1]) == components


def test_a_folder_with_nothing_measured_gives_an_empty_report(tmp_path):
    described = {"problem": {"name": "a:b", "settings": {}}, "training": {}}
    (tmp_path / "run.json").write_text(json.dumps(described))
    found = read_run(tmp_path)
    assert (found.curves, found.stages, found.trajectory) == ({}, (), None)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="holds no run"):
        read_status(tmp_path)


def test_without_a_plan_the_status_says_what_is_there(folder):
    part_of_another = folder / "measured" / "calibration" / "first"
    part_of_another.mkdir(parents=True)
    (part_of_another / "settings.json").write_text("{}")
    assert [str(part) for part in read_status(folder)] == [
        "training: 0 checkpoints",
        "measure metrics: 6 checkpoints",
        "record outputs: 6 checkpoints",
        "record references: 1 checkpoint",
        "sample chains: 6 checkpoints",
    ]


# Refined learning coefficients -------------------------------------------------------------------


def refine(folder, weights="", data="", level=1.0, steps=STEPS):
    """Chains of some weights, or on other data, whose excess is a level without noise."""
    name = "-".join(filter(None, ("sample_chains", weights, data)))
    for step in steps:
        losses, blocks = np.full((2, 40), 2.0 + level), np.full((2, 4, 2), 2.0 + level)
        pairs = losses, np.full((2, 40), 2.0), blocks, np.full((2, 4, 2), 2.0)
        chains = Chains(step, *pairs, 10.0, 1e-3, 1.0, 10)
        save_record(chains, folder / "measured" / name / f"{step:08d}.npz")
    described = {"settings": {"weights": weights, "data": data}, "device": "cpu"}
    (folder / "measured" / name).mkdir(exist_ok=True)
    (folder / "measured" / name / "settings.json").write_text(json.dumps(described))


def test_refined_coefficients_are_curves_by_component(folder):
    refine(folder, "head.1.1", level=0.5)
    refine(folder, "mlp.1", level=0.25, steps=STEPS[::2])
    refine(folder, data="large_inputs", level=2.0)
    refine(folder, "head.1.1", "large_inputs", level=1.0)
    refine(folder, "mlp.2", steps=[])  # asked for, and nothing measured yet
    found = read_run(folder)
    own, other = (found.curves[f"llc_by_component{on}"] for on in ("", "_on_large_inputs"))
    assert own.items == ("head.1.1", "mlp.1")
    np.testing.assert_allclose(own.values[:, 0], 5.0)
    np.testing.assert_allclose(own.values[::2, 1], 2.5)
    assert np.isnan(own.values[1::2, 1]).all()
    assert own.steps.tolist() == other.steps.tolist() == STEPS
    assert sorted(other.items) == ["all", "head.1.1"]
    by_item = dict(zip(other.items, other.values.T, strict=True))
    np.testing.assert_allclose(by_item["all"], 20.0)
    np.testing.assert_allclose(by_item["head.1.1"], 10.0)

    assert set(found.refined) == {
        "head.1.1",
        "mlp.1",
        "all on large_inputs",
        "head.1.1 on large_inputs",
    }
    assert [one.step for one in found.refined["mlp.1"]] == STEPS[::2]
    assert [one.step for one in found.diagnoses] == STEPS  # of all weights on the run's own data
    np.testing.assert_allclose(found.curves["llc"].values[:, 0], np.log1p(STEPS), atol=0.1)


def test_burn_in_is_left_out_of_refined_coefficients_too(folder):
    refine(folder, "mlp.1")
    path = folder / "measured" / "sample_chains-mlp.1" / "00000010.npz"
    whole = load_record(Chains, path)
    losses = whole.losses.copy()
    losses[:, 10:20] = 4.0
    save_record(replace(whole, losses=losses), path)
    refined = read_refined(folder / "measured")
    assert refined_curves(refined)["llc_by_component"].values[2, 0] > 10.1
    np.testing.assert_allclose(refined_curves(refined, 20)["llc_by_component"].values, 10.0)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"settings": 3}'])
def test_damaged_settings_of_a_refined_measurement_are_named(text, folder):
    refine(folder, "mlp.1")
    path = folder / "measured" / "sample_chains-mlp.1" / "settings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"sample_chains-mlp\.1.settings\.json") as refusal:
        read_refined(folder / "measured")
    assert len(str(refusal.value).splitlines()) == 1


# Tables ------------------------------------------------------------------------------------------


def test_tables_that_lack_a_quantity_leave_a_gap():
    tables = [
        Measurements(0, ("a", "a"), ("x", "y"), np.array([1.0, 2.0]), np.zeros(2)),
        Measurements(5, ("a", "b"), ("y", ""), np.array([3.0, 4.0]), np.zeros(2)),
    ]
    curves = gather_curves(tables)
    assert curves["a"].items == ("x", "y")
    np.testing.assert_array_equal(curves["a"].values, [[1, 2], [np.nan, 3]])
    np.testing.assert_array_equal(curves["b"].values, [[np.nan], [4]])


# Forms --------------------------------------------------------------------------------------------


def test_forms_come_with_their_distances_from_known_predictors():
    steps = np.arange(40) * 10
    along = (steps - 200) / 400
    path = np.minimum(along, 0)[:, None] * [1.0, 1, 0.2] - np.maximum(along, 0)[:, None] * [
        1,
        0.3,
        1,
    ]
    outputs = Outputs(steps, path @ np.random.default_rng(0).normal(size=(3, 12)))
    values = np.stack([outputs.values[20], outputs.values[0]])
    labels = np.arange(12)[:, None]
    references = References(("x",), labels, ("corner", "start"), values)
    weighed, distances = read_forms(references, essential_dynamics(outputs))
    best = max(range(len(weighed.forms)), key=lambda i: weighed.forms[i].score)
    assert abs(weighed.forms[best].step - 200) <= 10
    assert list(distances[best]) == ["corner", "start"]
    assert len(distances) == len(weighed.forms)


def test_too_few_checkpoints_or_directions_have_no_forms():
    assert read_forms(None, None) == (None, ())
    rows = np.random.default_rng(0).normal(size=(7, 20))
    assert read_forms(None, essential_dynamics(Outputs(np.arange(7), rows))) == (None, ())
    line = np.outer(np.arange(9.0), np.ones(20))
    assert read_forms(None, essential_dynamics(Outputs(np.arange(9), line))) == (None, ())
