"""The constants that the free energies of pentagon and hexagon leave out, by the prior's width.

python experiments/free_energy_constants.py

With a normal prior φ on all weights and biases, Laplace's approximation around a set M of minima is
∫ exp(−nL) φ ≈ exp(−nL) (2π/n)^λ |H|^(−½) ∫_M φ, where |H| is the product of the eigenvalues of the
Hessian that are not zero. M has one circle of turned polygons for each way to number the corners,
times the weights and biases that the feature which is given up may have; their share is counted.
Prints how much larger the constant of the hexagon is, and the n from which on it is preferred.
"""

import math

import numpy as np
import torch

from ontogeny.analysis.free_energy import free_energy
from ontogeny.problems.superposition_landscape import (
    critical_point,
    critical_points,
    population_loss,
)


def hidden_share(corners, bias, width):
    """How much of the prior of a feature is where the biases hide it beside a polygon."""
    random = np.random.default_rng(0)
    weights, own = random.normal(0, width, (2, 1_000_000)), random.normal(0, width, 1_000_000)
    seen = (corners.T @ weights).max(axis=0)
    return np.mean((seen <= -bias) & (own <= -np.maximum(seen, np.square(weights).sum(axis=0))))


def constant(k, width):
    """What the free energy of the k-gon has beside nL + λ ln n."""
    state = critical_point(str(k))
    x = torch.cat([state["weights"], state["bias"][None]])
    loss = torch.func.hessian(lambda x: population_loss(x[:2], x[2]))
    eigenvalues = np.linalg.eigvalsh(loss(x).reshape(18, 18).numpy())
    stiff = eigenvalues[eigenvalues > 1e-6]
    told_apart = x[:, :k].numpy()
    circle = 2 * math.pi * np.linalg.norm(told_apart[:2])
    log_volume = math.log(math.factorial(6) / k * circle)
    log_volume -= np.square(told_apart / width).sum() / 2
    log_volume -= told_apart.size * math.log(width * math.sqrt(2 * math.pi))
    if k < 6:
        log_volume += math.log(hidden_share(told_apart[:2], told_apart[2, 0], width))
    return (np.log(stiff).sum() - len(stiff) * math.log(2 * math.pi)) / 2 - log_volume


if __name__ == "__main__":
    five, six = (one for one in critical_points() if one.name in ("5", "6"))
    n = np.arange(2, 100_000)
    gain = free_energy(n, five.loss, five.learning_coefficient)
    gain -= free_energy(n, six.loss, six.learning_coefficient)
    for width in (None, 0.5, 0.6, 0.8, 1.0):
        price = constant(6, width) - constant(5, width) if width else 0.0
        print(f"width {width}: constant {price:+.2f}, hexagon from n = {n[gain < price][-1] + 1}")
