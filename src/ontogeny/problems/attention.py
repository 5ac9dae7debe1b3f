"""Causal multi-head attention, shared by the two transformers."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_FUSED = ContextVar("fused", default=False)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Compute attention by the device's fused kernel: no patterns, no second derivatives.

    Examples:
        >>> q = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0))
        >>> with fused_attention():
        ...     fused, pattern = causal_attention(q, q, q)
        >>> bool(torch.allclose(fused, causal_attention(q, q, q)[0], atol=1e-6)), pattern.shape
        (True, torch.Size([1, 2, 0, 5]))
    """
    token = _FUSED.set(True)
    try:
        yield
    finally:
        _FUSED.reset(token)


def causal_attention(
    queries: Float[Tensor, "example head position d_head"],
    keys: Float[Tensor, "example head position d_head"],
    values: Float[Tensor, "example head position d_head"],
) -> tuple[
    Float[Tensor, "example head position d_head"],
    Float[Tensor, "example head query position"],
]:
    r"""Each position mixes the values of the positions up to itself.

    $A = \mathrm{softmax}(Q K^\top / \sqrt{d_\mathrm{head}} + M)$ with $M = -\infty$ above the
    diagonal, and the mixture is $A V$. It is written out, and not fused unless within
    `fused_attention`, because curvature needs second derivatives and head scores need $A$.

    Args:
        queries: What each position looks for.
        keys: What each position offers to be found by.
        values: What each position passes on.

    Returns:
        The mixtures, and the attention pattern $A$ (query, then key; rows sum to one), of no
        queries where it is fused.

    Examples:
        The first position can only look at itself; equal keys share attention equally.

        >>> q = k = torch.zeros(1, 1, 2, 4)
        >>> mixed, pattern = causal_attention(q, k, torch.tensor([[[[2.0] * 4, [4.0] * 4]]]))
        >>> mixed[0, 0, :, 0].tolist(), pattern[0, 0].tolist()
        ([2.0, 3.0], [[1.0, 0.0], [0.5, 0.5]])

    References:
        A. Vaswani et al., "Attention is all you need" (2017), section 3.2.
    """
    n, d_head = queries.shape[-2:]
    if _FUSED.get():
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return mixed, queries.new_empty(*queries.shape[:-2], 0, n)
    future = torch.ones(n, n, dtype=torch.bool, device=queries.device).triu(diagonal=1)
    logits = queries @ keys.transpose(-1, -2) / math.sqrt(d_head)
    pattern = logits.masked_fill(future, -torch.inf).softmax(dim=-1)
    return pattern @ values, pattern
