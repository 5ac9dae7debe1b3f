"""In-context linear regression as a problem, and what is measured of its transformer.

The setting and the metrics are those of Hoogland et al., "The developmental landscape of
in-context learning" (2024, arXiv 2402.02364), with three slips of the original metrics mended: the
data carry the training noise, curvature is a mean over probes, and errors are those of means.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ontogeny.metrics import (
    Estimate,
    attention_entropy,
    attention_variability,
    average,
    effective_unembedding,
    fraction_below,
    icl_score,
    previous_token_attention,
    self_attention,
    singular_values,
    squared_errors,
    weight_norm,
    x_token_attention,
)
from ontogeny.problems.problem import Batch, Problem, Row
from ontogeny.problems.regression_data import Regression, draw_pairs, encode, known_predictions
from ontogeny.problems.regression_transformer import (
    Block,
    RegressionTransformer,
    predictions_of,
)
from ontogeny.records import References
from ontogeny.streams import random_stream

SCALES = (1.0, 3.0, 5.0, 10.0)
ATTENTION_SCORES = (
    attention_entropy,
    attention_variability,
    self_attention,
    previous_token_attention,
    x_token_attention,
)


def regression(**settings: Any) -> Problem:
    """In-context linear regression as a problem.

    Args:
        **settings: Fields of `Regression`; the paper's values are the defaults.

    Returns:
        The problem. A batch is (inputs x, targets y); the loss is the squared error of each
        prediction, by position; the outputs are the network's, at all positions and components,
        untrained ones included.

    Raises:
        ValueError: A setting is unknown or impossible.

    Examples:
        >>> model = regression().model()
        >>> sum(parameter.numel() for parameter in model.parameters())
        51717
    """
    try:
        setting = Regression(**settings)
    except TypeError as error:
        raise ValueError(str(error)) from None

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        inputs, targets = batch
        return (predictions_of(model(encode(inputs, targets))) - targets).square()

    return Problem(
        name="ontogeny.problems.regression:regression",
        settings=asdict(setting),
        model=lambda: RegressionTransformer(setting),
        batch=lambda n, generator: draw_pairs(setting, n, generator),
        loss=loss,
        outputs=lambda model, batch: model(encode(*batch)),
        metrics=lambda model, *sample: measure_regression(setting, model, *sample),
        references=lambda batch: references_of(setting, batch),
        components=components_of,
        datasets={
            "large_inputs": partial(draw_pairs, setting, input_scale=SCALES[1]),
            "large_tasks": partial(draw_pairs, setting, task_scale=SCALES[1]),
        },
    )


def components_of(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The parts of the transformer that have a name: which entries of which parameters they are.

    Returns:
        `embedding`, for each layer `head.LAYER.HEAD` (the rows of the projection to queries, keys
        and values, and the columns of the output, that are the head's), `mlp.LAYER` and
        `norms.LAYER`, and `unembedding` with the final norm: each weight is in one of them. Layers
        and heads count from 1.
    """
    assert isinstance(model, RegressionTransformer)
    parameters = dict(model.named_parameters())

    def all_of(*prefixes: str) -> dict[str, Tensor]:
        return {
            name: torch.ones_like(parameter, dtype=torch.bool)
            for name, parameter in parameters.items()
            if name.startswith(prefixes)
        }

    parts = {"embedding": all_of("token_embedding", "position_embedding")}
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        prefix = f"blocks.{i}."
        masks = all_of(f"{prefix}attention.")
        for head in range(block.attention.n_heads):
            project, output = (torch.zeros_like(mask) for mask in masks.values())
            project.chunk(block.attention.n_heads)[head][:] = True
            output.chunk(block.attention.n_heads, dim=1)[head][:] = True
            parts[f"head.{i + 1}.{head + 1}"] = dict(zip(masks, (project, output), strict=True))
        parts[f"mlp.{i + 1}"] = all_of(f"{prefix}mlp.")
        parts[f"norms.{i + 1}"] = all_of(f"{prefix}attention_norm", f"{prefix}mlp_norm")
    return parts | {"unembedding": all_of("final_norm", "unembedding")}


def references_of(setting: Regression, batch: Batch) -> References:
    """The outputs' labels, and the known predictors at the coordinates that they speak about."""
    inputs, targets = batch
    shape = (len(inputs), 2 * setting.n_pairs, setting.n_dims + 1)
    known = known_predictions(setting, inputs, targets)
    values = np.full((len(known), *shape), np.nan)
    for row, prediction in zip(values, known.values(), strict=True):
        row[:, ::2, 0] = prediction.cpu().numpy()
    return References(
        label_names=("sequence", "position", "component"),
        labels=np.indices(shape).reshape(3, -1).T,
        names=tuple(known),
        values=values.reshape(len(known), -1),
    )


# Metrics -----------------------------------------------------------------------------------------


