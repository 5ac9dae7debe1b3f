"""What is measured of the attention-only transformer.

The metrics are those of Hoogland et al., "The developmental landscape of in-context learning"
(2024, arXiv 2402.02364). Lengths and positions that the paper gives for a context of 1,024 are
scaled to the context in use.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.metrics import (
    Estimate,
    attention_at,
    attention_entropy,
    attention_variability,
    average,
    composition_scores,
    cross_entropy,
    icl_score,
    previous_token_attention,
    principal_coordinates,
    ratio,
    self_attention,
    weight_norm,
)
from ontogeny.problems.attention import fused_attention
from ontogeny.problems.language_data import Source
from ontogeny.problems.language_transformer import Attention, LanguageModel
from ontogeny.problems.problem import Row
from ontogeny.streams import random_stream

PAPER_CONTEXT = 1024
EARLY, LATE = 48, 498  # losses that the ICL score compares, counted from 0: tokens 50 and 500
NGRAMS = (2, 3, 4)
BIGRAMS = 5000  # places at which predictions are held against the table
CHUNK = 2**24  # logits, or weights of attention, at a time


def next_token_losses(
    logits: Float[Tensor, "row position d_vocab"], tokens: Int[Tensor, "row position"]
) -> Float[Tensor, "row next"]:
    """Cross-entropy of each token but the first with what the position before it predicts."""
    true = tokens[:, 1:]
    losses: Tensor = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), true.flatten(), reduction="none"
    )
    return losses.view_as(true)


def measure_language(source: Source, model: nn.Module, examples: int, seed: int) -> Iterator[Row]:
    """Every metric of the language model, on samples that depend on the seed alone.

    Args:
        source: Of rows that nothing was trained on.
        model: A `LanguageModel` in eval mode.
        examples: How many rows; of a text, at most as many as are held out.
        seed: Which.

    Yields:
        Name, items and values of each metric.
    """
    assert isinstance(model, LanguageModel)
    device = model.W_E.device

    def stream(role: str) -> torch.Generator:
        return random_stream(seed, f"language {role}", device=device)

    tokens = source.held_out(examples, stream("rows"))
    losses = losses_of(model, tokens)
    yield from performance(losses, losses_of(model, tokens, positions=False))
    yield from bigrams(model, source, tokens, stream("bigram sites"))
    if source.words:
        yield from ngrams(model, source.words, losses)
    yield from repetition(model, examples, stream("repetition"), source.end)
    yield from head_scores(model, examples, stream("heads"), source.end)
    yield from attention(model, tokens)
    yield from weights(model)


def performance(
    losses: Float[Tensor, "row next"], without: Float[Tensor, "row next"]
) -> Iterator[Row]:
    """Losses by position, with and without positions, and how much they fall within the context."""
    count = losses.shape[1]
    early, late = icl_places(count + 1)
    yield "loss", ("",), average(losses.mean(dim=1))
    yield "loss_by_position", numbers(count), average(losses)
    yield "loss_without_positions", ("",), average(without.mean(dim=1))
    yield "loss_by_position_without_positions", numbers(count), average(without)
    yield "icl_score", ("",), icl_score(losses, early + 1, late + 1)


def icl_places(n_ctx: int) -> tuple[int, int]:
    """Which two losses the ICL score compares, counted from 0.

    Examples:
        >>> icl_places(1024), icl_places(48)
        ((48, 498), (2, 23))
    """
    return round(EARLY * n_ctx / PAPER_CONTEXT), round(LATE * n_ctx / PAPER_CONTEXT)


def losses_of(
    model: LanguageModel, tokens: Int[Tensor, "row position"], positions: bool = True
) -> Float[Tensor, "row next"]:
    """Losses of many rows, some at a time: their logits together would not fit into memory."""
    size = max(1, CHUNK // (tokens.shape[1] * model.W_U.shape[1]))
    with fused_attention():
        parts = [
            next_token_losses(model.unembed(model.residual(rows, positions=positions)), rows)
            for rows in torch.split(tokens, size)
        ]
    return torch.cat(parts)


def bigrams(
    model: LanguageModel,
    source: Source,
    tokens: Int[Tensor, "row position"],
    generator: torch.Generator,
) -> Iterator[Row]:
    """How far predictions are from the table of bigrams, and how far that is from certain.

    At random positions: one of each row, as in the paper, or more where there are fewer rows than
    the paper's 5,000. The standard error takes those of one row for one.
    """
    each = math.ceil(BIGRAMS / len(tokens))
    size = len(tokens), each
    sites = torch.randint(1, tokens.shape[1], size, generator=generator, device=tokens.device)
    scores, entropies = [], []
    for some, places in zip(torch.split(tokens, 256), torch.split(sites, 256), strict=True):
        with fused_attention():
            x = model.residual(some).take_along_dim(places[..., None], dim=1)
        chances = source.chances(some.gather(1, places))
        scores.append(cross_entropy(model.unembed(x), chances).mean(dim=1))
        entropies.append(torch.special.entr(chances).sum(dim=-1).mean(dim=1))
    yield "bigram_score", ("",), average(torch.cat(scores))
    yield "bigram_entropy", ("",), average(torch.cat(entropies))


def ngrams(
    model: LanguageModel, words: Callable[[int], Tensor], losses: Float[Tensor, "row next"]
) -> Iterator[Row]:
    """How much better the last token of a word is predicted than others at its place.

    `ngram_score` is the loss on rows of text at the place where a word of n tokens ends, over the
    loss of the last token of such words: 1 for a network that does not know them. The paper took
    the loss one token later, `ngram_score_as_published`.
    """
    lengths = [n for n in NGRAMS if len(words(n)) and n < losses.shape[1]]
    if not lengths:
        return
    items, places = tuple(map(str, lengths)), torch.tensor(lengths, device=losses.device)
    found = [average(losses_of(model, words(n).to(losses.device))[:, -1]) for n in lengths]
    of_words = Estimate(*(torch.stack(parts) for parts in zip(*found, strict=True)))
    yield "ngram_loss", items, of_words
    yield "ngram_score", items, ratio(average(losses[:, places - 1]), of_words)
    yield "ngram_score_as_published", items, ratio(average(losses[:, places]), of_words)


def repetition(
    model: LanguageModel, examples: int, generator: torch.Generator, end: int | None = None
) -> Iterator[Row]:
    """Losses on both halves of a random row whose second half repeats the first.

    Nothing but the row itself tells what comes next, so only induction lowers the second loss. In
    the first half, the second token to the last; in the second half the same tokens. In a text the
    end token stands before both.
    """
    begins = int(end is not None)
    length = (model.W_pos.shape[0] - begins) // 2
    half = random_rows(model, min(examples, 512), begins + length, generator, end)
    losses = losses_of(model, torch.cat([half, half[:, begins:]], dim=1))[:, begins:]
    first, second = losses[:, : length - 1], losses[:, length:]
    both = torch.stack([first.mean(dim=1), second.mean(dim=1)], dim=1)
    yield "repeated_loss", ("first", "second"), average(both)
    yield "induction_gain", ("",), average((first - second).mean(dim=1))


def head_scores(
    model: LanguageModel, examples: int, generator: torch.Generator, end: int | None = None
) -> Iterator[Row]:
    """Previous-token, prefix-matching and K-composition scores of the heads.

    Previous token: from the last of 16 to 64 random tokens to the one before. Prefix matching: in
    128 random tokens of which one occurs in either half, from the second to what follows the
    first. Both lengths are for a context of 1,024, and at least 8 and 16 here. In a text the end
    token stands first.
    """
    n_ctx, heads = model.W_pos.shape[0], names_of_heads(model)

    def uniform(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (examples,), generator=generator, device=generator.device)

    shortest = min(n_ctx, max(8, 16 * n_ctx // PAPER_CONTEXT))
    longest = min(n_ctx, max(16, 64 * n_ctx // PAPER_CONTEXT))
    tokens = random_rows(model, examples, longest, generator, end)
    last = uniform(shortest - 1, longest)
    yield "previous_token_score", heads, scores_at(model, tokens, last, last - 1)

    length = min(n_ctx, max(16, 128 * n_ctx // PAPER_CONTEXT))
    tokens = random_rows(model, examples, length, generator, end)
    first, second = uniform(1, length // 2), uniform(length // 2 + 1, length)
    tokens = with_one_pair(tokens, first, second, model.W_U.shape[1], end)
    yield "prefix_matching_score", heads, scores_at(model, tokens, second, first + 1)

    layers = [layer for layer in model.layers if isinstance(layer, Attention)]
    for i, (earlier, later) in enumerate(itertools.pairwise(layers), start=1):
        written = earlier.W_V @ earlier.W_O
        read = (later.W_Q @ later.W_K.transpose(1, 2)).transpose(1, 2)
        n_heads = numbers(len(written))
        items = tuple(f"{i}.{a}-{i + 1}.{b}" for a in n_heads for b in n_heads)
        yield "k_composition", items, composition_scores(written, read)


def random_rows(
    model: LanguageModel, rows: int, length: int, generator: torch.Generator, end: int | None
) -> Int[Tensor, "row position"]:
    """Rows of random tokens; where there is an end token it stands first, and nowhere else."""
    count = model.W_U.shape[1] - int(end is not None)
    size, device = (rows, length), generator.device
    tokens = torch.randint(count, size, generator=generator, device=device)
    if end is not None:
        tokens = tokens + (tokens >= end).long()
        tokens[:, 0] = end
    return tokens


def with_one_pair(
    tokens: Int[Tensor, "row position"],
    first: Int[Tensor, " row"],
    second: Int[Tensor, " row"],
    d_vocab: int,
    end: int | None,
) -> Int[Tensor, "row position"]:
    """Rows in which the token at `first` stands at `second` too, and nowhere else."""
    once = tokens.gather(1, first[:, None])
    others = (tokens + 1) % d_vocab
    if end is not None:
        others = torch.where(others == end, (others + 1) % d_vocab, others)
    return torch.where(tokens == once, others, tokens).scatter(
        1, torch.stack([first, second], dim=1), once.expand(-1, 2)
    )


def scores_at(model: LanguageModel, tokens: Tensor, queries: Tensor, keys: Tensor) -> Estimate:
    """Attention of every head from one place of each row to another, some rows at a time."""
    size = max(1, rows_with_patterns(model, tokens))
    parts = zip(torch.split(tokens, size), torch.split(queries, size), strict=True)
    asking = [
        [one.take_along_dim(places[:, None, None, None], dim=2) for one in patterns_of(model, some)]
        for some, places in parts
    ]
    only = torch.zeros_like(queries)
    found = [attention_at(torch.cat(layer), only, keys) for layer in zip(*asking, strict=True)]
    return Estimate(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def patterns_of(
    model: LanguageModel, tokens: Int[Tensor, "row position"]
) -> list[Float[Tensor, "row head query key"]]:
    """What the heads of each layer attend to."""
    patterns: list[Tensor] = []
    model.residual(tokens, patterns)
    return patterns


def rows_with_patterns(model: LanguageModel, tokens: Int[Tensor, "row position"]) -> int:
    """Of how many rows all patterns have room at a time."""
    return CHUNK // (tokens.shape[1] ** 2 * len(names_of_heads(model)))


def attention(model: LanguageModel, tokens: Int[Tensor, "row position"]) -> Iterator[Row]:
    """How each head attends on held-out rows, on average over the queries but the first.

    On 64 rows; of long ones on as many as have room for their patterns, at least on 8.
    """
    patterns = patterns_of(model, tokens[: max(8, min(64, rows_with_patterns(model, tokens)))])
    for score in (
        attention_entropy,
        attention_variability,
        self_attention,
        previous_token_attention,
    ):
        found = torch.cat([score(pattern).values[:, 1:].mean(dim=1) for pattern in patterns])
        yield score.__name__, names_of_heads(model), found


def weights(model: LanguageModel) -> Iterator[Row]:
    """The norm of all weights; the positional embedding's norms and principal components."""
    yield "weight_norm", ("",), weight_norm(model.parameters())
    places = model.W_pos
    yield "position_norm", numbers(len(places)), places.norm(dim=1)
    coordinates = principal_coordinates(places)
    spread = coordinates.square().sum(dim=1)
    names = numbers(min(3, len(spread)))
    yield "position_variance_ratio", names, spread[: len(names)] / spread.sum()
    items = tuple(f"{name}.{place}" for name in names for place in numbers(len(places)))
    yield "position_component", items, coordinates[: len(names)]


def names_of_heads(model: LanguageModel) -> tuple[str, ...]:
    """`LAYER.HEAD`, counted from 1."""
    return tuple(
        f"{i}.{head}"
        for i, layer in enumerate(model.layers, start=1)
        if isinstance(layer, Attention)
        for head in numbers(len(layer.W_Q))
    )


def numbers(n: int) -> tuple[str, ...]:
    """The names "1" to "n"."""
    return tuple(str(i) for i in range(1, n + 1))
