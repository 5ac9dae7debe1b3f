"""All chains of several checkpoints in one batched computation: what an accelerator is made for."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ontogeny.analysis.diagnostics import is_precise
from ontogeny.probes.chains import Block, chains_of, dispersed, looks, sample_chains, walk
from ontogeny.probes.landscape import (
    Landscape,
    by_position,
    flatten,
    moving_entries,
    moving_weights,
    unflatten,
)
from ontogeny.probes.samplers import Sampler
from ontogeny.problems.problem import Batch, Problem, StateDict, on_data, trained
from ontogeny.records import Chains
from ontogeny.runs import answers_for


@answers_for(sample_chains)
def sample_together(
    problem: Problem, states: Mapping[int, StateDict], settings: Sampler
) -> list[Chains]:
    """`sample_chains` at several checkpoints, with all chains side by side.

    Batches, noise and the rule for stopping early are those of the plain loop, so each checkpoint
    gets the same answer to rounding, whichever share its computation. The network and the loss
    must be functions that `torch.func.vmap` takes: no `.item()`, no branch on data, no fused
    attention without a batching rule.

    Args:
        problem: Gives the model, the data and the loss.
        states: The weights by step.
        settings: Of the sampler.

    Returns:
        One record for each checkpoint, in the order given.

    Raises:
        ValueError: As for `sample_chains`, or the network cannot be batched.

    Examples:
        >>> from ontogeny.probes import sample_chains
        >>> from ontogeny.problems.exact import quadratic
        >>> problem = quadratic([1.0] * 400)
        >>> state = problem.model().state_dict()
        >>> together = sample_together(problem, {0: state, 9: state}, Sampler(draws=200))
        >>> alone = sample_chains(problem, 9, state, Sampler(draws=200))
        >>> abs(together[1].losses - alone.losses).max() < 1e-12
        np.True_
    """
    problem = on_data(problem, settings.data)
    landscape = stacked_landscape(problem, list(states.values()), settings.weights)
    groups = range(settings.groups)
    start = landscape.start if len(groups) == 1 else dispersed(problem, landscape, settings, groups)
    start = start.repeat_interleave(settings.chains // len(groups), dim=1)
    blocks = walk(problem, landscape, settings, range(settings.chains), start)
    found, answers = list[Block](), dict[int, Chains]()
    for look in looks(settings):
        found += (block for block, _ in islice(blocks, look - len(found)))
        for i, step in enumerate(states):
            if step not in answers:
                one = [Block._make(array[i] for array in block) for block in found]
                chains = chains_of(step, [one], look, start.shape[-1], settings)
                if look * settings.block == settings.draws or is_precise(
                    chains, settings.precision
                ):
                    answers[step] = chains
        if len(answers) == len(states):
            break
    return [answers[step] for step in states]


def stacked_landscape(problem: Problem, states: Sequence[StateDict], weights: str) -> Landscape:
    """The loss around several checkpoints, for many chains at once.

    Raises:
        ValueError: As for `landscape_of`, or the network cannot be batched.
    """
    model, *_ = [trained(problem, state) for state in states]
    masks = moving_weights(problem, model, weights)
    where = moving_entries(masks)
    moving = {name: p.detach() for name, p in model.named_parameters() if name in masks}
    base = torch.stack([flatten({name: state[name] for name in moving}) for state in states])
    # A state has a name for each module that shares a tensor, these are the first of each.
    names = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    rest = {
        name: torch.stack([state[name] for state in states])
        for name in names & states[0].keys() - moving.keys()
    }
    lossy = Lossy(problem, model)

    def losses(weights: Tensor, batch: Batch, base: Tensor, rest: Mapping[str, Tensor]) -> Tensor:
        flat = weights if where is None else base.index_copy(0, where, weights)
        tensors = {**unflatten(flat, moving), **rest}
        named = {f"model.{name}": tensor for name, tensor in tensors.items()}
        found: Tensor = functional_call(lossy, named, (batch,))
        return found

    def mean_and_all(weights: Tensor, *inputs: Any) -> tuple[Tensor, Tensor]:
        found = losses(weights, *inputs)
        return found.mean(), found

    def batched(function: Callable[..., Any], weights: int | None) -> Callable[..., Any]:
        over_chains = vmap(function, in_dims=(weights, 0, None, None))
        return vmap(over_chains, in_dims=(0, None, 0, 0))

    slopes = batched(grad(mean_and_all, has_aux=True), 0)
    heights = batched(losses, None)
    start = base if where is None else base[:, where]

    def evaluate(weights: Tensor, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        try:
            gradients, found = slopes(weights, stacked(batches), base, rest)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(
                f"this network cannot be batched ({str(error).splitlines()[0]}); set batched to 0"
            ) from error
        return found, gradients

    def initial(batches: Sequence[Batch]) -> Tensor:
        with torch.no_grad():
            found: Tensor = heights(start, stacked(batches), base, rest)
            return found

    return Landscape(start[:, None], evaluate, initial)


def stacked(batches: Sequence[Batch]) -> Batch:
    """The batches of several chains as one, with a first axis for the chain."""
    return tuple(torch.stack(parts) for parts in zip(*batches, strict=True))


class Lossy(nn.Module):
    """A network whose output is its loss on a batch, by position."""

    def __init__(self, problem: Problem, model: nn.Module) -> None:
        super().__init__()
        self.problem, self.model = problem, model

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss at each position."""
        return by_position(self.problem.loss(self.model, batch)).mean(dim=0)
