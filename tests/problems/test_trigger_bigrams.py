"""Rows of the trigger-bigram language have the statistics that its tables say."""

from itertools import pairwise

import pytest
import torch

from ontogeny.problems.trigger_bigrams import (
    TriggerBigrams,
    bigram_table,
    draw_rows,
    transition_table,
)
from ontogeny.streams import random_stream


def counted(language, rows=4000):
    """How often each token followed each other, late in rows, where the chain has settled."""
    tokens = draw_rows(language, rows, random_stream(0, "counted"))[:, 8:]
    counts = torch.zeros(language.d_vocab, language.d_vocab)
    pairs = tokens[:, :-1].flatten(), tokens[:, 1:].flatten()
    return counts.index_put_(pairs, torch.ones(()), accumulate=True)


@pytest.mark.parametrize("second_order", [0.0, 2.0])
def test_without_triggers_the_table_of_bigrams_is_what_is_counted(second_order):
    language = TriggerBigrams(6, 64, triggers=0, sharpness=1.0, second_order=second_order)
    counts = counted(language)
    totals = counts.sum(dim=1, keepdim=True)
    table = bigram_table(language)
    # Tokens of one row are correlated, which makes a count less sure than a binomial one.
    error = 2 * (table * (1 - table) / totals).sqrt()
    assert ((counts / totals - table).abs() <= 4 * error + 1e-4).all()


def test_with_triggers_it_is_nearly_that():
    language = TriggerBigrams(16, 48, triggers=3, sharpness=1.5, second_order=2.0)
    counts = counted(language)
    seen = counts / counts.sum(dim=1, keepdim=True)
    lost = (counts / counts.sum() * (seen / bigram_table(language)).log()).nansum()
    assert 0 <= lost < 0.02  # nats a token


def test_what_follows_a_trigger_is_always_the_same_in_a_row():
    language = TriggerBigrams(6, 64, triggers=5, sharpness=0.0)
    for row in draw_rows(language, 20, random_stream(0, "rows")).tolist():
        successors = [{b for a, b in pairwise(row) if a == token} for token in range(6)]
        free = [token for token, found in enumerate(successors) if len(found) > 1]
        assert len(free) == 1  # the one token that is no trigger
        assert all(found <= set(free) for token, found in enumerate(successors) if [token] != free)


def test_without_second_order_the_token_before_does_not_matter():
    assert transition_table(TriggerBigrams(6, 16)).shape == (1, 6, 6)
    table = transition_table(TriggerBigrams(6, 16, second_order=1.0))
    torch.testing.assert_close(table.sum(dim=-1), torch.ones(6, 6))
    assert (table[0] - table[1]).abs().max() > 0.01


def test_the_table_of_bigrams_sums_to_one():
    table = bigram_table(TriggerBigrams(6, 16, second_order=1.0))
    torch.testing.assert_close(table.sum(dim=1), torch.ones(6))
