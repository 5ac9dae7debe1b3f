import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ontogeny.analysis.llc import estimate_llc, llc_by_position
from ontogeny.probes.chains import sample_chains
from ontogeny.probes.samplers import Sampler
from ontogeny.problems.exact import monomials, monomials_llc, quadratic, quadratic_llc
from ontogeny.problems.problem import Problem, untrained
from ontogeny.records import axes_of
from ontogeny.streams import random_stream

SHORT = Sampler(
    step_size=0.01, nbeta=16.0, localization=2.0, chains=2, draws=12, burn_in=4, block=4,
    batch_size=3, pairing=1,
)  # fmt: skip


def problem_of(model, loss):
    """A problem that lives in a test; a batch is inputs and targets."""

    def batch(n, generator):
        return (
            torch.randn(n, 3, generator=generator).double(),
            torch.randn(n, 2, generator=generator).double(),
        )

    return Problem("", {}, model, batch, loss, outputs=lambda model, batch: model(batch[0]))


def network():
    layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return layers.double()


def squared_error(model, batch):
    return (model(batch[0]) - batch[1]).square()


def sampled(problem, sampler=SHORT):
    return sample_chains(problem, 0, untrained(problem, seed=0).state_dict(), sampler)


# The exact answer --------------------------------------------------------------------------------


def test_a_stiff_quadratic_has_the_exact_stationary_answer():
    copies, h = 50, np.geomspace(0.01, 1.0, 20).tolist()
    sampler = Sampler(
        step_size=0.02, nbeta=100.0, localization=1.0, chains=4, draws=1100, burn_in=300,
        batch_size=1, pairing=1,
    )  # fmt: skip
    curve = estimate_llc([sampled(quadratic(h * copies), sampler)])

    # The weights are independent AR(1) processes of variance v; the squares of a process with
    # coefficient a have variance 2v² and autocorrelation a^2t.
    excess = sampler.nbeta * np.array(h)
    k = excess + sampler.localization
    a, v = 1 - sampler.step_size * k / 2, 1 / (k * (1 - sampler.step_size * k / 4))
    variance = (excess / 2) ** 2 * 2 * v**2 * (1 + a**2) / (1 - a**2)
    error = np.sqrt(copies * variance.sum() / (sampler.chains * 800))

    found = curve.values[0, 0]
    exact = copies * quadratic_llc(h, 100.0, 1.0, sampler.step_size)
    assert abs(found - exact) <= 4 * error
    assert abs(found - copies * quadratic_llc(h, 100.0, 1.0, step_size=0.0)) > 40 * error
    assert abs(found - copies * len(h) / 2) > 5 * error
    assert 0.5 * error < curve.stderr[0, 0] < 2.5 * error


@pytest.mark.parametrize(
    ("powers", "nbeta", "localization", "step_size", "draws"),
    [
        ([2], 60.0, 6.0, 2e-4, 1000),
        ([4], 66.0, 1.0, 2e-3, 600),
        ([4], 66.0, 0.0, 2e-3, 600),
        ([2, 2], 10.0, 1.0, 1e-2, 1500),
    ],
)
def test_degenerate_potentials_agree_with_quadrature(powers, nbeta, localization, step_size, draws):
    copies = 2000
    sampler = Sampler(
        step_size=step_size, nbeta=nbeta, localization=localization, chains=1, draws=draws,
        burn_in=draws // 2, batch_size=1,
    )  # fmt: skip
    found = estimate_llc([sampled(monomials([powers] * copies), sampler)]).values[0, 0] / copies

    # An upper bound of the error: as if the copies were seen only once, and not at every draw.
    # The variance of nβL is -nβ² d<L>/d(nβ). The bias, of the order of the step size times the
    # curvature, is kept below two such errors by the choice of the step.
    def mean_loss(at):
        return monomials_llc([powers], at, localization) / at

    slope = (mean_loss(nbeta * 1.001) - mean_loss(nbeta * 0.999)) / (0.002 * nbeta)
    error = np.sqrt(-(nbeta**2) * slope / copies)
    assert abs(found - monomials_llc([powers], nbeta, localization)) <= 4 * error


