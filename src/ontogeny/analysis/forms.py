r"""Forms: places in output space that the path of training turns around, in every plane at once.

In the plane of two components a path has a vertex where its curvature is stationary, and a cusp
where it comes to rest and turns back. A form is such a turn that stands at one step and at one
place in all planes. Nothing here says that a turn is more than chance: `ontogeny.analysis.nulls`
does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, Real

from ontogeny.analysis.dynamics import kernel_widths, osculating_circles
from ontogeny.analysis.turns import WIDTHS, Grid, Scale, find_turns, lay_grid, on_grid
from ontogeny.records import Form

COMPONENTS = 3
"""Forms are looked for in the planes of this many components, as in the paper."""


def find_vertices(
    points: Float[np.ndarray, "step 2"], times: Real[np.ndarray, " step"]
) -> Int[np.ndarray, " vertex"]:
    r"""Where the curvature of a plane curve is stationary.

    There the osculating circle touches the curve to fourth order and the evolute has a cusp. The
    signed curvature $\kappa = (v \times a) / |v|^3$ has a local maximum or minimum.

    Args:
        points: Positions along the curve.
        times: Increasing parameter; where the vertices are does not depend on it.

    Returns:
        The points at which curvature is larger, or smaller, than at both neighbours. The two points
        at either end are never among them: their finite differences are one-sided.

    Raises:
        ValueError: There are fewer than three points, or `times` do not increase.

    Examples:
        The four vertices of an ellipse stand at the ends of its axes.

        >>> t = np.linspace(-0.1, 6.1, 2001)
        >>> ellipse = np.stack([3 * np.cos(t), 2 * np.sin(t)], axis=1)
        >>> (0.0 + (t[find_vertices(ellipse, t)] / np.pi).round(2)).tolist()
        [0.0, 0.5, 1.0, 1.5]

    References:
        J. W. Bruce and P. J. Giblin, *Curves and Singularities* (1992), proposition 7.2.
    """
    with np.errstate(divide="ignore"):
        curvature = 1 / osculating_circles(points, times).radii
    inner, left, right = curvature[2:-2], curvature[1:-3], curvature[3:-1]
    peak = (inner > left) & (inner >= right)
    trough = (inner < left) & (inner <= right)
    return np.flatnonzero(peak | trough) + 2


# Forms --------------------------------------------------------------------------------------------


def best_scores(
    paths: Float[np.ndarray, "path node component"], grid: Grid
) -> Float[np.ndarray, " path"]:
    """The score of the best form of each path on a grid, 0 where it has none."""
    best = np.zeros(len(paths))
    for scale in grid.scales:
        turns = find_turns(scale.smoother @ paths, scale)
        best = np.maximum(best, turns.scores.max(axis=1))
    return best


def find_forms(
    scores: Float[np.ndarray, "step component"], steps: Int[np.ndarray, " step"]
) -> tuple[Form, ...]:
    r"""Where the path turns sharply, at one step and at one place in every plane of two components.

    The path is smoothed as by `smooth_trajectory`, with each of five widths $W$. In a plane it has
    a vertex where its curvature is largest, with radius $\rho$ and centre $c$ of the osculating
    circle, and $\rho = 0$ at a cusp, where the path turns back on itself. The vertex has a depth
    $d$: how far the path comes away from its tangent there on both sides, before it crosses it
    again. A form is

    1. a vertex or cusp in every plane, at steps that smoothing does not tell apart: within two
       standard deviations of the kernel;
    2. a point $f$ that is their centre in every plane, up to a distance $r$: the mean of the
       centres, weighted by $1/S^2$ with $S$ the path's standard deviation in the plane;
    3. in turns deeper than the ball that holds circles and centres: on average over the planes
       $\varepsilon^2 / d^2 \le 1$, with $\varepsilon^2 = \rho^2 + r^2 + e^2$. Here $e$ is how far
       the path goes there in one standard deviation of the kernel, root mean square over two:
       nothing sharper can be seen.

    Its score has no unit, and is high where deep turns are sharp and agree. It is the mean

    $$ \Bigl\langle \varepsilon^2 S^2 / d^4 \Bigr\rangle^{-1/2} $$

    over the planes: in each the depth relative to the path, $d / S$, times the depth relative to
    the ball, $d / \varepsilon$, and the worst plane counts most. Of forms within two standard
    deviations of each other, at any width, the best is kept.

    A vertex where curvature is smallest is a cusp of the evolute as well. It is no form here: what
    the path turns around least it does not turn around.

    Args:
        scores: Positions on two or more components; the first three are used.
        steps: Increasing training steps, eight or more.

    Returns:
        Forms in the order of their steps, without p-values.

    Raises:
        ValueError: There are fewer than eight steps or two components, or the path does not move
            along one of them.

    Examples:
        A path that goes straight to a corner and leaves it at a right angle in every plane.

        >>> t = np.arange(2001)
        >>> there, back = np.minimum(t, 1000.0), np.maximum(t - 1000.0, 0)
        >>> corner = there[:, None] * [1, 1, 0] + back[:, None] * [-1, 0.5, 1]
        >>> [round(form.step, -1) for form in find_forms(corner, t)]
        [1000]

    References:
        J. Hoogland et al., *The developmental landscape of in-context learning* (2024), whose
        forms were picked by eye from the radii and centres of the circles.
    """
    grid = lay_grid(steps)
    path = on_grid(leading(scores), grid)
    found: list[tuple[Form, Scale]] = []
    for scale in grid.scales:
        smooth = scale.smoother @ path
        turns = find_turns(smooth[None], scale)
        shared = np.flatnonzero(turns.scores[0] > 0)
        _, first = np.unique(turns.vertices[0][:, shared], axis=1, return_index=True)
        for node in shared[first]:
            turn = turns.points[0, node], turns.vertices[0, :, node], turns.scores[0, node]
            found.append((_form(grid.steps[scale.nodes], smooth, *turn), scale))
    kept: list[tuple[Form, Scale]] = []
    for form, scale in sorted(found, key=lambda one: -one[0].score):
        if not any(_same(form, other, grid, scale, seen) for other, seen in kept):
            kept.append((form, scale))
    return tuple(sorted((_snapped(form, steps) for form, _ in kept), key=lambda form: form.step))


def leading(scores: Float[np.ndarray, "step component"]) -> Float[np.ndarray, "step first"]:
    """The components in which forms are looked for.

    Raises:
        ValueError: There are fewer than two, or the path does not move along one of them.
    """
    if scores.shape[1] < 2:
        raise ValueError("forms need two components or more: a plane to turn in")
    if still := np.flatnonzero(np.ptp(scores[:, :COMPONENTS], axis=0) == 0).tolist():
        raise ValueError(f"the path does not move along component {still[0] + 1}")
    return scores[:, :COMPONENTS]


def _form(
    steps: Float[np.ndarray, " node"],
    smooth: Float[np.ndarray, "node component"],
    point: Float[np.ndarray, " component"],
    vertices: Float[np.ndarray, " plane"],
    score: float,
) -> Form:
    step = float(np.median(np.interp(vertices, np.arange(len(steps)), steps)))
    distances = np.linalg.norm(smooth - point, axis=1)
    near = np.arange(round(vertices.min()), round(vertices.max()) + 1)
    nearest = near[distances[near].argmin()]
    away = np.flatnonzero(distances > 2 * distances[nearest])
    first = away[away < nearest].max(initial=-1) + 1
    last = away[away > nearest].min(initial=len(distances)) - 1
    kernel = float(np.interp(step, steps, kernel_widths(steps, WIDTHS[0])))
    return Form(
        step=round(step),
        low=round(max(steps[0], min(steps[first], step - kernel))),
        high=round(min(steps[-1], max(steps[last], step + kernel))),
        point=tuple(point.tolist()),
        score=float(score),
    )


def _snapped(form: Form, steps: Int[np.ndarray, " step"]) -> Form:
    """The form at the checkpoints that are closest to its steps."""
    step, low, high = (
        int(steps[np.abs(steps - wanted).argmin()]) for wanted in (form.step, form.low, form.high)
    )
    return replace(form, step=step, low=low, high=high)


def _same(form: Form, other: Form, grid: Grid, *scales: Scale) -> bool:
    wide = max(scales, key=lambda scale: -scale.places[-1])
    ours, theirs = np.interp([form.step, other.step], grid.steps[wide.nodes], wide.places)
    return bool(abs(ours - theirs) < 2)
