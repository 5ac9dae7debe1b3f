import itertools
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from ontogeny.problems import check_problem, corpora, language
from ontogeny.problems.corpora import (
    END,
    chances_after,
    count_bigrams,
    draw_text,
    encode,
    open_corpus,
    rows_of,
    words_of,
)
from ontogeny.problems.texts import documents
from ontogeny.streams import random_stream

TEXTS = [f"The cat number {i} sat on the mat, and the dog saw the cat.\n" * 5 for i in range(120)]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    lines = (json.dumps({"text": text}) for text in TEXTS)
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


def test_documents_come_back_from_their_tokens(source):
    corpus = open_corpus(source, 300)
    assert corpus.tokenizer.get_vocab_size() == 300
    parts = corpus.tokenizer.decode_batch([corpus.train.tolist(), corpus.held_out.tolist()])
    assert parts[1] == "".join(TEXTS[49::50])  # one in fifty, whole
    assert len(parts[0]) + len(parts[1]) == sum(map(len, TEXTS))
    assert (corpus.train == corpus.end).sum() == 118


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


def test_the_table_of_bigrams_holds_probabilities(source):
    corpus = open_corpus(source, 300)
    chances = chances_after(corpus, torch.arange(300))
    torch.testing.assert_close(chances.sum(dim=1), torch.ones(300))


def test_rows_begin_with_the_end_token_and_go_on_with_the_text():
    rows = draw_text(rows_of(np.arange(25), 6), 99, 40, random_stream(0, "rows"))
    assert rows.shape == (40, 6)
    assert set(rows[:, 0].tolist()) == {99}
    assert set(rows[:, 1].tolist()) == {0, 5, 10, 15, 20}
    assert (rows[:, 2:] - rows[:, 1:-1] == 1).all()


def test_held_out_rows_are_all_different():
    rows = draw_text(rows_of(np.arange(25), 6), 99, 40, random_stream(0, "rows"), once=True)
    assert sorted(rows[:, 1].tolist()) == [0, 5, 10, 15, 20]
    assert len(draw_text(rows_of(np.arange(25), 6), 99, 3, random_stream(0, "rows"), True)) == 3


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


def test_a_damaged_cache_is_named(source, tmp_path):
    open_corpus(source, 300)
    (made,) = (tmp_path / "cache" / "corpora").iterdir()
    (made / "train.bin").write_bytes(b"")
    open_corpus.cache_clear()
    with pytest.raises(ValueError, match=f"{made} is damaged"):
        open_corpus(source, 300)
    (made / "train.bin").unlink()
    assert len(open_corpus(source, 300).train)


def test_texts_too_short_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    short = tmp_path / "short.txt"
    short.write_text("in the beginning " * 100)
    with pytest.raises(ValueError, match=r"makes [0-9]+ tokens and cannot make 1024"):
        language(corpus=str(short), d_vocab=1024)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(ValueError, match="there is no text in"):
        language(corpus=str(empty), d_vocab=1024)
    with pytest.raises(ValueError, match=r"the held-out part of .* too few for a row of 512"):
        language(corpus=str(short), d_vocab=258, n_ctx=512)


def test_the_hub_needs_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install 'ontogeny"):
        language(corpus="hub:somebody/something")


def test_part_of_a_dataset_is_read_from_the_net(tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, split, streaming=False):
        asked.append((name, split, streaming))
        return [{"contents": text} for text in TEXTS]

    library = ModuleType("datasets")
    library.load_dataset = load_dataset
    library.load_dataset_builder = lambda name: SimpleNamespace(cache_dir=f"/cache/{name}")
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "datasets", library)
    part, whole = open_corpus("hub:some/texts[:60]", 300), open_corpus("hub:some/texts", 300)
    assert (part.train == part.end).sum() == 59
    assert (whole.train == whole.end).sum() == 118
    assert part.tokenizer.decode(part.held_out.tolist()) == TEXTS[49]
    assert {streaming for *_, streaming in asked[:3]} == {True}
    assert {streaming for *_, streaming in asked[3:]} == {False}
    for wrong in ("hub:", "hub:some/texts[:0]", "hub:some/texts[5:]"):
        with pytest.raises(ValueError, match=r"a dataset is hub:NAME"):
            open_corpus(wrong, 300)


def part_of(number, letters):
    """In which part a text is, of parts of so many letters."""
    return sum(map(len, TEXTS[: number + 1])) // letters


@pytest.mark.parametrize("killed_after", [1, 20, 60, 119])
def test_tokenizing_goes_on_where_it_was_killed(source, tmp_path, monkeypatch, killed_after):
    whole = open_corpus(source, 300)
    tokenized = set()

    def killed(texts):
        for number, text in enumerate(documents(texts)):
            if number == killed_after:
                raise KeyboardInterrupt
            yield text

    def watched(*arguments):
        for number, tokens, is_last in encode(*arguments):
            tokenized.add(number)
            yield number, tokens, is_last

    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(corpora, "PART", 10_000)
    monkeypatch.setattr(corpora, "TOGETHER", 100)
    whole.tokenizer.save(str(tmp_path / "given.json"))
    monkeypatch.setattr(corpora, "documents", killed)
    with pytest.raises(KeyboardInterrupt):
        open_corpus.__wrapped__(source, 300, str(tmp_path / "given.json"))
    (made,) = (tmp_path / "another" / "corpora").iterdir()
    unfinished = part_of(killed_after - 1, 10_000)
    assert len(list(made.glob("parts/*.train.bin"))) == unfinished
    monkeypatch.setattr(corpora, "documents", documents)
    monkeypatch.setattr(corpora, "encode", watched)
    again = open_corpus.__wrapped__(source, 300, str(tmp_path / "given.json"))
    assert np.array_equal(again.train, whole.train)
    assert np.array_equal(again.held_out, whole.held_out)
    assert tokenized == {n for n in range(len(TEXTS)) if part_of(n, 10_000) >= unfinished}
    assert sorted(path.name for path in made.iterdir()) == sorted(corpora.FILES)