# Invariances -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(st.floats(-100.0, 100.0))
def test_a_constant_added_to_the_loss_changes_nothing(constant):
    problem = problem_of(network, squared_error)
    raised = replace(problem, loss=lambda model, batch: squared_error(model, batch) + constant)
    once, again = estimate_llc([sampled(problem)]), estimate_llc([sampled(raised)])
    assert np.allclose(once.values, again.values, atol=1e-10)
    assert np.allclose(once.stderr, again.stderr, atol=1e-10)


def test_only_the_product_of_nbeta_and_loss_matters():
    problem = problem_of(network, squared_error)
    scaled = replace(problem, loss=lambda model, batch: 4 * squared_error(model, batch))
    once = estimate_llc([sampled(problem)])
    again = estimate_llc([sampled(scaled, replace(SHORT, nbeta=SHORT.nbeta / 4))])
    assert np.array_equal(once.values, again.values)
    assert np.array_equal(once.stderr, again.stderr)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    problem = problem_of(network, squared_error)
    once, again = sampled(problem), sampled(problem)
    for name in axes_of(type(once)):
        assert getattr(once, name).tobytes() == getattr(again, name).tobytes()
    other = sampled(problem, replace(SHORT, seed=1))
    assert not np.isclose(once.losses, other.losses).any()
    assert not np.isclose(once.initial_losses, other.initial_losses).any()


def test_more_chains_leave_the_first_ones_alone():
    problem = problem_of(network, squared_error)
    assert np.array_equal(
        sampled(problem, replace(SHORT, chains=3)).losses[:2], sampled(problem).losses
    )


def test_every_checkpoint_sees_the_same_noise():
    # On a linear loss the way from the checkpoint is the sum of the noise, wherever it starts.
    problem = problem_of(
        lambda: nn.Linear(3, 2).double(),
        lambda model, batch: model.weight.sum().expand(len(batch[0])),
    )
    walks = []
    for step, value in [(0, -1.0), (7, 5.0)]:
        state = {
            name: torch.full_like(w, value) for name, w in problem.model().state_dict().items()
        }
        chains = sample_chains(problem, step, state, SHORT)
        assert chains.step == step
        walks.append(chains.losses - chains.initial_losses)
    assert walks[0].std() > 0.1
    assert np.allclose(*walks, atol=1e-12)


# What moves, and what does not -------------------------------------------------------------------


def test_it_agrees_with_the_plain_loop():
    problem, sampler = problem_of(network, squared_error), SHORT
    chains = sampled(problem)
    start = untrained(problem, seed=0)
    for chain in range(sampler.chains):
        model, rows = copy.deepcopy(start), []
        for draw in range(sampler.draws):
            batch = problem.batch(3, random_stream(0, "sampler batch", chain, draw))
            losses = squared_error(model, batch)
            model.zero_grad()
            losses.mean().backward()
            rows.append(losses.mean(dim=0).detach().numpy())
            n = sum(p.numel() for p in model.parameters())
            noise = torch.randn(
                n, generator=random_stream(0, "sampler noise", chain, draw), dtype=torch.float64
            )
            for p, center in zip(model.parameters(), start.parameters(), strict=True):
                eta, noise = noise[: p.numel()].view_as(p), noise[p.numel() :]
                pull = sampler.nbeta * p.grad + sampler.localization * (p - center)
                p.data += -sampler.step_size / 2 * pull.detach() + sampler.step_size**0.5 * eta
        assert np.allclose(chains.losses[chain], np.mean(rows, axis=1), atol=1e-12)
        blocks = np.reshape(rows, (3, 4, 2)).mean(axis=1)
        assert np.allclose(chains.position_losses[chain], blocks, atol=1e-12)


def test_the_checkpoint_is_measured_on_the_same_minibatches():
    problem = problem_of(network, squared_error)
    model, chains = untrained(problem, seed=0), sampled(problem_of(network, squared_error))
    assert np.array_equal(chains.losses[:, 0], chains.initial_losses[:, 0])
    for chain, draw in [(0, 0), (1, 5), (1, 11)]:
        batch = problem.batch(3, random_stream(0, "sampler batch", chain, draw))
        expected = squared_error(model, batch).mean().item()
        assert np.isclose(chains.initial_losses[chain, draw], expected)
    means = chains.initial_position_losses.mean(axis=(1, 2))
    assert np.allclose(means, chains.initial_losses.mean(axis=1))


def test_positions_average_to_the_whole():
    chains = sampled(problem_of(network, squared_error))
    assert np.isclose(llc_by_position([chains]).values.mean(), estimate_llc([chains]).values[0, 0])


