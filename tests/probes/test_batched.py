from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.probes import Sampler, sample_chains, sample_together
from ontogeny.problems import Problem, regression, untrained
from ontogeny.problems.exact import quadratic
from ontogeny.records import Chains, axes_of, fields_of

SHORT = Sampler(
    method="sgld", step_size=0.01, nbeta=16.0, localization=2.0, momentum=0.7, chains=2, draws=24,
    burn_in=4, block=4, batch_size=3, pairing=2, batched=3,
)  # fmt: skip


class Mixed(nn.Module):
    """Weights that move, one that is frozen, and a buffer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.outer = nn.Linear(4, 2)
        self.gain = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("shift", torch.zeros(2))
        self.register_buffer("fixed", torch.tensor(0.5), persistent=False)
        self.double()

    def forward(self, x):
        return self.outer(self.gain * torch.tanh(self.inner(x))) + self.fixed * self.shift


def problem_of(model=Mixed):
    def batch(n, generator):
        device = generator.device
        x = torch.randn(n, 3, generator=generator, device=device, dtype=torch.float64)
        return x, torch.randn(n, 2, generator=generator, device=device, dtype=torch.float64)

    return Problem(
        name="",
        settings={},
        model=model,
        batch=batch,
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square(),
        outputs=lambda model, batch: model(batch[0]),
        datasets={"larger": lambda n, stream: tuple(3 * part for part in batch(n, stream))},
    )


def checkpoints(problem, count=3, device="cpu"):
    """Checkpoints that differ in all they have: what moves, what is frozen, and buffers."""
    states = {}
    for step in range(count):
        state = untrained(problem, seed=step).state_dict()
        states[10 * step] = {name: (t + 0.3 * step).to(device) for name, t in state.items()}
    return states


def assert_alike(together, alone):
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        for name in fields_of(Chains):
            found, expected = getattr(one, name), getattr(other, name)
            assert np.shape(found) == np.shape(expected)
            assert np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True), name


def both(problem, states, sampler):
    alone = [sample_chains(problem, step, state, sampler) for step, state in states.items()]
    return sample_together(problem, states, sampler), alone


# A slow twin -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "sgld", "chains": 3},
        {"method": "rmsprop", "pairing": 1},
        {"method": "underdamped", "pairing": 4},
        {"method": "underdamped", "weights": "inner.*, outer.bias"},
        {"method": "rmsprop", "weights": "outer.bias", "groups": 2, "chains": 4},
        {"method": "sgld", "data": "larger", "groups": 2},
    ],
)
def test_chains_side_by_side_are_those_of_the_loop(asked):
    problem = problem_of()
    together, alone = both(problem, checkpoints(problem), replace(SHORT, **asked))
    assert_alike(together, alone)
    assert not np.isclose(alone[0].losses, alone[1].losses).any()


def test_parts_of_parameters_move_as_in_the_loop():
    problem = regression(d_model=8, d_mlp=8, n_heads=2)
    sampler = replace(SHORT, step_size=1e-4, weights="head.1.2, norms.*", chains=1, draws=8)
    together, alone = both(problem, checkpoints(problem, count=2), sampler)
    assert together[1].parameters == alone[1].parameters == 3 * 8 * 4 + 8 * 4 + 4 * 16
    for name in axes_of(Chains):
        found, expected = getattr(together[1], name), getattr(alone[1], name)
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-3)  # single precision


def test_each_checkpoint_stops_when_it_is_precise():
    """Of one checkpoint the estimate is about 0, and is never known to a share of itself."""
    problem = quadratic([1.0] * 100)
    rest = problem.model().state_dict()
    away = {"weights": torch.full((100,), 0.16).double()}
    sampler = Sampler(
        method="sgld", step_size=0.02, nbeta=50.0, localization=0.0, chains=2, draws=120,
        burn_in=20, block=10, batch_size=1, precision=0.05, batched=2,
    )  # fmt: skip
    together, alone = both(problem, {0: rest, 1: away}, sampler)
    assert_alike(together, alone)
    first, second = (one.losses.shape[1] for one in alone)
    assert first < second == 120


def test_weights_that_two_modules_share_are_shared_in_every_checkpoint():
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 2))
        model[2].weight = model[0].weight
        return model.double()

    problem = problem_of(tied)
    together, alone = both(problem, checkpoints(problem), SHORT)
    assert_alike(together, alone)
    assert together[0].parameters == 9 + 3 + 3 + 8


def test_it_does_not_matter_who_shares_the_computation():
    problem = problem_of()
    states = checkpoints(problem)
    together = sample_together(problem, states, SHORT)
    assert [chains.step for chains in together] == [0, 10, 20]
    for step, chains in zip(states, together, strict=True):
        assert_alike([chains], sample_together(problem, {step: states[step]}, SHORT))


# Failure -----------------------------------------------------------------------------------------


def test_chains_fail_one_by_one():
    """Some chains of one checkpoint meet a wall, all of another at once, none of the third."""

    def walled(limit):
        class Wall(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.zeros(1).double())
                self.register_buffer("wall", torch.tensor(limit).double())

            def forward(self):
                return torch.where(self.w > self.wall, torch.nan, self.w)

        return Wall

    problem = replace(
        problem_of(walled(1.0)), loss=lambda model, batch: model().expand(len(batch[0]))
    )
    states = {
        step: {"w": torch.zeros(1).double(), "wall": torch.tensor(wall).double()}
        for step, wall in [(0, 0.4), (1, -1.0), (2, 1e9)]
    }
    sampler = replace(SHORT, nbeta=1e-3, chains=6, draws=40)
    together, alone = both(problem, states, sampler)
    assert_alike(together, alone)
    failed = [np.isnan(chains.losses).any(axis=1).sum() for chains in together]
    assert 0 < failed[0] < 6
    assert failed[1:] == [6, 0]


@pytest.mark.parametrize(
    "loss",
    [
        lambda model, batch: (
            (model(batch[0]) - batch[1]).square() * (1 + 0 * batch[0][0, 0].item())
        ),
        lambda model, batch: (
            (model(batch[0]) - batch[1]).square()
            if model(batch[0]).sum() < 1e9
            else model(batch[0])
        ),
    ],
)
def test_a_network_that_cannot_be_batched_gets_one_sentence(loss):
    problem = replace(problem_of(), loss=loss)
    states = checkpoints(problem)
    sample_chains(problem, 0, states[0], SHORT)
    with pytest.raises(ValueError, match="this network cannot be batched") as refusal:
        sample_together(problem, states, SHORT)
    assert len(str(refusal.value).splitlines()) == 1
    assert str(refusal.value).endswith("set batched to 0")


@pytest.mark.parametrize("broken", [0, 20])
def test_weights_of_another_network_are_refused_wherever_they_stand(broken):
    problem = problem_of()
    for other in (nn.Linear(2, 2).state_dict(), {**checkpoints(problem)[0], "gain": torch.ones(9)}):
        states = {**checkpoints(problem), broken: other}
        with pytest.raises(ValueError, match="these weights do not fit the problem's network"):
            sample_together(problem, states, SHORT)


def test_names_that_nobody_knows_are_refused():
    problem = problem_of()
    with pytest.raises(ValueError, match="no weights are called 'head'"):
        sample_together(problem, checkpoints(problem), replace(SHORT, weights="head"))
    with pytest.raises(ValueError, match="no data set 'small'; there are larger"):
        sample_together(problem, checkpoints(problem), replace(SHORT, data="small"))


# On an accelerator -------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("method", ["sgld", "rmsprop", "underdamped"])
def test_on_cuda_chains_side_by_side_are_those_of_the_loop(method):
    """Double precision; the streams of an accelerator are its own, so both are computed there."""
    problem = problem_of()
    states = checkpoints(problem, device="cuda")
    sampler = replace(SHORT, method=method, weights="inner.*, outer.bias", groups=2)
    together, alone = both(problem, states, sampler)
    assert_alike(together, alone)
