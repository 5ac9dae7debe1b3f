"""Deep linear networks in three sizes."""

from dataclasses import replace

from ontogeny.plans import Measurement, Plan, Size, at_every_checkpoint
from ontogeny.probes import FixedBatch, Metrics, Sampler, sample_chains
from ontogeny.problems.linear import deep_linear
from ontogeny.training import Training, checkpoint_steps, spread


def plan_linear(size: Size, seed: int, device: str = "cpu") -> Plan:
    """A deep linear network from a small start."""
    problem = deep_linear([6, 6, 6], [9.0, 3.0, 1.0], initial_scale=1e-3)
    training = Training(
        steps=10_000,
        batch_size=1,
        learning_rate=0.05,
        schedule="constant",
        optimizer="sgd",
        log_checkpoints=400,
        linear_checkpoints=100,
        seed=seed,
        device=device,
    )
    kept = checkpoint_steps(training)
    sampler = Sampler(
        step_size=3e-3, nbeta=300.0, localization=60.0, draws=400, batch_size=1, batched=16, seed=seed,
    )
    measurements: tuple[Measurement, ...] = (
        (sample_chains, sampler, spread(kept, 60)),
        *at_every_checkpoint(Metrics(examples=1), FixedBatch(examples=1), kept),
    )
    return Plan(f"Deep linear network, {size} preset, seed {seed}", (), "D", problem, training, measurements)
