"""Deep linear networks: the loss, the saddles, and the way from one to the next."""

import json
import math

import numpy as np
import pytest
import torch

from ontogeny.problems import check_problem, load_problem, untrained
from ontogeny.problems.linear import (
    deep_linear,
    describe,
    loss_scale,
    mode_strength,
    saddles,
    truncated_teachers,
)


def loss_at(problem, state):
    model = problem.model()
    model.load_state_dict(state)
    losses = problem.loss(model, problem.batch(3, torch.Generator()))
    assert losses.shape == (3,)
    assert (losses == losses[0]).all()
    return losses[0].item()


# The problem -------------------------------------------------------------------------------------


def test_it_is_sound_and_found_by_its_address():
    problem = deep_linear([4, 3, 5], singular_values=[2.0, 1.0], initial_scale=0.1)
    check_problem(problem)
    again = load_problem(problem.name, json.loads(json.dumps(problem.settings)))
    state = untrained(problem, seed=1).state_dict()
    assert list(state) == ["layers.0", "layers.1"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    assert loss_at(again, state) == loss_at(problem, state)


def test_the_loss_is_the_mean_squared_error_on_inputs_from_the_unit_ball():
    problem = deep_linear([3, 2, 2], singular_values=[2.0], initial_scale=1.0)
    model = untrained(problem, seed=0)
    random = np.random.default_rng(0)
    x = random.standard_normal((200_000, 3))
    x *= random.uniform(size=(len(x), 1)) ** (1 / 3) / np.linalg.norm(x, axis=1, keepdims=True)
    first, second = (layer.detach().numpy() for layer in model.layers)
    errors = x @ (second @ first - np.diag([2.0, 0.0, 0.0])[:2]).T
    losses = np.square(errors).mean(axis=1)
    z = (losses.mean() - loss_at(problem, model.state_dict())) / (losses.std() / len(x) ** 0.5)
    assert abs(z) < 4


def test_without_a_scale_it_starts_at_the_origin():
    model = untrained(deep_linear([3, 2, 4]), seed=0)
    assert not any(layer.any() for layer in model.parameters())


def test_the_scale_is_that_of_the_weights():
    model = untrained(deep_linear([100, 100, 100], initial_scale=0.01), seed=0)
    spread = torch.cat([layer.flatten() for layer in model.parameters()]).std().item()
    assert abs(spread - 0.01) < 4 * 0.01 / math.sqrt(2 * 20_000)


def test_the_outputs_are_the_product():
    problem = deep_linear([3, 2, 4], initial_scale=1.0)
    model = untrained(problem, seed=0)
    outputs = problem.outputs(model, problem.batch(5, torch.Generator()))
    assert torch.equal(outputs[4], (model.layers[1] @ model.layers[0]).flatten())


# Truncated teachers ------------------------------------------------------------------------------


def test_the_largest_singular_values_stay_longest_and_where_they_are():
    diagonals = [one.diagonal().tolist() for one in truncated_teachers([3, 3], [1.0, 0.5, -2.0])]
    assert diagonals == [[0, 0, 0], [0, 0, -2.0], [1.0, 0, -2.0], [1.0, 0.5, -2.0]]


@pytest.mark.parametrize("widths", [[4, 5, 3], [4, 5, 6, 3], [4, 3, 5, 4, 3]])
def test_each_saddle_is_a_minimum_on_its_data_set_and_has_no_slope_on_its_own(widths):
    values, depth = [3.0, 1.0], len(widths) - 1
    problem = deep_linear(widths, values)
    known = zip(saddles(widths, values), truncated_teachers(widths, values), strict=True)
    for point, teacher in known:
        model = problem.model()
        roots = [layer.detach().clone().zero_() for layer in model.parameters()]
        for root in roots:
            root[:3, :3] = teacher[:, :3] ** (1 / depth)
        model.load_state_dict({f"layers.{i}": root for i, root in enumerate(roots)})
        there = problem.loss(model, problem.datasets[point.data](1, torch.Generator()))
        assert there.item() == pytest.approx(0, abs=1e-28)
        loss = problem.loss(model, problem.batch(1, torch.Generator())).mean()
        assert loss.item() == pytest.approx(point.loss, abs=1e-15)
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        assert max(slope.abs().max().item() for slope in slopes) < 1e-15
        assert point.minimum == (point.name == "rank 2")


def test_a_network_that_is_too_narrow_for_its_teacher_ends_at_a_lower_rank():
    points = saddles([4, 1, 3], [3.0, 1.0])
    assert [(point.name, point.minimum) for point in points] == [
        ("rank 0", False),
        ("rank 1", True),
    ]
    assert points[1].loss == pytest.approx(loss_scale([4, 1, 3]))


def test_of_equal_modes_any_combination_is_a_saddle_of_one_family():
    widths, values = [4, 5, 3], [1.0, 3.0, 3.0]
    problem, model = deep_linear(widths, values), deep_linear(widths, values).model()
    point = problem.critical_points[1]
    for angle in np.linspace(0, math.pi, 7):
        one = torch.tensor([0.0, math.cos(angle), math.sin(angle)], dtype=torch.float64)
        first, second = torch.zeros(5, 4).double(), torch.zeros(3, 5).double()
        first[0, :3] = second[:, 0] = math.sqrt(3) * one
        model.load_state_dict({"layers.0": first, "layers.1": second})
        loss = problem.loss(model, problem.batch(1, torch.Generator())).mean()
        assert loss.item() == pytest.approx(point.loss, abs=1e-15)
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        assert max(slope.abs().max().item() for slope in slopes) < 1e-15
        away = next(found for name, _, found in problem.metrics(model, 1, 0) if name[0] == "d")
        assert away[1].item() < 1e-14
        assert away[[0, 2]].tolist() == pytest.approx([3, 3])
    unknown = [one.learning_coefficient is None for one in problem.critical_points]
    assert unknown == [False, True, False, False]
    known = problem.references(problem.batch(1, torch.Generator()))
    assert known.names == ("rank 0", "rank 2", "rank 3")


def test_the_nearest_of_a_family_is_found():
    product = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3)))
    teachers = truncated_teachers([3, 3], [2.0, 2.0, 2.0])
    (*_, (_, _, away)) = describe(product, teachers, 1.0)
    units = torch.from_numpy(np.random.default_rng(1).normal(size=(20_000, 3)))
    units /= units.norm(dim=1, keepdim=True)
    outer = units[:, :, None] * units[:, None]
    ones = (product - 2 * outer).flatten(1).norm(dim=1).min()
    twos = (product - 2 * (torch.eye(3) - outer)).flatten(1).norm(dim=1).min()
    # Of 20,000 directions the nearest is about 0.01 rad off, and that changes d by its square.
    for rank, sampled in ((1, ones), (2, twos)):
        assert away[rank] <= sampled
        assert away[rank].item() == pytest.approx(sampled.item(), abs=2e-3)


