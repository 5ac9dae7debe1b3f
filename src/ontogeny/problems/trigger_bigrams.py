"""The trigger-bigram language, in which a two-layer transformer must build an induction head.

Most tokens are followed as a table of bigrams says, the same in every row of tokens. In each row a
few tokens are triggers: what follows them is drawn afresh for the row, and is then the same at each
of their occurrences. So a model that knows the table alone fails after a trigger, and one that
looks up what followed it before in the row does not.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.streams import random_stream


@dataclass(frozen=True)
class TriggerBigrams:
    """The language.

    Attributes:
        d_vocab: How many tokens it has.
        n_ctx: Tokens in a row.
        triggers: How many of them are triggers in each row.
        sharpness: Standard deviation of the logarithms of the bigrams' weights: the larger, the
            fewer successors a token has.
        table_seed: Which table.

    References:
        A. Bietti, V. Cabannes, D. Bouchacourt, H. Jegou, L. Bottou, "Birth of a transformer: a
        memory viewpoint" (NeurIPS 2023), section 3.
    """

    d_vocab: int = 32
    n_ctx: int = 64
    triggers: int = 3
    sharpness: float = 2.0
    table_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.triggers <= self.d_vocab:
            raise ValueError(
                f"there can be 0 to {self.d_vocab} triggers among {self.d_vocab} tokens, not "
                f"{self.triggers}"
            )
        if self.sharpness < 0:
            raise ValueError(f"sharpness must be at least 0, not {self.sharpness}")


@lru_cache(maxsize=4)
def bigram_table(language: TriggerBigrams) -> Float[Tensor, "token token"]:
    """The probabilities of what follows each token that is not a trigger."""
    stream = random_stream(language.table_seed, "bigram table")
    weights = torch.randn(language.d_vocab, language.d_vocab, generator=stream)
    return (language.sharpness * weights).softmax(dim=1)


def draw_rows(
    language: TriggerBigrams, n: int, generator: torch.Generator
) -> Int[Tensor, "row position"]:
    """Draw rows of the language.

    The first token is drawn uniformly, and so are the triggers of a row, without repetition, and
    what follows each.

    Args:
        language: The language.
        n: How many rows.
        generator: Where the randomness comes from, and on which device.
    """
    device, size = generator.device, language.d_vocab
    table = bigram_table(language).to(device)
    scores = torch.rand(n, size, generator=generator, device=device)
    triggers = scores.argsort(dim=1)[:, : language.triggers]
    outcome = torch.randint(size, triggers.shape, generator=generator, device=device)
    fixed = torch.full((n, size), -1, device=device).scatter_(1, triggers, outcome)
    chances = torch.rand(n, language.n_ctx, generator=generator, device=device)
    cumulative = table.cumsum(dim=1)
    rows = torch.empty(n, language.n_ctx, dtype=torch.long, device=device)
    rows[:, 0] = (chances[:, 0] * size).long()
    for t in range(1, language.n_ctx):
        before = rows[:, t - 1]
        usual = torch.searchsorted(cumulative[before], chances[:, t, None].contiguous())[:, 0]
        drawn = fixed.gather(1, before[:, None])[:, 0]
        rows[:, t] = torch.where(drawn >= 0, drawn, usual.clamp(max=size - 1))
    return rows


def bigram_chances(
    language: TriggerBigrams, tokens: Int[Tensor, "..."]
) -> Float[Tensor, "... token"]:
    """The probabilities of what follows tokens in a row of which nothing else is known.

    A token is a trigger in the share `triggers` / `d_vocab` of rows, and then anything may follow.
    """
    share = language.triggers / language.d_vocab
    table = (1 - share) * bigram_table(language) + share / language.d_vocab
    return table.to(tokens.device)[tokens]
