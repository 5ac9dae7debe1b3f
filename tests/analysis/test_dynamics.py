"""Essential dynamics against curves whose evolutes are known, random walks and slow twins."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import PCA

from ontogeny.analysis import dynamics
from ontogeny.analysis.dynamics import (
    essential_dynamics,
    osculating_circles,
    project,
    smooth_along_arc,
    smooth_trajectory,
)
from ontogeny.records import Outputs

INNER = slice(2, -2)
"""Points whose finite differences are central, in velocity and in acceleration."""


def curve(x, y):
    return np.stack([x, y], axis=1)


def ellipse(t, a=3.0, b=2.0):
    return curve(a * np.cos(t), b * np.sin(t))


def ellipse_evolute(t, a=3.0, b=2.0):
    return curve((a**2 - b**2) / a * np.cos(t) ** 3, (b**2 - a**2) / b * np.sin(t) ** 3)


def outputs_of(values):
    return Outputs(10 * np.arange(len(values)), np.asarray(values))


def some_outputs(seed=0, steps=30, coordinates=50):
    return np.random.default_rng(seed).normal(size=(steps, coordinates)).cumsum(axis=0)


# The exact answer: circles and evolutes ----------------------------------------------------------


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_circle_is_its_own_osculating_circle(turn):
    t = np.linspace(0, 5, 1001)
    circles = osculating_circles([1.0, -2.0] + 3 * curve(np.cos(turn * t), np.sin(turn * t)), t)
    # Central differences scale v by s = sin(h)/h and a by s**2, hence the radius by exactly 1 in
    # v**3/(v x a), in the inner points.
    np.testing.assert_allclose(circles.radii[INNER], turn * 3, rtol=1e-9)
    np.testing.assert_allclose(circles.centers[INNER] - [1.0, -2.0], 0, atol=1e-8)


def test_the_evolute_of_an_ellipse_is_an_astroid():
    a, b, t = 3.0, 2.0, np.linspace(0, 2 * np.pi, 4001)
    x, y = osculating_circles(ellipse(t, a, b), t).centers[INNER].T
    left = np.cbrt(a * x) ** 2 + np.cbrt(b * y) ** 2
    # Near the axes the cube roots magnify the error h**2 of the centres to its 2/3rd power.
    np.testing.assert_allclose(left, (a**2 - b**2) ** (2 / 3), atol=10 * (t[1] ** 2) ** (2 / 3))


def test_the_evolute_of_an_ellipse_has_its_four_cusps_at_the_vertices():
    a, b, t = 3.0, 2.0, np.linspace(-0.5, 2 * np.pi - 0.5, 4001)
    centers = osculating_circles(ellipse(t, a, b), t).centers[INNER]
    speed = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    slow = 1 + np.flatnonzero((speed[1:-1] < speed[:-2]) & (speed[1:-1] < speed[2:]))
    halfway = (t[INNER][slow] + t[INNER][slow + 1]) / 2
    np.testing.assert_allclose(halfway, np.pi / 2 * np.arange(4), atol=t[1] - t[0])
    cusps = [[5 / 3, 0], [0, -5 / 2], [-5 / 3, 0], [0, 5 / 2]]
    np.testing.assert_allclose(centers[slow], cusps, atol=1e-4)


def test_the_evolute_of_a_cycloid_is_the_cycloid_shifted():
    def cycloid(t):
        return curve(t - np.sin(t), 1 - np.cos(t))

    t = np.linspace(0.5, 5.5, 4001)
    centers = osculating_circles(cycloid(t), t).centers[INNER]
    shifted = cycloid(t + np.pi) - [np.pi, 2.0]
    # |c'''' / c''| <= 5 on this arc; two finite differences of error h**2 each.
    np.testing.assert_allclose(centers, shifted[INNER], atol=50 * (t[1] - t[0]) ** 2)


@pytest.mark.parametrize("warp", [0.0, 0.5, 0.9])
def test_circles_converge_in_second_order_on_any_smooth_spacing(warp):
    errors = []
    for intervals in (400, 800, 1600):
        s = np.linspace(0, 5, intervals + 1)
        t, times = s + np.sin(2 * s) / 4, s + warp * np.sin(s)
        found = osculating_circles(ellipse(t), times).centers
        errors.append(np.abs(found - ellipse_evolute(t))[INNER].max())
    orders = -np.diff(np.log2(errors))
    np.testing.assert_allclose(orders, 2, atol=0.1)


def test_where_a_curve_is_straight_or_at_rest_circles_are_not_finite_and_nothing_warns():
    t = np.arange(9.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        straight = osculating_circles(curve(t, 2 * t), t)
        resting = osculating_circles(np.ones((9, 2)), t)
    assert np.isinf(straight.radii).all()
    assert not np.isfinite(straight.centers).all(axis=1).any()
    assert np.isnan(resting.radii).all()
    assert np.isnan(resting.centers).all()


def test_a_rest_in_the_middle_leaves_the_rest_of_the_curve_alone():
    t = np.linspace(0, 3, 301)
    paused = ellipse(np.concatenate([t[:150], np.full(20, t[150]), t[151:]]))
    circles = osculating_circles(paused, np.arange(320.0))
    assert np.isnan(circles.radii[155:165]).all()
    np.testing.assert_allclose(circles.centers[200:250], ellipse_evolute(t)[181:231], atol=1e-3)


# The exact answer: smoothing ---------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=60, unique=True))
@settings(max_examples=30, deadline=None)
def test_smoothing_leaves_straight_lines_alone_at_any_spacing(chosen):
    steps = np.sort(chosen)
    lines = np.stack([np.full(len(steps), 2.0), 1 - 3e-6 * steps], axis=1)
    np.testing.assert_allclose(smooth_trajectory(lines, steps), lines, atol=1e-9)


def test_late_in_training_smoothing_is_a_gaussian_filter():
    steps = np.arange(0, 50_000, 10)
    noise = np.random.default_rng(0).normal(size=(len(steps), 3))
    # At step t the kernel is W / sqrt(1 + (5 W / t)**2) wide, with W = 1.2 % of the last step.
    at, late = 4000, 0.012 * steps[-1]
    checkpoints = late / np.sqrt(1 + (5 * late / steps[at]) ** 2) / 10
    expected = gaussian_filter1d(noise, checkpoints, axis=0, truncate=12)[at]
    np.testing.assert_allclose(smooth_trajectory(noise, steps)[at], expected, rtol=1e-9)


def test_early_in_training_the_kernel_is_a_fifth_of_the_step_wide():
    steps, at = np.arange(4001), 500
    impulse = np.zeros((len(steps), 1))
    impulse[at] = 1
    weight = smooth_trajectory(impulse, steps, width=1.0)[at, 0]
    # h(t) is below t/5 by the factor sqrt(1 + (t / 5W)**2), which is 1 + 3e-4 here.
    assert weight == pytest.approx(1 / (0.2 * steps[at] * np.sqrt(2 * np.pi)), rel=1e-3)


def test_the_kernel_is_never_narrower_than_the_spacing_of_checkpoints():
    steps = np.array([0, 100, 200, 300, 400])
    alternating = np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0]])
    kernel = np.exp([-2.0, -0.5, 0.0, -0.5, -2.0])
    expected = kernel @ alternating / kernel.sum()
    smoothed = smooth_trajectory(alternating, steps, width=1e-6)
    np.testing.assert_allclose(smoothed[2], expected, rtol=1e-12)


def test_smoothing_makes_no_corner_in_a_circle():
    steps = 100 * np.arange(1, 1001)
    angle = np.sqrt(steps / steps[-1])
    smoothed = smooth_trajectory(curve(np.cos(angle), np.sin(angle)), steps)
    radii = osculating_circles(smoothed, steps).radii
    # The kernel spans an angle of at most h/(2 sqrt(t T)) < 0.05, half of whose square is lost by
    # averaging; that loss varies slowly along the arc, except where the kernel's width meets the
    # spacing of the checkpoints, at step 500. At the end it is fitted from one side only.
    np.testing.assert_allclose(radii[10:-50], 1, atol=0.02)


def test_a_trajectory_carries_its_scores_smoothed():
    trajectory = essential_dynamics(outputs_of(some_outputs(12)), width=0.1)
    expected = smooth_trajectory(trajectory.scores, trajectory.steps, 0.1)
    np.testing.assert_array_equal(trajectory.smoothed, expected)


# Along the path ----------------------------------------------------------------------------------


def test_along_the_path_smoothing_does_not_depend_on_the_pace():
    """Half a circle of length pi: the kernel is the same arc whether it is gone evenly or not."""
    t = np.linspace(0, 1, 2001)
    found = []
    for pace in (t, t**2 * (3 - 2 * t)):
        angle = np.pi * pace
        smooth, along = smooth_along_arc(curve(np.cos(angle), np.sin(angle)), 1 + np.arange(2001))
        middle = np.argmin(np.abs(angle - np.pi / 2))
        # A kernel that spans the angle h lowers the radius by the factor exp(-h²/2).
        assert np.linalg.norm(smooth[middle]) == pytest.approx(
            np.exp(-((0.012 * np.pi) ** 2) / 2), abs=2e-5
        )
        found.append(along[-1])
    np.testing.assert_allclose(found, np.pi, rtol=0.01)


def test_along_the_path_a_long_rest_is_one_point():
    path = np.concatenate([np.linspace(0, 1, 100), np.ones(300), np.linspace(1, 2, 100)])
    trembling = np.stack([path, 1e-3 * np.random.default_rng(0).normal(size=500)], axis=1)
    steps = np.arange(1, 501)
    rest = slice(150, 350)
    in_steps = np.std(smooth_trajectory(trembling, steps, 0.012)[rest, 1])
    along = np.std(smooth_along_arc(trembling, steps, 0.012)[0][rest, 1])
    assert along < in_steps / 3


def test_a_path_without_length_is_refused():
    with pytest.raises(ValueError, match="no length to smooth along"):
        smooth_along_arc(np.ones((9, 2)), np.arange(9))


# Many checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [2, 300])
def test_components_without_the_gram_matrix_are_the_same(monkeypatch, rank):
    rng = np.random.default_rng(13)
    values = rng.normal(size=(200, rank)).cumsum(axis=0) @ rng.normal(size=(rank, 500)) + 3
    outputs = outputs_of(values.astype(np.float32))
    exact = essential_dynamics(outputs)
    monkeypatch.setattr(dynamics, "LARGEST_GRAM", 100)
    iterated = essential_dynamics(outputs, block=64)
    assert iterated.scores.shape == exact.scores.shape == (200, min(4, rank))
    # A residual of 1e-7 of the first eigenvalue, over gaps of at least a hundredth of it.
    np.testing.assert_allclose(
        iterated.scores, exact.scores, atol=1e-5 * np.abs(exact.scores).max()
    )
    np.testing.assert_allclose(
        iterated.explained_variance_ratio, exact.explained_variance_ratio, rtol=1e-8
    )


def test_without_the_gram_matrix_outputs_that_never_change_are_refused(monkeypatch):
    monkeypatch.setattr(dynamics, "LARGEST_GRAM", 5)
    with pytest.raises(ValueError, match="the same at all 7 checkpoints"):
        essential_dynamics(outputs_of(np.full((7, 11), 0.1)))


# The null ----------------------------------------------------------------------------------------


def test_a_random_walk_has_shares_that_fall_like_one_over_k_squared():
    n, coordinates, k = 300, 20_000, np.arange(1, 5)
    walk = np.random.default_rng(1).normal(size=(n, coordinates)).cumsum(axis=0)
    trajectory = essential_dynamics(outputs_of(walk))
    # The centred walk's covariance over steps is the pseudo-inverse of the path's Laplacian, with
    # eigenvalues 1 / (2 - 2 cos(pi k / n)) and trace (n**2 - 1) / 6.
    shares = 6 / (n**2 - 1) / (2 - 2 * np.cos(np.pi * k / n))
    np.testing.assert_allclose(shares, 6 / (np.pi * k) ** 2, rtol=1e-3)
    # In first order each eigenvalue has relative variance 2/coordinates, independently; the
    # squares of all shares sum to 0.4.
    stderr = shares * np.sqrt(2 / coordinates * (1 - 2 * shares + 0.4))
    assert np.all(np.abs(trajectory.explained_variance_ratio - shares) < 4 * stderr)
    # The eigenvectors are cosines, mixed with each other by weights of this variance.
    all_shares = 1 / (2 - 2 * np.cos(np.pi * np.arange(1, n) / n))
    for component in range(4):
        cosine = np.cos(np.pi * (component + 1) * (np.arange(n) + 0.5) / n)
        own, other = all_shares[component], np.delete(all_shares, component)
        mixing = own * other / (own - other) ** 2 / coordinates
        squared = np.corrcoef(trajectory.scores[:, component], cosine)[0, 1] ** 2
        assert 1 - squared < mixing.sum() + 4 * np.sqrt(2 * (mixing**2).sum())


# The slow twins ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 300), (60, 12)])
def test_the_components_are_those_of_scikit_learn(shape):
    values = some_outputs(2, *shape) + 5
    trajectory = essential_dynamics(outputs_of(values), components=6)
    twin = PCA(6, svd_solver="full").fit(values)
    np.testing.assert_allclose(trajectory.scores, twin.transform(values), atol=1e-8)
    np.testing.assert_allclose(trajectory.loadings, twin.components_, atol=1e-8)
    np.testing.assert_allclose(
        trajectory.explained_variance_ratio, twin.explained_variance_ratio_, rtol=1e-9
    )
    np.testing.assert_allclose(trajectory.mean, twin.mean_, rtol=1e-12)


def test_the_components_are_those_of_the_covariance_matrix():
    values = some_outputs(3, 60, 12)
    trajectory = essential_dynamics(outputs_of(values), components=12)
    eigenvalues, vectors = np.linalg.eigh(np.cov(values.T))
    np.testing.assert_allclose(
        trajectory.explained_variance_ratio, eigenvalues[::-1] / eigenvalues.sum(), rtol=1e-9
    )
    alignment = np.abs(trajectory.loadings @ vectors[:, ::-1])
    np.testing.assert_allclose(alignment, np.eye(12), atol=1e-9)
    assert np.all(trajectory.loadings.max(axis=1) == np.abs(trajectory.loadings).max(axis=1))


@pytest.mark.parametrize("block", [1, 7, 49, 50, 1000])
def test_blocks_of_any_size_give_the_same_components(block):
    outputs = outputs_of(some_outputs(4).astype(np.float32))
    whole, parts = essential_dynamics(outputs), essential_dynamics(outputs, block=block)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-10)
    np.testing.assert_allclose(parts.loadings, whole.loadings, atol=1e-10)


def test_memory_is_twice_the_gram_matrix_and_one_block():
    n, coordinates, block = 400, 20_000, 256
    values = np.random.default_rng(5).normal(size=(n, coordinates)).astype(np.float32)
    tracemalloc.start()
    essential_dynamics(outputs_of(values), block=block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = 8 * coordinates * (1 + 3 * 4)  # the mean; loadings, their moduli and their signed copy
    assert peak < 8 * (2 * n * n + n * block) + kept + 1e6


# Invariances -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), offset=st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_scores_do_not_depend_on_rotation_or_offset_of_the_outputs(seed, offset):
    values = some_outputs(seed, coordinates=20)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(20, 20)))[0]
    before = essential_dynamics(outputs_of(values), components=2)
    after = essential_dynamics(outputs_of(values @ rotation + offset), components=2)
    np.testing.assert_allclose(np.abs(after.scores), np.abs(before.scores), atol=1e-7)
    shifted = essential_dynamics(outputs_of(values + offset), components=2)
    np.testing.assert_allclose(shifted.scores, before.scores, atol=1e-7)


@given(warp=st.floats(-0.8, 0.8), waves=st.integers(1, 3), rate=st.floats(0.01, 1000))
@settings(max_examples=30, deadline=None)
def test_circles_do_not_depend_on_time(warp, waves, rate):
    t = np.linspace(0, 3, 2001)
    times = rate * (t + warp / waves * np.sin(waves * t))
    centers = osculating_circles(ellipse(t), times).centers
    # The time runs at least a fifth as fast as t, so derivatives with respect to it grow by
    # at most 5**3 in the error term h**2 / 6 of a finite difference, and two of them are taken.
    np.testing.assert_allclose(centers[INNER], ellipse_evolute(t)[INNER], atol=250 * t[1] ** 2)


@given(
    angle=st.floats(0, 2 * np.pi), scale=st.floats(0.1, 10), x=st.floats(-5, 5), y=st.floats(-5, 5)
)
@settings(max_examples=30, deadline=None)
def test_circles_move_with_the_curve(angle, scale, x, y):
    t = np.linspace(0, 3, 101)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    still = osculating_circles(ellipse(t), t)
    moved = osculating_circles(scale * ellipse(t) @ rotation + [x, y], t)
    np.testing.assert_allclose(moved.centers, scale * still.centers @ rotation + [x, y], atol=1e-8)
    np.testing.assert_allclose(moved.radii, scale * still.radii, rtol=1e-8)


# Other predictors in the same space --------------------------------------------------------------


def test_the_outputs_themselves_project_on_their_scores():
    outputs = outputs_of(some_outputs(6))
    trajectory = essential_dynamics(outputs)
    np.testing.assert_allclose(project(outputs.values, trajectory), trajectory.scores, atol=1e-9)


def test_a_predictor_takes_what_it_does_not_say_from_where_the_trajectory_is_closest():
    """Its slow twin: fill in the reconstruction at each step, and keep the closest."""
    trajectory = essential_dynamics(outputs_of(some_outputs(7)))
    said = np.arange(50) < 20
    partial = np.where(said, 3.0 * trajectory.loadings[1] + 0.1, np.nan)
    network = trajectory.mean + trajectory.scores @ trajectory.loadings
    apart = np.linalg.norm((network - partial)[:, said], axis=1)
    filled = np.where(said, partial, network[apart.argmin()])
    scores = project(np.stack([partial, filled, np.full(50, np.nan)]), trajectory)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-9)
    assert np.isnan(scores[2]).all()
    assert project(np.empty((0, 50)), trajectory).shape == (0, 4)


# Degenerate input --------------------------------------------------------------------------------


def test_there_are_no_more_components_than_directions():
    plane = some_outputs(8, 20, 2) @ some_outputs(9, 2, 30)
    assert essential_dynamics(outputs_of(plane)).scores.shape == (20, 2)
    assert essential_dynamics(outputs_of(plane), components=21).scores.shape == (20, 2)
    with pytest.raises(ValueError, match="the same at all 7 checkpoints"):
        essential_dynamics(outputs_of(np.full((7, 11), 0.1)))
    with pytest.raises(ValueError, match="at least one component, not 0"):
        essential_dynamics(outputs_of(plane), components=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_refused_with_their_step(bad):
    values = some_outputs(10)
    values[[3, 5], 7] = bad, -bad
    with pytest.raises(ValueError, match="outputs at step 30 are not finite"):
        essential_dynamics(outputs_of(values))


def test_curves_that_make_no_sense_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="this curve has 2"):
        osculating_circles(np.zeros((2, 2)), np.arange(2.0))
    with pytest.raises(ValueError, match="times must increase"):
        osculating_circles(np.zeros((3, 2)), np.array([0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="two or more checkpoints, sorted"):
        smooth_trajectory(np.zeros((3, 1)), np.array([0, 2, 1]))
    with pytest.raises(ValueError, match="must be positive; it is 0"):
        smooth_trajectory(np.zeros((3, 1)), np.arange(3), width=0.0)
    trajectory = essential_dynamics(outputs_of(some_outputs(11)))
    with pytest.raises(ValueError, match="follows 50 outputs and these points have 49"):
        project(np.zeros((1, 49)), trajectory)
