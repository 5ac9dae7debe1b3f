"""Problems have an identity, an address, and weights that fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.metrics import Estimate
from ontogeny.problems import check_problem, identity, load_problem, regression, trained, untrained
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
    with pytest.raises(ValueError, match="does not say that it returns a Problem"):
        load_problem("builtins:float", {})


def test_trained_networks_have_their_weights_and_are_in_eval_mode():
    state = untrained(line(), 5).state_dict()
    model = trained(line(), state)
    assert not model.training
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


# What the methods assume -------------------------------------------------------------------------


def squared_error(model, batch):
    return (model(batch[0]) - batch[1]).square().flatten()


class Counting(nn.Linear):
    """A layer with a buffer that changes when it is used."""

    def __init__(self):
        super().__init__(1, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Careless(nn.Linear):
    """A layer with a parameter that it does not use."""

    def __init__(self):
        super().__init__(1, 1)
        self.spare = nn.Parameter(torch.zeros(2))


def noisy(model, batch):
    return squared_error(model, batch) + torch.rand(len(batch[0]))


def centred(model, batch):
    return squared_error(model, (batch[0] - batch[0].mean(), batch[1]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch": lambda n, _: (torch.rand(n, 1), torch.rand(n, 1))}, "use only the generator"),
        ({"loss": lambda *a: squared_error(*a).mean()}, r"shape \(\); return one value for each"),
        ({"loss": lambda *a: squared_error(*a) / 0}, "is not finite"),
        ({"loss": noisy}, "changes from call to call in eval mode"),
        ({"loss": centred}, "depends on the other examples"),
        ({"model": Counting}, "changed the buffer calls"),
        ({"model": Careless}, "does not depend on the parameter spare"),
        ({"model": lambda: nn.Linear(1, 1).requires_grad_(False)}, "none is trainable"),
    ],
)
def test_what_breaks_an_assumption_is_said_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_problem(replace(line(), **change))


@pytest.mark.parametrize("problem", [line(), regression(), regression(n_tasks=3)])
def test_good_problems_pass(problem):
    check_problem(problem)
