"""What attention heads attend to, for each head and query position.

Patterns are causal and their rows sum to one. A causal pattern without its last token is
`patterns[..., :-1, :-1]`, whose rows still do. A question that does not arise at a query, such as
what the first token attends to among earlier ones, has the answer nan.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ontogeny.metrics.behavior import Estimate, average


def attention_entropy(patterns: Float[Tensor, "example head query key"]) -> Estimate:
    r"""How widely a head spreads its attention, as a share of how widely it could.

    $H_k = -\sum_{k'} a_{kk'} \log a_{kk'} \,/\, \log(k + 1)$ for the query at position k,
    counted from 0, averaged over examples.

    Args:
        patterns: Attention patterns.

    Returns:
        For each head and query: 0 for one key only, 1 for equal attention to all k + 1 keys. The
        first query has nothing to choose between, so its share is 0/0: nan.

    Examples:
        >>> attention_entropy(torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])).values
        tensor([[nan, 1.]], dtype=torch.float64)

    References:
        J. Hoogland et al., "The developmental landscape of in-context learning" (2024).
    """
    entropy = torch.special.entr(patterns).sum(dim=-1)  # defines 0 log 0 as 0
    choices = torch.arange(1, patterns.shape[-2] + 1, device=patterns.device)
    return average(entropy / choices.log())


def attention_variability(patterns: Float[Tensor, "example head query key"]) -> Estimate:
    r"""How much a head's attention depends on the content, beyond the position.

    $V_k = \mathbb{E} \sum_{k'} |a_{kk'} - \bar a_{kk'}| \,/\, 2 \sum_{k'} \bar a_{kk'}$, where
    $\bar a$ is the mean pattern: the mean distance, in total variation, of a sequence's pattern
    from the mean pattern.

    The mean pattern is estimated from the same examples, and the standard error counts that: it
    is that of the linearization
    $|a - \bar a| + \mathbb{E}[\mathrm{sign}(\bar a - a)] \, (a - \bar a)$, whose last term has
    mean zero.

    Args:
        patterns: Attention patterns.

    Returns:
        For each head and query: 0 for a pattern that is always the same, below 1 always.

    Examples:
        Half of the sequences look at themselves, half at the first token.

        >>> rows = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]], [[[1.0, 0.0], [0.0, 1.0]]]])
        >>> attention_variability(rows).values
        tensor([[0.0000, 0.5000]], dtype=torch.float64)

    References:
        J. Hoogland et al., "The developmental landscape of in-context learning" (2024).
    """
    deviations = patterns - patterns.mean(dim=0)
    slope = -deviations.sign().mean(dim=0)
    return average((deviations.abs() + slope * deviations).sum(dim=-1) / 2)


def self_attention(patterns: Float[Tensor, "example head query key"]) -> Estimate:
    r"""Attention of each token to itself, $a_{kk}$.

    Args:
        patterns: Attention patterns.

    Returns:
        The mean over examples, for each head and query; 1 at the first query.

    Examples:
        >>> self_attention(torch.tensor([[[[1.0, 0.0], [0.75, 0.25]]]])).values
        tensor([[1.0000, 0.2500]], dtype=torch.float64)
    """
    return average(patterns.diagonal(dim1=-2, dim2=-1))


def previous_token_attention(patterns: Float[Tensor, "example head query key"]) -> Estimate:
    r"""Attention of each token to the one before it, $a_{k,k-1}$.

    Args:
        patterns: Attention patterns.

    Returns:
        The mean over examples, for each head and query; nan at the first query, which has no
        token before it.

    Examples:
        >>> previous_token_attention(torch.tensor([[[[1.0, 0.0], [0.75, 0.25]]]])).values
        tensor([[   nan, 0.7500]], dtype=torch.float64)
    """
    previous = patterns.diagonal(offset=-1, dim1=-2, dim2=-1)
    return average(functional.pad(previous, (1, 0), value=torch.nan))


def x_token_attention(patterns: Float[Tensor, "example head query key"]) -> Estimate:
    r"""Attention to the x-tokens, which stand at even positions: $\sum_{k' \, even} a_{kk'}$.

    Args:
        patterns: Attention patterns over sequences $x_1, y_1, x_2, y_2, \ldots$

    Returns:
        The mean over examples, for each head and query; 1 at the first query.

    Examples:
        >>> x_token_attention(torch.tensor([[[[1.0, 0.0], [0.75, 0.25]]]])).values
        tensor([[1.0000, 0.7500]], dtype=torch.float64)
    """
    return average(patterns[..., ::2].sum(dim=-1))


def attention_at(
    patterns: Float[Tensor, "example head query key"],
    queries: Int[Tensor, " example"],
    keys: Int[Tensor, " example"],
) -> Estimate:
    r"""Attention from one token of each example to another.

    The prefix-matching score of a head asks this of rows in which one token occurs twice, at i and
    at j: the attention from j to i + 1, what followed it before. The previous-token score asks it
    of the last token and the one before.

    Args:
        patterns: Attention patterns.
        queries: The position in each example that attends.
        keys: The position that it attends to.

    Returns:
        The mean over examples, for each head.

    Examples:
        >>> pattern = torch.tensor([[[[1.0, 0.0], [0.75, 0.25]]]])
        >>> attention_at(pattern, torch.tensor([1]), torch.tensor([0])).values
        tensor([0.7500], dtype=torch.float64)

    References:
        C. Olsson et al., "In-context learning and induction heads" (2022).
    """
    examples = torch.arange(len(patterns), device=patterns.device)
    return average(patterns[examples, :, queries, keys])
