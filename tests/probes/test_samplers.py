import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.probes.samplers import SGLD, Sampler, init_sgld, step_sgld

numbers = st.floats(-10, 10, allow_subnormal=False)
vectors = st.lists(numbers, min_size=3, max_size=3).map(lambda v: torch.tensor(v).double())


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


def test_a_step_leaves_its_state_alone():
    weights = torch.ones(3)
    state = init_sgld(weights, weights)
    step_sgld(state, torch.ones(3), torch.ones(3), Sampler())
    assert torch.equal(state.weights, torch.ones(3))
    assert state.center is weights


def test_one_step_has_the_stated_moments():
    n, sampler = 100_000, Sampler(step_size=0.01, nbeta=10.0, localization=2.0)
    noise = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = SGLD(torch.full((n,), 3.0).double(), torch.full((n,), 1.0).double())
    move = step_sgld(state, torch.full((n,), 0.5).double(), noise, sampler).weights - 3
    assert abs(move.mean() + 0.005 * (10 * 0.5 + 2 * 2)) <= 4 * 0.1 / np.sqrt(n)
    assert abs(move.var() - 0.01) <= 4 * 0.01 * np.sqrt(2 / n)


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
        ({"burn_in": 400}, "burn_in (400) must leave some of the 400 draws"),
        ({"burn_in": 70}, "burn_in (70) must be a multiple of block (50)"),
        ({"draws": 410}, "draws (410) must be a multiple of block (50)"),
    ],
)
def test_an_impossible_setting_is_refused_in_one_sentence(values, message):
    with pytest.raises(ValueError, match="must") as refusal:
        Sampler(**values)
    assert str(refusal.value) == message
