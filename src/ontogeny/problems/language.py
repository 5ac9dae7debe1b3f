"""Next-token prediction as a problem, and what is measured of the attention-only transformer.

The setting and the metrics are those of Hoogland et al., "The developmental landscape of
in-context learning" (2024, arXiv 2402.02364). Lengths and positions that the paper gives for a
context of 1,024 are scaled to the context in use.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

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
    self_attention,
    weight_norm,
)
from ontogeny.problems.corpora import chances_after, draw_text, open_corpus, words_of
from ontogeny.problems.language_transformer import Attention, LanguageModel, Shape
from ontogeny.problems.problem import Problem, Row
from ontogeny.problems.trigger_bigrams import TriggerBigrams, bigram_chances, draw_rows
from ontogeny.records import References
from ontogeny.streams import random_stream

PAPER_CONTEXT = 1024
EARLY, LATE = 50, 500  # the tokens whose losses the paper's ICL score compares
NGRAMS = (2, 3, 4)
CHUNK = 2**24  # logits at a time


@dataclass(frozen=True)
class Language:
    """A language and the transformer that learns it.

    Attributes:
        corpus: The text, as in `ontogeny.problems.corpora`; the trigger-bigram language if empty.
        tokenizer: The file of its tokenizer; by default one is trained on the text.
        d_vocab: Tokens in the vocabulary.
        n_ctx: Tokens in a row.
        n_layers: Layers of attention.
        n_heads: Heads in each layer.
        d_model: Width of the residual stream.
        triggers: Tokens in each row of the synthetic language that have a successor of their own.
        sharpness: How predictable its other tokens are, as in `TriggerBigrams`.
        second_order: How much the token before the last tells, as there.
        table_seed: Which table of bigrams it has.
        sites: At how many random positions of each row outputs are followed.
    """

    corpus: str = ""
    tokenizer: str = ""
    d_vocab: int = 32
    n_ctx: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    triggers: int = 3
    sharpness: float = 2.0
    second_order: float = 0.0
    table_seed: int = 0
    sites: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.sites < self.n_ctx:
            raise ValueError(f"sites must be 1 to {self.n_ctx - 1} in a row, not {self.sites}")


class Source(NamedTuple):
    """Where rows of tokens come from.

    Attributes:
        train: Draws rows to learn from: how many, and with which generator.
        held_out: Draws rows to be tested on.
        chances: The table of bigrams: of some tokens, the probabilities of what follows each.
        words: Words of a given number of tokens, with the token that begins a row before them; of
            a language that has words.
    """

    train: Callable[[int, torch.Generator], Tensor]
    held_out: Callable[[int, torch.Generator], Tensor]
    chances: Callable[[Tensor], Tensor]
    words: Callable[[int], Tensor] | None = None


def language(**settings: Any) -> Problem:
    """Next-token prediction by an attention-only transformer as a problem.

    Args:
        **settings: Fields of `Language`.

    Returns:
        The problem. A batch is one tensor of tokens, row and position; the loss is the
        cross-entropy of each next token, by position, in nats; the outputs are the logits of the
        true next token at a few random positions of each row.

    Raises:
        ValueError: A setting is unknown or impossible.

    Examples:
        The model of the paper.

        >>> paper = language(d_vocab=5000, n_ctx=1024, n_heads=8, d_model=256)
        >>> sum(parameter.numel() for parameter in paper.model().parameters())
        3355016
    """
    try:
        setting = Language(**settings)
    except TypeError as error:
        raise ValueError(str(error)) from None
    shape = Shape(
        setting.d_vocab, setting.n_ctx, setting.n_layers, setting.n_heads, setting.d_model
    )
    source = source_of(setting)
    return Problem(
        name="ontogeny.problems.language:language",
        settings=asdict(setting),
        model=lambda: LanguageModel(shape),
        batch=lambda n, generator: (source.train(n, generator),),
        loss=lambda model, batch: next_token_losses(model(batch[0]), batch[0]),
        outputs=lambda model, batch: true_logits(model, batch[0], sites_of(setting, batch[0])),
        metrics=lambda model, *sample: measure_language(setting, source, model, *sample),
        references=lambda batch: references_of(setting, source, batch[0]),
        components=components_of,
    )


def source_of(setting: Language) -> Source:
    """The rows that a setting names."""
    if setting.corpus:
        corpus = open_corpus(setting.corpus, setting.d_vocab, setting.tokenizer)
        train, held_out = (
            partial(draw_text, tokens, corpus.end, setting.n_ctx)
            for tokens in (corpus.train, corpus.held_out)
        )

        def words(length: int) -> Tensor:
            return functional.pad(words_of(corpus, length), (1, 0), value=corpus.end)

        return Source(train, held_out, partial(chances_after, corpus), words)
    world = TriggerBigrams(
        setting.d_vocab,
        setting.n_ctx,
        setting.triggers,
        setting.sharpness,
        setting.second_order,
        setting.table_seed,
    )
    rows = partial(draw_rows, world)
    return Source(rows, rows, partial(bigram_chances, world))


def next_token_losses(
    logits: Float[Tensor, "row position d_vocab"], tokens: Int[Tensor, "row position"]
) -> Float[Tensor, "row next"]:
    """Cross-entropy of each token but the first with what the position before it predicts."""
    true = tokens[:, 1:]
    losses: Tensor = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), true.flatten(), reduction="none"
    )
    return losses.view_as(true)


# Outputs -----------------------------------------------------------------------------------------


def sites_of(setting: Language, tokens: Int[Tensor, "row position"]) -> Int[Tensor, "row site"]:
    """The positions of each row at which outputs are followed: always the same, in order."""
    size = len(tokens), setting.n_ctx - 1
    order = torch.rand(size, generator=random_stream(0, "language sites")).argsort(dim=1)
    return order[:, : setting.sites].sort(dim=1).values.to(tokens.device)


def true_logits(
    model: nn.Module, tokens: Int[Tensor, "row position"], sites: Int[Tensor, "row site"]
) -> Float[Tensor, "row site"]:
    """The logits of the tokens that follow some sites."""
    assert isinstance(model, LanguageModel)
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    true = tokens[rows, sites + 1]
    x = model.residual(tokens)[rows, sites]
    return (x * model.W_U.T[true]).sum(dim=-1) + model.b_U[true]


def references_of(
    setting: Language, source: Source, tokens: Int[Tensor, "row position"]
) -> References:
    """The outputs' labels, and the log-probabilities that the table of bigrams gives there.

    Logits are known up to a constant at each site, so the reference is a place up to that.
    """
    sites = sites_of(setting, tokens)
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    token, true = tokens[rows, sites], tokens[rows, sites + 1]
    chances = source.chances(token).gather(-1, true[..., None])[..., 0]
    labels = [rows.expand_as(sites), sites, token, true, completes_induction(tokens, sites)]
    return References(
        label_names=("row", "position", "token", "next_token", "induction"),
        labels=torch.stack(labels, dim=-1).reshape(-1, len(labels)).cpu().numpy(),
        names=("bigram",),
        values=chances.log().reshape(1, -1).double().cpu().numpy(),
    )


def completes_induction(
    tokens: Int[Tensor, "row position"], sites: Int[Tensor, "row site"]
) -> Int[Tensor, "row site"]:
    """Whether the bigram at a site occurred before in its row: AB…A, and B follows.

    Examples:
        >>> completes_induction(torch.tensor([[1, 2, 0, 1, 2, 1]]), torch.tensor([[0, 3, 4]]))
        tensor([[0, 1, 0]])
    """
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    token, true = tokens[rows, sites], tokens[rows, sites + 1]
    same = (tokens[:, None, :-1] == token[..., None]) & (tokens[:, None, 1:] == true[..., None])
    before = torch.arange(tokens.shape[1] - 1, device=tokens.device) < sites[..., None]
    return (same & before).any(dim=-1).long()


def components_of(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The parts of the transformer that have a name: which entries of which parameters they are.

    Returns:
        `embedding`, `positions`, for each layer `head.LAYER.HEAD` and `norms.LAYER` (with the bias
        of the layer's output), and `unembedding` with the final norm: each weight is in one of
        them. Layers and heads count from 1.
    """
    assert isinstance(model, LanguageModel)
    whole = {
        name: torch.ones_like(parameter, dtype=torch.bool)
        for name, parameter in model.named_parameters()
    }

    def all_of(*prefixes: str) -> dict[str, Tensor]:
        return {name: mask for name, mask in whole.items() if name.startswith(prefixes)}

    parts = {"embedding": all_of("W_E"), "positions": all_of("W_pos")}
    for i, layer in enumerate(model.layers):
        assert isinstance(layer, Attention)
        by_head = all_of(*(f"layers.{i}.{name}" for name in ("W_", "b_Q", "b_K", "b_V")))
        for head in range(len(layer.W_Q)):
            masks = {name: torch.zeros_like(mask) for name, mask in by_head.items()}
            for mask in masks.values():
                mask[head] = True
            parts[f"head.{i + 1}.{head + 1}"] = masks
        parts[f"norms.{i + 1}"] = all_of(f"norms.{i}.", f"layers.{i}.b_O")
    return parts | {"unembedding": all_of("final_norm", "W_U", "b_U")}


