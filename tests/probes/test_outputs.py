"""Outputs are those of the network on the same inputs at every checkpoint."""

import numpy as np
import pytest
import torch

from ontogeny.probes import (
    FixedBatch,
    Sketch,
    record_gradients,
    record_outputs,
    record_references,
    record_weights,
)
from ontogeny.probes.outputs import draw_fixed_batch, sketch
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


# Weights and gradients ----------------------------------------------------------------------------


def test_weights_are_the_trainable_ones_in_the_networks_order():
    state = {"weight": torch.tensor([[3.0]]), "bias": torch.tensor([1.0])}
    found = record_weights(line(), 7, state, Sketch())
    assert (found.steps.tolist(), found.values.tolist()) == ([7], [[3.0, 1.0]])


def test_gradients_are_those_of_the_mean_loss():
    problem, settings = line(), Sketch(examples=100, seed=1)
    state = {"weight": torch.tensor([[3.0]]), "bias": torch.tensor([1.0])}
    batch = draw_fixed_batch(problem, settings, "cpu")

    def mean_loss(weight, bias):
        model = problem.model()
        model.load_state_dict({"weight": torch.tensor([[weight]]), "bias": torch.tensor([bias])})
        return problem.loss(model.double(), [part.double() for part in batch]).mean().item()

    h = 2**-8  # exact in single precision, and the loss is a parabola
    expected = [
        (mean_loss(3 + h, 1) - mean_loss(3 - h, 1)) / (2 * h),
        (mean_loss(3, 1 + h) - mean_loss(3, 1 - h)) / (2 * h),
    ]
    found = record_gradients(problem, 0, state, settings).values[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_of_a_transformer_are_finite_and_short():
    problem = regression(d_model=8, d_mlp=8, n_heads=2)
    state = untrained(problem, 0).state_dict()
    found = record_gradients(problem, 0, state, Sketch(numbers=64, examples=4)).values
    assert found.shape == (1, 64)
    assert np.isfinite(found).all()
    assert found.any()


def test_a_sketch_is_linear_and_keeps_distances():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 50_000, generator=generator, dtype=torch.float64)
    small = [sketch(part, 4096, seed=3) for part in (x, y, x - y)]
    torch.testing.assert_close(small[0] - small[1], small[2])
    ratio = (small[2].square().sum() / (x - y).square().sum()).item()
    assert abs(ratio - 1) < 4 * (2 / 4096) ** 0.5


def test_a_sketch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="numbers must be at least 1"):
        Sketch(numbers=0)
