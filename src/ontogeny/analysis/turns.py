r"""Turns that a smoothed path makes in every plane of two components at once.

A path is looked at on a grid: checkpoints that lie much closer than the smoothing kernel is wide
share a node, so that thousands of paths can be looked at together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from ontogeny.analysis.dynamics import kernel_widths, smooth_trajectory

WIDTHS = (0.012, 0.017, 0.024, 0.034, 0.048)
"""They are looked for in paths smoothed by each of these shares of the last step."""

NODES = 2
"""Checkpoints share a node where more than this many lie within a kernel's width."""

FEWEST_STEPS = 8

ROUNDING = 1e-12
"""A turn that is less deep, as a share of the largest number of the path, is rounding."""

# The path, at no more points than it has room for -------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scale:
    """How a path is smoothed with one width, and where it is then looked at.

    Attributes:
        nodes: Which nodes of the grid: no more than there is room for.
        places: These on an axis along which the kernel is one wide.
        smoother: The matrix that smooths values at all nodes and gives them at these.
        weights: How many checkpoints each stands for.
    """

    nodes: Int[np.ndarray, " node"]
    places: Float[np.ndarray, " node"]
    smoother: Float[np.ndarray, "node all"]
    weights: Float[np.ndarray, " node"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a path is looked at: nodes, and how it is smoothed at them.

    Attributes:
        steps: Mean step of the checkpoints of each node.
        starts: The first of these checkpoints.
        weights: How many they are.
        scales: A smoothing for each of `WIDTHS`, the narrowest first, which uses every node.
    """

    steps: Float[np.ndarray, " node"]
    starts: Int[np.ndarray, " node"]
    weights: Float[np.ndarray, " node"]
    scales: tuple[Scale, ...]


def lay_grid(steps: Int[np.ndarray, " step"]) -> Grid:
    """The grid for checkpoints at these steps: those much closer than the kernel share a node.

    Raises:
        ValueError: There are fewer than eight checkpoints, or their steps do not increase.

    Examples:
        >>> lay_grid(np.arange(0, 500_000, 100)).steps.size, lay_grid(np.arange(8)).steps.size
        (210, 8)
    """
    if len(steps) < FEWEST_STEPS:
        raise ValueError(f"forms need {FEWEST_STEPS} checkpoints or more, not {len(steps)}")
    starts = _spread(steps, WIDTHS[0])
    weights = np.diff([*starts, len(steps)]).astype(float)
    nodes = np.add.reduceat(steps.astype(float), starts) / weights
    return Grid(nodes, starts, weights, tuple(_scale(nodes, weights, width) for width in WIDTHS))


def _spread(steps: Real[np.ndarray, " step"], width: float) -> Int[np.ndarray, " node"]:
    """About `NODES` of the steps, evenly, for each kernel's width, where there are as many."""
    room = kernel_widths(steps, width) / (NODES * np.gradient(steps.astype(float)))
    starts = [0]
    while (after := starts[-1] + max(1, round(room[starts[-1]]))) < len(steps):
        starts.append(after)
    return np.array(starts)


def _scale(
    steps: Float[np.ndarray, " all"], weights: Float[np.ndarray, " all"], width: float
) -> Scale:
    nodes, kernels = _spread(steps, width), kernel_widths(steps, width)
    between = np.diff(steps) * 2 / (kernels[1:] + kernels[:-1])
    return Scale(
        nodes=nodes,
        places=np.concatenate([[0.0], between.cumsum()])[nodes],
        smoother=smooth_trajectory(np.eye(len(steps)), steps, width)[nodes],
        weights=np.add.reduceat(weights, nodes),
    )


def on_grid(
    scores: Float[np.ndarray, "step component"], grid: Grid
) -> Float[np.ndarray, "node component"]:
    """The mean of the scores at each node."""
    summed = np.add.reduceat(scores, grid.starts, axis=0)
    mean: Float[np.ndarray, "node component"] = summed / grid.weights[:, None]
    return mean


# Turns in a plane ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Turns:
    """For each node of some paths the turn within one kernel's width that all planes share.

    Attributes:
        scores: How sharp and how consistent it is; 0 where the planes share none.
        points: Where it is in the space of the components.
        vertices: Where the vertex is in each plane, counted in nodes, -1 where there is none.
    """

    scores: Float[np.ndarray, "path node"]
    points: Float[np.ndarray, "path node component"]
    vertices: Float[np.ndarray, "path plane node"]


def find_turns(paths: Float[np.ndarray, "path node component"], scale: Scale) -> Turns:
    r"""Where smoothed paths turn in all planes at once; `find_forms` says by which rule.

    Args:
        paths: Smoothed positions.
        scale: How they were smoothed.
    """
    places, weights = scale.places, scale.weights
    planes = list(itertools.combinations(range(paths.shape[2]), 2))
    velocity = np.gradient(paths, places, axis=1)
    acceleration = np.gradient(velocity, places, axis=1)
    mean = np.average(paths, axis=1, weights=weights)[:, None]
    variances = np.average((paths - mean) ** 2, axis=1, weights=weights)
    sizes = np.sqrt(np.stack([variances[:, plane].sum(axis=1) for plane in planes], axis=1))
    near = np.abs(places[:, None] - places) <= 1
    near = near / near.sum(axis=1, keepdims=True)
    paces = near @ velocity**2
    going = [np.sqrt(paces[..., plane].sum(axis=2)) for plane in planes]
    found = [
        _turns_in_plane(
            paths[..., plane], velocity[..., plane], acceleration[..., plane], span, places
        )
        for plane, span in zip(planes, going, strict=True)
    ]
    radii, depths, centers, vertices, spans = (
        np.stack(part, axis=1) for part in zip(*found, strict=True)
    )
    points = np.zeros(paths.shape)
    shares = np.zeros((len(paths), paths.shape[2]))
    for p, plane in enumerate(planes):
        share = sizes[:, p, None] ** -2
        points[..., plane] += share[..., None] * centers[:, p]
        shares[:, plane] += share
    points /= shares[:, None]
    projected = np.stack([points[..., plane] for plane in planes], axis=1)
    blur = spans**2 + radii**2 + ((projected - centers) ** 2).sum(axis=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        agree = (blur / depths**2).mean(axis=1) <= 1
        scores = (blur * sizes[..., None] ** 2 / depths**4).mean(axis=1) ** -0.5
    return Turns(np.where(agree, scores, 0), points, vertices)


def _turns_in_plane(
    paths: Float[np.ndarray, "path node 2"],
    velocity: Float[np.ndarray, "path node 2"],
    acceleration: Float[np.ndarray, "path node 2"],
    span: Float[np.ndarray, "path node"],
    places: Float[np.ndarray, " node"],
) -> tuple[
    Float[np.ndarray, "path node"],
    Float[np.ndarray, "path node"],
    Float[np.ndarray, "path node 2"],
    Float[np.ndarray, "path node"],
    Float[np.ndarray, "path node"],
]:
    """Radius, depth, centre, place and span of the sharpest vertex near each node.

    The span is how far the path goes there in a kernel's width.
    """
    radii, normals = _bend(velocity, acceleration)
    inner = np.zeros(radii.shape, bool)
    # Written for radii, whose minima are maxima of the modulus of curvature.
    inner[:, 2:-2] = (radii[:, 2:-2] < radii[:, 1:-3]) & (radii[:, 2:-2] <= radii[:, 3:-1])
    path, node = np.nonzero(inner)
    depths = np.zeros(radii.shape)
    depths[inner] = _depths(paths, path, node, normals[inner])
    depths[depths < ROUNDING * np.abs(paths).max(axis=(1, 2), initial=0)[:, None]] = 0
    centers = paths + np.where(np.isfinite(radii), radii, 0)[..., None] * normals
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpness = np.where(depths > 0, depths**2 / np.hypot(radii, span), 0)
    best = _sharpest_near(sharpness, places)
    row = np.arange(len(paths))[:, None]
    known = sharpness[row, best] > 0
    return (
        np.where(known, radii[row, best], np.inf),
        np.where(known, depths[row, best], 0),
        np.where(known[..., None], centers[row, best], 0),
        np.where(known, best + _lowest(radii)[row, best], -1),
        span[row, best],
    )


def _lowest(radii: Float[np.ndarray, "path node"]) -> Float[np.ndarray, "path node"]:
    """Where a parabola through each radius and its neighbours is lowest, in nodes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = radii[:, :-2] - radii[:, 1:-1], radii[:, 2:] - radii[:, 1:-1]
        offsets = (left - right) / (2 * (left + right))
    offsets = np.where(np.abs(offsets) <= 0.5, offsets, 0)
    return np.pad(offsets, ((0, 0), (1, 1)))


def _bend(
    velocity: Float[np.ndarray, "path node 2"], acceleration: Float[np.ndarray, "path node 2"]
) -> tuple[Float[np.ndarray, "path node"], Float[np.ndarray, "path node 2"]]:
    """Radii of the osculating circles and unit vectors towards their centres.

    Where a path turns back between the neighbours of a node it has a cusp as far as can be seen.
    The vector then points to where the path is pulled, and the radius is twice the distance to
    where it stops: 0 at the tip. Where the path is straight, or stays at rest, it is infinite.
    """
    turning = velocity[..., 0] * acceleration[..., 1] - velocity[..., 1] * acceleration[..., 0]
    speed, pull = np.linalg.norm(velocity, axis=-1), np.linalg.norm(acceleration, axis=-1)
    cusp = np.zeros(speed.shape, bool)
    cusp[:, 1:-1] = (velocity[:, :-2] * velocity[:, 2:]).sum(axis=2) <= 0
    left = np.stack([-velocity[..., 1], velocity[..., 0]], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        radii = np.where(cusp, speed**2 / pull, speed**3 / np.abs(turning))
        normals = np.where(
            cusp[..., None],
            acceleration / pull[..., None],
            left * (np.sign(turning) / speed)[..., None],
        )
    straight = ~np.isfinite(radii)
    return np.where(straight, np.inf, radii), np.where(straight[..., None], 0, normals)


def _depths(
    paths: Float[np.ndarray, "path node 2"],
    path: Int[np.ndarray, " turn"],
    node: Int[np.ndarray, " turn"],
    normals: Float[np.ndarray, "turn 2"],
) -> Float[np.ndarray, " turn"]:
    """How far a path comes away from its tangent on both sides before it crosses it again."""
    length = paths.shape[1]
    x, y = np.ascontiguousarray(paths.reshape(-1, 2).T)
    tip = path * length + node
    offset = x[tip] * normals[:, 0] + y[tip] * normals[:, 1]
    depths = np.full(len(node), np.inf)
    for way, end in ((-1, path * length - 1), (1, (path + 1) * length)):
        highest = np.zeros(len(node))
        turn, at, (u, v), c, last = np.arange(len(node)), tip + way, normals.T, offset, end
        while len(turn):  # the turns whose path is still above its tangent, one node further
            inside = at != last
            heights = np.where(inside, x[at * inside] * u + y[at * inside] * v - c, -1)
            above = heights >= 0
            turn, at, u, v, c, last = (some[above] for some in (turn, at + way, u, v, c, last))
            highest[turn] = np.maximum(highest[turn], heights[above])
        depths = np.minimum(depths, highest)
    return depths


def _sharpest_near(
    sharpness: Float[np.ndarray, "path node"], places: Float[np.ndarray, " node"]
) -> Int[np.ndarray, "path node"]:
    """The node within a kernel's width of each node at which `sharpness` is largest."""
    n = len(places)
    best = np.broadcast_to(np.arange(n), sharpness.shape).copy()
    largest = sharpness.copy()
    reach = int((np.searchsorted(places, places + 1, side="right") - np.arange(n)).max()) - 1
    for offset in [*range(-reach, 0), *range(1, reach + 1)]:
        here = np.arange(max(0, -offset), min(n, n - offset))
        here = here[np.abs(places[here + offset] - places[here]) <= 1]
        there = here + offset
        better = sharpness[:, there] > largest[:, here]
        best[:, here] = np.where(better, there, best[:, here])
        largest[:, here] = np.where(better, sharpness[:, there], largest[:, here])
    return best