def test_too_narrow_for_equal_modes_it_has_a_minimum_with_flat_directions():
    widths, values = [4, 2, 5], [3.0, 2.0, 2.0, 2.0]
    problem = deep_linear(widths, values)
    *_, last = problem.critical_points
    assert (last.name, last.minimum, last.data) == ("rank 2", True, "")
    root = truncated_teachers(widths, values)[2].sqrt()
    layers = root[:2, :4].clone(), root[:, :2].clone()

    def loss(first, second):
        return (second @ first - truncated_teachers(widths, values)[-1]).square().sum()

    blocks = torch.autograd.functional.hessian(loss, layers)
    hessian = torch.cat(
        [torch.cat([b.flatten(2).flatten(0, 1) for b in row], dim=1) for row in blocks]
    )
    curvatures = torch.linalg.eigvalsh(hessian)
    assert curvatures.min() > -1e-9
    assert last.learning_coefficient == (curvatures > 1e-9).sum().item() / 2


def test_its_metrics_are_exact():
    widths, values = [4, 5, 3], [3.0, 1.0]
    problem = deep_linear(widths, values, initial_scale=0.3)
    model = untrained(problem, seed=0)
    rows = {name: found for name, _, found in problem.metrics(model, 1, 0)}
    assert rows["loss"].item() == problem.loss(model, problem.batch(1, torch.Generator())).item()
    for far, teacher in zip(rows["distance_to"], truncated_teachers(widths, values), strict=True):
        assert far.item() == pytest.approx((model() - teacher).norm().item())


