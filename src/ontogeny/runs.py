"""A run: a problem and its checkpoints, on disk, and the one loop over checkpoints.

```
FOLDER/run.json                       what this run is
FOLDER/checkpoints/STEP.safetensors   weights after the update of that step
FOLDER/measured/PROBE/settings.json   what a probe was asked
FOLDER/measured/PROBE/STEP.npz        what it answered, one record for each checkpoint
FOLDER/measured/PROBE/STEP.failed     the traceback, where it could not answer
```
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any, SupportsInt

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ontogeny.problems.problem import (
    Problem,
    StateDict,
    find,
    identity,
    load_problem,
    on_data,
)
from ontogeny.progress import progress
from ontogeny.storage import (
    claim,
    file_of,
    load_key,
    load_record,
    read_json,
    remove_leftovers,
    save_record,
    steps_in,
    whole_file,
)
from ontogeny.workers import check_device, hidden_main, threads, worker_pool

SCHEMA = 1

Probe = Callable[[Problem, int, StateDict, Any], Any]
Together = Callable[[Problem, Mapping[int, StateDict], Any], list[Any]]


class CheckpointFolder(Mapping[int, StateDict]):
    """The checkpoints in a folder, each read when it is asked for.

    Every file names the run that it belongs to by a hash of the run's description.
    """

    def __init__(self, folder: Path, run: str = "") -> None:
        self.folder = folder
        self.run = run

    def __getitem__(self, step: int) -> StateDict:
        path = file_of(self.folder, step, ".safetensors")
        if not path.exists():
            raise KeyError(step)
        try:
            with safe_open(path, "pt") as file:
                run = (file.metadata() or {}).get("run", self.run)
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole checkpoint ({error})") from None
        if run != self.run:
            raise ValueError(f"{path} is a checkpoint of another run")
        return state

    def __contains__(self, step: object) -> bool:
        return (
            isinstance(step, Integral) and file_of(self.folder, int(step), ".safetensors").exists()
        )

    def __iter__(self) -> Iterator[int]:
        return iter(steps_in(self.folder, ".safetensors"))

    def __len__(self) -> int:
        return len(steps_in(self.folder, ".safetensors"))

    def save(self, step: int, state: StateDict) -> None:
        """Keep the weights of a step, whole or not at all."""
        with whole_file(file_of(self.folder, step, ".safetensors")) as file:
            whole = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
            file.write(save(whole, metadata={"run": self.run}))


@dataclass(frozen=True, eq=False)
class Run:
    """A problem and its checkpoints.

    Attributes:
        problem: What is learned.
        folder: Where measurements are kept.
        checkpoints: Weights by training step: a dict, a `CheckpointFolder`, or any mapping.
    """

    problem: Problem
    folder: Path
    checkpoints: Mapping[int, StateDict]

    def measure(
        self,
        probe: Probe,
        steps: Iterable[SupportsInt],
        settings: Any,
        *,
        name: str | None = None,
        device: str = "cpu",
        executor: Executor | None = None,
    ) -> list[Any]:
        """Apply a probe to checkpoints: the one loop over them, resumed where it was left.

        A checkpoint whose answer is on disk, made from the same weights, data and settings, is
        not measured again. On the CPU every unit of work runs with one thread, as many side by
        side as there are cores, so the answers do not depend on how many there are. If the settings
        have a field `batched`, that many of the steps in a row are one unit of work.

        Args:
            probe: A function of problem, step, weights and settings that returns a record.
            steps: At which checkpoints.
            settings: The probe's settings, a dataclass of plain values.
            name: Name of the measurement, the probe's own by default; another name keeps another
                set of answers beside the first.
            device: Where to compute, such as `"cuda"`; on an accelerator one unit at a time.
            executor: Runs the units of work; by default one process for each core.

        Returns:
            The records, in the order of the steps.

        Raises:
            ValueError: The steps are not all there, or the folder holds answers to other settings.
            RuntimeError: Some checkpoints failed; the others are kept, tracebacks stand beside
                them.
        """
        name = name or probe.__name__
        return self.measure_each(
            probe, steps, {name: settings}, title=name, device=device, executor=executor
        )[name]

    def measure_each(
        self,
        probe: Probe,
        steps: Iterable[SupportsInt],
        settings: Mapping[str, Any],
        *,
        title: str,
        device: str = "cpu",
        executor: Executor | None = None,
    ) -> dict[str, list[Any]]:
        """`measure` with several settings at once, all their units of work side by side.

        Args:
            probe: As for `measure`.
            steps: At which checkpoints, the same for all settings.
            settings: The probe's settings by the name of the measurement, which may have a folder
                in it, as in `calibration/first`.
            title: What is being done, in a few words.
            device: As for `measure`.
            executor: As for `measure`.

        Returns:
            The records by the name of the measurement, in the order of the steps.
        """
        wanted = sorted({int(step) for step in steps})
        missing = [step for step in wanted if step not in self.checkpoints]
        if missing:
            raise ValueError(f"{self.folder} has no checkpoint at step {missing[0]}")
        check_device(device)
        kind = _signature(probe, "return")
        questions = {name: _ask(self, probe, one, name, device) for name, one in settings.items()}
        todo = [
            (question, unit)
            for question in questions.values()
            for unit in self._to_measure(question, wanted)
        ]
        if todo:
            total = len(wanted) * len(questions)
            done = total - sum(len(unit) for _, unit in todo)
            with progress(title.replace("_", " "), total, done) as advance:
                for steps_done in self._units(todo, executor):
                    advance(steps_done)
        for question in questions.values():
            _report_failures(question.folder, [s for one, u in todo if one is question for s in u])
        return {
            name: [load_record(kind, file_of(question.folder, step, ".npz")) for step in wanted]
            for name, question in questions.items()
        }

    def _to_measure(self, question: Question, wanted: Sequence[int]) -> list[Sequence[int]]:
        """The units of work that are not done, in a folder that is claimed for this question."""
        claim(question.folder / "settings.json", question.asked)
        remove_leftovers(question.folder)
        size = max(1, getattr(question.settings, "batched", 0))
        units = [wanted[i : i + size] for i in range(0, len(wanted), size)]
        done = {step for step in wanted if self._is_done(question, step)}
        return [unit for unit in units if not done.issuperset(unit)]

    def _is_done(self, question: Question, step: int) -> bool:
        path = file_of(question.folder, step, ".npz")
        if not path.exists():
            return False
        if load_key(path) != _key(question, self.checkpoints[step]):
            raise ValueError(
                f"{path} was measured on other weights than this run has at step {step}; "
                "delete it to measure again"
            )
        return True

    def _units(
        self, work: Sequence[tuple[Question, Sequence[int]]], executor: Executor | None
    ) -> Iterator[int]:
        """Do the units of work, yielding as each of them ends how many checkpoints it had."""
        asked = work[0][0].asked
        findable = is_findable(self.problem.name) and is_findable(asked["probe"])
        in_files = isinstance(self.checkpoints, CheckpointFolder)
        if asked["device"] != "cpu" or not (findable and in_files):
            for question, unit in work:
                measure_unit(self, question, unit)
                yield len(unit)
            return
        with nullcontext(executor) if executor else worker_pool() as pool:
            try:
                with hidden_main():
                    futures = {
                        pool.submit(
                            measure_elsewhere,
                            str(self.folder),
                            question.folder.relative_to(self.folder / "measured").as_posix(),
                            json.dumps(question.asked),
                            unit,
                        ): unit
                        for question, unit in work
                    }
                for future in as_completed(futures):
                    future.result()
                    yield len(futures[future])
            except BrokenProcessPool:
                raise RuntimeError(
                    "a worker process was killed, perhaps for want of memory; what was measured "
                    "is kept, start the same command again to go on"
                ) from None


def create_run(problem: Problem, folder: Path, training: Mapping[str, Any]) -> Run:
    """Claim a folder for a run, or come back to it.

    Args:
        problem: What is learned.
        folder: Where the run lives; made if it is missing.
        training: The training settings, as plain JSON values.

    Raises:
        ValueError: The folder belongs to another run; both values of what differs are named.
    """
    description = {"schema": SCHEMA, "problem": identity(problem), "training": dict(training)}
    claim(folder / "run.json", description)
    return _run(problem, folder, description)


def open_run(folder: Path) -> Run:
    """Come back to a run that was made before.

    Raises:
        ValueError: There is no run in the folder, or its problem cannot be made.
    """
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder} holds no run: it has no run.json")
    description = read_json(path)
    try:
        problem = load_problem(description["problem"]["name"], description["problem"]["settings"])
    except (KeyError, TypeError):
        raise ValueError(f"{path} does not say what the run's problem is") from None
    if identity(problem) != description["problem"]:
        raise ValueError(f"{path} was made from other data than {problem.name} now draws")
    return _run(problem, folder, description)


def _run(problem: Problem, folder: Path, description: Mapping[str, Any]) -> Run:
    text = json.dumps(description, sort_keys=True)
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return Run(problem, folder, CheckpointFolder(folder / "checkpoints", name))


# Units of work: a question and a checkpoint -------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of checkpoints.

    Attributes:
        probe: The function that answers.
        settings: Its settings.
        asked: Problem, probe, settings and device as plain JSON: all but the weights that an
            answer depends on.
        folder: Where the answers are kept.
    """

    probe: Probe
    settings: Any
    asked: Mapping[str, Any]
    folder: Path


