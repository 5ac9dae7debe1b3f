"""What a step of a sampler does on a quadratic: a matrix, from which everything follows."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov

from ontogeny.probes.samplers import SAMPLERS, SGLD, Sampler, Underdamped


class LinearStep(NamedTuple):
    """A step on nβL = ½kw²: x ← move·x + noise·η + kick·ξ, with x the weight and the velocity.

    η is the sampler's noise, ξ an error of the gradient of nβL.
    """

    move: np.ndarray
    noise: np.ndarray
    kick: np.ndarray

    def variance(self, of="noise"):
        """The stationary variance of the weight that one of the two noises makes."""
        return self._stationary(of)[0, 0]

    def autocorrelation(self, draws):
        """That of the stationary weight, at each of some lags."""
        covariance = self._stationary("noise")
        found = []
        for _ in range(draws):
            found.append(covariance[0, 0])
            covariance = self.move @ covariance
        return np.array(found) / found[0]

    def radius(self):
        """The largest eigenvalue: less than 1 if the step is stable."""
        return abs(np.linalg.eigvals(self.move)).max()

    def _stationary(self, of):
        column = getattr(self, of)
        return solve_discrete_lyapunov(self.move, column @ column.T)


def linear_step(settings: Sampler, k: float) -> LinearStep:
    """The step of a sampler on nβL = ½kw², with whatever localization it has.

    Four chains stand at the four unit vectors of (weight, velocity, η, ξ).
    """
    w, velocity, noise, kick = torch.eye(4).double()
    center = torch.zeros(4).double()
    damped = settings.method == "underdamped"
    state = Underdamped(w, center, velocity) if damped else SGLD(w, center)
    after = SAMPLERS[settings.method][1](state, (k * w + kick) / settings.nbeta, noise, settings)
    rows = torch.stack([after.weights, after.velocity] if damped else [after.weights]).numpy()
    return LinearStep(rows[:, : len(rows)], rows[:, [2]], rows[:, [3]])


def quadratic_mean_and_error(eigenvalues, settings, copies):
    """The λ̂ of long chains on that many copies of a quadratic, and its standard error.

    The squares of a Gaussian process of variance v have variance 2v² and the square of its
    autocorrelation; the sum over the lags makes of it the variance of a mean.
    """
    mean, variance = 0.0, 0.0
    for h in eigenvalues:
        step = linear_step(settings, settings.nbeta * h)
        energy = settings.nbeta * h * step.variance()
        lags = step.autocorrelation(2000) ** 2
        mean += copies * energy / 2
        variance += copies * energy**2 / 2 * (2 * lags.sum() - 1)
    draws = settings.chains * (settings.draws - settings.burn_in)
    return mean, np.sqrt(variance / draws)
