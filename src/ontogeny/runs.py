"""A run: a problem and its checkpoints, on disk, and the one loop over checkpoints.

```
FOLDER/run.json                       what this run is
FOLDER/checkpoints/STEP.safetensors   weights after the update of that step
FOLDER/measured/PROBE/settings.json   what a probe was asked
FOLDER/measured/PROBE/STEP.npz        what it answered, one record for each checkpoint
FOLDER/measured/PROBE/STEP.failed     the traceback, where it could not answer
```
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any, SupportsInt

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ontogeny.problems.problem import Problem, StateDict, identity, load_problem
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

SCHEMA = 1

Probe = Callable[[Problem, int, StateDict, Any], Any]


class CheckpointFolder(Mapping[int, StateDict]):
    """The checkpoints in a folder, each read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, step: int) -> StateDict:
        path = file_of(self.folder, step, ".safetensors")
        if not path.exists():
            raise KeyError(step)
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole checkpoint ({error})") from None

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
            file.write(save({name: tensor.contiguous() for name, tensor in state.items()}))


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
        side as there are cores, so the answers do not depend on how many there are.

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
        wanted = sorted({int(step) for step in steps})
        missing = [step for step in wanted if step not in self.checkpoints]
        if missing:
            raise ValueError(f"{self.folder} has no checkpoint at step {missing[0]}")
        check_device(device)
        name = name or probe.__name__
        asked = _question(self.problem, probe, settings, device)
        folder = self.folder / "measured" / name
        claim(folder / "settings.json", asked)
        remove_leftovers(folder)
        todo = [step for step in wanted if not self._is_done(folder, step, asked)]
        if todo:
            done = len(wanted) - len(todo)
            with progress(name.replace("_", " "), len(wanted), done) as advance:
                for _ in self._units(probe, todo, settings, asked, folder, executor):
                    advance(1)
        self._report_failures(folder, todo)
        kind = _record_kind(probe)
        return [load_record(kind, file_of(folder, step, ".npz")) for step in wanted]

    def _is_done(self, folder: Path, step: int, asked: Mapping[str, Any]) -> bool:
        path = file_of(folder, step, ".npz")
        if not path.exists():
            return False
        if load_key(path) != _key(asked, self.checkpoints[step]):
            raise ValueError(
                f"{path} was measured on other weights than this run has at step {step}; "
                "delete it to measure again"
            )
        return True

    def _units(
        self,
        probe: Probe,
        steps: Sequence[int],
        settings: Any,
        asked: Mapping[str, Any],
        folder: Path,
        executor: Executor | None,
    ) -> Iterator[None]:
        """Do the units of work, yielding as each of them ends."""
        findable = is_findable(self.problem.name) and is_findable(asked["probe"])
        in_files = isinstance(self.checkpoints, CheckpointFolder)
        if asked["device"] != "cpu" or not (findable and in_files):
            for step in steps:
                measure_unit(self, probe, step, settings, asked, folder)
                yield
            return
        unit = (str(self.folder), address(probe), json.dumps(asked), folder.name)
        with nullcontext(executor) if executor else worker_pool() as pool:
            try:
                futures = [pool.submit(measure_elsewhere, *unit, step) for step in steps]
                for future in as_completed(futures):
                    future.result()
                    yield
            except BrokenProcessPool:
                raise RuntimeError(
                    "a worker process was killed, perhaps for want of memory; what was measured "
                    "is kept, start the same command again to go on"
                ) from None

    def _report_failures(self, folder: Path, steps: Sequence[int]) -> None:
        failed = [step for step in steps if file_of(folder, step, ".failed").exists()]
        if failed:
            path = file_of(folder, failed[0], ".failed")
            reason = path.read_text().strip().splitlines()[-1]
            raise RuntimeError(
                f"{folder.name} failed at {len(failed)} of {len(steps)} checkpoints, first at step "
                f"{failed[0]}: {reason} (traceback in {path})"
            )


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
    return Run(problem, folder, CheckpointFolder(folder / "checkpoints"))


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
        problem = load_problem(**{k: description["problem"][k] for k in ("name", "settings")})
    except KeyError as error:
        raise ValueError(f"{path} does not say what the run's problem is ({error})") from None
    if identity(problem) != description["problem"]:
        raise ValueError(f"{path} was made from other data than {problem.name} now draws")
    return Run(problem, folder, CheckpointFolder(folder / "checkpoints"))


