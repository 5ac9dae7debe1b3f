"""The toy model of superposition: its exact loss, its critical points, how far weights are."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from ontogeny.problems import check_problem, load_problem, tabulate, untrained
from ontogeny.problems.superposition import (
    critical_point,
    critical_points,
    distances_to_critical_points,
    polygon,
    population_loss,
    superposition,
)

SIZES = [(6, 2), (8, 2), (4, 1), (7, 3)]


def random_weights(seed, features=6, hidden=2, spread=0.9):
    stream = torch.Generator().manual_seed(seed)
    drawn = torch.randn(hidden + 1, features, generator=stream, dtype=torch.float64)
    return spread * drawn[:hidden], 0.6 * drawn[hidden] - 0.2


def state_of(weights, bias):
    return {"weights": weights, "bias": bias}


def flat_loss(x, features=6, hidden=2):
    return population_loss(x[: hidden * features].reshape(hidden, features), x[hidden * features :])


# The loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_of_quadrature(seed):
    weights, bias = random_weights(seed, features=4)
    slope = weights.T @ weights
    total = 0.0
    for i in range(4):
        for j in range(4):
            s, b, target = slope[i, j].item(), bias[j].item(), float(i == j)
            kink = -b / s
            points = [kink] if 0 < kink < 1 else None
            total += quad(
                lambda a, s=s, b=b, target=target: (target * a - max(s * a + b, 0.0)) ** 2,
                0,
                1,
                points=points,
            )[0]
    assert population_loss(weights, bias).item() == pytest.approx(total / 4, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_mean_over_examples(seed):
    problem = superposition(examples=200_000, data_seed=seed)
    model = untrained(problem, seed=0)
    model.load_state_dict(state_of(*random_weights(seed)))
    with torch.no_grad():
        losses = problem.loss(model, problem.batch(200_000, torch.Generator()))
        exact = population_loss(model.weights, model.bias)
    error = losses.std() / len(losses) ** 0.5
    assert abs(losses.mean() - exact) < 4 * error


def test_a_feature_without_weights_is_handled():
    weights, bias = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([-1.0, 0.0, 0.5]).double()
    # The first two say nothing; the third says a half, which costs ∫(a − ½)² + 2 · ¼.
    assert population_loss(weights, bias).item() == pytest.approx((2 / 3 + 1 / 12 + 0.5) / 3)


# The problem -------------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [0, 20])
def test_it_is_sound_and_found_by_its_address(examples):
    problem = superposition(start="4++", jitter=0.1, examples=examples, data_seed=3)
    check_problem(problem)
    again = load_problem(problem.name, json.loads(json.dumps(problem.settings)))
    batch, other = (one.batch(5, torch.Generator().manual_seed(1)) for one in (problem, again))
    assert torch.equal(batch[0], other[0])
    assert [point.data for point in again.critical_points[-1:]] == [
        "all" if examples else "population"
    ]


def test_a_batch_as_large_as_the_training_set_is_all_of_it():
    problem = superposition(examples=30)
    (batch,) = problem.batch(30, torch.Generator().manual_seed(5))
    (all_of_it,) = problem.datasets["all"](30, torch.Generator())
    assert torch.equal(batch.sum(dim=1).sort()[0], all_of_it.sum(dim=1).sort()[0])
    assert ((all_of_it > 0).sum(dim=1) == 1).all()
    (more,) = problem.batch(60, torch.Generator().manual_seed(5))
    assert torch.equal(more[:30].sum(dim=1).sort()[0], more[30:].sum(dim=1).sort()[0])


def test_the_population_is_a_data_set_of_a_training_set():
    problem = superposition(start="5", examples=30)
    model = problem.model()
    losses = problem.loss(model, problem.datasets["population"](3, torch.Generator()))
    assert losses.tolist() == [critical_points()[-3].loss] * 3


def test_it_starts_where_it_is_told():
    model = untrained(superposition(start="4+", shrink=0.5), seed=0)
    assert torch.equal(model.weights, critical_point("4+")["weights"] / 2)
    assert torch.equal(model.bias, critical_point("4+")["bias"])
    assert not untrained(superposition(), seed=0).weights.any()


def test_its_metrics_are_exact():
    problem = superposition(start="6")
    table = tabulate(0, problem.metrics(problem.model(), 1, 0))
    found = dict(zip(zip(table.names, table.items, strict=True), table.values, strict=True))
    assert found["loss", ""] == critical_points()[-1].loss
    assert found["column_norm", "1"] == pytest.approx(polygon(6)[0])
    assert found["distance_to", "6"] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: superposition(features=1, hidden=2), "at least as many features"),
        (lambda: superposition(hidden=0), "one dimension or more"),
        (lambda: superposition(start="9-gon"), "there are 0, 0"),
        (lambda: superposition(examples=-1), "examples must be a whole number"),
        (lambda: superposition(shrink=np.nan), "must be finite"),
        (lambda: critical_point("4++++"), "is called '4"),
    ],
)
def test_bad_input_gets_one_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# Critical points ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_the_gradient_is_zero(features, hidden):
    for point in critical_points(features, hidden):
        state = critical_point(point.name, features, hidden)
        x = torch.cat([state["weights"].flatten(), state["bias"]])
        slope = torch.func.grad(lambda x: flat_loss(x, features, hidden))(x)
        assert slope.abs().max() < 1e-14, point.name


def test_losses_and_coefficients_are_those_of_the_paper():
    # Chen et al. (arXiv 2310.06301): losses of 4, 4+, 5, 5+, 6 and λ of the last three.
    known = {point.name: point for point in critical_points()}
    losses = {"4": 0.11111, "4+": 0.10417, "5": 0.06874, "5+": 0.06180, "6": 0.04819}
    assert {name: round(known[name].loss, 5) for name in losses} == losses
    assert [known[name].learning_coefficient for name in ("5", "5+", "6")] == [7.0, 8.5, 8.5]
    corners = {5: (1.17046, -0.28230), 6: (1.32053, -0.61814), 7: (1.44839, -0.96691)}
    for k, (length, bias) in corners.items():
        assert polygon(k) == pytest.approx((length, bias), abs=6e-6)


def test_the_loss_has_a_closed_form():
    for point in critical_points():
        k, plus = int(point.name[0]), point.name.count("+")
        among = 3 * k * population_loss(*critical_point(str(k), k).values()).item() if k > 1 else 0
        assert point.loss == pytest.approx((among + 6 - k - plus * 3 / 24) / 18, abs=1e-14)


@pytest.mark.parametrize(("features", "name"), [(6, "5"), (6, "5+"), (6, "6"), (8, "7+"), (8, "8")])
def test_beyond_four_corners_lambda_is_half_the_rank_of_the_hessian(features, name):
    state = critical_point(name, features)
    x = torch.cat([state["weights"].flatten(), state["bias"]])
    hessian = torch.func.jacrev(torch.func.grad(lambda x: flat_loss(x, features)))(x)
    eigenvalues = np.linalg.eigvalsh(hessian.numpy())
    (point,) = [one for one in critical_points(features) if one.name == name]
    assert eigenvalues.min() > -1e-12
    assert point.learning_coefficient == (eigenvalues > 1e-6).sum() / 2


def test_descent_comes_back_to_minima_and_leaves_saddles():
    """The way down from a saddle may be a narrow cone, which no random step meets."""
    points = critical_points()
    states = [critical_point(point.name) for point in points]
    x = torch.stack([torch.cat([one["weights"].flatten(), one["bias"]]) for one in states])
    random = torch.Generator().manual_seed(0)
    x = x[:, None] + 1e-2 * torch.randn(len(points), 8, 18, generator=random, dtype=torch.float64)
    x, start = x.flatten(0, 1), torch.tensor([point.loss for point in points])
    slope = torch.func.vmap(torch.func.grad(flat_loss))
    for _ in range(2000):
        x = x - 1.0 * slope(x)
    lowest = torch.func.vmap(flat_loss)(x).view(len(points), 8).min(dim=1).values
    assert (lowest > start - 1e-6).tolist() == [point.minimum for point in points]


@pytest.mark.parametrize("name", ["4", "4+", "4++"])
def test_around_a_square_the_loss_grows_like_the_square_of_the_distance(name):
    state = critical_point(name)
    x = torch.cat([state["weights"].flatten(), state["bias"]])
    random = torch.Generator().manual_seed(0)
    steps = 1e-4 * torch.randn(300, 18, generator=random, dtype=torch.float64)
    rise, twice = (torch.func.vmap(flat_loss)(x + f * steps) - flat_loss(x) for f in (1, 2))
    assert torch.allclose(twice, 4 * rise, rtol=5e-3)


# Distances ---------------------------------------------------------------------------------------


def distances(state):
    return distances_to_critical_points(state["weights"].numpy(), state["bias"].numpy())


@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_each_critical_point_is_nearest_to_itself(features, hidden):
    for point in critical_points(features, hidden):
        found = distances(critical_point(point.name, features, hidden))
        assert found[point.name] == pytest.approx(0, abs=1e-7)
        assert min(value for name, value in found.items() if name != point.name) > 0.05


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 7), st.booleans())
def test_turning_reflecting_and_renaming_change_no_distance(seed, angle, mirrored):
    weights, bias = random_weights(seed)
    turn = torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float64
    ) @ torch.diag(torch.tensor([1.0, -1.0 if mirrored else 1.0]).double())
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    before = distances(state_of(weights, bias))
    after = distances(state_of((turn @ weights)[:, order], bias[order]))
    assert after == pytest.approx(before, abs=1e-7)


@pytest.mark.parametrize(("name", "features", "hidden"), [("5+", 6, 2), ("4++", 7, 3), ("2", 4, 1)])
def test_small_noise_is_as_far_as_it_is_long(name, features, hidden):
    state = critical_point(name, features, hidden)
    random = torch.Generator().manual_seed(0)
    noise = 1e-3 * torch.randn(hidden + 1, features, generator=random, dtype=torch.float64)
    moved = state_of(state["weights"] + noise[:hidden], state["bias"] + noise[hidden])
    # Rotations and negative biases are flat, so a little less.
    assert 0.5 * noise.norm() < distances(moved)[name] <= noise.norm() + 1e-12


def test_a_feature_that_is_given_up_may_have_any_negative_bias():
    state = critical_point("5")
    state["bias"][5] = -17.0
    assert distances(state)["5"] == pytest.approx(0, abs=1e-7)
