"""The toy model of superposition in three sizes."""

from dataclasses import replace

from ontogeny.plans import Measurement, Plan, Size
from ontogeny.probes import FixedBatch, Metrics, Sampler, measure_metrics, record_outputs, sample_chains
from ontogeny.problems.superposition import superposition
from ontogeny.training import Training, checkpoint_steps, spread


def plan_superposition(size: Size, seed: int, device: str = "cpu") -> Plan:
    """The toy model of superposition, from near a pair of opposite features."""
    steps, examples = {"quick": (12_000, 400), "standard": (40_000, 500), "paper": (225_000, 1000)}[
        size
    ]
    training = Training(
        steps=steps,
        batch_size=examples,
        learning_rate=0.3,
        schedule="constant",
        optimizer="sgd",
        log_checkpoints=400,
        linear_checkpoints=100,
        seed=seed,
        device=device,
    )
    kept = checkpoint_steps(training)
    sampler = Sampler(
        step_size=3e-3,
        nbeta=300.0,
        localization=60.0,
        momentum=0.9,
        draws=400,
        batch_size=1,
        data="population",
        batched=12,
        seed=seed,
    )
    cold = replace(
        sampler,
        step_size=1e-4,
        nbeta=10_000.0,
        localization=100.0,
        draws=1000,
        burn_in=400,
        batch_size=examples,
        data="all",
        batched=6,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(kept, 60)),
        (measure_metrics, Metrics(examples=1), kept),
        (record_outputs, FixedBatch(examples=100), kept),
    )
    return Plan(
        title=f"Toy model of superposition, {size} preset, seed {seed}",
        notes=(),
        prefix="S",
        problem=superposition(start="2++++", jitter=1e-3, examples=examples, data_seed=seed),
        training=training,
        measurements=measurements,
        refined=((cold, spread(kept, 4, 9)),),
    )