def test_known_outputs_are_the_truncated_teachers():
    problem = deep_linear([3, 2], [2.0, 1.0])
    known = problem.references(problem.batch(2, torch.Generator()))
    assert known.names == ("rank 0", "rank 1", "rank 2")
    assert known.labels[[0, 4, 6]].tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert known.values[2].tolist() == [2, 0, 0, 0, 1, 0] * 2


# Saddle to saddle --------------------------------------------------------------------------------


def descend(problem, state, rate, steps):
    """The singular values of the product along plain gradient descent, one row for each step."""
    model = problem.model()
    model.load_state_dict(state)
    batch, rows = problem.batch(1, torch.Generator()), []
    for _ in range(steps):
        rows.append(torch.linalg.svdvals(model()).detach().numpy())
        slopes = torch.autograd.grad(problem.loss(model, batch).mean(), list(model.parameters()))
        with torch.no_grad():
            for layer, slope in zip(model.parameters(), slopes, strict=True):
                layer -= rate * slope
    return np.array(rows)


def test_modes_grow_as_saxe_says():
    widths, values, start = [3, 4, 3], np.array([4.0, 1.0]), 1e-3
    half = torch.zeros(4, 3).double()
    half.diagonal()[:2] = math.sqrt(start)
    state = {"layers.0": half, "layers.1": half.T.clone()}
    errors = []
    for rate in (0.04, 0.02):
        count = round(80 / rate)
        found = descend(deep_linear(widths, values.tolist()), state, rate, count)
        steps = np.arange(count)
        exact = [mode_strength(steps, s, start, loss_scale(widths) * rate) for s in values]
        errors.append(np.abs(found[:, :2] - np.array(exact).T).max())
        assert found[-1, :2] == pytest.approx(values, abs=2e-3)
    # The steps of gradient descent are the only difference: half as long, half as far off.
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_what_starts_at_nothing_stays_there():
    assert not mode_strength(np.array([0, 10, 10**9]), 2.0, 0.0, rate=0.1).any()
    small = mode_strength(np.array([5]), 2.0, 1e-300, rate=0.1)
    assert small == pytest.approx(1e-300 * math.exp(4 * 0.1 * 2.0 * 5))


def test_a_random_start_becomes_balanced_and_follows_the_same_curve():
    widths, rate, count = [4, 5, 4], 0.05, 2000
    problem = deep_linear(widths, [5.0, 1.5], initial_scale=1e-3)
    found = descend(problem, untrained(problem, seed=0).state_dict(), rate, count)
    for mode, strength in ((0, 5.0), (1, 1.5)):
        middle = int(np.argmax(found[:, mode] > strength / 2))
        speed = 4 * loss_scale(widths) * rate * strength
        start = strength / (1 + math.exp(speed * middle))
        exact = mode_strength(np.arange(count), strength, start, loss_scale(widths) * rate)
        learnt = slice(middle - round(3 / speed), middle + round(8 / speed))
        assert np.abs(found[learnt, mode] - exact[learnt]).max() < 0.03 * strength


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep_linear([3]), "two widths or more"),
        (lambda: deep_linear([3, 0, 3]), "positive whole numbers"),
        (lambda: deep_linear([3, 3, 3], [1.0, 0.0]), "singular values must be positive"),
        (lambda: deep_linear([3, 3, 3], [math.nan]), "singular values must be positive"),
        (lambda: saddles([3, 3, 3], [-1.0]), "singular values must be positive"),
        (lambda: saddles([3, 3, 2], [1.0] * 3), "cannot have rank 3"),
        (lambda: mode_strength(np.arange(3), 1.0, 1.0, math.inf), "positive rate"),
        (lambda: deep_linear([3, 3, 3], [1.0], -1.0), "initial_scale must be at least 0"),
        (lambda: deep_linear([3, 3, 2], [1.0] * 3), "cannot have rank 3"),
        (lambda: mode_strength(np.arange(3), 0.0, 1.0, 0.1), "positive singular value"),
        (lambda: mode_strength(np.arange(3), 1.0, -1.0, 0.1), "start of at least 0"),
    ],
)
def test_the_impossible_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
