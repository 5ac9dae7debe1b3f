"""How a few rows of text are predicted, and what heads attend to in the first of them."""

import numpy as np
import torch

from ontogeny.probes.outputs import FixedBatch, draw_fixed_batch
from ontogeny.problems.problem import Problem, StateDict, device_of, trained
from ontogeny.records import Passages

ATTENDED = 48  # tokens of the first row whose attention is kept: more would not be seen


def record_passages(
    problem: Problem, step: int, state: StateDict, settings: FixedBatch
) -> Passages:
    """Record the loss of each token of a few rows of text at one checkpoint, and attention.

    The difference between two checkpoints is the change of each true token's log-probability, the
    per-token metric of Hoogland et al. (2024). The patterns of attention, if the problem has heads,
    are those of the first 48 tokens of the first row, in half precision.

    Args:
        problem: Gives the model, the data, the loss, the vocabulary, and the patterns.
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
        model = trained(problem, state)
        losses = problem.loss(model, batch)
        heads, patterns = problem.attention(model, batch) if problem.attention else ((), None)
    return Passages(
        step=step,
        vocabulary=problem.vocabulary(),
        tokens=batch[0].cpu().numpy().astype(np.int64),
        losses=losses.double().cpu().numpy(),
        heads=heads,
        attention=None
        if patterns is None
        else patterns[:, :ATTENDED, :ATTENDED].half().cpu().numpy(),
    )
