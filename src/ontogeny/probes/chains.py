"""Sampling the neighbourhood of a checkpoint: the losses along the sampler's chains."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ontogeny.analysis.diagnostics import is_precise
from ontogeny.probes.landscape import Landscape, landscape_of
from ontogeny.probes.samplers import (
    SAMPLERS,
    Sampler,
    force,
    mala_acceptance,
    relaxation,
    step_sizes,
)
from ontogeny.problems.attention import fused_attention
from ontogeny.problems.problem import Batch, Problem, StateDict, on_data
from ontogeny.records import Chains
from ontogeny.streams import random_stream

HEAT = 4.0  # how much hotter the walks are that disperse the starting points of groups
LOOKS = 1.25  # how much longer chains become from one look at their precision to the next

Losses = NDArray[np.float64]


def sample_chains(problem: Problem, step: int, state: StateDict, settings: Sampler) -> Chains:
    """Sample the loss around a checkpoint.

    Every chain starts at the checkpoint, or with `groups` at a point of its group, and each draw
    has a fresh minibatch. On that of every `pairing`-th draw the checkpoint's own loss is measured
    too. Batches and noise are those of (seed, chain, draw), the same at every checkpoint, so that
    curves over training are smooth; their errors are therefore common offsets. The network is in
    eval mode; frozen parameters and buffers stay as they are, and so do weights that the settings
    do not let move.

    Args:
        problem: Gives the model, the data and the loss.
        step: The checkpoint's step.
        state: Its weights.
        settings: Of the sampler.

    Returns:
        The losses of all draws, burn-in included. A chain whose loss is not finite stops there,
        and its losses are nan from that draw on. A loss without positions counts as having one.
        Chains that stopped early because they were precise have as `burn_in` a third of their
        draws, if that is more than the settings ask for.

    Raises:
        ValueError: The weights are those of another network, none of them can be sampled, or
            weights or data that the settings name do not exist.

    Examples:
        At the bottom of a bowl of 400 weights the excess of nβL is about half their number.

        >>> from ontogeny.problems.exact import quadratic
        >>> problem = quadratic([1.0] * 400)
        >>> settings = Sampler(step_size=0.01, nbeta=50.0, localization=0.0, pairing=1)
        >>> chains = sample_chains(problem, 0, problem.model().state_dict(), settings)
        >>> excess = (chains.losses - chains.initial_losses)[:, chains.burn_in :]
        >>> round(float(chains.nbeta * excess.mean() / 200), 1)
        1.0

    References:
        E. Lau et al., "The local learning coefficient: a singularity-aware complexity measure"
        (AISTATS 2025), algorithm 1.
    """
    problem = on_data(problem, settings.data)
    landscape = landscape_of(problem, state, settings.weights)
    starts = [landscape.start] * settings.groups
    if settings.groups > 1:
        starts = [dispersed(problem, landscape, settings, [i]) for i in range(settings.groups)]
    walks = [
        walk(problem, landscape, settings, [i], starts[i * settings.groups // settings.chains])
        for i in range(settings.chains)
    ]
    parameters = landscape.start.shape[-1]
    blocks: list[list[Block]] = [[] for _ in walks]
    for look in looks(settings):
        with fused_attention():  # losses and gradients are all that a chain needs
            for found, rest in zip(blocks, walks, strict=True):
                found.extend(block for block, _ in islice(rest, look - len(found)))
        chains = chains_of(step, blocks, look, parameters, settings)
        if is_precise(chains, settings.precision):
            break
    return chains


def looks(settings: Sampler) -> Iterator[int]:
    """After how many blocks to look whether the chains are precise; at last, after all.

    Examples:
        >>> list(looks(Sampler(draws=1000, burn_in=200, block=50, precision=0.02)))
        [8, 10, 13, 17, 20]
    """
    last = settings.draws // settings.block
    look = max(4, 2 * settings.burn_in // settings.block) if settings.precision else last
    while look < last:
        yield look
        look = int(np.ceil(LOOKS * look))
    yield last


# Walking -----------------------------------------------------------------------------------------


class Draw(NamedTuple):
    """One draw of chains that go side by side.

    Attributes:
        batches: The minibatch of each chain.
        weights: Where the chains are.
        losses: Of the minibatches, there.
        gradient: Of the mean loss, there; it stands until the next draw.
        noise: Of the step from there; it stands until the next draw.
    """

    batches: list[Batch]
    weights: Float[Tensor, "*checkpoint chain parameter"]
    losses: Float[Tensor, "*checkpoint chain position"]
    gradient: Float[Tensor, "*checkpoint chain parameter"]
    noise: Float[Tensor, "chain parameter"]


class Block(NamedTuple):
    """Consecutive draws of chains that go side by side.

    Attributes:
        losses: Of each draw.
        initial_losses: Of the checkpoint, at the draws that are paired.
        position_losses: By position, the mean over all draws.
        paired_position_losses: By position, the mean over the draws that are paired.
        initial_position_losses: The checkpoint's.
        distances: |w − w*| after the last draw.
        drift_ratios: How large the pull of the last step was beside its noise.
        acceptances: What a Metropolis test would say to the last step.
    """

    losses: Float[np.ndarray, "*checkpoint chain draw"]
    initial_losses: Float[np.ndarray, "*checkpoint chain pair"]
    position_losses: Float[np.ndarray, "*checkpoint chain 1 position"]
    paired_position_losses: Float[np.ndarray, "*checkpoint chain 1 position"]
    initial_position_losses: Float[np.ndarray, "*checkpoint chain 1 position"]
    distances: Float[np.ndarray, "*checkpoint chain 1"]
    drift_ratios: Float[np.ndarray, "*checkpoint chain 1"]
    acceptances: Float[np.ndarray, "*checkpoint chain 1"]


def walk(
    problem: Problem,
    landscape: Landscape,
    settings: Sampler,
    chains: Sequence[int],
    start: Float[Tensor, "*checkpoint chain parameter"],
    role: str = "sampler",
) -> Iterator[tuple[Block, Float[Tensor, "*checkpoint chain parameter"]]]:
    """Blocks of draws along chains that go side by side, until none has a finite loss.

    Whether losses are finite is asked once in a block, so that an accelerator need not wait.

    Args:
        problem: Gives the data.
        landscape: Gives the loss.
        settings: Of the sampler.
        chains: Which chains they are, for their random numbers.
        start: Where they start.
        role: What the random numbers are for.

    Yields:
        The next block, and where the chains are after it.
    """
    init, step = SAMPLERS[settings.method]
    state, noise = init(start, landscape.start), start.new_empty(start.shape[-2:])

    def stream(kind: str, chain: int, draw: int) -> torch.Generator:
        return random_stream(settings.seed, f"{role} {kind}", chain, draw, device=start.device)

    for first in count(0, settings.block):
        trace, paired, initial = [], [], []
        for i in range(first, first + settings.block):
            batches = [problem.batch(settings.batch_size, stream("batch", c, i)) for c in chains]
            losses, gradient = landscape.evaluate(state.weights, batches)
            for row, chain in zip(noise, chains, strict=True):
                row.normal_(generator=stream("noise", chain, i))
            trace.append(losses)
            if i % settings.pairing == 0:
                paired.append(losses)
                initial.append(landscape.initial(batches))
            draw = Draw(batches, state.weights, losses, gradient, noise)
            state = step(state, gradient, noise, settings)
        ratio, acceptance = metropolis(landscape, draw, step_sizes(state, settings), settings)
        block = Block(
            *block_losses(trace, paired, initial),
            distances=array_of((state.weights - landscape.start).norm(dim=-1, keepdim=True)),
            drift_ratios=array_of(ratio[..., None]),
            acceptances=array_of(acceptance[..., None]),
        )
        yield block, state.weights
        if not np.isfinite(block.losses[..., -1]).any():
            return


def metropolis(
    landscape: Landscape, draw: Draw, step_size: Tensor | float, settings: Sampler
) -> tuple[Float[Tensor, "*checkpoint chain"], Float[Tensor, "*checkpoint chain"]]:
    """What MALA would say to the step from a draw, on its own minibatch.

    Returns:
        The length of the step's pull over that of its noise, and the probability with which it
        would be accepted.
    """
    w, center = draw.weights, landscape.start
    pull = force(w, center, draw.gradient, settings)
    proposal = w + step_size / 2 * pull + step_size**0.5 * draw.noise
    losses, gradient = landscape.evaluate(proposal, draw.batches)
    rise = settings.nbeta * (losses - draw.losses).mean(dim=-1)
    moved = ((proposal - w) * (proposal + w - 2 * center)).sum(dim=-1)
    rise = rise + settings.localization / 2 * moved
    pulls = pull + force(proposal, center, gradient, settings)
    ratio = (step_size**0.5 / 2 * pull).norm(dim=-1) / draw.noise.norm(dim=-1)
    return ratio, mala_acceptance(rise, pulls, draw.noise, step_size)


def dispersed(
    problem: Problem, landscape: Landscape, settings: Sampler, groups: Sequence[int]
) -> Float[Tensor, "*checkpoint group parameter"]:
    """Where groups of chains start: at the ends of walks four times as hot and as long as burn-in.

    In every direction the spread of such a walk is twice that of the chains, as far as it has the
    time to get there.
    """
    hot = replace(settings, nbeta=settings.nbeta / HEAT, localization=settings.localization / HEAT)
    start = landscape.start.repeat_interleave(len(groups), dim=-2)
    blocks = walk(problem, landscape, hot, groups, start, role="sampler start")
    for _, weights in islice(blocks, max(1, int(HEAT) * settings.burn_in // settings.block)):
        last = weights
    return last


# Records -----------------------------------------------------------------------------------------


def array_of(tensor: Tensor) -> Float[np.ndarray, "..."]:
    """Numbers for a record."""
    return tensor.double().cpu().numpy()


def block_losses(
    trace: list[Tensor], paired: list[Tensor], initial: list[Tensor]
) -> tuple[Losses, Losses, Losses, Losses, Losses]:
    """The first five fields of a block, from losses by position: of draws, paired draws, pairs."""
    draws, chosen, checkpoint = (
        array_of(torch.stack(losses, dim=-2)) for losses in (trace, paired, initial)
    )
    by_position = (x.mean(axis=-2, keepdims=True) for x in (draws, chosen, checkpoint))
    return draws.mean(axis=-1), checkpoint.mean(axis=-1), *by_position


def chains_of(
    step: int,
    walks: Sequence[Sequence[Block]],
    length: int,
    parameters: int,
    settings: Sampler,
) -> Chains:
    """The record of walks of a number of blocks; nan from the draw on at which a chain failed."""

    def joined(name: str) -> Float[np.ndarray, "chain ..."]:
        parts = []
        for blocks in walks:
            found = [getattr(block, name) for block in blocks]
            lost = [np.full_like(found[0], np.nan)] * (length - len(found))
            parts.append(np.concatenate([*found, *lost], axis=1))
        return np.concatenate(parts)

    losses = joined("losses")
    alive = np.logical_and.accumulate(np.isfinite(losses), axis=1)
    block_alive = alive[:, settings.block - 1 :: settings.block]

    def kept(name: str, alive: Bool[np.ndarray, "chain _"]) -> Float[np.ndarray, "chain ..."]:
        found = joined(name)
        return np.where(alive.reshape(*alive.shape, *[1] * (found.ndim - 2)), found, np.nan)

    burn_in = settings.burn_in
    if settings.precision:
        burn_in = max(burn_in, length // 3 * settings.block)
    return Chains(
        step=step,
        losses=kept("losses", alive),
        initial_losses=kept("initial_losses", alive[:, :: settings.pairing]),
        position_losses=kept("position_losses", block_alive),
        paired_position_losses=kept("paired_position_losses", block_alive),
        initial_position_losses=kept("initial_position_losses", block_alive),
        distances=kept("distances", block_alive),
        drift_ratios=kept("drift_ratios", block_alive),
        acceptances=kept("acceptances", block_alive),
        nbeta=settings.nbeta,
        step_size=settings.step_size,
        localization=settings.localization,
        relaxation=relaxation(settings),
        burn_in=burn_in,
        parameters=parameters,
        groups=settings.groups,
        precision=settings.precision,
    )
