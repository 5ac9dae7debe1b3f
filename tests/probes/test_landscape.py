import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ontogeny.probes.landscape import (
    flatten,
    landscape_of,
    moving_entries,
    moving_weights,
    unflatten,
)
from ontogeny.problems import regression, untrained
from ontogeny.problems.problem import Problem, on_data
from ontogeny.streams import random_stream

SMALL = {"d_model": 8, "d_mlp": 12, "n_heads": 2}


def pair(bias=True):
    """Two linear layers, with a loss for each of two outputs and without components."""
    return Problem(
        name="",
        settings={},
        model=lambda: nn.Sequential(nn.Linear(3, 4, bias=bias), nn.Linear(4, 2)).double(),
        batch=lambda n, generator: (torch.randn(n, 3, generator=generator).double(),),
        loss=lambda model, batch: model(batch[0]).square(),
        outputs=lambda model, batch: model(batch[0]),
    )


def state_of(problem):
    return untrained(problem, seed=1).state_dict()


# The loss as a function of a vector --------------------------------------------------------------


@pytest.mark.parametrize("weights", ["", "0.*", "0.weight, 1.bias"])
def test_losses_and_gradients_are_those_of_autograd(weights):
    problem = pair()
    state, batch = state_of(problem), problem.batch(5, random_stream(0, "test"))
    landscape = landscape_of(problem, state, weights)
    model = untrained(problem, seed=1)
    moving = {
        name: p
        for name, p in model.named_parameters()
        if weights == "" or name in moving_weights(problem, model, weights)
    }
    for shift in (0.0, 0.3):
        with torch.no_grad():
            for p in moving.values():
                p += shift
        losses, gradient = landscape.evaluate(landscape.start + shift, [batch])
        expected = problem.loss(model, batch)
        slopes = torch.autograd.grad(expected.mean(), list(moving.values()))
        assert torch.allclose(losses[0], expected.mean(dim=0))
        assert torch.allclose(gradient[0], torch.cat([slope.flatten() for slope in slopes]))
    at_start = problem.loss(untrained(problem, seed=1), batch).mean(dim=0)
    assert torch.allclose(landscape.initial([batch])[0], at_start)


def test_to_come_back_is_to_find_the_same():
    problem = pair()
    batch = problem.batch(5, random_stream(0, "test"))
    landscape = landscape_of(problem, state_of(problem))
    first, slope = (tensor.clone() for tensor in landscape.evaluate(landscape.start, [batch]))
    landscape.evaluate(landscape.start + 1, [batch])
    again, its_slope = landscape.evaluate(landscape.start, [batch])
    assert torch.equal(first, again)
    assert torch.equal(slope, its_slope)


