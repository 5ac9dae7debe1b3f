"""Essential dynamics: outputs over training as a curve in a few principal components.

Outputs at hundreds of checkpoints become points in the plane of two components, their smoothed
path becomes a plane curve, and the centres of its osculating circles become the evolute, which has
a cusp wherever curvature is stationary.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real
from scipy import linalg

from ontogeny.records import Circles, Outputs, Trajectory

ONSET = 0.2
"""Early in training the smoothing kernel is this share of the step wide."""

LARGEST_GRAM = 1500
"""Of more checkpoints the components are iterated, without the Gram matrix."""

ITERATIONS = 20
PRECISION = 1e-7
"""What is left of an eigenvector's equation when iterations end, as a share of the largest one."""


def essential_dynamics(
    outputs: Outputs, components: int = 4, *, width: float = 0.012, block: int = 512
) -> Trajectory:
    r"""Principal components of outputs over training, centred and not standardised.

    With $X$ the outputs less their mean over training and $X X^\top u_k = \lambda_k u_k$, the
    scores are $\sqrt{\lambda_k}\, u_k$, the loadings are $X^\top u_k / \sqrt{\lambda_k}$ and the
    variance ratios are $\lambda_k / \operatorname{tr} X X^\top$. The Gram matrix is summed over
    blocks of outputs in double precision, so that beside the outputs there is only ever one
    block and twice the square of the number of checkpoints in memory. Of more than 1,500
    checkpoints it is only ever multiplied with a few vectors, block by block, until these are its
    eigenvectors to a part in $10^7$.

    A high-dimensional random walk explains 61 %, 15 % and 7 % by its first three components and
    moves along them like cosines (Antognini and Sohl-Dickstein 2018): a large share is not yet
    a finding.

    Args:
        outputs: What the network says about a fixed batch at two or more checkpoints.
        components: How many components to keep at most: no more than the outputs move in.
        width: Width of the smoothing late in training, as for `smooth_trajectory`.
        block: How many outputs to treat at a time; the result does not depend on it.

    Returns:
        Scores in the units of the outputs, and loadings of unit length. The sign of a component
        is such that its loading of the largest absolute value is positive.

    Raises:
        ValueError: Outputs are not finite, or never change.

    Examples:
        Outputs that move along a line have one component, and their position on it.

        >>> line = np.outer([-2.0, -1.0, 0.0, 1.0, 2.0], [0.6, 0.8])
        >>> trajectory = essential_dynamics(Outputs(np.arange(5), line), components=1)
        >>> trajectory.scores[:, 0].round(6).tolist()
        [-2.0, -1.0, 0.0, 1.0, 2.0]
        >>> trajectory.loadings.round(6).tolist()
        [[0.6, 0.8]]

    References:
        J. Hoogland et al., *Loss Landscape Degeneracy and Stagewise Development of
        Transformers* (2025); J. Antognini and J. Sohl-Dickstein, *PCA of high dimensional
        random walks with comparison to neural network training* (2018).
    """
    steps, values = outputs.steps, outputs.values
    mean = _mean_over_training(outputs)
    blocks = [slice(start, start + block) for start in range(0, len(mean), block)]
    solve = _eigenpairs if len(steps) <= LARGEST_GRAM else _iterated_eigenpairs
    eigenvalues, directions, variance = solve(outputs, mean, components, blocks)
    if not len(eigenvalues):
        raise ValueError(f"the outputs are the same at all {len(steps)} checkpoints")
    lengths = np.sqrt(eigenvalues)
    loadings = np.empty((len(lengths), len(mean)))
    for columns in blocks:
        centered = values[:, columns] - mean[columns]
        loadings[:, columns] = (directions / lengths).T @ centered
    largest = np.abs(loadings).argmax(axis=1)
    signs = np.sign(loadings[np.arange(len(lengths)), largest])
    scores = directions * lengths * signs
    return Trajectory(
        steps=steps,
        scores=scores,
        smoothed=smooth_trajectory(scores, steps, width),
        explained_variance_ratio=eigenvalues / variance,
        loadings=loadings * signs[:, None],
        mean=mean,
    )


