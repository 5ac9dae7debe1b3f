r"""Curves, smoothed by a Gaussian process that knows their noise.

Time is $x = \log(\text{step} + 1)$ throughout: training slows down as it goes on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    ConstantKernel,
    Hyperparameter,
    Kernel,
    Matern,
    WhiteKernel,
)

from ontogeny.records import Curve

FEWEST_POINTS = 5
# Bounds of the fit: variances in units of the variance of the values, the length scale in x.
SIGNAL_VARIANCES = (1e-4, 1e4)
LENGTH_SCALES = (0.3, 3.0)
NOISE_VARIANCES = (1e-8, 2.0)
EXCESSES = (1e-3, 1e3)


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    r"""A curve and its slope without their noise, on a fine grid, and what stays unsure in them.

    Attributes:
        steps: Training steps, evenly spaced in $x = \log(\text{step} + 1)$; not whole numbers.
        mean: The smoothed values.
        stderr: Their standard errors, differences between chains included.
        slope: Derivative of the mean by $x$, in the curve's unit.
        slope_stderr: Its standard errors, differences between chains included.
        length_scale: Fitted length scale, in units of $x$.
        noise: Fitted standard deviation of the noise beyond the errors that were known; less
            counts where the curve is quieter.
        modes: What the noise leaves open, as independent directions of one standard deviation
            each, as value and slope: their outer products add up to the posterior covariance.
        offsets: How far each smoothed chain lies from the mean of the chains, as value and slope:
            one sample each of the error of a single chain. No rows without chains.
    """

    steps: Float[np.ndarray, " grid"]
    mean: Float[np.ndarray, " grid"]
    stderr: Float[np.ndarray, " grid"]
    slope: Float[np.ndarray, " grid"]
    slope_stderr: Float[np.ndarray, " grid"]
    length_scale: float
    noise: float
    modes: Float[np.ndarray, "mode 2 grid"]
    offsets: Float[np.ndarray, "chain 2 grid"]


def smooth_curve(curve: Curve, grid: int = 400) -> SmoothCurve:
    r"""The curve that a Gaussian process sees through the noise, and its slope.

    In $x = \log(\text{step} + 1)$ the values are $y_i = m + f(x_i) + e_i + w_i$: $m$ is a level
    near the mean of the values and as unsure as they vary, $f$ a Gaussian process with the Matérn
    5/2 kernel

    $$ k(r) = s^2 (1 + u + u^2/3)\, e^{-u}, \qquad u = \sqrt 5\, |r| / \ell, $$

    $e_i$ is noise of known size, up to a factor that is at least one, and $w_i$ noise of one
    unknown size. The marginal likelihood picks that factor, that size, $s$, and $\ell$ between 0.3
    and 3. The slope $f'$ is jointly Gaussian with $f$; its covariances are derivatives of $k$.

    Where the curve has chains, their errors are offsets that neighbouring checkpoints share:
    smoothing does not reduce them, and to take them for noise would smooth too much. So the known
    noise is only what a chain does not share with itself next door, and the rest is carried by
    the smoothed chains. Without chains the standard errors are taken for independent noise, and
    unknown ones for 0: the fitted noise is there to find what is missing. It is lowered where
    the curve keeps much closer to its neighbours than it lets expect: the beginning of a run is
    often far quieter than its end.

    Args:
        curve: A curve of one item. Points that are not finite are left out.
        grid: At how many points to evaluate, from the first finite point to the last.

    Returns:
        The smoothed curve. Constant values give that constant, with slope 0.

    Raises:
        ValueError: The curve has several items, or fewer than five finite points, or one step.

    Examples:
        The slope of a straight line in log-step.

        >>> steps = np.unique(np.geomspace(1, 1000, 60).astype(int))
        >>> values = 3 * np.log1p(steps)[:, None]
        >>> line = smooth_curve(Curve("llc", "", steps, values, np.full_like(values, np.nan)))
        >>> line.slope[[50, 200, 350]].round(1)
        array([3., 3., 3.])

    References:
        C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning* (2006),
        sections 2.2, 5.4 and 9.4.
    """
    x, values, known, offsets = _finite_points(curve)
    scale = float(values.std())
    scale = scale if scale > 1e-12 * np.abs(values).max() else 1.0
    unit, known = (values - values.mean()) / scale, known / scale**2
    signal, length_scale, noise, excess = _fit_process(x, unit, known)
    known = known * (1 + excess)
    own = _covariance(x, x, signal, length_scale)[0, :, 0]
    inverse = np.linalg.inv(own + np.diag(known + noise))
    noise_there = np.maximum(noise * _quietness(inverse, unit, noise), NOISE_VARIANCES[0])
    factor = cho_factor(own + np.diag(known + noise_there))

    at = np.linspace(x[0], x[-1], grid)
    cross = _covariance(at, x, signal, length_scale)[:, :, 0].reshape(2 * grid, len(x))
    weights = cho_solve(factor, cross.T)
    prior = _covariance(at, at, signal, length_scale).reshape(2 * grid, 2 * grid)

    def smooth(points: Float[np.ndarray, "*rows point"]) -> Float[np.ndarray, "*rows 2 grid"]:
        average = points.mean(axis=-1, keepdims=True)
        both: np.ndarray = ((points - average) @ weights).reshape(*points.shape[:-1], 2, grid)
        both[..., 0, :] += average
        return both

    mean, slope = smooth(values)
    modes = scale * _directions(prior - cross @ weights).reshape(-1, 2, grid)
    offsets = smooth(offsets)
    stderr, slope_stderr = np.sqrt((error_directions(modes, offsets) ** 2).sum(axis=0))
    return SmoothCurve(
        steps=np.expm1(at),
        mean=mean,
        stderr=stderr,
        slope=slope,
        slope_stderr=slope_stderr,
        length_scale=float(length_scale),
        noise=scale * float(np.sqrt(noise)),
        modes=modes,
        offsets=offsets,
    )


def draw_functions(
    smooth: SmoothCurve, draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw 2 grid"]:
    """Functions that the curve might be, each as value and slope on the grid.

    A draw is the mean, plus a draw from the posterior of the Gaussian process, plus the mean
    offset of as many chains as there are, picked with replacement. Value and slope belong
    together: the slope is the derivative of the value.

    Args:
        smooth: A smoothed curve.
        draws: How many functions.
        rng: Where the randomness comes from.

    Returns:
        Draws with the mean and standard errors of `smooth`.

    Examples:
        >>> steps = np.arange(0, 1000, 20)
        >>> values = np.full((50, 1), 2.0)
        >>> flat = smooth_curve(Curve("llc", "", steps, values, values), grid=10)
        >>> draw_functions(flat, 3, np.random.default_rng(0)).shape
        (3, 2, 10)
    """
    functions: np.ndarray = np.stack([smooth.mean, smooth.slope]) + np.einsum(
        "dm,mkg->dkg", rng.standard_normal((draws, len(smooth.modes))), smooth.modes, optimize=True
    )
    n_chains = len(smooth.offsets)
    if n_chains:
        share = rng.multinomial(n_chains, np.full(n_chains, 1 / n_chains), draws) / n_chains
        functions += np.einsum("dc,ckg->dkg", share, smooth.offsets, optimize=True)
    return functions


def error_directions(
    modes: Float[np.ndarray, "mode 2 grid"], offsets: Float[np.ndarray, "chain 2 grid"]
) -> Float[np.ndarray, "direction 2 grid"]:
    """All that is unsure in a smoothed curve, as independent directions of one standard deviation.

    Their outer products add up to the covariance of value and slope, so the squared standard
    error of any difference along the curve is the sum of the squares of that difference.

    Args:
        modes: What the noise leaves open.
        offsets: How far each chain lies from the mean of the chains.

    Returns:
        The modes, then the offsets divided by their number: the variance of the mean of n chains
        is the mean square of the offsets, over n.

    Examples:
        Two chains that lie 3 above and 3 below their mean, and no noise.

        >>> offsets = np.array([[[3.0], [0.0]], [[-3.0], [0.0]]])
        >>> directions = error_directions(np.empty((0, 2, 1)), offsets)
        >>> (directions[:, 0] ** 2).sum(axis=0)
        array([4.5])
    """
    return np.concatenate([modes, offsets / max(len(offsets), 1)])


def _finite_points(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times, values and known noise variances of the finite points, and the chains' offsets."""
    if curve.values.shape[1] != 1:
        raise ValueError(f"{curve.name} has {curve.values.shape[1]} items; smooth one at a time")
    finite = np.isfinite(curve.values[:, 0])
    x, values = np.log1p(curve.steps[finite]), curve.values[finite, 0]
    if len(x) < FEWEST_POINTS or x[0] == x[-1]:
        raise ValueError(
            f"{curve.name} has {len(x)} finite points at {len(np.unique(x))} steps and smoothing "
            f"needs {FEWEST_POINTS} points: measure more checkpoints"
        )
    offsets = chain_offsets(curve)[:, finite]
    known = _own_variance(x, offsets) if len(offsets) else curve.stderr[finite, 0] ** 2
    return x, values, np.nan_to_num(known, posinf=0.0), offsets


