"""Plans: what to train and what to measure at which steps, for each system in three sizes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
from ontogeny.problems import Problem, find, regression
from ontogeny.runs import Run, address_of, create_run, open_run, settings_of
from ontogeny.storage import read_plan, whole_file
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
    """Leave the plan beside the run, for `measure_as_planned` and for the report, and train."""
    check_device(plan.training.device)
    create_run(plan.problem, folder, asdict(plan.training))
    with whole_file(folder / "plan.json") as file:
        file.write((json.dumps(plan_as_json(plan), indent=2) + "\n").encode())
    return train(plan.problem, folder, plan.training)


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
                run.measure(probe, asked["steps"], settings, device=device, executor=executor)
            except (RuntimeError, ValueError) as error:
                failures.append(str(error))
            except TypeError as error:
                failures.append(f"{folder / 'plan.json'} has an impossible setting: {error}")
    if failures:
        raise RuntimeError("; ".join(failures))


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