def _mean_over_training(outputs: Outputs) -> Float[np.ndarray, " output"]:
    with np.errstate(invalid="ignore"):
        mean: Float[np.ndarray, " output"] = outputs.values.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        finite = [bool(np.isfinite(row).all()) for row in outputs.values]
        step = outputs.steps[finite.index(False)]
        raise ValueError(f"outputs at step {step} are not finite; leave out such checkpoints")
    return mean


Eigenpairs = tuple[Float[np.ndarray, " component"], Float[np.ndarray, "step component"], float]
"""Of the Gram matrix, largest first, and its trace."""


def _eigenpairs(
    outputs: Outputs, mean: Float[np.ndarray, " output"], components: int, blocks: list[slice]
) -> Eigenpairs:
    n = len(outputs.steps)
    gram = np.zeros((n, n))
    for columns in blocks:
        centered = outputs.values[:, columns] - mean[columns]
        gram += centered @ centered.T
    variance, kept = float(gram.trace()), _kept(components, n)
    ascending, vectors = linalg.eigh(gram, subset_by_index=(n - kept, n - 1), overwrite_a=True)
    moved = ascending > _rounding(n, variance, mean)
    return ascending[moved][::-1], vectors[:, moved][:, ::-1], variance


def _iterated_eigenpairs(
    outputs: Outputs, mean: Float[np.ndarray, " output"], components: int, blocks: list[slice]
) -> Eigenpairs:
    """The same without the Gram matrix: subspace iteration with three times as many vectors."""
    n, kept = len(outputs.steps), _kept(components, len(outputs.steps))
    start = np.random.default_rng(0).normal(size=(n, min(n, 3 * kept + 8)))
    basis, variance = np.linalg.qr(start)[0], 0.0
    for iteration in range(ITERATIONS):
        product = np.zeros_like(basis)
        for columns in blocks:
            centered = outputs.values[:, columns] - mean[columns]
            product += centered @ (centered.T @ basis)
            if iteration == 0:
                variance += float(np.einsum("so,so->", centered, centered))
        inner, turn = np.linalg.eigh(basis.T @ product)
        eigenvalues, turn = inner[::-1][:kept], turn[:, ::-1][:, :kept]
        directions = basis @ turn
        left = np.linalg.norm(product @ turn - directions * eigenvalues, axis=0).max()
        if left <= max(PRECISION * eigenvalues[0], _rounding(n, variance, mean)):
            break
        basis = np.linalg.qr(product)[0]
    moved = eigenvalues > _rounding(n, variance, mean)
    return eigenvalues[moved], directions[:, moved], variance


def _kept(components: int, n: int) -> int:
    if components < 1:
        raise ValueError(f"there must be at least one component, not {components}")
    return min(components, n)


def _rounding(n: int, variance: float, mean: Float[np.ndarray, " output"]) -> float:
    """What rounding leaves along directions in which nothing moves.

    From the eigenvalues themselves, and from a mean that is off by n epsilon at each of n
    checkpoints.
    """
    epsilon = float(np.finfo(np.float64).eps)
    return n * epsilon * variance + n * (n * epsilon) ** 2 * float(mean @ mean)


def smooth_trajectory(
    scores: Float[np.ndarray, "step component"],
    steps: Real[np.ndarray, " step"],
    width: float = 0.012,
) -> Float[np.ndarray, "step component"]:
    r"""Scores smoothed over training, with a kernel that widens as training slows down.

    The value at step $t$ is the local line through the scores, fitted with Gaussian weights of
    standard deviation

    $$h(t) = \frac{W t}{\sqrt{t^2 + (W / 0.2)^2}}, \qquad W = \text{width} \cdot T,$$

    where $T$ is the last step: a fifth of the step early in training, $W$ late. It is never less
    than the distance between neighbouring checkpoints. Straight lines pass unchanged, up to both
    ends and whatever the spacing of the checkpoints.

    The default follows the published rule for 5,000 evenly spaced checkpoints, whose kernel is
    one checkpoint wide before the 40th and 60 from the 200th on, but widens without a kink. The
    published ramp ends in one, which bends even an arc of a circle twelve times too sharply.

    Args:
        scores: Positions along the components.
        steps: Increasing training steps, in any spacing.
        width: Width $W$ late in training, as a share of the last step.

    Returns:
        Smoothed scores. Where checkpoints are further apart than the kernel is wide, each is
        averaged with its nearest neighbours only.

    Raises:
        ValueError: There is only one checkpoint, `steps` do not increase, or `width` is not
            positive.

    Examples:
        >>> steps = np.array([0, 1, 10, 100, 1000])
        >>> smooth_trajectory(2.0 * steps[:, None] + 1.0, steps)[:, 0].round(6).tolist()
        [1.0, 3.0, 21.0, 201.0, 2001.0]

    References:
        J. Fan and I. Gijbels, *Local Polynomial Modelling and Its Applications* (1996).
    """
    return _local_lines(scores, steps, kernel_widths(steps, width))


