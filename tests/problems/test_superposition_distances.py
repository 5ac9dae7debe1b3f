"""How far weights are from the critical points of the toy model of superposition."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from ontogeny.problems.superposition_distances import distances_to_critical_points
from ontogeny.problems.superposition_landscape import (
    critical_point,
    critical_points,
    known_corners,
    population_loss,
)

SIZES = [(6, 2), (8, 2), (4, 1), (7, 3)]
seeds = st.integers(0, 10**6)


def arrays(name, features=6, hidden=2):
    state = critical_point(name, features, hidden)
    return state["weights"].numpy(), state["bias"].numpy()


def random_weights(random, features=6, hidden=2):
    return 0.9 * random.normal(size=(hidden, features)), 0.6 * random.normal(size=features) - 0.2


def moved(random, weights, bias):
    """The same network, its features turned, reflected and renamed."""
    hidden, features = weights.shape
    turn = ortho_group.rvs(hidden, random_state=random) if hidden > 1 else random.choice([[-1, 1]])
    order = random.permutation(features)
    return np.reshape(turn, (-1, hidden))[:hidden] @ weights[:, order], bias[order]


@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_each_critical_point_is_nearest_to_itself(features, hidden):
    for point in critical_points(features, hidden):
        found = distances_to_critical_points(*arrays(point.name, features, hidden))
        assert found[point.name] == pytest.approx(0, abs=1e-7)
        assert min(value for name, value in found.items() if name != point.name) > 0.05


@pytest.mark.parametrize(("features", "hidden"), [(6, 2), (5, 1), (7, 3)])
def test_wherever_it_is_turned_it_is_the_same_point_and_noise_is_as_far_as_it_is_long(
    features, hidden
):
    random = np.random.default_rng(0)
    for corners in known_corners(features, hidden):
        weights, bias = moved(random, *arrays(corners.name, features, hidden))
        found = distances_to_critical_points(weights, bias)
        assert found[corners.name] == pytest.approx(0, abs=1e-7), corners.name
        for length in (1e-3, 0.1, 0.4):
            noise = random.normal(size=(hidden + 1, features))
            noise *= length / np.linalg.norm(noise)
            found = distances_to_critical_points(weights + noise[:-1], bias + noise[-1])
            assert found[corners.name] <= length + 1e-9, (corners.name, length)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_turning_reflecting_and_renaming_change_no_distance(seed):
    random = np.random.default_rng(seed)
    weights, bias = random_weights(random)
    before = distances_to_critical_points(weights, bias)
    after = distances_to_critical_points(*moved(random, weights, bias))
    assert after == pytest.approx(before, abs=1e-7)


def by_trying_all(weights, bias, corners):
    """To a polygon with up to four corners, or one that leaves no feature over: the slow twin."""
    features = weights.shape[1]
    z = weights[0] + 1j * weights[1]
    slots = corners.length * np.exp(2j * np.pi * np.arange(corners.k) / corners.k)
    given_up = np.abs(z) ** 2 + bias.clip(0) ** 2
    positive = np.abs(z) ** 2 + (bias - 1 / (2 * features)) ** 2
    best = np.inf
    for corner in combinations(range(features), corners.k):
        rest = set(range(features)) - set(corner)
        others = min(
            sum(positive[i] if i in plus else given_up[i] for i in rest)
            for plus in combinations(rest, corners.plus)
        )
        overlap = max(abs(z[list(order)] @ slots.conj()) for order in permutations(corner))
        told_apart = list(corner)
        square = (np.abs(z[told_apart]) ** 2 + (bias[told_apart] - corners.bias) ** 2).sum()
        square += corners.k * corners.length**2 - 2 * overlap
        best = min(best, square + others)
    return np.sqrt(best)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_way_to_turn_and_number_a_polygon_is_nearer(seed):
    weights, bias = random_weights(np.random.default_rng(seed))
    found = distances_to_critical_points(weights, bias)
    for corners in known_corners(6, 2):
        rigid = corners.plus if corners.k < 4 else corners.k + corners.plus in (4, 5, 6)
        if corners.k and rigid and (corners.k in (2, 3, 4) or corners.k + corners.plus == 6):
            assert found[corners.name] == pytest.approx(by_trying_all(weights, bias, corners))


# Sets with many members ---------------------------------------------------------------------------


def loose_member(random, k):
    """k unit vectors at right angles or more, the others hidden in the room beside them."""
    while True:
        angles = random.uniform(0, 2 * np.pi, 6)
        units = np.stack([np.cos(angles), np.sin(angles)])
        told_apart = units[:, :k].T @ units[:, :k]
        beside = units[:, :k].T @ units[:, k:] if k < 3 else -np.ones((1, 1))
        if (told_apart[np.triu_indices(k, 1)] <= 0).all() and (beside <= 0).all():
            break
    lengths = random.uniform(0, 0.7 if k < 3 else 0, 6)
    lengths[:k] = 1
    weights = lengths * units
    bias = -(weights.T @ weights).max(axis=0) - random.uniform(0, 1, 6)
    bias[:k] = 0
    return weights, bias


def polygon_member(random, name, features):
    """A polygon with more than four corners, features hidden by the biases of its corners."""
    weights, bias = (one.copy() for one in arrays(name, features))
    (corners,) = [one for one in known_corners(features, 2) if one.name == name]
    for i in range(corners.k + corners.plus, features):
        angle, length = random.uniform(0, 7), random.uniform(0, -corners.bias / corners.length)
        weights[:, i] = length * np.cos(angle), length * np.sin(angle)
        bias[i] = -corners.length * length - random.uniform(0, 1)
    return weights, bias


MEMBERS = [(str(k), lambda random, k=k: loose_member(random, k)) for k in range(4)]
MEMBERS += [
    (name, lambda random, name=name, features=features: polygon_member(random, name, features))
    for name, features in [("5", 6), ("5", 8), ("6", 8)]
]


@pytest.mark.parametrize(("name", "draw"), MEMBERS)
def test_any_member_of_a_set_is_a_critical_point_at_no_distance(name, draw):
    random = np.random.default_rng(0)
    for _ in range(8):
        weights, bias = moved(random, *draw(random))
        (known,) = [one for one in critical_points(len(bias)) if one.name == name]
        w, b = (torch.from_numpy(one).requires_grad_() for one in (weights, bias))
        loss = population_loss(w, b)
        slopes = torch.autograd.grad(loss, (w, b))
        assert loss.item() == pytest.approx(known.loss)
        assert max(slope.abs().max() for slope in slopes) < 1e-12
        found = distances_to_critical_points(weights, bias)
        assert min(found, key=found.get) == name
        assert found[name] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_of_loose_columns_none_are_nearer(k, seed):
    """Beside a search among all angles, in steps of three degrees, of features told apart."""
    columns = np.random.default_rng(seed).normal(size=(2, k))
    found = distances_to_critical_points(columns, np.zeros(k))[str(k)]
    angles = np.radians(np.arange(0, 360, 3.0))
    grid = np.stack(np.meshgrid(*[angles] * k, indexing="ij")).reshape(k, -1)
    apart = np.ones(grid.shape[1], dtype=bool)
    for i, j in combinations(range(k), 2):
        apart &= np.cos(grid[i] - grid[j]) < 1e-9
    units = np.stack([np.cos(grid), np.sin(grid)])[..., apart]
    least = np.linalg.norm(columns[..., None] - units, axis=(0, 1)).min()
    assert found <= least + 1e-9
    assert least <= found + np.radians(1.5) * np.sqrt(k)


def test_a_feature_that_is_given_up_may_have_any_negative_bias():
    weights, bias = (one.copy() for one in arrays("4+"))
    bias[5] = -17.0
    assert distances_to_critical_points(weights, bias)["4+"] == pytest.approx(0, abs=1e-7)
