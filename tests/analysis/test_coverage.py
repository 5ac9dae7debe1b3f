"""The intervals of milestones hold what they say, on curves that are no Gaussian processes."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from ontogeny.analysis.milestones import find_milestones, holds
from ontogeny.records import Curve

STEPS = np.unique(np.geomspace(1, 500_000, 120).astype(int))
X = np.log1p(STEPS)
CURVES = 60


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_intervals_of_lopsided_extrema_hold_the_true_place(known):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(CURVES):
        top = rng.uniform(2.5, 6)
        places = [0, top, rng.uniform(top + 1.5, 11), X[-1]]
        heights = np.cumsum([0, rng.uniform(15, 60), -rng.uniform(15, 40), rng.uniform(15, 40)])
        values = PchipInterpolator(places, heights)(X) + rng.normal(size=len(X))
        stderr = np.full((len(X), 1), 1.0 if known else np.nan)
        found = find_milestones(Curve("", "", STEPS, values[:, None], stderr))
        ends = [one for one in found if holds(one)]
        for place, kind in zip(places[1:3], ("maximum", "minimum"), strict=True):
            step = np.expm1(place)
            covered.append(any(one.kind == kind and one.low <= step <= one.high for one in ends))
    # 90 % of 120, but for three standard errors of a share of them.
    assert np.mean(covered) > 0.9 - 3 * (0.09 / len(covered)) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("slope", [0.0, 3.0])
def test_noise_seldom_makes_a_milestone(slope, known):
    alarms = 0
    for seed in range(CURVES):
        values = slope * X + np.random.default_rng(seed).normal(size=len(X))
        stderr = np.full((len(X), 1), 1.0 if known else np.nan)
        found = find_milestones(Curve("", "", STEPS, values[:, None], stderr))
        alarms += any(holds(one) for one in found)
    # 5 % of 60, and three standard errors.
    assert alarms <= 8
