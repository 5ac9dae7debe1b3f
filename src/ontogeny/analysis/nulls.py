r"""What chance draws: paths that head for nothing, as long, as fast and as rough as the run's own.

A random walk in many dimensions turns, and agrees between planes, like a network. So a form is
weighed against surrogates that go through the same components, smoothing and detection. All of
them are made from the scores alone:

- `brownian`: a random walk in $D$ dimensions, seen on its principal components,
- `ornstein_uhlenbeck`: the same, pulled back to where it started,
- `phase_randomised`: the run's own increments, their Fourier phases drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d

from ontogeny.analysis.forms import best_scores, find_forms, leading
from ontogeny.analysis.threads import on_one_thread
from ontogeny.analysis.turns import Grid, lay_grid, on_grid
from ontogeny.records import Form

SURROGATES = 999

SIGNIFICANT = 0.05
"""A form stands out if random walks draw one as good at most so often."""

BATCH = 1 << 22
"""Surrogates are drawn so many at a time that their Gram matrices have as many entries."""

TOGETHER = 333
"""In so many surrogates forms are looked for at once."""

CLOCK = 8.0
"""The run's local variance is an average over this many widths of the kernel."""

DIMENSIONS = 4.0 ** np.arange(12)
"""A walk may have so many times more dimensions than components, until it is all cosines."""

TRIALS = 8
"""Walks of each number of dimensions from which the roughness that belongs to it is learnt."""

FASTEST = 50.0
"""How often a mean-reverting walk forgets where it was, at most; at least once."""


def lissajous_shares(components: int) -> Float[np.ndarray, " component"]:
    r"""Shares of variance of a random walk in many dimensions, $6 / (\pi^2 k^2)$.

    Examples:
        >>> lissajous_shares(3).round(3).tolist()
        [0.608, 0.152, 0.068]

    References:
        J. Antognini and J. Sohl-Dickstein, *PCA of high dimensional random walks* (2018).
    """
    shares: Float[np.ndarray, " component"] = 6 / (np.pi * np.arange(1, components + 1)) ** 2
    return shares


# Forms, weighed -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeighedForms:
    """Forms with their p-values, and what they were weighed against.

    Attributes:
        forms: In the order of their steps.
        surrogates: How many paths of each null model were drawn.
        dimensions: In how many dimensions the random walk goes that is as rough as the run.
        relaxation: How often the mean-reverting walk forgets over the run where it was.
        noise: Standard deviation of white noise in the scores, as a share of theirs.
    """

    forms: tuple[Form, ...]
    surrogates: int
    dimensions: float
    relaxation: float
    noise: float


@on_one_thread
def weigh_forms(
    scores: Float[np.ndarray, "step component"],
    steps: Int[np.ndarray, " step"],
    surrogates: int = SURROGATES,
    seed: int = 0,
) -> WeighedForms:
    r"""Find forms, and say how often chance alone draws a path with one as good.

    Against each null model a form has

    $$ p = \frac{1 + \#\{\text{surrogates whose best form scores at least as high}\}}{B + 1}. $$

    `p_value` is that of the random walk, which is exact if the run is one; `p_values` has all
    three. The null models of the scores are those of `null_models`.

    Args:
        scores: Positions on two or more components; the first three are used.
        steps: Increasing training steps, eight or more.
        surrogates: The number $B$ of paths that are drawn from each null model.
        seed: Which paths.

    Raises:
        ValueError: As for `find_forms`.

    Examples:
        >>> walk = np.random.default_rng(1).normal(size=(100, 3)).cumsum(axis=0)
        >>> weighed = weigh_forms(walk, np.arange(100), surrogates=19)
        >>> min(form.p_value for form in weighed.forms) > 0.05
        True
    """
    forms = find_forms(scores, steps)
    nulls = null_models(scores, steps, seed)
    best = {
        name: np.concatenate(list(surrogate_scores(null, surrogates, seed)))
        for name, null in nulls._asdict().items()
        if forms
    }
    weighed = []
    for form in forms:
        counts = {name: int((some >= form.score).sum()) for name, some in best.items()}
        p_values = {name: (1 + count) / (1 + surrogates) for name, count in counts.items()}
        weighed.append(replace(form, p_value=p_values["brownian"], p_values=p_values))
    walk, reverting = nulls.brownian, nulls.ornstein_uhlenbeck
    noise = float(np.sqrt(walk.noise.mean(axis=0).sum() / np.var(walk.path, axis=0).sum()))
    return WeighedForms(tuple(weighed), surrogates, walk.dimensions, reverting.relaxation, noise)


