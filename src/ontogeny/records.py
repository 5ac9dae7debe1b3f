"""What is measured and concluded: frozen records of named arrays.

Measuring writes records, reading turns records into other records, and the two halves of the
package meet nowhere else. A record is numpy only and has no behaviour; the axes of each array
are declared once, in its annotation; `ontogeny.storage` keeps one record as one `.npz` file.

```
measured    Chains  Outputs  References  Passages  Measurements  Curve
concluded   Diagnosis  Calibration  Trajectory  Circles  Form  Evidence  Milestone  Stage
            Variation
known       CriticalPoint  Arrival
```
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

if TYPE_CHECKING:
    import xarray


# Measured ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chains:
    """The losses along the sampler's chains at one checkpoint.

    A draw's loss is the minibatch loss at the weights *before* that draw's update, so draw 0 is
    taken at the checkpoint itself. Beside it stands the loss of the checkpoint on the same
    minibatch: their difference is free of what is common to both. From the draw on at which a
    chain failed its losses are nan.

    Attributes:
        step: The checkpoint's training step.
        losses: Minibatch losses along the chains, burn-in included.
        initial_losses: Losses of the checkpoint itself on the minibatch of every k-th draw, from
            draw 0 on; k is the ratio of the two lengths.
        position_losses: Losses by position, as means over consecutive blocks of draws.
        initial_position_losses: Losses of the checkpoint by position, in the same blocks.
        nbeta: Inverse temperature times number of examples, multiplies the loss.
        step_size: The sampler's step size ε.
        localization: Strength γ of the pull towards the checkpoint.
        burn_in: How many draws the settings asked to leave out of averages.
        parameters: How many weights moved, if known: no learning coefficient is larger.
        paired_position_losses: Losses by position of the draws that are paired with the
            checkpoint's, in the same blocks; None if all are.
        distances: |w − w*| at the end of each block.
        drift_ratios: Length of the pull over that of the noise, in the last step of each block.
        acceptances: Probability with which a Metropolis test would accept that step, on its own
            minibatch, if it were one of MALA.
        relaxation: In about how many draws a flat direction forgets its start.
        groups: In how many groups, each with a start of its own, the chains are, one group after
            another; 1 if all started at the checkpoint.
        precision: The relative standard error that was asked for, 0 if none.
    """

    step: int
    losses: Float[np.ndarray, "chain draw"]
    initial_losses: Float[np.ndarray, "chain pair"]
    position_losses: Float[np.ndarray, "chain block position"]
    initial_position_losses: Float[np.ndarray, "chain block position"]
    nbeta: float
    step_size: float
    localization: float
    burn_in: int
    parameters: int | None = None
    paired_position_losses: Float[np.ndarray, "chain block position"] | None = None
    distances: Float[np.ndarray, "chain block"] | None = None
    drift_ratios: Float[np.ndarray, "chain block"] | None = None
    acceptances: Float[np.ndarray, "chain block"] | None = None
    relaxation: float = np.nan
    groups: int = 1
    precision: float = 0.0


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the network says about a fixed batch, at one checkpoint or along many.

    Attributes:
        steps: Training steps, increasing.
        values: Outputs, flattened in the order of the labels in `References`.
    """

    steps: Int[np.ndarray, " step"]
    values: Float[np.ndarray, "step output"]


@dataclass(frozen=True, eq=False)
class References:
    """What the output coordinates are, and what known predictors would say there.

    Attributes:
        label_names: What each column of `labels` is, such as sequence and position.
        labels: One row for each output coordinate.
        names: Names of the predictors, such as ridge.
        values: Their outputs, nan at coordinates that a predictor has no opinion on.
        vocabulary: The text of each token, where labels are tokens.
    """

    label_names: tuple[str, ...]
    labels: Int[np.ndarray, "output label"]
    names: tuple[str, ...]
    values: Float[np.ndarray, "reference output"]
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Passages:
    """Rows of text, how well each token is predicted, and what each head attends to there.

    Attributes:
        step: The checkpoint's training step.
        vocabulary: The text of each token.
        tokens: The rows.
        losses: −log p of each token but the first of its row, in nats.
        heads: Names of the attention heads, `LAYER.HEAD`; none where they were not recorded.
        attention: Their patterns on the first tokens of the first row; None if there are none.
    """

    step: int
    vocabulary: tuple[str, ...]
    tokens: Int[np.ndarray, "row position"]
    losses: Float[np.ndarray, "row next"]
    heads: tuple[str, ...] = ()
    attention: Float[np.ndarray, "head query key"] | None = None


