"""The grid, and turns against curves whose circles are known and slow twins."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from ontogeny.analysis.dynamics import osculating_circles, smooth_trajectory
from ontogeny.analysis.turns import (
    WIDTHS,
    _bend,
    _depths,
    _sharpest_near,
    find_turns,
    lay_grid,
    on_grid,
)


def helix(t):
    """A curve that turns around the origin in the first plane and moves on in the third."""
    return np.stack([3 * np.cos(t), 2 * np.sin(t), t], axis=1)


# The grid -----------------------------------------------------------------------------------------


def test_checkpoints_further_apart_than_the_kernel_have_a_node_each():
    steps = np.unique(np.geomspace(1, 100_000, 60).astype(int))
    grid = lay_grid(steps)
    np.testing.assert_array_equal(grid.steps, steps)
    np.testing.assert_array_equal(grid.weights, 1)
    scores = np.random.default_rng(0).normal(size=(len(steps), 2))
    np.testing.assert_array_equal(on_grid(scores, grid), scores)
    for scale, width in zip(grid.scales, WIDTHS, strict=True):
        expected = smooth_trajectory(scores, steps, width)[scale.nodes]
        np.testing.assert_allclose(scale.smoother @ scores, expected, atol=1e-12)


def test_close_checkpoints_share_nodes_and_none_is_lost():
    steps = np.arange(0, 100_000, 10)
    grid = lay_grid(steps)
    assert len(grid.steps) < 250
    assert grid.weights.sum() == len(steps)
    line = np.stack([2.0 * steps, 1.0 - steps], axis=1)
    np.testing.assert_allclose(on_grid(line, grid)[:, 0], 2.0 * grid.steps, rtol=1e-12)
    for scale in grid.scales:
        assert scale.weights.sum() == len(steps)
        # Two nodes for each width of the kernel, rounded to whole nodes of the finest grid.
        assert 0.3 <= np.median(np.diff(scale.places)) <= 0.75


@pytest.mark.parametrize("count", [8, 20, 300])
def test_a_straight_line_has_no_turn(count):
    steps = np.arange(count) * 100
    grid = lay_grid(steps)
    line = on_grid(steps[:, None] * np.array([1.0, -2.0, 0.5]), grid)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in grid.scales:
            assert not find_turns(scale.smoother @ line, scale).scores.any()


# Turns in one plane -------------------------------------------------------------------------------


def test_radii_and_normals_are_those_of_osculating_circles():
    t = np.linspace(0, 3, 301)
    points = helix(t)[:, :2]
    velocity = np.gradient(points, t, axis=0, edge_order=2)
    acceleration = np.gradient(velocity, t, axis=0, edge_order=2)
    radii, normals = _bend(velocity[None], acceleration[None])
    circles = osculating_circles(points, t)
    np.testing.assert_allclose(radii[0], np.abs(circles.radii), rtol=1e-12)
    centers = points + radii[0, :, None] * normals[0]
    np.testing.assert_allclose(centers, circles.centers, atol=1e-12)


def test_a_path_that_stops_and_turns_back_has_a_cusp_of_radius_zero():
    t = np.arange(-10.0, 11.0)
    reversal = np.stack([t**2, 2 * t**2], axis=1)
    velocity = np.gradient(reversal, axis=0)
    radii, normals = _bend(velocity[None], np.gradient(velocity, axis=0)[None])
    assert radii[0, 10] == 0
    np.testing.assert_allclose(normals[0, 10], [5**-0.5, 2 * 5**-0.5])
    resting = np.zeros((1, 5, 2))
    assert np.isinf(_bend(resting, resting)[0]).all()


def test_the_depth_of_a_turn_is_how_far_both_arms_come_back():
    """A parabola above its tangent, one arm 16 high and one 9 high, then a line far below."""
    x = np.arange(-4.0, 4.0)
    points = np.stack([x, x**2], axis=1)
    points = np.concatenate([points, [[5.0, -1.0], [6.0, 100.0]]])
    depth = _depths(points[None], np.array([0]), np.array([4]), np.array([[0.0, 1.0]]))
    assert depth.tolist() == [9.0]


def test_depths_agree_with_a_slow_twin():
    rng = np.random.default_rng(3)
    paths = rng.normal(size=(4, 25, 2)).cumsum(axis=1)
    which, nodes = rng.integers(0, 4, 40), rng.integers(0, 25, 40)
    normals = rng.normal(size=(40, 2))

    def slow(path, node, normal):
        sides = []
        for order in (range(node + 1, 25), range(node - 1, -1, -1)):
            best = 0.0
            for i in order:
                height = (path[i] - path[node]) @ normal
                if height < 0:
                    break
                best = max(best, height)
            sides.append(best)
        return min(sides)

    expected = [slow(*one) for one in zip(paths[which], nodes, normals, strict=True)]
    np.testing.assert_allclose(_depths(paths, which, nodes, normals), expected, atol=1e-12)


def test_the_sharpest_within_one_width_is_chosen():
    sharpness = np.array([[0.0, 3.0, 0.0, 0.0, 5.0, 1.0]])
    places = np.array([0.0, 0.5, 1.0, 1.5, 2.5, 2.6])
    assert _sharpest_near(sharpness, places)[0].tolist() == [1, 1, 1, 4, 4, 4]


# Turns in all planes ------------------------------------------------------------------------------


def test_turns_of_many_paths_are_those_of_each_alone():
    steps = np.arange(200) * 100
    grid = lay_grid(steps)
    walks = np.random.default_rng(1).normal(size=(5, len(grid.steps), 3)).cumsum(axis=1)
    for scale in grid.scales:
        smooth = scale.smoother @ walks
        together = find_turns(smooth, scale)
        for i in range(5):
            alone = find_turns(smooth[i : i + 1], scale)
            np.testing.assert_allclose(together.scores[i], alone.scores[0], rtol=1e-9)
            np.testing.assert_array_equal(together.vertices[i], alone.vertices[0])


def test_scores_do_not_depend_on_the_unit_or_the_origin():
    steps = np.arange(200) * 100
    grid = lay_grid(steps)
    walks = np.random.default_rng(2).normal(size=(3, len(grid.steps), 3)).cumsum(axis=1)
    scale = grid.scales[0]
    before = find_turns(scale.smoother @ walks, scale)
    after = find_turns(scale.smoother @ (1e-3 * walks + 7), scale)
    np.testing.assert_allclose(after.scores, before.scores, rtol=1e-6)
    seen = before.scores > 0
    assert seen.any()
    np.testing.assert_allclose(after.points[seen], 1e-3 * before.points[seen] + 7, rtol=1e-6)
