import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ontogeny.analysis.llc import estimate_llc
from ontogeny.probes.oracle import Oracle, init_oracle, sample_oracle, step_oracle
from ontogeny.problems.exact import monomials, monomials_llc, quadratic, quadratic_llc
from ontogeny.problems.problem import Problem, untrained
from ontogeny.records import axes_of

numbers = st.floats(-3, 3, allow_subnormal=False)
vectors = st.lists(numbers, min_size=2, max_size=2).map(lambda v: torch.tensor(v).double())


def bowl(h):
    """U = ½ Σ hᵢwᵢ², as the oracle wants it."""
    return lambda w: ((h * w**2).sum() / 2, h * w, (h * w**2).sum()[None])


def acceptance(potential, w, to, step_size):
    """Of one step of MALA from w to a given point."""
    state = init_oracle(w, potential)
    noise = (to - w + step_size / 2 * state.slope) / step_size**0.5
    moved = step_oracle(state, potential, noise, 0.0, Oracle(step_size=step_size))
    if moved.acceptance > 0:
        assert torch.allclose(moved.weights, to, atol=1e-9)
    return moved.acceptance


def sampled(problem, settings):
    return sample_oracle(problem, 3, untrained(problem, seed=0).state_dict(), settings)


# The exact answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("w", "to", "step_size", "expected"),
    [
        ([0.0, 0.0], [1.5, 5.5], 0.1, 0.6661436),
        ([1.0, 1.0], [1.5, 0.5], 0.5, 0.9692332),
        ([0.0, 0.0], [10.5, 5.5], 0.1, 0.17268492),
        ([0.0, 0.0], [10.5, 5.5], 0.5, 0.00015359),
    ],
)
def test_the_acceptance_agrees_with_the_values_in_the_tests_of_devinterp(
    w, to, step_size, expected
):
    w, to = torch.tensor([w, to]).double()
    found = acceptance(bowl(torch.ones(2)), w, to, step_size)
    assert abs(found - expected) < 1e-5  # theirs are computed in single precision


@given(vectors, vectors, vectors, st.floats(0.01, 0.5))
def test_on_a_quadratic_the_acceptance_is_known(h, w, to, step_size):
    h = h.abs()
    rise = step_size / 8 * ((h * to) ** 2 - (h * w) ** 2).sum()
    found = acceptance(bowl(h), w, to, step_size)
    assert math.isclose(found, math.exp(-max(rise, 0)), rel_tol=1e-6)


@pytest.mark.parametrize("leapfrogs", [1, 3])
def test_the_mean_acceptance_in_one_dimension_is_that_of_a_linear_map(leapfrogs):
    # A step is a map M of (w, u) that keeps areas, so that the singular values of M are √s and
    # 1/√s, and the mean acceptance is twice the probability that the energy falls.
    h = 1.6
    kick, drift = np.array([[1, 0], [-h / 2, 1]]), np.array([[1, h], [0, 1]])
    moves = np.linalg.matrix_power(kick @ drift @ kick, leapfrogs)
    expected = 4 / np.pi * np.arctan(1 / np.linalg.svd(moves)[1][0])
    settings = Oracle(
        step_size=h**2, leapfrogs=leapfrogs, nbeta=1.0, localization=0.0, chains=1, draws=2000
    )
    found = sampled(quadratic([1.0]), settings).acceptances
    error = 0.5 * math.sqrt(4 / settings.draws)  # as if every fourth draw were independent
    assert 0.3 < expected < 0.9
    assert abs(found.mean() - expected) <= 4 * error


@pytest.mark.parametrize(("leapfrogs", "draws", "relaxing"), [(1, 2000, 12), (4, 500, 3)])
def test_there_is_no_bias_of_the_step_size(leapfrogs, draws, relaxing):
    h, copies = [0.5, 1.0, 2.0], 10
    settings = Oracle(
        step_size=0.01, leapfrogs=leapfrogs, nbeta=60.0, localization=6.0, chains=1, draws=draws
    )
    chains = sampled(quadratic(h * copies), settings)
    exact = copies * quadratic_llc(h, 60.0, 6.0, step_size=0.0)
    # A Gaussian's energy has variance d/2; the slowest weight relaxes in 2/(εk) < 12 draws.
    error = math.sqrt(len(h) * copies / 2 * relaxing / (draws - 100))
    assert abs(estimate_llc([chains]).values[0, 0] - exact) <= 4 * error
    assert copies * quadratic_llc(h, 60.0, 6.0, step_size=0.01) - exact > 4 * error
    assert 0.2 < chains.acceptances.mean() < 0.95


