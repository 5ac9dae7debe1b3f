"""The problem, and its table of metrics on a network whose answers are known."""

import math

import numpy as np
import pytest
import torch

from ontogeny.problems import regression, tabulate, untrained
from ontogeny.problems.regression import measure_regression
from ontogeny.problems.regression_data import Regression, draw_pairs, encode, ridge_predictor
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


@pytest.mark.parametrize("settings", [{}, {"d_model": 12, "d_mlp": 8, "n_heads": 3, "n_layers": 3}])
def test_every_weight_is_in_one_component(settings):
    problem = regression(**settings)
    model = untrained(problem, 0)
    seen = {name: torch.zeros_like(p, dtype=torch.int) for name, p in model.named_parameters()}
    components = problem.components(model)
    for masks in components.values():
        for name, mask in masks.items():
            assert mask.dtype == torch.bool
            seen[name] += mask
    assert all((count == 1).all() for count in seen.values())
    layers, heads = settings.get("n_layers", 2), settings.get("n_heads", 4)
    parts = {"embedding", "unembedding"}
    for layer in range(1, layers + 1):
        parts |= {f"mlp.{layer}", f"norms.{layer}"}
        parts |= {f"head.{layer}.{head}" for head in range(1, heads + 1)}
    assert set(components) == parts


def test_the_parts_of_a_head_are_what_it_alone_uses():
    """Its queries, keys and values come from its rows; its columns are how they go out."""
    problem = regression(d_model=8, d_mlp=8, n_heads=2)
    model = untrained(problem, 0)
    tokens = encode(*problem.batch(3, random_stream(0, "test")))
    _, before = model.attend(tokens)
    masks = problem.components(model)["head.1.2"]
    rows, columns = (masks[f"blocks.0.attention.{name}.weight"] for name in ("project", "output"))
    assert rows.any(dim=1).tolist() == [False] * 12 + [True] * 12
    assert columns.any(dim=0).tolist() == [False] * 4 + [True] * 4
    with torch.no_grad():
        model.blocks[0].attention.project.weight[rows] *= 3.0
    _, after = model.attend(tokens)
    assert torch.equal(after[0][:, 0], before[0][:, 0])
    assert not torch.allclose(after[0][:, 1], before[0][:, 1])


def test_other_data_are_those_of_the_out_of_distribution_metrics():
    problem = regression()
    setting = Regression()
    for name, scale in [("large_inputs", "input_scale"), ("large_tasks", "task_scale")]:
        found = problem.datasets[name](7, random_stream(0, "test"))
        expected = draw_pairs(setting, 7, random_stream(0, "test"), **{scale: 3.0})
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


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
