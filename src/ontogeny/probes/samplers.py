r"""Samplers: how a chain walks through the weights around a checkpoint w*.

A sampler is two pure functions on flat vectors: `init(weights) -> state` and
`step(state, gradient, noise, settings) -> state`. The state holds what the chain needs next and
nothing else, the noise is standard normal and comes from the caller, and the weights of every
state are `state.weights`. All of them aim at

$$p(w) \propto \exp(-n\beta\, L(w) - (\gamma / 2)\, \|w - w^*\|^2).$$
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """How the neighbourhood of a checkpoint is sampled; the same at every checkpoint.

    Attributes:
        step_size: ε, the variance of the noise in one step.
        nbeta: nβ, multiplies the loss: the resolution at which it is looked at.
        localization: γ, strength of the pull towards the checkpoint.
        chains: Independent chains, all started at the checkpoint.
        draws: Draws of each chain, burn-in included.
        burn_in: Draws left out of averages.
        batch_size: Fresh examples in the minibatch of each draw. The loss of the checkpoint itself
            is measured on the same ones: chains × draws × batch_size in all.
        block: How many draws one block mean of the losses by position covers.
        seed: Which random numbers.

    Raises:
        ValueError: A setting is impossible.

    Examples:
        >>> Sampler(draws=100, burn_in=100)
        Traceback (most recent call last):
        ...
        ValueError: burn_in (100) must leave some of the 100 draws
    """

    step_size: float = 3e-4
    nbeta: float = 66.67
    localization: float = 6.67
    chains: int = 4
    draws: int = 400
    burn_in: int = 100
    batch_size: int = 128
    block: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"chains": 1, "draws": 1, "burn_in": 0, "batch_size": 1, "block": 1}
        for name, bound in {**least, "localization": 0}.items():
            if not bound <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least {bound}, not {getattr(self, name)}")
        for name in ("step_size", "nbeta"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.burn_in >= self.draws:
            raise ValueError(f"burn_in ({self.burn_in}) must leave some of the {self.draws} draws")
        if self.burn_in % self.block or self.draws % self.block:
            raise ValueError(
                f"burn_in ({self.burn_in}) and draws ({self.draws}) "
                f"must be multiples of block ({self.block})"
            )


class SGLD(NamedTuple):
    """State of stochastic gradient Langevin dynamics.

    Attributes:
        weights: w, where the chain is.
        center: w*, where it started.
    """

    weights: Float[Tensor, " parameter"]
    center: Float[Tensor, " parameter"]


def init_sgld(weights: Float[Tensor, " parameter"]) -> SGLD:
    """A chain at its start."""
    return SGLD(weights=weights, center=weights)


def step_sgld(
    state: SGLD,
    gradient: Float[Tensor, " parameter"],
    noise: Float[Tensor, " parameter"],
    settings: Sampler,
) -> SGLD:
    r"""One step of stochastic gradient Langevin dynamics.

    $$\Delta w = -\frac{\varepsilon}{2} \left( n\beta\, \nabla L + \gamma (w - w^*) \right)
    + \sqrt{\varepsilon}\, \eta$$

    Args:
        state: Where the chain is.
        gradient: ∇L, the gradient of the mean loss of a minibatch at `state.weights`.
        noise: η, standard normal.
        settings: ε, nβ and γ.

    Returns:
        Where it is next; the tensors of `state` are left as they are.

    Examples:
        >>> import torch
        >>> settings = Sampler(step_size=0.25, nbeta=4.0, localization=2.0)
        >>> state = init_sgld(torch.tensor([1.0]))
        >>> step_sgld(state, torch.tensor([1.0]), torch.tensor([3.0]), settings).weights
        tensor([2.])

    References:
        M. Welling, Y. W. Teh, "Bayesian learning via stochastic gradient Langevin dynamics"
        (ICML 2011), equation 4, with a constant step size.
    """
    w, center = state
    epsilon, nbeta, gamma = settings.step_size, settings.nbeta, settings.localization
    drift = nbeta * gradient + gamma * (w - center)
    return SGLD(w - epsilon / 2 * drift + math.sqrt(epsilon) * noise, center)
