r"""The toy model of superposition: more features than dimensions, and known critical points.

The network f(x) = ReLU(WᵀWx + b) squeezes c features through r dimensions. An input has a single
feature, x = a·eᵢ, with i and a ∈ [0, 1] uniform, and the loss of an example is |x − f(x)|². The
mean over all inputs has a closed form, `population_loss`. The features that are told apart sit at
the corners of a regular polygon; `critical_points` names those that are known, and
`critical_point` gives their weights.

References:
    N. Elhage et al., "Toy models of superposition" (2022).
    Z. Chen et al., "Dynamical versus Bayesian phase transitions in a toy model of superposition"
    (arXiv 2310.06301).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import fsolve
from torch import Tensor, nn

from ontogeny.problems.problem import Batch, Problem, Row
from ontogeny.records import CriticalPoint
from ontogeny.streams import random_stream

VESTIGIAL = -0.5
"""The bias of a feature that is given up: any negative number does."""

MOST_CORNERS = 8
"""Polygons with more corners are not among the known critical points."""


class Superposition(nn.Module):
    """ReLU(WᵀWx + b), in double precision."""

    def __init__(self, weights: Float[Tensor, "hidden feature"], bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), nn.Parameter(bias)

    def forward(self, x: Float[Tensor, "*example feature"]) -> Float[Tensor, "*example feature"]:
        """The features as they come back."""
        return (x @ self.weights.T @ self.weights + self.bias).relu()


def superposition(
    features: int = 6,
    hidden: int = 2,
    start: str = "",
    shrink: float = 1.0,
    jitter: float = 0.0,
    examples: int = 0,
    data_seed: int = 0,
) -> Problem:
    """The toy model of superposition, on a fixed training set or on all inputs at once.

    Args:
        features: c, how many there are.
        hidden: r, the dimensions that they are squeezed through.
        start: The critical point that the untrained network stands at, such as `4++`; the origin if
            empty.
        shrink: Factor of its weights, biases as they are: with a small one training begins near
            where the corners are still given no weight.
        jitter: Standard deviation of the noise on weights and biases.
        examples: Size of the training set; a batch is drawn from it without replacement, so that
            one of this size is all of it. With 0 the mean over all inputs is taken exactly: every
            example has the same loss.
        data_seed: Which training set.

    Returns:
        The problem. Its outputs are what the network makes of inputs, or, with 0 examples, of each
        feature at full strength; its metrics are those of `describe`, its test loss is exact.

    Raises:
        ValueError: There are fewer features than dimensions, or there is no such start or size.

    Examples:
        Six features that are all given up cost a third: the mean square of a uniform number.

        >>> problem = superposition(start="0")
        >>> loss = problem.loss(problem.model(), problem.batch(1, torch.Generator()))
        >>> round(loss.item(), 12) == round(1 / 3, 12)
        True
    """
    check_sizes(features, hidden)
    if examples < 0 or int(examples) != examples:
        raise ValueError(f"examples must be a whole number, 0 or more, not {examples}")
    if not (0 <= jitter < math.inf and math.isfinite(shrink)):
        raise ValueError(
            f"jitter ({jitter}) and shrink ({shrink}) must be finite, jitter from 0 on"
        )
    first = critical_point(start or "0", features, hidden)
    known = critical_points(features, hidden)
    data = "all" if examples else "population"
    known = tuple(replace(point, data=data * point.minimum) for point in known)
    inputs = one_feature_each(examples, features, data_seed)

    def model() -> nn.Module:
        noise = torch.randn(hidden + 1, features, dtype=torch.float64) * jitter
        if not start:
            return Superposition(noise[:hidden], noise[hidden])
        weights = shrink * first["weights"] + noise[:hidden]
        return Superposition(weights, first["bias"] + noise[hidden])

    own, in_order = batches_of(inputs)
    everything = torch.eye(features, dtype=torch.float64)

    def population(n: int, generator: torch.Generator) -> Batch:
        return (everything.to(generator.device).expand(n, -1, -1),)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        if batch[0].ndim == 2:  # and not all features at once, which stand for all inputs
            missed: Tensor = model(batch[0]) - batch[0]
            return missed.square().sum(dim=1)
        return population_loss(*parameters_of(model)).expand(len(batch[0]))

    return Problem(
        name=f"{__name__}:superposition",
        settings={
            "features": features,
            "hidden": hidden,
            "start": start,
            "shrink": shrink,
            "jitter": jitter,
            "examples": examples,
            "data_seed": data_seed,
        },
        model=model,
        batch=own if examples else population,
        loss=loss,
        outputs=lambda model, batch: model(batch[0]).flatten(start_dim=1),
        metrics=lambda model, n, seed: describe(*parameters_of(model)),
        datasets={"population": population} | ({"all": in_order} if examples else {}),
        critical_points=known,
    )


def parameters_of(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights and bias of a `Superposition`."""
    network = cast(Superposition, model)
    return network.weights, network.bias


