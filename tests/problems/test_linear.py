"""Deep linear networks: the loss, chosen minima, and learning coefficients from the literature."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.problems import check_problem, load_problem, untrained
from ontogeny.problems.linear import (
    deep_linear,
    linear_learning_coefficient,
    local_learning_coefficient,
    loss_scale,
    minimum,
    mode_strength,
    saddles,
    truncated_teachers,
)


def loss_at(problem, state):
    model = problem.model()
    model.load_state_dict(state)
    losses = problem.loss(model, problem.batch(3, torch.Generator()))
    assert losses.shape == (3,)
    assert (losses == losses[0]).all()
    return losses[0].item()


# The problem -------------------------------------------------------------------------------------


def test_it_is_sound_and_found_by_its_address():
    problem = deep_linear([4, 3, 5], singular_values=[2.0, 1.0], initial_scale=0.1)
    check_problem(problem)
    again = load_problem(problem.name, json.loads(json.dumps(problem.settings)))
    state = untrained(problem, seed=1).state_dict()
    assert list(state) == ["layers.0", "layers.1"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    assert loss_at(again, state) == loss_at(problem, state)


def test_the_loss_is_the_mean_squared_error_on_inputs_from_the_unit_ball():
    problem = deep_linear([3, 2, 2], singular_values=[2.0], initial_scale=1.0)
    model = untrained(problem, seed=0)
    random = np.random.default_rng(0)
    x = random.standard_normal((200_000, 3))
    x *= random.uniform(size=(len(x), 1)) ** (1 / 3) / np.linalg.norm(x, axis=1, keepdims=True)
    first, second = (layer.detach().numpy() for layer in model.layers)
    errors = x @ (second @ first - np.diag([2.0, 0.0, 0.0])[:2]).T
    losses = np.square(errors).mean(axis=1)
    z = (losses.mean() - loss_at(problem, model.state_dict())) / (losses.std() / len(x) ** 0.5)
    assert abs(z) < 4


def test_without_a_scale_it_starts_at_the_origin():
    model = untrained(deep_linear([3, 2, 4]), seed=0)
    assert not any(layer.any() for layer in model.parameters())


def test_the_scale_is_that_of_the_weights():
    model = untrained(deep_linear([100, 100, 100], initial_scale=0.01), seed=0)
    spread = torch.cat([layer.flatten() for layer in model.parameters()]).std().item()
    assert abs(spread - 0.01) < 4 * 0.01 / math.sqrt(2 * 20_000)


def test_the_outputs_are_the_product():
    problem = deep_linear([3, 2, 4], initial_scale=1.0)
    model = untrained(problem, seed=0)
    outputs = problem.outputs(model, problem.batch(5, torch.Generator()))
    assert torch.equal(outputs[4], (model.layers[1] @ model.layers[0]).flatten())


# Truncated teachers ------------------------------------------------------------------------------


def test_the_largest_singular_values_stay_longest_and_where_they_are():
    diagonals = [one.diagonal().tolist() for one in truncated_teachers([3, 3], [1.0, 0.5, -2.0])]
    assert diagonals == [[0, 0, 0], [0, 0, -2.0], [1.0, 0, -2.0], [1.0, 0.5, -2.0]]


def test_each_saddle_is_a_minimum_on_its_data_set_and_has_no_slope_on_its_own():
    widths, values = [4, 5, 3], [3.0, 1.0]
    problem = deep_linear(widths, values)
    known = zip(saddles(widths, values), truncated_teachers(widths, values), strict=True)
    for point, teacher in known:
        model = problem.model()
        roots = torch.zeros(5, 4).double(), torch.zeros(3, 5).double()
        for root in roots:
            root[:3, :3] = teacher[:, :3].sqrt()
        model.load_state_dict({f"layers.{i}": root for i, root in enumerate(roots)})
        there = problem.loss(model, problem.datasets[point.data](1, torch.Generator()))
        assert there.item() == pytest.approx(0, abs=1e-28)
        loss = problem.loss(model, problem.batch(1, torch.Generator())).mean()
        assert loss.item() == pytest.approx(point.loss, abs=1e-15)
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        assert max(slope.abs().max().item() for slope in slopes) < 1e-15
        assert point.minimum == (point.name == "rank 2")


def test_a_network_that_is_too_narrow_for_its_teacher_ends_at_a_lower_rank():
    points = saddles([4, 1, 3], [3.0, 1.0])
    assert [(point.name, point.minimum) for point in points] == [
        ("rank 0", False),
        ("rank 1", True),
    ]
    assert points[1].loss == pytest.approx(loss_scale([4, 1, 3]))


def test_its_metrics_are_exact():
    widths, values = [4, 5, 3], [3.0, 1.0]
    problem = deep_linear(widths, values, initial_scale=0.3)
    model = untrained(problem, seed=0)
    rows = {name: found for name, _, found in problem.metrics(model, 1, 0)}
    assert rows["loss"].item() == problem.loss(model, problem.batch(1, torch.Generator())).item()
    for far, teacher in zip(rows["distance_to"], truncated_teachers(widths, values), strict=True):
        assert far.item() == pytest.approx((model() - teacher).norm().item())


def test_known_outputs_are_the_truncated_teachers():
    problem = deep_linear([3, 2], [2.0, 1.0])
    known = problem.references(problem.batch(2, torch.Generator()))
    assert known.names == ("rank 0", "rank 1", "rank 2")
    assert known.labels[[0, 4, 6]].tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert known.values[2].tolist() == [2, 0, 0, 0, 1, 0] * 2


# Saddle to saddle --------------------------------------------------------------------------------


def descend(problem, state, rate, steps):
    """The singular values of the product along plain gradient descent, one row for each step."""
    model = problem.model()
    model.load_state_dict(state)
    batch, rows = problem.batch(1, torch.Generator()), []
    for _ in range(steps):
        rows.append(torch.linalg.svdvals(model()).detach().numpy())
        slopes = torch.autograd.grad(problem.loss(model, batch).mean(), list(model.parameters()))
        with torch.no_grad():
            for layer, slope in zip(model.parameters(), slopes, strict=True):
                layer -= rate * slope
    return np.array(rows)


def test_modes_grow_as_saxe_says():
    widths, values, start = [3, 4, 3], np.array([4.0, 1.0]), 1e-3
    half = torch.zeros(4, 3).double()
    half.diagonal()[:2] = math.sqrt(start)
    state = {"layers.0": half, "layers.1": half.T.clone()}
    errors = []
    for rate in (0.04, 0.02):
        count = round(80 / rate)
        found = descend(deep_linear(widths, values.tolist()), state, rate, count)
        steps = np.arange(count)
        exact = [mode_strength(steps, s, start, loss_scale(widths) * rate) for s in values]
        errors.append(np.abs(found[:, :2] - np.array(exact).T).max())
        assert found[-1, :2] == pytest.approx(values, abs=2e-3)
    # The steps of gradient descent are the only difference: half as long, half as far off.
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_a_random_start_becomes_balanced_and_follows_the_same_curve():
    widths, rate, count = [4, 5, 4], 0.05, 2000
    problem = deep_linear(widths, [5.0, 1.5], initial_scale=1e-3)
    found = descend(problem, untrained(problem, seed=0).state_dict(), rate, count)
    for mode, strength in ((0, 5.0), (1, 1.5)):
        middle = int(np.argmax(found[:, mode] > strength / 2))
        speed = 4 * loss_scale(widths) * rate * strength
        start = strength / (1 + math.exp(speed * middle))
        exact = mode_strength(np.arange(count), strength, start, loss_scale(widths) * rate)
        learnt = slice(middle - round(3 / speed), middle + round(8 / speed))
        assert np.abs(found[learnt, mode] - exact[learnt]).max() < 0.03 * strength


# Minima ------------------------------------------------------------------------------------------


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
        (lambda: deep_linear([3]), "two widths or more"),
        (lambda: deep_linear([3, 0, 3]), "positive whole numbers"),
        (lambda: deep_linear([3, 3, 3], [1.0, 0.0]), "singular values must be positive"),
        (lambda: deep_linear([3, 3, 3], [math.nan]), "singular values must be positive"),
        (lambda: deep_linear([3, 3, 3], [1.0], -1.0), "initial_scale must be at least 0"),
        (lambda: deep_linear([3, 3, 2], [1.0] * 3), "cannot have rank 3"),
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
