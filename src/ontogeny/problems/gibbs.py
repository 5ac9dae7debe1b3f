r"""What a sampler should find on a deep linear network, exact up to a Monte Carlo error.

A learning coefficient is a limit. At finite nβ and localization γ, a perfect sampler finds the mean
of nβ(L(w) − L(w*)) under

$$p(w) \propto \exp\bigl(-n\beta\, L(w) - \tfrac{\gamma}{2} \lVert w - w^* \rVert^2\bigr).$$

For a product of matrices it has no closed form. But each layer is normal given the others, with
independent entries in a rotated basis, so Gibbs sampling needs no step size and has no bias.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float
from torch import Tensor

from ontogeny.problems.linear import loss_scale

Draws = Float[np.ndarray, "chain sweep"]
Layer = Float[np.ndarray, "_ _"]
Layers = Float[np.ndarray, "_ _ _"]  # of each chain, or of all


class GibbsLLC(NamedTuple):
    """The mean of nβ(L(w) − L(w*)), and how well it is known.

    Attributes:
        value: The mean.
        stderr: Its standard error: the larger of what the spread of the chains says and what the
            autocorrelation along them says.
        rhat: Split R-hat of the chains, which start from both sides; nan if nothing varies.
        stiffness: The largest curvature nβ·h + γ that was met (of the Gauss-Newton matrix, a bound
            from above): a sampler is stable where its step size is below 4 / stiffness.
    """

    value: float
    stderr: float
    rhat: float
    stiffness: float


def gibbs_llc(
    point: Mapping[str, Tensor],
    nbeta: float,
    localization: float,
    chains: int = 16,
    sweeps: int = 1000,
    burn_in: int = 100,
    seed: int = 0,
) -> GibbsLLC:
    """The mean that a perfect sampler finds at a minimum of `deep_linear`, by Gibbs sampling.

    Every other chain starts at w*, where the loss is least, and the others at draws from the
    localization alone, where it is far too high: R-hat is near 1 once they have met. Mostly that
    takes ten sweeps; but a chain that reaches another set of minima, one that weighs little less
    than that around w*, can stay there for hundreds. What is averaged is not the loss of each draw
    but its mean given all layers but one, which varies less.

    Args:
        point: w*, the state dict of a minimum with loss zero, such as `minimum` gives; its product
            is the teacher.
        nbeta: nβ.
        localization: γ, positive.
        chains: How many, two or more.
        sweeps: How often every layer is drawn after burn-in, four times or more.
        burn_in: How often before.
        seed: Of all random numbers.

    Returns:
        The mean and its error. For a single layer, where everything is normal, the error is zero.

    Raises:
        ValueError: The localization is not positive, so that the distribution cannot be normalized,
            or the chains are too few or too short for an error.

    Examples:
        One layer from two inputs to three outputs has six weights of equal curvature h, so that the
        mean is 3·nβ·h / (nβ·h + γ).

        >>> from ontogeny.problems.linear_minima import minimum
        >>> point = minimum([2, 3], rank=1)  # h = 2 / ((2 + 2) · 3)
        >>> round(gibbs_llc(point, nbeta=12.0, localization=1.0, sweeps=4).value, 12)
        2.0
    """
    teacher: Tensor = reduce(lambda below, layer: layer @ below, point.values())
    shape = (chains, burn_in + sweeps)
    return gibbs_excess(point, teacher, nbeta, localization, shape, burn_in, seed)


def gibbs_excess(
    point: Mapping[str, Tensor],
    teacher: Float[Tensor, "d_out d_in"],
    nbeta: float,
    localization: float,
    shape: tuple[int, int] = (16, 1100),
    burn_in: int = 100,
    seed: int = 0,
) -> GibbsLLC:
    """`gibbs_llc` anywhere, for any teacher: at a saddle the mean excess may be negative.

    It is then no learning coefficient: the chains go down from the point, the further the larger
    nβ is beside the localization.

    Args:
        point: w*, any weights of `deep_linear`.
        teacher: What the network learns.
        nbeta: nβ.
        localization: γ, positive.
        shape: Chains, and how often every layer is drawn.
        burn_in: How many of these do not count.
        seed: Of all random numbers.

    Raises:
        ValueError: As for `gibbs_llc`.

    Examples:
        From zero weights, one layer with a loose localization gets all of the way to its teacher.

        >>> import torch
        >>> point, teacher = {"layers.0": torch.zeros(1, 1)}, torch.ones(1, 1)  # h = 2 / 3
        >>> found = gibbs_excess(point, teacher, nbeta=3e6, localization=1e-3, shape=(2, 104))
        >>> round(found.value / 1e6, 3)  # nβ times the loss of zero weights, 1/3
        -1.0
    """
    chains, sweeps = shape[0], shape[1] - burn_in
    if not (0 < localization < math.inf and 0 <= nbeta < math.inf):
        raise ValueError(
            "a product of weights needs a positive localization and nβ of at least 0, not "
            f"{localization} and {nbeta}"
        )
    if chains < 2 or sweeps < 4:
        raise ValueError("an error needs two chains or more, of four sweeps or more")
    center = [weights.double().numpy(force=True) for weights in point.values()]
    goal = teacher.double().numpy(force=True)[None]
    energies, stiffness = run_chains(
        center, goal, (nbeta, localization), shape, np.random.default_rng(seed)
    )
    return summary(energies[:, burn_in:], stiffness[:, burn_in:])


def summary(energies: Draws, stiffness: Draws) -> GibbsLLC:
    """The mean over chains and sweeps, with the larger of two standard errors."""
    if np.ptp(energies) <= 1e-9 * abs(energies).max():  # nothing but rounding
        return GibbsLLC(float(energies.mean()), 0.0, np.nan, float(stiffness.max()))
    between = energies.mean(axis=1).std(ddof=1) / np.sqrt(len(energies))
    along = array_stats.mcse(energies, method="mean")
    rhat = array_stats.rhat(energies, method="identity")
    stderr = max(between, along)
    return GibbsLLC(float(energies.mean()), float(stderr), float(rhat), float(stiffness.max()))


# Sweeps ------------------------------------------------------------------------------------------


class Conditional(NamedTuple):
    """A layer given the others: W = U X Vᵀ, where X has independent normal entries."""

    mean: Layers
    precision: Layers
    left: Layers
    right: Layers


def run_chains(
    center: Sequence[Layer],
    teacher: Float[np.ndarray, "1 d_out d_in"],
    scales: tuple[float, float],
    shape: tuple[int, int],
    random: np.random.Generator,
) -> tuple[Draws, Draws]:
    """The energy and the stiffness of every chain after every sweep.

    Sweeps go up and down in turn. The energy is nβ(L(w) − L(w*)), its mean given all layers but
    one, averaged over which one that is.
    """
    widths = [center[0].shape[1], *(len(layer) for layer in center)]
    nbeta, localization = scales
    curvature = 2 * nbeta * loss_scale(widths)
    start = curvature / 2 * np.square(product(center, widths[0]) - teacher).sum()
    weights = [np.repeat(layer[None], shape[0], axis=0) for layer in center]
    for layer in weights:
        layer[1::2] += random.standard_normal(layer[1::2].shape) / np.sqrt(localization)
    energies, stiffness = np.zeros(shape), np.full(shape, localization)
    for sweep in range(shape[1]):
        for i in range(len(center))[:: 1 if sweep % 2 == 0 else -1]:
            below = product(weights[:i], widths[0])
            above = product(weights[i + 1 :], widths[i + 1])
            given = layer_given_others(above, below, center[i], teacher, (curvature, localization))
            noise = random.standard_normal(weights[i].shape) / np.sqrt(given.precision)
            weights[i] = given.left @ (given.mean + noise) @ transposed(given.right)
            slope = given.precision - localization
            spread = (slope / given.precision).sum(axis=(1, 2)) / 2
            miss = above @ given.left @ given.mean @ transposed(given.right) @ below - teacher
            energies[:, sweep] += spread + curvature / 2 * np.square(miss).sum(axis=(1, 2))
            stiffness[:, sweep] += slope.max(axis=(1, 2))
    return energies / len(center) - start, stiffness


def layer_given_others(
    above: Float[np.ndarray, "#chain d_out out"],
    below: Float[np.ndarray, "#chain into d_in"],
    center: Float[np.ndarray, "out into"],
    teacher: Float[np.ndarray, "1 d_out d_in"],
    scales: tuple[float, float],
) -> Conditional:
    r"""The distribution of W where the network is AWB and A and B are held fixed.

    With $A^\top A = U \operatorname{diag}(a)\, U^\top$ and
    $B B^\top = V \operatorname{diag}(b)\, V^\top$, the entries of $X = U^\top W V$ are independent
    with precisions $k a_i b_j + \gamma$, where k/2 is what the squared distance to the teacher
    counts, and means $(k\, U^\top\! A^\top T B^\top V + \gamma\, U^\top W^* V)_{ij}$ over these.
    """
    curvature, localization = scales
    a, left = np.linalg.eigh(transposed(above) @ above)
    b, right = np.linalg.eigh(below @ transposed(below))
    precision = curvature * a.clip(0)[:, :, None] * b.clip(0)[:, None, :] + localization
    pull = curvature * transposed(above) @ teacher @ transposed(below) + localization * center
    return Conditional(transposed(left) @ pull @ right / precision, precision, left, right)


def product(layers: Sequence[Layers] | Sequence[Layer], size: int) -> Layers:
    """W_L ⋯ W₁ of each chain; of no layers the identity."""
    return reduce(lambda one, layer: layer @ one, layers, np.eye(size)[None])


def transposed(layers: Layers) -> Layers:
    """Each chain's matrix, transposed."""
    return layers.swapaxes(-1, -2)
