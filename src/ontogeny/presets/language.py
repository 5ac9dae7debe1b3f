"""The attention-only language model in three sizes."""

import math
from pathlib import Path

from ontogeny.plans import Measurement, Plan, Size, at_every_checkpoint
from ontogeny.probes import (
    FixedBatch,
    Metrics,
    Sampler,
    measure_metrics,
    record_outputs,
    record_passages,
    record_references,
    sample_chains,
)
from ontogeny.problems import language
from ontogeny.problems.texts import SPEECHES
from ontogeny.problems.tokenizing import size_of_tokenizer
from ontogeny.training import Training, checkpoint_steps, spread

PILE = "hub:stanford-crfm/DSIR-filtered-pile-50M"

SCORES = (
    "bigram_score",
    "ngram_score",
    "previous_token_score",
    "prefix_matching_score",
    "icl_score",
    "induction_gain",
)
"""What the paper tells the stages by, and the loss on a repeated row."""


def plan_language(
    size: Size,
    seed: int,
    device: str = "cpu",
    corpus: str = "",
    tokenizer: str = "",
    d_vocab: int | None = None,
) -> Plan:
    """The attention-only language model.

    Args:
        size: Which preset.
        seed: Of the initial weights, the batches and the sampler.
        device: Where to train.
        corpus: The text, as in `ontogeny.problems.texts`; the speeches by default.
        tokenizer: The file of its tokenizer; by default one is trained on the text.
        d_vocab: How many tokens that one has; by default as many as the preset says.

    Raises:
        ValueError: The quick preset is given a text, the tokenizer's file holds none, or it is
            asked for another number of tokens.
    """
    if size == "quick":
        if corpus or tokenizer or d_vocab is not None:
            raise ValueError(
                "the quick preset has a language of its own; give a text to standard or paper"
            )
        return _quick(seed, device)
    make = {"standard": _standard, "paper": _paper}[size]
    if tokenizer and d_vocab is not None:
        raise ValueError("a tokenizer has as many tokens as it has; do not ask for d_vocab too")
    if tokenizer:
        d_vocab = size_of_tokenizer(tokenizer)
    elif d_vocab is None:
        d_vocab = {"standard": 1024, "paper": 5000}[size]
    return make(seed, device, _address(corpus) or SPEECHES, _address(tokenizer), d_vocab)


def _address(source: str) -> str:
    """A source, from wherever it is read: a run is measured from other folders too."""
    local = source and source != SPEECHES and Path(source).exists()
    return str(Path(source).resolve()) if local else source


def _quick(seed: int, device: str) -> Plan:
    problem = language(
        d_vocab=20, n_ctx=48, n_heads=8, triggers=3, sharpness=1.5, second_order=2.75, sites=40
    )
    training = Training(
        steps=3000,
        batch_size=32,
        schedule="constant",
        weight_decay=0.05,
        log_checkpoints=70,
        linear_checkpoints=70,
        fused_attention=True,
        seed=seed,
        device=device,
    )
    steps = checkpoint_steps(training)
    sampler = Sampler(
        step_size=2e-4,
        nbeta=200.0,
        localization=200.0,
        draws=120,
        burn_in=20,
        batch_size=32,
        pairing=2,
        block=20,
        seed=seed,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(steps, 24, 20)),
        (measure_metrics, Metrics(examples=256), steps),
        (record_outputs, FixedBatch(examples=250), steps),
        (record_references, FixedBatch(examples=250), steps[:1]),
        (record_passages, FixedBatch(examples=6), steps),
    )
    notes = (
        "The language is synthetic. What follows a token depends on it and, through a fixed table, "
        "on the token before it; but in each row three of the twenty tokens are triggers, whose "
        "successors are drawn afresh for the row. The first needs a table of bigrams and a "
        "previous-token head, the second an induction head.",
    )
    title = f"Trigger-bigram language, quick preset, seed {seed}"
    return Plan(title, notes, "LM", problem, training, measurements, SCORES)


def _standard(seed: int, device: str, corpus: str, tokenizer: str, d_vocab: int) -> Plan:
    problem = language(
        corpus=corpus,
        tokenizer=tokenizer,
        d_vocab=d_vocab,
        n_ctx=256,
        n_heads=4,
        d_model=128,
        sites=40,
    )
    training = Training(
        steps=12_000,
        batch_size=16,
        learning_rate=3e-3,
        schedule="constant",
        weight_decay=0.05,
        fused_attention=True,
        log_checkpoints=100,
        linear_checkpoints=100,
        seed=seed,
        device=device,
    )
    steps = checkpoint_steps(training)
    looked_at, sampled = spread(steps, 60, 40), spread(steps, 30, 16)
    sampler = Sampler(
        step_size=3e-4,
        draws=240,
        burn_in=40,
        batch_size=8,
        pairing=2,
        block=20,
        seed=seed,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, sampled),
        *at_every_checkpoint(Metrics(examples=300), FixedBatch(examples=500), looked_at),
        (record_passages, FixedBatch(examples=3), sampled),
    )
    notes = (
        "The text is small beside what the paper's model saw, and the model too: expect its bigram "
        "and n-gram stages, not its induction heads.",
    )
    title = f"Attention-only language model on {_title(corpus)}, standard preset, seed {seed}"
    return Plan(title, notes, "LM", problem, training, measurements, SCORES)


def _paper(seed: int, device: str, corpus: str, tokenizer: str, d_vocab: int) -> Plan:
    problem = language(
        corpus=corpus,
        tokenizer=tokenizer,
        d_vocab=d_vocab,
        n_ctx=1024,
        n_heads=8,
        d_model=256,
        sites=10,
    )
    training = Training(
        steps=50_000,
        batch_size=100,
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.05,
        log_checkpoints=100,
        linear_checkpoints=501,
        fused_attention=True,
        seed=seed,
        device=device,
    )
    steps = checkpoint_steps(training)
    sampler = Sampler(
        method="sgld",
        step_size=3e-3,
        nbeta=100 / math.log(100),
        localization=300.0,
        chains=20,
        draws=200,
        burn_in=0,
        batch_size=100,
        pairing=10,
        seed=seed,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, steps),
        *at_every_checkpoint(Metrics(examples=10_000), FixedBatch(examples=1000), steps),
        (record_passages, FixedBatch(examples=2), steps),
    )
    elsewhere = (
        f"The paper's settings on another corpus, {_title(corpus)}: its own is a part of the "
        f"Pile, which must be downloaded (--corpus {PILE})."
    )
    own = (
        "The tokenizer was trained on the text; the paper's, TinyStories-tokenizer-5k, is that of "
        "GPT-2 cut to 5,000 tokens (--tokenizer)."
    )
    is_papers = corpus.partition("[")[0] == PILE
    notes = (elsewhere,) * (not is_papers) + (own,) * (not tokenizer)
    title = f"Attention-only language model, the paper's settings on {_title(corpus)}, seed {seed}"
    return Plan(title, notes, "LM", problem, training, measurements, SCORES)


def _title(corpus: str) -> str:
    return corpus if corpus.startswith("hub:") else Path(corpus).stem
