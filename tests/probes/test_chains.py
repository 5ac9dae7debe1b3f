import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ontogeny.analysis.diagnostics import diagnose, is_precise
from ontogeny.analysis.llc import estimate_llc, llc_by_position
from ontogeny.probes.chains import looks, sample_chains, walk
from ontogeny.probes.landscape import landscape_of
from ontogeny.probes.samplers import Sampler
from ontogeny.problems.exact import monomials, monomials_llc, quadratic, quadratic_llc
from ontogeny.problems.problem import Problem, untrained
from ontogeny.records import axes_of
from ontogeny.streams import random_stream
from tests.probes.linear_steps import quadratic_mean_and_error

SHORT = Sampler(
    method="sgld", step_size=0.01, nbeta=16.0, localization=2.0, chains=2, draws=12, burn_in=4,
    block=4, batch_size=3, pairing=1,
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


@pytest.mark.parametrize(
    ("method", "step_size", "momentum", "chains", "draws", "burn_in"),
    [
        ("sgld", 0.02, 0.0, 2, 500, 200),
        ("underdamped", 0.01, 0.9, 1, 400, 150),
        ("underdamped", 0.02, 0.5, 1, 300, 100),
        ("underdamped", 0.0346, 0.0, 1, 400, 150),
        ("underdamped", 0.0346, 0.9, 1, 400, 150),
    ],
)
def test_a_stiff_quadratic_has_the_exact_stationary_answer(
    method, step_size, momentum, chains, draws, burn_in
):
    """Full batches, and steps of up to ε·k = 3.5. The bias is that of SGLD alone."""
    copies, h = 50, np.geomspace(0.01, 1.0, 20).tolist()
    sampler = Sampler(
        method, step_size, nbeta=100.0, localization=1.0, momentum=momentum, chains=chains,
        draws=draws, burn_in=burn_in, batch_size=1,
    )  # fmt: skip
    exact, error = quadratic_mean_and_error(h, sampler, copies)
    unbiased = copies * quadratic_llc(h, 100.0, 1.0, step_size=0.0)
    biased = copies * quadratic_llc(h, 100.0, 1.0, step_size)
    assert np.isclose(exact, biased if method == "sgld" else unbiased)

    curve = estimate_llc([sampled(quadratic(h * copies), sampler)])
    found = curve.values[0, 0]
    assert abs(found - exact) <= 4 * error
    assert abs(found - (unbiased if method == "sgld" else biased)) > 5 * error
    assert 0.5 * error < curve.stderr[0, 0] < 2.5 * error


@pytest.mark.parametrize(
    ("method", "powers", "nbeta", "localization", "step_size", "draws"),
    [
        ("sgld", [2], 60.0, 6.0, 2e-4, 1000),
        ("sgld", [4], 66.0, 1.0, 2e-3, 600),
        ("underdamped", [4], 66.0, 0.0, 4e-3, 400),
        ("underdamped", [2, 2], 10.0, 1.0, 1e-2, 700),
    ],
)
def test_degenerate_potentials_agree_with_quadrature(
    method, powers, nbeta, localization, step_size, draws
):
    copies = 2000
    sampler = Sampler(
        method, step_size, nbeta, localization, momentum=0.8, chains=1, draws=draws,
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


def log_proposal(start, gradient, end, sampler):
    """ln of the density with which a step of SGLD goes from one point to another, but a constant.

    The center is at the origin.
    """
    pull = sampler.nbeta * gradient + sampler.localization * start
    apart = end - start + sampler.step_size / 2 * pull
    return -apart.square().sum() / (2 * sampler.step_size)


def test_it_agrees_with_the_plain_loop():
    """Losses, and what stands beside them for each block: written out, with autograd alone."""
    problem, sampler = problem_of(network, squared_error), SHORT
    chains, start = sampled(problem), untrained(problem, seed=0)
    center = torch.nn.utils.parameters_to_vector(start.parameters()).detach()

    def evaluate(away, batch):
        model = copy.deepcopy(start)
        torch.nn.utils.vector_to_parameters(center + away, model.parameters())
        losses = squared_error(model, batch)
        slopes = torch.autograd.grad(losses.mean(), list(model.parameters()))
        return losses.mean(dim=0).detach(), torch.cat([slope.flatten() for slope in slopes])

    for chain in range(sampler.chains):
        away, rows, ends = torch.zeros_like(center), [], []
        for draw in range(sampler.draws):
            batch = problem.batch(3, random_stream(0, "sampler batch", chain, draw))
            losses, gradient = evaluate(away, batch)
            rows.append(losses.numpy())
            stream = random_stream(0, "sampler noise", chain, draw)
            noise = torch.randn(len(center), generator=stream, dtype=torch.float64)
            pull = sampler.nbeta * gradient + sampler.localization * away
            there = away - sampler.step_size / 2 * pull + sampler.step_size**0.5 * noise
            its_losses, its_gradient = evaluate(there, batch)
            rise = sampler.nbeta * (its_losses - losses).mean()
            rise += sampler.localization / 2 * (there.square() - away.square()).sum()
            back = log_proposal(there, its_gradient, away, sampler)
            accepted = (back - log_proposal(away, gradient, there, sampler) - rise).exp()
            ratio = sampler.step_size**0.5 / 2 * pull.norm() / noise.norm()
            ends.append([there.norm(), ratio, accepted.clamp(max=1)])
            away = there
        assert np.allclose(chains.losses[chain], np.mean(rows, axis=1), atol=1e-12)
        blocks = np.reshape(rows, (3, 4, 2)).mean(axis=1)
        assert np.allclose(chains.position_losses[chain], blocks, atol=1e-12)
        beside = np.stack([chains.distances, chains.drift_ratios, chains.acceptances], axis=-1)
        assert np.allclose(beside[chain], np.array(ends)[3::4], atol=1e-10)


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


@pytest.mark.parametrize(("pairing", "burn_in"), [(1, 0), (1, 4), (2, 4), (4, 4), (4, 8)])
def test_positions_average_to_the_whole(pairing, burn_in):
    settings = replace(SHORT, pairing=pairing, burn_in=burn_in)
    chains = sampled(problem_of(network, squared_error), settings)
    assert np.isclose(llc_by_position([chains]).values.mean(), estimate_llc([chains]).values[0, 0])


def test_only_the_draws_that_are_paired_are_measured_at_the_checkpoint_too():
    problem = problem_of(network, squared_error)
    all_pairs, some = sampled(problem), sampled(problem, replace(SHORT, pairing=2))
    assert np.array_equal(some.losses, all_pairs.losses)
    assert np.array_equal(some.initial_losses, all_pairs.initial_losses[:, ::2])
    assert np.array_equal(some.position_losses, all_pairs.position_losses)
    paired = some.losses.reshape(2, 3, 2, 2)[..., 0].mean(axis=2)
    assert np.allclose(some.paired_position_losses.mean(axis=2), paired)
    initial = some.initial_losses.reshape(2, 3, 2).mean(axis=2)
    assert np.allclose(some.initial_position_losses.mean(axis=2), initial)
    assert np.array_equal(all_pairs.paired_position_losses, all_pairs.position_losses)


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


def test_what_is_kept_of_the_draws_is_numbers_and_no_weights():
    """Of a large network the weights of every block would not fit into the memory."""
    problem = problem_of(network, squared_error)
    landscape = landscape_of(problem, problem.model().state_dict())
    block, weights = next(walk(problem, landscape, SHORT, [0], landscape.start))
    assert all(isinstance(part, np.ndarray) for part in block)
    assert np.isclose((weights - landscape.start).norm(), block.distances[0, 0])


# Refined: fewer weights, other data ---------------------------------------------------------------


class Bowl(nn.Module):
    """½ Σ hw² of weights in two parts."""

    def __init__(self, left, right):
        super().__init__()
        self.left = nn.Parameter(torch.zeros(len(left)).double())
        self.right = nn.Parameter(torch.zeros(len(right)).double())
        self.register_buffer("h", torch.tensor([*left, *right]).double())

    def forward(self):
        return (self.h * torch.cat([self.left, self.right]).square()).sum() / 2


def bowl(left, right):
    """A quadratic problem with names: its parts, and every second weight of both."""

    def alternate(model):
        masks = {"left": torch.zeros(len(left)), "right": torch.zeros(len(right))}
        for mask in masks.values():
            mask[::2] = 1
        return {"every.second": {name: mask.bool() for name, mask in masks.items()}}

    problem = problem_of(
        lambda: Bowl(left, right), lambda model, batch: model().expand(len(batch[0]))
    )
    return replace(problem, components=alternate)


@pytest.mark.parametrize("method", ["sgld", "rmsprop", "underdamped"])
@pytest.mark.parametrize(
    ("weights", "eigenvalues"),
    [
        ("right", [3.0, 4.0, 5.0]),
        ("every.*", [1.0, 3.0, 5.0]),
        ("left, every.second", [1.0, 2.0, 3.0, 5.0]),
    ],
)
def test_with_some_weights_it_is_the_problem_of_these_weights(method, weights, eigenvalues):
    """The same draws to rounding: the noise is drawn for the weights that move, and no others.

    The others stand where the checkpoint has them, and add a constant to the loss.
    """
    problem = bowl([1.0, 2.0], [3.0, 4.0, 5.0])
    state = problem.model().state_dict()
    alone = sampled(quadratic(eigenvalues), replace(SHORT, method=method))
    refined = sampled(problem, replace(SHORT, method=method, weights=weights))
    assert refined.parameters == len(eigenvalues)
    assert np.allclose(refined.losses, alone.losses, atol=1e-12)
    assert np.allclose(refined.distances, alone.distances, atol=1e-12)
    if weights == "right":
        state["left"] = torch.tensor([10.0, -20.0]).double()
        moved = sample_chains(problem, 0, state, replace(SHORT, method=method, weights=weights))
        assert np.allclose(moved.losses - alone.losses, 50 + 400, atol=1e-12)


def test_on_other_data_it_is_the_problem_that_has_them():
    problem = problem_of(network, squared_error)

    def larger(n, generator):
        return tuple(3 * part for part in problem.batch(n, generator))

    both = replace(problem, datasets={"larger": larger})
    found = sampled(both, replace(SHORT, data="larger"))
    made = sampled(replace(problem, batch=larger))
    for name in axes_of(type(found)):
        assert np.array_equal(getattr(found, name), getattr(made, name))
    assert not np.isclose(found.losses, sampled(problem).losses).any()
    assert np.array_equal(sampled(both).losses, sampled(problem).losses)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"weights": "head.*"}, "no weights are called 'head.*'; there are every.second, left, r"),
        ({"weights": "left,,right"}, "no weights are called ''"),
        ({"data": "other"}, "has no data set 'other'; it has none but its own"),
    ],
)
def test_names_that_nobody_knows_are_refused(asked, message):
    with pytest.raises(ValueError, match=message) as refusal:
        sampled(bowl([1.0], [2.0]), replace(SHORT, **asked))
    assert len(str(refusal.value).splitlines()) == 1