def stands_out(form: Form) -> bool:
    """Whether random walks seldom draw a form as good.

    Examples:
        >>> stands_out(Form(9, 5, 12, (0.0, 1.0), 3.2, p_value=0.01))
        True
    """
    return form.p_value is not None and form.p_value <= SIGNIFICANT


def surrogate_scores(
    null: Walk | Phases, surrogates: int, seed: int
) -> Iterator[Float[np.ndarray, " path"]]:
    """The scores of the best forms of surrogates, some at a time."""
    rng = np.random.default_rng(seed)
    batch = max(1, BATCH // len(null.path) ** 2)
    for start in range(0, surrogates, TOGETHER):
        count = min(TOGETHER, surrogates - start)
        drawn = [null.draw(min(batch, count - k), rng) for k in range(0, count, batch)]
        yield best_scores(np.concatenate(drawn), null.grid)


# The null models ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Walk:
    """A random walk on its principal components, with white noise.

    Attributes:
        grid: Where the path is looked at.
        path: The run's.
        rate: The run's squared speed in widths of the kernel.
        noise: Variance of the noise.
        shape: Takes components of unit variance to the run's scores.
        relaxation: How often the walk forgets over the run where it was; 0 for Brownian motion.
        dimensions: In how many dimensions the walk goes.
    """

    grid: Grid
    path: Float[np.ndarray, "node component"]
    rate: Float[np.ndarray, " node"]
    noise: Float[np.ndarray, "node component"]
    shape: Float[np.ndarray, "component component"]
    relaxation: float = 0.0
    dimensions: float = np.inf

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "path node component"]:
        """Some paths."""
        variance = _gathered(self.rate, self.grid)
        kicks = _kicks(count, len(variance), self.dimensions, rng)
        clock = np.append(0.0, variance.cumsum())
        # dx = -theta x dt + dW is exp(-theta t) times the integral of exp(theta t) dW.
        memory = np.exp(self.relaxation * clock).astype(np.float32)[:, None]
        kicks *= memory[1:] * np.sqrt(variance).astype(np.float32)[:, None]
        walks = np.pad(kicks.cumsum(axis=1), ((0, 0), (1, 0), (0, 0))) / memory
        paths: Float[np.ndarray, "path node component"]
        paths = _components(walks, self.grid, self.path.shape[1]) @ self.shape.T
        paths += np.sqrt(self.noise) * rng.standard_normal(paths.shape)
        return paths


@dataclass(frozen=True, eq=False)
class Phases:
    """The run's increments with random Fourier phases, the same for all components.

    Attributes:
        grid: Where the path is looked at.
        path: The run's.
        rate: The run's squared speed in widths of the kernel.
        shape: Takes components of unit variance to the run's scores.
    """

    grid: Grid
    path: Float[np.ndarray, "node component"]
    rate: Float[np.ndarray, " node"]
    shape: Float[np.ndarray, "component component"]

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "path node component"]:
        """Some paths."""
        places = self.grid.scales[0].places
        even = np.linspace(0, places[-1], len(places))
        scale = np.sqrt(np.interp(even[:-1] + even[1] / 2, places, self.rate))[:, None]
        increments = np.diff(_between(even, places) @ self.path, axis=0) / scale
        spectrum = np.fft.rfft(increments, axis=0)
        turns = np.exp(2j * np.pi * rng.random((count, len(spectrum), 1)))
        turns[:, 0] = 1  # the mean increment has no phase
        drawn = np.fft.irfft(spectrum * turns, n=len(increments), axis=1) * scale
        paths = np.pad(drawn.cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))
        found: Float[np.ndarray, "path node component"]
        found = _components(_between(places, even) @ paths, self.grid, paths.shape[2])
        return np.asarray(found @ self.shape.T)


class NullModels(NamedTuple):
    """The laws of paths that a run is weighed against."""

    brownian: Walk
    ornstein_uhlenbeck: Walk
    phase_randomised: Phases


