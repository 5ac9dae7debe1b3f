r"""The toy model of superposition: more features than dimensions, and known critical points.

The network f(x) = ReLU(WᵀWx + b) squeezes c features through r dimensions. An input has a single
feature, x = a·eᵢ, with i and a ∈ [0, 1] uniform, and the loss of an example is |x − f(x)|². The
mean over all inputs has a closed form, and many of its critical points are known: see
`ontogeny.problems.superposition_landscape`.

References:
    N. Elhage et al., "Toy models of superposition" (2022).
    Z. Chen et al., "Dynamical versus Bayesian phase transitions in a toy model of superposition"
    (arXiv 2310.06301).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.problems.problem import Batch, Problem, Row
from ontogeny.problems.superposition_distances import distances_to_critical_points
from ontogeny.problems.superposition_landscape import (
    check_sizes,
    critical_point,
    critical_points,
    population_loss,
)
from ontogeny.streams import random_stream


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
        shrink: Factor of its distance from where no feature has a direction and all have a positive
            bias: with a small one training begins near there, on the way to the start.
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
    if not isinstance(examples, Integral) or examples < 0:
        raise ValueError(f"examples must be a whole number, 0 or more, not {examples}")
    if not (0 <= jitter < math.inf and math.isfinite(shrink)):
        raise ValueError(
            f"jitter ({jitter}) and shrink ({shrink}) must be finite, jitter from 0 on"
        )
    first = critical_point(start or "0", features, hidden)
    origin = critical_point("0" + "+" * features, features, hidden)["bias"]
    known = critical_points(features, hidden)
    data = "all" if examples else "population"
    known = tuple(replace(point, data=data * point.minimum) for point in known)
    inputs = one_feature_each(examples, features, data_seed)

    def model() -> nn.Module:
        noise = torch.randn(hidden + 1, features, dtype=torch.float64) * jitter
        if not start:
            return Superposition(noise[:hidden], noise[hidden])
        weights = shrink * first["weights"] + noise[:hidden]
        return Superposition(weights, torch.lerp(origin, first["bias"], shrink) + noise[hidden])

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
