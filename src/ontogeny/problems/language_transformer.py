"""The attention-only language model.

Its architecture and the distribution of its initial weights are those of Hoogland et al., "The
developmental landscape of in-context learning" (2024, arXiv 2402.02364), which are TransformerLens'
for shortformer positions: the positional embedding is added to what queries and keys are made of,
and to nothing else, so that no position enters the residual stream.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ontogeny.problems.attention import causal_attention

INITIAL_SCALE = 0.8  # of all weights, times 1/sqrt(d_model)


@dataclass(frozen=True)
class Shape:
    """How large a language model is.

    Attributes:
        d_vocab: Tokens in the vocabulary.
        n_ctx: Tokens in a row.
        n_layers: Layers of attention.
        n_heads: Heads in each layer.
        d_model: Width of the residual stream.
    """

    d_vocab: int
    n_ctx: int
    n_layers: int
    n_heads: int
    d_model: int

    def __post_init__(self) -> None:
        for name, least in {"d_vocab": 2, "n_ctx": 8, "n_layers": 1, "n_heads": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.d_model < 1 or self.d_model % self.n_heads:
            raise ValueError(f"{self.n_heads} heads do not divide a d_model of {self.d_model}")


class Attention(nn.Module):
    """Multi-head attention with one matrix for each head and role, and biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        heads, d_model, d_head = shape.n_heads, shape.d_model, shape.d_model // shape.n_heads
        self.W_Q, self.W_K, self.W_V = (normal(shape, heads, d_model, d_head) for _ in range(3))
        self.W_O = normal(shape, heads, d_head, d_model)
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(heads, d_head)) for _ in range(3))
        self.b_O = nn.Parameter(torch.zeros(d_model))

    def forward(
        self, x: Float[Tensor, "example position d_model"], placed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What attention adds to the residual stream, and the attention pattern.

        Args:
            x: What values are made of.
            placed: The same with positions, which queries and keys are made of.
        """
        queries = by_head(placed, self.W_Q, self.b_Q)
        keys = by_head(placed, self.W_K, self.b_K)
        mixed, pattern = causal_attention(queries, keys, by_head(x, self.W_V, self.b_V))
        return mixed.transpose(1, 2).flatten(2) @ self.W_O.flatten(0, 1) + self.b_O, pattern


class LanguageModel(nn.Module):
    """Tokens to logits of the next token, through layers of attention alone."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.W_E = normal(shape, shape.d_vocab, shape.d_model)
        self.W_pos = normal(shape, shape.n_ctx, shape.d_model)
        self.layers = nn.ModuleList(Attention(shape) for _ in range(shape.n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(shape.d_model) for _ in range(shape.n_layers))
        self.final_norm = nn.LayerNorm(shape.d_model)
        self.W_U = normal(shape, shape.d_model, shape.d_vocab)
        self.b_U = nn.Parameter(torch.zeros(shape.d_vocab))

    def forward(
        self, tokens: Int[Tensor, "example position"]
    ) -> Float[Tensor, "example position d_vocab"]:
        """Logits of the token after each position."""
        return self.unembed(self.residual(tokens))

    def unembed(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_vocab"]:
        """Logits at places of the normalised residual stream."""
        return x @ self.W_U + self.b_U

    def residual(
        self,
        tokens: Int[Tensor, "example position"],
        patterns: list[Tensor] | None = None,
        positions: bool = True,
    ) -> Float[Tensor, "example position d_model"]:
        """The residual stream after the last norm, from which the logits are read.

        Args:
            tokens: No more of them in a row than there are positions.
            patterns: Takes each layer's attention pattern (example, head, query, key), if given.
            positions: Whether the positional embedding is there; the paper ablates it.
        """
        x = self.W_E[tokens]
        places = self.W_pos[: tokens.shape[1]] * float(positions)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            normed = norm(x)
            attended, pattern = layer(normed, normed + places)
            x = x + attended
            if patterns is not None:
                patterns.append(pattern)
        normal_x: Tensor = self.final_norm(x)
        return normal_x


def by_head(
    x: Tensor, weight: Tensor, bias: Tensor
) -> Float[Tensor, "example head position d_head"]:
    """What each head makes of the residual stream."""
    made = x @ weight.transpose(0, 1).flatten(1) + bias.flatten()  # one product for all heads
    return made.view(*x.shape[:2], *bias.shape).transpose(1, 2)


def normal(shape: Shape, *size: int) -> nn.Parameter:
    """Initial weights of one matrix."""
    return nn.Parameter(torch.randn(*size) * INITIAL_SCALE / shape.d_model**0.5)
