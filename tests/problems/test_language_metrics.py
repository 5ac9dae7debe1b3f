"""Hand-built models whose scores are known."""

import math

import pytest
import torch

from ontogeny.metrics import composition_scores
from ontogeny.problems import language, untrained
from ontogeny.problems.language_metrics import (
    head_scores,
    losses_of,
    next_token_losses,
    ngrams,
    performance,
    random_rows,
    repetition,
    with_one_pair,
)
from ontogeny.problems.language_transformer import LanguageModel, Shape
from ontogeny.problems.trigger_bigrams import TriggerBigrams, bigram_chances
from ontogeny.streams import random_stream

SMALL = {"d_vocab": 8, "n_ctx": 16, "d_model": 16, "n_heads": 2, "triggers": 2}


def measured(problem, model, examples=400):
    with torch.no_grad():
        rows = problem.metrics(model, examples, 0)
        return {
            name: dict(
                zip(
                    items,
                    (values[0] if isinstance(values, tuple) else values).flatten(),
                    strict=True,
                )
            )
            for name, items, values in rows
        }


def silent(shape):
    """A model all of whose weights are zero."""
    model = LanguageModel(shape)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
    return model.eval()


def one_hot(n, scale):
    """Rows after a layer norm that are one-hot, up to the same vector for all and a factor."""
    return scale * torch.eye(n)


@torch.no_grad()
def bigram_model(table):
    """It predicts the table: its embedding is one-hot and its unembedding undoes the last norm."""
    n = len(table)
    model = silent(Shape(n, SMALL["n_ctx"], 1, 1, n))
    model.W_E.copy_(one_hot(n, 10.0))
    variance = 100 * (1 - 1 / n) / n
    log = table.log()
    model.W_U.copy_(log * math.sqrt(variance + 1e-5) / 10)
    model.b_U.copy_(log.mean(dim=0))
    return model


@torch.no_grad()
def induction_model(n=8, n_ctx=32, scale=30.0):
    """Layer 1 copies the previous token, layer 2 looks for it and says what stands there.

    The residual stream has a place for the token, one for the token before, one for what is said;
    positions have places of their own, which only queries and keys see.
    """
    d_model = 3 * n + n_ctx
    model = silent(Shape(n, n_ctx, 2, 1, d_model))
    token, before, said, place = torch.eye(d_model).split([n, n, n, n_ctx])
    model.W_E.copy_(scale * token)
    model.W_pos.copy_(scale * place)
    first, second = model.layers
    first.W_Q[0].copy_(place[1:].T @ place[:-1])  # a position asks for the one before
    first.W_K[0].copy_(scale * place.T @ place)
    first.W_V[0].copy_(token.T @ token)
    first.W_O[0].copy_(scale * token.T @ before)
    second.W_Q[0].copy_(token.T @ token)  # a token asks where it was the one before
    second.W_K[0].copy_(scale * before.T @ token)
    second.W_V[0].copy_(token.T @ token)
    second.W_O[0].copy_(scale * token.T @ said)
    model.W_U.copy_(scale * said.T)
    return model


def test_the_loss_of_a_uniform_prediction_is_the_log_of_the_vocabulary():
    tokens = torch.randint(8, (3, 16), generator=random_stream(0, "tokens"))
    losses = next_token_losses(torch.zeros(3, 16, 8), tokens)
    assert losses.shape == (3, 15)
    torch.testing.assert_close(losses, torch.full((3, 15), math.log(8)))


def test_icl_compares_the_500th_token_with_the_50th():
    losses = torch.arange(1023.0).expand(3, -1)  # the first is that of the second token
    found = {name: values for name, _, values in performance(losses, losses)}
    assert found["icl_score"].values.item() == 498 - 48


def test_ngram_scores_compare_with_the_place_where_the_word_ends():
    model = silent(Shape(8, 16, 1, 1, 4))
    losses = torch.arange(1.0, 16.0).expand(3, -1)  # the first is the loss of the second token
    with torch.no_grad():
        rows = ngrams(model, lambda n: torch.zeros(5, n + 1, dtype=torch.long), losses)
        found = {name: values for name, _, values in rows}
    torch.testing.assert_close(found["ngram_loss"].values, torch.full((3,), math.log(8)).double())
    expected = torch.tensor([2.0, 3.0, 4.0]).double() / math.log(8)
    torch.testing.assert_close(found["ngram_score"].values, expected)
    published = torch.tensor([3.0, 4.0, 5.0]).double() / math.log(8)
    torch.testing.assert_close(found["ngram_score_as_published"].values, published)


def test_random_rows_of_a_text_begin_with_its_end_token_and_have_no_other():
    model = silent(Shape(8, 16, 1, 1, 4))
    rows = random_rows(model, 200, 12, random_stream(0, "rows"), 3)
    assert set(rows[:, 0].tolist()) == {3}
    assert set(rows[:, 1:].flatten().tolist()) == set(range(8)) - {3}