def chain_offsets(curve: Curve) -> Float[np.ndarray, "chain step"]:
    """How far each chain lies from the mean of the chains.

    The deviations are scaled by sqrt(n / (n - 1)), so that their mean square is an unbiased
    estimate of the variance of a single chain. A chain that failed at a step says nothing there
    and counts as the mean.

    Args:
        curve: Any curve.

    Returns:
        One row for each chain that ever worked; no rows if there are fewer than two.

    Examples:
        >>> steps, values = np.arange(2), np.zeros((2, 1))
        >>> pair = np.array([[1.0, 3.0], [2.0, 2.0]])
        >>> chain_offsets(Curve("llc", "", steps, values, values, chains=pair)).round(3)
        array([[-1.414,  0.   ],
               [ 1.414,  0.   ]])
    """
    chains = np.empty((len(curve.steps), 0)) if curve.chains is None else curve.chains
    chains = chains[:, np.isfinite(chains).any(axis=0)]
    worked, n_chains = np.isfinite(chains), chains.shape[1]
    if n_chains < 2:
        return np.empty((0, len(curve.steps)))
    total = np.where(worked, chains, 0.0).sum(axis=1, keepdims=True)
    mean = total / np.maximum(worked.sum(axis=1, keepdims=True), 1)
    offsets: np.ndarray = np.where(worked, chains - mean, 0.0)
    return offsets.T * float(np.sqrt(n_chains / (n_chains - 1)))


