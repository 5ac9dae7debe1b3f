"""The loss around a checkpoint as a function of one flat vector: the weights that may move."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ontogeny.problems.problem import Batch, Problem, StateDict, trained

Masks = Mapping[str, Tensor]


class Landscape(NamedTuple):
    """What a chain walks on.

    Attributes:
        start: w*, the weights that may move, in the order of the network's parameters.
        evaluate: Of the weights of some chains and a batch for each: the mean losses by position,
            and the gradients of their means, which stand until the next call.
        initial: Of a batch for each chain: the mean losses of the checkpoint by position.
    """

    start: Float[Tensor, "*checkpoint 1 parameter"]
    evaluate: Callable[[Tensor, Sequence[Batch]], tuple[Tensor, Tensor]]
    initial: Callable[[Sequence[Batch]], Tensor]


def landscape_of(problem: Problem, state: StateDict, weights: str = "") -> Landscape:
    """The loss around a checkpoint, for one chain at a time: the plain loop.

    The parameters become views of one vector and their gradients of another, so that moving to
    other weights is one copy and gradients are gathered where they are made.

    Args:
        problem: Gives the model, the data and the loss.
        state: The checkpoint.
        weights: Which weights may move, as in `Sampler`; all if empty.

    Raises:
        ValueError: The weights are those of another network, nothing is trainable or nothing
            matches, or the parameters are in less than single precision, in which the sampler's
            steps would be lost to rounding.
    """
    model, checkpoint = trained(problem, state), trained(problem, state)
    masks = moving_weights(problem, model, weights)
    parameters = {name: p for name, p in model.named_parameters() if name in masks}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in masks)
    flat = flatten({name: p.detach() for name, p in parameters.items()})
    gradient, where = torch.zeros_like(flat), moving_entries(masks)
    for name, weight in unflatten(flat, parameters).items():
        parameters[name].data = weight
    for name, slope in unflatten(gradient, parameters).items():
        parameters[name].grad = slope

    def evaluate(weights: Tensor, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        if where is None:
            flat.copy_(weights[0])
        else:
            flat[where] = weights[0]
        gradient.zero_()
        losses = by_position(problem.loss(model, batches[0])).mean(dim=0)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        return losses.detach()[None], (gradient if where is None else gradient[where])[None]

    def initial(batches: Sequence[Batch]) -> Tensor:
        with torch.no_grad():
            return by_position(problem.loss(checkpoint, batches[0])).mean(dim=0)[None]

    start = flat.clone() if where is None else flat[where]
    return Landscape(start[None], evaluate, initial)


def by_position(losses: Tensor) -> Float[Tensor, "example position"]:
    """Losses with a second axis, whether the problem's loss has positions or not."""
    return losses.reshape(len(losses), -1)


def flatten(tensors: Mapping[str, Tensor]) -> Shaped[Tensor, " parameter"]:
    """Tensors as one vector, in their order."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of a vector with the names and shapes of given tensors."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {
        name: piece.view_as(tensor)
        for (name, tensor), piece in zip(like.items(), pieces, strict=True)
    }


# Refined: fewer weights ---------------------------------------------------------------------------


def moving_weights(problem: Problem, model: nn.Module, weights: str) -> Masks:
    """Which entries of which trainable parameters may move.

    Args:
        problem: Names its components, such as heads.
        model: Its network.
        weights: Names or patterns, separated by commas, each of components or, where no component
            matches, of parameters; all if empty.

    Returns:
        For every parameter that may move, in the network's order, which of its entries may.

    Raises:
        ValueError: Nothing is trainable, a pattern matches nothing, or the parameters are not all
            single or all double precision.

    Examples:
        >>> from ontogeny.problems import regression
        >>> problem = regression()
        >>> masks = moving_weights(problem, problem.model(), "head.1.2, unembedding.*")
        >>> for name, mask in masks.items():
        ...     print(name, int(mask.sum()))
        blocks.0.attention.project.weight 3072
        blocks.0.attention.output.weight 1024
        unembedding.weight 320
        unembedding.bias 5
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    kinds = {p.dtype for p in trainable.values()}
    if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
        names = ", ".join(sorted(map(str, kinds))) or "none"
        raise ValueError(
            "the trainable parameters must be all float32 or all float64 "
            f"(found: {names}); convert the network with .float()"
        )
    whole = {name: {name: torch.ones_like(p, dtype=torch.bool)} for name, p in trainable.items()}
    components = problem.components(model) if problem.components and weights else {}
    chosen: dict[str, Tensor] = {}
    for pattern in weights.split(",") if weights else ["*"]:
        found = matching(components, pattern.strip()) or matching(whole, pattern.strip())
        if not found:
            known = ", ".join([*components, *trainable])
            raise ValueError(f"no weights are called {pattern.strip()!r}; there are {known}")
        for part in found:
            for name, mask in part.items():
                chosen[name] = chosen.get(name, torch.zeros_like(mask)) | mask
    return {name: chosen[name] for name in trainable if name in chosen}


def matching(parts: Mapping[str, Masks], pattern: str) -> list[Masks]:
    """The parts whose name matches a pattern."""
    return [masks for name, masks in parts.items() if fnmatchcase(name, pattern)]


def moving_entries(masks: Masks) -> Tensor | None:
    """Where the moving weights are in the vector of their parameters; None if all of it moves."""
    mask = flatten(masks)
    return None if mask.all() else mask.nonzero()[:, 0]