def measure_regression(
    setting: Regression, model: nn.Module, examples: int, seed: int
) -> Iterator[Row]:
    """Every metric of the regression transformer, on fresh examples that depend on the seed alone.

    Args:
        setting: The problem's.
        model: A `RegressionTransformer` in eval mode.
        examples: How many sequences.
        seed: Which.

    Yields:
        Name, items and values of each metric.
    """
    assert isinstance(model, RegressionTransformer)
    device = model.unembedding.weight.device

    def sample(**scales: float) -> tuple[Tensor, Tensor]:
        stream = random_stream(seed, "regression metrics", device=device)
        return draw_pairs(setting, examples, stream, **scales)

    def scaled_losses(**scales: float) -> Tensor:
        inputs, targets = sample(**scales)
        return squared_errors(predictions_of(model(encode(inputs, targets))), targets)

    inputs, targets = sample()
    outputs, patterns = model.attend(encode(inputs, targets))
    predictions = predictions_of(outputs)
    losses = squared_errors(predictions, targets)
    larger_inputs = [losses, *(scaled_losses(input_scale=g) for g in SCALES[1:])]
    larger_tasks = [losses, *(scaled_losses(task_scale=g) for g in SCALES[1:])]
    yield from performance(losses)
    yield from resemblance(predictions, known_predictions(setting, inputs, targets))
    yield from out_of_distribution(larger_inputs, larger_tasks)
    yield from attention(patterns)
    yield from weights(model)


def performance(losses: Float[Tensor, "example pair"]) -> Iterator[Row]:
    """Losses by position, and how much they fall within the context."""
    last = losses.shape[1]
    yield "loss", ("",), average(losses.mean(dim=1))
    yield "loss_by_position", numbers(last), average(losses)
    if last >= 2:
        yield "icl_score", ("",), icl_score(losses, 1, last)
    if last >= 4:
        yield f"icl_score_1_{last // 2}", ("",), icl_score(losses, 1, last // 2)
        yield f"icl_score_{last // 2}_{last}", ("",), icl_score(losses, last // 2, last)


def resemblance(
    predictions: Float[Tensor, "example pair"],
    known: Mapping[str, Float[Tensor, "example pair"]],
) -> Iterator[Row]:
    """Distances to known predictors; that to zero is the norm of the predictions."""
    items = numbers(predictions.shape[1])
    for name, reference in known.items():
        apart = squared_errors(predictions.double(), reference)
        curve = "prediction_norm" if name == "zero" else f"distance_to_{name}"
        yield curve, ("",), average(apart.mean(dim=1))
        yield f"{curve}_by_position", items, average(apart)


def out_of_distribution(larger_inputs: list[Tensor], larger_tasks: list[Tensor]) -> Iterator[Row]:
    """Loss and in-context learning where inputs, or tasks, are g times as large as in training.

    The score is divided by g, as in the paper.
    """
    scales, last = tuple(f"{g:g}" for g in SCALES), larger_inputs[0].shape[1]
    if last >= 2:
        pairs = zip(SCALES, larger_inputs, strict=True)
        yield "ood_icl_score", scales, stack([icl_score(loss / g, 1, last) for g, loss in pairs])
    yield "ood_loss", scales, stack([average(loss.mean(dim=1)) for loss in larger_inputs])
    yield "ood_task_loss", scales, stack([average(loss.mean(dim=1)) for loss in larger_tasks])


def attention(patterns: list[Float[Tensor, "example head query key"]]) -> Iterator[Row]:
    """How each head attends, at each query position and on average over them.

    The last token is left out, because nothing is predicted from it, and so is the first in
    averages, because it can only attend to itself.
    """
    _, n_heads, n_tokens, _ = patterns[0].shape
    heads = [f"{layer}.{h}" for layer in numbers(len(patterns)) for h in numbers(n_heads)]
    by_query = tuple(f"{head}.{query}" for head in heads for query in numbers(n_tokens - 1))
    for score in ATTENTION_SCORES:
        found = [score(pattern[..., :-1, :-1]) for pattern in patterns]
        values = torch.cat([estimate.values for estimate in found])
        stderr = torch.cat([estimate.stderr for estimate in found])
        yield score.__name__, tuple(heads), values[:, 1:].mean(dim=1)
        yield f"{score.__name__}_by_position", by_query, Estimate(values, stderr)


def weights(model: RegressionTransformer) -> Iterator[Row]:
    """Norms, singular values, and which layer norms and unembedding directions have collapsed."""
    yield "weight_norm", ("",), weight_norm(model.parameters())
    for name, embedding in {
        "token_singular_values": model.token_embedding,
        "positional_singular_values": model.position_embedding,
    }.items():
        found = singular_values(embedding.weight)
        yield name, numbers(len(found)), found
    head, norm = model.unembedding, model.final_norm
    effective = effective_unembedding(head.weight[0], head.bias[0], norm.weight, norm.bias)
    yield "effective_unembedding_weight", numbers(len(effective.weight)), effective.weight
    yield "effective_unembedding_bias", ("",), effective.bias
    names, norms = zip(*model.layer_norms(), strict=True)
    for part in ("weight", "bias"):
        entries = [getattr(norm, part) for norm in norms]
        yield (
            f"layer_norm_{part}_fraction",
            names,
            torch.stack([fraction_below(e) for e in entries]),
        )
        yield f"layer_norm_{part}_mean", names, torch.stack([e.mean() for e in entries])
        yield f"layer_norm_{part}_std", names, torch.stack([e.std(correction=0) for e in entries])


def stack(estimates: list[Estimate]) -> Estimate:
    """Several estimates as one."""
    return Estimate(*(torch.stack(parts) for parts in zip(*estimates, strict=True)))


def numbers(n: int) -> tuple[str, ...]:
    """The names "1" to "n"."""
    return tuple(str(i) for i in range(1, n + 1))
