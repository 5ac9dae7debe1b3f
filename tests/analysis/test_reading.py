"""Reading a run's folder concludes from what is there and names what is not."""

import json

import numpy as np
import pytest

from ontogeny.analysis import gather_curves, read_run, read_status
from ontogeny.records import Chains, Measurements, Outputs, References
from ontogeny.storage import save_record

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
        losses, blocks = 1 + excess.mean(axis=2), 1 + excess.reshape(3, 4, 10, 2).mean(axis=2)
        ones = np.ones_like
        chains = Chains(step, losses, ones(losses), blocks, ones(blocks), 10.0, 1e-3, 1.0, 10)
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
    (tmp_path / "measured" / "sample_chains" / "settings.json").write_text(json.dumps(settings))
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
    assert [str(part) for part in read_status(folder)] == [
        "training: 0 checkpoints",
        "measure metrics: 6 checkpoints",
        "record outputs: 6 checkpoints",
        "record references: 1 checkpoints",
        "sample chains: 6 checkpoints",
    ]


def test_tables_that_lack_a_quantity_leave_a_gap():
    tables = [
        Measurements(0, ("a", "a"), ("x", "y"), np.array([1.0, 2.0]), np.zeros(2)),
        Measurements(5, ("a", "b"), ("y", ""), np.array([3.0, 4.0]), np.zeros(2)),
    ]
    curves = gather_curves(tables)
    assert curves["a"].items == ("x", "y")
    np.testing.assert_array_equal(curves["a"].values, [[1, 2], [np.nan, 3]])
    np.testing.assert_array_equal(curves["b"].values, [[np.nan], [4]])
