"""Sampling the neighbourhood of a checkpoint: the losses along the sampler's chains."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.probes.samplers import Sampler, init_sgld, step_sgld
from ontogeny.problems.problem import Batch, Problem, StateDict, trained
from ontogeny.records import Chains
from ontogeny.streams import random_stream

FlatLoss = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]


def sample_chains(problem: Problem, step: int, state: StateDict, settings: Sampler) -> Chains:
    """Sample the loss around a checkpoint.

    Every chain starts at the checkpoint and walks by stochastic gradient Langevin dynamics, each
    draw with a fresh minibatch. Batches and noise are those of (seed, chain, draw), the same at
    every checkpoint, so that curves over training are smooth; their errors are therefore common
    offsets. The network is in eval mode; frozen parameters and buffers stay as they are.

    Args:
        problem: Gives the model, the data and the loss.
        step: The checkpoint's step.
        state: Its weights.
        settings: Of the sampler.

    Returns:
        The losses of all draws, burn-in included. A chain whose loss is not finite stops there,
        and its losses are nan from that draw on. A loss without positions counts as having one.

    Raises:
        ValueError: The weights are those of another network, or none of them can be sampled.

    Examples:
        At the bottom of a bowl of 400 weights the excess of nβL is about half their number.

        >>> from ontogeny.problems.exact import quadratic
        >>> problem = quadratic([1.0] * 400)
        >>> settings = Sampler(step_size=0.01, nbeta=50.0, localization=0.0, initial_sample=2)
        >>> chains = sample_chains(problem, 0, problem.model().state_dict(), settings)
        >>> kept = chains.losses[:, chains.burn_in :]
        >>> chains.initial_loss, round(float(chains.nbeta * kept.mean() / 200), 1)
        (0.0, 1.1)

    References:
        E. Lau et al., "The local learning coefficient: a singularity-aware complexity measure"
        (AISTATS 2025), algorithm 1.
    """
    model, device = trained(problem, state)
    initial = initial_losses(problem, model, device, settings)
    start, evaluate = flat_loss(problem, model)
    losses = np.stack(
        [sample_chain(problem, start, evaluate, settings, i) for i in range(settings.chains)]
    )
    blocks = losses.reshape(settings.chains, -1, settings.block, losses.shape[-1])
    count = np.sqrt(len(initial))
    with np.errstate(invalid="ignore", over="ignore"):  # the checkpoint itself may be broken
        return Chains(
            step=step,
            losses=losses.mean(axis=-1),
            position_losses=blocks.mean(axis=2),
            initial_loss=float(initial.mean()),
            initial_loss_stderr=float(initial.mean(axis=1).std(ddof=1) / count),
            initial_position_losses=initial.mean(axis=0),
            initial_position_stderr=initial.std(axis=0, ddof=1) / count,
            nbeta=settings.nbeta,
            step_size=settings.step_size,
            localization=settings.localization,
            burn_in=settings.burn_in,
        )


def by_position(losses: Tensor) -> Float[Tensor, "example position"]:
    """Losses with a second axis, whether the problem's loss has positions or not."""
    return losses.reshape(len(losses), -1)


def initial_losses(
    problem: Problem, model: nn.Module, device: torch.device, settings: Sampler
) -> Float[np.ndarray, "example position"]:
    """Losses at the checkpoint itself, on a large sample of its own, drawn in chunks."""
    losses = []
    for chunk, first in enumerate(range(0, settings.initial_sample, settings.batch_size)):
        size = min(settings.batch_size, settings.initial_sample - first)
        stream = random_stream(settings.seed, "sampler initial loss", chunk, device=device)
        with torch.no_grad():
            losses.append(by_position(problem.loss(model, problem.batch(size, stream))))
    return torch.cat(losses).double().cpu().numpy()


def flat_loss(problem: Problem, model: nn.Module) -> tuple[Tensor, FlatLoss]:
    """The loss as a function of one flat vector: the trainable parameters, in order.

    The parameters become views of one vector, so that moving to other weights is one copy.

    Args:
        problem: Gives the loss.
        model: The network at the weights where the chains start; it belongs to the sampler now.

    Returns:
        The starting vector, and a function of weights and a batch that gives the mean loss by
        position and the gradient of its mean.

    Raises:
        ValueError: No parameter is trainable, or they are not all single or all double
            precision: in less, the sampler's steps would be lost to rounding.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    kinds = {p.dtype for p in parameters}
    if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(map(str, kinds))) or "none"
        raise ValueError(
            "the trainable parameters must be all float32 or all float64 "
            f"(found: {found}); convert the network with .float()"
        )
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    pieces = torch.split(flat, [p.numel() for p in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.data = piece.view_as(parameter)

    def evaluate(weights: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        flat.copy_(weights)
        losses = by_position(problem.loss(model, batch)).mean(dim=0)
        gradients = torch.autograd.grad(losses.mean(), parameters, materialize_grads=True)
        return losses.detach(), torch.cat([g.reshape(-1) for g in gradients])

    return flat.clone(), evaluate


def sample_chain(
    problem: Problem, start: Tensor, evaluate: FlatLoss, settings: Sampler, chain: int
) -> Float[np.ndarray, "draw position"]:
    """The losses along one chain; nan from the first draw on whose loss is not finite.

    Whether they are finite is asked once in a block, so that an accelerator need not wait.
    """
    seed, device = settings.seed, start.device
    state = init_sgld(start)
    trace: list[Tensor] = []
    for draw in range(settings.draws):
        stream = random_stream(seed, "sampler batch", chain, draw, device=device)
        losses, gradient = evaluate(state.weights, problem.batch(settings.batch_size, stream))
        trace.append(losses)
        stream = random_stream(seed, "sampler noise", chain, draw, device=device)
        noise = torch.randn(start.shape, generator=stream, dtype=start.dtype, device=device)
        state = step_sgld(state, gradient, noise, settings)
        if (draw + 1) % settings.block == 0 and not bool(losses.isfinite().all()):
            break
    found = torch.stack(trace).double().cpu().numpy()
    broken = ~np.isfinite(found).all(axis=1)
    found[np.logical_or.accumulate(broken)] = np.nan
    rest = np.full((settings.draws - len(found), found.shape[1]), np.nan)
    return np.concatenate([found, rest])
