"""Outputs are those of the network on the same inputs at every checkpoint."""

import numpy as np
import pytest
import torch

from ontogeny.probes import FixedBatch, record_outputs, record_references
from ontogeny.probes.outputs import draw_fixed_batch
from ontogeny.problems import regression, untrained
from tests.examples import line

FEW = FixedBatch(examples=6, seed=1)


def test_outputs_are_the_networks():
    problem = line()
    state = {"weight": torch.tensor([[3.0]]), "bias": torch.tensor([1.0])}
    x, _ = draw_fixed_batch(problem, FEW, "cpu")
    found = record_outputs(problem, 7, state, FEW)
    assert found.steps.tolist() == [7]
    np.testing.assert_allclose(found.values[0], (3 * x + 1).flatten().numpy(), rtol=1e-6)


def test_labels_and_references_belong_to_the_same_inputs():
    problem = regression()
    state = untrained(problem, 0).state_dict()
    outputs = record_outputs(problem, 0, state, FEW).values[0]
    references = record_references(problem, 0, state, FEW)
    assert references.labels.shape == (outputs.size, 3)
    batch = draw_fixed_batch(problem, FEW, "cpu")
    with torch.no_grad():
        expected = problem.outputs(untrained(problem, 0), batch)
    place = references.labels.tolist().index([4, 10, 2])
    assert outputs[place] == pytest.approx(expected[4, 10, 2].item())


def test_a_problem_without_references_says_so():
    state = line().model().state_dict()
    with pytest.raises(ValueError, match="has no references"):
        record_references(line(), 0, state, FEW)


def test_weights_of_another_network_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="do not fit the problem's network"):
        record_outputs(regression(), 0, line().model().state_dict(), FEW)
