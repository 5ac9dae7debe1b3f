"""Measuring a run: probes, each a function of a problem, a step, its weights and settings."""

from ontogeny.probes.batched import sample_together
from ontogeny.probes.chains import sample_chains
from ontogeny.probes.measurements import Curvature, Metrics, measure_curvature, measure_metrics
from ontogeny.probes.outputs import (
    FixedBatch,
    Sketch,
    record_gradients,
    record_outputs,
    record_references,
    record_weights,
)
from ontogeny.probes.passages import record_passages
from ontogeny.probes.samplers import Sampler

__all__ = [
    "Curvature",
    "FixedBatch",
    "Metrics",
    "Sampler",
    "Sketch",
    "measure_curvature",
    "measure_metrics",
    "record_gradients",
    "record_outputs",
    "record_passages",
    "record_references",
    "record_weights",
    "sample_chains",
    "sample_together",
]
