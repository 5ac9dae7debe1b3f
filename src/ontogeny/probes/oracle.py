r"""A sampler without bias, for small problems: Hamiltonian Monte Carlo on one fixed batch.

Every step is accepted or rejected by a Metropolis test, so the chains have exactly the distribution

$$p(w) \propto e^{-U(w)}, \qquad U(w) = n\beta\, L(w) + \tfrac{\gamma}{2} \|w - w^*\|^2,$$

whatever the step size. With one leapfrog a step is that of the Metropolis-adjusted Langevin
algorithm (MALA), which proposes a step of SGLD with the same ε. It needs all data at once and short
steps where there are many weights: an oracle for the samplers that a run is measured with.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.probes.landscape import landscape_of
from ontogeny.problems.problem import Problem, StateDict, on_data
from ontogeny.records import Chains
from ontogeny.streams import random_stream

Potential = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Oracle:
    """How the oracle samples.

    Attributes:
        step_size: ε, the square of the length h of a leapfrog.
        leapfrogs: How many make a step.
        nbeta: nβ, multiplies the loss.
        localization: γ, strength of the pull towards the checkpoint.
        chains: Independent chains, all started at the checkpoint.
        draws: Draws of each chain, burn-in included.
        burn_in: Draws left out of averages.
        block: How many draws one mean of losses by position and of acceptance covers.
        examples: How many examples the one batch has that everything is computed on.
        data: Which of the problem's other data sets they are from; its own if empty.
        seed: Which random numbers.

    Raises:
        ValueError: A setting is impossible.

    Examples:
        >>> Oracle(leapfrogs=0)
        Traceback (most recent call last):
        ...
        ValueError: leapfrogs must be at least 1, not 0
    """

    step_size: float = 3e-4
    leapfrogs: int = 1
    nbeta: float = 66.67
    localization: float = 66.67
    chains: int = 4
    draws: int = 400
    burn_in: int = 100
    block: int = 50
    examples: int = 1
    data: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("leapfrogs", "chains", "draws", "block", "examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("step_size", "nbeta"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.localization < math.inf:
            raise ValueError(f"localization must be at least 0, not {self.localization}")
        if not 0 <= self.burn_in < self.draws or self.draws % self.block:
            raise ValueError(
                f"burn_in ({self.burn_in}) must leave some of the {self.draws} draws, which must "
                f"be a multiple of block ({self.block})"
            )


class State(NamedTuple):
    """Where a chain of the oracle is.

    Attributes:
        weights: w.
        energy: U(w).
        slope: ∇U(w).
        losses: L(w) by position.
        acceptance: The probability with which the step that led here was to be accepted.
    """

    weights: Float[Tensor, " parameter"]
    energy: Float[Tensor, ""]
    slope: Float[Tensor, " parameter"]
    losses: Float[Tensor, " position"]
    acceptance: float


def init_oracle(weights: Float[Tensor, " parameter"], potential: Potential) -> State:
    """A chain at its start."""
    return State(weights, *potential(weights), acceptance=1.0)


def step_oracle(
    state: State,
    potential: Potential,
    noise: Float[Tensor, " parameter"],
    uniform: float,
    settings: Oracle,
) -> State:
    r"""One step of Hamiltonian Monte Carlo: some leapfrogs from a fresh velocity, and a test.

    With $u = \eta$ at first and $h = \sqrt{\varepsilon}$, a leapfrog is

    $$u \leftarrow u - \tfrac{h}{2} \nabla U(w), \quad w \leftarrow w + h\, u, \quad
    u \leftarrow u - \tfrac{h}{2} \nabla U(w),$$

    and where it leads is accepted with probability $\min(1, e^{-\Delta})$,
    $\Delta = U(w') - U(w) + \tfrac12 (\|u'\|^2 - \|\eta\|^2)$.

    Args:
        state: Where the chain is.
        potential: Of weights: U, ∇U, and the losses by position.
        noise: η, standard normal.
        uniform: Between 0 and 1; the step is accepted if it is less than the probability.
        settings: ε and the number of leapfrogs.

    Returns:
        Where it is next: the end of the leapfrogs, or where it was. A step to where the potential
        is not a finite number is never accepted.

    Examples:
        On U = w²/2, a step of ε = 1 from 0 with η = 2 to 2 with u = 1: Δ = 2 + (1 − 4) / 2.

        >>> potential = lambda w: ((w**2).sum() / 2, w, (w**2).sum()[None])
        >>> settings = Oracle(step_size=1.0)
        >>> state = init_oracle(torch.zeros(1), potential)
        >>> moved = step_oracle(state, potential, torch.tensor([2.0]), 0.5, settings)
        >>> moved.weights.item(), round(moved.acceptance, 4)
        (2.0, 0.6065)

    References:
        S. Duane, A. D. Kennedy, B. J. Pendleton, D. Roweth, "Hybrid Monte Carlo" (1987).
    """
    h = math.sqrt(settings.step_size)
    w, velocity, slope = state.weights, noise, state.slope
    for _ in range(settings.leapfrogs):
        velocity = velocity - h / 2 * slope
        w = w + h * velocity
        energy, slope, losses = potential(w)
        velocity = velocity - h / 2 * slope
    rise = energy - state.energy + (velocity.square().sum() - noise.square().sum()) / 2
    acceptance = math.exp(-max(float(rise), 0.0)) if rise.isfinite() else 0.0
    if uniform < acceptance:
        return State(w, energy, slope, losses, acceptance)
    return state._replace(acceptance=acceptance)


def sample_oracle(problem: Problem, step: int, state: StateDict, settings: Oracle) -> Chains:
    """Sample the loss around a checkpoint without bias of step size or minibatches.

    Args:
        problem: Gives the model, the data and the loss.
        step: The checkpoint's step.
        state: Its weights.
        settings: Of the oracle.

    Returns:
        The same record as `sample_chains` makes, for `estimate_llc` and `diagnose`. Its acceptances
        are the mean over the steps of each block.

    Raises:
        ValueError: The weights are those of another network, or there is no such data set.

    Examples:
        On a quadratic the mean is exact at any step size, here 100 / 2 · 50 / (50 + 50), though
        a third of the steps is rejected.

        >>> from ontogeny.analysis import estimate_llc
        >>> from ontogeny.problems.exact import quadratic
        >>> problem = quadratic([1.0] * 100)
        >>> settings = Oracle(step_size=0.005, nbeta=50.0, localization=50.0, draws=800)
        >>> chains = sample_oracle(problem, 0, problem.model().state_dict(), settings)
        >>> round(float(estimate_llc([chains]).values[0, 0]))
        25
    """
    problem = on_data(problem, settings.data)
    landscape = landscape_of(problem, state)
    center = landscape.start[0]
    stream = random_stream(settings.seed, "oracle batch", device=center.device)
    batch = problem.batch(settings.examples, stream)

    def potential(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        losses, gradient = landscape.evaluate(w[None], [batch])
        pull = settings.localization * (w - center)
        energy = settings.nbeta * losses.mean() + (pull * (w - center)).sum() / 2
        return energy, settings.nbeta * gradient[0] + pull, losses[0]

    walks = [walk_oracle(potential, center, settings, chain) for chain in range(settings.chains)]
    losses, distances, acceptances = (np.stack(parts) for parts in zip(*walks, strict=True))
    initial = np.broadcast_to(landscape.initial([batch])[0].double().cpu().numpy(), losses.shape)

    def blocks(draws: Float[np.ndarray, "chain draw ..."]) -> Float[np.ndarray, "chain block ..."]:
        parts = draws.reshape(settings.chains, -1, settings.block, *draws.shape[2:])
        means: np.ndarray = parts.mean(axis=2)
        return means

    return Chains(
        step=step,
        losses=losses.mean(axis=-1),
        initial_losses=initial.mean(axis=-1),
        position_losses=blocks(losses),
        initial_position_losses=blocks(initial),
        distances=distances[:, settings.block - 1 :: settings.block],
        acceptances=blocks(acceptances),
        nbeta=settings.nbeta,
        step_size=settings.step_size,
        localization=settings.localization,
        burn_in=settings.burn_in,
        parameters=center.numel(),
    )


def walk_oracle(
    potential: Potential, start: Tensor, settings: Oracle, chain: int
) -> tuple[
    Float[np.ndarray, "draw position"], Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]
]:
    """Losses by position, distances from the start after, and acceptances of each draw."""
    state = init_oracle(start, potential)
    losses, distances, acceptances = [], [], []
    for draw in range(settings.draws):
        stream = random_stream(settings.seed, "oracle", chain, draw, device=start.device)
        noise = torch.empty_like(start).normal_(generator=stream)
        uniform = torch.rand((), generator=stream, device=start.device).item()
        losses.append(state.losses)
        state = step_oracle(state, potential, noise, uniform, settings)
        distances.append((state.weights - start).norm())
        acceptances.append(state.acceptance)
    walk = [torch.stack(tensors).double().cpu().numpy() for tensors in (losses, distances)]
    return walk[0], walk[1], np.array(acceptances)
