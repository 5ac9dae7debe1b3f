"""The one loop over checkpoints: nothing twice, nothing lost, nothing from other weights."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ontogeny.probes import Sampler, sample_chains
from ontogeny.problems import Problem, StateDict
from ontogeny.records import Measurements, axes_of
from ontogeny.runs import CheckpointFolder, Run, answers_for, create_run, open_run
from ontogeny.storage import file_of
from tests.examples import Asking, line, weight_times

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path):
    run = create_run(line(), tmp_path / "run", {"steps": 5})
    for step in range(5):
        run.checkpoints.save(
            step, {"weight": torch.tensor([[float(step)]]), "bias": torch.zeros(1)}
        )
    return run


def measure(run, *arguments, **options):
    """Measure in a thread: no time goes into starting processes."""
    with ThreadPoolExecutor(1) as executor:
        return run.measure(*arguments, executor=executor, **options)


def values(records):
    return [record.values[0] for record in records]


def test_answers_come_in_the_order_of_steps_and_are_computed_with_one_thread(run):
    assert values(measure(run, weight_times, [3, 1], Asking(factor=2.0))) == [102, 106]


def test_what_is_measured_is_not_measured_again(run, tmp_path):
    asking = Asking(log=str(tmp_path / "log"))
    measure(run, weight_times, [0, 1], asking)
    measure(run, weight_times, [0, 1, 2], asking)
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2"]


def test_other_processes_and_this_one_give_the_same_bytes(run, tmp_path):
    by_default = run.folder / "measured" / "weight_times"
    run.measure(weight_times, range(5), Asking())
    closure = Run(line(), tmp_path / "here", dict(run.checkpoints))
    closure.measure(weight_times, range(5), Asking())
    for step in range(5):
        here = file_of(tmp_path / "here" / "measured" / "weight_times", step, ".npz")
        assert here.read_bytes() == file_of(by_default, step, ".npz").read_bytes()


def test_answers_from_other_weights_are_refused(run):
    measure(run, weight_times, [1], Asking())
    run.checkpoints.save(1, {"weight": torch.tensor([[9.0]]), "bias": torch.zeros(1)})
    with pytest.raises(ValueError, match="measured on other weights than this run has at step 1"):
        measure(run, weight_times, [1], Asking())


def test_other_settings_are_refused_with_both_values(run):
    measure(run, weight_times, [1], Asking())
    with pytest.raises(ValueError, match=r"made with settings\.factor = 1\.0, not 3\.0"):
        measure(run, weight_times, [1], Asking(factor=3.0))


def test_another_name_keeps_another_answer(run):
    measure(run, weight_times, [1], Asking())
    assert values(measure(run, weight_times, [1], Asking(factor=3.0), name="triple")) == [103]


def test_a_failure_keeps_the_others_and_its_traceback(run):
    with pytest.raises(RuntimeError, match=r"failed at 1 of 3 checkpoints, first at step 1: Arith"):
        measure(run, weight_times, [0, 1, 2], Asking(fail_at=1))
    folder = run.folder / "measured" / "weight_times"
    assert file_of(folder, 0, ".npz").exists()
    assert file_of(folder, 2, ".npz").exists()
    assert "in weight_times" in file_of(folder, 1, ".failed").read_text()


def test_a_probe_of_a_notebook_is_measured_in_this_process(run):
    def bias(problem: Problem, step: int, state: StateDict, settings: Asking) -> Measurements:
        value = settings.factor * state["bias"]
        return Measurements(step, ("bias",), ("",), value.numpy(), np.array([np.nan]))

    assert values(run.measure(bias, [0, 1], Asking())) == [0, 0]


def test_a_step_without_checkpoint_is_named(run):
    with pytest.raises(ValueError, match="no checkpoint at step 7"):
        measure(run, weight_times, [1, 7], Asking())


def test_a_truncated_checkpoint_is_named(run):
    path = file_of(run.folder / "checkpoints", 2, ".safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RuntimeError, match=r"00000002\.safetensors is not a whole checkpoint"):
        measure(run, weight_times, [2], Asking())


def test_a_checkpoint_of_another_run_is_named(run, tmp_path):
    other = create_run(line(), tmp_path / "other", {"steps": 6})
    other.checkpoints.save(2, run.checkpoints[2])
    path = file_of(other.folder / "checkpoints", 2, ".safetensors")
    path.rename(file_of(run.folder / "checkpoints", 2, ".safetensors"))
    with pytest.raises(RuntimeError, match=r"00000002\.safetensors is a checkpoint of another run"):
        measure(run, weight_times, [2], Asking())


def test_a_folder_of_another_problem_is_refused(run):
    with pytest.raises(ValueError, match=r"problem\.settings\.slope = 2\.0, not 3\.0"):
        create_run(line(slope=3.0), run.folder, {"steps": 5})


def test_a_run_is_opened_from_its_folder_alone(run):
    found = open_run(run.folder)
    assert found.problem.settings == {"slope": 2.0}
    assert list(found.checkpoints) == [0, 1, 2, 3, 4]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run: it has no run\.json"):
        open_run(tmp_path)


def test_a_missing_checkpoint_is_a_key_error(run):
    with pytest.raises(KeyError):
        run.checkpoints[99]
    assert len(run.checkpoints) == 5


def test_weights_survive_the_disk(tmp_path):
    folder = CheckpointFolder(tmp_path)
    state = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(1, dtype=torch.int64)}
    folder.save(3, state)
    for name, tensor in folder[3].items():
        assert torch.equal(tensor, state[name])


def test_workers_end_when_their_parent_is_killed(run):
    """The parent alone is killed; the same script then measures what was missing.

    The script has no `if __name__ == "__main__":`, and needs none.
    """
    program = (
        "from pathlib import Path\n"
        "from ontogeny.runs import open_run\n"
        "from tests.examples import Asking, weight_times\n"
        f"run = open_run(Path({str(run.folder)!r}))\n"
        "run.measure(weight_times, range(5), Asking(seconds=0.7))\n"
    )
    script = run.folder / "script.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    killed = subprocess.Popen(command, env=environment, start_new_session=True)
    folder = run.folder / "measured" / "weight_times"
    wait_for(lambda: any(folder.glob("*.npz")))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_for(lambda: not processes_of_session(killed.pid))
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert len(list(folder.glob("*.npz"))) == 5
    assert json.loads((folder / "settings.json").read_text())["settings"]["seconds"] == 0.7
    assert not list(folder.glob("*.partial"))


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def processes_of_session(session):
    """Living processes that were started by a process that led a session of its own."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                alive.append(int(entry.name))
    return alive


