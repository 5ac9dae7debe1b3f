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
    draw with a fresh minibatch, on which the checkpoint's own loss is measured too. Batches and
    noise are those of (seed, chain, draw), the same at every checkpoint, so that curves over
    training are smooth; their errors are therefore common offsets. The network is in eval mode;
    frozen parameters and buffers stay as they are.

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
        >>> settings = Sampler(step_size=0.01, nbeta=50.0, localization=0.0)
        >>> chains = sample_chains(problem, 0, problem.model().state_dict(), settings)
        >>> excess = (chains.losses - chains.initial_losses)[:, chains.burn_in :]
        >>> round(float(chains.nbeta * excess.mean() / 200), 1)
        1.1

    References:
        E. Lau et al., "The local learning coefficient: a singularity-aware complexity measure"
        (AISTATS 2025), algorithm 1.
    """
    model, checkpoint = trained(problem, state), trained(problem, state)
    start, evaluate = flat_loss(problem, model)

    def initial(batch: Batch) -> Tensor:
        with torch.no_grad():
            return by_position(problem.loss(checkpoint, batch)).mean(dim=0)

    pairs = np.stack(
        [
            sample_chain(problem, start, evaluate, initial, settings, i)
            for i in range(settings.chains)
        ]
    )
    blocks = pairs.reshape(settings.chains, 2, -1, settings.block, pairs.shape[-1]).mean(axis=3)
    return Chains(
        step=step,
        losses=pairs[:, 0].mean(axis=-1),
        initial_losses=pairs[:, 1].mean(axis=-1),
        position_losses=blocks[:, 0],
        initial_position_losses=blocks[:, 1],
        nbeta=settings.nbeta,
        step_size=settings.step_size,
        localization=settings.localization,
        burn_in=settings.burn_in,
        parameters=start.numel(),
    )


def by_position(losses: Tensor) -> Float[Tensor, "example position"]:
    """Losses with a second axis, whether the problem's loss has positions or not."""
    return losses.reshape(len(losses), -1)


def flat_loss(problem: Problem, model: nn.Module) -> tuple[Tensor, FlatLoss]:
    """The loss as a function of one flat vector: the trainable parameters, in order.

    The parameters become views of one vector and their gradients of another, so that moving to
    other weights is one copy and gradients are gathered where they are made.

    Args:
        problem: Gives the loss.
        model: The network at the weights where the chains start; it belongs to the sampler now.

    Returns:
        The starting vector, and a function of weights and a batch that gives the mean loss by
        position and the gradient of its mean, which stands until the next call.

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
    gradient = torch.zeros_like(flat)
    sizes = [p.numel() for p in parameters]
    for parameter, weight, slope in zip(
        parameters, torch.split(flat, sizes), torch.split(gradient, sizes), strict=True
    ):
        parameter.data, parameter.grad = weight.view_as(parameter), slope.view_as(parameter)

    def evaluate(weights: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        flat.copy_(weights)
        gradient.zero_()
        losses = by_position(problem.loss(model, batch)).mean(dim=0)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        return losses.detach(), gradient

    return flat.clone(), evaluate


def sample_chain(
    problem: Problem,
    start: Tensor,
    evaluate: FlatLoss,
    initial: Callable[[Batch], Tensor],
    settings: Sampler,
    chain: int,
) -> Float[np.ndarray, "pair draw position"]:
    """The losses along one chain, and those of the checkpoint on the same minibatches.

    Both are nan from the first draw on at which one is not finite. Whether they are finite is
    asked once in a block, so that an accelerator need not wait.
    """
    seed, device = settings.seed, start.device
    state, noise = init_sgld(start), torch.empty_like(start)
    trace: list[Tensor] = []
    for draw in range(settings.draws):
        stream = random_stream(seed, "sampler batch", chain, draw, device=device)
        batch = problem.batch(settings.batch_size, stream)
        losses, gradient = evaluate(state.weights, batch)
        trace.append(torch.stack([losses, initial(batch)]))
        noise.normal_(generator=random_stream(seed, "sampler noise", chain, draw, device=device))
        state = step_sgld(state, gradient, noise, settings)
        if (draw + 1) % settings.block == 0 and not bool(losses.isfinite().all()):
            break
    found = torch.stack(trace, dim=1).double().cpu().numpy()
    broken = ~np.isfinite(found).all(axis=(0, 2))
    found[:, np.logical_or.accumulate(broken)] = np.nan
    rest = np.full((2, settings.draws - found.shape[1], found.shape[2]), np.nan)
    return np.concatenate([found, rest], axis=1)
