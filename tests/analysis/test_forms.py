"""Vertices and forms against curves whose turns are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.dynamics import smooth_trajectory
from ontogeny.analysis.forms import best_scores, find_forms, find_vertices
from ontogeny.analysis.turns import lay_grid, on_grid

STEPS = 100 * np.arange(1, 601)


def corner(steps, at, there=(1.0, 1.0, 0.2), away=(-1.0, -0.3, -1.0)):
    """Straight to one point and straight away from it."""
    along = (steps - at) / steps[-1]
    return np.minimum(along, 0)[:, None] * there + np.maximum(along, 0)[:, None] * away


# Vertices: the exact answer -----------------------------------------------------------------------


def test_an_ellipse_has_four_vertices():
    t = np.linspace(-0.5, 2 * np.pi - 0.5, 4001)
    ellipse = np.stack([3 * np.cos(t), 2 * np.sin(t)], axis=1)
    np.testing.assert_allclose(
        t[find_vertices(ellipse, t)], np.pi / 2 * np.arange(4), atol=t[1] - t[0]
    )


def test_a_parabola_has_one_vertex_and_a_circle_or_a_line_none_that_matter():
    t = np.linspace(-1, 1.1, 1000)
    parabola = np.stack([t, t**2], axis=1)
    np.testing.assert_allclose(t[find_vertices(parabola, t)], [0], atol=t[1] - t[0])
    assert not find_vertices(np.stack([t, 2 * t], axis=1), t).size


def test_a_logarithmic_spiral_has_no_vertex():
    t = np.linspace(0, 12, 4000)
    spiral = np.exp(t / 10)[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1)
    assert not find_vertices(spiral, t).size


@given(warp=st.floats(-0.8, 0.8))
@settings(max_examples=20, deadline=None)
def test_vertices_do_not_depend_on_time(warp):
    t = np.linspace(-0.5, 5.7, 4001)
    ellipse = np.stack([3 * np.cos(t), 2 * np.sin(t)], axis=1)
    found = t[find_vertices(ellipse, t + warp * np.sin(t))]
    np.testing.assert_allclose(found, np.pi / 2 * np.arange(4), atol=5 * (t[1] - t[0]))


# Forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [6_000, 20_000, 45_000])
def test_a_corner_is_a_form_at_its_step_and_at_its_place(at):
    (form,) = find_forms(corner(STEPS, at), STEPS)
    # The kernel is at most 1.2 % of the last step wide; vertices of the planes agree within two.
    assert abs(form.step - at) <= 0.012 * STEPS[-1]
    assert form.low <= at <= form.high
    # The path goes 1.4 lengths in all; smoothing rounds the corner off by less than two widths.
    assert np.linalg.norm(form.point) < 2 * 0.012 * 1.5
    assert len(form.point) == 3
    assert form.p_value is None
    assert form.step in STEPS
    assert form.low in STEPS
    assert form.high in STEPS


def test_planes_that_do_not_turn_at_the_same_step_have_no_form():
    along = STEPS / STEPS[-1]
    first, then = np.abs(along - 0.3), np.abs(along - 0.7)
    apart = np.stack([along, first, then], axis=1)
    assert not find_forms(apart, STEPS)
    assert find_forms(np.stack([along, first, np.abs(along - 0.3)], axis=1), STEPS)


def test_a_path_that_goes_back_the_way_it_came_turns_at_a_cusp():
    back = np.abs(STEPS - 30_000.0)[:, None] * [3.0, 2.0, -1.0]
    (form,) = find_forms(back, STEPS)
    assert abs(form.step - 30_000) <= 0.012 * STEPS[-1]


def test_the_sharper_of_two_turns_scores_higher():
    sharp = find_forms(corner(STEPS, 30_000), STEPS)
    # Rounded off over two fifths of the path.
    rounded = smooth_trajectory(corner(STEPS, 30_000), STEPS, width=0.1)
    (round_form,) = find_forms(rounded, STEPS)
    assert round_form.score < 0.5 * sharp[0].score


def test_a_form_does_not_depend_on_unit_origin_or_signs_of_components():
    path = corner(STEPS, 30_000)
    (form,) = find_forms(path, STEPS)
    signs = np.array([-1.0, 1.0, -1.0])
    (other,) = find_forms(5 * path * signs + 3, STEPS)
    assert (other.step, other.low, other.high) == (form.step, form.low, form.high)
    assert other.score == pytest.approx(form.score, rel=1e-6)
    np.testing.assert_allclose(other.point, 5 * np.array(form.point) * signs + 3, atol=1e-6)


def test_steps_in_another_unit_give_the_same_forms():
    path = corner(STEPS, 30_000)
    (form,) = find_forms(path, STEPS)
    (other,) = find_forms(path, 10 * STEPS)
    assert other.step == 10 * form.step
    assert other.score == pytest.approx(form.score, rel=1e-6)


def test_an_ellipse_turns_around_both_ends_of_its_long_axis():
    """In its only plane: there the circle's radius is b²/a, and its centre (a² − b²)/a away."""
    t = np.linspace(-0.25, 1.25, 1000) * 2 * np.pi
    steps = np.arange(1_000, 2_000)
    ellipse = np.stack([3 * np.cos(t), 2 * np.sin(t)], axis=1)
    forms = find_forms(ellipse, steps)
    at = np.interp([form.step for form in forms], steps, t) / np.pi
    np.testing.assert_allclose(at, [0, 1, 2], atol=0.02)
    # A kernel that spans the angle h shrinks the ellipse by the factor 1 - h²/2, with h = 0.23 here
    # for the narrowest; the turns near the ends of the path are found with others.
    np.testing.assert_allclose(forms[1].point, [-5 / 3, 0], atol=5 / 3 * 0.23**2 / 2 + 1e-3)


