"""Text as rows of tokens: what is drawn from it, and what is known of it.

The tokens are made once (`ontogeny.problems.tokenizing`) and are memory-mapped after that.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from scipy import sparse
from tokenizers import Tokenizer
from torch import Tensor

from ontogeny.problems.texts import fingerprint
from ontogeny.problems.tokenizing import (
    END,
    FILES,
    folder_of,
    is_whole,
    make_tokens,
    read_tokenizer,
)

WORDS = 1000  # of each length whose last token is predicted
READ = 500_000  # held-out tokens among which words are looked for


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, tokenized.

    Attributes:
        fingerprint: Of the text, which changes with it.
        tokenizer: Of the text.
        train: Its tokens, documents one after another, each followed by the end token.
        held_out: Those of the documents that nothing is trained on.
        bigrams: How often each token follows each other in `train`, for pairs that do.
    """

    fingerprint: str
    tokenizer: Tokenizer
    train: Integer[np.ndarray, " token"]
    held_out: Integer[np.ndarray, " held_out_token"]
    bigrams: sparse.csr_array

    @property
    def end(self) -> int:
        """The token between documents."""
        token: int = self.tokenizer.token_to_id(END)  # type: ignore[assignment]
        return token


@lru_cache(maxsize=4)
def open_corpus(source: str, d_vocab: int, tokenizer: str = "", known: str = "") -> Corpus:
    """A source as tokens; they are made the first time, and memory-mapped after that.

    Args:
        source: Which text.
        d_vocab: Tokens in the vocabulary, with the end token.
        tokenizer: The file of a tokenizer, in the format of the library `tokenizers`; by default a
            byte-level BPE of this size is trained on the text, its first 200 million letters.
        known: The fingerprint of the text; where its tokens are there, the source is not looked at.

    Raises:
        ValueError: There is no such source or tokenizer, it has not `d_vocab` tokens, or the text
            is not the one that is known, or changed while it was tokenized.
    """
    given = read_tokenizer(tokenizer) if tokenizer else b""
    content = known if known and is_whole(folder_of(known, d_vocab, given)) else fingerprint(source)
    if known not in ("", content):
        raise ValueError(f"{source} is not the text that it was when this run began")
    folder = make_tokens(source, d_vocab, given, content)
    tokenizer_file, train, held_out, bigrams = (folder / name for name in FILES)
    try:
        return Corpus(
            fingerprint=content,
            tokenizer=Tokenizer.from_file(str(tokenizer_file)),
            train=np.memmap(train, np.min_scalar_type(d_vocab), mode="r"),
            held_out=np.memmap(held_out, np.min_scalar_type(d_vocab), mode="r"),
            bigrams=sparse.csr_array(sparse.load_npz(bigrams)),
        )
    except Exception as error:  # each of the libraries has exceptions of its own
        raise ValueError(f"{folder} is damaged ({error}); delete it to tokenize again") from None


def rows_of(
    tokens: Integer[np.ndarray, " token"], n_ctx: int, name: str = "the text"
) -> Integer[np.ndarray, "row width"]:
    """An array of tokens cut into rows of one less than fit, for the end token goes before them.

    Raises:
        ValueError: The text is shorter than one row.
    """
    width = n_ctx - 1
    rows = len(tokens) // width
    if not rows:
        raise ValueError(f"{name} has {len(tokens):,} tokens, too few for a row of {n_ctx}")
    return tokens[: rows * width].reshape(rows, width)


def draw_text(
    rows: Integer[np.ndarray, "row width"],
    end: int,
    n: int,
    generator: torch.Generator,
    once: bool = False,
) -> Int[Tensor, "drawn position"]:
    """Draw rows, with the end token before each: with replacement, or each at most once.

    Returns:
        As many as were asked for; drawn once, at most as many as there are.
    """
    count, device = len(rows), generator.device
    if once:
        chosen = torch.randperm(count, generator=generator, device=device)[:n].cpu()
    else:
        chosen = torch.randint(count, (n,), generator=generator, device=device).cpu()
    body = torch.from_numpy(rows[chosen.numpy()].astype(np.int64)).to(device)
    return torch.nn.functional.pad(body, (1, 0), value=end)


def chances_after(corpus: Corpus, tokens: Int[Tensor, "..."]) -> Float[Tensor, "... d_vocab"]:
    """The table of bigrams: the probabilities of what follows some tokens in the training text.

    Anything may follow a token that never occurs in it.
    """
    rows = corpus.bigrams[tokens.flatten().cpu().numpy()].toarray()
    total = rows.sum(axis=1, keepdims=True)
    chances = np.where(total, rows / np.maximum(total, 1), 1 / rows.shape[1])
    return torch.from_numpy(chances).float().to(tokens.device).view(*tokens.shape, -1)


def vocabulary_of(corpus: Corpus) -> tuple[str, ...]:
    """The text of each token; part of a letter has none, and that between documents is a sign."""
    size = corpus.tokenizer.get_vocab_size()
    texts = corpus.tokenizer.decode_batch([[token] for token in range(size)])
    return tuple("¶" if token == corpus.end else text for token, text in enumerate(texts))


@lru_cache(maxsize=16)
def words_of(corpus: Corpus, length: int) -> Int[Tensor, "word token"]:
    """The most frequent words of the held-out text that have a given number of tokens.

    A word is a run of letters with the space before it, which is part of its first token, as in the
    paper. No rows if there is none.
    """
    text = corpus.tokenizer.decode(corpus.held_out[:READ].tolist())
    words = [word for word, _ in Counter(re.findall(r" [^\W\d_]+", text)).most_common()]
    encoded = corpus.tokenizer.encode_batch(words, add_special_tokens=False)
    tokens = [one.ids for one in encoded]
    space = corpus.tokenizer.encode(" ", add_special_tokens=False).ids
    chosen = [ids for ids in tokens if len(ids) == length and ids[:1] != space][:WORDS]
    return torch.tensor(chosen, dtype=torch.long).reshape(len(chosen), length)
