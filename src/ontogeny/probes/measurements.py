"""Metrics at a checkpoint: the problem's own, and curvature, which any problem has."""

from dataclasses import dataclass

import torch

from ontogeny.metrics import hessian_product, hessian_trace, top_eigenvalues
from ontogeny.problems.problem import Problem, StateDict, device_of, tabulate, trained
from ontogeny.records import Measurements
from ontogeny.streams import random_stream


@dataclass(frozen=True)
class Metrics:
    """The sample on which the problem's metrics are measured, the same at every checkpoint.

    Attributes:
        examples: How many examples.
        seed: Which.
    """

    examples: int = 8192
    seed: int = 0


@dataclass(frozen=True)
class Curvature:
    """How the Hessian of the loss is measured.

    Attributes:
        examples: Examples in the loss.
        probes: Random vectors for the trace.
        eigenvalues: How many of the largest eigenvalues.
        seed: Which examples and vectors.
    """

    examples: int = 1024
    probes: int = 32
    eigenvalues: int = 3
    seed: int = 0


def measure_metrics(
    problem: Problem, step: int, state: StateDict, settings: Metrics
) -> Measurements:
    """The problem's own metrics at one checkpoint.

    Args:
        problem: Gives the model, the data and the metrics.
        step: The checkpoint's step.
        state: Its weights.
        settings: On how many examples.

    Returns:
        One row for each metric and item.

    Raises:
        ValueError: The problem has no metrics.
    """
    if problem.metrics is None:
        raise ValueError(f"the problem {problem.name!r} has no metrics")
    with torch.no_grad():
        model = trained(problem, state)
        return tabulate(step, problem.metrics(model, settings.examples, settings.seed))


def measure_curvature(
    problem: Problem, step: int, state: StateDict, settings: Curvature
) -> Measurements:
    """Trace and largest eigenvalues of the Hessian of the loss, on a fixed sample.

    Args:
        problem: Gives the model, the data and the loss.
        step: The checkpoint's step.
        state: Its weights.
        settings: Sample, probes, number of eigenvalues.

    Returns:
        `hessian_trace`, the mean over the probes with its standard error, and
        `hessian_eigenvalues`, largest first.

    Raises:
        ValueError: There are no more parameters than eigenvalues asked for, or the Hessian is not
            finite.
    """
    model = trained(problem, state)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    size = sum(parameter.numel() for parameter in parameters)
    stream = random_stream(settings.seed, "curvature batch", device=device_of(state))
    loss = problem.loss(model, problem.batch(settings.examples, stream)).mean()
    product = hessian_product(loss, parameters)
    signs = random_stream(settings.seed, "curvature probes")
    start = random_stream(settings.seed, "curvature start")
    trace = hessian_trace(product, size, settings.probes, signs)
    eigenvalues = top_eigenvalues(product, size, settings.eigenvalues, start)
    items = tuple(str(i + 1) for i in range(settings.eigenvalues))
    return tabulate(
        step, [("hessian_trace", ("",), trace), ("hessian_eigenvalues", items, eigenvalues)]
    )
