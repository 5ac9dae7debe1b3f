"""Losses of tokens are those of the problem."""

import pytest
import torch

from ontogeny.probes import FixedBatch, record_passages
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


def test_a_problem_without_tokens_is_refused():
    problem = line()
    state = problem.model().state_dict()
    with pytest.raises(ValueError, match="has no vocabulary"):
        record_passages(problem, 0, state, FixedBatch())