def smooth_along_arc(
    scores: Float[np.ndarray, "step component"],
    steps: Real[np.ndarray, " step"],
    width: float = 0.012,
) -> tuple[Float[np.ndarray, "step component"], Float[np.ndarray, " step"]]:
    r"""Scores smoothed with a kernel that is as wide everywhere along the path.

    The path is first smoothed over training, by `smooth_trajectory`; the length of this,
    $s(t) = \int |\dot x|\, dt$, then takes the place of the step: the value at $s$ is the local
    line with Gaussian weights of standard deviation $\text{width} \cdot s(T)$. Where a path dwells,
    a kernel in steps shows every tremble, and this one a point; where it rushes, the other way
    round.

    Args:
        scores: Positions along the components.
        steps: Increasing training steps, in any spacing.
        width: Width of the kernel, as a share of the path's length.

    Returns:
        Smoothed scores, and how far along the path each checkpoint is, from 0 on.

    Raises:
        ValueError: As for `smooth_trajectory`, or the path does not move.

    Examples:
        >>> line = np.outer(np.arange(6), [3.0, 4.0])
        >>> smooth, along = smooth_along_arc(line, np.arange(6))
        >>> smooth[3].round(6).tolist(), along.round(6).tolist()
        ([9.0, 12.0], [0.0, 5.0, 10.0, 15.0, 20.0, 25.0])
    """
    path = smooth_trajectory(scores, steps, width)
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    along = np.append(0.0, lengths.cumsum())
    if not along[-1] > 1e-12 * np.abs(path).max():
        raise ValueError("the path does not move; it has no length to smooth along")
    kernel = np.full(len(along), width * along[-1])
    return _local_lines(scores, along, np.maximum(kernel, np.gradient(along))), along


def _local_lines(
    scores: Float[np.ndarray, "step component"],
    places: Real[np.ndarray, " step"],
    widths: Float[np.ndarray, " step"],
) -> Float[np.ndarray, "step component"]:
    """The local line at each place with Gaussian weights; the mean where all is in one place."""
    smoothed = np.empty(scores.shape)
    for i, (place, width) in enumerate(zip(places, widths, strict=True)):
        distance = (places - place) / width
        kernel = np.exp(-(distance**2) / 2)
        weights = kernel * (kernel @ distance**2 - (kernel @ distance) * distance)
        weights = weights if weights.sum() > 0 else kernel
        smoothed[i] = weights @ scores / weights.sum()
    return smoothed


def kernel_widths(
    steps: Real[np.ndarray, " step"], width: float = 0.012
) -> Float[np.ndarray, " step"]:
    """The standard deviation of the smoothing kernel at each step, as for `smooth_trajectory`.

    Raises:
        ValueError: There is only one checkpoint, `steps` do not increase, or `width` is not
            positive.

    Examples:
        >>> kernel_widths(np.arange(0, 50_000, 10))[[100, 4000]].round().tolist()
        [190.0, 598.0]
    """
    if len(steps) < 2 or not (np.diff(steps) > 0).all():
        raise ValueError("smoothing needs two or more checkpoints, sorted by step")
    if not width > 0:
        raise ValueError(f"the width of the smoothing must be positive; it is {width}")
    late = width * steps[-1]
    widths: Float[np.ndarray, " step"] = np.maximum(
        late * steps / np.hypot(steps, late / ONSET), np.gradient(steps.astype(float))
    )
    return widths