def check_sizes(features: int, hidden: int) -> None:
    """Whether there are so many features and dimensions, and something to squeeze."""
    if int(features) != features or int(hidden) != hidden:
        raise ValueError(f"features ({features}) and hidden ({hidden}) must be whole numbers")
    if hidden < 1 or features < hidden:
        raise ValueError(
            "superposition needs one dimension or more and at least as many features, not "
            f"{features} features in {hidden} dimensions"
        )


def one_feature_each(examples: int, features: int, seed: int) -> Float[Tensor, "example feature"]:
    """Inputs a·eᵢ with i and a ∈ [0, 1] uniform."""
    stream = random_stream(seed, "superposition inputs")
    which = torch.randint(features, (examples,), generator=stream)
    strength = torch.rand(examples, 1, dtype=torch.float64, generator=stream)
    return strength * nn.functional.one_hot(which, features)


def batches_of(
    inputs: Float[Tensor, "example feature"],
) -> tuple[Callable[[int, torch.Generator], Batch], Callable[[int, torch.Generator], Batch]]:
    """Batches of a training set: drawn without replacement, round by round, and its first n."""
    size = len(inputs)

    def drawn(n: int, generator: torch.Generator) -> Batch:
        device = generator.device
        rounds = torch.rand(math.ceil(n / size), size, generator=generator, device=device)
        return (inputs.to(device)[rounds.argsort(dim=1).flatten()[:n]],)

    return drawn, lambda n, generator: (inputs.to(generator.device)[:n],)


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
    crosses = [k for k in range(0, 2 * hidden + 1, 2) if k <= features]
    shapes = [(k, 1.0, 0.0) for k in crosses]
    if hidden == 2:
        polygons = [k for k in range(3, min(features, MOST_CORNERS) + 1) if k != 4]
        shapes = sorted(shapes + [(k, *polygon(k)) for k in polygons])
    return tuple(
        Corners(k, plus, length, bias)
        for k, length, bias in shapes
        for plus in range(features - k + 1)
    )


