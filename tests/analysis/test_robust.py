"""Values and rows that are far off are told from those that only scatter, or come from far."""

from __future__ import annotations

import numpy as np
import pytest

from ontogeny.analysis.robust import running_median, scatter, wild_rows

RNG = np.random.default_rng(0)


def test_scatter_is_the_standard_deviation_of_the_noise_whatever_the_line():
    x = np.sort(RNG.uniform(0, 10, 4000))
    values = 3 * x + 0.2 * RNG.normal(size=len(x))
    values[::50] = 1e9
    # A median of 4,000 absolute values has a relative error of about 0.02; six in a hundred of
    # them have an outlier beside them, which moves it by about a tenth.
    assert scatter(x, values) == pytest.approx(0.2, rel=0.2)
    assert np.isnan(scatter(x[:2], values[:2]))


def test_a_running_median_keeps_what_is_monotone_and_the_ends():
    rising = np.sort(RNG.normal(size=50))
    np.testing.assert_array_equal(running_median(rising), rising)


def test_a_row_that_is_alone_far_off_is_wild():
    walk = RNG.normal(size=(1000, 3)).cumsum(axis=0)
    assert len(wild_rows(walk)) == 0
    for size in (1e4, 1e12, 1e308):
        walk[[500, 700]] = size
        assert wild_rows(walk).tolist() == [500, 700]
    few = np.arange(8.0)[:, None] * [1, 1]
    few[3] = 1000
    assert wild_rows(few).tolist() == [3]


def test_a_path_that_stays_far_off_or_starts_there_is_not_wild():
    path = np.zeros((100, 2))
    path[:, 0] = np.arange(100) / 100
    path[50:52] = 1e6
    path[[0, -1]] = 1e9
    assert len(wild_rows(path)) == 0
    jump = np.where(np.arange(100) > 95, 1e6, 0.0)[:, None]
    assert len(wild_rows(jump)) == 0
    assert len(wild_rows(np.zeros((0, 2)))) == 0


def test_many_columns_are_sampled():
    rows = RNG.normal(size=(30, 5000)).astype(np.float32)
    rows[11] *= 1e3
    assert wild_rows(rows).tolist() == [11]
