r"""Problems whose answer is known, to hold the sampler to.

The loss of most of them is a function of the weights alone: every example has the same loss, so a
minibatch adds no noise. The untrained network stands at the origin, the minimum at which the
learning coefficient is known, and works in double precision. Of the last, a small network beside
its teacher, only the minimum is known.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from operator import mul

import numpy as np
import torch
from scipy.special import loggamma
from torch import Tensor, nn

from ontogeny.problems.problem import Batch, Problem
from ontogeny.streams import random_stream

RARE = 7.0  # how far up a weight seldom comes: exp(-RARE)


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


def monomials(powers: Sequence[Sequence[int]], copies: int = 1) -> Problem:
    """L(w) = ½ Σⱼ Πᵢ wⱼᵢ^pⱼᵢ: a sum of normal crossings, each in weights of its own.

    `[[4]]` is ½w⁴, `[[2], [2]]` is ½(w₁² + w₂²) and `[[2, 2]]` is ½w₁²w₂².

    Args:
        powers: p, one row for each term, all of the same length; even and positive.
        copies: How often the whole sum is there, each time in other weights. One chain is then as
            good as that many, and the sampler should find that many times the answer.

    Returns:
        The problem; `monomials_llc` is what a sampler with short steps should find.

    Raises:
        ValueError: A power is odd or not positive, the rows differ in length, or there is no copy.

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
    if copies < 1:
        raise ValueError(f"copies must be at least 1, not {copies}")
    terms = [tuple(row) for row in powers] * copies
    # The powers of each factor, halved: a number if all terms agree, which is much faster.
    k = [
        half[0] if len(set(half)) == 1 else torch.tensor(half)
        for half in ([p // 2 for p in column] for column in zip(*terms, strict=True))
    ]

    def loss(w: Tensor) -> Tensor:
        factors = zip(w.unbind(dim=1), k, strict=True)
        powered = (x ** (n.to(w.device) if isinstance(n, Tensor) else n) for x, n in factors)
        return reduce(mul, powered).square().sum() / 2

    return potential_problem(
        name="monomials",
        settings={"powers": [list(row) for row in powers], "copies": copies},
        shape=(len(terms), len(k)),
        loss=loss,
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
    grows; but for a single power and γ = 0 the two agree at every nβ. Where m powers share the
    maximum, it lacks about (m − 1)/ln(nβ).

    For one term, whose powers are 2k, the moments of a normal variable and the Mellin transform of
    the exponential turn the integral over all weights into one along a line,

    $$Z = \mathbb{E}\, e^{-n\beta L} = \frac{1}{2 \pi i} \int_{c - i\infty}^{c + i\infty}
    \Gamma(s)\, b^{-s} \prod_i \frac{\Gamma(\tfrac12 - k_i s)}{\sqrt\pi}\, ds, \qquad
    b = \frac{n\beta}{2} \prod_i \Bigl(\frac{2}{\gamma}\Bigr)^{k_i}, \quad 0 < c < \lambda,$$

    and the answer, −d ln Z / d ln b, is the mean of s over it. The first pole on the right is at λ
    and has multiplicity m.

    Args:
        powers: p, as for `monomials`.
        nbeta: nβ.
        localization: γ, positive where a term has more than one factor.

    Returns:
        The mean, to eight digits.

    Raises:
        ValueError: A term has several factors and γ is 0, so that the distribution cannot be
            normalized.

    Examples:
        >>> monomials_llc([[4]], nbeta=10.0, localization=0.0)
        0.25
        >>> round(monomials_llc([[4, 4]], nbeta=1e15, localization=1.0), 4)
        0.2241
    """
    if localization == 0 and max(len(row) for row in powers) > 1:
        raise ValueError("a product of weights needs a positive localization")
    return sum(_term_llc(tuple(row), nbeta, localization) for row in powers)


@lru_cache
def _term_llc(powers: tuple[int, ...], nbeta: float, localization: float) -> float:
    """One term's share of `monomials_llc`, by the trapezoidal rule along the line.

    The line is the closer to the pole the larger b is, lest the integral be small by cancellation.
    The rule errs by exp(-2π·margin/spacing), where the margin is the way to the nearest pole, and
    the integrand is less than exp(-60) of its maximum where it ends.
    """
    if localization == 0:
        return 1 / powers[0]
    k, pole = np.array(powers) / 2, 1 / max(powers)
    log_b = math.log(nbeta / 2) + k.sum() * math.log(2 / localization)
    margin = pole / (2 + pole * max(log_b, 0))
    spacing, length = margin / 8, 120 / (math.pi * (1 + k.sum()))
    s = pole - margin + 1j * np.arange(0, length, spacing)
    z = np.exp(loggamma(s) + loggamma(0.5 - np.multiply.outer(k, s)).sum(axis=0) - s * log_b)
    z[0] /= 2  # the line's other half is the conjugate of this one
    return float((s * z).sum().real / z.sum().real)


def monomials_stiffness(
    powers: Sequence[Sequence[int]], nbeta: float, localization: float
) -> float:
    r"""The curvature of nβ·L that a chain on `monomials` must be ready for.

    It is that along one weight where nβ·L is `RARE` above its minimum and so is the localization of
    every other weight of the term: $p (p - 1)\, E / w^2$, E = `RARE`. A single square has one
    curvature, nβ.

    Args:
        powers: p, as for `monomials`.
        nbeta: nβ.
        localization: γ, positive where a term has more than one factor.

    Examples:
        >>> round(monomials_stiffness([[2]], nbeta=10.0, localization=1.0), 9)
        10.0
    """
    stiffest = 0.0
    for row in powers:
        for p in row:
            others = sum(row) - p
            reach = (2 * RARE / localization) ** (others / 2) if others else 1.0
            squared = (2 * RARE / (nbeta * reach)) ** (2 / p)
            stiffest = max(stiffest, p * (p - 1) * RARE / squared)
    return stiffest


# A network at its teacher ------------------------------------------------------------------------


def relu_regression(examples: int = 10_000) -> Problem:
    """A ReLU network 10-20-20-10 that learns another of its kind from a fixed set of examples.

    The loss is half the squared distance, on standard normal inputs and without noise. The
    untrained network is the teacher itself, where the loss is zero.

    Args:
        examples: How many there are. A batch is drawn from them with replacement; the data set
            `all` gives the first n of them instead.

    Returns:
        The problem, in single precision.

    Examples:
        >>> problem = relu_regression(examples=100)
        >>> batch = problem.datasets["all"](100, torch.Generator())
        >>> problem.loss(problem.model(), batch).sum().item()
        0.0
    """
    inputs = torch.randn(examples, 10, generator=random_stream(0, "relu inputs"))

    def model() -> nn.Module:
        first, second, third = nn.Linear(10, 20), nn.Linear(20, 20), nn.Linear(20, 10)
        stream = random_stream(0, "relu teacher")
        for layer in (first, second, third):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=stream)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    with torch.no_grad():
        data = (inputs, model()(inputs))

    def batch(n: int, generator: torch.Generator) -> Batch:
        device = generator.device
        chosen = torch.randint(examples, (n,), generator=generator, device=device)
        return tuple(tensor.to(device)[chosen] for tensor in data)

    def in_order(n: int, generator: torch.Generator) -> Batch:
        return tuple(tensor[:n].to(generator.device) for tensor in data)

    return Problem(
        name=f"{__name__}:relu_regression",
        settings={"examples": examples},
        model=model,
        batch=batch,
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().sum(dim=1) / 2,
        outputs=lambda model, batch: model(batch[0]),
        datasets={"all": in_order},
    )
