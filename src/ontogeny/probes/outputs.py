"""What essential dynamics follows over training: outputs on a fixed batch, weights, gradients."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.problems.attention import fused_attention
from ontogeny.problems.problem import Batch, Problem, StateDict, device_of, trained
from ontogeny.records import Outputs, References
from ontogeny.streams import random_stream

AT_ONCE = 32  # examples whose gradient is taken together: more would not fit into memory


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


@dataclass(frozen=True)
class Sketch:
    """How much is kept of a long vector: all of it, or a sketch that keeps distances.

    Attributes:
        numbers: How many numbers, at most. Distances are kept to about `(2 / numbers) ** 0.5`.
        examples: On how many inputs the gradient is that of the mean loss.
        seed: Which inputs, and which sketch.
    """

    numbers: int = 4096
    examples: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("numbers", "examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def draw_fixed_batch(
    problem: Problem, settings: FixedBatch | Sketch, device: torch.device | str
) -> Batch:
    """Draw the fixed batch, from what is held out where the problem holds something out."""
    stream = random_stream(settings.seed, "fixed batch", device=device)
    draw = (problem.datasets or {}).get("held_out", problem.batch)
    return draw(settings.examples, stream)


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


def record_weights(problem: Problem, step: int, state: StateDict, settings: Sketch) -> Outputs:
    """Record the trainable weights at one checkpoint, or a sketch of them.

    Args:
        problem: Gives the model.
        step: The checkpoint's step.
        state: Its weights.
        settings: How many numbers to keep.

    Returns:
        One row in the shape of outputs, for `essential_dynamics`, in single precision.
    """
    weights = [part.detach().flatten() for part in trained(problem, state).parameters()]
    return _sketched(torch.cat(weights), step, settings)


def record_gradients(problem: Problem, step: int, state: StateDict, settings: Sketch) -> Outputs:
    """Record the gradient of the mean loss on a fixed batch at one checkpoint, or a sketch of it.

    Args:
        problem: Gives the model and the data.
        step: The checkpoint's step.
        state: Its weights.
        settings: How many numbers to keep, and on which inputs.

    Returns:
        One row in the shape of outputs, for `essential_dynamics`, in single precision.
    """
    model = trained(problem, state)
    batch = draw_fixed_batch(problem, settings, device_of(state))
    total = torch.zeros((), device=device_of(state))
    for some in zip(*(torch.split(part, AT_ONCE) for part in batch), strict=True):
        with fused_attention():  # first derivatives are all that is needed
            loss = problem.loss(model, some).sum(dim=0).mean() / len(batch[0])
            gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        total = total + torch.cat([part.flatten() for part in gradients])
    return _sketched(total, step, settings)


def _sketched(vector: Float[Tensor, " parameter"], step: int, settings: Sketch) -> Outputs:
    values = sketch(vector, settings.numbers, settings.seed).float().cpu().numpy()
    return Outputs(steps=np.array([step]), values=values[None])


def sketch(
    vector: Float[Tensor, " parameter"], numbers: int, seed: int
) -> Float[Tensor, " number"]:
    r"""A count sketch: every entry, with a random sign, is added to one of a few sums.

    $$(Sx)_j = \sum_{i :\, h(i) = j} \pm x_i, \qquad
    \operatorname{E} \langle Sx, Sy \rangle = \langle x, y \rangle, \qquad
    \operatorname{sd} \lVert Sx \rVert^2 \le \sqrt{2 / m}\, \lVert x \rVert^2$$

    for $m$ sums. It is linear, and the same for every checkpoint.

    Args:
        vector: What to sketch. It is left as it is if it has no more than `numbers` entries.
        numbers: The number $m$ of sums.
        seed: Which signs and which sums.

    Examples:
        >>> sketch(torch.tensor([3.0, 4.0]), 2, seed=0).tolist()
        [3.0, 4.0]
        >>> sketch(torch.tensor([3.0, 4.0]), 1, seed=0).abs().item() in (1.0, 7.0)
        True

    References:
        M. Charikar, K. Chen and M. Farach-Colton, *Finding frequent items in data streams* (2002).
    """
    if len(vector) <= numbers:
        return vector
    stream = random_stream(seed, "sketch")
    sums = torch.randint(numbers, vector.shape, generator=stream)
    signs = 2 * torch.randint(2, vector.shape, generator=stream) - 1
    empty = torch.zeros(numbers, dtype=vector.dtype, device=vector.device)
    return empty.index_add(0, sums.to(vector.device), signs.to(vector) * vector)
