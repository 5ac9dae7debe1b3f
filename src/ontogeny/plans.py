"""Plans: what to train and what to measure at which steps; how they are kept and carried out."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int

import ontogeny
from ontogeny.probes import (
    FixedBatch,
    Metrics,
    Sampler,
    Sketch,
    measure_metrics,
    record_gradients,
    record_outputs,
    record_references,
    record_weights,
    sample_chains,
)
from ontogeny.probes.landscape import moving_weights
from ontogeny.problems import Problem, find, untrained
from ontogeny.problems.problem import on_data
from ontogeny.runs import Run, address_of, create_run, open_run, settings_of
from ontogeny.storage import differences, name_of, read_json, read_plan, whole_file
from ontogeny.training import Training, checkpoint_steps, spread, train
from ontogeny.workers import check_device, worker_pool

BUDGET = 10  # times the planned draws, for chains that stop when they are precise

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
        scores: The metrics that say most plainly what formed; where they move, they are named
            first.
        refined: Chains beside those, on other data or of some weights only, and at which steps.
    """

    title: str
    notes: tuple[str, ...]
    prefix: str
    problem: Problem
    training: Training
    measurements: tuple[Measurement, ...]
    scores: tuple[str, ...] = ()
    refined: tuple[tuple[Sampler, Int[np.ndarray, " _"]], ...] = ()


def at_every_checkpoint(
    metrics: Metrics, batch: FixedBatch, steps: Int[np.ndarray, " _"]
) -> tuple[Measurement, ...]:
    """Metrics, outputs, weights and gradients; and once the outputs of known predictors."""
    return (
        (measure_metrics, metrics, steps),
        (record_outputs, batch, steps),
        (record_references, batch, steps[:1]),
        (record_weights, Sketch(), steps),
        (record_gradients, Sketch(), steps),
    )


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
        "scores": list(plan.scores),
        "critical_points": [asdict(point) for point in plan.problem.critical_points],
        "checkpoints": checkpoint_steps(plan.training).tolist(),
        "measurements": [
            *(_asked(*measurement) for measurement in plan.measurements),
            *(
                {"name": name_of_refined(sampler.weights, sampler.data)}
                | _asked(sample_chains, sampler, steps)
                for sampler, steps in plan.refined
            ),
        ],
    }


def _asked(
    probe: Callable[..., Any], settings: Any, steps: Int[np.ndarray, " _"]
) -> dict[str, Any]:
    return {"probe": address_of(probe), "settings": asdict(settings), "steps": steps.tolist()}


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
        raise RuntimeError("; ".join(dict.fromkeys(failures)))


def plan_chains(
    folder: Path,
    settings: Mapping[str, Any],
    weights: Sequence[str] = (),
    data: str = "",
    checkpoints: int | None = None,
    again: bool = False,
) -> None:
    """Change what a run's plan asks of the sampler, or ask for refined learning coefficients.

    Args:
        folder: The run's.
        settings: Settings of the sampler in the place of the plan's.
        weights: Which weights move, as in `Sampler`; each that matches is measured by itself,
            beside what the plan asks for already.
        data: The data set to do it on, as in `Sampler`.
        checkpoints: At about how many of the run's checkpoints; at those of the plan if absent.
        again: Whether chains that were measured with other settings are put aside.

    Raises:
        ValueError: There is no plan for chains, a setting, weights or data are impossible, or
            chains were measured with other settings and are not to be put aside.
    """
    plan = read_plan(folder)
    chosen = [a for a in (plan or {}).get("measurements", ()) if name_of(a) == "sample_chains"]
    if plan is None or len(chosen) != 1:
        raise ValueError(
            f"{folder} has no plan.json that says once at which steps to sample chains"
        )
    (asked,) = chosen
    steps = asked["steps"]
    if checkpoints is not None:
        if checkpoints < 1:
            raise ValueError(f"checkpoints must be at least 1, not {checkpoints}")
        steps = spread(np.array(plan["checkpoints"]), checkpoints).tolist()
    wanted = asdict(sampler_with(asked["settings"], settings))
    if not weights and not data:
        _put_aside(folder / "measured" / "sample_chains", wanted, again)
        asked |= {"settings": wanted, "steps": steps}
    for alone in components_alone(open_run(folder).problem, weights, data):
        refined = {
            "name": name_of_refined(alone, data),
            "probe": asked["probe"],
            "settings": wanted | {"weights": alone, "data": data},
            "steps": steps,
        }
        _put_aside(folder / "measured" / refined["name"], refined["settings"], again)
        others = [a for a in plan["measurements"] if name_of(a) != refined["name"]]
        plan["measurements"] = [*others, refined]
    write_plan(folder, plan)


def sampler_with(planned: Mapping[str, Any], given: Mapping[str, Any]) -> Sampler:
    """A plan's sampler with some settings in the place of its own.

    Where a precision is asked for and nothing is said about draws, the chains may be ten times as
    long as planned.

    Raises:
        ValueError: A setting is unknown or impossible.
    """
    settings = {**planned, **given}
    try:
        sampler = Sampler(**settings)
    except TypeError as error:
        raise ValueError(f"plan.json has an impossible setting: {error}") from None
    if sampler.precision and not planned.get("precision") and "draws" not in given:
        return replace(sampler, draws=BUDGET * sampler.draws)
    return sampler


def check_sampler(plan: Plan, given: Mapping[str, Any]) -> None:
    """Refuse impossible settings of the sampler before a plan is begun.

    Raises:
        ValueError: A setting is impossible.
    """
    for _, settings, _ in plan.measurements:
        if isinstance(settings, Sampler):
            sampler_with(asdict(settings), given)


def _put_aside(measured: Path, wanted: Mapping[str, Any], again: bool) -> None:
    """Make way for chains with other settings than those that were measured."""
    claimed = measured / "settings.json"
    if not claimed.exists():
        return
    for name, there, here in differences(read_json(claimed).get("settings"), wanted):
        if not again:
            raise ValueError(
                f"{measured} was measured with {name} = {there}, not {here}; give --again to put "
                "that aside and measure again"
            )
        earlier = (measured.with_name(f"earlier-{i}-{measured.name}") for i in count(1))
        measured.rename(next(path for path in earlier if not path.exists()))
        return


def name_of_refined(weights: str, data: str) -> str:
    """A folder's name for chains of some weights on some data; no two have the same.

    Examples:
        >>> name_of_refined("head.1.2", "large_inputs"), name_of_refined("head.*", "")
        ('sample_chains-head.1.2-on-large_inputs', 'sample_chains-head._-35910c79')
    """
    text = "-on-".join(filter(None, (weights or "all", data)))
    plain = re.sub(r"[^\w.+]+", "_", weights or "all") + (f"-on-{data}" if data else "")
    if plain != text or "-on-" in weights:
        plain += "-" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"sample_chains-{plain}"


def components_alone(problem: Problem, weights: Sequence[str], data: str) -> list[str]:
    """Each component that matches one of some patterns, by itself; other patterns as they are.

    Raises:
        ValueError: A pattern matches nothing, or the problem has no such data.
    """
    model = untrained(problem, seed=0)
    on_data(problem, data)
    components = problem.components(model) if problem.components else {}
    alone: dict[str, None] = {}
    if not all(pattern.strip() for pattern in weights):
        raise ValueError("weights must name some weights, such as 'head.*'")
    for pattern in weights or ([""] if data else []):
        moving_weights(problem, model, pattern)
        matches = [name for name in components if fnmatchcase(name, pattern)]
        alone |= dict.fromkeys(matches or [pattern])
    return list(alone)
