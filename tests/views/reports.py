"""Reports that the tests of the views share."""

from dataclasses import replace

import numpy as np

from ontogeny.analysis.nulls import WeighedForms
from ontogeny.analysis.reading import Report
from ontogeny.records import Chains, Curve, Diagnosis, Form, Milestone, Stage, Trajectory

EMPTY = Report("Nothing")
STEPS = np.array([0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000])
TYPES = "AABBA"


def curve(name, values, items=("",), stderr=None, steps=STEPS):
    values = np.asarray(values, dtype=float).reshape(len(steps), len(items))
    error = np.full(values.shape, np.nan) if stderr is None else np.full(values.shape, stderr)
    return Curve(name, "", steps, values, error, tuple(items))


def stages_between(ends, types=TYPES):
    starts = [0, *ends[:-1]]
    return tuple(
        Stage(f"LR{i}", start, end, kind, -0.5 * i, 10.0 * i, 0.25)
        for i, (start, end, kind) in enumerate(zip(starts, ends, types, strict=True), start=1)
    )


def trajectory(points, steps=None):
    points = np.asarray(points, dtype=float)
    n, n_components = points.shape
    steps = np.arange(n) if steps is None else steps
    shares = np.array([0.563, 0.152, 0.068])[:n_components]
    return Trajectory(steps, points, points, shares, np.eye(n_components), np.zeros(n_components))


def chains_at(step, rises, burn_in=0, initial=1.0, **more):
    """Chains at nβ = 1 whose loss is that much above the checkpoint's, in two blocks."""
    losses = initial + np.asarray(rises, dtype=float)
    initial_losses = np.full_like(losses, initial)
    blocks = losses.reshape(len(losses), 2, -1).mean(axis=2)[..., None]
    return Chains(
        step, losses, initial_losses, blocks, 0 * blocks + initial, 1.0, 1e-3, 1.0, burn_in, **more
    )


def forms():
    """Two forms, one of which stands out."""
    chances = ({"brownian": 0.001, "ornstein_uhlenbeck": 0.002, "phase_randomised": 0.06}, {})
    first = Form(20, 10, 50, (1.0, 2.0, 0.5), 15.7, 0.001, chances[0])
    return WeighedForms(
        (first, Form(500, 200, 1000, (-2.0, 1.5, 3.0), 0.31, 0.6)), 999, 48.0, 1.0, 0.0
    )


def full():
    """A run of five stages in which one estimate is suspect and one failed."""
    n = len(STEPS)
    values = np.linspace(0.0, 50.0, n)
    values[3] = np.nan
    verdicts = ["ok"] * n
    verdicts[3], verdicts[6] = "failed", "suspect"
    reasons = {"ok": (), "suspect": ("R-hat 1.2 is too large",), "failed": ("chains blew up",)}
    curves = {
        "loss": curve("loss", np.linspace(4.0, 1.0, n), stderr=0.01),
        "llc": curve("llc", values, stderr=1.5),
        "icl_score": curve("icl_score", np.linspace(0.0, -3.0, n)),
        "my_metric": curve("my_metric", np.sin(np.arange(n))),
    }
    angle = np.linspace(0.0, 4.0, n)
    spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle), angle], axis=1)
    return Report(
        title="In-context linear regression",
        notes=("A note to read first",),
        curves=curves,
        smooth_llc=curve("llc", np.linspace(0.0, 50.0, n), stderr=0.5),
        diagnoses=tuple(
            Diagnosis(int(s), float(v), 1.5, 1.01, 900.0, 4, (1,), w, reasons[w])
            for s, v, w in zip(STEPS, values, verdicts, strict=True)
        ),
        trajectory=trajectory(spiral, STEPS),
        reference_scores={"ridge": np.array([1.0, 2.0, 3.0])},
        forms=forms(),
        form_distances=({"ridge": 0.25, "zero": 1.5}, {"zero": 0.1}),
        milestones=(
            Milestone(10, 8, 12, 0.97, "plateau"),
            Milestone(100, None, None, None, "maximum"),
            Milestone(500, 400, 600, 0.8, "plateau"),
            Milestone(1000, 900, 1100, 0.9, "minimum"),
        ),
        stages=stages_between([10, 100, 500, 1000, 2000]),
        settings={"sampler": {"step_size": 3e-4, "chains": 4}},
        missing=("The Hessian",),
        traces=tuple(chains_at(int(s), np.linspace([0, 0], [1, 2], 8).T) for s in STEPS[[0, 6]]),
        refined={"mlp.1": (Diagnosis(0, 1.0, 0.1, 1.0, 90.0, 2, (), "suspect", ("It is short",)),)},
    )


def without(report, part):
    """The same report with one part absent."""
    return replace(report, **{part: getattr(EMPTY, part)})
