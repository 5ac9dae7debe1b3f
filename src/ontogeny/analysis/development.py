"""How a run developed: what is concluded from its learning coefficient and everything beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ontogeny.analysis.curves import FEWEST_POINTS, smooth_curve
from ontogeny.analysis.evidence import Turn, ask_probes, compare, explain_stages, single_curves
from ontogeny.analysis.milestones import find_milestones
from ontogeny.analysis.sensitivity import vary
from ontogeny.analysis.stages import find_stages
from ontogeny.records import Curve, Milestone, Stage, Trajectory, Variation

COMPONENTS = 3
"""Principal components that are asked for a second opinion."""


@dataclass(frozen=True, eq=False)
class Development:
    """What is concluded from the curve of the learning coefficient.

    Attributes:
        smooth_llc: Mean and standard error of the smoothed curve, on a fine grid; None if there
            are too few points.
        milestones: Steps at which stages end, and candidates.
        stages: What lies between the milestones, in order.
        probes: Which probes were asked for a second opinion.
        variations: What becomes of the milestones if the curve is read in another way.
        notes: What a reader should know.
    """

    smooth_llc: Curve | None = None
    milestones: tuple[Milestone, ...] = ()
    stages: tuple[Stage, ...] = ()
    probes: tuple[str, ...] = ()
    variations: tuple[Variation, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Beside:
    """What was measured beside the learning coefficient.

    Attributes:
        loss: The test loss.
        metrics: Curves that may say what formed.
        scores: Names of those that say it most plainly.
        trajectory: Essential dynamics.
        turns: Milestones that other probes have already, such as forms.
        measured: The learning coefficient with other settings, by what is different.
    """

    loss: Curve | None = None
    metrics: Mapping[str, Curve] = field(default_factory=dict)
    scores: Sequence[str] = ()
    trajectory: Trajectory | None = None
    turns: Sequence[Turn] = ()
    measured: Mapping[str, Curve] = field(default_factory=dict)


def read_development(llc: Curve | None, beside: Beside, prefix: str = "") -> Development:
    """Find milestones and stages, what formed in them, who agrees, and how firm it is.

    Args:
        llc: The learning coefficient, if it was measured.
        beside: What was measured beside it.
        prefix: What the names of the stages begin with.

    Returns:
        All of it; nothing if there are values at fewer than five steps.
    """
    if llc is None or len(np.unique(llc.steps[np.isfinite(llc.values[:, 0])])) < FEWEST_POINTS:
        return Development()
    smooth = smooth_curve(llc)
    milestones = find_milestones(smooth)
    stages = find_stages(llc, beside.loss, milestones, prefix, smooth)
    stages = explain_stages(stages, beside.metrics, beside.scores)
    others = {} if beside.loss is None else {"loss": beside.loss}
    always, turns = ask_probes(others | score_curves(beside.trajectory))
    asked, more = ask_probes(single_curves(beside.metrics), stages)
    forms = tuple(dict.fromkeys(turn.name for turn in beside.turns))
    steps, first = np.unique(np.round(smooth.steps).astype(int), return_index=True)
    grid = Curve("llc", llc.unit, steps, smooth.mean[first, None], smooth.stderr[first, None])
    return Development(
        smooth_llc=grid,
        milestones=compare(milestones, (*turns, *beside.turns, *more)),
        stages=stages,
        probes=tuple(dict.fromkeys((*always, *forms, *asked))),
        variations=vary(llc, milestones, beside.measured),
        notes=tuple(
            f"The value at step {step:,} lies far from all others: it is taken for a failed "
            "estimate and left out of the smoothing."
            for step in smooth.outliers
        ),
    )


def score_curves(trajectory: Trajectory | None) -> dict[str, Curve]:
    """The scores on the first principal components as curves: `PC1`, `PC2`, `PC3`."""
    if trajectory is None:
        return {}
    scores = trajectory.scores[:, :COMPONENTS]
    unknown = np.full((len(scores), 1), np.nan)
    return {
        f"PC{k + 1}": Curve(f"PC{k + 1}", "", trajectory.steps, scores[:, [k]], unknown)
        for k in range(scores.shape[1])
    }