# Units of work: a checkpoint and a probe, as strings and numbers ---------------------------------


def address(function: Callable[..., Any]) -> str:
    """Where another process finds a function: `module:name`."""
    return f"{function.__module__}:{function.__qualname__}"


def find(address: str) -> Probe:
    """The function at an address.

    Raises:
        ValueError: There is none.
    """
    module, _, name = address.partition(":")
    try:
        function: Probe = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no probe {address!r}: {error}") from None
    return function


def is_findable(address: str) -> bool:
    """Whether another process finds what is at an address: not so in a notebook or a closure."""
    module, _, name = address.partition(":")
    return module != "__main__" and hasattr(sys.modules.get(module), name)


def settings_of(probe: Probe) -> type[Any]:
    """The class of a probe's settings, as its signature says."""
    kind = probe.__annotations__["settings"]
    assert isinstance(kind, type), f"{probe.__name__} must say which settings it takes"
    return kind


def _question(problem: Problem, probe: Probe, settings: Any, device: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "problem": identity(problem),
        "probe": address(probe),
        "settings": asdict(settings),
        "device": device,
    }


def _key(asked: Mapping[str, Any], state: StateDict) -> str:
    """Hash of everything that an answer depends on."""
    digest = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _record_kind(probe: Probe) -> type:
    kind = probe.__annotations__["return"]
    assert isinstance(kind, type), f"{probe.__name__} must say which record it returns"
    return kind


def measure_unit(
    run: Run,
    probe: Probe,
    step: int,
    settings: Any,
    asked: Mapping[str, Any],
    folder: Path,
) -> None:
    """Measure one checkpoint and keep the answer, or the traceback if there is none."""
    failure = file_of(folder, step, ".failed")
    try:
        state = run.checkpoints[step]
        moved = {name: tensor.to(asked["device"]) for name, tensor in state.items()}
        with threads(1):
            record = probe(run.problem, step, moved, settings)
        save_record(record, file_of(folder, step, ".npz"), key=_key(asked, state))
        failure.unlink(missing_ok=True)
    except OSError:
        raise
    except Exception:
        with whole_file(failure) as file:
            file.write(traceback.format_exc().encode())


def measure_elsewhere(folder: str, probe: str, asked: str, name: str, step: int) -> None:
    """`measure_unit` in another process, which gets strings and numbers only."""
    found, question = find(probe), json.loads(asked)
    settings = settings_of(found)(**question["settings"])
    run = _opened(folder)
    measure_unit(run, found, step, settings, question, run.folder / "measured" / name)


@lru_cache(maxsize=1)
def _opened(folder: str) -> Run:
    return open_run(Path(folder))


def check_device(device: str) -> None:
    """Make sure that a device is there.

    Raises:
        ValueError: It is not.
    """
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"cannot compute on the device {device!r}: {reason}") from None


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Compute with n threads, because results on a CPU depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def worker_pool() -> Iterator[Executor]:
    """One process for each core; each computes with one thread, and ends if this one is killed."""
    workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)
    others = set(multiprocessing.active_children())
    with _hidden_main():
        for _ in range(workers):
            pool.submit(int)  # starts a process
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Start processes that do not run the user's script again: they need strings only.

    Otherwise every script would need `if __name__ == "__main__":`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _follow_parent() -> None:
    """Leave interrupts to the parent, and end when it is killed instead of waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