@dataclass(frozen=True, eq=False)
class Measurements:
    """A table of named quantities at one checkpoint, one row for each name and item.

    Attributes:
        step: The checkpoint's training step.
        names: The curve that a row belongs to.
        items: Position, head or layer that a row is about; empty where there is only one.
        values: The measured values.
        stderrs: Their standard errors; nan where a value is exact or its error is unknown.
    """

    step: int
    names: tuple[str, ...]
    items: tuple[str, ...]
    values: Float[np.ndarray, " row"]
    stderrs: Float[np.ndarray, " row"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Any quantity over training, with its error.

    Attributes:
        name: What it is, as in the file `curves/NAME.csv`.
        unit: Unit of the values, empty for pure numbers.
        steps: Training steps, increasing.
        values: One value for each step and item.
        stderr: Standard errors of `values`, nan where unknown.
        items: Names along the second axis: positions, heads, layers; one empty name if none.
        chains: The estimate of each chain of the sampler, where there were chains, nan where a
            chain failed: errors along the curve are common offsets, and only whole chains say
            how large the error of a difference is.
        warnings: What a reader should know before believing the values.
    """

    name: str
    unit: str
    steps: Int[np.ndarray, " step"]
    values: Float[np.ndarray, "step item"]
    stderr: Float[np.ndarray, "step item"]
    items: tuple[str, ...] = ("",)
    chains: Float[np.ndarray, "step chain"] | None = None
    warnings: tuple[str, ...] = ()


# Concluded ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Whether the estimate of the local learning coefficient at one checkpoint can be believed.

    Attributes:
        step: The checkpoint's training step.
        llc: The estimate, nan if every chain failed.
        stderr: Its standard error.
        rhat: Split R-hat of the excess over the checkpoint's loss, over the chains that did not
            fail.
        ess: Effective number of draws, over those chains together.
        chains: How many chains were run.
        failed: Which chains failed.
        verdict: In one word.
        reasons: In words: what was seen, and what to try.
        draws: How many draws each chain made, burn-in included.
        relaxation: In about how many draws a flat direction forgets its start.
        drift: Change of the estimate from the first to the second half of the draws, in standard
            errors of that change.
        nested_rhat: Nested R-hat between groups of chains with starts of their own, nan if there
            is one group.
        below: Share of the draws whose loss is below that of the checkpoint.
        distance: |w − w*| at the end, mean over the chains.
        drift_ratio: Length of the pull over that of the noise, mean over the last steps of blocks.
        acceptance: Probability that a Metropolis test would accept a step, the same mean.
    """

    step: int
    llc: float
    stderr: float
    rhat: float
    ess: float
    chains: int
    failed: tuple[int, ...]
    verdict: Literal["ok", "suspect", "failed"]
    reasons: tuple[str, ...]
    draws: int = 0
    relaxation: float = np.nan
    drift: float = np.nan
    nested_rhat: float = np.nan
    below: float = np.nan
    distance: float = np.nan
    drift_ratio: float = np.nan
    acceptance: float = np.nan


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Outputs over training on their principal components: essential dynamics.

    Attributes:
        steps: Training steps, increasing.
        scores: Position along each component at each step, centred over training.
        smoothed: The scores, smoothed.
        explained_variance_ratio: Share of the variance of each component.
        loadings: Unit vectors of the components in output space.
        mean: Mean output over training.
    """

    steps: Int[np.ndarray, " step"]
    scores: Float[np.ndarray, "step component"]
    smoothed: Float[np.ndarray, "step component"]
    explained_variance_ratio: Float[np.ndarray, " component"]
    loadings: Float[np.ndarray, "component output"]
    mean: Float[np.ndarray, " output"]


@dataclass(frozen=True, eq=False)
class Circles:
    """Osculating circles along a plane curve; their centres trace the evolute.

    Attributes:
        centers: Centres, not finite where the curve is straight or at rest.
        radii: Signed radii, positive where the curve turns left.
    """

    centers: Float[np.ndarray, "step 2"]
    radii: Float[np.ndarray, " step"]


@dataclass(frozen=True)
class Form:
    """A place that the path of training turns around sharply, in every plane of two components.

    Attributes:
        step: Where the path turns.
        low: From this step on it is under the influence of the form: at most twice as far from
            it as where it is nearest.
        high: Up to this step.
        point: Where the form is in the space of the first components.
        score: How deep and sharp the turn is and how well the planes agree, without unit.
        p_value: Share of the paths of the least favourable null model whose best form scores at
            least as high, None where no null model was drawn.
        p_values: The same share for each null model, by its name.
    """

    step: int
    low: int
    high: int
    point: tuple[float, ...]
    score: float
    p_value: float | None = None
    p_values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Milestone:
    """A step at which a stage ends.

    Attributes:
        step: The critical point of the smoothed curve.
        low: Lower end of a 90 % interval, None where the rule has none.
        high: Upper end of it.
        probability: Share of the functions that the curve might be in which the rule finds it,
            None where the rule has none.
        kind: A maximum, a minimum, or a near-plateau between two rises or two falls.
        agrees: Other probes that have a milestone there too.
    """

    step: int
    low: int | None
    high: int | None
    probability: float | None
    kind: Literal["maximum", "minimum", "plateau"]
    agrees: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Evidence:
    """A curve that moved within a stage.

    Attributes:
        curve: Its name, with the item if it has items, such as `previous_token_score 1.2`.
        before: Its value where the stage begins.
        after: Its value where the stage ends.
        z: The change, in standard errors.
    """

    curve: str
    before: float
    after: float
    z: float


@dataclass(frozen=True)
class CriticalPoint:
    """A point where the gradient is zero, of which something is known beforehand.

    Attributes:
        name: A short name, such as `4++`.
        loss: The test loss there.
        learning_coefficient: λ there, None where it is not known.
        minimum: Whether it is a minimum of the problem's loss.
        data: The data set of the problem on which it is a minimum with that λ, its own if empty.
    """

    name: str
    loss: float
    learning_coefficient: float | None = None
    minimum: bool = True
    data: str = ""


@dataclass(frozen=True)
class Arrival:
    """The known critical point that a run is nearest to where a stage ends.

    Attributes:
        point: Which.
        step: The checkpoint at which it was looked for.
        distance: How far it is, as the problem's metric `distance_to` has it.
        near: Whether that is near, or only nearer than to all other points that are known.
        loss: The test loss at that checkpoint, nan where unknown.
        llc: The local learning coefficient on the data set of which the point is a minimum, at the
            checkpoint nearest to it of those around `step`; nan where none was measured there, or
            the point is no minimum.
        llc_stderr: Its standard error.
        llc_step: That checkpoint's step, -1 if there is none.
    """

    point: CriticalPoint
    step: int
    distance: float
    near: bool = True
    loss: float = np.nan
    llc: float = np.nan
    llc_stderr: float = np.nan
    llc_step: int = -1


@dataclass(frozen=True)
class Stage:
    """What lies between two milestones.

    Attributes:
        name: A short name, such as LR1.
        start: First training step.
        end: Last training step.
        type: A if the learning coefficient rises over the stage, B if it falls.
        delta_loss: Change of the test loss.
        delta_llc: Change of the local learning coefficient.
        delta_llc_stderr: Standard error of `delta_llc`, nan where unknown.
        type_probability: Share of the functions that the curve might be which rise, or fall, over
            the stage; nan where unknown.
        delta_loss_stderr: Standard error of `delta_loss`, nan where unknown.
        evidence: The other curves that moved most within the stage.
        formed: What formed in it, in one sentence made of the evidence.
        arrival: The known critical point that it ended at, None where none is known.
    """

    name: str
    start: int
    end: int
    type: Literal["A", "B"]
    delta_loss: float
    delta_llc: float
    delta_llc_stderr: float
    type_probability: float = np.nan
    delta_loss_stderr: float = np.nan
    evidence: tuple[Evidence, ...] = ()
    formed: str = ""
    arrival: Arrival | None = None


@dataclass(frozen=True)
class Variation:
    """Which milestones are still there if the curve is read in another way.

    Attributes:
        what: What is different.
        steps: Where the milestones are then, None for each that is not.
        others: Milestones that are there then and were not before.
    """

    what: str
    steps: tuple[int | None, ...]
    others: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Setup:
    """What a calibration of the sampler started from.

    Attributes:
        curved_steps: Checkpoints at which the curvature was measured.
        eigenvalues: Largest eigenvalues of the Hessian of the loss there, largest first.
        differences: Whether they come from differences of gradients, where the network has no
            second derivative.
        asked_nbeta: The nβ that was asked for.
        dynamic_range: κ.
        method: The sampler.
        momentum: What an underdamped chain keeps of its velocity.
        batch_size: Examples in the minibatch of each draw.
    """

    curved_steps: Int[np.ndarray, " checkpoint"]
    eigenvalues: Float[np.ndarray, "checkpoint eigenvalue"]
    differences: Bool[np.ndarray, " checkpoint"]
    asked_nbeta: float
    dynamic_range: float
    method: str
    momentum: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class Calibration(Setup):
    """What short chains gave with each setting of the sampler, and the cell that is recommended.

    Attributes:
        steps: Checkpoints at which the chains were tried.
        nbetas: nβ of the rows, increasing.
        step_sizes: ε of the columns, increasing.
        localizations: γ of the rows.
        llc: λ̂ of each cell; nan if every chain failed.
        stderr: Its standard error.
        verdicts: `ok`, `moving` if the chains have not arrived, `failed` if one diverged.
        relaxations: Draws in which a flat direction forgets its start.
        chains: Chains in each cell.
        draws: Draws of each of them, burn-in included.
        plateau: The cells of each row whose λ̂ agree at every checkpoint.
        row: Of the recommended cell; None if there is none.
        column: Of the recommended cell.
    """

    steps: Int[np.ndarray, " step"]
    nbetas: Float[np.ndarray, " nbeta"]
    step_sizes: Float[np.ndarray, " step_size"]
    localizations: Float[np.ndarray, " nbeta"]
    llc: Float[np.ndarray, "step nbeta step_size"]
    stderr: Float[np.ndarray, "step nbeta step_size"]
    verdicts: Shaped[np.ndarray, "step nbeta step_size"]
    relaxations: Float[np.ndarray, "nbeta step_size"]
    chains: int
    draws: int
    plateau: Bool[np.ndarray, "nbeta step_size"]
    row: int | None
    column: int | None


# Named axes ---------------------------------------------------------------------------------------


def fields_of(kind: type) -> dict[str, Any]:
    """The fields of a record and their types, in order."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def axes_of(kind: type) -> dict[str, tuple[str, ...]]:
    """The named axes of each array of a record, as its annotations declare them.

    Examples:
        >>> axes_of(Outputs)
        {'steps': ('step',), 'values': ('step', 'output')}
    """
    axes = {}
    for name, hint in fields_of(kind).items():
        for part in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            if hasattr(part, "dim_str"):
                axes[name] = tuple(part.dim_str.split())
    return axes


def to_xarray(record: Any) -> xarray.Dataset:
    """A record as an xarray dataset with named dimensions, for ArviZ and for plotting by hand.

    Args:
        record: Any record with arrays, such as `Chains` or `Curve`.

    Returns:
        A dataset with one variable for each array; single values become attributes, and axes
        named `step` or `item` get their coordinates.

    Raises:
        ImportError: xarray is not installed; `pip install 'ontogeny[xarray]'` brings it.
    """
    import xarray

    axes = axes_of(type(record))
    arrays = {name: (dims, getattr(record, name)) for name, dims in axes.items()}
    present = {name: pair for name, pair in arrays.items() if pair[1] is not None}
    others = {name: getattr(record, name) for name in fields_of(type(record)) if name not in axes}
    coordinates: dict[str, Any] = {}
    if "steps" in present:
        coordinates["step"] = present.pop("steps")[1]
    if isinstance(record, Curve):
        coordinates["item"] = list(others.pop("items"))
    return xarray.Dataset(present, coords=coordinates, attrs=others)
