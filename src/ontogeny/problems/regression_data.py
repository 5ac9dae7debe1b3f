"""In-context linear regression: its setting, its sequences, and the predictors it is held to.

Every sequence has a task of its own, t ~ N(0, I), and shows pairs (x_k, y_k = t·x_k + noise); each
y_k is to be predicted from the pairs before it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.streams import random_stream


@dataclass(frozen=True)
class Regression:
    """The setting of in-context linear regression.

    Attributes:
        n_dims: Dimension D of tasks and inputs.
        n_pairs: Pairs K in a sequence.
        noise_variance: Variance of the noise on y.
        n_tasks: How many tasks there are in the world; None for a fresh one in each sequence.
        task_seed: Which tasks those are.
        n_layers: Layers of the transformer.
        n_heads: Attention heads in each layer.
        d_model: Width of the residual stream.
        d_mlp: Width of the MLPs.
    """

    n_dims: int = 4
    n_pairs: int = 8
    noise_variance: float = 0.125
    n_tasks: int | None = None
    task_seed: int = 0
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    d_mlp: int = 64

    def __post_init__(self) -> None:
        positive = ("n_dims", "n_pairs", "n_layers", "n_heads", "d_model", "d_mlp")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.noise_variance <= 0:
            raise ValueError(f"noise_variance must be positive, not {self.noise_variance}")
        if self.n_tasks is not None and self.n_tasks < 1:
            raise ValueError(f"n_tasks must be at least 1, or absent, not {self.n_tasks}")
        if self.d_model % self.n_heads:
            raise ValueError(f"{self.n_heads} heads do not divide a d_model of {self.d_model}")


# Sequences ---------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def task_set(setting: Regression) -> Float[Tensor, "task dim"] | None:
    """The finitely many tasks of this world, or None where there are infinitely many."""
    if setting.n_tasks is None:
        return None
    generator = random_stream(setting.task_seed, "regression tasks")
    return torch.randn(setting.n_tasks, setting.n_dims, generator=generator)


def draw_pairs(
    setting: Regression,
    n: int,
    generator: torch.Generator,
    input_scale: float = 1.0,
    task_scale: float = 1.0,
) -> tuple[Float[Tensor, "example pair dim"], Float[Tensor, "example pair"]]:
    """Draw n sequences of pairs (x_k, y_k = t·x_k + noise), one task for each sequence.

    Args:
        setting: Dimensions, noise and tasks.
        n: Number of sequences.
        generator: Where the random numbers come from; the same generator gives the same
            sequences at every scale, so that scores at different scales can be compared.
        input_scale: Factor on the inputs, 1 in training; the targets follow.
        task_scale: Factor on the tasks, 1 in training.

    Returns:
        Inputs x and targets y.
    """
    device, dims = generator.device, setting.n_dims
    tasks = task_set(setting)
    if tasks is None:
        task = torch.randn(n, dims, 1, generator=generator, device=device)
    else:
        chosen = torch.randint(len(tasks), (n,), generator=generator, device=device)
        task = tasks.to(device)[chosen, :, None]
    inputs = torch.randn(n, setting.n_pairs, dims, generator=generator, device=device)
    noise = torch.randn(n, setting.n_pairs, generator=generator, device=device)
    inputs = input_scale * inputs
    targets = (inputs @ (task_scale * task))[..., 0] + math.sqrt(setting.noise_variance) * noise
    return inputs, targets


def encode(
    inputs: Float[Tensor, "example pair dim"], targets: Float[Tensor, "example pair"]
) -> Float[Tensor, "example position token"]:
    """Interleave the pairs as tokens: (0, x_1, …, x_D), then (y, 0, …, 0).

    Examples:
        >>> encode(torch.tensor([[[2.0, 3.0]]]), torch.tensor([[5.0]])).tolist()
        [[[0.0, 2.0, 3.0], [5.0, 0.0, 0.0]]]
    """
    n, pairs, dims = inputs.shape
    tokens = inputs.new_zeros(n, pairs, 2, dims + 1)
    tokens[:, :, 0, 1:] = inputs
    tokens[:, :, 1, 0] = targets
    return tokens.view(n, 2 * pairs, dims + 1)


# Known predictors --------------------------------------------------------------------------------


def ridge_predictor(
    inputs: Float[Tensor, "example pair dim"],
    targets: Float[Tensor, "example pair"],
    noise_variance: float,
) -> Float[Tensor, "example pair"]:
    r"""The best prediction of each target if tasks are N(0, I): ridge regression on the prefix.

    With $X, y$ the $k - 1$ pairs seen so far, $\hat y_k = x_k^\top (X^\top X + \sigma^2 I)^{-1}
    X^\top y$; the first prediction is zero.

    Args:
        inputs: The inputs x.
        targets: The targets y.
        noise_variance: $\sigma^2$, variance of the noise on y.

    Returns:
        A prediction for each pair, in float64.

    Examples:
        >>> x, y = torch.ones(1, 2, 1), torch.tensor([[3.0, 0.0]])
        >>> ridge_predictor(x, y, noise_variance=0.5).tolist()
        [[0.0, 2.0]]
    """
    x, y = inputs.double(), targets.double()
    products = (x[..., :, None] * x[..., None, :]).cumsum(dim=1)
    moments = (x * y[..., None]).cumsum(dim=1)
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(products + noise_variance * identity, moments[..., None])[..., 0]
    predictions = torch.zeros_like(y)
    predictions[:, 1:] = (weights[:, :-1] * x[:, 1:]).sum(dim=-1)
    return predictions


def discrete_predictor(
    inputs: Float[Tensor, "example pair dim"],
    targets: Float[Tensor, "example pair"],
    tasks: Float[Tensor, "task dim"],
    noise_variance: float,
) -> Float[Tensor, "example pair"]:
    r"""The best prediction if there are finitely many tasks: dMMSE, the posterior mean over them.

    $\hat y_k = \sum_t p_t\, t^\top x_k$ with
    $p_t \propto \exp(-\sum_{j<k} (y_j - t^\top x_j)^2 / 2\sigma^2)$.

    Args:
        inputs: The inputs x.
        targets: The targets y.
        tasks: The tasks of this world, each as likely as the others.
        noise_variance: $\sigma^2$, variance of the noise on y.

    Returns:
        A prediction for each pair, in float64.

    Examples:
        With a single task there is nothing to infer.

        >>> x, y = torch.ones(1, 2, 1), torch.tensor([[3.0, 0.0]])
        >>> discrete_predictor(x, y, torch.tensor([[2.0]]), noise_variance=0.5).tolist()
        [[2.0, 2.0]]

    References:
        A. Raventós et al., "Pretraining task diversity and the emergence of non-Bayesian
        in-context learning for regression" (2023), section 3.1.
    """
    guesses = torch.einsum("npd,td->npt", inputs.double(), tasks.double())
    misfit = (targets.double()[..., None] - guesses).square().cumsum(dim=1)
    before = torch.cat([torch.zeros_like(misfit[:, :1]), misfit[:, :-1]], dim=1)
    posterior = (-before / (2 * noise_variance)).softmax(dim=-1)
    return (posterior * guesses).sum(dim=-1)


def known_predictions(
    setting: Regression,
    inputs: Float[Tensor, "example pair dim"],
    targets: Float[Tensor, "example pair"],
) -> dict[str, Float[Tensor, "example pair"]]:
    """What the known predictors say: zero (the task prior), ridge, and dMMSE if tasks are few."""
    predictions = {
        "zero": torch.zeros_like(targets, dtype=torch.float64),
        "ridge": ridge_predictor(inputs, targets, setting.noise_variance),
    }
    tasks = task_set(setting)
    if tasks is not None:
        tasks = tasks.to(inputs.device)
        predictions["dmmse"] = discrete_predictor(inputs, targets, tasks, setting.noise_variance)
    return predictions
