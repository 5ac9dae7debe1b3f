"""Chosen minima of deep linear networks, and learning coefficients from the literature."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.problems.linear import deep_linear
from ontogeny.problems.linear_minima import (
    linear_learning_coefficient,
    local_learning_coefficient,
    minimum,
)
from tests.problems.test_linear import loss_at


@st.composite
def networks(draw):
    """Widths and a rank they allow."""
    widths = draw(st.lists(st.integers(1, 7), min_size=2, max_size=6))
    return widths, draw(st.integers(0, min(widths)))


@st.composite
def two_layers(draw):
    """Widths of two layers, the rank of their product, and ranks they allow."""
    n_in, hidden, n_out = widths = draw(st.tuples(*[st.integers(1, 7)] * 3))
    a = draw(st.integers(0, min(n_in, hidden)))
    b = draw(st.integers(0, min(hidden, n_out)))
    rank = draw(st.integers(max(0, a + b - hidden), min(a, b)))
    return widths, rank, (a, b)


@settings(max_examples=30)
@given(networks())
def test_the_most_degenerate_minimum_is_one(network):
    widths, rank = network
    state = minimum(widths, rank)
    assert loss_at(deep_linear(widths, [1.0] * rank), state) == 0
    assert {torch.linalg.matrix_rank(layer).item() for layer in state.values()} == {rank}


@settings(max_examples=30)
@given(two_layers())
def test_a_minimum_has_the_ranks_asked_for(network):
    widths, rank, ranks = network
    state = minimum(widths, rank, ranks)
    assert loss_at(deep_linear(widths, [1.0] * rank), state) == 0
    assert [torch.linalg.matrix_rank(layer).item() for layer in state.values()] == list(ranks)


def test_layers_of_higher_rank_may_follow_each_other():
    state = minimum([4, 5, 6, 3], rank=1, ranks=[3, 3, 2])
    assert loss_at(deep_linear([4, 5, 6, 3], [1.0]), state) == 0
    assert [torch.linalg.matrix_rank(layer).item() for layer in state.values()] == [3, 3, 2]


# Learning coefficients ---------------------------------------------------------------------------

DEEP = [  # widths, rank, λ, m
    ([10, 10, 10, 10], 0, 33.5, 3),
    ([10, 10, 10, 10], 3, 42, 3),
    ([10, 10, 10, 10], 5, 46, 3),
    ([10, 10, 10, 10], 10, 50, 1),
    ([4, 8, 8, 4], 2, 8, None),
    ([20, 10, 5, 10, 20], 5, 87.5, None),
    ([20, 10, 5, 10, 20], 2, 49, 2),
    ([6, 6, 6, 6, 6], 3, 16.5, 4),
]
TWO_LAYERS = {  # λ for ranks 0, 1, …, and those with multiplicity 2
    (5, 3, 5): ([6.5, 8, 9.5, 10.5], {0, 2}),
    (5, 4, 5): ([8, 9.5, 10.5, 11.5, 12], {1, 3}),
    (4, 3, 8): ([6, 8.5, 11, 13.5], set()),
    (8, 3, 4): ([6, 8.5, 11, 13.5], set()),
    (3, 8, 4): ([6, 6, 6, 6], set()),
    (2, 2, 2): ([1.5, 2, 2], {1}),
    (5, 5, 5): ([None, 10.5, 11.5, 12], {1, 3}),
}


@pytest.mark.parametrize(("widths", "rank", "value", "multiplicity"), DEEP)
def test_the_literatures_deep_networks(widths, rank, value, multiplicity):
    found = linear_learning_coefficient(widths, rank)
    assert math.isclose(found.value, value, rel_tol=1e-12)
    assert multiplicity in (None, found.multiplicity)


def aoyagi_watanabe(widths, rank):
    """Reduced-rank regression as its paper of 2005 has it, case by case."""
    n, h, m = widths
    r = rank
    if n + r <= m + h and m + r <= n + h and h + r <= m + n:
        square = -((h + r) ** 2) - m**2 - n**2 + 2 * (h + r) * m + 2 * (h + r) * n + 2 * m * n
        odd = (m + h + n + r) % 2
        return (square + odd) / 8, 1 + odd
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2, 1
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2, 1
    return m * n / 2, 1


@pytest.mark.parametrize("widths", TWO_LAYERS)
def test_reduced_rank_regression(widths):
    values, doubles = TWO_LAYERS[widths]
    for rank, value in enumerate(values):
        found = linear_learning_coefficient(widths, rank)
        assert value in (None, found.value)
        if widths != (5, 5, 5):
            assert found.multiplicity == 1 + (rank in doubles)


@given(st.tuples(*[st.integers(1, 30)] * 3), st.integers(0, 30))
def test_two_layers_agree_with_the_formula_for_two_layers(widths, rank):
    rank = min(rank, *widths)
    found, (value, multiplicity) = (
        linear_learning_coefficient(widths, rank),
        aoyagi_watanabe(widths, rank),
    )
    assert math.isclose(found.value, value, rel_tol=1e-12)
    assert found.multiplicity == multiplicity


@given(networks(), st.randoms())
def test_hidden_layers_may_change_places(network, random):
    (first, *hidden, last), rank = network
    shuffled = random.sample(hidden, len(hidden))
    found = linear_learning_coefficient([first, *hidden, last], rank)
    again = linear_learning_coefficient([last, *shuffled, first], rank)
    assert found == again


@given(networks())
def test_it_lies_between_half_the_regular_part_and_half_of_all_outputs(network):
    widths, rank = network
    value = linear_learning_coefficient(widths, rank).value
    regular = rank * (widths[0] + widths[-1] - rank) / 2
    assert regular - 1e-9 <= value <= widths[0] * widths[-1] / 2 + 1e-9


# At other points: the table, and the global coefficient ------------------------------------------

LOCAL = [  # widths, rank, ranks, λ there, λ at the most degenerate minimum
    ([5, 3, 5], 0, [3, 0], 7.5, 6.5),
    ([5, 4, 5], 0, [4, 0], 10, 8),
    ([4, 3, 8], 0, [3, 0], 12, 6),
    ([8, 3, 4], 0, [3, 0], 6, 6),
    ([3, 8, 4], 0, [3, 0], 6, 6),
    ([5, 3, 5], 1, [3, 1], 8.5, 8),
    ([2, 2, 2], 0, [2, 0], 2, 1.5),
]


@pytest.mark.parametrize(("widths", "rank", "ranks", "here", "least"), LOCAL)
def test_the_table_of_local_values(widths, rank, ranks, here, least):
    assert local_learning_coefficient(widths, rank, ranks).value == here
    assert local_learning_coefficient(widths, rank, [rank, rank]).value == least


@given(two_layers())
def test_at_the_most_degenerate_minimum_the_candidate_is_the_proven_one(network):
    widths, rank, _ = network
    found = local_learning_coefficient(widths, rank, [rank, rank])
    proven = linear_learning_coefficient(widths, rank)
    assert math.isclose(found.value, proven.value, rel_tol=1e-12)
    assert found.multiplicity == proven.multiplicity


@given(two_layers())
def test_no_minimum_is_more_degenerate(network):
    widths, rank, ranks = network
    found = local_learning_coefficient(widths, rank, ranks)
    assert found.value >= linear_learning_coefficient(widths, rank).value
    assert local_learning_coefficient(widths[::-1], rank, ranks[::-1]) == found  # transposed


@settings(max_examples=30)
@given(two_layers())
def test_where_a_layer_has_full_rank_it_is_half_the_rank_of_the_hessian(network):
    # One factor left or right of the product has nothing spare: then the minima form a manifold.
    (n_in, hidden, n_out), rank, (a, b) = network
    if 0 in (n_in - a, n_out - b, hidden - a - b + rank):
        state = minimum((n_in, hidden, n_out), rank, (a, b))
        columns = []
        for i, layer in enumerate(state.values()):
            for unit in torch.eye(layer.numel(), dtype=torch.float64):
                pair = list(state.values())
                pair[i] = unit.reshape(layer.shape)
                columns.append((pair[1] @ pair[0]).flatten())
        jacobian_rank = int(torch.linalg.matrix_rank(torch.stack(columns)))
        found = local_learning_coefficient((n_in, hidden, n_out), rank, (a, b))
        assert found == (jacobian_rank / 2, 1)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minimum([3, 1, 3], 2), "cannot have ranks"),
        (lambda: minimum([3, 3, 3], 2, [1, 2]), "product of rank 2"),
        (lambda: minimum([3, 3, 3], 2, [3, 3]), "cannot have ranks"),
        (lambda: linear_learning_coefficient([3, 1, 3], 2), "cannot have rank 2"),
        (lambda: local_learning_coefficient([3, 3, 3, 3], 1, [1, 1]), "two layers only"),
    ],
)
def test_the_impossible_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
