"""The process against its own definition: covariances written out, and what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from ontogeny.analysis import process as process_module
from ontogeny.analysis.process import Process, fit_process, posterior

X = np.linspace(0, 10, 40)


def matern(a, b, length_scale):
    u = np.sqrt(5) * np.abs(np.subtract.outer(a, b)) / length_scale
    return (1 + u + u**2 / 3) * np.exp(-u)


def known(noise=0.1):
    return Process(X, 1.5, 0.8, 0.0, np.full(40, noise), noise**2 * np.eye(40), 0.0)


def test_the_posterior_is_that_of_a_gaussian_vector():
    at = np.array([0.3, 5.0, 12.0])
    weights, directions = posterior(known(), at)
    joint = 1 + 1.5**2 * matern(np.append(X, at), np.append(X, at), 0.8)
    gain = joint[40:, :40] @ np.linalg.inv(joint[:40, :40] + 0.01 * np.eye(40))
    np.testing.assert_allclose(weights, gain, atol=1e-9)
    rest = joint[40:, 40:] - gain @ joint[:40, 40:]
    np.testing.assert_allclose(directions.T @ directions, rest, atol=1e-9)


def test_a_rougher_reading_has_a_shorter_length_scale_and_slopes_as_steep():
    rough, _ = posterior(known(), X, 0.5)
    inside = Process(X, 0.75, 0.4, 0.0, np.full(40, 0.1), 0.01 * np.eye(40), 0.0)
    np.testing.assert_allclose(rough, posterior(inside, X)[0])


@pytest.mark.parametrize("stderr", [0.0, 0.1])
def test_the_gradient_is_the_derivative(stderr):
    values = np.sin(X) + 0.1 * np.random.default_rng(0).normal(size=40)
    model = process_module._Model(X, values, np.full(40, stderr), np.full(40, 0.05), 4)
    at = model.mean + 0.3
    error = check_grad(lambda t: model.objective(t)[0], lambda t: model.objective(t)[1], at)
    assert error < 1e-4 * np.abs(model.objective(at)[1]).max()


def test_what_was_put_in_comes_out():
    rng = np.random.default_rng(1)
    x = np.linspace(0, 40, 300)
    covariance = matern(x, x, 1.5) + 1e-9 * np.eye(300)
    sizes = np.where(x < 20, 0.02, 0.3)
    values = np.linalg.cholesky(covariance) @ rng.normal(size=300) + sizes * rng.normal(size=300)
    found = fit_process(x, values, 0 * x, 0 * x)
    # About 25 length scales and 150 values on each side: a third, and a fifth, are four errors.
    assert abs(np.log(found.length_scale / 1.5)) < np.log(1.4)
    assert abs(np.log(np.median(found.noise[20:120]) / 0.02)) < np.log(1.5)
    assert abs(np.log(np.median(found.noise[180:280]) / 0.3)) < np.log(1.25)
