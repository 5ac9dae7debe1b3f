"""Texts as files of tokens, made once: a tokenizer, and what it says, part by part.

The documents of a text (`ontogeny.problems.texts`) are tokenized a little at a time, into files in
a folder of the cache whose name is a hash of the content and the tokenizer. One document in fifty
is held out, whole.
"""

import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from jaxtyping import Integer
from scipy import sparse
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ontogeny.problems.texts import count_documents, documents, fingerprint
from ontogeny.progress import progress
from ontogeny.storage import remove_leftovers, whole_file

HELD_OUT = 50  # one document in so many
PIECE = 10_000_000  # tokens whose bigrams are counted at a time
END = "<|endoftext|>"  # between documents, and first in each row
TOGETHER = 2_000_000  # letters that are tokenized side by side
PART = 200_000_000  # letters that are not tokenized again; a tokenizer is trained on the first
FORMAT = 4  # of the files in the cache
FILES = ("tokenizer.json", "train.bin", "held_out.bin", "bigrams.npz")
PARTS = "parts"
WORD_END = re.compile(r"\S(?=[ \t\r\n])")  # no token of a byte-level BPE goes on there

T = TypeVar("T", bound=tuple[Any, ...])


def cache_folder() -> Path:
    """Where token arrays are kept: `ONTOGENY_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("ONTOGENY_CACHE", Path.home() / ".cache" / "ontogeny")) / "corpora"


def folder_of(content: str, d_vocab: int, given: bytes) -> Path:
    """Where the tokens of a text with some fingerprint are, for a size or file of a tokenizer."""
    key = hashlib.blake2b(given, digest_size=8)
    key.update(f"{FORMAT} {content} {d_vocab}".encode())
    return cache_folder() / key.hexdigest()


def is_whole(folder: Path) -> bool:
    """Whether all files of a text are there."""
    return all((folder / name).exists() for name in FILES)


def make_tokens(source: str, d_vocab: int, given: bytes, content: str) -> Path:
    """Tokenize a source whose fingerprint is known, unless that was done; where its tokens are."""
    folder = folder_of(content, d_vocab, given)
    if not is_whole(folder):
        for place in (folder, folder / PARTS):
            remove_leftovers(place)
        try:
            write_tokens(source, d_vocab, given, content, folder)
        except FileNotFoundError:
            if not is_whole(folder):  # else another process has put the parts together
                raise
    shutil.rmtree(folder / PARTS, ignore_errors=True)  # another process may be writing there
    return folder


def read_tokenizer(path: str) -> bytes:
    """The content of a tokenizer's file.

    Raises:
        ValueError: There is none, or it is no tokenizer.
    """
    try:
        content = Path(path).read_bytes()
        Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises nothing more particular
        raise ValueError(f"{path} is not the file of a tokenizer: {error}") from None
    return content


def size_of_tokenizer(path: str) -> int:
    """How many tokens the tokenizer in a file has.

    Raises:
        ValueError: There is none in it.
    """
    return Tokenizer.from_str(read_tokenizer(path).decode()).get_vocab_size()


def made_tokenizer(source: str, d_vocab: int, given: bytes, path: Path) -> Tokenizer:
    """The tokenizer of a source, kept in a file: the one given, or one trained on the text.

    Raises:
        ValueError: It has not `d_vocab` tokens, or none to stand between documents.
    """
    if path.exists():
        return Tokenizer.from_file(str(path))
    made = Tokenizer.from_str(given.decode()) if given else train_tokenizer(source, d_vocab)
    made.no_truncation()
    made.no_padding()
    size = made.get_vocab_size()
    if size != d_vocab and not given:
        raise ValueError(f"{source} makes {size} tokens and cannot make {d_vocab} (--d-vocab)")
    if size != d_vocab:
        raise ValueError(f"the tokenizer has {size} tokens and must have {d_vocab}")
    if made.token_to_id(END) is None:
        raise ValueError(f"the tokenizer has no token {END}, which stands between documents")
    with whole_file(path) as file:
        file.write(made.to_str().encode())
    return made


def train_tokenizer(source: str, d_vocab: int) -> Tokenizer:
    """A byte-level BPE with a given number of tokens, of the first part; end token last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    first = next(in_groups(pieces_of(documents(source)), PART))
    tokenizer.train_from_iterator((piece for _, piece, _ in first), trainer)
    tokenizer.add_special_tokens([END])
    return tokenizer


