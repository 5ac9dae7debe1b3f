"""A trained language model in TransformerLens: the same logits, patterns and K-composition.

python experiments/beside_transformerlens.py RUN

The weights have TransformerLens' names and shapes, so that a checkpoint is a `HookedTransformer` of
shortformer positions. Prints the largest differences at the last checkpoint of a run of
`ontogeny run language`. Needs pip install 'transformer-lens<3', which is no dependency.
"""

import sys
from pathlib import Path

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from ontogeny.metrics import composition_scores
from ontogeny.problems import trained
from ontogeny.problems.language_metrics import patterns_of
from ontogeny.runs import open_run
from ontogeny.streams import random_stream

NAMES = {
    "W_E": "embed.W_E",
    "W_pos": "pos_embed.W_pos",
    "W_U": "unembed.W_U",
    "b_U": "unembed.b_U",
    "final_norm.weight": "ln_final.w",
    "final_norm.bias": "ln_final.b",
}


def name_of(name):
    """What TransformerLens calls a parameter."""
    if name in NAMES:
        return NAMES[name]
    part, layer, own = name.split(".")
    return f"blocks.{layer}.attn.{own}" if part == "layers" else f"blocks.{layer}.ln1.{own[0]}"


def hooked(model):
    """The same transformer in TransformerLens."""
    n_heads, d_model, d_head = model.layers[0].W_Q.shape
    config = HookedTransformerConfig(
        n_layers=len(model.layers),
        n_heads=n_heads,
        d_model=d_model,
        d_head=d_head,
        n_ctx=len(model.W_pos),
        d_vocab=len(model.W_E),
        attn_only=True,
        positional_embedding_type="shortformer",
        normalization_type="LN",
        default_prepend_bos=False,
    )
    twin = HookedTransformer(config)
    weights = {name_of(name): parameter for name, parameter in model.named_parameters()}
    twin.load_state_dict(twin.state_dict() | weights)
    return twin.eval()


def largest(ours, theirs):
    """The largest difference, and the largest value."""
    return f"{(ours - theirs).abs().max().item():.1e} of {ours.abs().max().item():.3g}"


@torch.no_grad()
def main(folder):
    """Print how far the two are apart."""
    run = open_run(folder)
    model = trained(run.problem, run.checkpoints[max(run.checkpoints)])
    twin = hooked(model)
    (tokens,) = run.problem.batch(64, random_stream(0, "transformerlens"))
    logits, cache = twin.run_with_cache(tokens)
    print("logits", largest(model(tokens), logits))
    for i, pattern in enumerate(patterns_of(model, tokens)):
        print(f"patterns of layer {i + 1}", largest(pattern, cache["pattern", i]))
    first, second = model.layers[:2]
    reads = (second.W_Q @ second.W_K.transpose(1, 2)).transpose(1, 2)
    ours = composition_scores(first.W_V @ first.W_O, reads)
    theirs = twin.all_composition_scores("K")[0, :, 1]
    print("K-composition", largest(ours.reshape(theirs.shape), theirs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
