"""The trigger-bigram language, in which a two-layer transformer must build an induction head.

Most tokens are followed as a table of bigrams says, the same in every row of tokens. In each row a
few tokens are triggers: what follows them is drawn afresh for the row, and is then the same at each
of their occurrences. So a model that knows the table alone fails after a trigger, and one that
looks up what followed it before in the row does not.

With `second_order` the token before the last counts too, as in real text: then attending to the
previous token pays before there is an induction head to serve.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.streams import random_stream

UNSEEN = 16
"""Tokens drawn before those of a row, of which the first two are uniform."""

EQUILIBRIUM = 200
"""Steps in which the chain of pairs forgets where it began."""


@dataclass(frozen=True)
class TriggerBigrams:
    """The language.

    Attributes:
        d_vocab: How many tokens it has.
        n_ctx: Tokens in a row.
        triggers: How many of them are triggers in each row.
        sharpness: Standard deviation of the logarithms of the bigrams' weights: the larger, the
            fewer successors a token has.
        second_order: The same of the factors that the token before the last brings in; 0 for a
            language of bigrams alone.
        table_seed: Which table.

    References:
        A. Bietti, V. Cabannes, D. Bouchacourt, H. Jegou, L. Bottou, "Birth of a transformer: a
        memory viewpoint" (NeurIPS 2023), section 3, for a language of bigrams alone.
    """

    d_vocab: int = 32
    n_ctx: int = 64
    triggers: int = 3
    sharpness: float = 2.0
    second_order: float = 0.0
    table_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.triggers < self.d_vocab:
            raise ValueError(
                f"there can be 0 to {self.d_vocab - 1} triggers among {self.d_vocab} tokens, not "
                f"{self.triggers}"
            )
        for name in ("sharpness", "second_order"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")


@lru_cache(maxsize=4)
def transition_table(language: TriggerBigrams) -> Float[Tensor, "before token next"]:
    """The probabilities of what follows each token that is not a trigger, by the token before it.

    One entry stands for all tokens before it where they do not matter.
    """
    stream = random_stream(language.table_seed, "bigram table")
    size = language.d_vocab
    logits = language.sharpness * torch.randn(1, size, size, generator=stream)
    if language.second_order:
        logits = logits + language.second_order * torch.randn(size, 1, size, generator=stream)
    return logits.softmax(dim=-1)


def draw_rows(
    language: TriggerBigrams, n: int, generator: torch.Generator
) -> Int[Tensor, "row position"]:
    """Draw rows of the language.

    Triggers are drawn uniformly, without repetition, and so is what follows each, which is no
    trigger: a row cannot go round in circles. It begins some way into its text, so that its first
    tokens are as typical as its last.

    Args:
        language: The language.
        n: How many rows.
        generator: Where the randomness comes from, and on which device.
    """
    device, size = generator.device, language.d_vocab
    cumulative = transition_table(language).to(device).cumsum(dim=-1)
    scores = torch.rand(n, size, generator=generator, device=device)
    triggers, others = scores.argsort(dim=1).tensor_split([language.triggers], dim=1)
    chosen = torch.randint(others.shape[1], triggers.shape, generator=generator, device=device)
    outcome = others.gather(1, chosen)
    fixed = torch.full((n, size), -1, device=device).scatter_(1, triggers, outcome)
    length = UNSEEN + language.n_ctx
    chances = torch.rand(n, length, generator=generator, device=device)
    rows = torch.empty(n, length, dtype=torch.long, device=device)
    rows[:, :2] = (chances[:, :2] * size).long()
    for t in range(2, length):
        before, last = rows[:, t - 2] % len(cumulative), rows[:, t - 1]
        usual = torch.searchsorted(cumulative[before, last], chances[:, t, None].contiguous())
        drawn = fixed.gather(1, last[:, None])
        rows[:, t] = torch.where(drawn >= 0, drawn, usual.clamp(max=size - 1))[:, 0]
    return rows[:, UNSEEN:].contiguous()


@lru_cache(maxsize=4)
def bigram_table(language: TriggerBigrams) -> Float[Tensor, "token next"]:
    """The probabilities of what follows each token in a row of which nothing else is known.

    A token is a trigger in the share `triggers` / `d_vocab` of rows, and then any other may follow.
    Where the token before it matters, the table is that of the chain of pairs in equilibrium. The
    chain has its triggers drawn anew at each step, not for a row: for the quick preset's language
    the table is 0.007 nats (Kullback-Leibler) from what is counted in rows.
    """
    size, share = language.d_vocab, language.triggers / language.d_vocab
    other = (1 - torch.eye(size, dtype=torch.float64)) / (size - 1)
    table = (1 - share) * transition_table(language).double() + share * other
    if len(table) == 1:
        return table[0].float()
    pairs = torch.full((size, size), size**-2.0, dtype=torch.float64)
    for _ in range(EQUILIBRIUM):
        pairs = torch.einsum("ab,abc->bc", pairs, table.expand(size, -1, -1))
    following = torch.einsum("ab,abc->bc", pairs, table.expand(size, -1, -1))
    return (following / following.sum(dim=1, keepdim=True)).float()


def bigram_chances(
    language: TriggerBigrams, tokens: Int[Tensor, "..."]
) -> Float[Tensor, "... token"]:
    """The rows of the table of bigrams for some tokens."""
    return bigram_table(language).to(tokens.device)[tokens]
