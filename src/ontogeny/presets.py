"""Plans: what to train and what to measure at which steps, for each system in three sizes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int

import ontogeny
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
from ontogeny.probes.landscape import moving_weights, on_data
from ontogeny.problems import Problem, find, regression, untrained
from ontogeny.runs import Run, address_of, create_run, open_run, settings_of
from ontogeny.storage import differences, name_of, read_json, read_plan, whole_file
from ontogeny.training import Training, checkpoint_steps, spread, train
from ontogeny.workers import check_device, worker_pool

Size = Literal["quick", "standard", "paper"]
Measurement = tuple[Callable[..., Any], Any, Int[np.ndarray, " _"]]


@dataclass(frozen=True)
class Plan:
    """What to train and what to measure.

    Attributes:
        title: What the run is called.
        notes: What a reader of its report must know first.
        prefix: What its stages are called: the prefix and a number.
        problem: What is learned.
        training: How.
        measurements: Each probe, its settings, and the steps it is applied at.
    """

    title: str
    notes: tuple[str, ...]
    prefix: str
    problem: Problem
    training: Training
    measurements: tuple[Measurement, ...]


def train_as_planned(plan: Plan, folder: Path) -> Run:
    """Leave the plan beside the run, for `measure_as_planned` and for the report, and train.

    A plan that is there already stays as it is: it may have been changed by `plan_chains`.
    """
    check_device(plan.training.device)
    create_run(plan.problem, folder, asdict(plan.training))
    if not has_plan(folder):
        write_plan(folder, plan_as_json(plan))
    return train(plan.problem, folder, plan.training)


def has_plan(folder: Path) -> bool:
    """Whether there is a plan that can be read."""
    try:
        return read_plan(folder) is not None
    except ValueError:
        return False


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Leave a plan beside a run."""
    with whole_file(folder / "plan.json") as file:
        file.write((json.dumps(plan, indent=2) + "\n").encode())


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON, with the probes' addresses."""
    return {
        "title": plan.title,
        "made_with": {"ontogeny": ontogeny.__version__, "torch": torch.__version__},
        "notes": list(plan.notes),
        "prefix": plan.prefix,
        "checkpoints": checkpoint_steps(plan.training).tolist(),
        "measurements": [
            {"probe": address_of(probe), "settings": asdict(settings), "steps": steps.tolist()}
            for probe, settings, steps in plan.measurements
        ],
    }


def measure_as_planned(folder: Path, device: str = "cpu") -> None:
    """Measure whatever a run's plan asks for and is not measured yet.

    Raises:
        ValueError: There is no run, or no plan.
        RuntimeError: Some checkpoints could not be measured.
    """
    run = open_run(folder)
    plan = read_plan(folder)
    if plan is None:
        raise ValueError(f"{folder} has no plan.json that says what should be measured")
    failures = []
    with worker_pool() as executor:
        for asked in plan["measurements"]:
            try:
                probe = find(asked["probe"])
                settings = settings_of(probe)(**asked["settings"])
                name, steps = name_of(asked), asked["steps"]
                run.measure(probe, steps, settings, name=name, device=device, executor=executor)
            except (RuntimeError, ValueError) as error:
                failures.append(str(error))
            except TypeError as error:
                failures.append(f"{folder / 'plan.json'} has an impossible setting: {error}")
    if failures:
        raise RuntimeError("; ".join(failures))


def plan_chains(
    folder: Path,
    settings: Mapping[str, Any],
    weights: Sequence[str] = (),
    data: str = "",
    checkpoints: int | None = None,
) -> None:
    """Change what a run's plan asks of the sampler, or ask for refined learning coefficients.

    Args:
        folder: The run's.
        settings: Settings of the sampler in the place of the plan's.
        weights: Which weights move, as in `Sampler`; each that matches is measured by itself,
            beside what the plan asks for already.
        data: The data set to do it on, as in `Sampler`.
        checkpoints: At about how many of the plan's checkpoints; at all of them if absent.

    Raises:
        ValueError: There is no plan for chains, or a setting, weights or data are impossible.
    """
    plan = read_plan(folder)
    chosen = [a for a in (plan or {}).get("measurements", ()) if name_of(a) == "sample_chains"]
    if plan is None or not chosen:
        raise ValueError(f"{folder} has no plan.json that says at which steps to sample chains")
    (asked,) = chosen
    steps = np.array(asked["steps"])
    if checkpoints is not None:
        if checkpoints < 1:
            raise ValueError(f"checkpoints must be at least 1, not {checkpoints}")
        steps = spread(steps, checkpoints)
    try:
        wanted = asdict(Sampler(**asked["settings"] | settings))
    except TypeError as error:
        raise ValueError(f"{folder / 'plan.json'} has an impossible setting: {error}") from None
    if not weights and not data:
        claimed = folder / "measured" / "sample_chains" / "settings.json"
        for name, there, here in differences(_settings_in(claimed, wanted), wanted):
            raise ValueError(
                f"{claimed.parent} was measured with {name} = {there}, not {here}; move it away to "
                "measure again"
            )
        asked |= {"settings": wanted, "steps": steps.tolist()}
    for alone in components_alone(open_run(folder).problem, weights, data):
        name = re.sub(r"[^\w.+-]+", "_", "-".join(filter(None, ("sample_chains", alone, data))))
        refined = {
            "name": name,
            "probe": asked["probe"],
            "settings": wanted | {"weights": alone, "data": data},
            "steps": steps.tolist(),
        }
        others = [a for a in plan["measurements"] if name_of(a) != name]
        plan["measurements"] = [*others, refined]
    write_plan(folder, plan)


