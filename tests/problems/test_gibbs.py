"""What Gibbs sampling finds, held to closed forms, to quadrature and to Langevin sampling."""

import math

import numpy as np
import pytest
import torch

from ontogeny.problems.exact import monomials_llc
from ontogeny.problems.gibbs import (
    gibbs_excess,
    gibbs_llc,
    layer_given_others,
    run_chains,
    summary,
)
from ontogeny.problems.linear import loss_scale, truncated_teachers
from ontogeny.problems.linear_minima import (
    linear_learning_coefficient,
    local_learning_coefficient,
    minimum,
)


def z_score(found, value, stderr=0.0):
    return (found.value - value) / math.hypot(found.stderr, stderr)


# Closed forms and quadrature ---------------------------------------------------------------------


@pytest.mark.parametrize(("widths", "rank"), [([4, 3], 2), ([1, 5], 0)])
def test_a_single_layer_is_normal(widths, rank):
    nbeta, localization = 30.0, 2.0
    h = 2 / ((widths[0] + 2) * widths[1])
    exact = widths[0] * widths[1] * nbeta * h / (nbeta * h + localization) / 2
    found = gibbs_llc(minimum(widths, rank), nbeta, localization, chains=2, sweeps=4, burn_in=0)
    assert math.isclose(found.value, exact, rel_tol=1e-12)
    assert math.isclose(found.stiffness, nbeta * h + localization, rel_tol=1e-12)
    assert found.stderr == 0
    assert math.isnan(found.rhat)


@pytest.mark.parametrize(("nbeta", "localization"), [(10.0, 1.0), (1e3, 5.0), (1e5, 1.0)])
def test_a_product_of_two_weights_is_a_crossing(nbeta, localization):
    exact = monomials_llc([[2, 2]], nbeta * 2 / 3, localization)  # L = w₁²w₂² / 3
    found = gibbs_llc(minimum([1, 1, 1], 0), nbeta, localization, chains=100, sweeps=400)
    assert abs(z_score(found, exact)) < 4
    assert found.stderr < 0.01 * exact
    assert found.rhat < 1.02


def by_quadrature(excess_and_density, low, high):
    """Mean under a density of two weights, on a grid far finer than its features."""
    line = np.linspace(low, high, 2001)
    excess, log_density = excess_and_density(*np.meshgrid(line, line))
    density = np.exp(log_density - log_density.max())
    return (excess * density).sum() / density.sum()


def test_a_product_of_two_weights_that_is_one():
    def both(a, b):
        excess = 100 / 3 * (a * b - 1) ** 2
        return excess, -excess - 4 * ((a - 1) ** 2 + (b - 1) ** 2)

    exact = by_quadrature(both, -3, 5)
    found = gibbs_llc(minimum([1, 1, 1], 1), 100.0, 8.0, chains=100, sweeps=400)
    assert abs(z_score(found, exact)) < 4
    assert found.stderr < 0.01 * exact


def test_a_product_of_three_weights():
    def both(a, b):  # the third is integrated out
        precision = 2 * 50 / 3 * (a * b) ** 2 + 1
        return (1 - 1 / precision) / 2, -np.log(precision) / 2 - (a**2 + b**2) / 2

    exact = by_quadrature(both, -8, 8)
    found = gibbs_llc(minimum([1, 1, 1, 1], 0), 50.0, 1.0, chains=100, sweeps=400)
    assert abs(z_score(found, exact)) < 4
    assert found.stderr < 0.01 * exact


# Against other ways to sample --------------------------------------------------------------------


def test_a_layer_given_the_others_is_the_normal_distribution_it_should_be():
    random = np.random.default_rng(0)
    above, below = random.standard_normal((1, 4, 3)), random.standard_normal((1, 2, 5))
    center, teacher = random.standard_normal((3, 2)), random.standard_normal((1, 4, 5))
    curvature, localization = 7.0, 0.5
    jacobian = np.kron(above[0], below[0].T)  # of the product, in W row by row
    precision = curvature * jacobian.T @ jacobian + localization * np.eye(6)
    pull = curvature * jacobian.T @ teacher.ravel() + localization * center.ravel()
    found = layer_given_others(above, below, center, teacher, (curvature, localization))
    basis = np.kron(found.left[0], found.right[0])
    mean = basis @ found.mean[0].ravel()
    np.testing.assert_allclose(mean, np.linalg.solve(precision, pull), rtol=1e-9)
    diagonal = basis.T @ precision @ basis
    np.testing.assert_allclose(diagonal, np.diag(found.precision[0].ravel()), atol=1e-9)


