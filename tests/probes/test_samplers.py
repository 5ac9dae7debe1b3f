import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.probes.samplers import (
    DAMPING,
    SAMPLERS,
    SGLD,
    RMSprop,
    Sampler,
    init_rmsprop,
    init_sgld,
    init_underdamped,
    mala_acceptance,
    relaxation,
    step_rmsprop,
    step_sgld,
    step_underdamped,
)
from tests.probes.linear_steps import linear_step

METHODS = tuple(SAMPLERS)
MOMENTA = (0.0, 0.5, 0.9)

numbers = st.floats(-10, 10, allow_subnormal=False)
vectors = st.lists(numbers, min_size=3, max_size=3).map(lambda v: torch.tensor(v).double())


# SGLD --------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(vectors, vectors)
def test_without_noise_and_localization_it_is_gradient_descent(weights, gradient):
    sampler = Sampler(step_size=0.01, nbeta=30.0, localization=0.0)
    parameter = torch.nn.Parameter(weights.clone())
    parameter.grad = gradient.clone()
    torch.optim.SGD([parameter], lr=0.01 * 30.0 / 2).step()
    ours = step_sgld(
        init_sgld(weights, weights), gradient, torch.zeros(3).double(), sampler
    ).weights
    assert torch.allclose(ours, parameter.detach(), atol=1e-7, rtol=0)


@settings(deadline=None)
@given(vectors, vectors, vectors)
def test_without_loss_it_returns_to_its_center(weights, center, noise):
    sampler = Sampler(step_size=0.04, localization=5.0)
    zero = torch.zeros(3).double()
    moved = step_sgld(SGLD(weights, center), zero, noise, sampler)
    expected = center + (1 - 0.04 * 5 / 2) * (weights - center) + 0.2 * noise
    assert torch.allclose(moved.weights, expected, atol=1e-12)
    assert moved.center is center


@settings(deadline=None)
@given(vectors, vectors, vectors)
def test_only_the_product_of_nbeta_and_loss_matters(weights, gradient, noise):
    once = step_sgld(init_sgld(weights, weights), gradient, noise, Sampler(nbeta=64.0))
    again = step_sgld(init_sgld(weights, weights), 4 * gradient, noise, Sampler(nbeta=16.0))
    assert torch.equal(once.weights, again.weights)


def test_one_step_of_sgld_has_the_stated_moments():
    n, sampler = 100_000, Sampler(step_size=0.01, nbeta=10.0, localization=2.0)
    noise = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = SGLD(torch.full((n,), 3.0).double(), torch.full((n,), 1.0).double())
    move = step_sgld(state, torch.full((n,), 0.5).double(), noise, sampler).weights - 3
    assert abs(move.mean() + 0.005 * (10 * 0.5 + 2 * 2)) <= 4 * 0.1 / np.sqrt(n)
    assert abs(move.var() - 0.01) <= 4 * 0.01 * np.sqrt(2 / n)


# All of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_step_leaves_its_state_and_what_it_was_given_alone(method):
    given = [torch.full((3,), value) for value in (1.0, 2.0, 3.0, 4.0)]
    weights, center, gradient, noise = given
    init, step = SAMPLERS[method]
    state = init(weights, center)
    step(state, gradient, noise, Sampler(method=method))
    assert state.weights is weights
    assert state.center is center
    assert [tensor[0] for tensor in given] == [1, 2, 3, 4]
    for part, fresh in zip(state, init(weights, center), strict=True):
        assert torch.equal(torch.as_tensor(part), torch.as_tensor(fresh))


@pytest.mark.parametrize("method", METHODS)
def test_many_chains_side_by_side_are_each_of_them_alone(method):
    """Two checkpoints, three chains, five weights; the noise is shared by the checkpoints."""
    stream = torch.Generator().manual_seed(0)
    start, center = torch.randn(2, 3, 5, generator=stream), torch.randn(2, 1, 5, generator=stream)
    draws = torch.randn(4, 2, 3, 5, generator=stream), torch.randn(4, 3, 5, generator=stream)
    init, step = SAMPLERS[method]
    together = init(start, center)
    for gradient, noise in zip(*draws, strict=True):
        together = step(together, gradient, noise, Sampler(method=method, step_size=0.1))
    for i, j in itertools.product(range(2), range(3)):
        alone = init(start[i, j], center[i, 0])
        for gradient, noise in zip(*draws, strict=True):
            given = gradient[i, j], noise[j], Sampler(method=method, step_size=0.1)
            alone = step(alone, *given)
        assert torch.allclose(together.weights[i, j], alone.weights)


