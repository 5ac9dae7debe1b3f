r"""A Gaussian process with Matérn 5/2 kernel, seen through noise that may be correlated.

Values are $y_i = m + f(x_i) + e_i + w_i$. The level $m$ is as unsure as the values vary; $f$ has
the covariance $s^2 k(|x - x'|)$ with

$$ k(r) = (1 + u + u^2/3)\, e^{-u}, \qquad u = \sqrt 5\, r / \ell; $$

$e_i$ is noise of known size whose correlation between the i-th and the j-th point is
$\rho^{|i - j|}$; and $w_i$ is independent noise whose logarithmic size drifts slowly along the
curve. What is not known, $s$, $\ell$, $\rho$ and the size of $w$, is where the posterior density is
highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import Bounds, minimize

# Priors, as mean and standard deviation: values are in units of their own standard deviation and
# length scales in x. They are wide; what they say is that a length scale is about one e-fold.
LOG_SIGNAL = (0.0, 1.5)
LOG_LENGTH = (0.0, 0.6)
LOGIT_CORRELATION = (0.0, 2.0)
LOG_NOISE = (np.log(0.02), 2.0)
LOG_NOISE_DRIFT = (0.0, 1.0)
KNOTS = 8
JITTER = 1e-9
# A climb ends where the logarithm of the density no longer changes by about a thousandth.
CLIMB: Any = {"maxiter": 50, "ftol": 1e-6}


@dataclass(frozen=True, eq=False)
class Process:
    """A fitted process, in units of the standard deviation of the values.

    Attributes:
        x: Where the values are, increasing.
        signal: Standard deviation s of the function.
        length_scale: ℓ.
        correlation: ρ between neighbouring points of the known noise, 0 if none is known.
        noise: Standard deviation of the independent noise at each point.
        covariance: Of all the noise, known or fitted.
        log_density: Of the values and the parameters together, up to a constant.
    """

    x: Float[np.ndarray, " point"]
    signal: float
    length_scale: float
    correlation: float
    noise: Float[np.ndarray, " point"]
    covariance: Float[np.ndarray, "point point"]
    log_density: float


def fit_process(
    x: Float[np.ndarray, " point"],
    values: Float[np.ndarray, " point"],
    stderr: Float[np.ndarray, " point"],
    own: Float[np.ndarray, " point"],
    knots: int = KNOTS,
) -> Process:
    """The process that explains values best.

    Args:
        x: Where the values are, increasing.
        values: With mean 0 and standard deviation 1 or so.
        stderr: Standard deviations of the noise that neighbours may share, 0 where unknown.
        own: Standard deviations of known noise that neighbours do not share.
        knots: With how many numbers the drifting size of the unknown noise is described.

    Returns:
        The better of two climbs: from the prior and from "it is nearly all noise".

    Examples:
        >>> x = np.linspace(0, 10, 50)
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=50)
        >>> process = fit_process(x, np.sin(x) + noise, 0 * x, 0 * x)
        >>> bool(0.05 < np.median(process.noise) < 0.15), process.correlation
        (True, 0.0)
    """
    model = _Model(x, values, stderr, own, knots)
    noisy = model.mean.copy()
    noisy[[0, 1, model.first_knot]] += (-1.0, 0.5, 3.0)
    climbs = [
        minimize(
            model.objective,
            start,
            (),
            "L-BFGS-B",
            True,
            bounds=Bounds(*model.bounds.T),
            options=CLIMB,
        )
        for start in (model.mean, noisy)
    ]
    best = min(climbs, key=lambda climb: float(climb.fun))
    return model.process(best.x, -float(best.fun))


def posterior(
    process: Process, at: Float[np.ndarray, " grid"], roughen: float = 1.0
) -> tuple[Float[np.ndarray, "grid point"], Float[np.ndarray, "direction grid"]]:
    """What a process says about its function at other places, as a linear smoother and its error.

    Args:
        process: A fitted process.
        at: Where.
        roughen: What to multiply the length scale by, and s, so that slopes are as steep as before.

    Returns:
        Weights: the mean of the function is these times the values. And independent directions of
        one standard deviation each: their outer products add up to the posterior covariance.

    Examples:
        >>> x = np.linspace(0, 10, 50)
        >>> process = fit_process(x, np.sin(x), 0 * x, 0 * x)
        >>> weights, _ = posterior(process, np.array([np.pi / 2]))
        >>> bool(abs(weights @ np.sin(x) - 1) < 1e-3)
        True
    """

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        kernel = _matern(a, b, roughen * process.length_scale)[0]
        return 1.0 + (roughen * process.signal) ** 2 * kernel

    factor = cholesky(covariance(process.x, process.x) + process.covariance, lower=True)
    half = solve_triangular(factor, covariance(process.x, at), lower=True)
    weights: np.ndarray = solve_triangular(factor, half, lower=True, trans="T").T
    variances, vectors = np.linalg.eigh(covariance(at, at) - half.T @ half)
    kept = variances > 1e-12 * max(variances[-1], 0.0)
    return weights, (np.sqrt(variances[kept]) * vectors[:, kept]).T


class _Model:
    """The posterior density of what is not known, and its gradient."""

    def __init__(
        self,
        x: Float[np.ndarray, " point"],
        values: Float[np.ndarray, " point"],
        stderr: Float[np.ndarray, " point"],
        own: Float[np.ndarray, " point"],
        knots: int,
    ) -> None:
        n = len(x)
        self.x, self.values, self.stderr, self.own = x, values, stderr, own
        self.known = bool((stderr > 0).any())
        lags = np.arange(n)
        self.lag = np.abs(lags[:, None] - lags).astype(float) if self.known else np.zeros((1, 1))
        corners = np.linspace(0, n - 1, knots) if knots > 1 else np.zeros(1)
        hats = np.stack([np.interp(lags, corners, row) for row in np.eye(knots)], axis=1)
        self.shape = hats @ np.tril(np.ones((knots, knots)))  # the first knot, then differences
        correlation = [LOGIT_CORRELATION] if self.known else []
        drifts = [LOG_NOISE_DRIFT] * (knots - 1)
        prior = np.array([LOG_SIGNAL, LOG_LENGTH, *correlation, LOG_NOISE, *drifts])
        self.mean, self.spread = prior.T
        self.first_knot = 3 if self.known else 2
        # Nobody gets there: they keep a long stride from overflowing.
        self.bounds = np.stack([self.mean - 6 * self.spread, self.mean + 6 * self.spread], axis=1)

    def noise(
        self, theta: Float[np.ndarray, " parameter"]
    ) -> tuple[float, np.ndarray, np.ndarray | float]:
        """ρ, the standard deviations of the fitted noise, and the covariance of the known noise."""
        sizes = np.exp(self.shape @ theta[self.first_knot :])
        if not self.known:
            return 0.0, sizes, 0.0
        correlation = 1 / (1 + np.exp(-theta[2]))
        shared = np.outer(self.stderr, self.stderr) * np.exp(self.lag * np.log(correlation))
        return float(correlation), sizes, shared

    def objective(self, theta: Float[np.ndarray, " parameter"]) -> tuple[float, np.ndarray]:
        """Minus the logarithm of the density, and its gradient."""
        signal, length_scale = np.exp(2 * theta[0]), np.exp(theta[1])
        kernel, by_length = _matern(self.x, self.x, length_scale)
        correlation, sizes, shared = self.noise(theta)
        covariance = 1.0 + signal * kernel + shared
        covariance[np.diag_indices_from(covariance)] += sizes**2 + self.own**2 + JITTER
        away = (theta - self.mean) / self.spread
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weighted = inverse @ self.values
        value = self.values @ weighted / 2 + np.log(np.diag(factor)).sum() + away @ away / 2
        pull = inverse - np.outer(weighted, weighted)
        gradient = away / self.spread
        gradient[0] += signal * np.vdot(pull, kernel)
        gradient[1] += signal * np.vdot(pull, by_length) / 2
        if self.known:
            gradient[2] += (1 - correlation) * np.vdot(pull, self.lag * shared) / 2
        gradient[self.first_knot :] += (np.diag(pull) * sizes**2) @ self.shape
        return float(value), gradient

    def process(self, theta: Float[np.ndarray, " parameter"], log_density: float) -> Process:
        """The process with these parameters."""
        correlation, sizes, shared = self.noise(theta)
        diagonal = np.diag(sizes**2 + self.own**2 + JITTER)
        signal, length_scale = np.exp(theta[:2])
        return Process(
            self.x,
            float(signal),
            float(length_scale),
            correlation,
            sizes,
            shared + diagonal,
            log_density,
        )


def _matern(
    a: Float[np.ndarray, " a"], b: Float[np.ndarray, " b"], length_scale: float
) -> tuple[Float[np.ndarray, "a b"], Float[np.ndarray, "a b"]]:
    r"""The kernel k, and its derivative by $\log \ell$."""
    u = np.abs(a[:, None] - b) * (np.sqrt(5.0) / length_scale)
    decay = np.exp(-u)
    third = u**2 / 3
    return (1 + u + third) * decay, third * (1 + u) * decay
