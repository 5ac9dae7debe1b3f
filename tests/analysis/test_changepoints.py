"""Changepoints are where the slope changes, and nowhere else."""

import numpy as np
import pytest

from ontogeny.analysis.changepoints import find_changepoints
from ontogeny.analysis.curves import smooth_curve
from ontogeny.records import Curve

STEPS = np.unique(np.geomspace(1, 100_000, 150).astype(int))
X = np.log1p(STEPS)


def bends(values, noise=0.0, seed=1):
    noisy = values + noise * np.random.default_rng(seed).normal(size=len(X))
    unknown = np.full((len(X), 1), np.nan)
    curve = Curve("", "", STEPS, noisy[:, None], unknown)
    return find_changepoints(smooth_curve(curve, grid=200, draws=60))


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_what_rises_between_two_flats_sets_in_and_levels_off(noise):
    found = bends(np.interp(X, [0, 4, 8, 12], [0, 0, 5, 5]), noise)
    assert len(found) == 2
    for one, truth in zip(found, [4, 8], strict=True):
        # The grid and the smoothing at a corner leave a tenth of an e-fold.
        assert np.log1p(one.low) - 0.1 <= truth <= np.log1p(one.high) + 0.1
        assert one.low <= one.step <= one.high


@pytest.mark.parametrize("slope", [0.0, 3.0, -2.0])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_straight_line_does_not_bend(slope, noise):
    assert bends(slope * X, noise) == ()


def test_a_peak_is_one_bend():
    (top,) = bends(-np.abs(X - 6), 0.02)
    assert top.low <= np.expm1(6) <= top.high


def test_a_curve_upside_down_bends_at_the_same_places():
    values = 1 / (1 + np.exp(-3 * (X - 3))) + 1 / (1 + np.exp(-3 * (X - 8)))
    steps = [one.step for one in bends(values)]
    assert len(steps) == 4
    assert [one.step for one in bends(-values)] == steps
