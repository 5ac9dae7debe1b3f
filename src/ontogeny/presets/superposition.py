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


def plan_superposition(size: Size, seed: int, device: str = "cpu") -> Plan:
    """The toy model of superposition, from near where no feature has weights.

    The quick size descends the mean loss over all inputs, the others that on a fixed training set.
    """
    steps, examples = {"quick": (6000, 0), "standard": (40_000, 400), "paper": (200_000, 1000)}[
        size
    ]
    training = Training(
        steps=steps,
        batch_size=examples // 2 or 1,
        learning_rate=0.3,
        schedule="constant",
        optimizer="sgd",
        log_checkpoints=400,
        linear_checkpoints=100,
        seed=seed,
        device=device,
    )
    kept = checkpoint_steps(training)
    hot = Sampler(
        step_size=3e-2,
        nbeta=30.0,
        localization=20.0,
        momentum=0.9,
        chains=8,
        draws=400,
        burn_in=50,
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
    return Plan(
        title=f"Toy model of superposition, {size} preset, seed {seed}",
        notes=SMALL_SET if examples else (),
        prefix="S",
        problem=superposition(
            start="2++++", shrink=0.01, jitter=1e-12, examples=examples, data_seed=seed
        ),
        training=training,
        measurements=measurements,
        refined=((cold, spread(kept, 8)[-6 if examples else -2 :]),),
    )