def test_the_score_of_a_path_is_that_of_its_best_form():
    grid = lay_grid(STEPS)
    walks = np.random.default_rng(4).normal(size=(6, len(STEPS), 3)).cumsum(axis=1)
    paths = np.stack([on_grid(walk, grid) for walk in walks])
    best = [max((form.score for form in find_forms(walk, STEPS)), default=0.0) for walk in walks]
    np.testing.assert_allclose(best_scores(paths, grid), best, rtol=1e-9)


def test_more_than_three_components_change_nothing():
    path = corner(STEPS, 30_000)
    noise = np.random.default_rng(5).normal(size=(len(STEPS), 2))
    assert find_forms(np.hstack([path, noise]), STEPS) == find_forms(path, STEPS)


# Degenerate input ---------------------------------------------------------------------------------


def test_paths_without_a_plane_or_a_point_to_turn_at_are_refused_in_one_sentence():
    path = corner(STEPS, 30_000)
    with pytest.raises(ValueError, match="forms need 8 checkpoints or more, not 7"):
        find_forms(path[:7], STEPS[:7])
    with pytest.raises(ValueError, match="two components or more"):
        find_forms(path[:, :1], STEPS)
    with pytest.raises(ValueError, match="does not move along component 2"):
        find_forms(path * [1.0, 0.0, 1.0], STEPS)
    with pytest.raises(ValueError, match="sorted by step"):
        find_forms(path, STEPS[::-1])


@pytest.mark.parametrize("count", [8, 9, 12])
def test_few_checkpoints_are_enough_to_ask(count):
    walk = np.random.default_rng(6).normal(size=(count, 3)).cumsum(axis=0)
    assert len(find_forms(walk, np.arange(count))) <= count


def test_rounding_is_no_form():
    steps = 10 * np.arange(1000)
    jump = np.where(steps > 5000, 1.0, 0.0)[:, None] * np.ones(3)
    assert find_forms(jump, steps) == ()
    # A walk of which a number a million million times as large leaves few digits.
    walk = np.random.default_rng(0).normal(size=(1000, 3)).cumsum(axis=0)
    assert find_forms(walk, steps)
    assert find_forms(walk + 1e14, steps) == ()
