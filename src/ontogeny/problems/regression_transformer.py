"""The transformer of in-context linear regression.

Its architecture, which adds each block's input twice, and its initial weights are those of
Hoogland et al., "The developmental landscape of in-context learning" (2024, arXiv 2402.02364).
"""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.problems.attention import causal_attention
from ontogeny.problems.regression_data import Regression


class Attention(nn.Module):
    """Multi-head attention whose projection holds, head by head, its queries, keys and values."""

    def __init__(self, setting: Regression) -> None:
        super().__init__()
        self.n_heads = setting.n_heads
        self.project = nn.Linear(setting.d_model, 3 * setting.d_model, bias=False)
        self.output = nn.Linear(setting.d_model, setting.d_model, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What attention adds to the residual stream, and the attention pattern."""
        heads = self.project(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        mixed, pattern = causal_attention(*heads.chunk(3, dim=-1))
        return self.output(mixed.transpose(1, 2).flatten(2)), pattern


class Block(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, setting: Regression) -> None:
        super().__init__()
        d_model, d_mlp = setting.d_model, setting.d_mlp
        self.attention = Attention(setting)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_mlp), nn.ReLU(), nn.Linear(d_mlp, d_model))
        self.attention_norm = nn.LayerNorm(d_model)
        self.mlp_norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The residual stream after the block, and the attention pattern."""
        attended, pattern = self.attention(self.attention_norm(x))
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), pattern


class RegressionTransformer(nn.Module):
    """The paper's transformer, modules built in its order so that seeds give its weights.

    As in the paper's code, the network adds each block's input to a block's output that already
    contains it, so that every layer doubles the residual stream.
    """

    def __init__(self, setting: Regression) -> None:
        super().__init__()
        d_token, d_model = setting.n_dims + 1, setting.d_model
        self.token_embedding = nn.Linear(d_token, d_model, bias=False)
        self.position_embedding = nn.Linear(2 * setting.n_pairs, d_model, bias=False)
        self.blocks = nn.ModuleList(Block(setting) for _ in range(setting.n_layers))
        self.final_norm = nn.LayerNorm(d_model)
        self.unembedding = nn.Linear(d_model, d_token)

    def forward(
        self, tokens: Float[Tensor, "example position token"]
    ) -> Float[Tensor, "example position token"]:
        """The outputs at every position."""
        return self.attend(tokens)[0]

    def attend(
        self, tokens: Float[Tensor, "example position token"]
    ) -> tuple[Tensor, list[Tensor]]:
        """The outputs, and each layer's attention pattern (example, head, query, key)."""
        x = self.token_embedding(tokens) + self.position_embedding.weight.T
        patterns = []
        for block in self.blocks:
            out, pattern = block(x)
            x = x + out
            patterns.append(pattern)
        return self.unembedding(self.final_norm(x)), patterns

    def layer_norms(self) -> Iterator[tuple[str, nn.LayerNorm]]:
        """Every layer norm with its name, in the order of the forward pass."""
        for i, block in enumerate(self.blocks, start=1):
            assert isinstance(block, Block)
            yield f"attention.{i}", block.attention_norm
            yield f"mlp.{i}", block.mlp_norm
        yield "final", self.final_norm


def predictions_of(
    outputs: Float[Tensor, "example position token"],
) -> Float[Tensor, "example pair"]:
    """The network's ŷ_k: component 0 at the positions of the inputs x_k."""
    return outputs[:, ::2, 0]
