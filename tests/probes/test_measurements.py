"""Curvature of a network whose Hessian is known, and metrics of one that has them."""

import numpy as np
import pytest
import torch

from ontogeny.probes import Curvature, Metrics, measure_curvature, measure_metrics
from ontogeny.problems import regression, untrained
from ontogeny.problems.exact import quadratic
from tests.examples import line


def test_curvature_of_a_bowl():
    """A diagonal Hessian has an exact trace for every vector of signs."""
    eigenvalues = [1.0, 2.0, 3.0, 4.0, 10.0]
    problem = quadratic(eigenvalues)
    settings = Curvature(examples=4, probes=3, eigenvalues=2)
    found = measure_curvature(problem, 5, problem.model().state_dict(), settings)
    assert found.names == ("hessian_trace", "hessian_eigenvalues", "hessian_eigenvalues")
    assert found.items == ("", "1", "2")
    np.testing.assert_allclose(found.values, [20, 10, 4], rtol=1e-3)


def test_metrics_are_a_function_of_the_weights():
    problem = regression()
    state = untrained(problem, 0).state_dict()
    one, two = (measure_metrics(problem, 3, state, Metrics(16, seed=0)) for _ in range(2))
    other = measure_metrics(problem, 3, state, Metrics(16, seed=1))
    np.testing.assert_array_equal(one.values, two.values)
    assert one.names == other.names
    assert (one.values != other.values).any()


def test_a_problem_without_metrics_says_so():
    with pytest.raises(ValueError, match="has no metrics"):
        measure_metrics(line(), 0, {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}, Metrics())
