"""The rows of tokens that a language model learns from: a text, or the synthetic language."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from string import ascii_letters
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ontogeny.problems.corpora import (
    chances_after,
    draw_text,
    open_corpus,
    rows_of,
    vocabulary_of,
    words_of,
)
from ontogeny.problems.trigger_bigrams import TriggerBigrams, bigram_chances, draw_rows


@dataclass(frozen=True)
class Language:
    """A language and the transformer that learns it.

    Attributes:
        corpus: The text, as in `ontogeny.problems.texts`; the trigger-bigram language if empty.
        fingerprint: Of the text; if given, it must not have changed, unless its tokens are there.
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
    fingerprint: str = ""
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
        counts = dict.fromkeys(("d_vocab", "n_ctx", "n_layers", "n_heads", "d_model"), 1)
        for name, least in {**counts, "triggers": 0, "sites": 0, "table_seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number, {least} or more, not {value}")
        if not self.corpus and (self.tokenizer or self.fingerprint):
            raise ValueError("a tokenizer and a fingerprint are of a text, and there is no corpus")
        if self.n_ctx < 8:
            raise ValueError(f"n_ctx must be at least 8, not {self.n_ctx}")
        if not 1 <= self.sites < self.n_ctx:
            raise ValueError(f"sites must be 1 to {self.n_ctx - 1} in a row, not {self.sites}")


class Source(NamedTuple):
    """Where rows of tokens come from.

    Attributes:
        train: Draws rows to learn from: how many, and with which generator.
        held_out: Draws rows to be tested on, all different: of a text, at most as many as it has.
        chances: The table of bigrams: of some tokens, the probabilities of what follows each.
        vocabulary: The text of each token.
        words: Words of a given number of tokens, with the token that begins a row before them; of
            a language that has words.
        end: The token that begins a row, where one does.
        fingerprint: Of the text.
    """

    train: Callable[[int, torch.Generator], Tensor]
    held_out: Callable[[int, torch.Generator], Tensor]
    chances: Callable[[Tensor], Tensor]
    vocabulary: tuple[str, ...]
    words: Callable[[int], Tensor] | None = None
    end: int | None = None
    fingerprint: str = ""


def source_of(setting: Language) -> Source:
    """The rows that a setting names.

    Raises:
        ValueError: There is no such text, it has changed, or it has not one row to learn from and
            one to test on.
    """
    if setting.corpus:
        corpus = open_corpus(
            setting.corpus, setting.d_vocab, setting.tokenizer, setting.fingerprint
        )
        pieces = {
            name: rows_of(tokens, setting.n_ctx, f"the {name} part of {setting.corpus}")
            for name, tokens in (("training", corpus.train), ("held-out", corpus.held_out))
        }

        def words(length: int) -> Tensor:
            return functional.pad(words_of(corpus, length), (1, 0), value=corpus.end)

        return Source(
            train=partial(draw_text, pieces["training"], corpus.end),
            held_out=partial(draw_text, pieces["held-out"], corpus.end, once=True),
            chances=partial(chances_after, corpus),
            vocabulary=vocabulary_of(corpus),
            words=words,
            end=corpus.end,
            fingerprint=corpus.fingerprint,
        )
    world = TriggerBigrams(
        setting.d_vocab,
        setting.n_ctx,
        setting.triggers,
        setting.sharpness,
        setting.second_order,
        setting.table_seed,
    )
    rows = partial(draw_rows, world)
    return Source(rows, rows, partial(bigram_chances, world), letters(setting.d_vocab))


def letters(d_vocab: int) -> tuple[str, ...]:
    """Texts of the tokens of a synthetic language: letters, or numbers if there are too many.

    Examples:
        >>> letters(3)
        ('a', 'b', 'c')
    """
    if d_vocab <= len(ascii_letters):
        return tuple(ascii_letters[:d_vocab])
    return tuple(f" {i}" for i in range(d_vocab))
