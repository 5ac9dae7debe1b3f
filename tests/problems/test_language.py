"""The language model is a problem, and the paper's model is one of its sizes."""

import math

import numpy as np
import pytest
import torch

from ontogeny.probes.outputs import Sketch, record_gradients
from ontogeny.problems import check_problem, untrained
from ontogeny.problems.corpora import open_corpus
from ontogeny.problems.language import (
    completes_induction,
    components_of,
    language,
    sites_of,
)
from ontogeny.problems.language_data import Language, letters
from ontogeny.problems.trigger_bigrams import TriggerBigrams, bigram_chances
from ontogeny.streams import random_stream

SMALL = {"d_vocab": 8, "n_ctx": 16, "d_model": 16, "n_heads": 2, "triggers": 2}


@pytest.mark.parametrize(("layers", "parameters"), [(1, 3_091_336), (2, 3_355_016)])
def test_the_models_of_the_paper(layers, parameters):
    problem = language(d_vocab=5000, n_ctx=1024, n_heads=8, d_model=256, n_layers=layers)
    model = untrained(problem, seed=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_initial_norm_is_the_papers():
    problem = language(d_vocab=5000, n_ctx=1024, n_heads=8, d_model=256)
    model = untrained(problem, seed=1)
    norm = sum(p.double().square().sum() for p in model.parameters()).sqrt().item()
    # 3.35 million normal weights of variance 0.0025: the norm is known to 0.05/sqrt(2).
    assert norm == pytest.approx(95.57, abs=4 * 0.05 / math.sqrt(2))


def test_it_is_a_problem():
    check_problem(language(**SMALL))


def test_every_weight_has_one_component():
    model = untrained(language(**SMALL), seed=0)
    parts = components_of(model)
    for name, parameter in model.named_parameters():
        covered = sum(masks[name].long() for masks in parts.values() if name in masks)
        assert torch.equal(covered, torch.ones_like(parameter, dtype=torch.long)), name


def test_outputs_are_the_logits_of_what_comes_next():
    problem = language(**SMALL)
    model = untrained(problem, seed=0).eval()
    (tokens,) = batch = problem.batch(5, random_stream(0, "rows"))
    setting_sites = problem.references(batch).labels[:, :4]
    with torch.no_grad():
        logits = model(tokens)
        outputs = problem.outputs(model, batch).flatten()
    for (row, position, token, true), value in zip(setting_sites, outputs, strict=True):
        assert tokens[row, position] == token
        assert tokens[row, position + 1] == true
        torch.testing.assert_close(logits[row, position, true], value)


def test_gradients_of_fewer_rows_than_asked_for_are_of_their_mean(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path))
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and the dog sat too. " * 200)
    problem = language(corpus=str(text), d_vocab=265, n_ctx=16, d_model=16, n_heads=2)
    state = untrained(problem, seed=0).state_dict()
    few, many = (
        record_gradients(problem, 0, state, Sketch(examples=n)).values for n in (1000, 2000)
    )
    np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-7)


def test_a_text_that_has_changed_is_refused_where_its_tokens_are_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and the dog sat too. " * 200)
    problem = language(corpus=str(text), d_vocab=265, n_ctx=16, d_model=16, n_heads=2)
    open_corpus.cache_clear()
    assert language(**problem.settings).settings == problem.settings
    text.write_text("the dog sat on the mat, and the cat sat too. " * 200)
    open_corpus.cache_clear()
    assert language(**problem.settings).settings == problem.settings
    open_corpus.cache_clear()
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="is not the text that it was when this run began"):
        language(**problem.settings)


def test_sites_are_the_same_for_fewer_rows():
    setting = Language(**SMALL)
    tokens = torch.zeros(40, 16, dtype=torch.long)
    assert torch.equal(sites_of(setting, tokens)[:20], sites_of(setting, tokens[:20]))


def test_induction_is_a_bigram_seen_before():
    tokens = torch.tensor([[0, 1, 2, 0, 1, 0]])
    sites = torch.arange(5)[None]
    assert completes_induction(tokens, sites).tolist() == [[0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sites": 0}, "sites must be 1 to 63"),
        ({"sites": -1}, "sites must be a whole number, 0 or more"),
        ({"d_model": True}, "d_model must be a whole number"),
        ({"triggers": 40}, "there can be 0 to 31 triggers"),
        ({"sharpness": -1.0}, "sharpness must be at least 0"),
        ({"n_heads": 3}, "3 heads do not divide"),
        ({"n_ctx": 4, "sites": 1}, "n_ctx must be at least 8"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_settings_get_one_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        language(**settings)


def test_tokens_of_the_synthetic_language_can_be_read():
    assert language(**SMALL).vocabulary() == tuple("abcdefgh")
    assert len(set(letters(100))) == 100


def test_outputs_are_labelled_with_their_context():
    problem = language(**SMALL)
    (tokens,) = batch = problem.batch(5, random_stream(0, "rows"))
    known = problem.references(batch)
    assert known.label_names[5:] == tuple(f"before_{k}" for k in range(5, 0, -1))
    for row, position, _, _, _, *before in known.labels.tolist():
        there = [-1] * 5 + tokens[row].tolist()
        assert before == there[position : position + 5]


def test_the_table_of_bigrams_is_a_reference_with_mean_zero():
    problem = language(**SMALL)
    batch = problem.batch(40, random_stream(0, "rows"))
    known = problem.references(batch)
    world = TriggerBigrams(8, 16, 2)
    log = bigram_chances(world, torch.arange(8)).log()
    logits = log - log.mean(dim=1, keepdim=True)
    token, following = torch.from_numpy(known.labels[:, 2:4]).T
    torch.testing.assert_close(torch.from_numpy(known.values[0]).float(), logits[token, following])


def test_a_table_with_zeros_is_no_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and the dog sat on the cat. " * 200)
    problem = language(corpus=str(text), d_vocab=270, n_ctx=16, d_model=16, n_heads=2)
    known = problem.references(problem.batch(2, random_stream(0, "rows")))
    assert (known.names, known.values.shape) == ((), (0, 8))
    assert known.vocabulary[known.labels[0, 2]]
