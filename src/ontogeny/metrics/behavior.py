"""What a network does: its errors, its predictions, and how much it learns within its context.

Every mean over examples comes with its standard error, as an `Estimate`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Estimate(NamedTuple):
    """A mean and how far chance may have moved it.

    Attributes:
        values: The means.
        stderr: Their standard errors, in the same unit.
    """

    values: Tensor
    stderr: Tensor


def average(samples: Float[Tensor, "example ..."]) -> Estimate:
    r"""The mean over independent examples, with its standard error.

    $\bar x = \frac1n \sum_i x_i$ and
    $\mathrm{stderr} = \sqrt{\sum_i (x_i - \bar x)^2 / (n (n - 1))}$, in double precision.

    Args:
        samples: One row for each example.

    Returns:
        Mean and standard error over the first axis, in the unit of `samples`. The standard error
        of one example is nan.

    Raises:
        ValueError: There are no examples.

    Examples:
        >>> average(torch.tensor([1.0, 2.0, 3.0, 6.0]))
        Estimate(values=tensor(3., dtype=torch.float64), stderr=tensor(1.0801, dtype=torch.float64))
    """
    if len(samples) == 0:
        raise ValueError("there is no average of no examples")
    variance, mean = torch.var_mean(samples.double(), dim=0, correction=0)
    return Estimate(mean, (variance / (len(samples) - 1)).sqrt())


def ratio(above: Estimate, below: Estimate) -> Estimate:
    r"""One independent estimate over another, $r = x / y$.

    The standard error is that of the linearization,
    $\mathrm{stderr}(r) = \sqrt{\sigma_x^2 + r^2 \sigma_y^2} \,/\, \lvert y \rvert$.

    Args:
        above: The estimate $x$ and its standard error $\sigma_x$.
        below: The estimate $y$ and its standard error $\sigma_y$.

    Returns:
        The ratio; infinite or nan where $y = 0$.

    Examples:
        >>> one = Estimate(torch.tensor(6.0), torch.tensor(0.3))
        >>> ratio(one, Estimate(torch.tensor(2.0), torch.tensor(0.0)))
        Estimate(values=tensor(3.), stderr=tensor(0.1500))
    """
    values = above.values / below.values
    variance = above.stderr.square() + (values * below.stderr).square()
    return Estimate(values, variance.sqrt() / below.values.abs())


def squared_errors(
    predictions: Float[Tensor, "example position"], targets: Float[Tensor, "example position"]
) -> Float[Tensor, "example position"]:
    r"""Squared errors $(\hat y_k - y_k)^2$ of predictions.

    With another predictor's predictions as targets, their `average` is the squared distance
    between the two predictors.

    Args:
        predictions: What the network says.
        targets: What is true, or what the other predictor says.

    Returns:
        One squared error for each example and position, in the squared unit of the targets.

    Examples:
        >>> squared_errors(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]]))
        tensor([[0., 9.]])
    """
    return (predictions - targets).square()


def icl_score(losses: Float[Tensor, "example position"], early: int, late: int) -> Estimate:
    r"""How much more context lowers the loss: $\mathrm{ICL}_{k_1:k_2} = \ell_{k_2} - \ell_{k_1}$.

    The two losses are of the same sequences, so the standard error is that of their paired
    difference. On inputs scaled by g, the published out-of-distribution score is this over g.

    Args:
        losses: Losses of each example by position.
        early: The position $k_1$ with little context, counted from 1.
        late: The position $k_2 > k_1$ with more.

    Returns:
        The mean difference, in the unit of the losses; negative where context helps.

    Raises:
        ValueError: The positions are not in order, or not there.

    Examples:
        >>> score = icl_score(torch.tensor([[4.0, 3.0, 1.0], [5.0, 3.0, 2.0]]), early=1, late=3)
        >>> score.values.item(), score.stderr.item()
        (-3.0, 0.0)

    References:
        C. Olsson et al., "In-context learning and induction heads" (2022).
    """
    n = losses.shape[1]
    if not 1 <= early < late <= n:
        raise ValueError(f"need 1 <= early < late <= {n} positions, not {early} and {late}")
    return average(losses[:, late - 1] - losses[:, early - 1])


def cross_entropy(
    logits: Float[Tensor, "*example token"], probabilities: Float[Tensor, "*example token"]
) -> Float[Tensor, "*example"]:
    r"""Cross-entropy $-\sum_v p_v \log q_v$ of predictions q with the distribution p of the truth.

    With p the row of a bigram table that belongs to the last token it is the bigram score. It is
    least, the entropy of p, where the network says what the table says.

    Args:
        logits: Of the predictions, up to a constant.
        probabilities: Of the truth.

    Returns:
        One value for each example, in nats.

    Examples:
        >>> even = torch.tensor([[0.5, 0.5]])
        >>> cross_entropy(torch.tensor([[3.0, 3.0]]), even).exp()
        tensor([2.])
    """
    return -(probabilities * logits.log_softmax(dim=-1)).sum(dim=-1)
