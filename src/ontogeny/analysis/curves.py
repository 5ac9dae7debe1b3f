r"""Curves, smoothed by a Gaussian process that knows their noise.

Time is $x = \log(\text{step} - \text{first} + c)$ throughout, where c is how far the second
checkpoint is from the first: training slows down as it goes on, and how it went before the second
checkpoint nobody can see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter1d

from ontogeny.analysis.process import Process, fit_process, posterior
from ontogeny.analysis.robust import surprises
from ontogeny.analysis.threads import on_one_thread
from ontogeny.records import Curve

FEWEST_POINTS = 5
# How many points are smoothed at most: more take longer and say no more.
MOST_POINTS = 400
# A value is set aside as a failed estimate if it lies this many standard deviations from what all
# others let expect, and further than this share of the range of the others.
OUTLIER_SIGMAS = 5.0
OUTLIER_SHARE = 0.05
# A second reading of the curve, with a length scale shorter by this factor, for corners that are
# sharper than the rest of the curve lets expect.
ROUGHER = 0.3


# A curve jumps if half of all its change falls into less than this share of x. Then time is counted
# by half in how far it has come, smoothed over so many units of x.
JUMP = 0.08
PACE = 0.15


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    r"""A curve and its slope without their noise, on a fine grid, and what stays unsure in them.

    Attributes:
        steps: Training steps, evenly spaced in x; not whole numbers.
        mean: The smoothed values.
        stderr: Their standard errors, differences between chains included.
        slope: Derivative of the mean by $\log(\text{step} + 1)$, in the curve's unit.
        slope_stderr: Its standard errors, differences between chains included.
        noise: Median standard deviation of the noise beyond the errors that were known.
        correlation: Of the known errors of neighbouring points, as it was fitted; 0 without any.
        functions: Functions that the curve might be: draws from the posterior, chains resampled.
        rougher: As many with a shorter length scale.
        checkpoints: The steps at which there are values.
        outliers: Steps whose values were set aside.
    """

    steps: Float[np.ndarray, " grid"]
    mean: Float[np.ndarray, " grid"]
    stderr: Float[np.ndarray, " grid"]
    slope: Float[np.ndarray, " grid"]
    slope_stderr: Float[np.ndarray, " grid"]
    noise: float
    correlation: float
    functions: Float[np.ndarray, "draw grid"]
    rougher: Float[np.ndarray, "draw grid"]
    checkpoints: Int[np.ndarray, " step"]
    outliers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Points:
    """What there is to smooth.

    Attributes:
        x: Times, increasing.
        values: One for each.
        shared: Standard errors that neighbours may share, 0 where unknown.
        own: Standard errors that they do not share.
        offsets: How far each chain lies from the mean of the chains.
        steps: The training steps.
    """

    x: Float[np.ndarray, " point"]
    values: Float[np.ndarray, " point"]
    shared: Float[np.ndarray, " point"]
    own: Float[np.ndarray, " point"]
    offsets: Float[np.ndarray, "chain point"]
    steps: Float[np.ndarray, " point"]


@on_one_thread
def smooth_curve(
    curve: Curve,
    grid: int = 400,
    draws: int = 400,
    seed: int = 0,
    stretch: float = 1.0,
    most_points: int = MOST_POINTS,
) -> SmoothCurve:
    r"""The curve that a Gaussian process sees through the noise, and functions that it might be.

    The noise of a value is what is known of it, its standard error, and noise that is fitted, whose
    size may drift along the curve. Standard errors may be shared by neighbours: how much is fitted
    too. `ontogeny.analysis.process` has the equations.

    Where the curve has chains, their errors are offsets that neighbouring checkpoints share:
    smoothing does not reduce them, and to take them for noise would smooth too much. So the known
    noise is only what a chain does not share with itself next door, and the rest is carried by
    whole chains, resampled for every function that is drawn.

    Args:
        curve: A curve of one item, its steps not decreasing. Values that are not finite are left
            out, values at the same step averaged. Single values far off are set aside.
        grid: At how many points to evaluate, from the first finite value to the last.
        draws: How many functions to draw.
        seed: Seed of the draws.
        stretch: What to multiply the fitted length scale by, to see what depends on it.
        most_points: A curve with more points is averaged over as many cells of equal width in x.

    Returns:
        The smoothed curve. Constant values give that constant, with slope 0.

    Raises:
        ValueError: The curve has several items, or finite values at fewer than five steps.

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
    points = _thinned(_finite_points(curve), most_points)
    good = ~_outliers(points)
    kept = _chosen(points, good)
    level, scale = float(kept.values.mean()), float(kept.values.std())
    scale = scale if scale > 1e-12 * np.abs(kept.values).max() else 1.0
    unit = (kept.values - level) / scale
    at = np.linspace(points.x[0], points.x[-1], grid)
    process, at_times = _fitted(kept, unit, scale, at)
    rng = np.random.default_rng(seed)
    resampled = unit + _resampled(kept.offsets, draws, rng) / scale

    def read(roughen: float) -> tuple[np.ndarray, np.ndarray]:
        weights, directions = posterior(process, at_times, roughen)
        errors = rng.standard_normal((draws, len(directions))) @ directions
        return level + scale * weights @ unit, level + scale * (resampled @ weights.T + errors)

    (mean, functions), (_, rougher) = read(stretch), read(stretch * ROUGHER)
    first, gap = points.steps[0], np.exp(points.x[0])
    steps = np.exp(at) - gap + first
    x = np.log1p(steps)
    return SmoothCurve(
        steps=steps,
        mean=mean,
        stderr=functions.std(axis=0),
        slope=np.gradient(mean, x, edge_order=2),
        slope_stderr=np.gradient(functions, x, axis=1, edge_order=2).std(axis=0),
        noise=scale * float(np.median(process.noise)),
        correlation=process.correlation,
        functions=functions,
        rougher=rougher,
        checkpoints=np.unique(curve.steps[np.isfinite(curve.values[:, 0])]),
        outliers=tuple(np.round(points.steps[~good]).astype(int).tolist()),
    )