# Underdamped -------------------------------------------------------------------------------------


def test_two_underdamped_steps_by_hand():
    """h = ½, c = 0.6, so that √(1 − c²) = 0.8; nβ = 4, γ = 2, and the center is 1.

    From w = 2 at rest with ∇L = 1: the force is −6, u = −3; w = 1.25; u = −1.8 + 0.8·1 = −1; w = 1.
    Then ∇L = −1, the force is 4, u = −1 + 2 = 1; w = 1.25; u = 0.6 − 0.8·2 = −1; w = 1.
    """
    sampler = Sampler(
        method="underdamped", step_size=0.25, nbeta=4.0, localization=2.0, momentum=0.6
    )
    state = init_underdamped(torch.tensor([2.0]).double(), torch.tensor([1.0]).double())
    for gradient, noise in [(1.0, 1.0), (-1.0, -2.0)]:
        given = torch.tensor([gradient]).double(), torch.tensor([noise]).double()
        state = step_underdamped(state, *given, sampler)
        assert state.weights.item() == pytest.approx(1.0)
        assert state.velocity.item() == pytest.approx(-1.0)


@settings(deadline=None)
@given(vectors, st.lists(st.tuples(vectors, vectors), min_size=2, max_size=5))
def test_without_momentum_it_is_the_method_of_leimkuhler_and_matthews(weights, draws):
    """Δw = (ε/2) F + √ε (η + η')/2: the step of SGLD, its noise averaged with the one before."""
    sampler = Sampler(
        method="underdamped", step_size=0.04, nbeta=3.0, localization=2.0, momentum=0.0
    )
    center, before, w = torch.ones(3).double(), torch.zeros(3).double(), weights
    state = init_underdamped(weights, center)
    for gradient, noise in draws:
        state = step_underdamped(state, gradient, noise, sampler)
        w = w - 0.02 * (3 * gradient + 2 * (w - center)) + 0.2 * (before + noise) / 2
        before = noise
        assert torch.allclose(state.weights, w, atol=1e-9)


@settings(deadline=None)
@given(st.floats(0.01, 3.9), st.floats(0, 0.95), st.floats(0.1, 10))
def test_the_variance_of_positions_on_a_quadratic_is_exact(stiffness, momentum, k):
    """1/k at every stable step; that of SGLD is too large by the factor 1/(1 − ε·k/4)."""
    epsilon = stiffness / k
    damped = Sampler(
        method="underdamped", step_size=epsilon, nbeta=1.0, localization=0.0, momentum=momentum
    )
    plain = Sampler("sgld", step_size=epsilon, nbeta=1.0, localization=0.0)
    assert linear_step(damped, k).variance() == pytest.approx(1 / k, rel=1e-6)
    assert linear_step(plain, k).variance() == pytest.approx(1 / k / (1 - stiffness / 4), rel=1e-6)


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("method", ["sgld", "underdamped"])
def test_a_step_is_stable_up_to_a_stiffness_of_four(method, momentum):
    for stiffness, stable in [(0.1, True), (3.5, True), (3.99, True), (4.01, False), (6.0, False)]:
        sampler = Sampler(
            method, step_size=stiffness, nbeta=1.0, localization=1.0, momentum=momentum
        )
        step = linear_step(sampler, 0.0)  # localization alone, of curvature 1
        assert (step.radius() < 1) == stable


@pytest.mark.parametrize("momentum", MOMENTA)
def test_noise_of_the_gradient_heats_as_many_times_as_a_flat_direction_is_faster(momentum):
    """In SGLD a gradient noise of variance σ² adds εσ²/4 to the variance 1/k, in parts of it."""
    for stiffness in (1e-3, 0.5, 3.0):
        sampler = Sampler(
            method="underdamped", step_size=stiffness, nbeta=1.0, localization=0.0,
            momentum=momentum,
        )  # fmt: skip
        plain = linear_step(Sampler("sgld", step_size=stiffness, nbeta=1.0, localization=0.0), 1.0)
        heat, heat_of_sgld = linear_step(sampler, 1.0).variance("kick"), plain.variance("kick")
        assert heat_of_sgld == pytest.approx(stiffness / 4 / (1 - stiffness / 4))
        assert heat == pytest.approx(heat_of_sgld * (1 + momentum) / (1 - momentum), rel=1e-6)


