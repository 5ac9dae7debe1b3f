"""From nothing to a report by the commands that users type, and back from every mishap."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ontogeny import cli, plans, presets, storage
from ontogeny.plans import Plan
from ontogeny.probes import (
    Curvature,
    FixedBatch,
    Metrics,
    Sampler,
    measure_curvature,
    measure_metrics,
    record_outputs,
    record_references,
    sample_chains,
)
from ontogeny.problems import regression
from ontogeny.records import Chains
from ontogeny.training import Training, checkpoint_steps


def tiny(preset, seed, device):
    """A plan that takes seconds."""
    training = Training(
        steps=40, batch_size=8, log_checkpoints=8, linear_checkpoints=8, seed=seed, device=device
    )
    steps = checkpoint_steps(training)
    batch = FixedBatch(examples=4)
    sampler = Sampler(chains=2, draws=20, burn_in=10, batch_size=8, block=10)
    return Plan(
        title="A tiny run",
        notes=(f"It was made by a test of the {preset} preset.",),
        prefix="T",
        problem=regression(d_model=8, d_mlp=8, n_heads=2),
        training=training,
        measurements=(
            (sample_chains, sampler, steps),
            (measure_metrics, Metrics(examples=8), steps),
            (measure_curvature, Curvature(examples=8, probes=2), steps[::6]),
            (record_outputs, batch, steps),
            (record_references, batch, steps[:1]),
        ),
    )


@pytest.fixture(autouse=True)
def _tiny_presets(monkeypatch):
    monkeypatch.setitem(presets.SYSTEMS, "regression", tiny)


def command(*words):
    """The exit status of a command."""
    try:
        cli.main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was carried out whole."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(presets.SYSTEMS, "regression", tiny)
        assert command("run", "regression", "--folder", folder) == 0
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_stages_stand_in_a_file_for_machines(finished):
    found = json.loads((finished / "stages.json").read_text())
    assert set(found) == {"milestones", "stages", "probes", "variations", "notes"}
    assert found["stages"][0]["start"] == 0
    assert found["stages"][-1]["end"] == 39
    expected = {"name", "start", "end", "type", "delta_loss", "delta_llc", "delta_llc_stderr"}
    expected |= {"type_probability", "delta_loss_stderr", "evidence", "formed", "arrival"}
    for stage in found["stages"]:
        assert set(stage) == expected
        assert stage["type"] in {"A", "B"}
    assert found["stages"][0]["name"] == "T1"


def test_stages_of_a_plain_table_without_torch(tmp_path):
    steps = np.unique(np.geomspace(1, 10_000, 60).astype(int))
    rows = [f"{step},{20 * np.sin(np.log1p(step))}" for step in steps]
    (tmp_path / "llc.csv").write_text("\n".join(["step,value", *rows]))
    words = ["stages", str(tmp_path / "llc.csv"), "--json", str(tmp_path / "out.json")]
    code = (
        f"import sys\nfrom ontogeny.cli import main; main({words!r})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [stage["type"] for stage in found["stages"]][-3:] == ["B", "A", "B"]
    turns = [np.log1p(one["step"]) for one in found["milestones"] if one["probability"] > 0.5]
    assert all(np.abs(np.cos(turn)) < 0.1 for turn in turns)


@pytest.mark.parametrize("command_word", ["stages", "forms", "validate"])
def test_where_json_cannot_be_written_is_said_first(command_word, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    absent = [] if command_word == "validate" else [tmp_path / "absent.csv"]
    for target in (tmp_path, "/proc/x.json", tmp_path / "file" / "x.json"):
        assert command(command_word, *absent, "--json", target) == 1
        error = " ".join(capsys.readouterr().err.split())
        assert error.startswith(f"ontogeny: cannot write to {target}: ")
        assert "partial" not in error


def test_a_missing_table_gets_the_same_sentence_from_both_commands(tmp_path, capsys):
    for word in ("stages", "forms"):
        assert command(word, tmp_path / "absent.csv", "--json", tmp_path / "new" / "x.json") == 1
        assert capsys.readouterr().err == f"ontogeny: {tmp_path / 'absent.csv'} is not a file\n"


def test_the_stages_of_a_bad_table_are_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "bad.csv").write_text("step,llc\n1,2\n")
    assert command("stages", tmp_path / "bad.csv") == 1
    error = capsys.readouterr().err
    assert "needs the columns step and value" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["llc", "loss", "icl_score", "hessian_trace", "training_loss"])
def test_every_curve_stands_in_a_file_for_machines(name, finished):
    with (finished / "curves" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"step", "value", "stderr"}
    assert all(np.isfinite(float(row["value"])) for row in rows)


def test_curves_with_items_name_them(finished):
    with (finished / "curves" / "llc_by_position.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows[:8]] == list("12345678")


def test_the_report_is_there_and_says_what_it_should(finished):
    page = (finished / "report.html").read_text()
    assert "A tiny run" in page
    assert "It was made by a test of the quick preset." in page
    assert "T1" in page


def test_brackets_in_titles_notes_and_paths_are_shown_as_they_are(finished, tmp_path, capfd):
    folder = tmp_path / "[bold]"
    shutil.copytree(finished, folder)
    described = json.loads((folder / "plan.json").read_text())
    described |= {"title": "A [red] run", "notes": ["See [1] and :x:."]}
    (folder / "plan.json").write_text(json.dumps(described))
    assert command("report", folder) == 0
    said = capfd.readouterr().out
    for text in ("A [red] run", "See [1] and :x:.", f"Report: {folder / 'report.html'}"):
        assert text in said


def test_the_same_command_again_changes_no_byte(finished):
    before = contents(finished)
    assert command("run", "regression", "--folder", finished) == 0
    assert contents(finished) == before


def test_the_parts_are_the_whole(finished, tmp_path, capfd):
    folder = tmp_path / "parts"
    assert command("train", "regression", "--folder", folder) == 0
    capfd.readouterr()
    assert command("status", folder) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "training: 14 of 14 checkpoints"
    assert said[1] == "sample chains: 0 of 14 checkpoints"
    assert command("report", folder) == 0
    assert "Not all is measured yet: sample chains: 0 of 14 checkpoints." in capfd.readouterr().out
    assert command("measure", folder) == 0
    assert command("report", folder) == 0
    found = {path.relative_to(folder): data for path, data in contents(folder).items()}
    whole = {path.relative_to(finished): data for path, data in contents(finished).items()}
    assert found == whole


# Other settings of the sampler, and refined learning coefficients ---------------------------------


@pytest.fixture
def trained(finished, tmp_path):
    """A run of which nothing is measured yet."""
    folder = tmp_path / "trained"
    folder.mkdir()
    for name in ("run.json", "plan.json"):
        shutil.copy(finished / name, folder)
    (folder / "checkpoints").symlink_to(finished / "checkpoints")
    return folder


def test_settings_of_the_sampler_are_told_in_the_shell(trained, monkeypatch):
    monkeypatch.setattr(plans, "measure_as_planned", lambda *_: None)
    before = storage.read_plan(trained)
    words = "--precision 2% --method rmsprop --draws 40 --batched 4 --momentum 0.5 --checkpoints 3"
    assert command("measure", trained, *words.split()) == 0
    changed, *others = storage.read_plan(trained)["measurements"]
    assert others == before["measurements"][1:]
    asked = {"precision": 0.02, "method": "rmsprop", "draws": 40, "batched": 4, "momentum": 0.5}
    assert changed["settings"] == before["measurements"][0]["settings"] | asked
    assert 2 <= len(changed["steps"]) <= 4
    assert command("measure", trained, "--precision", "0.05") == 0
    assert storage.read_plan(trained)["measurements"][0]["settings"]["precision"] == 0.05


def test_components_are_measured_alone_and_become_a_curve(trained, capfd):
    """On other data, with settings of their own, beside what the plan asks for already."""
    plan = storage.read_plan(trained)
    plan["measurements"] = plan["measurements"][:1]
    plan["measurements"][0]["steps"] = plan["measurements"][0]["steps"][:1]
    (trained / "plan.json").write_text(json.dumps(plan))
    words = ("--weights", "head.1.*", "--weights", "mlp.2", "--data", "large_inputs", "--nbeta", 1)
    assert command("measure", trained, *words) == 0
    names = [f"sample_chains-{part}-on-large_inputs" for part in ("head.1.1", "head.1.2", "mlp.2")]
    assert sorted(path.name for path in (trained / "measured").iterdir()) == [
        "sample_chains",
        *names,
    ]
    for name in names:
        found = storage.load_record(Chains, trained / "measured" / name / "00000000.npz")
        assert found.parameters == (2 * 8 * 8 + 16 if "mlp" in name else 4 * 8 * 4)
        assert found.nbeta == 1
    before = contents(trained / "measured")
    assert command("measure", trained, *words) == 0
    assert command("measure", trained) == 0
    assert contents(trained / "measured") == before

    assert command("report", trained) == 0
    with (trained / "curves" / "llc_by_component_on_large_inputs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == ["head.1.1", "head.1.2", "mlp.2"]
    assert {row["step"] for row in rows} == {"0"}
    assert all(np.isfinite(float(row["value"])) for row in rows)
    assert not (trained / "curves" / "llc_by_component.csv").exists()
    capfd.readouterr()
    assert command("status", trained) == 0
    assert "sample chains-mlp.2-on-large inputs: 1 of 1 checkpoint" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--draws 40", "was measured with draws = 20, not 40; give --again"),
        ("--precision 2%", "was measured with draws = 20, not 200; give --again"),
        ("--precision abc", "precision must be a share such as 2% or 0.02, not 'abc'"),
        ("--precision nan", "precision must be at least 0, not nan"),
        ("--draws 25", "draws (25) must be a multiple of block (10)"),
        ("--momentum 1", "momentum must be at least 0 and less than 1, not 1.0"),
        ("--groups 3", "chains (2) must be a multiple of groups (3)"),
        ("--weights tail", "no weights are called 'tail'; there are embedding, head.1.1"),
        ("--data small", "has no data set 'small'; there are large_inputs, large_tasks"),
        ("--checkpoints 0", "checkpoints must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_measured_gets_one_sentence_and_nothing_is_lost(
    words, sentence, finished, capfd
):
    before = contents(finished)
    assert command("measure", finished, *words.split()) == 1
    said = capfd.readouterr().err.strip()
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert contents(finished) == before


def test_a_method_that_does_not_exist_is_refused(finished, capfd):
    assert command("measure", finished, "--method", "hmc") != 0
    assert "hmc" in capfd.readouterr().err


# Mishaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("report", "nowhere"), "nowhere holds no run"),
        (("status", "nowhere"), "nowhere holds no run"),
        (("measure", "nowhere"), "nowhere holds no run"),
        (("run", "regression", "--device", "abacus"), "cannot compute on the device 'abacus'"),
        (("run", "regression", "--precision", "high"), "precision must be a share such as 2%"),
    ],
)
def test_bad_input_gets_one_sentence(words, sentence, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 1
    said = capfd.readouterr().err.strip()
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_unknown_options_are_refused(capfd):
    assert command("run", "regression", "--present", "quick") != 0
    assert "--present" in capfd.readouterr().err


def test_a_folder_of_another_run_is_refused(finished, capfd):
    before = contents(finished)
    assert command("run", "regression", "--seed", 7, "--folder", finished) == 1
    assert "made with training.seed = 0, not 7" in capfd.readouterr().err
    assert contents(finished) == before


def test_a_full_disk_gets_one_sentence_and_loses_nothing(finished, monkeypatch, capfd):
    before = contents(finished)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", fail)
    assert command("report", finished) == 1
    said = capfd.readouterr().err.strip()
    assert "No space left on device" in said
    assert len(said.splitlines()) == 1
    assert contents(finished) == before


@pytest.mark.parametrize("cut", [0, 100])
def test_a_damaged_measurement_is_named(cut, finished, tmp_path, capfd):
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(finished), str(folder)], check=True)
    path = folder / "measured" / "sample_chains" / "00000000.npz"
    path.write_bytes(path.read_bytes()[:cut])
    assert command("report", folder) == 1
    assert "00000000.npz is not a whole record" in capfd.readouterr().err


def test_a_foreign_checkpoint_is_named_and_the_rest_is_reported(finished, tmp_path, capfd):
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(finished), str(folder)], check=True)
    for measured in (folder / "measured").glob("*/"):
        subprocess.run(["rm", "-r", str(measured)], check=True)
    (folder / "report.html").unlink()
    checkpoints = folder / "checkpoints"
    (checkpoints / "00000004.safetensors").write_bytes(b"no checkpoint")
    save_file({"weight": torch.zeros(2)}, checkpoints / "00000005.safetensors")
    assert command("run", "regression", "--folder", folder) == 1
    said = capfd.readouterr().err
    assert "sample_chains failed at 2 of 14 checkpoints, first at step 4" in said
    assert "00000004.safetensors is not a whole checkpoint" in said
    failed = (folder / "measured" / "sample_chains" / "00000005.failed").read_text()
    assert "do not fit the problem's network" in failed
    assert (folder / "report.html").exists()


def test_help_is_instant_because_nothing_heavy_is_imported():
    program = (
        "import sys\n"
        "from ontogeny.cli import app\n"
        "app(['--help'])\n"
        "heavy = {'torch', 'plotly', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(bool(heavy))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


# Plain files --------------------------------------------------------------------------------------


def table_of(path, folder, name="scores.csv"):
    rows = np.column_stack([100 * np.arange(1, len(path) + 1), path])
    header = ",".join(["step", *(f"pc{k + 1}" for k in range(path.shape[1]))])
    np.savetxt(folder / name, rows, delimiter=",", header=header, comments="", fmt="%.9g")
    return folder / name


def corner(count=120, components=3):
    """Straight to the middle, and back another way."""
    along = np.arange(count) - count / 2
    path = np.minimum(along, 0)[:, None] * [1.0, 1.0, 0.2]
    path += np.maximum(along, 0)[:, None] * [-1.0, -0.3, -1.0]
    path += 0.1 * np.random.default_rng(0).normal(size=path.shape)
    return path[:, :components]


def test_forms_of_a_table_become_json_or_a_table(tmp_path, capfd):
    table = table_of(corner(), tmp_path)
    assert command("forms", table, "--json", tmp_path / "forms.json") == 0
    found = json.loads((tmp_path / "forms.json").read_text())
    best = max(found["forms"], key=lambda form: form["score"])
    assert abs(best["step"] - 6_000) <= 300
    assert best["low"] <= best["step"] <= best["high"]
    assert len(best["point"]) == 3
    assert best["p_value"] <= 0.01
    assert found["warnings"] == []
    assert command("forms", table) == 0
    assert f"{best['step']:,}" in capfd.readouterr().out


def test_forms_in_one_plane_say_what_that_means(tmp_path, capfd):
    table = table_of(corner(components=2), tmp_path)
    assert command("forms", table, "--json", tmp_path / "forms.json") == 0
    assert "make one plane" in capfd.readouterr().out
    assert "make one plane" in json.loads((tmp_path / "forms.json").read_text())["warnings"][0]


def test_a_straight_path_has_no_form(tmp_path, capfd):
    line = np.outer(np.arange(50), [1.0, 2.0, 3.0])
    assert command("forms", table_of(line, tmp_path), "--json", tmp_path / "none.json") == 0
    assert "No form" in capfd.readouterr().out
    assert json.loads((tmp_path / "none.json").read_text())["forms"] == []


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (corner(7), "forms need 8 checkpoints or more, not 7"),
        (corner(components=1), "there is no pc2 in: step, pc1"),
        (corner() * [1, 0, 1], "the path does not move along component 2"),
    ],
)
def test_tables_that_have_no_forms_to_find_get_one_sentence(path, sentence, tmp_path, capfd):
    assert command("forms", table_of(path, tmp_path)) == 1
    assert sentence in " ".join(capfd.readouterr().err.split())


def test_forms_of_a_run_stand_in_a_file_for_machines(finished):
    found = json.loads((finished / "forms.json").read_text())
    assert len(found["distances"]) == len(found["forms"])
    assert found["null"]["surrogates"] == 999


@pytest.mark.parametrize(
    ("system", "option", "owner"),
    [("regression", "corpus", "language"), ("linear", "start", "superposition")],
)
def test_what_is_of_another_system_is_refused(system, option, owner, capsys, tmp_path):
    words = ["run", system, "--folder", tmp_path / "run", f"--{option}", "4"]
    assert command(*words) == 1
    assert f"--{option} is for {owner}, not for {system}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_start_reaches_the_plan_and_the_folder(monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr("ontogeny.plans.train_as_planned", lambda *given: begun.append(given))
    assert command("train", "superposition", "--start", "5+") == 0
    ((plan, folder),) = begun
    assert plan.problem.settings["start"] == "5+"
    assert folder.name == "superposition-quick-from-5+-seed0"


def test_mixed_precision_reaches_the_plan(monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr("ontogeny.plans.train_as_planned", lambda *given: begun.append(given))
    assert command("train", "linear", "--mixed-precision", "--folder", tmp_path / "run") == 0
    ((plan, _),) = begun
    assert plan.training.mixed_precision


def test_an_empty_text_is_refused(capsys):
    assert command("train", "language", "--preset", "standard", "--corpus", "") == 1
    assert "--corpus must not be empty" in capsys.readouterr().err


def test_a_text_reaches_the_plan(monkeypatch, tmp_path):
    texts = []

    def planned(size, seed, device, **text):
        texts.append((size, text))
        return tiny(size, seed, device)

    monkeypatch.setitem(presets.SYSTEMS, "language", planned)
    words = ["--folder", tmp_path / "run", "--corpus", "a.txt", "--d-vocab", 300]
    assert command("train", "language", "--preset", "paper", *words) == 0
    assert texts == [("paper", {"corpus": "a.txt", "d_vocab": 300})]


def test_runs_of_one_problem_go_onto_one_page(finished, tmp_path, capfd):
    shutil.copytree(finished, tmp_path / "again")
    page = tmp_path / "pages" / "joint.html"
    assert command("joint", finished, tmp_path / "again", "--html", page) == 0
    assert "2 runs in one space" in page.read_text()
    assert f"Page: {page}" in capfd.readouterr().out
    assert command("joint", finished, tmp_path, "--html", page) == 1
    assert "holds no run with recorded outputs" in capfd.readouterr().err
