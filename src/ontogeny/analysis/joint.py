"""Several runs in one space: principal components of all their outputs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ontogeny.analysis.dynamics import essential_dynamics, smooth_trajectory
from ontogeny.records import Outputs, Trajectory


def joint_dynamics(
    runs: Mapping[str, Outputs], components: int = 4, *, width: float = 0.012
) -> dict[str, Trajectory]:
    r"""Principal components of the outputs of several runs on one batch, seeds of one setting, say.

    The checkpoints of all runs are the rows of one matrix, centred on their common mean, so that
    a place in the space means the same for all of them, and for known predictors that
    `project` puts there. A run with more checkpoints weighs more.

    Args:
        runs: Outputs by name, all on the same batch.
        components: How many components to keep at most.
        width: Width of the smoothing of each path, as for `smooth_trajectory`.

    Returns:
        A trajectory for each run, with mean, loadings and shares of variance in common; the shares
        are those of the variance within and between runs together.

    Raises:
        ValueError: There is no run, their outputs are not on the same coordinates, or they are
            not finite or never change.

    Examples:
        Two runs that leave one point in different directions.

        >>> steps = np.arange(5)
        >>> east, north = np.outer(steps, [1.0, 0.0, 0.0]), np.outer(steps, [0.0, 1.0, 0.0])
        >>> found = joint_dynamics({"east": Outputs(steps, east), "north": Outputs(steps, north)})
        >>> bool(np.allclose(found["east"].scores[0], found["north"].scores[0]))
        True
        >>> found["east"].explained_variance_ratio.round(2).tolist()
        [0.75, 0.25]

    References:
        L. Carroll et al., *Dynamics of transient structure in in-context linear regression
        transformers* (2025).
    """
    counts = [len(outputs.steps) for outputs in runs.values()]
    widths = {outputs.values.shape[1] for outputs in runs.values()}
    if len(widths) != 1:
        raise ValueError(
            f"the runs have {_in_words(sorted(widths))} outputs; measure them on the same batch"
        )
    rows = np.concatenate([outputs.values for outputs in runs.values()])
    together = essential_dynamics(Outputs(np.arange(len(rows)), rows), components)
    ends = np.cumsum(counts)
    return {
        name: Trajectory(
            steps=outputs.steps,
            scores=together.scores[end - count : end],
            smoothed=smooth_trajectory(together.scores[end - count : end], outputs.steps, width),
            explained_variance_ratio=together.explained_variance_ratio,
            loadings=together.loadings,
            mean=together.mean,
        )
        for (name, outputs), count, end in zip(runs.items(), counts, ends, strict=True)
    }


def _in_words(numbers: Sequence[int]) -> str:
    return " and ".join(f"{number:,}" for number in numbers) or "no"