def _own_variance(
    x: Float[np.ndarray, " point"], offsets: Float[np.ndarray, "chain point"]
) -> Float[np.ndarray, " point"]:
    """Variance of the mean of the chains from what they do not share with neighbouring points.

    Each offset is compared with the line through its two neighbours; five points are averaged,
    since a handful of chains says little about a variance.
    """
    gaps = np.diff(x)
    share = gaps[:-1] / np.maximum(gaps[:-1] + gaps[1:], np.finfo(float).tiny)
    line = (1 - share) * offsets[:, :-2] + share * offsets[:, 2:]
    surprise = (offsets[:, 1:-1] - line) ** 2 / (1 + share**2 + (1 - share) ** 2)
    variance = np.pad(surprise.mean(axis=0) / len(offsets), 3, mode="edge")
    return np.convolve(variance, np.full(5, 0.2), mode="valid")


class _Excess(Kernel):  # type: ignore[misc]  # scikit-learn has no types
    """Noise in proportion to the noise that is known, at the points of the fit."""

    def __init__(self, variance: Any, factor: float = 1.0) -> None:
        self.variance = variance
        self.factor = factor

    @property
    def hyperparameter_factor(self) -> Hyperparameter:
        return Hyperparameter("factor", "numeric", EXCESSES)

    def __call__(self, x: Any, y: Any = None, eval_gradient: bool = False) -> Any:
        noise = np.diag(self.factor * self.variance)
        return (noise, noise[:, :, None]) if eval_gradient else noise

    def diag(self, x: Any) -> Any:
        return self.factor * self.variance

    def is_stationary(self) -> bool:
        return False


