r"""Free energy: which critical point a Bayesian posterior prefers, and how that changes with n.

Around a minimum with loss L and learning coefficient λ the free energy of n examples is
nL + λ ln n, to leading order. A simple minimum, with small λ, wins while examples are few, and a
good one, with small L, in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ontogeny.records import CriticalPoint

FEW = 10.0
"""Fewer examples than this are too few for an expansion that holds as n grows."""


@dataclass(frozen=True)
class Preference:
    """A critical point, and the numbers of examples at which the free energy is least there.

    Attributes:
        point: Which.
        low: The smallest n.
        high: The largest n, infinite for the last.
    """

    point: CriticalPoint
    low: float
    high: float


def free_energy(
    n: Float[np.ndarray, "*n"] | float, loss: float, learning_coefficient: float
) -> Float[np.ndarray, "*n"]:
    """The free energy nL + λ ln n.

    Args:
        n: How many examples.
        loss: L, in nats for each example.
        learning_coefficient: λ.

    Raises:
        ValueError: There is not even one example.

    Examples:
        >>> free_energy(np.array([1.0, np.e]), loss=0.0, learning_coefficient=1.5).tolist()
        [0.0, 1.5]
    """
    if not (np.asarray(n) >= 1).all():
        raise ValueError(f"there must be one example or more, not {n}")
    return np.asarray(n * loss + learning_coefficient * np.log(n))


def preferences(points: Sequence[CriticalPoint]) -> tuple[Preference, ...]:
    r"""The critical point with the least free energy, from few examples to many.

    Two points change places at the n where $n\,(L_1 - L_2) = (\lambda_2 - \lambda_1) \ln n$.

    Args:
        points: Of which those are compared that are minima with a known λ.

    Returns:
        In the order of n, from `FEW` on. Points that are preferred nowhere are left out; none if no
        λ is known.

    Examples:
        >>> simple, good = CriticalPoint("a", 0.5, 1.0), CriticalPoint("b", 0.0, 10.0)
        >>> [(one.point.name, round(one.high, 1)) for one in preferences([simple, good])]
        [('a', 78.5), ('b', inf)]
    """
    known = [point for point in points if point.minimum and point.learning_coefficient is not None]
    if not known:
        return ()
    loss = np.array([point.loss for point in known])
    coefficient = np.array([point.learning_coefficient for point in known], dtype=float)
    best, n = _preferred(FEW, loss, coefficient), FEW
    found = []
    while True:
        after, place = _next(n, best, loss, coefficient)
        found.append(Preference(known[best], n, after))
        if place is None:
            return tuple(found)
        n, best = after, place


def _preferred(
    n: float, loss: Float[np.ndarray, " point"], coefficient: Float[np.ndarray, " point"]
) -> int:
    energy = n * loss + coefficient * np.log(n)
    return int(np.lexsort((loss, energy))[0])


def _next(
    n: float, best: int, loss: Float[np.ndarray, " point"], coefficient: Float[np.ndarray, " point"]
) -> tuple[float, int | None]:
    """Where another point begins to be preferred, and which: the last of those that do at once."""
    crossings = [
        (_crossing(n, loss[best] - loss[i], coefficient[i] - coefficient[best]), i)
        for i in range(len(loss))
        if loss[i] < loss[best]
    ]
    first = min((n for n, _ in crossings), default=np.inf)
    at_once = [i for n, i in crossings if n <= first * (1 + 1e-9)]
    return first, min(at_once, default=None, key=lambda i: loss[i])


def _crossing(n: float, gain: float, price: float) -> float:
    """The n from which on gain · n exceeds price · ln n, by bisection in ln n."""
    low, high = np.log(n), np.log(n) + 1.0
    while gain * np.exp(high) < price * high:
        high += 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if gain * np.exp(middle) < price * middle else (low, middle)
    return float(np.exp(high))


def volume_exponent(
    losses: Float[np.ndarray, " sample"], low: float, high: float, levels: int = 20
) -> tuple[float, Float[np.ndarray, " level"], Float[np.ndarray, " level"]]:
    r"""How the share of weights with L < ε shrinks with ε: its exponent is λ.

    $V(\varepsilon) \propto \varepsilon^\lambda (\ln 1/\varepsilon)^{m - 1}$ as ε → 0, so the slope
    of ln V by ln ε is λ, up to logarithms where the multiplicity m is more than one.

    Args:
        losses: Of weights drawn evenly from a region around a minimum with loss 0.
        low: The smallest ε.
        high: The largest.
        levels: At how many ε to count.

    Returns:
        The slope, by least squares; the levels ε; the shares V.

    Raises:
        ValueError: No loss is below the smallest ε, or the levels do not rise from above 0.

    Examples:
        Of a regular minimum in two dimensions it is 1.

        >>> w = np.random.default_rng(0).uniform(-1, 1, (2, 1_000_000))
        >>> slope, _, _ = volume_exponent((w**2).sum(axis=0), 1e-4, 1e-1)
        >>> bool(abs(slope - 1) < 0.03)
        True
    """
    if not (0 < low < high < np.inf and levels > 1):
        raise ValueError(f"levels must rise from above 0, not {levels} from {low} to {high}")
    epsilons = np.geomspace(low, high, levels)
    shares = np.searchsorted(np.sort(losses), epsilons) / len(losses)
    if not shares[0] > 0:
        raise ValueError(f"no sample has a loss below {low:g}: draw more, or take a larger level")
    slope = np.polyfit(np.log(epsilons), np.log(shares), 1)[0]
    return float(slope), epsilons, shares
