"""Null models: their own laws, whether they find a run's, and what they make of forms."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ontogeny.analysis.forms import find_forms
from ontogeny.analysis.nulls import (
    Walk,
    _components,
    _kicks,
    _white_noise,
    lissajous_shares,
    null_models,
    surrogate_scores,
    weigh_forms,
)
from ontogeny.analysis.turns import lay_grid, on_grid

STEPS = 100 * np.arange(1, 201)


def brownian(seed, dimensions, steps=STEPS, components=3):
    """A random walk, on its principal components where it has more dimensions."""
    walk = np.random.default_rng(seed).normal(size=(len(steps), dimensions)).cumsum(axis=0)
    if dimensions <= components:
        return walk
    left, singular, _ = np.linalg.svd(walk - walk.mean(axis=0), full_matrices=False)
    return left[:, :components] * singular[:components]


def corner(steps=STEPS, noise=0.005, seed=0):
    along = (steps - steps[len(steps) // 2]) / steps[-1]
    path = np.minimum(along, 0)[:, None] * [1.0, 1.0, 0.2]
    path += np.maximum(along, 0)[:, None] * [-1.0, -0.3, -1.0]
    return path + noise * np.random.default_rng(seed).normal(size=path.shape)


# The laws of the surrogates -----------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [3.0, 30.0, 1000.0])
def test_kicks_have_the_gram_matrix_of_gaussian_vectors(dimensions):
    """The diagonal is chi-squared over D, the rest has mean 0 and variance 1/D."""
    count, n = 400, 20
    kicks = _kicks(count, n, dimensions, np.random.default_rng(0)).astype(float)
    gram = kicks @ kicks.transpose(0, 2, 1)
    np.testing.assert_allclose(
        gram.mean(axis=0), np.eye(n), atol=4.5 * (2 / dimensions / count) ** 0.5
    )
    diagonal = gram[:, np.arange(n), np.arange(n)]
    others = gram[:, *np.triu_indices(n, 1)]
    # Variances of variances, of chi-squared and of products of normals, are at most 15 of them.
    assert diagonal.var() == pytest.approx(2 / dimensions, rel=4 * (15 / diagonal.size) ** 0.5)
    assert others.var() == pytest.approx(1 / dimensions, rel=4 * (15 / count / n) ** 0.5)


@pytest.mark.parametrize("dimensions", [4, 40])
def test_components_are_those_of_a_singular_value_decomposition(dimensions):
    grid = lay_grid(STEPS)
    walks = np.random.default_rng(1).normal(size=(3, len(grid.steps), dimensions)).cumsum(axis=1)
    found = _components(walks, grid, 3)
    for walk, scores in zip(walks, found, strict=True):
        weights = np.sqrt(grid.weights)[:, None]
        centered = weights * (walk - np.average(walk, axis=0, weights=grid.weights))
        left = np.linalg.svd(centered, full_matrices=False)[0][:, :3]
        overlaps = np.abs((weights * scores).T @ left) / np.sqrt(grid.weights.sum())
        # Four subspace iterations leave at most the eighth power of a ratio of singular values.
        np.testing.assert_allclose(overlaps, np.eye(3), atol=1e-3)


def test_walks_in_endless_dimensions_are_cosines():
    grid, n = lay_grid(STEPS), len(lay_grid(STEPS).steps)
    rate = 1 / np.gradient(grid.scales[0].places)
    noise, path = np.zeros((n, 3)), np.zeros((n, 3))
    walk = Walk(grid, path, rate, noise, np.eye(3), dimensions=1e9)
    (drawn,) = walk.draw(1, np.random.default_rng(2))
    clock = np.linspace(0, 1, n)
    for k in range(3):
        correlation = np.corrcoef(drawn[:, k], np.cos(np.pi * (k + 1) * clock))[0, 1]
        assert abs(correlation) > 0.98


def test_surrogates_have_the_covariance_of_the_run():
    path = brownian(3, 3)
    grid = lay_grid(STEPS)
    covariance = np.cov(on_grid(path, grid).T, aweights=grid.weights, ddof=0)
    for null in null_models(path, STEPS):
        for drawn in null.draw(3, np.random.default_rng(4)):
            found = np.cov(drawn.T, aweights=grid.weights, ddof=0)
            np.testing.assert_allclose(found, covariance, rtol=0.2, atol=0.05 * covariance.max())


def test_lissajous_shares_add_up_to_one():
    assert lissajous_shares(10**5).sum() == pytest.approx(1, abs=1e-5)


# What a run suggests ------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [30, 300])
def test_the_number_of_dimensions_of_a_walk_is_found(dimensions):
    steps = 100 * np.arange(1, 301)
    found = [
        null_models(brownian(seed, dimensions, steps), steps).brownian.dimensions
        for seed in range(3)
    ]
    assert dimensions / 2 < np.exp(np.mean(np.log(found))) < 2 * dimensions


def test_white_noise_is_told_from_a_walk():
    steps = np.arange(3000)
    grid, rng = lay_grid(steps), np.random.default_rng(5)
    walk = rng.normal(size=(3000, 3)).cumsum(axis=0)
    assert not _white_noise(walk, grid).any()
    smooth = np.cos(np.pi * steps[:, None] / 3000 * [1, 2, 3])
    assert not _white_noise(smooth, grid).any()
    noisy = 1e-3 * steps[:, None] + 0.5 * rng.normal(size=(3000, 3))
    found = (_white_noise(noisy, grid) * grid.weights[:, None]).mean()
    # Two standard errors are taken off; the products of 9,000 pairs have about unit variance.
    assert 0.25 * (1 - 6 * 3 / 9000**0.5) < found < 0.25 * 1.1


def test_the_noise_of_a_million_scores_takes_seconds():
    steps = np.arange(1_000_000)
    noisy = 1e-3 * steps[:, None] + np.random.default_rng(10).normal(size=(len(steps), 3))
    started = time.process_time()
    found = (_white_noise(noisy, grid := lay_grid(steps)) * grid.weights[:, None]).mean()
    assert time.process_time() - started < 20
    assert found == pytest.approx(1, rel=0.05)


# Forms, weighed -----------------------------------------------------------------------------------


def test_a_planted_form_stands_above_the_walk():
    weighed = weigh_forms(corner(), STEPS, surrogates=99)
    best = max(weighed.forms, key=lambda form: form.score)
    assert abs(best.step - 10_100) < 300
    assert best.p_value == best.p_values["brownian"] <= 0.02
    assert set(best.p_values) == {"brownian", "ornstein_uhlenbeck", "phase_randomised"}


def test_p_values_are_counted_from_the_surrogates():
    path = brownian(6, 3)
    weighed = weigh_forms(path, STEPS, surrogates=60, seed=7)
    null = null_models(path, STEPS, 7).brownian
    best = np.concatenate(list(surrogate_scores(null, 60, 7)))
    assert len(best) == 60
    assert weighed.forms
    for form in weighed.forms:
        assert form.p_value == (1 + (best >= form.score).sum()) / 61


def test_the_same_seed_gives_the_same_p_values_and_forms_are_those_that_are_found():
    path = brownian(8, 3)
    once, again = (weigh_forms(path, STEPS, surrogates=19) for _ in range(2))
    assert once == again
    assert [form.step for form in once.forms] == [form.step for form in find_forms(path, STEPS)]


def test_a_path_without_a_form_has_nothing_to_weigh():
    line = STEPS[:, None] * np.array([1.0, 2.0, -1.0])
    line[:, 1] += 1e-3 * np.sin(STEPS)
    assert weigh_forms(line, STEPS, surrogates=5).forms == ()


@pytest.mark.parametrize("components", [2, 3])
def test_the_fewest_checkpoints_are_weighed_without_a_warning(components):
    path = brownian(9, components, STEPS[:8])
    for form in weigh_forms(path, STEPS[:8], surrogates=19).forms:
        assert 0 < form.p_value <= 1


def test_a_path_that_is_smoother_than_any_walk_is_known_as_one():
    t = np.linspace(0, 1, len(STEPS))[:, None]
    smooth = np.hstack([t, t**2, t**3]) - 0.5
    assert weigh_forms(smooth, STEPS, surrogates=1).smoother
    assert not weigh_forms(brownian(3, 30), STEPS, surrogates=1).smoother
