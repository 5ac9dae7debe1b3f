"""Losses of tokens and patterns of attention are those of the problem."""

from dataclasses import replace

import pytest
import torch

from ontogeny.probes import FixedBatch, record_passages
from ontogeny.probes.passages import ATTENDED
from ontogeny.problems import language, untrained
from tests.examples import line

SMALL = {"d_vocab": 8, "n_ctx": 16, "d_model": 16, "n_heads": 2, "triggers": 2}


def test_every_token_but_the_first_has_its_loss():
    problem = language(**SMALL)
    model = untrained(problem, seed=0).eval()
    found = record_passages(problem, 7, model.state_dict(), FixedBatch(examples=3))
    assert (found.step, found.vocabulary) == (7, tuple("abcdefgh"))
    assert found.tokens.shape == (3, 16)
    with torch.no_grad():
        losses = problem.loss(model, (torch.from_numpy(found.tokens),))
    torch.testing.assert_close(torch.from_numpy(found.losses), losses.double())


def test_attention_is_that_of_the_first_tokens_of_the_first_row():
    problem = language(**SMALL | {"n_ctx": 64})
    model = untrained(problem, seed=0).eval()
    found = record_passages(problem, 7, model.state_dict(), FixedBatch(examples=2))
    assert found.heads == ("1.1", "1.2", "2.1", "2.2")
    assert found.attention.shape == (4, ATTENDED, ATTENDED)
    patterns = []
    with torch.no_grad():
        model.residual(torch.from_numpy(found.tokens[:1, :ATTENDED]), patterns)
    expected = torch.cat(patterns, dim=1)[0]
    difference = torch.from_numpy(found.attention).float() - expected
    assert difference.abs().max() <= 2**-11  # half precision


def test_a_problem_without_heads_has_no_attention():
    problem = replace(language(**SMALL), attention=None)
    state = untrained(problem, seed=0).state_dict()
    found = record_passages(problem, 7, state, FixedBatch(examples=2))
    assert (found.heads, found.attention) == ((), None)


def test_a_problem_without_tokens_is_refused():
    problem = line()
    state = problem.model().state_dict()
    with pytest.raises(ValueError, match="has no vocabulary"):
        record_passages(problem, 0, state, FixedBatch())
