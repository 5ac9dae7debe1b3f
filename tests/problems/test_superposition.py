"""The toy model of superposition as a problem: its data, its start, its metrics."""

import json

import numpy as np
import pytest
import torch

from ontogeny.problems import check_problem, load_problem, tabulate, untrained
from ontogeny.problems.superposition import superposition
from ontogeny.problems.superposition_landscape import (
    critical_point,
    critical_points,
    polygon,
    population_loss,
)


def random_weights(seed, features=6, hidden=2, spread=0.9):
    stream = torch.Generator().manual_seed(seed)
    drawn = torch.randn(hidden + 1, features, generator=stream, dtype=torch.float64)
    return spread * drawn[:hidden], 0.6 * drawn[hidden] - 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_mean_over_examples(seed):
    problem = superposition(examples=200_000, data_seed=seed)
    model = untrained(problem, seed=0)
    model.load_state_dict(dict(zip(("weights", "bias"), random_weights(seed), strict=True)))
    with torch.no_grad():
        losses = problem.loss(model, problem.batch(200_000, torch.Generator()))
        exact = population_loss(model.weights, model.bias)
    error = losses.std() / len(losses) ** 0.5
    assert abs(losses.mean() - exact) < 4 * error


@pytest.mark.parametrize("examples", [0, 20])
def test_it_is_sound_and_found_by_its_address(examples):
    problem = superposition(start="4++", jitter=0.1, examples=examples, data_seed=3)
    check_problem(problem)
    again = load_problem(problem.name, json.loads(json.dumps(problem.settings)))
    batch, other = (one.batch(5, torch.Generator().manual_seed(1)) for one in (problem, again))
    assert torch.equal(batch[0], other[0])
    assert [point.data for point in again.critical_points[-1:]] == [
        "all" if examples else "population"
    ]


def test_a_batch_as_large_as_the_training_set_is_all_of_it():
    problem = superposition(examples=30)
    (batch,) = problem.batch(30, torch.Generator().manual_seed(5))
    (all_of_it,) = problem.datasets["all"](30, torch.Generator())
    assert torch.equal(batch.sum(dim=1).sort()[0], all_of_it.sum(dim=1).sort()[0])
    assert ((all_of_it > 0).sum(dim=1) == 1).all()
    (more,) = problem.batch(60, torch.Generator().manual_seed(5))
    assert torch.equal(more[:30].sum(dim=1).sort()[0], more[30:].sum(dim=1).sort()[0])


def test_the_population_is_a_data_set_of_a_training_set():
    problem = superposition(start="5", examples=30)
    model = problem.model()
    losses = problem.loss(model, problem.datasets["population"](3, torch.Generator()))
    assert losses.tolist() == [critical_points()[-3].loss] * 3


def test_it_starts_where_it_is_told():
    model = untrained(superposition(start="4+", shrink=0.5), seed=0)
    assert torch.equal(model.weights, critical_point("4+")["weights"] / 2)
    origin = critical_point("0++++++")["bias"]
    torch.testing.assert_close(model.bias, (critical_point("4+")["bias"] + origin) / 2)
    assert not untrained(superposition(), seed=0).weights.any()


def test_its_metrics_are_exact():
    problem = superposition(start="6")
    table = tabulate(0, problem.metrics(problem.model(), 1, 0))
    found = dict(zip(zip(table.names, table.items, strict=True), table.values, strict=True))
    assert found["loss", ""] == critical_points()[-1].loss
    assert found["column_norm", "1"] == pytest.approx(polygon(6)[0])
    assert found["distance_to", "6"] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: superposition(features=1, hidden=2), "at least as many features"),
        (lambda: superposition(hidden=0), "one dimension or more"),
        (lambda: superposition(start="9-gon"), "there are 0, 0"),
        (lambda: superposition(examples=-1), "examples must be a whole number"),
        (lambda: superposition(shrink=np.nan), "must be finite"),
        (lambda: critical_point("4++++"), "is called '4"),
    ],
)
def test_bad_input_gets_one_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
