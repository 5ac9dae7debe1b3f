"""Training is a function of its settings: interrupted or not, the same bytes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from ontogeny.problems import untrained
from ontogeny.problems.exact import quadratic
from ontogeny.records import Curve
from ontogeny.storage import load_record
from ontogeny.training import Descent, Training, checkpoint_steps, one_cycle, spread, train
from tests.examples import line

ROOT = Path(__file__).parent.parent
SHORT = Training(steps=40, batch_size=8, learning_rate=0.05, seed=1)


def test_the_papers_schedule_has_190_checkpoints():
    steps = checkpoint_steps(Training(steps=500_000)).tolist()
    assert len(steps) == 190
    assert steps[:13] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14]
    for step in (984, 1124, 1283, 1465, 4832, 5050, 40292, 126262, 318181, 499999):
        assert step in steps


@given(steps=st.integers(4, 10**6), log=st.integers(1, 300), linear=st.integers(1, 300))
def test_checkpoints_are_steps_of_the_run(steps, log, linear):
    found = checkpoint_steps(Training(steps, log_checkpoints=log, linear_checkpoints=linear))
    assert found[0] == 0
    assert found[-1] == steps - 1
    assert (np.diff(found) > 0).all()


@given(last=st.integers(1, 10**6), log=st.integers(1, 60), linear=st.integers(0, 60))
def test_a_spread_keeps_the_ends_and_invents_no_steps(last, log, linear):
    steps = np.unique(np.linspace(0, last, 200).astype(int))
    found = spread(steps, log, linear)
    assert set(found.tolist()) <= set(steps.tolist())
    assert {0, last} <= set(found.tolist())
    assert len(found) <= log + linear + 2


@pytest.mark.parametrize("steps", [10, 1000])
def test_the_triangle_is_torchs_one_cycle(steps):
    """The paper's settings of `OneCycleLR`: linear, peak half-way, both factors T/2 − 1."""
    peak, factor = 3e-3, steps / 2 - 1
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=peak,
        total_steps=steps,
        pct_start=0.5,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=factor,
        final_div_factor=factor,
    )
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        found = one_cycle(step, Training(steps, learning_rate=peak))
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12 * peak)
        optimizer.step()
        if step < steps - 1:
            scheduler.step()


def test_one_update_is_adams():
    """The first update of Adam moves every weight by the learning rate, against its gradient."""
    descent = Descent(line(), SHORT)
    before = [p.detach().clone() for p in descent.model.parameters()]
    descent.descend()
    expected = one_cycle(0, SHORT)
    for old, new in zip(before, descent.model.parameters(), strict=True):
        moved = (new.detach() - old).abs().max().item()
        assert moved == pytest.approx(expected, rel=1e-3)


def test_a_run_learns_and_keeps_what_it_should(tmp_path):
    run = train(line(), tmp_path, Training(steps=400, batch_size=64, learning_rate=0.05))
    assert list(run.checkpoints) == checkpoint_steps(Training(steps=400)).tolist()
    assert run.checkpoints[399]["weight"].item() == pytest.approx(2.0, abs=0.02)
    loss = load_record(Curve, tmp_path / "measured" / "training_loss.npz")
    # Noise of variance 0.01 is all that is left.
    assert loss.values[-1, 0] == pytest.approx(0.01, rel=0.3)
    assert not (tmp_path / "training.safetensors").exists()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def frozen():
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    return model


def normalized():
    return nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))


