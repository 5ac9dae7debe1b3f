"""What the network says about a fixed batch, which essential dynamics follows over training."""

from dataclasses import dataclass

import numpy as np
import torch

from ontogeny.problems.problem import Batch, Problem, StateDict, device_of, trained
from ontogeny.records import Outputs, References
from ontogeny.streams import random_stream


@dataclass(frozen=True)
class FixedBatch:
    """The inputs on which outputs are recorded, the same at every checkpoint.

    Attributes:
        examples: How many.
        seed: Which.
    """

    examples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.examples < 1:
            raise ValueError(f"examples must be at least 1, not {self.examples}")


def draw_fixed_batch(problem: Problem, settings: FixedBatch, device: torch.device | str) -> Batch:
    """Draw the fixed batch."""
    stream = random_stream(settings.seed, "fixed batch", device=device)
    return problem.batch(settings.examples, stream)


def record_outputs(problem: Problem, step: int, state: StateDict, settings: FixedBatch) -> Outputs:
    """Record the network's outputs on the fixed batch at one checkpoint.

    Args:
        problem: Gives the model and the data.
        step: The checkpoint's step.
        state: Its weights.
        settings: Which inputs.

    Returns:
        One row of outputs, flattened with the example first, in single precision.
    """
    with torch.no_grad():
        batch = draw_fixed_batch(problem, settings, device_of(state))
        outputs = problem.outputs(trained(problem, state), batch)
    values = outputs.float().cpu().numpy().reshape(1, -1)
    return Outputs(steps=np.array([step]), values=values)


def record_references(
    problem: Problem, step: int, state: StateDict, settings: FixedBatch
) -> References:
    """Record what the output coordinates are, and what known predictors would say there.

    Neither depends on the checkpoint, so one is enough: any.

    Raises:
        ValueError: The problem knows no references.
    """
    if problem.references is None:
        raise ValueError(f"the problem {problem.name!r} has no references")
    return problem.references(draw_fixed_batch(problem, settings, device_of(state)))
