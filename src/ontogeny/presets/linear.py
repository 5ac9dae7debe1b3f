"""Deep linear networks in three sizes."""

from dataclasses import replace

from ontogeny.plans import Measurement, Plan, Size, at_every_checkpoint
from ontogeny.probes import FixedBatch, Metrics, Sampler, sample_chains
from ontogeny.problems.linear import deep_linear
from ontogeny.training import Training, checkpoint_steps, spread

NOT_A_MINIMUM = (
    "On its way the network rests near saddles. The curve of the local learning coefficient is "
    "measured with so small an nβ that it sees no more than curvature there; each saddle is a "
    "minimum where the teacher is truncated to its rank, and has its learning coefficient there.",
)


def plan_linear(size: Size, seed: int, device: str = "cpu") -> Plan:
    """A deep linear network that learns a teacher one mode after another, from a small start."""
    widths, modes, scale, rate, steps = {
        "quick": ([6, 6, 6], [9.0, 3.0, 1.0], 1e-3, 0.05, 8000),
        "standard": ([10, 8, 12], [27.0, 9.0, 3.0, 1.0], 1e-3, 0.05, 60_000),
        "paper": ([8, 8, 8, 8], [9.0, 3.0, 1.0], 0.03, 0.4, 20_000),
    }[size]
    training = Training(
        steps=steps,
        batch_size=1,
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
        step_size=0.3,
        nbeta=3.0,
        localization=3.0,
        momentum=0.9,
        draws=200,
        burn_in=50,
        batch_size=1,
        pairing=1,
        batched=20,
        seed=seed,
    )
    cold = replace(
        hot,
        step_size=4e-4,
        nbeta=2000.0,
        localization=1.0,
        momentum=0.94,
        draws=3000,
        burn_in=500,
        batched=16,
    )
    if len(widths) > 3:  # three layers bend more than two, most where hot chains have gone far
        hot = replace(hot, step_size=0.05, nbeta=10.0, localization=10.0, draws=1000)
        cold = replace(cold, step_size=2.5e-5, nbeta=4000.0, draws=6000)
    measurements: tuple[Measurement, ...] = (
        (sample_chains, hot, spread(kept, 150)),
        *at_every_checkpoint(Metrics(examples=1), FixedBatch(examples=1), kept),
    )
    return Plan(
        title=f"Deep linear network, {size} preset, seed {seed}",
        notes=NOT_A_MINIMUM,
        prefix="D",
        problem=deep_linear(widths, modes, initial_scale=scale),
        training=training,
        measurements=measurements,
        refined=tuple(
            (replace(cold, data=f"rank_{rank}"), spread(kept, 14)) for rank in range(len(modes) + 1)
        ),
    )