# RMSprop -----------------------------------------------------------------------------------------


def test_two_rmsprop_steps_by_hand():
    """v₋₁ = 1; ∇L = 1, then 10: v is 1, then 0.99 + 1; bias-corrected both are 100.

    So both steps divide ε by 10 and the damping. With 1.01 for ε that is 0.1, and the second step
    takes from the localization 0.05·2·(0.05 − 0) beside 0.05·10.
    """
    sampler = Sampler(method="rmsprop", step_size=0.1 * (10 + DAMPING), nbeta=1.0, localization=2.0)
    zero = torch.zeros(1).double()
    state = init_rmsprop(zero, zero)
    assert state.squares.tolist() == [1]
    state = step_rmsprop(state, zero + 1, zero, sampler)
    assert state.weights.item() == pytest.approx(-0.05)
    state = step_rmsprop(state, zero + 10, zero + 3, sampler)
    assert state.squares.item() == pytest.approx(1.99)
    assert state.weights.item() == pytest.approx(-0.05 + 0.05 * (-10 + 2 * 0.05) + 0.1**0.5 * 3)


@settings(deadline=None)
@given(vectors, vectors, vectors)
def test_the_localization_stays_out_of_the_preconditioner(weights, center, gradient):
    states = [
        step_rmsprop(
            init_rmsprop(weights, center),
            gradient,
            torch.zeros(3).double(),
            Sampler(method="rmsprop", step_size=1e-3, localization=localization),
        )
        for localization in (0.0, 1e6)
    ]
    assert torch.equal(states[0].squares, states[1].squares)
    assert torch.allclose(states[0].squares, 0.99 + 0.01 * gradient.square())


def test_on_a_constant_gradient_it_becomes_sgld_with_a_known_step():
    """ε / (|∇L| + a) in each weight, once the start at v = 1 is forgotten."""
    slopes = torch.tensor([1.0, 0.5, -3.0]).double()
    sampler = Sampler(method="rmsprop", step_size=1e-3, nbeta=2.0, localization=4.0)
    state = init_rmsprop(torch.zeros(3).double(), torch.ones(3).double())
    for _ in range(2000):
        state = step_rmsprop(state, slopes, torch.zeros(3).double(), sampler)
    noise = torch.tensor([1.0, -2.0, 0.3]).double()
    after = step_rmsprop(state, slopes, noise, sampler).weights
    for i, slope in enumerate(slopes.tolist()):
        alike = Sampler(step_size=1e-3 / (abs(slope) + DAMPING), nbeta=2.0, localization=4.0)
        expected = step_sgld(SGLD(state.weights, state.center), slopes, noise, alike).weights
        assert after[i].item() == pytest.approx(expected[i].item(), rel=1e-6)


# How long, and how well --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sgld", "underdamped"])
@pytest.mark.parametrize("momentum", MOMENTA)
def test_a_flat_direction_forgets_its_start_in_the_stated_time(method, momentum):
    """The autocorrelation after so many draws is 1/e; the time is right to first order in εγ."""
    sampler = Sampler(method, step_size=1e-4, localization=2.0, momentum=momentum)
    time = relaxation(sampler)
    faster = (1 + momentum) / (1 - momentum) if method == "underdamped" else 1
    assert time == pytest.approx(10_000 / faster)
    lags = linear_step(sampler, 0.0).autocorrelation(round(time) + 1)
    assert lags[-1] == pytest.approx(math.exp(-1), rel=0.01)


def test_a_flat_direction_of_rmsprop_is_damped_alone():
    """Where the gradient is 0, v is soon too small beside the damping."""
    sampler = Sampler(method="rmsprop", step_size=1e-4, localization=2.0)
    zero = torch.zeros(1).double()
    state = RMSprop(zero + 1, zero, squares=zero, steps=1)
    assert relaxation(sampler) == pytest.approx(1000)
    for _ in range(1000):
        state = step_rmsprop(state, zero, zero, sampler)
    assert state.weights.item() == pytest.approx(math.exp(-1), rel=0.01)