def osculating_circles(
    points: Float[np.ndarray, "step 2"], times: Real[np.ndarray, " step"]
) -> Circles:
    r"""The circles that share position, tangent and curvature with a plane curve.

    With velocity $v$, acceleration $a$ and $v \times a = v_1 a_2 - v_2 a_1$, the signed radius
    is $\rho = |v|^3 / (v \times a)$ and the centre is $c = x + \rho\, n$, where
    $n = (-v_2, v_1)/|v|$ is the left normal. The centres trace the evolute, which has a cusp
    wherever curvature is stationary and runs to infinity wherever the curve is straight.

    Args:
        points: Positions, such as two components of a smoothed trajectory.
        times: Increasing parameter, such as training steps. Circles do not depend on it, beyond
            the error of the finite differences: second order in the spacing, first order at the
            two points at either end.

    Returns:
        Centres and signed radii (positive: the curve turns left), in the units of `points`.
        Where the curve is straight the radius is infinite and the centre is not finite; where
        the curve is at rest neither is a number.

    Raises:
        ValueError: There are fewer than three points, or `times` do not increase.

    Examples:
        A circle of radius 2 is its own osculating circle everywhere.

        >>> t = np.linspace(0.0, 6.0, 301)
        >>> circles = osculating_circles(2 * np.stack([np.cos(t), np.sin(t)], axis=1), t)
        >>> bool(np.allclose(circles.centers, 0, atol=1e-2)), round(float(circles.radii[150]), 2)
        (True, 2.0)

    References:
        M. P. do Carmo, *Differential Geometry of Curves and Surfaces* (1976), section 1-7;
        J. W. Bruce and P. J. Giblin, *Curves and Singularities* (1992), proposition 7.2.
    """
    if len(points) < 3:
        raise ValueError(f"a circle needs three points; this curve has {len(points)}")
    if not (np.diff(times) > 0).all():
        raise ValueError("times must increase; sort the checkpoints by step")
    velocity = np.gradient(points, times, axis=0, edge_order=2)
    acceleration = np.gradient(velocity, times, axis=0, edge_order=2)
    turning = velocity[:, 0] * acceleration[:, 1] - velocity[:, 1] * acceleration[:, 0]
    speed = np.linalg.norm(velocity, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        normal = np.stack([-velocity[:, 1], velocity[:, 0]], axis=1) / speed[:, None]
        radii = speed**3 / turning
        return Circles(centers=points + radii[:, None] * normal, radii=radii)


def project(
    values: Float[np.ndarray, "point output"], trajectory: Trajectory
) -> Float[np.ndarray, "point component"]:
    r"""Scores of other outputs on the components of a trajectory.

    With the trajectory's mean $\mu$ and loadings $\ell_k$, the score of $x$ is
    $\ell_k \cdot (x - \mu)$. A predictor that says nothing about some coordinates is taken to say
    there what the trajectory says at the step where the two are closest on the others, so that it
    lies off the curve by what it does say.

    Args:
        values: Outputs on the batch of the trajectory, such as those of reference predictors or
            of another run; nan where there is no opinion.
        trajectory: The components to place them on.

    Returns:
        One row of scores for each row of `values`; nan where a whole row is nan.

    Raises:
        ValueError: `values` are not outputs on the same coordinates.

    Examples:
        A point on the line is where it is, even if half of it is not known.

        >>> line = np.outer([-2.0, -1.0, 0.0, 1.0, 2.0], [0.6, 0.8])
        >>> trajectory = essential_dynamics(Outputs(np.arange(5), line), components=1)
        >>> project(np.array([[1.2, 1.6], [np.nan, 1.6]]), trajectory).round(6).tolist()
        [[2.0], [2.0]]
    """
    if values.shape[1] != len(trajectory.mean):
        raise ValueError(
            f"the trajectory follows {len(trajectory.mean)} outputs and these points have "
            f"{values.shape[1]}; measure both on the same batch"
        )
    scores = np.full((len(values), len(trajectory.loadings)), np.nan)
    for i, point in enumerate(values):
        said = ~np.isnan(point)
        if not said.any():
            continue
        loadings = trajectory.loadings[:, said]
        offset = loadings @ (point - trajectory.mean)[said]
        gram = loadings @ loadings.T
        # |offset - scores @ loadings|², less what is the same at every step
        apart = ((trajectory.scores @ gram - 2 * offset) * trajectory.scores).sum(axis=1)
        closest = trajectory.scores[apart.argmin()]
        scores[i] = offset + closest - gram @ closest
    return scores