def null_models(
    scores: Float[np.ndarray, "step component"], steps: Int[np.ndarray, " step"], seed: int = 0
) -> NullModels:
    r"""The null models that the scores of a run suggest.

    All have the run's length and its covariance, and gather variance at the run's local rate: the
    squared distance that the smoothed path covers in one width of the kernel, averaged over
    eight. A walk $x_{i+1} = x_i + \sqrt{v_i}\, \eta_i$ in $D$ dimensions is seen on its principal
    components. What few dimensions leave of it is rough, what many leave are cosines; $D$ is
    such that it is as rough as the run: the logarithms of the squared second differences of the
    smoothed path over one width of the kernel are the same on average, so that a single sharp
    turn makes nothing rough. White noise in the scores, known from increments that are
    anticorrelated, is added to the walk and not taken for it. The mean-reverting walk forgets
    $\theta$ times over the run where it was, with $\theta$ from the ratio of the first two
    variances, and at least once.

    Args:
        scores: Positions on two or more components; the first three are used.
        steps: Increasing training steps, eight or more.
        seed: Of the walks from which the roughness for each $D$ is learnt.
    """
    grid, scores = lay_grid(steps), leading(scores)
    path, noise = on_grid(scores, grid), _white_noise(scores, grid)
    variances, axes = _principal_axes(path, grid)
    signal = np.maximum(variances - (axes**2).T @ noise.mean(axis=0), 0)
    rate = np.exp(_local_rates(path[None], grid)[0])
    walk = Walk(grid, path, rate, noise, axes * np.sqrt(signal))
    rng = np.random.default_rng(seed)
    reverting = replace(walk, relaxation=_relaxation(signal))
    return NullModels(
        brownian=_matched(walk, rng),
        ornstein_uhlenbeck=_matched(reverting, rng),
        phase_randomised=Phases(grid, path, rate, axes * np.sqrt(variances)),
    )


def _kicks(
    count: int, n: int, dimensions: float, rng: np.random.Generator
) -> Float[np.ndarray, "path gap dimension"]:
    """Vectors whose Gram matrix is that of `n` Gaussian ones: themselves, or Bartlett's factor."""
    if dimensions < n:
        whole = round(dimensions)
        kicks = rng.standard_normal((count, n, whole), dtype=np.float32)
        return kicks / np.float32(whole**0.5)
    kicks = rng.standard_normal((count, n, n), dtype=np.float32)
    kicks *= np.tri(n, k=-1, dtype=np.float32)
    freedom = np.maximum(dimensions - np.arange(n), 1)
    kicks[:, np.arange(n), np.arange(n)] = np.sqrt(rng.chisquare(freedom, size=(count, n)))
    return kicks / np.float32(dimensions**0.5)


def _components(
    walks: Float[np.ndarray, "path node dimension"], grid: Grid, components: int
) -> Float[np.ndarray, "path node component"]:
    """Scores of unit variance on the first principal components, by subspace iteration."""
    weights = (grid.weights / grid.weights.sum()).astype(walks.dtype)[:, None]
    centered = (walks - (weights * walks).sum(axis=1, keepdims=True)) * np.sqrt(weights)
    _, n, dimensions = centered.shape
    kept = components + 5
    if dimensions <= kept:
        directions = np.linalg.svd(centered, full_matrices=False)[0]
    else:
        angles = np.pi * np.arange(1, kept + 1) * np.linspace(0, 1, n)[:, None]
        start = np.linalg.qr(np.cos(angles))[0].astype(walks.dtype)
        basis = np.broadcast_to(start, (len(walks), n, start.shape[1]))
        for _ in range(4):
            basis = np.linalg.qr(centered @ (centered.transpose(0, 2, 1) @ basis))[0]
        inner = np.linalg.svd(basis.transpose(0, 2, 1) @ centered, full_matrices=False)[0]
        directions = basis @ inner
    return np.asarray(directions[..., :components] / np.sqrt(weights), float)


# What the run suggests ----------------------------------------------------------------------------


def _white_noise(
    scores: Float[np.ndarray, "step component"], grid: Grid
) -> Float[np.ndarray, "node component"]:
    r"""Variance of white noise in the mean score of each node.

    Noise of variance $\sigma^2$ gives second differences of variance $6 \sigma^2$ and, two steps
    apart, of covariance $\sigma^2$; a random walk gives 0 there. What is above that by less than
    two standard errors is taken for a walk. Neighbours that agree on average show no noise.
    """
    second = np.diff(scores, 2, axis=0)
    squares = second**2
    typical = squares.mean(axis=0)
    logs = np.log(squares + 1e-12 * typical + 1e-300)
    local = np.exp(gaussian_filter1d(logs, max(2.0, len(second) / 12), axis=0, mode="nearest"))
    local *= typical / np.maximum(local.mean(axis=0), 1e-300)
    products = second[2:] * second[:-2] / np.maximum(local[1:-1], 1e-300)
    share = products.mean() - 2 * products.std() / products.size**0.5
    share *= bool((second[1:] * second[:-1]).mean() < 0)
    noise = np.pad(np.clip(share, 0, 1 / 6) * local, ((1, 1), (0, 0)), mode="edge")
    summed = np.add.reduceat(noise, grid.starts, axis=0)
    mean: Float[np.ndarray, "node component"] = summed / grid.weights[:, None] ** 2
    return mean


