"""How well each token of a few rows of text is predicted, which can be read over training."""

import numpy as np
import torch

from ontogeny.probes.outputs import FixedBatch, draw_fixed_batch
from ontogeny.problems.problem import Problem, StateDict, device_of, trained
from ontogeny.records import Passages


def record_passages(
    problem: Problem, step: int, state: StateDict, settings: FixedBatch
) -> Passages:
    """Record the loss of each token of a few rows of text at one checkpoint.

    The difference between two checkpoints is the change of each true token's log-probability, the
    per-token metric of Hoogland et al. (2024).

    Args:
        problem: Gives the model, the data, the loss and the vocabulary.
        step: The checkpoint's step.
        state: Its weights.
        settings: Which rows.

    Raises:
        ValueError: The problem has no tokens.
    """
    if problem.vocabulary is None:
        raise ValueError(f"the problem {problem.name!r} has no vocabulary")
    with torch.no_grad():
        batch = draw_fixed_batch(problem, settings, device_of(state))
        losses = problem.loss(trained(problem, state), batch)
    return Passages(
        step=step,
        vocabulary=problem.vocabulary(),
        tokens=batch[0].cpu().numpy().astype(np.int64),
        losses=losses.double().cpu().numpy(),
    )
