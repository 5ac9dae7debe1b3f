import itertools
import json

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from ontogeny.problems import language, tokenizing
from ontogeny.problems.corpora import open_corpus, words_of
from ontogeny.problems.texts import documents
from ontogeny.problems.tokenizing import END, count_bigrams, encode


def test_tokens_are_made_once(source, tmp_path):
    open_corpus(source, 300)
    (made,) = (tmp_path / "cache" / "corpora").iterdir()
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    open_corpus.cache_clear()
    open_corpus(source, 300)
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_bigrams_are_those_of_a_plain_count():
    tokens = np.random.default_rng(0).integers(0, 7, 1000).astype(np.uint8)
    plain = np.zeros((7, 7))
    for pair in itertools.pairwise(tokens):
        plain[pair] += 1
    assert np.array_equal(count_bigrams(tokens, 7).toarray(), plain)


def test_a_tokenizer_neither_cuts_nor_pads(source, tmp_path):
    plain = open_corpus(source, 300)
    path = tmp_path / "cutting.json"
    cutting = Tokenizer.from_str(plain.tokenizer.to_str())
    cutting.enable_truncation(5)
    cutting.enable_padding(length=50)
    cutting.post_processor = TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, plain.end)]
    )
    cutting.save(str(path))
    same = open_corpus(source, 300, str(path))
    assert np.array_equal(same.train, plain.train)
    assert np.array_equal(words_of(same, 2), words_of(plain, 2))


def test_the_end_of_a_single_document_is_held_out(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    book = tmp_path / "book.txt"
    book.write_text("".join(texts))
    corpus = open_corpus(str(book), 300)
    count = len(corpus.train) + len(corpus.held_out)
    assert len(corpus.held_out) == count // 50
    both = corpus.tokenizer.decode([*corpus.train.tolist(), *corpus.held_out.tolist()])
    assert both == "".join(texts)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    corpus.tokenizer.save(str(tmp_path / "given.json"))
    with pytest.raises(ValueError, match="there is no text in"):
        open_corpus(str(empty), 300, str(tmp_path / "given.json"))


def test_too_short_a_held_out_document_is_not_all_that_is_held_out(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    texts = [*texts[:49], "short", *texts[49:59]]
    source = tmp_path / "texts.jsonl"
    source.write_text("\n".join(json.dumps({"text": None, "content": text}) for text in texts))
    corpus = open_corpus(str(source), 300)
    assert corpus.tokenizer.decode(corpus.held_out.tolist()).startswith("short")
    assert len(corpus.held_out) >= len(corpus.train) // 50


def part_of(texts, number, letters):
    """In which part a text is, of parts of so many letters."""
    return sum(map(len, texts[: number + 1])) // letters


@pytest.mark.parametrize("killed_after", [1, 20, 60, 119])
def test_tokenizing_goes_on_where_it_was_killed(texts, source, tmp_path, monkeypatch, killed_after):
    whole = open_corpus(source, 300)
    tokenized = set()

    def killed(source):
        for number, text in enumerate(documents(source)):
            if number == killed_after:
                raise KeyboardInterrupt
            yield text

    def watched(*arguments):
        for number, tokens, is_last in encode(*arguments):
            tokenized.add(number)
            yield number, tokens, is_last

    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(tokenizing, "PART", 10_000)
    monkeypatch.setattr(tokenizing, "TOGETHER", 100)
    whole.tokenizer.save(str(tmp_path / "given.json"))
    monkeypatch.setattr(tokenizing, "documents", killed)
    with pytest.raises(KeyboardInterrupt):
        open_corpus.__wrapped__(source, 300, str(tmp_path / "given.json"))
    (made,) = (tmp_path / "another" / "corpora").iterdir()
    unfinished = part_of(texts, killed_after - 1, 10_000)
    assert len(list(made.glob("parts/*.train.bin"))) == unfinished
    monkeypatch.setattr(tokenizing, "documents", documents)
    monkeypatch.setattr(tokenizing, "encode", watched)
    again = open_corpus.__wrapped__(source, 300, str(tmp_path / "given.json"))
    assert np.array_equal(again.train, whole.train)
    assert np.array_equal(again.held_out, whole.held_out)
    assert tokenized == {n for n in range(len(texts)) if part_of(texts, n, 10_000) >= unfinished}
    assert sorted(path.name for path in made.iterdir()) == sorted(tokenizing.FILES)


@pytest.mark.parametrize("when", [0, 60, 110])
def test_two_may_tokenize_side_by_side(source, tmp_path, monkeypatch, when):
    whole = open_corpus(source, 300)
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "another"))
    tokenizer = str(tmp_path / "given.json")
    whole.tokenizer.save(tokenizer)
    others = []

    def overtaken(source):
        for number, text in enumerate(documents(source)):
            if number == when and not others:
                monkeypatch.setattr(tokenizing, "documents", documents)
                others.append(open_corpus.__wrapped__(source, 300, tokenizer))
            yield text

    monkeypatch.setattr(tokenizing, "PART", 10_000)
    monkeypatch.setattr(tokenizing, "TOGETHER", 100)
    monkeypatch.setattr(tokenizing, "documents", overtaken)
    both = open_corpus.__wrapped__(source, 300, tokenizer)
    for one in (both, *others):
        assert np.array_equal(one.train, whole.train)
    assert len(others) == 1
    (made,) = (tmp_path / "another" / "corpora").iterdir()
    assert sorted(path.name for path in made.iterdir()) == sorted(tokenizing.FILES)


def test_a_text_that_changes_meanwhile_is_refused_and_leaves_nothing(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    book = tmp_path / "book.txt"
    book.write_text("".join(texts))

    def changing(source):
        yield from documents(source)
        book.write_text("another text")

    monkeypatch.setattr(tokenizing, "documents", changing)
    with pytest.raises(ValueError, match="changed while it was tokenized"):
        open_corpus(str(book), 300)
    assert not list((tmp_path / "cache" / "corpora").iterdir())


@pytest.mark.parametrize("end", ["\n", " \r\n", "  ", "\n\n\t "])
def test_a_long_document_is_tokenized_in_pieces_without_a_seam(texts, source, monkeypatch, end):
    tokenizer = open_corpus(source, 300).tokenizer
    text = end.join(texts[0].split("\n") * 40)
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(tokenizing, "TOGETHER", 100)
    pieces = list(tokenizing.pieces_of(["first", text]))
    assert len(pieces) > 50
    assert max(len(piece) for _, piece, _ in pieces) < 120
    tokens = [one for number, some, _ in encode(tokenizer, pieces) if number for one in some]
    assert tokens == whole


def test_a_long_document_has_several_parts(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    book = tmp_path / "book.txt"
    book.write_text("".join(texts))
    whole = open_corpus(str(book), 300)
    monkeypatch.setattr(tokenizing, "TOGETHER", 100)
    monkeypatch.setattr(tokenizing, "PART", 10_000)
    kind = np.dtype(np.uint16)
    number = tokenizing.write_parts(str(book), whole.tokenizer, kind, tmp_path / "parts")
    parts = [tokenizing.files_of_part(tmp_path / "parts", k)[0] for k in range(number)]
    assert number == book.stat().st_size // 10_000 + 1
    tokens = np.concatenate([np.fromfile(part, kind) for part in parts])
    assert np.array_equal(tokens, [*whole.train, *whole.held_out])


def test_bad_tokenizers_get_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"colour": 1}\n')
    with pytest.raises(ValueError, match="is not the file of a tokenizer"):
        language(corpus=str(broken), d_vocab=300, tokenizer=str(broken))