@pytest.mark.parametrize("model", [line().model, frozen, normalized])
def test_saved_and_restored_is_never_interrupted(model, tmp_path):
    problem = replace(line(), model=model)
    straight, halved = Descent(problem, SHORT), Descent(problem, SHORT)
    for _ in range(20):
        straight.descend()
        halved.descend()
    halved.save(tmp_path / "state")
    resumed = Descent(problem, SHORT)
    resumed.restore(tmp_path / "state")
    for _ in range(20):
        straight.descend()
        resumed.descend()
    found = resumed.model.state_dict()
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, found[name])
    assert torch.equal(straight.losses, resumed.losses)


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    program = (
        "import sys, pathlib\n"
        "import ontogeny.training as t\n"
        "from tests.examples import line\n"
        "t.SECONDS_BETWEEN_SAVES = 0.05\n"
        "t.train(line(), pathlib.Path(sys.argv[1]), t.Training(steps=3000, batch_size=8))\n"
    )
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    codes = []
    for attempt in range(3):
        killed = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment)
        state = tmp_path / "killed" / "training.safetensors"
        end = time.monotonic() + 60
        while not state.exists() and killed.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1 * attempt)
        killed.send_signal(signal.SIGKILL)
        codes.append(killed.wait())
    assert -signal.SIGKILL in codes
    for name in ("killed", "straight"):
        subprocess.run(
            [*command, str(tmp_path / name)], env=environment, check=True, capture_output=True
        )
    found, expected = contents(tmp_path / "killed"), contents(tmp_path / "straight")
    assert found == expected


def test_a_finished_run_is_left_alone(tmp_path):
    train(line(), tmp_path, SHORT)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    train(line(), tmp_path, SHORT)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_lost_checkpoint_is_made_again(tmp_path):
    train(line(), tmp_path, SHORT)
    expected = contents(tmp_path)
    (tmp_path / "checkpoints" / "00000010.safetensors").unlink()
    train(line(), tmp_path, SHORT)
    assert contents(tmp_path) == expected


def test_other_settings_are_refused_with_both_values(tmp_path):
    train(line(), tmp_path, SHORT)
    with pytest.raises(ValueError, match=r"made with training\.seed = 1, not 2"):
        train(line(), tmp_path, Training(steps=40, batch_size=8, learning_rate=0.05, seed=2))


def test_a_loss_that_explodes_is_named_and_nothing_is_lost(tmp_path):
    with pytest.raises(ValueError, match=r"the training loss became (inf|nan) at step \d+"):
        train(line(), tmp_path, Training(steps=40, batch_size=8, learning_rate=1e30))
    assert list((tmp_path / "checkpoints").glob("*.safetensors"))


@pytest.mark.parametrize("content", [b"nonsense", save({"weight": torch.zeros(1)})])
def test_damaged_state_is_named(content, tmp_path):
    (tmp_path / "training.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"training\.safetensors is damaged"):
        train(line(), tmp_path, SHORT)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 3}, "at least 4 steps"),
        ({"steps": 9, "batch_size": 0}, "batch_size must be at least 1"),
        ({"steps": 9, "learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"steps": 9, "seed": 2**70}, "seed must lie between 0 and"),
    ],
)
def test_impossible_settings_get_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Training(**settings)


def test_the_initial_weights_are_the_seeds(tmp_path):
    descent = Descent(line(), SHORT)
    for a, b in zip(
        descent.model.parameters(), untrained(line(), SHORT.seed).parameters(), strict=True
    ):
        assert torch.equal(a, b)


def test_plain_gradient_descent_is_its_equation(tmp_path):
    problem = quadratic([2.0, 6.0])
    descent = Descent(
        problem,
        Training(steps=9, batch_size=1, learning_rate=0.1, schedule="constant", optimizer="sgd"),
    )
    descent.model.load_state_dict({"weights": torch.tensor([1.0, 1.0]).double()})
    for _ in range(3):
        descent.descend()
    expected = [(1 - 0.1 * 2) ** 3, (1 - 0.1 * 6) ** 3]
    assert descent.model.weights.tolist() == pytest.approx(expected, rel=1e-14)
    descent.save(tmp_path / "state.safetensors")  # there are no moments
    again = Descent(problem, descent.training)
    again.restore(tmp_path / "state.safetensors")
    assert again.step == 3
    assert torch.equal(again.model.weights, descent.model.weights)
