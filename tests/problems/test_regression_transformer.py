"""The transformer is the paper's."""

import math

import pytest
import torch

from ontogeny.problems import regression, untrained
from ontogeny.problems.regression_data import Regression, draw_pairs, encode
from ontogeny.problems.regression_transformer import RegressionTransformer, predictions_of
from ontogeny.streams import random_stream

SETTING = Regression()
INITIAL_NORMS = [24.909349, 24.930702, 24.898283, 24.974403, 24.943701]


def norm_of(model):
    return math.sqrt(sum(p.detach().double().square().sum().item() for p in model.parameters()))


def test_it_has_the_papers_number_of_parameters():
    model = regression().model()
    assert sum(parameter.numel() for parameter in model.parameters()) == 51_717


@pytest.mark.parametrize(("seed", "norm"), list(enumerate(INITIAL_NORMS)))
def test_seeds_give_the_papers_initial_weights(seed, norm):
    assert norm_of(untrained(regression(), seed)) == pytest.approx(norm, rel=5e-7)


def test_the_token_embedding_of_seed_0_has_the_papers_singular_values():
    model = untrained(regression(), 0)
    found = torch.linalg.svdvals(model.token_embedding.weight.detach())
    expected = [2.398004, 2.168291, 1.974831, 1.873311, 1.500530]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_building_a_model_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    untrained(regression(), 3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_each_layer_doubles_the_residual_stream():
    """With the blocks' outputs silenced, a layer's input comes out twice as large."""
    model = RegressionTransformer(SETTING)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.output.weight.zero_()
            block.mlp[2].weight.zero_()
            block.mlp[2].bias.zero_()
        tokens = torch.randn(3, 16, 5, generator=random_stream(0, "test"))
        embedded = model.token_embedding(tokens) + model.position_embedding.weight.T
        expected = model.unembedding(model.final_norm(4 * embedded))
        torch.testing.assert_close(model(tokens), expected)


def test_a_prediction_sees_no_later_token():
    model = untrained(regression(), 0)
    x, y = draw_pairs(SETTING, 4, random_stream(0, "test"))
    changed = y.clone()
    changed[:, 3:] += 100
    with torch.no_grad():
        before = predictions_of(model(encode(x, y)))
        after = predictions_of(model(encode(x, changed)))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().min() > 0
