"""Free energies, which critical point is preferred, and the volume of low loss."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.analysis.free_energy import FEW, free_energy, preferences, volume_exponent
from ontogeny.records import CriticalPoint


def test_a_pentagon_gives_way_to_a_hexagon_at_445_examples():
    # Chen et al. (arXiv 2310.06301), Table 1, without the constant that they add.
    five, six = CriticalPoint("5", 0.06874, 7.0), CriticalPoint("6", 0.04819, 8.5)
    first, second = preferences([six, five])
    assert (first.point, second.point, second.high) == (five, six, math.inf)
    assert first.high == second.low == pytest.approx(445, abs=1)
    assert free_energy(first.high, five.loss, 7.0) == pytest.approx(
        free_energy(first.high, six.loss, 8.5)
    )


def test_of_points_that_are_preferred_from_the_same_n_the_best_is_named():
    points = [CriticalPoint(str(k), 1 / 3 - k / 18, float(k)) for k in range(3)]
    assert [one.point.name for one in preferences(points)] == ["0", "2"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.5, 50)), min_size=1, max_size=6),
    st.floats(FEW, 1e7),
)
def test_nowhere_is_another_point_better(pairs, n):
    points = [CriticalPoint(str(i), *pair) for i, pair in enumerate(pairs)]
    (chosen,) = [one.point for one in preferences(points) if one.low <= n < one.high]
    energies = [free_energy(n, *pair) for pair in pairs]
    best = free_energy(n, chosen.loss, chosen.learning_coefficient)
    assert best <= min(energies) + 1e-6 * (1 + abs(min(energies)))


def test_saddles_and_points_without_a_coefficient_do_not_take_part():
    points = [CriticalPoint("a", 0.1), CriticalPoint("b", 0.0, 1.0, minimum=False)]
    assert preferences(points) == ()


@pytest.mark.parametrize(
    ("potential", "exact"),
    [(lambda x, y: x**2 + y**4, 0.75), (lambda x, y: x**4 * y**2, 0.25), (lambda x, y: x**2, 0.5)],
)
def test_volumes_shrink_with_the_learning_coefficient(potential, exact):
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 500_000))
    slope, _, shares = volume_exponent(potential(x, y), 1e-4, 1e-2)
    # A share V has the relative error 1/sqrt(N V), and the slope spans a hundredfold ε.
    error = 1 / math.sqrt(500_000 * shares[0]) / math.log(100)
    # The term x⁴y² has a correction that falls like ε^¼.
    assert abs(slope - exact) < 4 * error + (0.05 if exact == 0.25 else 0.005)


def test_no_examples_have_no_free_energy():
    with pytest.raises(ValueError, match="one example or more"):
        free_energy(0.0, loss=1.0, learning_coefficient=1.0)


def test_too_low_a_level_is_refused():
    with pytest.raises(ValueError, match="no sample has a loss below"):
        volume_exponent(np.ones(5), 1e-3, 1e-1)
    with pytest.raises(ValueError, match="levels must rise from above 0"):
        volume_exponent(np.ones(5), 0.0, 1e-1)