# Metrics -----------------------------------------------------------------------------------------


def measure_language(
    setting: Language, source: Source, model: nn.Module, examples: int, seed: int
) -> Iterator[Row]:
    """Every metric of the language model, on samples that depend on the seed alone.

    Args:
        setting: The problem's.
        source: Of rows that nothing was trained on.
        model: A `LanguageModel` in eval mode.
        examples: How many rows.
        seed: Which.

    Yields:
        Name, items and values of each metric.
    """
    assert isinstance(model, LanguageModel)
    device = model.W_E.device

    def stream(role: str) -> torch.Generator:
        return random_stream(seed, f"language {role}", device=device)

    tokens = source.held_out(examples, stream("rows"))
    yield from performance(model, tokens)
    yield from bigrams(model, source, tokens, stream("bigram sites"))
    if source.words:
        yield from ngrams(model, source.words, tokens)
    yield from repetition(model, examples, stream("repetition"))
    yield from head_scores(model, examples, stream("heads"))
    yield from attention(model, tokens)
    yield from weights(model)


def performance(model: LanguageModel, tokens: Int[Tensor, "row position"]) -> Iterator[Row]:
    """Losses by position, with and without positions, and how much they fall within the context."""
    losses = losses_of(model, tokens)
    n_ctx = tokens.shape[1]
    early, late = (max(1, round(k * n_ctx / PAPER_CONTEXT)) for k in (EARLY, LATE))
    yield "loss", ("",), average(losses.mean(dim=1))
    yield "loss_by_position", numbers(losses.shape[1]), average(losses)
    yield "loss_without_positions", ("",), average(losses_of(model, tokens, False).mean(dim=1))
    yield "icl_score", ("",), icl_score(losses, early, late)


