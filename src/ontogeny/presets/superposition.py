"""The toy model of superposition in three sizes."""

from dataclasses import replace

from ontogeny.plans import Measurement, Plan, Size
from ontogeny.probes import (
    FixedBatch,
    Metrics,
    Sampler,
    measure_metrics,
    record_outputs,
    sample_chains,
)
from ontogeny.problems.superposition import superposition
from ontogeny.training import Training, checkpoint_steps, spread

SMALL_SET = (
    "Trained on a fixed set of examples, as in the paper: the loss of the critical points is that "
    "of all inputs, and no minimum of that set is exactly there.",
)

NEAR = 1e-3
"""Standard deviation of the noise on weights and biases of a run from near a critical point."""


def plan_superposition(size: Size, seed: int, device: str = "cpu", start: str = "") -> Plan:
    """The toy model of superposition, from near where no feature has weights.

    The quick size descends the mean loss over all inputs, the others that on a fixed training set:
    `paper` for the 4,500 epochs of 50 batches, at the learning rate, of Chen et al.
    (arXiv 2310.06301).

    Args:
        size: Which.
        seed: Of the training set, the noise on the initial weights, and the chains.
        device: Where to train.
        start: The critical point to begin near: at it, but for noise of size `NEAR`.
    """
    steps, examples, batch_size, rate = {
        "quick": (6000, 0, 1, 0.3),
        "standard": (40_000, 400, 200, 0.3),
        "paper": (4500 * 50, 1000, 20, 0.005),
    }[size]
    training = Training(
        steps=steps,
        batch_size=batch_size,
        learning_rate=rate,
        schedule="constant",
        optimizer="sgd",
        log_checkpoints=400,
        linear_checkpoints=100,
        seed=seed,
        device=device,
    )
    kept = checkpoint_steps(training)
    hot = Sampler(
        step_size=4e-2,
        nbeta=10.0,
        localization=10.0,
        momentum=0.5,
        chains=8,
        draws=600,
        burn_in=100,
        batch_size=1,
        data="population",
        batched=30,
        seed=seed,
    )
    cold = replace(
        hot,
        step_size=1e-6 if not examples else 1e-4,
        nbeta=1e6 if not examples else 1e4,
        localization=1000.0 if not examples else 100.0,
        momentum=0.9,
        chains=4,
        draws=2000,
        burn_in=500,
        batch_size=examples or 1,
        data="all" if examples else "population",
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, hot, spread(kept, 120)),
        (measure_metrics, Metrics(examples=1), kept),
        (record_outputs, FixedBatch(examples=100 if examples else 1), kept),
    )
    where = f" from near {start}" if start else ""
    return Plan(
        title=f"Toy model of superposition, {size} preset{where}, seed {seed}",
        notes=SMALL_SET if examples else (),
        prefix="S",
        problem=superposition(
            start=start or "2++++",
            shrink=1.0 if start else 0.01,
            jitter=NEAR if start else 1e-12,
            examples=examples,
            data_seed=seed,
        ),
        training=training,
        measurements=measurements,
        refined=((cold, spread(kept, 8)[-6 if examples else -2 :]),),
    )
