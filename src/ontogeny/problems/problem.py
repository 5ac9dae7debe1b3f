"""What is learned: a model, its data, its loss, and what to watch while it learns."""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ontogeny.metrics import Estimate
from ontogeny.records import CriticalPoint, Measurements, References
from ontogeny.streams import random_stream

StateDict = Mapping[str, Tensor]
Batch = tuple[Tensor, ...]
Row = tuple[str, tuple[str, ...], Estimate | Tensor]


@dataclass(frozen=True, eq=False)
class Problem:
    """A model and its data, as callables: everything that the probes need to know.

    Attributes:
        name: Where another process finds the function that makes this problem, as
            `"module:function"`; empty for one that lives in a notebook only, which is then
            measured in this process.
        settings: The keyword arguments of that function, as plain JSON values.
        model: Builds the untrained network. Use `untrained` to call it with a seed.
        batch: `batch(n, generator)` draws n examples on the generator's device; the tensors'
            first axis is the example.
        loss: `loss(model, batch)`, one value for each example, or for each example and position,
            in nats where the loss is a log-likelihood. The training loss is its mean.
        outputs: `outputs(model, batch)`, what essential dynamics follows; example first.
        metrics: `metrics(model, examples, seed)`, the metrics that make sense here, on that many
            fresh examples: for each its name, the items that it has values for (one empty name if
            there is one value), and the values, an `Estimate` or a tensor without errors. The one
            called `loss` is the test loss. None where there are none.
        references: `references(batch)`, what the output coordinates are and what known
            predictors would say there; None where nothing is known.
        vocabulary: The text of each token, where examples are rows of tokens and the loss is that
            of each token but the first; None elsewhere.
        attention: `attention(model, batch)`, the names of the attention heads, `LAYER.HEAD` counted
            from 1, and their patterns on the first example: head, query, key. None where there are
            no heads.
        critical_points: Points of the loss that are known beforehand. Its metric `distance_to` has
            their names as items.
    """

    name: str
    settings: Mapping[str, Any]
    model: Callable[[], nn.Module]
    batch: Callable[[int, torch.Generator], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    outputs: Callable[[nn.Module, Batch], Tensor]
    metrics: Callable[[nn.Module, int, int], Iterable[Row]] | None = None
    references: Callable[[Batch], References] | None = None
    components: Callable[[nn.Module], Mapping[str, Mapping[str, Tensor]]] | None = None
    datasets: Mapping[str, Callable[[int, torch.Generator], Batch]] | None = None
    vocabulary: Callable[[], tuple[str, ...]] | None = None
    attention: Callable[[nn.Module, Batch], tuple[tuple[str, ...], Tensor]] | None = None
    critical_points: Sequence[CriticalPoint] = ()


def untrained(problem: Problem, seed: int) -> nn.Module:
    """The problem's network with the initial weights that a seed gives.

    torch's own initialisers read the global generator, so this is the one place that seeds it;
    the caller's global state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251
        return problem.model()


def trained(problem: Problem, state: StateDict) -> nn.Module:
    """The problem's network with given weights, in eval mode, on the device of the weights.

    Raises:
        ValueError: The weights are those of another network.
    """
    model = untrained(problem, seed=0)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for name in wanted | found:
        if wanted.get(name) != found.get(name):
            raise ValueError(
                f"these weights do not fit the problem's network: {name} has shape "
                f"{found.get(name, 'absent')} and should have {wanted.get(name, 'absent')}"
            )
    model.load_state_dict(dict(state))
    return model.to(device_of(state)).eval()


def device_of(state: StateDict) -> torch.device:
    """Where weights are, and where everything that is measured of them is computed."""
    return next(iter(state.values())).device


def on_data(problem: Problem, data: str) -> Problem:
    """The problem with another of its data sets in the place of its own.

    Args:
        problem: Names its data sets.
        data: Which; its own if empty.

    Raises:
        ValueError: It has no such data set.
    """
    if not data:
        return problem
    known = problem.datasets or {}
    if data not in known:
        there = f"there are {', '.join(known)}" if known else "it has none but its own"
        raise ValueError(f"the problem {problem.name!r} has no data set {data!r}; {there}")
    return replace(problem, batch=known[data])


def find(address: str) -> Callable[..., Any]:
    """The function at an address, `"module:name"`.

    Raises:
        ValueError: There is none.
    """
    module, _, name = address.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no function {address!r}: {error}") from None
    return function


def load_problem(name: str, settings: Mapping[str, Any]) -> Problem:
    """Make a problem from its address and settings.

    Args:
        name: `"module:function"`.
        settings: Keyword arguments of the function.

    Raises:
        ValueError: There is no such function, or it does not take these settings.
    """
    try:
        function = find(name)
        kind = getattr(function, "__annotations__", {}).get("return")
        if kind not in (Problem, "Problem"):  # a file must not make us call just anything
            raise ValueError("its signature does not say that it returns a Problem")
        problem: Problem = function(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot make the problem {name!r}: {error}") from error
    return problem


def identity(problem: Problem) -> dict[str, Any]:
    """What distinguishes this problem from every other, as plain JSON.

    Returns:
        Its name, its settings, and a hash of a fixed batch, which stands for "the data" in the
        key of every measurement.
    """
    digest = hashlib.blake2b(digest_size=16)
    for tensor in problem.batch(8, random_stream(0, "identity")):
        digest.update(tensor.numpy().tobytes())
    return {
        "name": problem.name,
        "settings": dict(problem.settings),
        "data": digest.hexdigest(),
    }


def check_problem(problem: Problem) -> None:
    """Verify on four examples what the methods silently assume of a problem.

    Args:
        problem: Yours.

    Raises:
        ValueError: Something is not as it must be: what was seen, and what to do.

    Examples:
        >>> from ontogeny.problems import regression
        >>> check_problem(regression())
    """
    model = untrained(problem, seed=0).eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batch, again = (problem.batch(4, random_stream(0, "check")) for _ in range(2))
    if not all(torch.equal(a, b) for a, b in zip(batch, again, strict=True)):
        raise ValueError(
            "batch drew other examples from the same generator; use only the generator"
        )
    losses = problem.loss(model, batch)
    if not losses.ndim or len(losses) != 4:
        raise ValueError(
            f"the loss of 4 examples has shape {tuple(losses.shape)}; return one value for each "
            "example, or for each example and position, without averaging"
        )
    if not losses.isfinite().all():
        raise ValueError("the loss of the untrained network is not finite; look at its inputs")
    if not torch.equal(losses, problem.loss(model, batch)):
        raise ValueError(
            "the loss changes from call to call in eval mode; switch off what is random"
        )
    changed = [name for name, buffer in model.named_buffers() if (buffer != before[name]).any()]
    if changed:
        raise ValueError(
            f"a forward pass changed the buffer {changed[0]}; keep buffers fixed in eval"
        )
    alone = problem.loss(model, tuple(tensor[:2] for tensor in batch))
    if not torch.allclose(losses[:2], alone, rtol=1e-3, atol=1e-5):
        raise ValueError(
            "an example's loss depends on the other examples; normalise over features instead"
        )
    unreached = unreached_parameters(model, losses)
    if unreached:
        raise ValueError(
            f"the loss does not depend on the parameter {unreached[0]}; use it, or freeze it with "
            "requires_grad_(False)"
        )


def unreached_parameters(model: nn.Module, losses: Tensor) -> list[str]:
    """Trainable parameters that no gradient of the loss reaches."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        return ["(none is trainable)"]
    gradients = torch.autograd.grad(losses.mean(), list(trainable.values()), allow_unused=True)
    return [name for name, g in zip(trainable, gradients, strict=True) if g is None]


def tabulate(step: int, rows: Iterable[Row]) -> Measurements:
    """Metrics as a record.

    Args:
        step: The checkpoint's step.
        rows: For each metric its name, the items it has values for (one empty name if there is
            one value), and the values: an `Estimate`, or a tensor where they have no error.

    Raises:
        ValueError: A metric has another number of values than items.

    Examples:
        >>> table = tabulate(3, [("norm", ("a", "b"), torch.tensor([1.0, 2.0]))])
        >>> table.names, table.items, table.values.tolist()
        (('norm', 'norm'), ('a', 'b'), [1.0, 2.0])
    """
    names: list[str] = []
    items: list[str] = []
    values: list[float] = []
    stderrs: list[float] = []
    for name, its_items, quantity in rows:
        found, error = quantity if isinstance(quantity, tuple) else (quantity, None)
        if found.numel() != len(its_items):
            raise ValueError(f"{name} has {found.numel()} values for {len(its_items)} items")
        names += [name] * len(its_items)
        items += its_items
        values += found.flatten().tolist()
        stderrs += [np.nan] * len(its_items) if error is None else error.flatten().tolist()
    return Measurements(step, tuple(names), tuple(items), np.array(values), np.array(stderrs))