def write_tokens(source: str, d_vocab: int, given: bytes, content: str, folder: Path) -> None:
    """Tokenize a source into files, each whole or not at all; parts done before stay done.

    The last of them is written only if the text is still the same: else there are none.
    """
    if not any(documents(source)):
        raise ValueError(f"there is no text in {source!r}")
    tokenizer = made_tokenizer(source, d_vocab, given, folder / "tokenizer.json")
    kind = np.min_scalar_type(d_vocab)
    parts = folder / PARTS
    number = write_parts(source, tokenizer, kind, parts)
    with whole_file(folder / "train.bin") as train, whole_file(folder / "held_out.bin") as held_out:
        for part in range(number):
            for path, file in zip(files_of_part(parts, part), (train, held_out), strict=True):
                with path.open("rb") as some:
                    shutil.copyfileobj(some, file)
        # Few documents, such as one book, or short ones held out: the end of the text is too.
        if held_out.tell() * 2 * HELD_OUT < train.tell():
            move_end(train, held_out, kind.itemsize)
    if fingerprint(source) != content:
        shutil.rmtree(folder)
        raise ValueError(f"{source} changed while it was tokenized; start again")
    with whole_file(folder / "bigrams.npz") as file:
        sparse.save_npz(file, count_bigrams(np.memmap(folder / "train.bin", kind, "r"), d_vocab))


def write_parts(source: str, tokenizer: Tokenizer, kind: "np.dtype[Any]", folder: Path) -> int:
    """Tokenize the parts of a source that have not been yet; how many parts it has."""
    end = np.array([tokenizer.token_to_id(END)], dtype=kind)
    number = 0
    with progress("tokenizing", count_documents(source)) as advance:
        for part in in_groups(pieces_of(documents(source)), PART):
            train_file, held_out_file = files_of_part(folder, number)
            number += 1
            if train_file.exists():
                advance(sum(is_last for *_, is_last in part))
                continue
            # What is opened first appears last: where it is, both are.
            with whole_file(train_file) as train, whole_file(held_out_file) as held_out:
                for document, tokens, is_last in encode(tokenizer, part):
                    file = held_out if document % HELD_OUT == HELD_OUT - 1 else train
                    file.write(np.array(tokens, dtype=kind).tobytes())
                    if is_last:
                        file.write(end.tobytes())
                        advance(1)
    return number


def encode(
    tokenizer: Tokenizer, pieces: Iterable[tuple[int, str, bool]]
) -> Iterator[tuple[int, list[int], bool]]:
    """The tokens of each piece, with its document's number and whether it is the last.

    Text needs a hundred times its size while it is tokenized, so little is at once.
    """
    for some in map(list, in_groups(pieces, TOGETHER)):
        texts = [piece for _, piece, _ in some]
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for (document, _, is_last), one in zip(some, encoded, strict=True):
            yield document, one.ids, is_last


def pieces_of(texts: Iterable[str]) -> Iterator[tuple[int, str, bool]]:
    """Documents, long ones in pieces that end with a word.

    Yields:
        The number of a document, a piece of it, and whether it is the last.

    Examples:
        >>> list(pieces_of(["one", "two three"]))
        [(0, 'one', True), (1, 'two three', True)]
    """
    for document, text in enumerate(texts):
        start = 0
        while match := WORD_END.search(text, start + TOGETHER):
            yield document, text[start : match.end()], False
            start = match.end()
        yield document, text[start:], True


def in_groups(items: Iterable[T], letters: int) -> Iterator[Iterator[T]]:
    """Consecutive items of number and text, each group of about so many letters.

    Examples:
        >>> [list(some) for some in in_groups([(0, "ab"), (1, "c"), (2, "def")], 3)]
        [[(0, 'ab')], [(1, 'c')], [(2, 'def')]]
    """
    total = 0

    def group_of(item: T) -> int:
        nonlocal total
        total += len(item[1])
        return total // letters

    for _, some in itertools.groupby(items, group_of):
        yield some


def files_of_part(folder: Path, part: int) -> tuple[Path, Path]:
    """Where the tokens of one part are until all are there: for training, and held out."""
    return folder / f"{part}.train.bin", folder / f"{part}.held_out.bin"


def move_end(source: IO[bytes], target: IO[bytes], width: int) -> None:
    """Move the last part of a file of tokens, of that many bytes each, to another file."""
    count = source.tell() // width
    first = (count - max(1, count // HELD_OUT)) * width
    source.seek(first)
    target.write(source.read())
    source.seek(first)
    source.truncate()


def count_bigrams(tokens: Integer[np.ndarray, " token"], d_vocab: int) -> sparse.csr_array:
    """How often each token follows each other, counted in one pass, for any vocabulary.

    Examples:
        >>> count_bigrams(np.array([0, 1, 1, 0, 1]), 2).toarray().tolist()
        [[0.0, 2.0], [1.0, 1.0]]
    """
    total = sparse.csr_array((d_vocab, d_vocab))
    for start in range(0, len(tokens) - 1, PIECE):
        part = tokens[start : start + PIECE + 1].astype(np.int64)
        ones = np.ones(len(part) - 1)
        counted = sparse.coo_array((ones, (part[:-1], part[1:])), shape=(d_vocab, d_vocab))
        total = sparse.csr_array(total + counted.tocsr())
    return total
