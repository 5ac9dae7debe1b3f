import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from ontogeny.problems import check_problem, language
from ontogeny.problems.corpora import (
    chances_after,
    draw_text,
    open_corpus,
    rows_of,
    words_of,
)
from ontogeny.streams import random_stream


def test_documents_come_back_from_their_tokens(texts, source):
    corpus = open_corpus(source, 300)
    assert corpus.tokenizer.get_vocab_size() == 300
    parts = corpus.tokenizer.decode_batch([corpus.train.tolist(), corpus.held_out.tolist()])
    assert parts[1] == "".join(texts[49::50])  # one in fifty, whole
    assert len(parts[0]) + len(parts[1]) == sum(map(len, texts))
    assert (corpus.train == corpus.end).sum() == 118


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


def test_a_row_must_be_filled():
    with pytest.raises(ValueError, match="too few for a row of 9"):
        rows_of(np.arange(5), 9)


def test_held_out_rows_are_all_different():
    rows = draw_text(rows_of(np.arange(25), 6), 99, 40, random_stream(0, "rows"), once=True)
    assert sorted(rows[:, 1].tolist()) == [0, 5, 10, 15, 20]
    assert len(draw_text(rows_of(np.arange(25), 6), 99, 3, random_stream(0, "rows"), True)) == 3


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


def test_part_of_a_dataset_is_read_from_the_net(texts, tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, split, streaming=False):
        asked.append((name, split, streaming))
        return [{"contents": text} for text in texts]

    library = ModuleType("datasets")
    library.load_dataset = load_dataset
    library.load_dataset_builder = lambda name: SimpleNamespace(cache_dir=f"/cache/{name}")
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "datasets", library)
    part, whole = open_corpus("hub:some/texts[:60]", 300), open_corpus("hub:some/texts", 300)
    assert (part.train == part.end).sum() == 59
    assert (whole.train == whole.end).sum() == 118
    assert part.tokenizer.decode(part.held_out.tolist()) == texts[49]
    assert {streaming for *_, streaming in asked[:3]} == {True}
    assert {streaming for *_, streaming in asked[3:]} == {False}
    for wrong in ("hub:", "hub:some/texts[:0]", "hub:some/texts[5:]"):
        with pytest.raises(ValueError, match=r"a dataset is hub:NAME"):
            open_corpus(wrong, 300)


def test_tokens_that_are_there_need_no_source(source, tmp_path):
    made = open_corpus(source, 300)
    (tmp_path / "texts.jsonl").unlink()
    again = open_corpus(source, 300, known=made.fingerprint)
    assert np.array_equal(again.train, made.train)
    with pytest.raises(ValueError, match="there is no text at"):
        open_corpus(source, 301, known=made.fingerprint)


def test_words_have_the_length_that_was_asked_for(source):
    corpus = open_corpus(source, 264)  # few merges, so that words have several tokens
    words = words_of(corpus, 2)
    assert words.shape[1] == 2
    texts = corpus.tokenizer.decode_batch(words.tolist())
    assert texts
    assert all(text.strip().isalpha() for text in texts)


def test_a_text_is_a_problem(source):
    check_problem(language(corpus=source, d_vocab=300, n_ctx=16, d_model=16, n_heads=2))