def _fitted(
    points: _Points,
    unit: Float[np.ndarray, " point"],
    scale: float,
    at: Float[np.ndarray, " grid"],
) -> tuple[Process, Float[np.ndarray, " grid"]]:
    """The process that explains the values, and the times of the grid as it counts them.

    If a curve jumps at one place and hardly moves elsewhere, one length scale in x would follow the
    noise everywhere, or ring beside the jump. Then time is counted half in x and half in how far
    the curve has come, if that explains the values better.
    """
    shared, own = points.shared / scale, points.own / scale
    plain = fit_process(points.x, unit, shared, own)
    weights, _ = posterior(plain, at)
    # A fit that takes a jump for noise does not show it; the values themselves do.
    fits = [(plain, at)]
    for way in (weights @ unit, np.interp(at, points.x, unit)):
        times = _jumping_times(way, at)
        if times is not None:
            warped = fit_process(np.interp(points.x, at, times), unit, shared, own)
            fits.append((warped, times))
    return max(fits, key=lambda fit: fit[0].log_density)


def _jumping_times(
    way: Float[np.ndarray, " grid"], at: Float[np.ndarray, " grid"]
) -> Float[np.ndarray, " grid"] | None:
    """Times counted half in how far a function has come, if it jumps."""
    width = PACE * (len(at) - 1) / np.ptp(at)
    pace = gaussian_filter1d(np.abs(np.diff(way)), width, mode="nearest")
    fastest = np.cumsum(np.sort(pace)[::-1])
    if not fastest[-1] > 0 or np.searchsorted(fastest, fastest[-1] / 2) >= JUMP * len(pace):
        return None
    come = np.append(0.0, np.cumsum(pace)) / pace.sum()
    times: np.ndarray = (at + at[0] + np.ptp(at) * come) / 2
    return times


def change_stderr(smooth: SmoothCurve) -> Float[np.ndarray, "grid grid"]:
    """Standard error of the change from any point of the grid to any other.

    Examples:
        >>> steps = np.arange(0, 1000, 20)
        >>> values = np.log1p(steps)[:, None]
        >>> line = smooth_curve(Curve("llc", "", steps, values, np.ones_like(values)), grid=10)
        >>> change_stderr(line).shape, bool(change_stderr(line)[3, 3] < 1e-6)
        ((10, 10), True)
    """
    covariance = np.cov(smooth.functions.T)
    variance = np.diag(covariance)
    square = np.maximum(variance[:, None] + variance - 2 * covariance, 0.0)
    # The floor is rounding: without it an exactly flat curve would have changes to speak of.
    floor = 1e-9 * (np.ptp(smooth.mean) + np.abs(smooth.mean).max()) + np.finfo(float).tiny
    error: np.ndarray = np.sqrt(square) + floor
    return error


# What there is to smooth --------------------------------------------------------------------------


