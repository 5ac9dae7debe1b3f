r"""The landscape of the toy model of superposition: its exact loss and its known critical points.

`population_loss` is the mean loss over all inputs. Its critical points that are known are polygons:
`critical_points` has their losses and learning coefficients, `critical_point` their weights.

References:
    Z. Chen et al., "Dynamical versus Bayesian phase transitions in a toy model of superposition"
    (arXiv 2310.06301).
"""

from functools import lru_cache
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import fsolve
from torch import Tensor

from ontogeny.records import CriticalPoint

VESTIGIAL = -0.5
"""The bias of a feature that is given up: any negative number does."""

MOST_CORNERS = 8
"""Polygons with more corners are not among the known critical points."""


def population_loss(
    weights: Float[Tensor, "hidden feature"], bias: Float[Tensor, " feature"]
) -> Float[Tensor, ""]:
    r"""The mean of |x − f(x)|² over all inputs, exactly.

    Where the input is a·eᵢ, output j is ReLU(s·a + bⱼ) with s = (WᵀW)ᵢⱼ. It is active between
    p and q, the part of [0, 1] on which s·a + bⱼ > 0, so that

    $$L = \frac1c \sum_{ij} \Bigl[\frac{\delta_{ij}}3 + (s^2 - 2 \delta_{ij} s)\, m_3
    + 2 b_j (s - \delta_{ij})\, m_2 + b_j^2\, m_1 \Bigr], \qquad m_k = \frac{q^k - p^k}{k}.$$

    Args:
        weights: W.
        bias: b.

    Examples:
        As many orthogonal features as dimensions come back whole.

        >>> population_loss(torch.eye(3), torch.zeros(3)).item()
        0.0
    """
    slope = weights.T @ weights
    itself = torch.eye(len(bias), dtype=slope.dtype, device=slope.device)
    flat = slope == 0
    root = (-bias / torch.where(flat, 1.0, slope)).clamp(0, 1)
    start = torch.where(slope > 0, root, 0.0)
    end = torch.where(slope < 0, root, torch.where(flat & (bias <= 0), 0.0, 1.0))
    m1, m2, m3 = ((end**k - start**k) / k for k in (1, 2, 3))
    terms = itself / 3 + slope * (slope - 2 * itself) * m3
    terms = terms + 2 * bias * (slope - itself) * m2 + bias**2 * m1
    return terms.sum() / len(bias)


# Critical points ---------------------------------------------------------------------------------


class Corners(NamedTuple):
    """A critical point: k features at corners, σ whose bias is positive, the rest given up.

    Attributes:
        k: How many features are told apart.
        plus: σ.
        length: Of the k columns of W.
        bias: Of the k features.
    """

    k: int
    plus: int
    length: float
    bias: float

    @property
    def name(self) -> str:
        """As in `4++`."""
        return f"{self.k}{'+' * self.plus}"


@lru_cache
def known_corners(features: int, hidden: int) -> tuple[Corners, ...]:
    """All critical points that are known for these sizes."""
    check_sizes(features, hidden)
    crosses = {k for k in range(0, 2 * hidden + 1, 2) if k <= features}
    polygons = set(range(3, min(features, MOST_CORNERS) + 1)) if hidden == 2 else set()
    return tuple(
        Corners(k, plus, *(polygon(k) if hidden == 2 else (1.0, 0.0)))
        for k in sorted({1} | crosses | polygons)
        for plus in range(1 if k == 1 else features - k + 1)
    )


