"""Next-token prediction by an attention-only transformer as a problem.

The setting is that of Hoogland et al., "The developmental landscape of in-context learning" (2024,
arXiv 2402.02364).
"""

from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ontogeny.problems.attention import fused_attention
from ontogeny.problems.language_data import Language, Source, source_of
from ontogeny.problems.language_metrics import (
    measure_language,
    names_of_heads,
    next_token_losses,
    patterns_of,
)
from ontogeny.problems.language_transformer import Attention, LanguageModel, Shape
from ontogeny.problems.problem import Problem
from ontogeny.records import References
from ontogeny.streams import random_stream

AT_ONCE = 64  # rows whose residual stream is in memory at a time
CONTEXT = 5  # tokens before the one at a site that its labels tell


def language(**settings: Any) -> Problem:
    """Next-token prediction by an attention-only transformer as a problem.

    Args:
        **settings: Fields of `Language`.

    Returns:
        The problem. A batch is one tensor of tokens, row and position; the loss is the
        cross-entropy of each next token, by position, in nats; the outputs are the logits of the
        true next token at a few random positions of each row.

    Raises:
        ValueError: A setting is unknown or impossible.

    Examples:
        The model of the paper.

        >>> paper = language(d_vocab=5000, n_ctx=1024, n_heads=8, d_model=256)
        >>> sum(parameter.numel() for parameter in paper.model().parameters())
        3355016
    """
    try:
        setting = Language(**settings)
    except TypeError as error:
        raise ValueError(str(error)) from None
    shape = Shape(
        setting.d_vocab, setting.n_ctx, setting.n_layers, setting.n_heads, setting.d_model
    )
    source = source_of(setting)
    return Problem(
        name="ontogeny.problems.language:language",
        settings=settings_of(setting, source),
        model=lambda: LanguageModel(shape),
        batch=lambda n, generator: (source.train(n, generator),),
        loss=lambda model, batch: next_token_losses(model(batch[0]), batch[0]),
        datasets={"held_out": lambda n, generator: (source.held_out(n, generator),)},
        outputs=lambda model, batch: true_logits(model, batch[0], sites_of(setting, batch[0])),
        metrics=lambda model, *sample: measure_language(source, model, *sample),
        references=lambda batch: references_of(setting, source, batch[0]),
        components=components_of,
        vocabulary=lambda: source.vocabulary,
        attention=lambda model, batch: attention_of(model, batch[0][:1]),
    )


def settings_of(setting: Language, source: Source) -> dict[str, Any]:
    """A setting with the fingerprint of its text, if it has one."""
    given = asdict(replace(setting, fingerprint=source.fingerprint))
    return {name: value for name, value in given.items() if name != "fingerprint" or value}


# Outputs -----------------------------------------------------------------------------------------


def sites_of(setting: Language, tokens: Int[Tensor, "row position"]) -> Int[Tensor, "row site"]:
    """The positions of each row at which outputs are followed: always the same, in order."""
    size = len(tokens), setting.n_ctx - 1
    order = torch.rand(size, generator=random_stream(0, "language sites")).argsort(dim=1)
    return order[:, : setting.sites].sort(dim=1).values.to(tokens.device)


def true_logits(
    model: nn.Module, tokens: Int[Tensor, "row position"], sites: Int[Tensor, "row site"]
) -> Float[Tensor, "row site"]:
    """The logits of the tokens that follow some sites."""
    assert isinstance(model, LanguageModel)
    true = tokens.gather(1, sites + 1)
    with fused_attention():
        parts = [
            model.residual(some).take_along_dim(places[..., None], dim=1)
            for some, places in zip(
                torch.split(tokens, AT_ONCE), torch.split(sites, AT_ONCE), strict=True
            )
        ]
    return (torch.cat(parts) * model.W_U.T[true]).sum(dim=-1) + model.b_U[true]