def _fit_process(
    x: Float[np.ndarray, " point"],
    values: Float[np.ndarray, " point"],
    variance: Float[np.ndarray, " point"],
) -> Float[np.ndarray, " 4"]:
    """What maximises the likelihood.

    Variance of the signal, length scale, variance of the noise that is the same everywhere, and
    the excess over the known noise where that is not the same everywhere.
    """
    kernel = ConstantKernel(1.0, SIGNAL_VARIANCES) * Matern(1.0, LENGTH_SCALES, nu=2.5)
    kernel += WhiteKernel(1e-3, NOISE_VARIANCES) + ConstantKernel(1.0, "fixed")
    if varied := bool(np.ptp(variance)):
        kernel += _Excess(variance)
    process = GaussianProcessRegressor(kernel, alpha=variance, optimizer=_climb)
    with warnings.catch_warnings():
        # A fit that ends on a bound is what the bounds are for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted: np.ndarray = np.exp(process.fit(x[:, None], values).kernel_.theta)
    return fitted if varied else np.append(fitted, 0.0)


def _climb(
    objective: Any,
    start: Float[np.ndarray, " parameter"],
    bounds: Float[np.ndarray, "parameter 2"],
) -> tuple[Float[np.ndarray, " parameter"], float]:
    """Minimise from the given start and from "it is all noise", and keep the better end."""
    ends = [
        minimize(objective, at, jac=True, bounds=list(zip(*bounds.T, strict=True)))
        for at in (start, np.array([0.0, 1.0, 0.0, 0.0][: len(start)]))
    ]
    best = min(ends, key=lambda end: float(end.fun))
    return best.x, float(best.fun)


def _quietness(
    inverse: Float[np.ndarray, "point point"], values: Float[np.ndarray, " point"], noise: float
) -> Float[np.ndarray, " point"]:
    """Which part of the fitted noise there is near each point: all, unless it is under a half.

    The residual of a point from what all others predict holds its noise and more, so its square
    bounds the noise from above. Eleven points are averaged, with the precisions as weights.
    """
    precision = np.diag(inverse)
    residual = inverse @ values / precision
    pair = np.pad(np.stack([precision * residual**2, precision * noise]), ((0, 0), (5, 5)), "edge")
    bound, level = np.lib.stride_tricks.sliding_window_view(pair, 11, axis=1).sum(axis=2)
    part: np.ndarray = np.minimum(2.0 * bound / level, 1.0)
    return part


def _covariance(
    a: Float[np.ndarray, " a"], b: Float[np.ndarray, " b"], signal: float, length_scale: float
) -> Float[np.ndarray, "2 a 2 b"]:
    """Prior covariance of (value, slope) at `a` with (value, slope) at `b`."""
    r = a[:, None] - b
    u = np.sqrt(5.0) * np.abs(r) / length_scale
    decay, c = signal * np.exp(-u), 5.0 / (3.0 * length_scale**2)
    value, slope, both = (1 + u + u**2 / 3), c * r * (1 + u), c * (1 + u - u**2)
    blocks: np.ndarray = np.array([[value, slope], [-slope, both]]) * decay
    blocks[0, 0] += 1.0  # the level: as unsure as the values vary
    return blocks.transpose(0, 2, 1, 3)


def _directions(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "direction n"]:
    """Rows whose outer products add up to a covariance, less what is only rounding."""
    variances, vectors = np.linalg.eigh(covariance)
    kept = variances > 1e-12 * max(variances[-1], 0.0)
    directions: np.ndarray = np.sqrt(variances[kept])[:, None] * vectors[:, kept].T
    return directions