def langevin(point, nbeta, localization, step_size, chains, draws):
    """Langevin sampling with its error rejected: slow, and right at any step size.

    Returns the mean of each chain's second half, and the share of steps that it accepted.
    """
    first, second = (layer.double().numpy() for layer in point.values())
    scale = nbeta / ((first.shape[1] + 2) * len(second))
    center = np.concatenate([first.ravel(), second.ravel()])
    random = np.random.default_rng(1)

    def at(w):
        a = w[:, : first.size].reshape(-1, *first.shape)
        b = w[:, first.size :].reshape(-1, *second.shape)
        miss = b @ a - second @ first
        slopes = [b.swapaxes(1, 2) @ miss, miss @ a.swapaxes(1, 2)]
        gradient = 2 * scale * np.concatenate([x.reshape(len(w), -1) for x in slopes], axis=1)
        energy, pull = scale * np.square(miss).sum(axis=(1, 2)), localization * (w - center)
        potential = energy + localization * np.square(w - center).sum(axis=1) / 2
        return energy, potential, w - step_size / 2 * (gradient + pull)

    w = np.repeat(center[None], chains, axis=0)
    energy, potential, drift = at(w)
    total, accepted = np.zeros(chains), 0.0
    for draw in range(draws):
        new = drift + math.sqrt(step_size) * random.standard_normal(w.shape)
        new_energy, new_potential, new_drift = at(new)
        there, back = np.square(new - drift).sum(axis=1), np.square(w - new_drift).sum(axis=1)
        ratio = potential - new_potential + (there - back) / (2 * step_size)
        yes = np.log(random.uniform(size=chains)) < ratio
        w, drift = np.where(yes[:, None], new, w), np.where(yes[:, None], new_drift, drift)
        energy, potential = (
            np.where(yes, new_energy, energy),
            np.where(yes, new_potential, potential),
        )
        accepted += yes.mean() / draws
        total += energy * (draw >= draws // 2) / (draws - draws // 2)
    return total, accepted


@pytest.mark.parametrize("rank", [0, 1])
def test_langevin_sampling_finds_the_same(rank):
    point = minimum([3, 2, 3], rank)
    means, accepted = langevin(point, 60.0, 3.0, step_size=0.06, chains=200, draws=1500)
    found = gibbs_llc(point, 60.0, 3.0, chains=32, sweeps=400)
    assert accepted > 0.5
    stderr = means.std(ddof=1) / math.sqrt(len(means))
    assert stderr < 0.01 * found.value
    assert abs(z_score(found, means.mean(), stderr)) < 4


# Symmetries --------------------------------------------------------------------------------------


def test_a_network_and_its_transpose_agree():
    point = minimum([3, 2, 4, 5], rank=1)
    transpose = {name: layer.T for name, layer in zip(point, reversed(point.values()), strict=True)}
    found = gibbs_llc(point, 500.0 * 5 * 5, 4.0, sweeps=200)
    again = gibbs_llc(transpose, 500.0 * 7 * 3, 4.0, sweeps=200, seed=1)
    assert abs(z_score(found, again.value, again.stderr)) < 4


def test_at_the_origin_only_one_number_counts():
    # Weights in units of their localized spread: only nβ / γ^L is left. Powers of two are exact.
    found = gibbs_llc(minimum([3, 2, 4, 3], 0), 100.0, 1.0, chains=4, sweeps=20)
    again = gibbs_llc(minimum([3, 2, 4, 3], 0), 100.0 * 64, 4.0, chains=4, sweeps=20)
    assert found[:3] == again[:3]
    assert again.stiffness == 4 * found.stiffness


# What it says of itself --------------------------------------------------------------------------


def test_chains_that_have_not_met_are_seen():
    # Some that start at random fall to where the first layer is zero, and hardly leave it again.
    point, localization = minimum([4, 3, 8], 0, [3, 0]), 128.0
    nbeta = 300 * (4 + 2) * 8 * localization**2
    assert gibbs_llc(point, nbeta, localization, sweeps=200).rhat > 1.1


def test_its_error_is_honest():
    exact = monomials_llc([[2, 2]], 1e4 * 2 / 3, 1.0)
    random = np.random.default_rng(0)
    draws = run_chains([np.zeros((1, 1))] * 2, np.zeros((1, 1, 1)), (1e4, 1.0), (320, 250), random)
    groups = [[of_all[i : i + 8, 50:] for of_all in draws] for i in range(0, 320, 8)]
    scores = np.array([z_score(summary(*group), exact) for group in groups])
    # The larger of two estimates of the error, so the scores spread a little less than normal ones.
    assert abs(scores.mean()) < 4 / math.sqrt(len(scores))
    assert 0.3 < np.square(scores).mean() < 1 + 4 * math.sqrt(2 / len(scores))


def test_the_same_seed_gives_the_same():
    point = minimum([3, 2, 3], 1)
    first, second, other = (
        gibbs_llc(point, 100.0, 2.0, chains=2, sweeps=4, seed=seed) for seed in (5, 5, 6)
    )
    assert first == second
    assert first.value != other.value


def test_at_a_saddle_the_excess_is_negative_and_grows_with_nbeta():
    teachers = truncated_teachers([3, 3, 3], [2.0, 1.0])
    point = {f"layers.{i}": teachers[1].sqrt() for i in range(2)}
    found = [
        gibbs_excess(point, teachers[2], nbeta, 1.0, (8, 150), 50).value for nbeta in (1e3, 1e4)
    ]
    lost = loss_scale([3, 3, 3]) * 1.0**2  # all of it is gained where the localization is loose
    assert found[0] < 0
    assert found[1] == pytest.approx(-1e4 * lost, rel=0.05)
    assert found[1] < 5 * found[0]


def test_of_a_minimum_both_functions_say_the_same():
    point = minimum([3, 2, 3], 1)
    teacher = point["layers.1"] @ point["layers.0"]
    both = (
        gibbs_llc(point, 100.0, 2.0, chains=2, sweeps=20, burn_in=10),
        gibbs_excess(point, teacher, 100.0, 2.0, (2, 30), 10),
    )
    assert both[0] == both[1]


# On the way to the learning coefficient ----------------------------------------------------------


def test_a_deep_network_tends_to_its_learning_coefficient():
    widths, rank = [20, 10, 5, 10, 20], 2
    exact = linear_learning_coefficient(widths, rank).value
    found = gibbs_llc(minimum(widths, rank), 1e6, 4.0, chains=8, sweeps=150, burn_in=50)
    assert abs(found.value / exact - 1) < 0.03


@pytest.mark.parametrize(
    ("widths", "rank", "ranks"), [([5, 3, 5], 0, [3, 0]), ([5, 3, 5], 1, [3, 1])]
)
def test_each_of_two_minima_shows_its_own_coefficient(widths, rank, ranks):
    # As γ grows with nβ the chains stay where they are, and the candidate holds there too.
    localization = 128.0
    nbeta = 100 * (widths[0] + 2) * widths[2] * localization**2
    for these in (ranks, [rank, rank]):
        exact = local_learning_coefficient(widths, rank, these).value
        found = gibbs_llc(minimum(widths, rank, these), nbeta, localization, sweeps=200)
        assert abs(found.value / exact - 1) < 0.09
        assert found.rhat < 1.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"localization": 0.0}, "positive localization"),
        ({"localization": 1.0, "chains": 1}, "two chains"),
        ({"localization": 1.0, "sweeps": 3}, "four sweeps"),
    ],
)
def test_the_impossible_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gibbs_llc({"layers.0": torch.zeros(2, 2)}, 1.0, **settings)


@pytest.mark.parametrize("nbeta", [-1.0, float("nan"), float("inf")])
def test_no_temperature_is_refused(nbeta):
    with pytest.raises(ValueError, match="nβ of at least 0"):
        gibbs_llc({"layers.0": torch.zeros(2, 2)}, nbeta, 1.0)
