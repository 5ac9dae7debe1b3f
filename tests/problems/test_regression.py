"""The problem, and its table of metrics on a network whose answers are known."""

import math

import numpy as np
import pytest
import torch

from ontogeny.problems import regression, tabulate, untrained
from ontogeny.problems.regression import measure_regression
from ontogeny.problems.regression_data import Regression, ridge_predictor
from ontogeny.problems.regression_transformer import RegressionTransformer
from ontogeny.streams import random_stream

SETTING = Regression()
N = 4096


def test_the_loss_is_the_squared_error_of_every_prediction():
    problem = regression()
    model = untrained(problem, 0)
    batch = problem.batch(5, random_stream(0, "test"))
    losses = problem.loss(model, batch)
    assert losses.shape == (5, 8)
    expected = (problem.outputs(model, batch)[2, 6, 0] - batch[1][2, 3]) ** 2
    assert losses[2, 3].item() == pytest.approx(expected.item())


def test_references_speak_only_about_predictions():
    problem = regression()
    batch = problem.batch(3, random_stream(0, "test"))
    references = problem.references(batch)
    assert references.names == ("zero", "ridge")
    spoken = ~np.isnan(references.values[1])
    sequence, position, component = references.labels[spoken].T
    assert spoken.sum() == 3 * 8
    assert set(position.tolist()) == set(range(0, 16, 2))
    assert set(component.tolist()) == {0}
    ridge = ridge_predictor(*batch, 0.125).numpy()
    np.testing.assert_allclose(references.values[1][spoken], ridge[sequence, position // 2])


@pytest.fixture(scope="module")
def silent():
    """A network that always predicts zero."""
    model = RegressionTransformer(SETTING).eval()
    with torch.no_grad():
        model.unembedding.weight.zero_()
        model.unembedding.bias.zero_()
    return model


@pytest.fixture(scope="module")
def table(silent):
    return Table(tabulate(3, measure_regression(SETTING, silent, N, seed=0)))


class Table:
    """Rows by name and item."""

    def __init__(self, measurements):
        rows = zip(
            measurements.names,
            measurements.items,
            measurements.values,
            measurements.stderrs,
            strict=True,
        )
        self.rows = {(name, item): (value, stderr) for name, item, value, stderr in rows}
        self.names = set(measurements.names)

    def __call__(self, name, item=""):
        return self.rows[name, item]


def near(found, expected):
    value, stderr = found
    assert stderr > 0
    return abs(value - expected) < 4 * stderr


def test_a_silent_network_has_the_variance_of_y_as_loss(table):
    assert near(table("loss"), 4.125)
    for position in range(1, 9):
        assert near(table("loss_by_position", str(position)), 4.125)


def test_a_silent_network_learns_nothing_in_context(table):
    for name in ("icl_score", "icl_score_1_4", "icl_score_4_8"):
        assert near(table(name), 0)
    for g in ("1", "3", "5", "10"):
        assert near(table("ood_icl_score", g), 0)


def test_losses_grow_with_the_square_of_the_scale(table):
    for g in (1, 3, 5, 10):
        assert near(table("ood_loss", str(g)), 4 * g**2 + 0.125)
        assert near(table("ood_task_loss", str(g)), 4 * g**2 + 0.125)


def test_a_silent_network_is_at_zero_and_as_far_from_ridge_as_ridge_is(table):
    """E[ŷ²] of the ridge predictor is Var(t·x) less its risk: 4 − (risk − σ²)."""
    assert table("prediction_norm")[0] == 0
    risks = np.array([4.125, 3.18, 2.28, 1.475, 0.898, 0.573, 0.410, 0.322])
    for position, risk in enumerate(risks, start=1):
        value, stderr = table("distance_to_ridge_by_position", str(position))
        assert abs(value - (4.125 - risk)) < 4 * stderr + 0.01


def test_structure_is_read_off_the_weights(silent, table):
    assert table("effective_unembedding_weight", "64")[0] == 0
    assert table("layer_norm_weight_fraction", "final")[0] == 0
    assert table("layer_norm_bias_fraction", "attention.2")[0] == 1
    assert table("layer_norm_weight_mean", "mlp.1")[0] == 1
    squares = sum(p.detach().double().square().sum().item() for p in silent.parameters())
    assert table("weight_norm")[0] == pytest.approx(math.sqrt(squares))
    top = torch.linalg.matrix_norm(silent.position_embedding.weight.detach(), ord=2).item()
    assert table("positional_singular_values", "1")[0] == pytest.approx(top, rel=1e-5)


def test_uniform_attention_has_full_entropy_and_no_variability(silent):
    with torch.no_grad():
        for block in silent.blocks:
            block.attention.project.weight.zero_()
    table = Table(tabulate(0, measure_regression(SETTING, silent, 8, seed=0)))
    assert table("attention_entropy", "1.1")[0] == pytest.approx(1)
    assert table("attention_variability", "2.4")[0] == pytest.approx(0, abs=1e-6)
    assert table("previous_token_attention_by_position", "1.2.15")[0] == pytest.approx(1 / 15)
    assert table("x_token_attention_by_position", "1.2.15")[0] == pytest.approx(8 / 15)


def test_every_metric_of_the_paper_is_there(table):
    assert table.names >= {
        "loss", "loss_by_position", "distance_to_ridge", "prediction_norm", "icl_score",
        "icl_score_1_4", "icl_score_4_8", "ood_icl_score", "ood_loss", "ood_task_loss",
        "token_singular_values", "positional_singular_values", "effective_unembedding_weight",
        "effective_unembedding_bias", "layer_norm_weight_fraction", "attention_entropy",
        "attention_variability", "self_attention", "previous_token_attention",
        "x_token_attention", "weight_norm",
    }  # fmt: skip


def test_finite_worlds_are_measured_against_dmmse():
    problem = regression(n_tasks=2)
    names = {name for name, _, _ in problem.metrics(untrained(problem, 0), 8, 0)}
    assert {"distance_to_ridge", "distance_to_dmmse"} <= names