def _ask(run: Run, probe: Probe, settings: Any, name: str, device: str) -> Question:
    asked = {
        "schema": SCHEMA,
        "problem": identity(on_data(run.problem, getattr(settings, "data", ""))),
        "probe": address_of(probe),
        "settings": asdict(settings),
        "device": device,
    }
    return Question(probe, settings, asked, run.folder / "measured" / name)


def address_of(function: Callable[..., Any]) -> str:
    """Where another process finds a function: `module:name`."""
    return f"{function.__module__}:{function.__qualname__}"


def is_findable(address: str) -> bool:
    """Whether another process finds what is at an address: not so in a notebook or a closure."""
    module, _, name = address.partition(":")
    return module != "__main__" and hasattr(sys.modules.get(module), name)


def settings_of(probe: Probe) -> type[Any]:
    """The class of a probe's settings, as its signature says."""
    return _signature(probe, "settings")


def _signature(probe: Probe, name: str) -> type[Any]:
    kind = typing.get_type_hints(probe).get(name)
    if not isinstance(kind, type):
        what = "record it returns" if name == "return" else "settings it takes"
        raise ValueError(f"the probe {probe.__name__} must say in its signature which {what}")
    return kind


def _key(question: Question, state: StateDict) -> str:
    """Hash of everything that an answer depends on."""
    text = json.dumps(question.asked, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def answers_for(probe: Probe) -> Callable[[Together], Together]:
    """Mark a function as what answers for a probe at several checkpoints in one computation.

    It takes the problem, the weights by step and the settings, and returns the records in the order
    of the steps. It is asked where the settings' field `batched` is not 0.
    """

    def mark(together: Together) -> Together:
        setattr(probe, "together", together)  # noqa: B010, a function has no such attribute to mypy
        return together

    return mark


def measure_unit(run: Run, question: Question, steps: Sequence[int]) -> None:
    """Measure some checkpoints and keep the answers, or the traceback if there are none.

    A checkpoint that cannot be read does not keep the others from being measured.
    """
    states: dict[int, StateDict] = {}
    for step in steps:
        with keeping_tracebacks(question, [step]):
            states[step] = run.checkpoints[step]
    with keeping_tracebacks(question, list(states)), threads(1):
        records = _answers(run.problem, question, states) if states else []
        for (step, state), record in zip(states.items(), records, strict=True):
            save_record(record, file_of(question.folder, step, ".npz"), _key(question, state))
            file_of(question.folder, step, ".failed").unlink(missing_ok=True)


@contextmanager
def keeping_tracebacks(question: Question, steps: Sequence[int]) -> Iterator[None]:
    """Write the traceback of whatever goes wrong beside the steps' answers; a full disk passes."""
    try:
        yield
    except OSError:
        raise
    except Exception:
        for step in steps:
            with whole_file(file_of(question.folder, step, ".failed")) as file:
                file.write(traceback.format_exc().encode())


def _answers(problem: Problem, question: Question, states: Mapping[int, StateDict]) -> list[Any]:
    device, probe, settings = question.asked["device"], question.probe, question.settings
    moved = {
        step: {name: tensor.to(device) for name, tensor in state.items()}
        for step, state in states.items()
    }
    if not getattr(settings, "batched", 0):
        return [probe(problem, step, state, settings) for step, state in moved.items()]
    together: Together = getattr(probe, "together")  # noqa: B009, as in `answers_for`
    return together(problem, moved, settings)


def measure_elsewhere(folder: str, name: str, question: str, steps: Sequence[int]) -> None:
    """`measure_unit` in another process, which gets strings and numbers only."""
    run, asked = _opened(folder), json.loads(question)
    probe = find(asked["probe"])
    settings = settings_of(probe)(**asked["settings"])
    measure_unit(run, Question(probe, settings, asked, run.folder / "measured" / name), steps)


@lru_cache(maxsize=1)
def _opened(folder: str) -> Run:
    return open_run(Path(folder))


def _report_failures(folder: Path, steps: Sequence[int]) -> None:
    failed = [step for step in steps if file_of(folder, step, ".failed").exists()]
    if failed:
        path = file_of(folder, failed[0], ".failed")
        reason = path.read_text().strip().splitlines()[-1]
        raise RuntimeError(
            f"{folder.name} failed at {len(failed)} of {len(steps)} checkpoints, first at step "
            f"{failed[0]}: {reason} (traceback in {path})"
        )