def test_on_a_fourth_power_the_answer_is_a_quarter():
    copies, settings = 20, Oracle(
        step_size=0.02, leapfrogs=4, nbeta=60.0, localization=0.0, chains=1, draws=500
    )  # fmt: skip
    found = estimate_llc([sampled(monomials([[4]], copies), settings)]).values[0, 0] / copies
    # nβL is Gamma(1/4), with variance 1/4; a step is longer than the well is wide.
    error = math.sqrt(0.25 / copies * 5 / 400)
    assert abs(found - 0.25) <= 4 * error


def test_it_finds_the_answer_of_a_crossing():
    copies, settings = 10, Oracle(
        step_size=0.01, leapfrogs=10, nbeta=100.0, localization=1.0, chains=1, draws=400
    )  # fmt: skip
    found = estimate_llc([sampled(monomials([[2, 2]], copies), settings)]).values[0, 0] / copies
    error = math.sqrt(0.5 / copies * 5 / 300)  # relaxing takes some 2/(ε·10²·γ) draws
    assert abs(found - monomials_llc([[2, 2]], 100.0, 1.0)) <= 4 * error


# The rest ----------------------------------------------------------------------------------------


def network():
    def batch(n, generator):
        return (torch.randn(n, 3, generator=generator).double(),)

    def loss(model, batch):
        return (model(batch[0]) - 1).square()

    twice = {"twice": lambda n, generator: (2 * batch(n, generator)[0],)}
    return Problem(
        "", {}, lambda: nn.Linear(3, 2).double(), batch, loss,
        outputs=lambda model, batch: model(batch[0]), datasets=twice,
    )  # fmt: skip


SHORT = Oracle(nbeta=16.0, localization=2.0, chains=2, draws=12, burn_in=4, block=4, examples=5)


def test_the_record_is_one_of_chains_on_one_batch():
    chains = sampled(network(), SHORT)
    assert chains.step == 3
    assert chains.losses.shape == chains.initial_losses.shape == (2, 12)
    assert chains.position_losses.shape == (2, 3, 2)
    assert chains.distances.shape == chains.acceptances.shape == (2, 3)
    assert chains.parameters == 8
    assert len(np.unique(chains.initial_losses)) == 1
    assert np.array_equal(chains.losses[:, 0], chains.initial_losses[:, 0])
    blocks = chains.losses.reshape(2, 3, 4).mean(axis=2)
    assert np.allclose(chains.position_losses.mean(axis=2), blocks)


def test_the_same_seed_gives_the_same_bytes_and_chains_are_independent():
    once, again = sampled(network(), SHORT), sampled(network(), SHORT)
    for name in axes_of(type(once)):
        if getattr(once, name) is not None:
            assert getattr(once, name).tobytes() == getattr(again, name).tobytes()
    assert not np.isclose(once.losses[0, 1:], once.losses[1, 1:]).any()
    more = sampled(network(), replace(SHORT, chains=3))
    assert np.array_equal(more.losses[:2], once.losses)


def test_it_can_live_on_another_data_set():
    assert not np.isclose(
        sampled(network(), SHORT).losses[0, 0],
        sampled(network(), replace(SHORT, data="twice")).losses[0, 0],
    )


def test_a_step_that_leads_nowhere_is_refused():
    def potential(w):
        energy = torch.where(w.sum() > 0.5, torch.nan, (w**2).sum())
        return energy, 2 * w, energy[None]

    state = init_oracle(torch.zeros(1), potential)
    moved = step_oracle(state, potential, torch.tensor([2.0]), 0.0, Oracle(step_size=1.0))
    assert moved.weights is state.weights
    assert moved.acceptance == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step_size": -1.0}, "step_size must be positive, not -1.0"),
        ({"nbeta": math.inf}, "nbeta must be positive, not inf"),
        ({"localization": -1.0}, "localization must be at least 0, not -1.0"),
        ({"examples": 0}, "examples must be at least 1, not 0"),
        ({"burn_in": 400}, "must leave some of the 400 draws"),
        ({"draws": 410}, "must be a multiple of block"),
    ],
)
def test_an_impossible_setting_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Oracle(**values)
