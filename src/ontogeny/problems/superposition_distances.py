r"""How far weights are from the known critical points of the toy model of superposition.

A critical point is a set. It may be turned and reflected, and its features may change places; and
some of what it names may be had in many ways:

- A feature that is given up may have any negative bias. Beyond 2r corners, without positive biases,
  it may have weights as well, as long as the biases hide them: $|w| \le -b/\ell$ of the corners'
  bias b and length ℓ, and a bias of at most $-\ell |w|$.
- Up to three features in the plane, or one in any, without positive biases, stand anywhere at right
  angles or more (*loose*), and those that are given up may have weights at right angles or more to
  all of these, if their biases hide them from each other.

The distance is that of weights and biases, together, to the nearest member of the set that is
found: never less than it truly is, and 0 at every member.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
from jaxtyping import Complex, Float
from scipy.optimize import linear_sum_assignment

from ontogeny.problems.superposition_landscape import (
    Corners,
    corners_of,
    known_corners,
)

STARTS = 8
"""From how many angles the best way to turn a polygon is looked for."""


def distances_to_critical_points(
    weights: Float[np.ndarray, "hidden feature"], bias: Float[np.ndarray, " feature"]
) -> Mapping[str, float]:
    """How far weights and biases are from each known critical point, whichever way it is turned.

    Args:
        weights: W.
        bias: b.

    Examples:
        >>> from ontogeny.problems.superposition_landscape import critical_point
        >>> state = critical_point("5+")
        >>> far = distances_to_critical_points(state["weights"].numpy(), state["bias"].numpy())
        >>> min(far, key=far.get), round(far["5+"], 6), round(far["5"], 4)
        ('5+', 0.0, 0.0833)
    """
    hidden, features = weights.shape
    squares = {}
    for corners in known_corners(features, hidden):
        loose = not corners.plus and corners.k < (4 if hidden == 2 else 2)
        squared = _squared_to_loose if loose else _squared_to_turned
        squares[corners.name] = squared(weights, bias, corners)
    return {name: float(np.sqrt(max(square, 0.0))) for name, square in squares.items()}


# Polygons that can only be turned -----------------------------------------------------------------


def _squared_to_turned(
    weights: Float[np.ndarray, "hidden feature"],
    bias: Float[np.ndarray, " feature"],
    corners: Corners,
) -> float:
    """To a polygon: in turn, the best places for the features and the best way to turn it."""
    hidden, features = weights.shape
    shape = corners.length * corners_of(corners.k, hidden)
    squares = np.square(weights).sum(axis=0)
    alone = squares + corners.length**2 + np.square(bias - corners.bias)
    positive = squares + np.square(bias - 1 / (2 * features))
    beside = np.stack(
        [positive] * corners.plus
        + [given_up(squares, bias, corners, hidden)] * (features - corners.k - corners.plus),
        axis=1,
    ) if features > corners.k else np.empty((features, 0))  # fmt: skip
    best = np.inf
    for turn in starting_turns(corners.k, hidden):
        before = np.inf
        while True:
            at_corners = alone[:, None] - 2 * weights.T @ turn @ shape
            costs = np.concatenate([at_corners, beside], axis=1)
            rows, places = linear_sum_assignment(costs)
            now = float(costs[rows, places].sum())
            if now > before - 1e-12:
                break
            before, told_apart = now, places < corners.k
            left, _, right = np.linalg.svd(weights[:, told_apart] @ shape[:, places[told_apart]].T)
            turn = left @ right
        best = min(best, now)
    return best


@lru_cache
def starting_turns(k: int, hidden: int) -> tuple[Float[np.ndarray, "{hidden} {hidden}"], ...]:
    """Ways to turn k corners: evenly spaced in the plane, else at random."""
    if k == 0 or hidden == 1:
        return (np.eye(hidden),)
    if hidden > 2:
        drawn = np.random.default_rng(0).normal(size=(4 * STARTS, hidden, hidden))
        return tuple(np.linalg.qr(one)[0] for one in drawn)
    angles = 2 * np.pi / k * np.arange(STARTS) / STARTS
    return tuple(np.array([[np.cos(x), -np.sin(x)], [np.sin(x), np.cos(x)]]) for x in angles)


def given_up(
    squares: Float[np.ndarray, " feature"],
    bias: Float[np.ndarray, " feature"],
    corners: Corners,
    hidden: int,
) -> Float[np.ndarray, " feature"]:
    """The squared distance of each feature from one that is given up beside a polygon.

    Args:
        squares: |w|².
        bias: b.
        corners: The polygon.
        hidden: r.
    """
    if corners.plus or corners.k <= 2 * hidden:
        return np.asarray(squares + np.square(bias.clip(0)))
    lengths, slope = np.sqrt(squares), corners.length
    room = np.minimum(lengths, -corners.bias / slope)
    nearest = ((lengths - slope * bias) / (1 + slope**2)).clip(0, room)
    return np.asarray(np.square(lengths - nearest) + np.square((bias + slope * nearest).clip(0)))


# Loose points -------------------------------------------------------------------------------------


def _squared_to_loose(
    weights: Float[np.ndarray, "hidden feature"],
    bias: Float[np.ndarray, " feature"],
    corners: Corners,
) -> float:
    """To up to three unit vectors at right angles or more, with whatever is hidden beside them."""
    lengths = np.linalg.norm(weights, axis=0)
    apart = np.square(lengths - 1) + np.square(bias)
    beside = np.square(bias.clip(0)) + (lengths**2 if corners.k == 3 else 0)
    chosen = np.array(list(combinations(range(len(bias)), corners.k)), dtype=int)
    least = beside.sum() + (apart - beside)[chosen].sum(axis=1)
    best = np.inf
    for place in np.argsort(least, kind="stable"):
        if least[place] >= best:
            break
        told_apart, rest = chosen[place], np.delete(np.arange(len(bias)), chosen[place])
        for units in _placements(weights[:, told_apart]):
            square = np.square(weights[:, told_apart] - units).sum()
            square += np.square(bias[told_apart]).sum()
            square += _hidden_beside(weights[:, rest], bias[rest], units)
            best = min(best, float(square))
    return best


def _placements(columns: Float[np.ndarray, "hidden k"]) -> Iterator[Float[np.ndarray, "hidden k"]]:
    """Unit vectors at right angles or more: the nearest ones are among them.

    Where the columns are too near each other, some of them stand in a chain of right angles. Of
    two, those that are opposite are given as well: they have more room beside them.
    """
    hidden, k = columns.shape
    if k < 2:
        lengths = np.linalg.norm(columns, axis=0)
        yield np.where(
            lengths > 0, columns / np.where(lengths > 0, lengths, 1), np.eye(hidden)[:, :k]
        )
        return
    z = columns[0] + 1j * columns[1]
    chains = [chain for size in range(2, k + 1) for chain in permutations(range(k), size)]
    steps = [(chain, 1j ** np.arange(len(chain))) for chain in chains]
    steps += [((0, 1), np.array([1, -1]))] if k == 2 else []
    for chain, step in [((), np.empty(0)), *steps]:
        units = _phase(z)
        units[list(chain)] = _phase((z[list(chain)] / step).sum()[None]) * step
        products = (units[:, None] * units.conj()).real[np.triu_indices(k, 1)]
        if (products < 1e-9).all():
            yield np.stack([units.real, units.imag])


def _phase(z: Complex[np.ndarray, " k"]) -> Complex[np.ndarray, " k"]:
    return np.asarray(np.exp(1j * np.angle(z)))


def _hidden_beside(
    weights: Float[np.ndarray, "hidden rest"],
    bias: Float[np.ndarray, " rest"],
    units: Float[np.ndarray, "hidden k"],
) -> float:
    """The squared distance of features that are given up from having no effect beside others.

    Each loses its weights or what of them is not at right angles or more to the others; then its
    bias is lowered until nothing is seen of it.
    """
    nothing = np.square(weights).sum(axis=0) + np.square(bias.clip(0))
    kept = _at_right_angles(weights, units)
    seen = (kept.T @ kept).max(axis=0, initial=0.0)
    something = np.square(weights - kept).sum(axis=0) + np.square((bias + seen).clip(0))
    return float(np.minimum(nothing, something).sum())


def _at_right_angles(
    weights: Float[np.ndarray, "hidden rest"], units: Float[np.ndarray, "hidden k"]
) -> Float[np.ndarray, "hidden rest"]:
    """The nearest vectors at right angles or more to all of some unit vectors, in the plane."""
    candidates = [weights]
    candidates += [weights - np.outer(unit, unit @ weights) for unit in units.T]
    best, away = np.zeros_like(weights), np.square(weights).sum(axis=0)
    for one in candidates:
        square = np.square(weights - one).sum(axis=0)
        better = (units.T @ one < 1e-9).all(axis=0) & (square < away)
        best, away = np.where(better, one, best), np.where(better, square, away)
    return best