def _finite_points(curve: Curve) -> _Points:
    if curve.values.shape[1] != 1:
        raise ValueError(f"{curve.name} has {curve.values.shape[1]} items; smooth one at a time")
    finite = np.isfinite(curve.values[:, 0])
    steps = curve.steps[finite].astype(float)
    each = np.unique(steps)
    if len(each) < FEWEST_POINTS:
        raise ValueError(
            f"{curve.name} has {finite.sum()} finite points at {len(each)} steps and smoothing "
            f"needs {FEWEST_POINTS} steps: measure more checkpoints"
        )
    x = np.log(steps - steps[0] + (each[1] - each[0]))
    offsets = chain_offsets(curve)[:, finite]
    known = np.nan_to_num(curve.stderr[finite, 0], posinf=0.0)
    own = np.zeros(len(x))
    if len(offsets):
        known, own = own, np.sqrt(_own_variance(x, offsets))
    return _Points(x, curve.values[finite, 0], known, own, offsets, steps)


def _thinned(points: _Points, most: int) -> _Points:
    """Averages over points at one step, and over cells if there are too many points."""
    cells = points.steps
    if len(np.unique(cells)) > most:
        x = points.x
        cells = np.floor((x - x[0]) / (x[-1] - x[0]) * most)
    _, cell, counts = np.unique(cells, return_inverse=True, return_counts=True)
    if (counts == 1).all():
        return points

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values) / counts

    scatter = np.bincount(cell, (points.values - mean(points.values)[cell]) ** 2).sum()
    expected = ((1 - 1 / counts[cell]) * points.shared**2).sum()
    # The share of their errors that neighbours have in common: errors that they all share do not
    # scatter.
    common = float(np.clip(1 - scatter / expected, 0, 1)) if expected else 0.0
    shrink = common + (1 - common) / counts
    return _Points(
        mean(points.x),
        mean(points.values),
        np.sqrt(mean(points.shared**2) * shrink),
        np.sqrt(mean(points.own**2) / counts),
        np.array([mean(row) for row in points.offsets]).reshape(-1, len(counts)),
        mean(points.steps),
    )


def _chosen(points: _Points, which: Bool[np.ndarray, " point"]) -> _Points:
    return replace(
        points,
        x=points.x[which],
        values=points.values[which],
        shared=points.shared[which],
        own=points.own[which],
        offsets=points.offsets[:, which],
        steps=points.steps[which],
    )


def _outliers(points: _Points) -> Bool[np.ndarray, " point"]:
    """Values that do not belong, at most one in ten.

    Suspects are far from the median of the five values around them; the first and the last are if
    they are further than all others are apart. They are convicted by a process that is fitted to
    all others.
    """
    padded = np.pad(points.values, 2, mode="reflect")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    away = np.abs(points.values - median)
    usual = 1.5 * float(np.median(away))
    least = np.sort(away)[-(len(away) // 10) - 1]
    suspect = away > max(OUTLIER_SIGMAS * usual, float(least), 0.0)
    others = _chosen(points, ~suspect)
    span = np.ptp(others.values)
    # Beyond an end nothing says what to expect: there a value must be out of all proportion.
    least_share = np.full(len(away), OUTLIER_SHARE)
    least_share[[0, -1]] = 1.0
    suspect &= away > least_share * span
    scale = others.values.std()
    if not suspect.any() or not scale > 1e-12 * np.abs(others.values).max():
        return np.zeros(len(away), dtype=bool)
    level = others.values.mean()
    unit = (others.values - level) / scale
    process = fit_process(others.x, unit, others.shared / scale, others.own / scale, knots=1)
    weights, directions = posterior(process, points.x[suspect])
    variance = (directions**2).sum(axis=0) + np.median(process.noise) ** 2
    variance += (points.shared[suspect] / scale) ** 2 + (points.own[suspect] / scale) ** 2
    residual = np.abs(points.values[suspect] - level - scale * (weights @ unit))
    far = residual > OUTLIER_SIGMAS * scale * np.sqrt(variance)
    far &= residual > least_share[suspect] * span
    found = np.zeros(len(away), dtype=bool)
    found[np.flatnonzero(suspect)[far]] = True
    return found


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
    variance = (surprises(x, offsets) ** 2).mean(axis=0) / len(offsets)
    variance = np.pad(variance, 3, mode="edge")
    return np.convolve(variance, np.full(5, 0.2), mode="valid")


def _resampled(
    offsets: Float[np.ndarray, "chain point"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw point"]:
    """Errors of the mean of the chains: means of as many, picked with replacement."""
    n_chains = max(len(offsets), 1)
    share = rng.multinomial(n_chains, np.full(n_chains, 1 / n_chains), draws) / n_chains
    errors: np.ndarray = share[:, : len(offsets)] @ offsets
    return errors
