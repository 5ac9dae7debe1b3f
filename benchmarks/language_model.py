"""A language model to measure on, alone with torch so that other tools can be given it too.

Attention only, in two sizes, on the tokens of a random Markov chain.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT = 64
SUCCESSORS = 4  # of each token, all as likely: no loss is below log 4


@dataclass(frozen=True)
class Size:
    """How large the model is."""

    d_vocab: int
    d_model: int
    n_heads: int
    n_layers: int = 2


SIZES = {"104k": Size(512, 64, 4), "3M": Size(5000, 256, 8)}


class Attention(nn.Module):
    """Causal multi-head attention, added to the residual stream."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.n_heads = size.n_heads
        self.norm = nn.LayerNorm(size.d_model)
        self.project = nn.Linear(size.d_model, 3 * size.d_model)
        self.output = nn.Linear(size.d_model, size.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream after the layer."""
        heads = self.project(self.norm(x)).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(*heads.chunk(3, dim=-1), is_causal=True)
        return x + self.output(mixed.transpose(1, 2).flatten(2))


class LanguageModel(nn.Module):
    """Embedding, layers of attention, unembedding."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.d_vocab, size.d_model)
        self.positions = nn.Parameter(0.02 * torch.randn(CONTEXT, size.d_model))
        self.layers = nn.Sequential(*(Attention(size) for _ in range(size.n_layers)))
        self.norm = nn.LayerNorm(size.d_model)
        self.unembed = nn.Linear(size.d_model, size.d_vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of the next token at every position."""
        return self.unembed(self.norm(self.layers(self.tokens(tokens) + self.positions)))


def token_losses(model: nn.Module, tokens: Tensor) -> Tensor:
    """The cross-entropy of every token but the first, by example and position."""
    logits, targets = model(tokens[:, :-1]), tokens[:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape)


def corpus(size: Size, sequences: int = 4096) -> Tensor:
    """Sequences of CONTEXT + 1 tokens, the same in every process."""
    stream = torch.Generator().manual_seed(0)
    successors = torch.randint(size.d_vocab, (size.d_vocab, SUCCESSORS), generator=stream)
    found = [torch.randint(size.d_vocab, (sequences,), generator=stream)]
    for _ in range(CONTEXT):
        choice = torch.randint(SUCCESSORS, (sequences,), generator=stream)
        found.append(successors[found[-1], choice])
    return torch.stack(found, dim=1)


def language_problem(size: Size):
    """The model and its corpus as a problem of ontogeny."""
    from ontogeny.problems import Problem

    tokens = corpus(size)

    def batch(n: int, generator: torch.Generator) -> tuple[Tensor]:
        return (tokens[torch.randint(len(tokens), (n,), generator=generator)],)

    return Problem(
        name="",
        settings={},
        model=lambda: LanguageModel(size),
        batch=batch,
        loss=lambda model, batch: token_losses(model, *batch),
        outputs=lambda model, batch: model(batch[0][:, :-1]),
    )
