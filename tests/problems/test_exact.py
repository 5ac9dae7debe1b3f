import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad

from ontogeny.problems.exact import (
    RARE,
    monomials,
    monomials_learning_coefficient,
    monomials_llc,
    monomials_stiffness,
    quadratic,
    quadratic_llc,
    relu_regression,
)
from ontogeny.problems.problem import check_problem, load_problem

PROBLEMS = [
    quadratic([0.5, 3.0]),
    monomials([[4], [2]]),
    monomials([[2, 2], [2, 4]]),
    monomials([[2, 6]], copies=3),
]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_can_be_found_by_its_address(problem):
    again = load_problem(problem.name, problem.settings)
    assert again.settings == problem.settings
    state = {k: torch.full_like(v, 1.5) for k, v in problem.model().state_dict().items()}
    losses = []
    for one in (problem, again):
        model = one.model()
        model.load_state_dict(state)
        losses.append(one.loss(model, one.batch(5, torch.Generator())))
    assert torch.equal(*losses)
    assert losses[0].shape == (5,)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_starts_at_its_minimum_and_shows_its_weights(problem):
    model, batch = problem.model(), problem.batch(3, torch.Generator())
    assert not problem.loss(model, batch).any()
    assert not torch.autograd.grad(problem.loss(model, batch).sum(), model.parameters())[0].any()
    size = sum(parameter.numel() for parameter in model.parameters())
    assert problem.outputs(model, batch).shape == (3, size)


@settings(deadline=None)
@given(st.floats(0.0, 10.0), st.floats(0.1, 10.0), st.floats(0.0, 10.0), st.floats(0.0, 0.99))
def test_the_quadratic_answer_is_the_fixed_point_of_the_sampler(h, nbeta, localization, share):
    k = nbeta * h + localization
    step_size = 4 * share / k if k > 1e-3 else 0.01
    if k <= 1e-3 or step_size == 0:
        return
    variance = 1 / (k * (1 - step_size * k / 4))
    moved = (1 - step_size * k / 2) ** 2 * variance + step_size
    assert math.isclose(moved, variance, rel_tol=1e-9)
    answer = quadratic_llc([h], nbeta, localization, step_size)
    assert math.isclose(answer, nbeta * h * variance / 2, rel_tol=1e-9)


def test_too_long_a_step_has_no_answer():
    assert quadratic_llc([1.0], nbeta=10.0, localization=0.0, step_size=0.4) == math.inf


@settings(deadline=None)
@given(st.sampled_from([2, 4, 6, 8]), st.floats(1e-2, 1e6))
def test_a_single_power_without_localization_gives_its_learning_coefficient(power, nbeta):
    found = monomials_llc([[power]], nbeta, localization=0.0)
    assert math.isclose(found, 1 / power, rel_tol=1e-9)
    assert monomials_learning_coefficient([[power]]) == 1 / power


def test_squares_agree_with_the_quadratic():
    found = monomials_llc([[2]] * 3, nbeta=66.67, localization=6.67)
    assert math.isclose(found, quadratic_llc([1.0] * 3, 66.67, 6.67, step_size=0.0), rel_tol=1e-9)


@pytest.mark.parametrize(("power", "nbeta", "localization"), [(4, 66.0, 2.0), (6, 10.0, 0.3)])
def test_one_weight_agrees_with_adaptive_quadrature(power, nbeta, localization):
    def density(w):
        return np.exp(-nbeta * w**power / 2 - localization * w**2 / 2)

    mean = quad(lambda w: nbeta * w**power / 2 * density(w), 0, 10)[0] / quad(density, 0, 10)[0]
    assert math.isclose(monomials_llc([[power]], nbeta, localization), mean, rel_tol=1e-7)


def test_two_weights_agree_with_adaptive_quadrature():
    def density(a, b):
        return np.exp(-30 * a**2 * b**2 / 2 - (a**2 + b**2) / 2)

    def excess(a, b):
        return 30 * a**2 * b**2 / 2 * density(a, b)

    mean = dblquad(excess, 0, 9, 0, 9)[0] / dblquad(density, 0, 9, 0, 9)[0]
    assert math.isclose(monomials_llc([[2, 2]], 30.0, 1.0), mean, rel_tol=1e-6)


def on_a_grid(powers, nbeta, localization):
    """The mean over a grid in log w, where the integrand is smooth at every scale at once."""
    axis = math.log(math.sqrt(160 / localization)) + np.linspace(-60, 0, 1201)
    grid = np.meshgrid(*[axis] * len(powers))
    energy = nbeta / 2 * np.exp(sum(p * x for p, x in zip(powers, grid, strict=True)))
    pull = localization / 2 * sum(np.exp(2 * x) for x in grid)
    density = np.exp(-energy - pull + sum(grid))
    return (energy * density).sum() / density.sum()


@pytest.mark.parametrize("powers", [[2], [6], [2, 2], [2, 6], [4, 4], [6, 6]])
@pytest.mark.parametrize(
    ("nbeta", "localization"), [(1e-2, 3.0), (30.0, 0.7), (1e9, 1.0), (1e5, 1e-3), (1e24, 1.0)]
)
def test_the_line_agrees_with_the_plane(powers, nbeta, localization):
    found = monomials_llc([powers], nbeta, localization)
    assert math.isclose(found, on_a_grid(powers, nbeta, localization), rel_tol=1e-8)


