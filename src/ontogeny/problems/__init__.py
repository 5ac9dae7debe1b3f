"""What is learned: problems, each a model and its data as callables."""

from ontogeny.problems.language import language
from ontogeny.problems.problem import (
    Batch,
    Problem,
    StateDict,
    check_problem,
    device_of,
    find,
    identity,
    load_problem,
    tabulate,
    trained,
    untrained,
)
from ontogeny.problems.regression import regression

__all__ = [
    "Batch",
    "Problem",
    "StateDict",
    "check_problem",
    "device_of",
    "find",
    "identity",
    "language",
    "load_problem",
    "regression",
    "tabulate",
    "trained",
    "untrained",
]
