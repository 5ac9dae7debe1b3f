import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad

from ontogeny.problems.exact import (
    monomials,
    monomials_learning_coefficient,
    monomials_llc,
    quadratic,
    quadratic_llc,
)
from ontogeny.problems.problem import load_problem

PROBLEMS = [quadratic([0.5, 3.0]), monomials([[4], [2]]), monomials([[2, 2], [2, 4]])]


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
        (lambda: monomials_llc([[2, 2, 2]], 10.0, 1.0), "one or two factors"),
    ],
)
def test_the_impossible_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