@lru_cache
def polygon(k: int) -> tuple[float, float]:
    """Length and bias of the columns of the regular k-gon in the plane that is critical.

    Up to four corners that is 1 and 0: no feature disturbs another. Of more, it is where the
    gradient of the loss of k features by length and bias is zero.

    Args:
        k: How many corners, up to eight.

    Raises:
        ValueError: There are more, or fewer than none.

    Examples:
        >>> [round(one, 5) for one in polygon(5)]
        [1.17046, -0.2823]
    """
    if not 0 <= k <= 8:
        raise ValueError(f"a polygon has up to eight corners here, not {k}")
    if k <= 4:
        return 1.0, 0.0
    corners = torch.from_numpy(regular(k))

    def loss(x: Tensor) -> Tensor:
        return population_loss(x[0] * corners, x[1].expand(k))

    def slope(x: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
        found: np.ndarray = torch.func.grad(loss)(torch.from_numpy(x)).numpy()
        return found

    guess = 0.62 + 0.115 * k, 1.35 - 0.33 * k
    (length, bias), *_ = fsolve(slope, guess, xtol=1e-15, full_output=True)
    return float(length), float(bias)


def regular(k: int) -> Float[np.ndarray, "2 {k}"]:
    """The corners of the regular k-gon on the unit circle, in order."""
    angles = 2 * np.pi * np.arange(k) / max(k, 1)
    return np.stack([np.cos(angles), np.sin(angles)])


def corners_of(k: int, hidden: int) -> Float[np.ndarray, "{hidden} {k}"]:
    """Unit vectors: a regular polygon in the plane, else both ends of the first axes."""
    if hidden == 2:
        return regular(k)
    axes: np.ndarray = np.repeat(np.eye(hidden), 2, axis=1)[:, :k]
    axes[:, 1::2] *= -1
    return axes


def critical_points(features: int = 6, hidden: int = 2) -> tuple[CriticalPoint, ...]:
    r"""The critical points that are known, with their loss and learning coefficient.

    `k` is a regular k-gon of features that are told apart (for other than two dimensions, both ends
    of some axes, or one), and each `+` a further feature with no weights and the positive bias
    1/(2c) that says at least its mean. The others are given up: no weights, and a negative bias.
    With $h_k$ the loss of the k features among themselves, times 3k,

    $$L = \frac{1}{3c} \Bigl(h_k + (c - k) - \sigma\, \frac{3}{4c}\Bigr).$$

    `is_minimum` says where there is no way down, and `half_dimension` what λ is there.

    Args:
        features: c.
        hidden: r.

    Returns:
        Those with fewer features told apart first.

    Raises:
        ValueError: There are fewer features than dimensions.

    Examples:
        >>> for point in critical_points()[-6:]:
        ...     print(point.name, round(point.loss, 5), point.learning_coefficient)
        4 0.11111 7.5
        4+ 0.10417 8.0
        4++ 0.09722 8.5
        5 0.06874 7.0
        5+ 0.0618 8.5
        6 0.04819 8.5

    References:
        Z. Chen et al. (arXiv 2310.06301) give the same losses, and λ = 7, 8.5 and 8.5 for the last
        three. The others are derived here.
    """
    found = []
    for corners in known_corners(features, hidden):
        state = weights_of(corners, features, hidden)
        found.append(
            CriticalPoint(
                name=corners.name,
                loss=population_loss(state["weights"], state["bias"]).item(),
                learning_coefficient=half_dimension(corners, features, hidden),
                minimum=is_minimum(corners, features, hidden),
            )
        )
    return tuple(found)


def is_minimum(corners: Corners, features: int, hidden: int) -> bool:
    """Whether there is no way down from a critical point.

    There is one where a feature of positive bias would gain from weights that nothing opposes:
    those of its own, if fewer than 2r are told apart, or, beyond 2r, of one that is given up, which
    the biases of the corners hide from all but it.
    """
    given_up = features - corners.k - corners.plus
    return not corners.plus or corners.k == 2 * hidden or (corners.k > 2 * hidden and not given_up)


def half_dimension(corners: Corners, features: int, hidden: int) -> float | None:
    """λ: half the number of directions in which the loss grows like the square of the distance.

    A feature that is told apart is held in its length and its bias, whatever its direction, as long
    as no other is nearer than at a right angle.

    - Of up to two there is room beside them for features that are given up: an open set of weights
      that cost nothing. So 2k directions, and none if all are given up.
    - Three in the plane have room to turn, but leave none: the weights of the others are held too.
    - From 2r on, all is held but the turning of the whole, the biases that are negative, and beyond
      2r the weights of features that are given up, which negative biases make room for.

    Returns:
        None where it is not known: at saddles, and between three features and 2r in more than two
        dimensions.
    """
    k, given_up = corners.k, features - corners.k - corners.plus
    if not is_minimum(corners, features, hidden) or (hidden > 2 < k < 2 * hidden):
        return None
    if k >= 2 * hidden:
        free = given_up * (1 if k == 2 * hidden else 1 + hidden)
        return (features * (hidden + 1) - hidden * (hidden - 1) // 2 - free) / 2
    return float(k if k < 3 else k + given_up)


def critical_point(name: str, features: int = 6, hidden: int = 2) -> dict[str, Tensor]:
    """The weights at a critical point: the state dict.

    Args:
        name: As `critical_points` has it.
        features: c.
        hidden: r.

    Raises:
        ValueError: None of that name is known.

    Examples:
        >>> critical_point("4+")["bias"].round(decimals=4).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0833, -0.5]
    """
    known = {corners.name: corners for corners in known_corners(features, hidden)}
    if name not in known:
        raise ValueError(
            f"no critical point of {features} features in {hidden} dimensions is called {name!r}; "
            f"there are {', '.join(known)}"
        )
    return weights_of(known[name], features, hidden)


def weights_of(corners: Corners, features: int, hidden: int) -> dict[str, Tensor]:
    """The state dict of a critical point: corners first, then positive biases, then the rest."""
    weights, bias = np.zeros((hidden, features)), np.full(features, VESTIGIAL)
    weights[:, : corners.k] = corners.length * corners_of(corners.k, hidden)
    bias[: corners.k] = corners.bias
    bias[corners.k : corners.k + corners.plus] = 1 / (2 * features)
    return {"weights": torch.from_numpy(weights), "bias": torch.from_numpy(bias)}


def check_sizes(features: int, hidden: int) -> None:
    """Whether there are so many features and dimensions, and something to squeeze."""
    if not all(isinstance(size, Integral) for size in (features, hidden)):
        raise ValueError(f"features ({features}) and hidden ({hidden}) must be whole numbers")
    if hidden < 1 or features < hidden:
        raise ValueError(
            "superposition needs one dimension or more and at least as many features, not "
            f"{features} features in {hidden} dimensions"
        )
