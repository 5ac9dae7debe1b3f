"""The in-context regression transformer in three sizes."""

from ontogeny.plans import Measurement, Plan, Size, at_every_checkpoint
from ontogeny.probes import (
    Curvature,
    FixedBatch,
    Metrics,
    Sampler,
    measure_curvature,
    sample_chains,
)
from ontogeny.problems import regression
from ontogeny.training import Training, checkpoint_steps, spread

SCORES = ("icl_score", "distance_to_ridge", "prediction_norm")
"""Whether the network predicts from its context, as ridge regression would, or not at all."""


def plan_regression(size: Size, seed: int, device: str = "cpu") -> Plan:
    """The in-context regression transformer."""
    return {"quick": _quick, "standard": _standard, "paper": _paper}[size](seed, device)


def _quick(seed: int, device: str) -> Plan:
    training = Training(
        steps=2000,
        batch_size=128,
        log_checkpoints=150,
        linear_checkpoints=150,
        seed=seed,
        threads=2,
        device=device,
    )
    steps = checkpoint_steps(training)
    sampler = Sampler(draws=150, burn_in=50, batch_size=64, pairing=2, seed=seed)
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(steps, 28)),
        (measure_curvature, Curvature(examples=256, probes=16), spread(steps, 7)),
        *at_every_checkpoint(Metrics(examples=256), FixedBatch(examples=256), steps),
    )
    notes = (
        "This run is short: it is meant to show the method in minutes. Stages are numbered as they "
        "are found; the first two are the paper's LR1 and LR2.",
    )
    return Plan(_title("quick", seed), notes, "LR", regression(), training, measurements, SCORES)


def _standard(seed: int, device: str) -> Plan:
    training = Training(
        steps=250_000,
        batch_size=64,
        log_checkpoints=150,
        linear_checkpoints=200,
        seed=seed,
        device=device,
    )
    steps = checkpoint_steps(training)
    sampler = Sampler(seed=seed)
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(steps, 71, 40)),
        (measure_curvature, Curvature(examples=512), spread(steps, 16)),
        *at_every_checkpoint(Metrics(examples=1024), FixedBatch(), steps),
    )
    notes = (
        "Stages are numbered as they are found. With seed 1 they are the paper's LR1 and LR2, its "
        "LR3 and LR4 as one fall, called LR3, and its LR5, called LR4.",
        "The localization is ten times the paper's, so that chains stay near the checkpoint and "
        "arrive within their burn-in; the height of the learning coefficient is not the paper's.",
    )
    return Plan(_title("standard", seed), notes, "LR", regression(), training, measurements, SCORES)


def _paper(seed: int, device: str) -> Plan:
    training = Training(steps=500_000, seed=seed, device=device)
    steps = checkpoint_steps(training)
    sampler = Sampler(
        method="sgld",
        step_size=3e-4,
        nbeta=200 / 3,
        localization=20 / 3,
        chains=10,
        draws=5000,
        burn_in=0,
        batch_size=1024,
        pairing=50,
        seed=seed,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, steps),
        (measure_curvature, Curvature(probes=100), steps),
        *at_every_checkpoint(Metrics(), FixedBatch(), steps),
    )
    notes = (
        "The paper's settings, with three differences: batches of training data are fixed by the "
        "seed, the sampler draws fresh minibatches instead of cycling through 2^20 fixed "
        "sequences, and the checkpoint's own loss is measured on the minibatches of every 50th "
        "draw.",
    )
    return Plan(_title("paper", seed), notes, "LR", regression(), training, measurements, SCORES)


def _title(size: Size, seed: int) -> str:
    return f"In-context linear regression, {size} preset, seed {seed}"