def test_dropout_is_off():
    def dropped():
        return nn.Sequential(network(), nn.Dropout(0.5))

    plain = sampled(problem_of(lambda: nn.Sequential(network(), nn.Identity()), squared_error))
    assert np.array_equal(sampled(problem_of(dropped, squared_error)).losses, plain.losses)


class Half(nn.Module):
    """Two weights for each input, the second frozen at zero, or absent."""

    def __init__(self, frozen):
        super().__init__()
        if frozen:
            self.a = nn.Parameter(torch.zeros(2, 3).double(), requires_grad=False)
        self.b = nn.Parameter(torch.ones(2, 3).double())
        self.register_buffer("scale", torch.tensor(2.0).double())

    def forward(self, x):
        frozen = self.a if hasattr(self, "a") else torch.zeros(2, 3).double()
        return x @ (self.scale * self.b + 100 * frozen).T


def test_frozen_parameters_do_not_move_and_draw_no_noise():
    frozen = sampled(problem_of(lambda: Half(frozen=True), squared_error))
    absent = sampled(problem_of(lambda: Half(frozen=False), squared_error))
    assert np.array_equal(frozen.losses, absent.losses)


def test_an_unused_parameter_is_allowed():
    def unused():
        model = network()
        model.register_parameter("extra", nn.Parameter(torch.zeros(2).double()))
        return model

    assert np.isfinite(sampled(problem_of(unused, squared_error)).losses).all()


def test_the_checkpoint_itself_is_left_alone():
    problem = problem_of(network, squared_error)
    state = problem.model().state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    sample_chains(problem, 0, state, SHORT)
    assert all(torch.equal(state[name], before[name]) for name in before)


# Failure -----------------------------------------------------------------------------------------


def walled(limit):
    """One weight on a plane that ends at a wall beyond which the loss is not a number."""

    def loss(model, batch):
        w = model.bias.sum()
        return torch.where(w > limit, torch.nan, w).expand(len(batch[0]))

    def model():
        layer = nn.Linear(3, 1).double()
        nn.init.zeros_(layer.bias)
        return layer

    return problem_of(model, loss)


def test_a_failed_chain_stops_is_shown_and_is_not_averaged():
    sampler = replace(SHORT, nbeta=1e-3, chains=8, draws=80, burn_in=0, step_size=0.01)
    free, bounded = sampled(walled(1e9), sampler), sampled(walled(1.0), sampler)
    crossed = free.losses > 1.0
    failed = crossed.any(axis=1)
    assert 0 < failed.sum() < 8  # the wall stops some of these chains
    after = np.logical_or.accumulate(crossed, axis=1)
    assert np.array_equal(np.isnan(bounded.losses), after)
    assert np.array_equal(bounded.losses[~after], free.losses[~after])
    blocks = after.reshape(8, -1, 4).any(axis=2)
    assert np.array_equal(np.isnan(bounded.position_losses[:, :, 0]), blocks)

    curve = estimate_llc([bounded])
    assert np.array_equal(np.isnan(curve.chains[0]), failed)
    assert np.isclose(curve.values[0, 0], 1e-3 * free.losses[~failed].mean())
    assert f"{failed.sum()} of 8 chains failed" in curve.warnings[0]


def test_a_broken_checkpoint_fails_without_a_crash():
    chains = sampled(walled(-1.0))
    assert np.isnan(chains.losses).all()
    assert np.isnan(chains.initial_losses).all()
    assert chains.losses.shape == (2, 12)
    assert chains.position_losses.shape == (2, 3, 1)


def test_weights_of_another_network_are_refused():
    problem = problem_of(network, squared_error)
    with pytest.raises(ValueError, match="do not fit"):
        sample_chains(problem, 0, nn.Linear(2, 2).state_dict(), SHORT)


def test_weights_too_coarse_for_the_steps_are_refused():
    problem = problem_of(lambda: network().bfloat16(), squared_error)
    with pytest.raises(ValueError, match=r"bfloat16.*\.float\(\)"):
        sampled(replace(problem, loss=lambda model, batch: model[0].weight.sum().expand(3)))


def test_a_network_without_parameters_to_sample_is_refused():
    problem = problem_of(lambda: network().requires_grad_(False), squared_error)
    with pytest.raises(ValueError, match="found: none"):
        sampled(problem)