# Precision ---------------------------------------------------------------------------------------

PRECISE = Sampler(
    method="sgld", step_size=0.02, nbeta=50.0, localization=0.0, chains=2, draws=300, burn_in=20,
    block=10, batch_size=1, pairing=5, precision=0.015,
)  # fmt: skip


def test_chains_stop_when_they_are_precise_and_their_draws_are_what_they_are_without_it():
    problem = quadratic([1.0] * 100)
    found, whole = sampled(problem, PRECISE), sampled(problem, replace(PRECISE, precision=0.0))
    length = found.losses.shape[1]
    assert 40 < length < 300
    assert (found.burn_in, whole.burn_in) == (length // 10 // 3 * 10, 20)
    for draws in (10 * look for look in looks(PRECISE)):
        arrays = {name: getattr(whole, name) for name in axes_of(type(whole))}
        first = {name: array[:, : array.shape[1] * draws // 300] for name, array in arrays.items()}
        shorter = replace(whole, **first, burn_in=max(20, draws // 10 // 3 * 10))
        if draws == length:
            assert all(np.array_equal(getattr(found, name), first[name]) for name in first)
            break
        assert not is_precise(shorter, 0.015)
    curve = estimate_llc([found])
    assert curve.stderr[0, 0] <= 0.015 * curve.values[0, 0]
    exact = quadratic_llc([1.0] * 100, 50.0, 0.0, 0.02)
    assert abs(curve.values[0, 0] - exact) <= 4 * curve.stderr[0, 0]


def test_draws_are_the_most_however_precise_it_should_be():
    for draws in (20, 50):
        sampler = replace(PRECISE, draws=draws, burn_in=10, precision=1e-6)
        found = sampled(quadratic([1.0] * 100), sampler)
        assert found.losses.shape[1] == draws
        assert found.burn_in == max(10, draws // 10 // 3 * 10)


def test_burn_in_that_is_more_than_a_third_stays():
    found = sampled(quadratic([1.0] * 100), replace(PRECISE, burn_in=100, precision=0.5))
    assert (found.losses.shape[1], found.burn_in) == (200, 100)


def test_chains_that_have_all_failed_are_not_walked_on():
    found = sampled(walled(-1.0), replace(PRECISE, precision=0.01))
    assert found.losses.shape[1] == 40
    assert np.isnan(found.losses).all()


# Groups ------------------------------------------------------------------------------------------


def test_a_group_shares_its_start_and_groups_differ():
    """The starts spread twice as far as the chains do in every direction: nβL is 4·d/2 there."""
    h, groups = [1.0] * 400, 3
    sampler = replace(PRECISE, chains=6, groups=groups, draws=100, burn_in=50, precision=0.0)
    found = sampled(quadratic(h), sampler)
    first = found.losses[:, 0].reshape(groups, 2)
    assert np.array_equal(first[:, 0], first[:, 1])
    assert len(set(first[:, 0])) == groups
    assert found.groups == groups
    assert np.array_equal(found.initial_losses, np.zeros_like(found.initial_losses))
    hot = 4 * quadratic_llc(h, 50.0 / 4, 0.0, 0.02)
    error = hot * np.sqrt(2 / (groups * len(h)))
    assert abs(50 * first[:, 0].mean() - hot) <= 4 * error


def test_groups_see_the_noise_of_single_chains():
    problem = problem_of(network, squared_error)
    grouped = sampled(problem, replace(SHORT, groups=2))
    assert np.array_equal(grouped.initial_losses, sampled(problem).initial_losses)


def two_wells():
    """Wells at -1 and 1, the second deeper by 0.05, and a barrier of 0.2 between them."""

    def loss(model, batch):
        x = model.bias[0]
        return (0.2 * (x**2 - 1) ** 2 - 0.025 * x).expand(len(batch[0]))

    def model():
        layer = nn.Linear(3, 1).double()
        nn.init.constant_(layer.bias, -1.0)
        return layer

    return problem_of(model, loss)


def test_of_two_wells_chains_from_one_of_them_see_one_and_groups_see_both():
    """A barrier of nβL = 8 is too high for the chains, and one of 2 is not for hot walks."""
    sampler = Sampler(
        method="sgld", step_size=0.016, nbeta=40.0, localization=0.0, chains=4, draws=250,
        burn_in=100, block=25, batch_size=1, pairing=1, weights="bias",
    )  # fmt: skip
    alone = diagnose(sampled(two_wells(), sampler))
    assert alone.verdict == "ok"
    grouped = diagnose(sampled(two_wells(), replace(sampler, groups=4)))
    assert grouped.verdict == "suspect"
    assert grouped.below > 0.25 > alone.below
    assert grouped.nested_rhat > 1.05
    assert any("groups of chains that started apart do not agree" in r for r in grouped.reasons)


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
