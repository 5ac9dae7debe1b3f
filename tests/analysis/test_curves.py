"""The smoothed curve: exact functions come back, and its errors are as large as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.curves import MOST_POINTS, chain_offsets, change_stderr, smooth_curve
from ontogeny.records import Curve

# Log-spaced checkpoints, as whole steps without repeats.
STEPS = np.unique(np.geomspace(1, 100_000, 120).astype(int))
X = np.log1p(STEPS)


def curve_of(values, stderr=np.nan, chains=None, steps=STEPS):
    return Curve(
        "llc", "", steps, values[:, None], np.broadcast_to(stderr, len(values))[:, None], ("",),
        chains,
    )  # fmt: skip


def test_a_smooth_function_and_its_derivative_come_back_within_their_errors():
    smooth = smooth_curve(curve_of(10 * np.sin(X)))
    x = np.log1p(smooth.steps)
    assert (np.abs(smooth.mean - 10 * np.sin(x)) <= 4 * smooth.stderr).all()
    # The grid is 0.03 wide: a second difference is off by 10 * 0.03**2 / 6, the ends by more.
    assert (np.abs(smooth.slope - 10 * np.cos(x)) <= 4 * smooth.slope_stderr + 0.01).all()
    # Where checkpoints are 0.1 apart the errors are small.
    assert smooth.stderr[smooth.steps > 20].max() < 0.02
    assert smooth.slope_stderr[(smooth.steps > 20) & (smooth.steps < 90_000)].max() < 0.5


def test_the_slope_is_the_derivative_of_the_value():
    noise = np.random.default_rng(0).normal(size=len(X))
    smooth = smooth_curve(curve_of(10 * np.sin(X) + noise), grid=800)
    x = np.log1p(smooth.steps)
    trapezoid = np.diff(x) * (smooth.slope[1:] + smooth.slope[:-1]) / 2
    np.testing.assert_allclose(np.cumsum(trapezoid), smooth.mean[1:] - smooth.mean[0], atol=0.02)


def test_errors_are_as_large_as_they_say():
    # 64 independent noises on one function: the squared z-score has mean 1 if the errors are
    # right.
    squares = []
    for seed in range(64):
        noise = np.random.default_rng(seed).normal(size=len(X))
        smooth = smooth_curve(curve_of(5 * np.sin(X) + noise), grid=24)
        truth = 5 * np.sin(np.log1p(smooth.steps))
        squares.append(np.mean(((smooth.mean - truth) / smooth.stderr) ** 2))
    standard_error = np.std(squares, ddof=1) / 8
    assert abs(np.mean(squares) - 1) < 4 * standard_error


def test_a_flat_curve_knows_its_level_no_better_than_it_should():
    # The mean of 120 values with unit noise has a standard error of 1/sqrt(120); a smoother that
    # takes the level for known says far less.
    squares = []
    for seed in range(16):
        noise = np.random.default_rng(seed).normal(size=len(X))
        smooth = smooth_curve(curve_of(7 + noise), grid=24)
        squares.append(np.mean(((smooth.mean - 7) / smooth.stderr) ** 2))
    assert 0.2 < np.mean(squares) < 2


def test_unknown_noise_is_found():
    noise = np.random.default_rng(2).normal(size=len(X))
    # The estimate of a standard deviation from 120 values has a standard error of 1/sqrt(240).
    assert abs(smooth_curve(curve_of(10 * np.sin(X) + noise)).noise - 1) < 4 / np.sqrt(2 * len(X))


def test_known_noise_is_not_found_again_and_precise_points_count_for_more():
    rng = np.random.default_rng(3)
    stderr = np.where(np.arange(len(X)) % 2, 0.01, 3.0)
    smooth = smooth_curve(curve_of(10 * np.sin(X) + stderr * rng.normal(size=len(X)), stderr))
    late = smooth.steps > 20
    assert smooth.noise < 0.5
    assert np.abs(smooth.mean - 10 * np.sin(np.log1p(smooth.steps)))[late].max() < 0.3


def test_noise_is_lower_where_the_curve_is_quieter():
    noise = np.where(X < 6, 0.001, 1.0) * np.random.default_rng(4).normal(size=len(X))
    smooth = smooth_curve(curve_of(10 * np.sin(X) + noise))
    early, late = (smooth.steps > 30) & (smooth.steps < 150), smooth.steps > 1000
    assert smooth.stderr[early].max() < 0.5 * smooth.stderr[late].min()


def test_functions_have_the_mean_of_the_curve_and_the_errors_of_changes():
    rng = np.random.default_rng(5)
    smooth = smooth_curve(curve_of(10 * np.sin(X) + rng.normal(size=len(X))), draws=4000)
    z = (smooth.functions.mean(axis=0) - smooth.mean) / (smooth.stderr / np.sqrt(4000))
    assert np.abs(z).max() < 4.5  # of 400 places
    spread = np.std(smooth.functions[:, 300] - smooth.functions[:, 100])
    assert np.isclose(change_stderr(smooth)[100, 300], spread, rtol=1e-3)


@pytest.mark.parametrize("correlation", [0.0, 0.95])
def test_the_correlation_of_known_errors_is_found(correlation):
    rng = np.random.default_rng(11)
    steps = np.unique(np.geomspace(1, 1e6, 400).astype(int))
    noise = rng.normal(size=len(steps))
    for i in range(1, len(noise)):
        noise[i] = correlation * noise[i - 1] + np.sqrt(1 - correlation**2) * noise[i]
    values = 20 * np.sin(np.log1p(steps)) + noise
    smooth = smooth_curve(curve_of(values, 1.0, steps=steps))
    assert abs(smooth.correlation - correlation) < 0.15
    # Shared errors do not average out: the level is then much less sure.
    assert (smooth.stderr[200] > 0.5) == (correlation > 0.5)


def test_peaks_and_corners_are_not_set_aside():
    for values in (30 * np.exp(-(((X - 6) / 0.3) ** 2)), np.abs(X - 6), np.floor(X), np.exp(X)):
        noisy = values + 1e-3 * np.ptp(values) * np.random.default_rng(12).normal(size=len(X))
        assert smooth_curve(curve_of(noisy), grid=20, draws=2).outliers == ()


def test_failed_estimates_are_set_aside_and_named():
    values = 10 * np.sin(X) + 0.3 * np.random.default_rng(9).normal(size=len(X))
    far = values.copy()
    far[[20, 60, 61, 100]] += [40, 300, 300, -15]
    clean, smooth = smooth_curve(curve_of(values)), smooth_curve(curve_of(far))
    assert clean.outliers == ()
    assert smooth.outliers == tuple(STEPS[[20, 60, 61, 100]].tolist())
    late = smooth.steps > 30
    assert np.abs(smooth.mean - clean.mean)[late].max() < 4 * clean.stderr[late].max()


@pytest.mark.parametrize("end", [0, -1])
def test_an_end_is_set_aside_only_if_it_is_out_of_all_proportion(end):
    values = 40 / (1 + np.exp(-3 * (X - 4))) + np.random.default_rng(0).normal(size=len(X))
    values[end] = 200.0
    assert smooth_curve(curve_of(values)).outliers == (STEPS[end],)
    values[end] = 20.0  # a curve may well jump at its end
    assert smooth_curve(curve_of(values)).outliers == ()


def test_a_jump_leaves_what_is_flat_flat():
    """The slope beside a jump of 60 is that of the line, 4, and does not follow the noise."""
    values = np.interp(X, [0, 6, 6.5, 12], [0, 0, 60, 82])
    noisy = values + np.random.default_rng(0).normal(size=len(X))
    smooth = smooth_curve(curve_of(noisy))
    x = np.log1p(smooth.steps)
    # Noise of 1 leaves a slope over four e-folds, 45 values, unsure by about 0.13; locally by more.
    assert np.abs(smooth.slope[(x > 7) & (x < 11)] - 4).max() < 2
    assert np.abs(smooth.slope[(x > 1) & (x < 5)]).max() < 2


def test_a_long_curve_is_averaged_and_loses_nothing_that_matters():
    steps = np.arange(20_000)
    values = 10 * np.sin(np.log1p(steps)) + np.random.default_rng(10).normal(size=len(steps))
    smooth = smooth_curve(curve_of(values, steps=steps))
    assert len(steps) > MOST_POINTS
    late = smooth.steps > 300
    truth = 10 * np.sin(np.log1p(smooth.steps))
    assert np.abs(smooth.mean - truth)[late].max() < 4 * smooth.stderr[late].max()
    assert smooth.stderr[late].max() < 0.3


def test_offsets_that_chains_keep_are_not_taken_for_noise():
    rng = np.random.default_rng(6)
    offset = 3 * rng.normal(size=(1, 8))
    chains = 10 * np.sin(X)[:, None] + offset
    values = chains.mean(axis=1)
    smooth = smooth_curve(curve_of(values, stderr=1.0, chains=chains))
    np.testing.assert_allclose(np.interp(X, np.log1p(smooth.steps), smooth.mean), values, atol=0.02)
    # The level is as unsure as the mean of the eight offsets, the slope is not.
    # 400 draws say a standard deviation to a twenty-eighth.
    np.testing.assert_allclose(smooth.stderr, offset.std(ddof=1) / np.sqrt(8), rtol=4 / 28)
    assert smooth.slope_stderr[np.log1p(smooth.steps) > 3].max() < 0.5


def test_the_offsets_of_failed_chains():
    chains = np.array([[1.0, 3.0, np.nan, np.nan], [1.0, 3.0, 5.0, np.nan]])
    curve = curve_of(np.zeros(2), steps=np.arange(2), chains=chains)
    expected = np.sqrt(3 / 2) * np.array([[-1.0, -2.0], [1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(chain_offsets(curve), expected)
    alone = curve_of(np.zeros(2), steps=np.arange(2), chains=chains[:, :1])
    assert chain_offsets(alone).shape == (0, 2)


@settings(max_examples=8, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_smoothing_commutes_with_shifts_and_scales(shift, scale):
    values = 10 * np.sin(X) + np.random.default_rng(7).normal(size=len(X))
    smooth = smooth_curve(curve_of(values), grid=30)
    other = smooth_curve(curve_of(shift + scale * values), grid=30)
    # The optimiser stops within its tolerance, so equal only to a part of the error.
    tolerance = 0.01 * smooth.stderr.max()
    np.testing.assert_allclose((other.mean - shift) / scale, smooth.mean, atol=tolerance)
    np.testing.assert_allclose(other.stderr / scale, smooth.stderr, rtol=0.01)


@pytest.mark.parametrize("n", [5, 6, 400])
def test_any_number_of_points_works_and_not_finite_ones_are_left_out(n):
    steps = np.unique(np.geomspace(1, 1e6, n).astype(int))
    values = np.log1p(steps)
    clean = smooth_curve(curve_of(values, steps=steps), grid=20)
    with_gaps = np.repeat(steps, 2)
    holes = np.where(np.arange(len(with_gaps)) % 2, np.nan, np.log1p(with_gaps))
    gappy = smooth_curve(curve_of(holes, steps=with_gaps), grid=20)
    np.testing.assert_array_equal(gappy.mean, clean.mean)
    np.testing.assert_allclose(
        clean.mean, np.log1p(clean.steps), rtol=0, atol=4 * clean.stderr.max()
    )


def test_repeated_steps_are_averaged():
    steps = np.repeat(np.arange(0, 100, 5), 2)
    values = np.where(np.arange(40) % 2, 1.0, -1.0)
    np.testing.assert_allclose(smooth_curve(curve_of(values, steps=steps)).mean, 0, atol=0.05)


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
def test_a_constant_stays_constant(level):
    smooth = smooth_curve(curve_of(np.full(len(X), level)))
    np.testing.assert_allclose(smooth.mean, level, rtol=1e-9)
    np.testing.assert_allclose(smooth.slope, 0, atol=1e-9 * max(level, 1))


def test_what_cannot_be_smoothed_is_refused_in_one_sentence():
    few = curve_of(np.array([1.0, np.nan, 2.0, 3.0, 4.0]), steps=np.arange(5))
    with pytest.raises(ValueError, match="llc has 4 finite points at 4 steps and smoothing needs"):
        smooth_curve(few)
    with pytest.raises(ValueError, match="llc has 6 finite points at 1 steps"):
        smooth_curve(curve_of(np.zeros(6), steps=np.full(6, 3)))
    two = Curve("heads", "", np.arange(6), np.zeros((6, 2)), np.zeros((6, 2)), ("a", "b"))
    with pytest.raises(ValueError, match="heads has 2 items; smooth one at a time"):
        smooth_curve(two)
