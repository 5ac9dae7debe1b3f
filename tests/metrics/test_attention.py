import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.metrics import (
    attention_entropy,
    attention_variability,
    previous_token_attention,
    self_attention,
    x_token_attention,
)
from ontogeny.streams import random_stream

METRICS = [
    attention_entropy,
    attention_variability,
    previous_token_attention,
    self_attention,
    x_token_attention,
]


def random_patterns(seed, examples=6, heads=2, tokens=5):
    generator = random_stream(seed, "patterns")
    logits = 2 * torch.randn(
        examples, heads, tokens, tokens, generator=generator, dtype=torch.float64
    )
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -torch.inf).softmax(-1)


def one_hot(keys, tokens):
    """One pattern whose query k looks at `keys[k]` only."""
    return torch.nn.functional.one_hot(torch.tensor(keys), tokens).double()


@pytest.fixture
def uniform():
    ones = torch.ones(3, 2, 7, 7, dtype=torch.float64).tril()
    return ones / ones.sum(-1, keepdim=True)


@pytest.fixture
def diagonal():
    return torch.eye(7, dtype=torch.float64).expand(3, 2, 7, 7)


def test_uniform_attention(uniform):
    n = torch.arange(1, 8, dtype=torch.float64).expand(2, 7)
    entropy = attention_entropy(uniform).values
    previous = previous_token_attention(uniform).values

    assert entropy[:, 0].isnan().all()
    torch.testing.assert_close(entropy[:, 1:], torch.ones(2, 6, dtype=torch.float64))
    assert attention_variability(uniform).values.abs().max() < 1e-15
    torch.testing.assert_close(self_attention(uniform).values, 1 / n)
    assert previous[:, 0].isnan().all()
    torch.testing.assert_close(previous[:, 1:], 1 / n[:, 1:])
    torch.testing.assert_close(x_token_attention(uniform).values, ((n + 1) / 2).floor() / n)


def test_diagonal_attention(diagonal):
    assert (attention_entropy(diagonal).values[:, 1:] == 0).all()
    assert (attention_variability(diagonal).values == 0).all()
    assert (self_attention(diagonal).values == 1).all()
    assert (previous_token_attention(diagonal).values[:, 1:] == 0).all()
    assert x_token_attention(diagonal).values[0].tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_previous_token_attention():
    pattern = one_hot([0, 0, 1, 2], 4).expand(3, 1, 4, 4)

    assert previous_token_attention(pattern).values[0, 1:].tolist() == [1, 1, 1]
    assert self_attention(pattern).values[0].tolist() == [1, 0, 0, 0]


def test_opposite_halves_vary_by_one_half():
    halves = torch.stack([one_hot([0, 0, 0], 3), one_hot([0, 1, 2], 3)])
    patterns = halves.repeat(50, 1, 1)[:, None]
    values, stderr = attention_variability(patterns)

    assert values[0].tolist() == [0, 0.5, 0.5]
    # At its maximum, 2p(1 - p) does not move with p to first order.
    assert stderr[0].tolist() == [0, 0, 0]


def test_error_of_variability_counts_the_estimated_mean():
    # With one of two keys drawn with probability p, V = 2p(1 - p); by the delta method its
    # standard error is |dV/dp| times that of p: twice what a known mean pattern would give.
    n, p = 100, 0.3
    rows = [one_hot([0, 1], 2)] * round(n * p) + [one_hot([0, 0], 2)] * round(n * (1 - p))
    values, stderr = attention_variability(torch.stack(rows)[:, None])

    assert values[0, 1].item() == pytest.approx(2 * p * (1 - p), rel=1e-12)
    expected = 2 * (1 - 2 * p) * math.sqrt(p * (1 - p) / (n - 1))
    assert stderr[0, 1].item() == pytest.approx(expected, rel=1e-12)


def test_error_of_variability_agrees_with_the_jackknife():
    # The two differ by terms of relative order 1/n beyond the linearization.
    patterns = random_patterns(0, examples=200, heads=1, tokens=4)
    left_out = torch.stack(
        [
            attention_variability(torch.cat([patterns[:i], patterns[i + 1 :]])).values
            for i in range(200)
        ]
    )
    jackknife = (199 * left_out.var(dim=0, correction=0)).sqrt()

    torch.testing.assert_close(
        attention_variability(patterns).stderr[:, 1:], jackknife[:, 1:], rtol=0.05, atol=0
    )


def test_variability_of_the_definition():
    patterns = random_patterns(3)
    mean = patterns.mean(0)
    defined = ((patterns - mean).abs().sum(-1) / (2 * mean.sum(-1))).mean(0)

    torch.testing.assert_close(attention_variability(patterns).values, defined)


@pytest.mark.parametrize("metric", METRICS)
def test_shapes(metric):
    values, stderr = metric(random_patterns(0).float())

    assert values.shape == stderr.shape == (2, 5)
    assert values.dtype == torch.float64


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 1000))
def test_shares_are_between_zero_and_one_and_need_no_order_of_examples(metric, seed):
    patterns = random_patterns(seed)
    values, stderr = metric(patterns)
    again = metric(patterns.flip(0))

    assert ((values[:, 1:] >= 0) & (values[:, 1:] <= 1 + 1e-12)).all()
    torch.testing.assert_close(values, again.values, equal_nan=True)
    torch.testing.assert_close(stderr, again.stderr, equal_nan=True)


@pytest.mark.parametrize("metric", METRICS)
def test_dropping_the_last_token_changes_nothing_before_it(metric):
    patterns = random_patterns(1)
    whole, dropped = metric(patterns), metric(patterns[..., :-1, :-1])

    torch.testing.assert_close(dropped.values, whole.values[:, :-1], equal_nan=True)


@given(seed=st.integers(0, 1000))
def test_entropy_does_not_know_the_order_of_keys(seed):
    patterns = random_patterns(seed)
    last = patterns[..., -1, :]
    shuffled = patterns.clone()
    shuffled[..., -1, :] = last[..., torch.randperm(5, generator=random_stream(seed, "keys"))]

    torch.testing.assert_close(
        attention_entropy(shuffled).values, attention_entropy(patterns).values, equal_nan=True
    )
