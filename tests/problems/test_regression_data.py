"""Sequences have the stated law, and the known predictors are what their names say."""

import math

import numpy as np
import pytest
import torch

from ontogeny.problems import regression
from ontogeny.problems.regression_data import (
    Regression,
    discrete_predictor,
    draw_pairs,
    known_predictions,
    ridge_predictor,
    task_set,
)
from ontogeny.streams import random_stream

SETTING = Regression()


def test_data_have_the_stated_variances():
    """Var(y) = D + σ², and its estimate from n sequences has a relative error near sqrt(5 / n)."""
    n = 200_000
    x, y = draw_pairs(SETTING, n, random_stream(0, "test"))
    assert abs(x.var().item() - 1) < 4 * math.sqrt(2 / (n * 32))
    squares = y[:, 0].square()
    error = squares.std().item() / math.sqrt(n)
    assert abs(squares.mean().item() - 4.125) < 4 * error


def test_the_same_stream_gives_the_same_sequences_at_every_scale():
    plain_x, plain_y = draw_pairs(SETTING, 6, random_stream(0, "test"))
    x, y = draw_pairs(SETTING, 6, random_stream(0, "test"), input_scale=3.0)
    _, task_y = draw_pairs(SETTING, 6, random_stream(0, "test"), task_scale=3.0)
    torch.testing.assert_close(x, 3 * plain_x)
    torch.testing.assert_close(y, task_y)
    assert not torch.allclose(y, plain_y)


def test_finite_worlds_have_only_their_tasks():
    """Without noise every y is t·x for one of the tasks."""
    setting = Regression(n_tasks=3, noise_variance=1e-12)
    tasks = task_set(setting)
    assert tasks.shape == (3, 4)
    x, y = draw_pairs(setting, 50, random_stream(0, "test"))
    misfit = (torch.einsum("npd,td->npt", x, tasks) - y[..., None]).abs().amax(dim=1)
    assert misfit.amin(dim=1).max() < 1e-4
    assert len(set(misfit.argmin(dim=1).tolist())) == 3


def test_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    x, y = draw_pairs(SETTING, 5, random_stream(0, "test"))
    found = ridge_predictor(x, y, SETTING.noise_variance)
    for i in range(5):
        assert found[i, 0] == 0
        for k in range(1, 8):
            oracle = Ridge(alpha=SETTING.noise_variance, fit_intercept=False)
            oracle.fit(x[i, :k].double().numpy(), y[i, :k].double().numpy())
            predicted = oracle.predict(x[i, k : k + 1].double().numpy())[0]
            assert found[i, k].item() == pytest.approx(predicted, rel=1e-8)


def test_ridge_has_the_bayes_risk():
    """E[(ŷ_1 − y_1)²] = D + σ², and later positions as integrated by others to 1 %."""
    x, y = draw_pairs(SETTING, 100_000, random_stream(0, "test"))
    errors = (ridge_predictor(x, y, 0.125) - y).square()
    stderr = errors.std(dim=0) / math.sqrt(len(errors))
    assert abs(errors[:, 0].mean() - 4.125) < 4 * stderr[0]
    listed = np.array([4.13, 3.18, 2.28, 1.475, 0.898, 0.573, 0.410, 0.322])
    rounding = 0.005
    assert (np.abs(errors.mean(dim=0).numpy() - listed) < 4 * stderr.numpy() + rounding).all()


def test_dmmse_is_the_posterior_mean():
    """Its slow twin: Bayes' rule, one example, one position, one task at a time."""
    setting = Regression(n_tasks=5)
    tasks = task_set(setting).double()
    x, y = (tensor.double() for tensor in draw_pairs(setting, 3, random_stream(0, "test")))
    found = discrete_predictor(x, y, tasks, setting.noise_variance)
    for i in range(3):
        for k in range(8):
            weights = []
            for task in tasks:
                likelihood = 1.0
                for j in range(k):
                    residual = (y[i, j] - task @ x[i, j]).item()
                    likelihood *= math.exp(-(residual**2) / (2 * setting.noise_variance))
                weights.append(likelihood)
            mean = sum(w * t for w, t in zip(weights, tasks, strict=True)) / sum(weights)
            assert found[i, k].item() == pytest.approx((mean @ x[i, k]).item(), rel=1e-9)


def test_dmmse_is_better_than_ridge_where_tasks_are_few():
    setting = Regression(n_tasks=4)
    x, y = draw_pairs(setting, 5_000, random_stream(0, "test"))
    known = known_predictions(setting, x, y)
    gain = (known["ridge"] - y).square() - (known["dmmse"] - y).square()
    per_example = gain.mean(dim=1)
    assert per_example.mean() > 4 * per_example.std() / math.sqrt(len(y))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_dims": 0}, "n_dims must be at least 1, not 0"),
        ({"noise_variance": 0.0}, "noise_variance must be positive"),
        ({"n_heads": 5}, "5 heads do not divide a d_model of 64"),
        ({"n_tasks": 0}, "n_tasks must be at least 1"),
        ({"n_pears": 8}, "unexpected keyword argument 'n_pears'"),
    ],
)
def test_impossible_settings_get_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        regression(**settings)
