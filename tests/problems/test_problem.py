"""Problems have an identity, an address, and weights that fit."""

import numpy as np
import pytest
import torch

from ontogeny.metrics import Estimate
from ontogeny.problems import identity, load_problem, regression, trained, untrained
from ontogeny.problems.problem import tabulate
from tests.examples import line


def test_a_problem_is_found_at_its_address():
    problem = regression(n_pairs=4)
    again = load_problem(problem.name, problem.settings)
    assert identity(again) == identity(problem)


def test_the_identity_knows_settings_and_data():
    assert identity(line(2.0)) == identity(line(2.0))
    assert identity(line(2.0))["data"] != identity(line(3.0))["data"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("nowhere:line", {}),
        ("tests.examples:nothing", {}),
        ("tests.examples:line", {"slop": 1.0}),
        ("tests.examples", {}),
        ("ontogeny.problems:regression", {"n_heads": 7}),
    ],
)
def test_an_address_without_a_problem_gets_one_sentence(name, settings):
    with pytest.raises(ValueError, match="cannot make the problem"):
        load_problem(name, settings)


def test_an_address_of_something_else_is_refused():
    with pytest.raises(ValueError, match="gives a float, not a Problem"):
        load_problem("builtins:float", {})


def test_trained_networks_have_their_weights_and_are_in_eval_mode():
    state = untrained(line(), 5).state_dict()
    model, device = trained(line(), state)
    assert not model.training
    assert device == torch.device("cpu")
    assert torch.equal(model.state_dict()["weight"], state["weight"])


def test_tables_have_one_row_for_each_item():
    rows = [
        ("a", ("x", "y"), Estimate(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.2]))),
        ("b", ("",), torch.tensor(3.0)),
    ]
    table = tabulate(7, rows)
    assert (table.step, table.names, table.items) == (7, ("a", "a", "b"), ("x", "y", ""))
    np.testing.assert_allclose(table.stderrs, [0.1, 0.2, np.nan], rtol=1e-6)
    with pytest.raises(ValueError, match="b has 1 values for 2 items"):
        tabulate(7, [("b", ("p", "q"), torch.tensor([1.0]))])
