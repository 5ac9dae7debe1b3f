"""The landscape of the toy model of superposition: its exact loss, its critical points."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from ontogeny.problems.superposition_landscape import (
    critical_point,
    critical_points,
    polygon,
    population_loss,
)

SIZES = [(6, 2), (8, 2), (4, 1), (7, 3)]


def random_weights(seed, features=6, hidden=2, spread=0.9):
    stream = torch.Generator().manual_seed(seed)
    drawn = torch.randn(hidden + 1, features, generator=stream, dtype=torch.float64)
    return spread * drawn[:hidden], 0.6 * drawn[hidden] - 0.2


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


def test_a_feature_without_weights_is_handled():
    weights, bias = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([-1.0, 0.0, 0.5]).double()
    # The first two say nothing; the third says a half, which costs ∫(a − ½)² + 2 · ¼.
    assert population_loss(weights, bias).item() == pytest.approx((2 / 3 + 1 / 12 + 0.5) / 3)


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


@pytest.mark.parametrize(("features", "name"), [(7, "5+"), (8, "5++"), (8, "6+")])
def test_a_hidden_feature_leads_down_beside_a_positive_bias(features, name):
    state = critical_point(name, features)
    x = torch.cat([state["weights"].flatten(), state["bias"]])
    hessian = torch.func.jacrev(torch.func.grad(lambda x: flat_loss(x, features)))(x)
    (point,) = [one for one in critical_points(features) if one.name == name]
    assert np.linalg.eigvalsh(hessian.numpy()).min() < -1e-4
    assert not point.minimum


@pytest.mark.parametrize("name", ["4", "4+", "4++"])
def test_around_a_square_the_loss_grows_like_the_square_of_the_distance(name):
    state = critical_point(name)
    x = torch.cat([state["weights"].flatten(), state["bias"]])
    random = torch.Generator().manual_seed(0)
    steps = 1e-4 * torch.randn(300, 18, generator=random, dtype=torch.float64)
    rise, twice = (torch.func.vmap(flat_loss)(x + f * steps) - flat_loss(x) for f in (1, 2))
    assert torch.allclose(twice, 4 * rise, rtol=5e-3)


LOOSE = {"0": 0, "1": 2, "2": 4, "3": 12}


@pytest.mark.parametrize("name", LOOSE)
def test_fewer_corners_than_four_have_room(name):
    """λ is half the number of coordinates that the loss sees: it is between two multiples of them.

    The lower bound holds everywhere nearby, so that the share of weights with a loss below ε is at
    most C·ε^λ, and the upper one on a share of all directions, so that it is at least c·ε^λ.
    """
    k, state = int(name), critical_point(name)
    (point,) = [one for one in critical_points() if one.name == name]
    assert point.learning_coefficient == LOOSE[name] / 2
    random = torch.Generator().manual_seed(0)
    noise = 1e-3 * torch.randn(40_000, 3, 6, generator=random, dtype=torch.float64)
    weights, bias = state["weights"] + noise[:, :2], state["bias"] + noise[:, 2]
    rise = torch.func.vmap(population_loss)(weights, bias) - population_loss(**state)
    seen = (weights[:, :, :k].norm(dim=1) - 1).square().sum(dim=1)
    seen += bias[:, :k].square().sum(dim=1)
    if k == 3:  # of the others nothing is hidden
        seen += weights[:, :, k:].square().sum(dim=(1, 2))
    assert (rise >= 1e-3 * seen - 1e-15).all()
    assert (rise <= 10 * seen + 1e-15).double().mean() > 1e-3


@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_which_points_have_a_learning_coefficient(features, hidden):
    for point in critical_points(features, hidden):
        told_apart = int(point.name[0])
        known = point.minimum and not (hidden > 2 and 2 < told_apart < 2 * hidden)
        assert (point.learning_coefficient is not None) == known, point.name


def test_polygons_of_too_many_corners_are_refused():
    with pytest.raises(ValueError, match="up to eight corners"):
        polygon(9)