def _settings_in(path: Path, default: dict[str, Any]) -> Any:
    return read_json(path).get("settings") if path.exists() else default


def components_alone(problem: Problem, weights: Sequence[str], data: str) -> list[str]:
    """Each component that matches one of some patterns, by itself; other patterns as they are.

    Raises:
        ValueError: A pattern matches nothing, or the problem has no such data.
    """
    model = untrained(problem, seed=0)
    on_data(problem, data)
    components = problem.components(model) if problem.components else {}
    alone: dict[str, None] = {}
    for pattern in weights or ([""] if data else []):
        moving_weights(problem, model, pattern)
        matches = [name for name in components if fnmatchcase(name, pattern)]
        alone |= dict.fromkeys(matches or [pattern])
    return list(alone)


# Systems -----------------------------------------------------------------------------------------


def plan_regression(size: Size, seed: int, device: str = "cpu") -> Plan:
    """The in-context regression transformer."""
    return {"quick": _quick, "standard": _standard, "paper": _paper}[size](seed, device)


def _quick(seed: int, device: str) -> Plan:
    training = Training(
        steps=2000,
        batch_size=128,
        log_checkpoints=150,
        linear_checkpoints=150,
        seed=seed,
        threads=2,
        device=device,
    )
    steps = checkpoint_steps(training)
    sampler = Sampler(chains=4, draws=125, burn_in=50, batch_size=64, block=25, seed=seed)
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(steps, 28)),
        (measure_curvature, Curvature(examples=256, probes=16), spread(steps, 7)),
        *_cheap(Metrics(examples=256), FixedBatch(examples=256), steps),
    )
    notes = (
        "This run is short: it is meant to show the method in minutes. It can show the first two "
        "of the paper's five stages, LR1 and LR2, and nothing of LR3 to LR5.",
        "Its chains have 125 draws, while flat directions of the loss relax in about 1,000. So "
        "the learning coefficient shows the shape of its curve and not yet its height, and "
        "most estimates are marked suspect.",
    )
    return Plan(_title("quick", seed), notes, "LR", regression(), training, measurements)


def _standard(seed: int, device: str) -> Plan:
    training = Training(
        steps=250_000,
        batch_size=64,
        log_checkpoints=150,
        linear_checkpoints=200,
        seed=seed,
        device=device,
    )
    steps = checkpoint_steps(training)
    sampler = Sampler(chains=4, draws=800, burn_in=300, batch_size=64, seed=seed)
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(steps, 71, 40)),
        (measure_curvature, Curvature(examples=512), spread(steps, 16)),
        *_cheap(Metrics(examples=1024), FixedBatch(), steps),
    )
    notes = (
        "Stages are numbered as they are found. With seed 1 they are the paper's LR1 and LR2, its "
        "LR3 and LR4 as one fall, called LR3, and its LR5, called LR4.",
    )
    return Plan(_title("standard", seed), notes, "LR", regression(), training, measurements)


def _paper(seed: int, device: str) -> Plan:
    training = Training(steps=500_000, seed=seed, device=device)
    steps = checkpoint_steps(training)
    sampler = Sampler(
        nbeta=200 / 3,
        localization=20 / 3,
        chains=10,
        draws=5000,
        burn_in=0,
        batch_size=1024,
        seed=seed,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, steps),
        (measure_curvature, Curvature(probes=100), steps),
        *_cheap(Metrics(), FixedBatch(), steps),
    )
    notes = (
        "The paper's settings, with three differences: batches of training data are fixed by the "
        "seed, the sampler draws fresh minibatches instead of cycling through 2^20 fixed "
        "sequences, and every draw is paired with the checkpoint's loss on the same minibatch.",
    )
    return Plan(_title("paper", seed), notes, "LR", regression(), training, measurements)


def _title(size: Size, seed: int) -> str:
    return f"In-context linear regression, {size} preset, seed {seed}"


def _cheap(
    metrics: Metrics, batch: FixedBatch, steps: Int[np.ndarray, " _"]
) -> tuple[Measurement, ...]:
    """What is measured at every checkpoint."""
    return (
        (measure_metrics, metrics, steps),
        (record_outputs, batch, steps),
        (record_references, batch, steps[:1]),
    )


SYSTEMS: Mapping[str, Callable[..., Plan]] = {"regression": plan_regression}