def test_a_vector_and_its_parts_are_one():
    like = {"a": torch.zeros(2, 3), "b": torch.zeros(()), "c": torch.zeros(4)}
    vector = torch.arange(11.0)
    parts = unflatten(vector, like)
    assert parts["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert parts["b"] == 6
    assert torch.equal(flatten(parts), vector)
    parts["c"][0] = 70
    assert vector[7] == 70


# Which weights move ------------------------------------------------------------------------------


def count(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def moved_by(problem, weights):
    """Which entries of a network are others when everything that may move was moved by one."""
    state, seen = state_of(problem), {}

    def watch(model, batch):
        seen.update({name: p.detach().clone() for name, p in model.named_parameters()})
        return problem.loss(model, batch)

    landscape = landscape_of(replace(problem, loss=watch), state, weights)
    landscape.evaluate(landscape.start + 1, [problem.batch(2, random_stream(0, "test"))])
    return {name: (p - state[name]).round().bool() for name, p in seen.items()}


@pytest.mark.parametrize("weights", ["head.1.2", "head.*", "mlp.2, norms.1", "blocks.0.*.weight"])
def test_exactly_the_weights_that_may_move_do(weights):
    problem = regression(**SMALL)
    masks = moving_weights(problem, untrained(problem, seed=1), weights)
    for name, changed in moved_by(problem, weights).items():
        expected = masks.get(name, torch.zeros_like(changed))
        assert torch.equal(changed, expected)


def test_a_head_alone_moves_what_only_it_uses():
    """The network without one head computes the same, whatever that head's weights are."""
    problem = regression(**SMALL)
    model = untrained(problem, seed=1)
    batch = problem.batch(3, random_stream(0, "test"))

    def without_heads(model, heads):
        """Silence some heads of the first layer by the columns of its output."""
        with torch.no_grad():
            for head in heads:
                model.blocks[0].attention.output.weight.chunk(2, dim=1)[head - 1].zero_()
        return problem.loss(model, batch)

    before = without_heads(model, heads=[2])
    other = untrained(problem, seed=1)
    masks = moving_weights(problem, other, "head.1.2")
    parameters = dict(other.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name][mask] += 5.0
    assert torch.equal(without_heads(other, heads=[2]), before)
    assert not torch.allclose(problem.loss(untrained(problem, 1), batch), before)


def test_names_are_of_components_first_and_patterns_of_several_join():
    problem = regression(**SMALL)
    model = untrained(problem, seed=1)

    def found(weights):
        return count(moving_weights(problem, model, weights))

    everything = sum(p.numel() for p in model.parameters())
    assert found("") == found("*") == everything
    head = 3 * 8 * 4 + 8 * 4  # queries, keys and values of four entries each, and the way back
    assert found("head.1.1") == head
    assert found("head.1.*") == 2 * head
    assert found("head.1.1, head.1.1") == head
    assert found("head.1.1,head.2.1") == 2 * head
    assert found("head.1.1, blocks.0.attention.*") == 2 * head
    assert found("unembedding") > found("unembedding.*")  # its component has the final norm too
    assert list(moving_weights(problem, model, "mlp.1, embedding")) == [
        name
        for name, _ in model.named_parameters()
        if name.startswith(("blocks.0.mlp.", "token_embedding", "position_embedding"))
    ]


def test_frozen_parameters_stay_out_of_every_pattern():
    def model():
        network = pair().model()
        network[0].requires_grad_(False)
        return network

    problem = replace(pair(), model=model)
    assert count(moving_weights(problem, model(), "")) == 4 * 2 + 2
    with pytest.raises(ValueError, match=r"called '0\.weight'; there are 1\.weight, 1\.bias"):
        moving_weights(problem, model(), "0.weight")


def test_where_all_entries_move_none_is_listed():
    assert moving_entries({"a": torch.ones(2, 2).bool(), "b": torch.ones(1).bool()}) is None
    some = {"a": torch.tensor([[True, False], [False, True]]), "b": torch.tensor([True])}
    assert moving_entries(some).tolist() == [0, 3, 4]


@pytest.mark.parametrize("weights", ["head.9.*", "tail", "head.1.1,", " "])
def test_a_pattern_that_matches_nothing_gets_one_sentence(weights):
    problem = regression(**SMALL)
    missing = weights.rpartition(",")[2].strip()
    with pytest.raises(ValueError, match=f"no weights are called '{missing}'") as refusal:
        moving_weights(problem, untrained(problem, seed=0), weights)
    said = str(refusal.value)
    assert len(said.splitlines()) == 1
    assert "head.1.1, head.1.2, mlp.1" in said


def test_parameters_of_two_precisions_are_refused():
    model = pair().model()
    model[0].float()
    with pytest.raises(ValueError, match=r"found: torch\.float32, torch\.float64"):
        moving_weights(pair(), model, "")


# Other data --------------------------------------------------------------------------------------


def test_other_data_stand_in_the_place_of_the_problems_own():
    problem = regression(**SMALL)
    assert on_data(problem, "") is problem
    own = problem.batch(200, random_stream(0, "test"))
    inputs = on_data(problem, "large_inputs").batch(200, random_stream(0, "test"))
    tasks = on_data(problem, "large_tasks").batch(200, random_stream(0, "test"))
    assert torch.allclose(inputs[0], 3 * own[0])
    assert torch.equal(tasks[0], own[0])
    for _, targets in (inputs, tasks):
        mean = targets.double().square().mean().item()
        # Sums of four products of normal variables, three times as large: sequences share a task.
        stderr = targets.double().square().mean(dim=1).std().item() / math.sqrt(200)
        assert abs(mean - (9 * 4 + 0.125)) <= 4 * stderr


def test_data_that_nobody_knows_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="data set 'small'; there are large_inputs, large_tasks"):
        on_data(regression(), "small")
    with pytest.raises(ValueError, match="it has none but its own"):
        on_data(pair(), "small")