@pytest.mark.parametrize("end", [None, 3, 7])
def test_prefix_matching_rows_have_one_pair(end):
    model = silent(Shape(8, 16, 1, 1, 4))
    rows = random_rows(model, 200, 16, random_stream(0, "rows"), end)
    first, second = torch.full((200,), 2), torch.full((200,), 11)
    paired = with_one_pair(rows, first, second, 8, end)
    assert ((paired == paired[:, 2:3]).sum(dim=1) == 2).all()
    assert (paired[:, 2] == paired[:, 11]).all()
    assert end is None or not (paired[:, 1:] == end).any()


def test_a_table_of_bigrams_has_the_bigram_score_of_its_entropy():
    problem = language(**SMALL)
    rows = problem.batch(2, random_stream(0, "rows"))
    every = problem.references(rows)
    assert every.names == ("bigram",)
    world = TriggerBigrams(8, 16, 2)
    found = measured(problem, bigram_model(bigram_chances(world, torch.arange(8))))
    assert found["bigram_score"][""] == pytest.approx(float(found["bigram_entropy"][""]), abs=1e-4)
    assert found["loss"][""] == pytest.approx(float(found["loss_without_positions"][""]))


def test_an_induction_circuit_scores_one():
    model = induction_model()
    with torch.no_grad():
        stream = random_stream(0, "heads")
        scores = {name: (items, values) for name, items, values in head_scores(model, 300, stream)}
        items, previous = scores["previous_token_score"]
        assert items == ("1.1", "2.1")
        assert previous.values[0] > 0.99
        assert scores["prefix_matching_score"][1].values[1] > 0.99
        gain = {name: values for name, _, values in repetition(model, 200, stream)}
    assert gain["repeated_loss"].values[1] < gain["repeated_loss"].values[0] - 0.7
    assert gain["induction_gain"].values > 0.7


def test_patterns_of_attention_are_those_of_the_heads():
    problem = language(d_vocab=8, n_ctx=32, n_layers=2, n_heads=1, d_model=56, triggers=2)
    tokens = random_rows(induction_model(), 3, 32, random_stream(0, "rows"), None)
    tokens[0, 1:5] = torch.tensor([5, 6, 7, 5])
    tokens[0, 5:] = 4
    with torch.no_grad():
        heads, patterns = problem.attention(induction_model(), (tokens,))
    assert heads == ("1.1", "2.1")
    assert patterns.shape == (2, 32, 32)
    torch.testing.assert_close(patterns.sum(dim=2), torch.ones(2, 32))
    assert (patterns[0].diagonal(offset=-1) > 0.99).all()  # from each token to the one before
    assert patterns[1, 4, 2] > 0.99  # from the second 5 to what followed the first


def test_positions_on_a_line_have_one_component():
    problem = language(**SMALL)
    model = untrained(problem, seed=0).eval()
    places = torch.linspace(1.5, -1.5, 16, dtype=torch.float64)
    with torch.no_grad():
        model.W_pos.copy_(2 + places[:, None] * torch.eye(16)[3])
    found = measured(problem, model, 20)["position_component"]
    assert list(found)[15:18] == ["1.16", "2.1", "2.2"]
    assert len(found) == 3 * 16
    values = torch.stack(list(found.values())).view(3, 16)
    torch.testing.assert_close(values[0], places, atol=1e-6, rtol=0)
    torch.testing.assert_close(values[1:], torch.zeros(2, 16).double(), atol=1e-6, rtol=0)


def test_k_composition_is_transformer_lens_definition():
    problem = language(**SMALL)
    model = untrained(problem, seed=0)
    first, second = model.layers
    with torch.no_grad():
        found = measured(problem, model.eval(), 20)["k_composition"]
        for a in range(2):
            for b in range(2):
                written = first.W_V[a] @ first.W_O[a]
                read = (second.W_Q[b] @ second.W_K[b].T).T
                right = (written @ read).norm() / (written.norm() * read.norm())
                torch.testing.assert_close(found[f"1.{a + 1}-2.{b + 1}"], right)


def test_random_maps_compose_by_chance():
    stream = random_stream(0, "maps")
    maps = torch.randn(2, 20, 64, 64, generator=stream)
    scores = composition_scores(*maps)
    # the squared score has mean 1/64 and varies by less than a tenth of that
    assert scores.square().mean().item() == pytest.approx(1 / 64, rel=0.02)


def test_losses_in_pieces_are_losses():
    model = untrained(language(**SMALL), seed=0).eval()
    tokens = torch.randint(8, (50, 16), generator=random_stream(0, "tokens"))
    with torch.no_grad():
        torch.testing.assert_close(
            losses_of(model, tokens), next_token_losses(model(tokens), tokens)
        )