@pytest.mark.parametrize("when", [0, 60, 110])
def test_two_may_tokenize_side_by_side(source, tmp_path, monkeypatch, when):
    whole = open_corpus(source, 300)
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "another"))
    tokenizer = str(tmp_path / "given.json")
    whole.tokenizer.save(tokenizer)
    others = []

    def overtaken(texts):
        for number, text in enumerate(documents(texts)):
            if number == when and not others:
                monkeypatch.setattr(corpora, "documents", documents)
                others.append(open_corpus.__wrapped__(source, 300, tokenizer))
            yield text

    monkeypatch.setattr(corpora, "PART", 10_000)
    monkeypatch.setattr(corpora, "TOGETHER", 100)
    monkeypatch.setattr(corpora, "documents", overtaken)
    both = open_corpus.__wrapped__(source, 300, tokenizer)
    for one in (both, *others):
        assert np.array_equal(one.train, whole.train)
    assert len(others) == 1
    (made,) = (tmp_path / "another" / "corpora").iterdir()
    assert sorted(path.name for path in made.iterdir()) == sorted(corpora.FILES)


def test_a_text_that_changes_meanwhile_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    book = tmp_path / "book.txt"
    book.write_text("".join(TEXTS))

    def changing(texts):
        yield from documents(texts)
        book.write_text("another text")

    monkeypatch.setattr(corpora, "documents", changing)
    with pytest.raises(ValueError, match="changed while it was tokenized"):
        open_corpus(str(book), 300)
    assert not list((tmp_path / "cache" / "corpora").iterdir())


def test_tokens_that_are_there_need_no_source(source, tmp_path):
    made = open_corpus(source, 300)
    (tmp_path / "texts.jsonl").unlink()
    again = open_corpus(source, 300, known=made.fingerprint)
    assert np.array_equal(again.train, made.train)
    with pytest.raises(ValueError, match="there is no text at"):
        open_corpus(source, 301, known=made.fingerprint)


@pytest.mark.parametrize("end", ["\n", " \r\n", "  ", "\n\n\t "])
def test_a_long_document_is_tokenized_in_pieces_without_a_seam(source, monkeypatch, end):
    tokenizer = open_corpus(source, 300).tokenizer
    text = end.join(TEXTS[0].split("\n") * 40)
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(corpora, "TOGETHER", 100)
    pieces = list(corpora.pieces_of(["first", text]))
    assert len(pieces) > 50
    assert max(len(piece) for _, piece, _ in pieces) < 120
    tokens = [one for number, some, _ in encode(tokenizer, pieces) if number for one in some]
    assert tokens == whole


def test_a_long_document_has_several_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    book = tmp_path / "book.txt"
    book.write_text("".join(TEXTS))
    whole = open_corpus(str(book), 300)
    monkeypatch.setattr(corpora, "TOGETHER", 100)
    monkeypatch.setattr(corpora, "PART", 10_000)
    kind = np.dtype(np.uint16)
    number = corpora.write_parts(str(book), whole.tokenizer, kind, tmp_path / "parts")
    parts = [corpora.files_of_part(tmp_path / "parts", k)[0] for k in range(number)]
    assert number == book.stat().st_size // 10_000 + 1
    tokens = np.concatenate([np.fromfile(part, kind) for part in parts])
    assert np.array_equal(tokens, [*whole.train, *whole.held_out])


def test_the_end_of_a_single_document_is_held_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    book = tmp_path / "book.txt"
    book.write_text("".join(TEXTS))
    corpus = open_corpus(str(book), 300)
    count = len(corpus.train) + len(corpus.held_out)
    assert len(corpus.held_out) == count // 50
    both = corpus.tokenizer.decode([*corpus.train.tolist(), *corpus.held_out.tolist()])
    assert both == "".join(TEXTS)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    corpus.tokenizer.save(str(tmp_path / "given.json"))
    with pytest.raises(ValueError, match="there is no text in"):
        open_corpus(str(empty), 300, str(tmp_path / "given.json"))


def test_too_short_a_held_out_document_is_not_all_that_is_held_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    texts = [*TEXTS[:49], "short", *TEXTS[49:59]]
    source = tmp_path / "texts.jsonl"
    source.write_text("\n".join(json.dumps({"text": None, "content": text}) for text in texts))
    corpus = open_corpus(str(source), 300)
    assert corpus.tokenizer.decode(corpus.held_out.tolist()).startswith("short")
    assert len(corpus.held_out) >= len(corpus.train) // 50


def test_words_have_the_length_that_was_asked_for(source):
    corpus = open_corpus(source, 264)  # few merges, so that words have several tokens
    words = words_of(corpus, 2)
    assert words.shape[1] == 2
    texts = corpus.tokenizer.decode_batch(words.tolist())
    assert texts
    assert all(text.strip().isalpha() for text in texts)


def test_a_text_is_a_problem(source):
    check_problem(language(corpus=source, d_vocab=300, n_ctx=16, d_model=16, n_heads=2))


def test_bad_tokenizers_get_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"colour": 1}\n')
    with pytest.raises(ValueError, match="is not the file of a tokenizer"):
        language(corpus=str(broken), d_vocab=300, tokenizer=str(broken))
    with pytest.raises(ValueError, match="too few for a row of 9"):
        rows_of(np.arange(5), 9)
