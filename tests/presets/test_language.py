"""The plans of the language model are what the presets promise."""

import json

import pytest
import torch

from ontogeny.plans import plan_as_json
from ontogeny.presets import plan_language
from ontogeny.probes import measure_metrics, record_outputs, sample_chains
from ontogeny.problems import check_problem, untrained
from ontogeny.problems.tokenizing import train_tokenizer
from ontogeny.training import checkpoint_steps


def asked(plan, probe):
    return next((settings, steps) for p, settings, steps in plan.measurements if p is probe)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A small text, and a cache of its own."""
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "book.txt"
    path.write_text("the cat sat on the mat, and the dog sat on the cat. " * 6000)
    return path


@pytest.fixture
def tokenizer(book, tmp_path):
    """The file of a tokenizer with 270 tokens."""
    path = tmp_path / "tokenizer.json"
    train_tokenizer(str(book), 270).save(str(path))
    return path


def made(size, book, tokenizer):
    text = {} if size == "quick" else {"corpus": str(book), "tokenizer": str(tokenizer)}
    return plan_language(size, 3, **text)


@pytest.mark.parametrize("size", ["quick", "standard", "paper"])
def test_plans_can_be_carried_out(size, book, tokenizer):
    plan = made(size, book, tokenizer)
    kept = set(checkpoint_steps(plan.training).tolist())
    assert all(set(steps.tolist()) <= kept for _, _, steps in plan.measurements)
    assert json.loads(json.dumps(plan_as_json(plan))) == plan_as_json(plan)
    assert (plan.training.seed, asked(plan, sample_chains)[0].seed) == (3, 3)
    assert (asked(plan, measure_metrics)[0].seed, asked(plan, record_outputs)[0].seed) == (0, 0)


def test_quick_is_a_problem_of_small_size():
    plan = plan_language("quick", 0)
    check_problem(plan.problem)
    model = untrained(plan.problem, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) < 50_000
    assert len(asked(plan, sample_chains)[1]) >= 40
    assert len(asked(plan, measure_metrics)[1]) >= 120


def test_paper_is_the_papers(book, tokenizer):
    plan = made("paper", book, tokenizer)
    training, (sampler, steps) = plan.training, asked(plan, sample_chains)
    assert (training.steps, training.batch_size, training.learning_rate) == (50_000, 100, 1e-3)
    assert (training.weight_decay, training.schedule) == (0.05, "constant")
    assert (sampler.method, sampler.chains, sampler.draws, sampler.burn_in) == ("sgld", 20, 200, 0)
    assert sampler.nbeta == pytest.approx(100 / torch.tensor(100.0).log().item())
    assert (sampler.step_size, sampler.localization) == (3e-3, 300.0)
    assert set(range(100, 50_000, 100)) <= set(steps.tolist())


def test_a_tokenizer_says_how_large_the_vocabulary_is(book, tokenizer):
    settings = made("standard", book, tokenizer).problem.settings
    assert (settings["d_vocab"], settings["tokenizer"]) == (270, str(tokenizer))


def test_a_text_is_found_from_other_folders_too(book, tokenizer, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    plan = plan_language("standard", 0, corpus="book.txt", tokenizer="tokenizer.json")
    assert plan.problem.settings["corpus"] == str(book)
    assert "book" in plan.title


def test_a_trained_tokenizer_has_as_many_tokens_as_asked_for(book, tokenizer):
    plan = plan_language("standard", 0, corpus=str(book), d_vocab=275)
    assert plan.problem.settings["d_vocab"] == 275
    with pytest.raises(ValueError, match="as many tokens as it has"):
        plan_language("standard", 0, corpus=str(book), tokenizer=str(tokenizer), d_vocab=275)


def test_the_paper_says_what_differs_from_the_papers_text(book, tokenizer):
    (elsewhere,) = made("paper", book, tokenizer).notes
    assert "The paper's settings on another corpus" in elsewhere
    plan = plan_language("paper", 0, corpus=str(book), d_vocab=275)
    assert "The tokenizer was trained on the text" in plan.notes[1]


def test_quick_takes_no_text(book):
    with pytest.raises(ValueError, match="the quick preset has a language of its own"):
        plan_language("quick", 0, corpus=str(book))


def test_a_file_that_is_no_tokenizer_gets_one_sentence(book):
    with pytest.raises(ValueError, match="is not the file of a tokenizer"):
        plan_language("standard", 0, corpus=str(book), tokenizer=str(book))