def test_three_factors_agree_with_random_weights():
    w = np.random.default_rng(0).normal(size=(3, 1_000_000)) / math.sqrt(2)  # γ = 2
    energy = 20.0 * (w[0] ** 2 * w[1] ** 4 * w[2] ** 2) / 2
    weight = np.exp(-energy)
    mean = (energy * weight).mean() / weight.mean()
    error = ((energy - mean) * weight).std() / weight.mean() / 1000
    assert abs(monomials_llc([[2, 4, 2]], 20.0, 2.0) - mean) <= 4 * error


def test_only_nbeta_over_a_power_of_the_localization_matters():
    once = monomials_llc([[4, 6]], 1e8, 1.0)
    assert math.isclose(once, monomials_llc([[4, 6]], 1e8 * 1e-3**5, 1e-3), rel_tol=1e-9)


@pytest.mark.parametrize(("powers", "multiplicity"), [([4, 4], 2), ([2, 2, 2], 3)])
def test_what_is_missing_is_the_multiplicity_less_one_over_log_n(powers, multiplicity):
    # d/d(log n) of λ log n − (m − 1) log log n, the constant taken out by a second point.
    def inverse(log_n):
        missing = monomials_learning_coefficient([powers]) - monomials_llc(
            [powers], math.exp(log_n), 1.0
        )
        return 1 / missing

    slope = (inverse(320.0) - inverse(300.0)) / 20
    assert math.isclose(slope, 1 / (multiplicity - 1), rel_tol=0.02)


def test_copies_are_terms_of_their_own():
    copies, rows = monomials([[4, 2], [2, 2]], copies=2), monomials([[4, 2], [2, 2]] * 2)
    w = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    losses = []
    for problem in (copies, rows):
        model = problem.model()
        model.load_state_dict({"weights": w})
        losses.append(problem.loss(model, problem.batch(1, torch.Generator())).item())
    plain = (w ** torch.tensor([[4, 2], [2, 2]] * 2)).prod(dim=1).sum() / 2
    assert losses[0] == losses[1]
    assert math.isclose(losses[0], plain, rel_tol=1e-12)


def test_a_crossing_tends_to_its_learning_coefficient():
    # Multiplicity one: what is missing is of the order of nbeta ** (1/4 - 1/2).
    assert monomials_learning_coefficient([[2, 4]]) == 0.25
    missing = [abs(monomials_llc([[2, 4]], nbeta, 1.0) - 0.25) for nbeta in (1e4, 1e8)]
    assert missing[1] < 0.01
    assert missing[1] < missing[0] / 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: monomials([[3]]), "even and positive"),
        (lambda: monomials([[2], [2, 2]]), "same number of factors"),
        (lambda: monomials_llc([[2, 2]], 10.0, 0.0), "needs a positive localization"),
        (lambda: monomials([[2]], copies=0), "copies must be at least 1"),
    ],
)
def test_the_impossible_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("powers", [[2], [4], [2, 2], [4, 6]])
def test_the_stiffness_is_the_curvature_where_the_energy_is_rare(powers):
    nbeta, localization = 1e6, 3.0
    found = []
    for i, power in enumerate(powers):
        w = np.full(len(powers), math.sqrt(2 * RARE / localization))
        others = np.prod(np.delete(w, i) ** np.delete(powers, i))
        w[i] = (2 * RARE / (nbeta * others)) ** (1 / power)

        def energy(x, i=i, w=w):
            return nbeta / 2 * np.prod(np.where(np.arange(len(w)) == i, x, w) ** powers)

        h = w[i] * 1e-3
        assert math.isclose(energy(w[i]), RARE)
        found.append((energy(w[i] + h) - 2 * energy(w[i]) + energy(w[i] - h)) / h**2)
    assert math.isclose(
        monomials_stiffness([powers], nbeta, localization), max(found), rel_tol=1e-4
    )


# A network at its teacher ------------------------------------------------------------------------


def test_the_untrained_network_is_its_own_teacher():
    problem = relu_regression(examples=50)
    check_problem(problem)
    model, batch = problem.model(), problem.batch(20, torch.Generator())
    assert not problem.loss(model, batch).any()
    with torch.no_grad():
        model[0].weight[0] += 1.0
    assert (problem.loss(model, batch) > 0).any()
    assert problem.outputs(model, batch).shape == (20, 10)
    again = load_problem(problem.name, problem.settings)
    batches = [one.batch(9, torch.Generator().manual_seed(1)) for one in (problem, again)]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_its_data_are_a_fixed_set():
    problem = relu_regression(examples=50)
    inputs, targets = problem.datasets["all"](50, torch.Generator())
    drawn = problem.batch(400, torch.Generator())[0]
    assert inputs.shape == (50, 10)
    assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in inputs.tolist()}
    half = problem.datasets["all"](25, torch.Generator())
    assert torch.equal(half[1], targets[:25])