def test_without_localization_a_flat_direction_never_forgets():
    assert [relaxation(Sampler(method, localization=0.0)) for method in METHODS] == [math.inf] * 3


@pytest.mark.parametrize(
    ("start", "end", "step_size", "probability"),
    [
        ((0.0, 0.0), (1.5, 5.5), 0.1, 0.6661436),
        ((1.0, 1.0), (1.5, 0.5), 0.5, 0.9692332),
        ((0.0, 0.0), (10.5, 5.5), 0.1, 0.17268492),
        ((0.0, 0.0), (10.5, 5.5), 0.5, 0.00015359),
    ],
)
def test_acceptances_are_those_of_devinterp(start, end, step_size, probability):
    """The potential is ½|w|²; the values are those of its own test, in single precision."""
    w, moved = torch.tensor(start).double(), torch.tensor(end).double()
    rise = (moved.square().sum() - w.square().sum()) / 2
    noise = (moved - w + step_size / 2 * w) / step_size**0.5
    found = mala_acceptance(rise, -w - moved, noise, step_size)
    assert found.item() == pytest.approx(probability, abs=1e-5)


@settings(deadline=None)
@given(vectors, vectors, st.floats(0.1, 5), st.floats(0.01, 1))
def test_on_a_quadratic_only_the_change_of_distance_counts(w, noise, k, step_size):
    """On U = ½k|w|², ln of the probability is −(εk²/8)(|w'|² − |w|²), if that is negative."""
    moved = w - step_size / 2 * k * w + step_size**0.5 * noise
    farther = (moved.square() - w.square()).sum()
    found = mala_acceptance(k / 2 * farther, -k * (w + moved), noise, step_size)
    expected = math.exp(min(0.0, -step_size * k**2 / 8 * farther.item()))
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(vectors, vectors)
def test_acceptance_is_the_ratio_of_the_densities_of_going_and_coming_back(w, noise):
    """For a potential without closed form, and a step size of its own for each weight."""

    def potential(w):
        return (w.square() - 1).square().sum() / 40

    def force(w):
        return -(w.square() - 1) * w / 10

    step_size = torch.tensor([0.1, 0.2, 0.4]).double()

    def density(start, end):
        apart = end - start - step_size / 2 * force(start)
        return -(apart.square() / (2 * step_size)).sum()

    moved = w + step_size / 2 * force(w) + step_size.sqrt() * noise
    rise = potential(moved) - potential(w)
    log = density(moved, w) - density(w, moved) - rise
    found = mala_acceptance(rise, force(w) + force(moved), noise, step_size)
    assert found.item() == pytest.approx(math.exp(min(0.0, log.item())), rel=1e-6, abs=1e-12)


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step_size": 0.0}, "step_size must be positive, not 0.0"),
        ({"step_size": float("nan")}, "step_size must be positive, not nan"),
        ({"nbeta": -1.0}, "nbeta must be positive, not -1.0"),
        ({"localization": -1.0}, "localization must be at least 0, not -1.0"),
        ({"chains": 0}, "chains must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"block": 0}, "block must be at least 1, not 0"),
        ({"burn_in": -50}, "burn_in must be at least 0, not -50"),
        ({"burn_in": 400, "draws": 400}, "burn_in (400) must leave some of the 400 draws"),
        ({"burn_in": 70, "block": 50}, "burn_in (70) must be a multiple of block (50)"),
        ({"draws": 410, "block": 50}, "draws (410) must be a multiple of block (50)"),
        ({"momentum": 1.0}, "momentum must be at least 0 and less than 1, not 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0 and less than 1, not -0.1"),
        ({"pairing": 0}, "pairing must be at least 1, not 0"),
        ({"pairing": 7, "block": 50}, "block (50) must be a multiple of pairing (7)"),
        ({"groups": 0}, "groups must be at least 1, not 0"),
        ({"groups": 3, "chains": 4}, "chains (4) must be a multiple of groups (3)"),
        ({"precision": -0.1}, "precision must be at least 0, not -0.1"),
        ({"precision": float("nan")}, "precision must be at least 0, not nan"),
        ({"batched": -1}, "batched must be at least 0, not -1"),
    ],
)
def test_an_impossible_setting_is_refused_in_one_sentence(values, message):
    with pytest.raises(ValueError, match="must") as refusal:
        Sampler(**values)
    assert str(refusal.value) == message
