r"""Problems whose answer is known, to hold the sampler to.

Their loss is a function of the weights alone: every example has the same loss, so a minibatch adds
no noise. The untrained network stands at the origin, the minimum at which the learning coefficient
is known, and works in double precision.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ontogeny.problems.problem import Batch, Problem


class Weights(nn.Module):
    """A network that is nothing but its weights, at the origin."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def forward(self) -> Tensor:
        """The weights."""
        return self.weights


def potential_problem(
    name: str, settings: dict[str, object], shape: tuple[int, ...], loss: Callable[[Tensor], Tensor]
) -> Problem:
    """A problem whose loss is a function of its weights alone."""

    def outputs(model: nn.Module, batch: Batch) -> Tensor:
        weights: Tensor = model()
        return weights.reshape(1, -1).expand(len(batch[0]), -1)

    return Problem(
        name=f"{__name__}:{name}",
        settings=settings,
        model=lambda: Weights(*shape),
        batch=lambda n, generator: (torch.zeros(n, 1, device=generator.device),),
        loss=lambda model, batch: loss(model()).expand(len(batch[0])),
        outputs=outputs,
    )


# Quadratic ---------------------------------------------------------------------------------------


def quadratic(eigenvalues: Sequence[float]) -> Problem:
    """L(w) = ½ Σ hᵢwᵢ²: a regular minimum, with learning coefficient d/2.

    Args:
        eigenvalues: h, the eigenvalues of the Hessian.

    Returns:
        The problem; `quadratic_llc` is what a sampler should find.

    Examples:
        >>> problem = quadratic([2.0, 6.0])
        >>> model = problem.model()
        >>> model.load_state_dict({"weights": torch.tensor([1.0, 1.0])})
        <All keys matched successfully>
        >>> problem.loss(model, problem.batch(3, torch.Generator())).tolist()
        [4.0, 4.0, 4.0]
    """
    h = torch.tensor(list(eigenvalues), dtype=torch.float64)
    return potential_problem(
        name="quadratic",
        settings={"eigenvalues": h.tolist()},
        shape=h.shape,
        loss=lambda w: (h.to(w.device) * w.square()).sum() / 2,
    )


def quadratic_llc(
    eigenvalues: Sequence[float], nbeta: float, localization: float, step_size: float
) -> float:
    r"""The λ̂ that SGLD gives on `quadratic` in the long run, bias of the step size included.

    $$\mathbb{E}\,\hat\lambda = \frac12 \sum_i \frac{n\beta\, h_i}
    {k_i (1 - \varepsilon k_i / 4)}, \qquad k_i = n\beta\, h_i + \gamma$$

    Args:
        eigenvalues: h, the eigenvalues of the Hessian.
        nbeta: nβ.
        localization: γ.
        step_size: ε; 0 gives the mean of the distribution that the sampler aims at.

    Returns:
        The mean; infinite if the step is so long that the chain diverges, ε·kᵢ ≥ 4.

    Examples:
        >>> quadratic_llc([1.0, 5.0], nbeta=10.0, localization=0.0, step_size=0.0)
        1.0
    """
    h = np.asarray(eigenvalues, dtype=float)
    k = nbeta * h + localization
    if (step_size * k >= 4).any():
        return math.inf
    return float((nbeta * h / (k * (1 - step_size * k / 4))).sum() / 2)


# Monomials ---------------------------------------------------------------------------------------


def monomials(powers: Sequence[Sequence[int]]) -> Problem:
    """L(w) = ½ Σⱼ Πᵢ wⱼᵢ^pⱼᵢ: a sum of normal crossings, each in weights of its own.

    `[[4]]` is ½w⁴, `[[2], [2]]` is ½(w₁² + w₂²) and `[[2, 2]]` is ½w₁²w₂².

    Args:
        powers: p, one row for each term, all of the same length; even and positive.

    Returns:
        The problem; `monomials_llc` is what a sampler with short steps should find.

    Raises:
        ValueError: A power is odd or not positive, or the rows differ in length.

    Examples:
        >>> problem = monomials([[2, 4]])
        >>> model = problem.model()
        >>> model.load_state_dict({"weights": torch.tensor([[3.0, 2.0]])})
        <All keys matched successfully>
        >>> problem.loss(model, problem.batch(1, torch.Generator())).tolist()
        [72.0]
    """
    if any(p < 2 or p % 2 for row in powers for p in row):
        raise ValueError(f"powers must be even and positive, not {powers}")
    if len({len(row) for row in powers}) != 1:
        raise ValueError(f"every term must have the same number of factors, not {powers}")
    p = torch.tensor([list(row) for row in powers])
    return potential_problem(
        name="monomials",
        settings={"powers": p.tolist()},
        shape=p.shape,
        loss=lambda w: (w ** p.to(w.device)).prod(dim=1).sum() / 2,
    )


def monomials_learning_coefficient(powers: Sequence[Sequence[int]]) -> float:
    """The learning coefficient λ of `monomials` at the origin: the sum of 1/max(p) over the terms.

    Examples:
        >>> monomials_learning_coefficient([[4], [2]]), monomials_learning_coefficient([[2, 4]])
        (0.75, 0.25)
    """
    return sum(1 / max(row) for row in powers)


def monomials_llc(powers: Sequence[Sequence[int]], nbeta: float, localization: float) -> float:
    r"""Mean of nβ·L under p(w) ∝ exp(−nβ·L(w) − (γ/2)|w|²) on `monomials`, by quadrature.

    This is what a sampler gives as its step size goes to zero. It is not λ, which it becomes as nβ
    grows; but for a single power and γ = 0 the two agree at every nβ.

    Args:
        powers: p, as for `monomials`.
        nbeta: nβ.
        localization: γ, positive where a term has two factors.

    Returns:
        The mean, to ten digits.

    Raises:
        ValueError: A term has two factors and γ is 0, so that the distribution cannot be
            normalized, or a term has more than two.

    Examples:
        >>> round(monomials_llc([[4]], nbeta=10.0, localization=0.0), 6)
        0.25
    """
    factors = max(len(row) for row in powers)
    if factors > 2:
        raise ValueError(f"only terms of one or two factors can be integrated, not of {factors}")
    if factors == 2 and localization == 0:
        raise ValueError("a product of two weights needs a positive localization")
    return sum(_term_llc(tuple(row), nbeta, localization) for row in powers)


@lru_cache
def _term_llc(powers: tuple[int, ...], nbeta: float, localization: float) -> float:
    """One term's share of `monomials_llc`.

    The trapezoidal rule in log w, where the integrand is smooth at every scale of w at once. Above
    the upper end the density is less than exp(-80), below the lower end there is no mass left.
    """
    largest = [math.sqrt(160 / localization)] if localization else []
    if len(powers) == 1:
        largest.append((160 / nbeta) ** (1 / powers[0]))
    log_w = math.log(min(largest)) + np.linspace(-40, 0, 801)
    grid = np.meshgrid(*[log_w] * len(powers))
    energy = nbeta / 2 * np.exp(sum(p * x for p, x in zip(powers, grid, strict=True)))
    pull = localization / 2 * sum(np.exp(2 * x) for x in grid)
    density = np.exp(-energy - pull + sum(grid))
    return float((energy * density).sum() / density.sum())