def test_tensors_without_axes_are_part_of_the_weights(run):
    for step in (0, 1):
        state = {"weight": torch.ones(1, 1), "temperature": torch.tensor(float(step))}
        run.checkpoints.save(step, state)
    measure(run, weight_times, [0], Asking())
    run.checkpoints.save(0, run.checkpoints[1])
    with pytest.raises(ValueError, match="on other weights"):
        measure(run, weight_times, [0], Asking())


def test_nan_is_a_value_like_any_other(run):
    found = measure(run, weight_times, [0], Asking(factor=float("nan")), name="nan")
    assert np.isnan(found[0].values[0])


# Several checkpoints in one unit of work ----------------------------------------------------------


@dataclass(frozen=True)
class Batched:
    """Settings of the probe below."""

    batched: int = 2
    log: str = ""
    fail_at: int = -1


def weight_alone(problem: Problem, step: int, state: StateDict, settings: Batched) -> Measurements:
    raise AssertionError("its checkpoints are measured together")


@answers_for(weight_alone)
def weights_together(
    problem: Problem, states: Mapping[int, StateDict], settings: Batched
) -> list[Measurements]:
    with Path(settings.log).open("a") as file:
        file.write(" ".join(map(str, states)) + "\n")
    if settings.fail_at in states:
        raise ArithmeticError(f"cannot measure step {settings.fail_at}")
    return [
        Measurements(step, ("weight",), ("",), state["weight"].numpy()[0], np.array([np.nan]))
        for step, state in states.items()
    ]


def units_in(log):
    """Which checkpoints were measured together; forgotten once it is read."""
    units = sorted(log.read_text().splitlines()) if log.exists() else []
    log.unlink(missing_ok=True)
    return units


def answers_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npz"))}