def _principal_axes(
    path: Float[np.ndarray, "node component"], grid: Grid
) -> tuple[Float[np.ndarray, " component"], Float[np.ndarray, "component component"]]:
    ascending, axes = np.linalg.eigh(np.cov(path.T, aweights=grid.weights, ddof=0))
    return np.maximum(ascending[::-1], 0), axes[:, ::-1]


def _relaxation(variances: Float[np.ndarray, " component"]) -> float:
    r"""From $\lambda_1 / \lambda_2 = (\theta^2 + 4 \pi^2) / (\theta^2 + \pi^2)$ of a long walk."""
    ratio = variances[0] / max(variances[1], 1e-300)
    if ratio >= 4:
        return 1.0
    return float(np.clip(np.pi * np.sqrt((4 - ratio) / max(ratio - 1, 1e-9)), 1, FASTEST))


def _local_rates(
    paths: Float[np.ndarray, "path node component"], grid: Grid
) -> Float[np.ndarray, "path node"]:
    """Logarithm of the squared distance that smoothed paths cover in a kernel's width, averaged."""
    places, smooth = grid.scales[0].places, grid.scales[0].smoother @ paths
    low, high = np.clip([places - 0.5, places + 0.5], places[0], places[-1])
    moved = (_between(high, places) - _between(low, places)) @ smooth
    squares = (moved**2).sum(axis=2) / (high - low)
    even = np.linspace(places[0], places[-1], 1 + round(2 * places[-1]))
    logs = np.log(squares + 1e-12 * squares.mean(axis=1, keepdims=True) + 1e-300)
    averaged = gaussian_filter1d(logs @ _between(even, places).T, CLOCK / even[1], mode="nearest")
    rates: Float[np.ndarray, "path node"] = averaged @ _between(places, even).T
    return rates


def _gathered(rate: Float[np.ndarray, " node"], grid: Grid) -> Float[np.ndarray, " gap"]:
    """Variance from node to node, of one in all."""
    variance: Float[np.ndarray, " gap"] = (rate[1:] + rate[:-1]) * np.diff(grid.scales[0].places)
    variance /= variance.sum()
    return variance


def _matched(walk: Walk, rng: np.random.Generator) -> Walk:
    """The walk that is as rough as the run, and gathers variance where the run does.

    A walk on its principal components is slow at both ends, whatever its clock: first it goes by
    what the run shows, then by what such walks lack.
    """
    shown = _local_rates(walk.path[None], walk.grid)[0]
    walk = _as_rough(replace(walk, rate=np.exp(shown)), rng)
    drawn = _local_rates(walk.draw(4 * TRIALS, rng), walk.grid).mean(axis=0)
    return _as_rough(replace(walk, rate=np.exp(2 * shown - drawn)), rng)


def _as_rough(walk: Walk, rng: np.random.Generator) -> Walk:
    """The walk in as many dimensions as make it as rough as the run."""
    some = [replace(walk, dimensions=float(d)) for d in walk.path.shape[1] * DIMENSIONS]
    drawn = [float(_roughness(one.draw(TRIALS, rng), walk).mean()) for one in some]
    falling = np.minimum.accumulate(drawn)
    run = float(_roughness(walk.path[None], walk)[0])
    logs = np.log([one.dimensions for one in some])
    return replace(walk, dimensions=float(np.exp(np.interp(-run, -falling, logs))))


def _roughness(
    paths: Float[np.ndarray, "path node component"], walk: Walk
) -> Float[np.ndarray, " path"]:
    """Mean logarithm of squared second differences over a kernel's width, in units of the rate."""
    places, smoother = walk.grid.scales[0].places, walk.grid.scales[0].smoother
    inner = np.arange(places[0] + 1, places[-1] - 1, 0.5)
    second = sum(
        sign * _between(inner + shift, places) for sign, shift in ((1, -1), (-2, 0), (1, 1))
    )
    squares = ((second @ smoother @ paths) ** 2).sum(axis=2)
    logs = np.log(squares + 1e-300) - np.interp(inner, places, np.log(walk.rate))
    roughness: Float[np.ndarray, " path"] = logs.mean(axis=1)
    roughness -= np.log(np.var(paths, axis=1).sum(axis=1))
    return roughness


def _between(
    wanted: Float[np.ndarray, " wanted"], places: Float[np.ndarray, " node"]
) -> Float[np.ndarray, "wanted node"]:
    """The matrix that interpolates values at `places` linearly."""
    return np.stack([np.interp(wanted, places, row) for row in np.eye(len(places))], axis=1)