@lru_cache
def polygon(k: int) -> tuple[float, float]:
    """Length and bias of the columns of the regular k-gon in the plane that is critical.

    Up to four corners that is 1 and 0: no feature disturbs another. Of more, it is where the
    gradient of the loss of k features by length and bias is zero.

    Args:
        k: How many corners, up to eight.

    Examples:
        >>> [round(one, 5) for one in polygon(5)]
        [1.17046, -0.2823]
    """
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
    of some axes), and each `+` a further feature with no weights and the positive bias 1/(2c) that
    says at least its mean. The others are given up: no weights, and a negative bias. With $h_k$ the
    loss of the k features among themselves, times 3k,

    $$L = \frac{1}{3c} \Bigl(h_k + (c - k) - \sigma\, \frac{3}{4c}\Bigr).$$

    At those with 2r features or more, the loss grows like the square of the distance in all
    directions that are not flat, so that λ is half the number of these: rotations are flat, and so
    are the biases that are negative, and beyond 2r the weights of features that are given up. At
    the others with a positive bias there is a way down, and of the rest λ is not known.

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
        three. Those of the 4-gons are derived here: the loss has no second derivative there.
    """
    found = []
    for corners in known_corners(features, hidden):
        state = weights_of(corners, features, hidden)
        minimum = corners.k >= 2 * hidden or not corners.plus
        found.append(
            CriticalPoint(
                name=corners.name,
                loss=population_loss(state["weights"], state["bias"]).item(),
                learning_coefficient=half_dimension(corners, features, hidden),
                minimum=minimum,
            )
        )
    return tuple(found)


def half_dimension(corners: Corners, features: int, hidden: int) -> float | None:
    """Half the number of directions in which the loss grows, where it is known."""
    if corners.k < 2 * hidden:
        return None
    given_up = features - corners.k - corners.plus
    free = given_up * (1 if corners.k == 2 * hidden else 1 + hidden)
    return (features * (hidden + 1) - hidden * (hidden - 1) // 2 - free) / 2


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


# How near ----------------------------------------------------------------------------------------


def distances_to_critical_points(
    weights: Float[np.ndarray, "hidden feature"], bias: Float[np.ndarray, " feature"]
) -> Mapping[str, float]:
    """How far weights are from each critical point, whichever way it is turned.

    A critical point is a set: it may be rotated and reflected, its features may change places, and
    a feature that is given up may have any negative bias. The distance is that of weights and
    biases to the nearest point of the set, where the longest columns are taken for the corners, and
    of the others those with the largest bias for the positive ones.

    Args:
        weights: W.
        bias: b.

    Examples:
        >>> state = critical_point("5+")
        >>> far = distances_to_critical_points(state["weights"].numpy(), state["bias"].numpy())
        >>> min(far, key=far.get), round(far["5+"], 6), round(far["5"], 4)
        ('5+', 0.0, 0.0833)
    """
    hidden, features = weights.shape
    lengths = np.linalg.norm(weights, axis=0)
    order = np.argsort(-lengths, kind="stable")
    distances = {}
    for corners in known_corners(features, hidden):
        live, rest = order[: corners.k], order[corners.k :]
        rest = rest[np.argsort(-bias[rest], kind="stable")]
        plus, given_up = rest[: corners.plus], rest[corners.plus :]
        overlap = corners.length * best_overlap(weights[:, live])
        squared = np.square(lengths).sum() + corners.k * corners.length**2 - 2 * overlap
        squared += np.square(bias[live] - corners.bias).sum()
        squared += np.square(bias[plus] - 1 / (2 * features)).sum()
        squared += np.square(bias[given_up].clip(0)).sum()
        distances[corners.name] = float(np.sqrt(max(squared, 0.0)))
    return distances


def best_overlap(columns: Float[np.ndarray, "hidden k"]) -> float:
    r"""The largest $\sum_i w_i \cdot u_i$ over all ways to turn and number the corners u."""
    hidden, k = columns.shape
    if hidden == 2:
        z = columns[0] + 1j * columns[1]
        turned = z[np.argsort(np.angle(z), kind="stable")]
        return float(abs((turned * np.exp(-2j * np.pi * np.arange(k) / max(k, 1))).sum()))
    differences, left = [], list(range(k))
    while left:  # the two that are most opposite are the ends of an axis
        products = np.array([[columns[:, i] @ columns[:, j] for j in left] for i in left])
        np.fill_diagonal(products, np.inf)
        i, j = np.unravel_index(products.argmin(), products.shape)
        differences.append(columns[:, left[i]] - columns[:, left[j]])
        left = [one for place, one in enumerate(left) if place not in (i, j)]
    return float(np.linalg.norm(np.stack(differences), "nuc")) if differences else 0.0


def describe(
    weights: Float[Tensor, "hidden feature"], bias: Float[Tensor, " feature"]
) -> list[Row]:
    """What is measured at each checkpoint: the exact test loss, each feature, how near it is.

    Args:
        weights: W.
        bias: b.

    Returns:
        `loss`; `column_norm` and `bias` of each feature; `distance_to` each critical point.
    """
    items = tuple(str(i + 1) for i in range(len(bias)))
    near = distances_to_critical_points(weights.numpy(force=True), bias.numpy(force=True))
    return [
        ("loss", ("",), population_loss(weights, bias)[None]),
        ("column_norm", items, weights.norm(dim=0)),
        ("bias", items, bias),
        ("distance_to", tuple(near), torch.tensor(list(near.values()))),
    ]
