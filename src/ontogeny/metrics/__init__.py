"""Pure measurements on tensors: what a network does, what it attends to, what it is.

Functions of predictions, attention patterns and weights that know nothing of problems or runs.
"""

from ontogeny.metrics.attention import (
    attention_at,
    attention_entropy,
    attention_variability,
    previous_token_attention,
    self_attention,
    x_token_attention,
)
from ontogeny.metrics.behavior import (
    Estimate,
    average,
    cross_entropy,
    icl_score,
    ratio,
    squared_errors,
)
from ontogeny.metrics.weights import (
    EffectiveUnembedding,
    composition_scores,
    effective_unembedding,
    fraction_below,
    hessian_product,
    hessian_trace,
    principal_coordinates,
    singular_values,
    top_eigenvalues,
    weight_norm,
)

__all__ = [
    "EffectiveUnembedding",
    "Estimate",
    "attention_at",
    "attention_entropy",
    "attention_variability",
    "average",
    "composition_scores",
    "cross_entropy",
    "effective_unembedding",
    "fraction_below",
    "hessian_product",
    "hessian_trace",
    "icl_score",
    "previous_token_attention",
    "principal_coordinates",
    "ratio",
    "self_attention",
    "singular_values",
    "squared_errors",
    "top_eigenvalues",
    "weight_norm",
    "x_token_attention",
]