def references_of(
    setting: Language, source: Source, tokens: Int[Tensor, "row position"]
) -> References:
    """The outputs' labels, and the logits that the table of bigrams gives there.

    The labels are row and position of a site, the token there and the next one, whether these
    complete an induction, and the tokens before them, -1 where the row has not begun.

    Logits are known up to a constant at each site: here their mean over the vocabulary is zero, as
    it all but stays in training, whose gradient does not change it. A table in which something
    never follows has no such logits, and is no reference.
    """
    sites = sites_of(setting, tokens)
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    token, true = tokens[rows, sites], tokens[rows, sites + 1]
    log = source.chances(token).log()
    logits = (log - log.mean(dim=-1, keepdim=True)).gather(-1, true[..., None]).reshape(1, -1)
    known = int(logits.isfinite().all())
    padded = functional.pad(tokens, (CONTEXT, 0), value=-1)
    before = {f"before_{k}": padded[rows, sites + CONTEXT - k] for k in range(CONTEXT, 0, -1)}
    labels = [rows.expand_as(sites), sites, token, true, completes_induction(tokens, sites)]
    labels += before.values()
    return References(
        label_names=("row", "position", "token", "next_token", "induction", *before),
        labels=torch.stack(labels, dim=-1).reshape(-1, len(labels)).cpu().numpy(),
        names=("bigram",)[:known],
        values=logits[:known].double().cpu().numpy(),
        vocabulary=source.vocabulary,
    )


def completes_induction(
    tokens: Int[Tensor, "row position"], sites: Int[Tensor, "row site"]
) -> Int[Tensor, "row site"]:
    """Whether the bigram at a site occurred before in its row: AB…A, and B follows.

    Examples:
        >>> completes_induction(torch.tensor([[1, 2, 0, 1, 2, 1]]), torch.tensor([[0, 3, 4]]))
        tensor([[0, 1, 0]])
    """
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    token, true = tokens[rows, sites], tokens[rows, sites + 1]
    same = (tokens[:, None, :-1] == token[..., None]) & (tokens[:, None, 1:] == true[..., None])
    before = torch.arange(tokens.shape[1] - 1, device=tokens.device) < sites[..., None]
    return (same & before).any(dim=-1).long()


def components_of(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The parts of the transformer that have a name: which entries of which parameters they are.

    Returns:
        `embedding`, `positions`, for each layer `head.LAYER.HEAD` and `norms.LAYER` (with the bias
        of the layer's output), and `unembedding` with the final norm: each weight is in one of
        them. Layers and heads count from 1.
    """
    assert isinstance(model, LanguageModel)
    whole = {
        name: torch.ones_like(parameter, dtype=torch.bool)
        for name, parameter in model.named_parameters()
    }

    def all_of(*prefixes: str) -> dict[str, Tensor]:
        return {name: mask for name, mask in whole.items() if name.startswith(prefixes)}

    parts = {"embedding": all_of("W_E"), "positions": all_of("W_pos")}
    for i, layer in enumerate(model.layers):
        assert isinstance(layer, Attention)
        by_head = all_of(*(f"layers.{i}.{name}" for name in ("W_", "b_Q", "b_K", "b_V")))
        for head in range(len(layer.W_Q)):
            masks = {name: torch.zeros_like(mask) for name, mask in by_head.items()}
            for mask in masks.values():
                mask[head] = True
            parts[f"head.{i + 1}.{head + 1}"] = masks
        parts[f"norms.{i + 1}"] = all_of(f"norms.{i}.", f"layers.{i}.b_O")
    return parts | {"unembedding": all_of("final_norm", "W_U", "b_U")}


def attention_of(
    model: nn.Module, tokens: Int[Tensor, "1 position"]
) -> tuple[tuple[str, ...], Float[Tensor, "head query key"]]:
    """The names of the heads, and what each of them attends to in one row."""
    assert isinstance(model, LanguageModel)
    return names_of_heads(model), torch.cat(patterns_of(model, tokens), dim=1)[0]