def test_chains_of_checkpoints_that_share_a_computation_are_those_of_the_loop(run):
    sampler = Sampler(
        step_size=1e-3, nbeta=10.0, localization=1.0, chains=2, draws=20, burn_in=10, block=10,
        batch_size=4, groups=2,
    )  # fmt: skip
    loop = measure(run, sample_chains, range(5), sampler)
    batched = replace(sampler, batched=2)
    together = measure(run, sample_chains, range(5), batched, name="together")
    for one, other in zip(together, loop, strict=True):
        assert one.step == other.step
        for name in axes_of(type(one)):
            found, expected = getattr(one, name), getattr(other, name)
            assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)  # single precision
    folder = run.folder / "measured" / "together"
    before = answers_in(folder)
    file_of(folder, 2, ".npz").unlink()
    measure(run, sample_chains, range(5), batched, name="together")
    assert answers_in(folder) == before


def test_who_shares_a_computation_does_not_depend_on_what_is_missing(run, tmp_path):
    log = tmp_path / "log"
    asking, folder = Batched(log=str(log)), run.folder / "measured" / "weight_alone"
    assert values(measure(run, weight_alone, range(5), asking)) == [0, 1, 2, 3, 4]
    assert units_in(log) == ["0 1", "2 3", "4"]
    before = answers_in(folder)
    measure(run, weight_alone, range(5), asking)
    assert units_in(log) == []
    for lost, again in [((1,), ["0 1"]), ((2, 3), ["2 3"]), ((3, 4), ["2 3", "4"])]:
        for step in lost:
            file_of(folder, step, ".npz").unlink()
        measure(run, weight_alone, range(5), asking)
        assert units_in(log) == again
        assert answers_in(folder) == before


def test_a_damaged_checkpoint_does_not_keep_its_neighbours_from_being_measured(run, tmp_path):
    asking, folder = Batched(log=str(tmp_path / "log")), run.folder / "measured" / "weight_alone"
    path = file_of(run.folder / "checkpoints", 3, ".safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(RuntimeError, match="first at step 3: Value"):
        measure(run, weight_alone, range(5), asking)
    assert sorted(answers_in(folder)) == [f"{step:08d}.npz" for step in (0, 1, 2, 4)]
    assert "is not a whole checkpoint" in file_of(folder, 3, ".failed").read_text()
    path.write_bytes(whole)
    assert values(measure(run, weight_alone, range(5), asking)) == [0, 1, 2, 3, 4]
    assert not list(folder.glob("*.failed"))


def test_a_failure_is_that_of_all_who_share_the_computation(run, tmp_path):
    asking = Batched(log=str(tmp_path / "log"), fail_at=3)
    with pytest.raises(RuntimeError, match="failed at 2 of 5 checkpoints, first at step 2: Arith"):
        measure(run, weight_alone, range(5), asking)
    folder = run.folder / "measured" / "weight_alone"
    assert sorted(answers_in(folder)) == [f"{step:08d}.npz" for step in (0, 1, 4)]
    for step in (2, 3):
        assert "in weights_together" in file_of(folder, step, ".failed").read_text()


def test_an_answer_from_other_weights_is_not_replaced_beside_one_that_is_missing(run, tmp_path):
    asking, folder = Batched(log=str(tmp_path / "log")), run.folder / "measured" / "weight_alone"
    measure(run, weight_alone, range(5), asking)
    run.checkpoints.save(3, {"weight": torch.tensor([[9.0]]), "bias": torch.zeros(1)})
    file_of(folder, 2, ".npz").unlink()
    before = answers_in(folder)
    with pytest.raises(ValueError, match="measured on other weights than this run has at step 3"):
        measure(run, weight_alone, range(5), asking)
    assert answers_in(folder) == before


def test_without_a_batch_the_probe_itself_is_asked(run, tmp_path):
    with pytest.raises(RuntimeError, match="AssertionError: its checkpoints are measured together"):
        measure(run, weight_alone, [0], Batched(batched=0, log=str(tmp_path / "log")))


def test_the_data_that_chains_lived_on_are_part_of_what_was_asked(tmp_path):
    """The problem's own data stay the same, those of the other set do not."""
    states = {0: line().model().state_dict()}
    sampler = Sampler(chains=1, draws=10, burn_in=0, block=10, batch_size=2, data="larger")
    for scale in (3.0, 3.0, 4.0):

        def larger(n, generator, scale=scale):
            return tuple(scale * part for part in line().batch(n, generator))

        run = Run(replace(line(), datasets={"larger": larger}), tmp_path, states)
        if scale == 4:
            with pytest.raises(ValueError, match=r"made with problem\.data = "):
                run.measure(sample_chains, [0], sampler)
        else:
            run.measure(sample_chains, [0], sampler)