def losses_of(
    model: LanguageModel, tokens: Int[Tensor, "row position"], positions: bool = True
) -> Float[Tensor, "row next"]:
    """Losses of many rows, some at a time: their logits together would not fit into memory."""
    size = max(1, CHUNK // (tokens.shape[1] * model.W_U.shape[1]))
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

    At one random position of each row, as in the paper.
    """
    rows = torch.arange(len(tokens), device=tokens.device)
    sites = torch.randint(1, tokens.shape[1], rows.shape, generator=generator, device=tokens.device)
    x = torch.cat([model.residual(part) for part in torch.split(tokens, 256)])[rows, sites]
    chances = source.chances(tokens[rows, sites])
    yield "bigram_score", ("",), average(cross_entropy(model.unembed(x), chances))
    yield "bigram_entropy", ("",), average(torch.special.entr(chances).sum(dim=-1))


def ngrams(
    model: LanguageModel,
    words: Callable[[int], Tensor],
    tokens: Int[Tensor, "row position"],
) -> Iterator[Row]:
    """How much better the last token of a word is predicted than others at its place.

    `ngram_score` is the loss on rows of text at the place where a word of n tokens ends, over the
    loss of the last token of such words: 1 for a network that does not know them. The paper took
    the loss one token later, `ngram_score_as_published`.
    """
    lengths = [n for n in NGRAMS if len(words(n)) and n + 1 < tokens.shape[1]]
    if not lengths:
        return
    by_position = losses_of(model, tokens).mean(dim=0)
    found = [average(losses_of(model, words(n).to(tokens.device))[:, -1]) for n in lengths]
    items = tuple(map(str, lengths))
    losses = Estimate(*(torch.stack(parts) for parts in zip(*found, strict=True)))
    yield "ngram_loss", items, losses
    places = torch.tensor(lengths, device=tokens.device)
    yield "ngram_score", items, by_position[places - 1] / losses.values
    yield "ngram_score_as_published", items, by_position[places] / losses.values


def repetition(model: LanguageModel, examples: int, generator: torch.Generator) -> Iterator[Row]:
    """Losses on both halves of a random row whose second half repeats the first.

    Nothing but the row itself tells what comes next, so only induction lowers the second loss. In
    the first half, the second token to the last; in the second half the same tokens.
    """
    d_vocab, n_ctx = model.W_U.shape[1], model.W_pos.shape[0]
    size, device = (min(examples, 512), n_ctx // 2), model.W_E.device
    half = torch.randint(d_vocab, size, generator=generator, device=device)
    losses = losses_of(model, torch.cat([half, half], dim=1))
    first, second = losses[:, : size[1] - 1], losses[:, size[1] :]
    both = torch.stack([first.mean(dim=1), second.mean(dim=1)], dim=1)
    yield "repeated_loss", ("first", "second"), average(both)
    yield "induction_gain", ("",), average((first - second).mean(dim=1))


def head_scores(model: LanguageModel, examples: int, generator: torch.Generator) -> Iterator[Row]:
    """Previous-token, prefix-matching and K-composition scores of the heads.

    Previous token: from the last of 16 to 64 random tokens to the one before. Prefix matching: in
    128 random tokens of which one occurs in either half, from the second to what follows the
    first. Both lengths are for a context of 1,024, and at least 8 and 16 here.
    """
    d_vocab, n_ctx = model.W_U.shape[1], model.W_pos.shape[0]
    device, heads = model.W_E.device, names_of_heads(model)

    def uniform(low: int, high: int, *size: int) -> Tensor:
        return torch.randint(low, high, size, generator=generator, device=device)

    longest = min(n_ctx, max(16, 64 * n_ctx // PAPER_CONTEXT))
    tokens, last = uniform(0, d_vocab, examples, longest), uniform(7, longest, examples)
    yield "previous_token_score", heads, scores_at(model, tokens, last, last - 1)

    length = min(n_ctx, max(16, 128 * n_ctx // PAPER_CONTEXT))
    once = uniform(0, d_vocab, examples, 1)
    tokens = uniform(0, d_vocab - 1, examples, length)
    tokens = tokens + (tokens >= once).long()  # all but the special token
    first = uniform(1, length // 2 - 1, examples)
    second = uniform(length // 2 + 1, length, examples)
    for places in (first, second):
        tokens = tokens.scatter(1, places[:, None], once)
    yield "prefix_matching_score", heads, scores_at(model, tokens, second, first + 1)

    layers = [layer for layer in model.layers if isinstance(layer, Attention)]
    for i, (earlier, later) in enumerate(itertools.pairwise(layers), start=1):
        written = earlier.W_V @ earlier.W_O
        read = (later.W_Q @ later.W_K.transpose(1, 2)).transpose(1, 2)
        n_heads = numbers(len(written))
        items = tuple(f"{i}.{a}-{i + 1}.{b}" for a in n_heads for b in n_heads)
        yield "k_composition", items, composition_scores(written, read)


def scores_at(model: LanguageModel, tokens: Tensor, queries: Tensor, keys: Tensor) -> Estimate:
    """Attention of every head from one place of each row to another."""
    patterns: list[Tensor] = []
    model.residual(tokens, patterns)
    found = [attention_at(pattern, queries, keys) for pattern in patterns]
    return Estimate(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def attention(model: LanguageModel, tokens: Int[Tensor, "row position"]) -> Iterator[Row]:
    """How each head attends on held-out rows, on average over the queries but the first."""
    patterns: list[Tensor] = []
    model.residual(tokens[:64], patterns)
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
    spread = torch.linalg.svdvals(places - places.mean(dim=0)).square()
    count = min(3, len(spread))
    yield "position_variance_ratio", numbers(count), spread[:count] / spread.sum()


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
