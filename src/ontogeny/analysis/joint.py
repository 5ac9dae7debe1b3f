"""Several runs in one space: principal components of all their outputs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.dynamics import essential_dynamics, project, smooth_trajectory
from ontogeny.analysis.reading import read_outputs
from ontogeny.analysis.robust import wild_rows
from ontogeny.analysis.scores import wild_sentence
from ontogeny.records import Outputs, References, Trajectory
from ontogeny.storage import differences, load_records, read_json


@dataclass(frozen=True, eq=False)
class JointRuns:
    """Several runs in one space.

    Attributes:
        trajectories: The path of each run, by name.
        reference_scores: Known predictors in the same space.
        notes: What a reader should know.
    """

    trajectories: Mapping[str, Trajectory]
    reference_scores: Mapping[str, Float[np.ndarray, " component"]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_joint(folders: Sequence[Path]) -> JointRuns:
    """Essential dynamics of several runs together, of one problem, from what was recorded of them.

    Args:
        folders: Two runs or more, whose outputs were recorded on the same inputs. Each is called
            after its folder.

    Raises:
        ValueError: There are fewer than two, one has no recorded outputs, or they were not recorded
            on the same inputs.
    """
    if len(set(folders)) < 2:
        raise ValueError("to compare runs takes two of them or more")
    short = len({folder.name for folder in folders}) == len(set(folders))
    runs, notes = dict[str, Outputs](), list[str]()
    for folder in dict.fromkeys(folders):
        _require_same_inputs(folders[0], folder)
        outputs, name = read_outputs(_recorded(folder)), folder.name if short else str(folder)
        if outputs is None:
            raise ValueError(f"{folder} has recorded outputs of fewer than two checkpoints")
        if len(wild := wild_rows(outputs.values)):
            notes.append(f"{name}: {wild_sentence(outputs.steps[wild])}")
            steps, rows = outputs.steps, outputs.values
            outputs = Outputs(np.delete(steps, wild), np.delete(rows, wild, axis=0))
        runs[name] = outputs
    trajectories = joint_dynamics(runs)
    space = next(iter(trajectories.values()))
    known = {
        name: scores
        for one in load_records(References, folders[0] / "measured" / "record_references")[:1]
        for name, scores in zip(one.names, project(one.values, space), strict=True)
    }
    return JointRuns(trajectories, known, tuple(notes))


def _recorded(folder: Path) -> Path:
    return folder / "measured" / "record_outputs"


def _require_same_inputs(first: Path, other: Path) -> None:
    """Refuse a run whose outputs are of another problem, on other data, or recorded otherwise."""
    for name, there, here in differences(_inputs(first), _inputs(other)):
        raise ValueError(
            f"the outputs of {other} were recorded with {name} = {here}, those of {first} with "
            f"{there}: only what was recorded on the same inputs can be compared"
        )


def _inputs(folder: Path) -> dict[str, Any]:
    """What tells on which inputs outputs were recorded."""
    path = _recorded(folder) / "settings.json"
    if not path.exists():
        raise ValueError(f"{folder} holds no run with recorded outputs")
    found = read_json(path)
    problem = found.get("problem") or {}
    return {"problem": problem.get("name"), "data": problem.get("data"), **found["settings"]}


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
