"""What is concluded about one run, in one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.arrivals import AT_POINTS, arrival_at, find_arrivals, llc_at_points
from ontogeny.analysis.development import Beside, read_development
from ontogeny.analysis.diagnostics import diagnose
from ontogeny.analysis.dynamics import essential_dynamics, project
from ontogeny.analysis.evidence import Turn
from ontogeny.analysis.lifting import distances_to_references, lift
from ontogeny.analysis.llc import estimate_llc, initial_loss, llc_by_position
from ontogeny.analysis.nulls import WeighedForms, stands_out, weigh_forms
from ontogeny.analysis.robust import wild_rows
from ontogeny.analysis.scores import wild_sentence
from ontogeny.analysis.turns import FEWEST_STEPS
from ontogeny.analysis.variants import read_variants
from ontogeny.records import (
    Arrival,
    Chains,
    CriticalPoint,
    Curve,
    Diagnosis,
    Measurements,
    Milestone,
    Outputs,
    Passages,
    References,
    Stage,
    Trajectory,
    Variation,
)
from ontogeny.storage import (
    file_of,
    load_record,
    load_records,
    name_of,
    read_json,
    read_plan,
    steps_in,
)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is known about one run: what the page shows.

    Any part but the title may be absent: empty where it is a collection, None where it is one
    record.

    Attributes:
        title: Name of the run.
        notes: What a reader must know first.
        curves: Measured curves by name; `loss` and `llc` are the test loss and the local learning
            coefficient.
        smooth_llc: Mean and standard error of the smoothed learning coefficient, on a fine grid.
        diagnoses: Health of the estimate at each checkpoint where it was made.
        trajectory: Essential dynamics.
        reference_scores: Known predictors, such as ridge, placed on the principal components.
        paths: Essential dynamics of other things than outputs: of weights, of gradients.
        forms: Places that the outputs turn around, weighed against chance.
        form_distances: For each form the root mean square difference of its outputs from known
            predictors, nearest first.
        references: What the outputs are.
        milestones: Steps at which stages end, and candidates.
        stages: What lies between the milestones, in order.
        probes: Which probes were asked whether they have the same milestones.
        variations: What becomes of the milestones if the curve is read in another way.
        settings: Section, name and value of every setting that made the run.
        missing: What was planned but is not measured, in words.
        traces: The chains at an early, a middle and a late checkpoint.
        refined: Health of the estimates for some weights only, or on other data, by what they are.
        passages: Rows of text at the checkpoints where stages end, from the first to the last.
        critical_points: Points of the loss that were known beforehand.
        departure: The one of them that the run began at.
    """

    title: str
    notes: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    smooth_llc: Curve | None = None
    diagnoses: tuple[Diagnosis, ...] = ()
    trajectory: Trajectory | None = None
    reference_scores: Mapping[str, Float[np.ndarray, " component"]] = field(default_factory=dict)
    paths: Mapping[str, Trajectory] = field(default_factory=dict)
    forms: WeighedForms | None = None
    form_distances: tuple[Mapping[str, float], ...] = ()
    references: References | None = None
    milestones: tuple[Milestone, ...] = ()
    stages: tuple[Stage, ...] = ()
    probes: tuple[str, ...] = ()
    variations: tuple[Variation, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    traces: tuple[Chains, ...] = ()
    refined: Mapping[str, tuple[Diagnosis, ...]] = field(default_factory=dict)
    passages: tuple[Passages, ...] = ()
    critical_points: tuple[CriticalPoint, ...] = ()
    departure: Arrival | None = None


@dataclass(frozen=True)
class Part:
    """How far one part of a run is.

    Attributes:
        name: Training, or the name of a measurement.
        done: At how many checkpoints it is done.
        planned: At how many it should be; None if no plan says.
        failed: At which steps it failed.
    """

    name: str
    done: int
    planned: int | None
    failed: tuple[int, ...] = ()

    def __str__(self) -> str:
        planned = "" if self.planned is None else f" of {self.planned}"
        noun = "checkpoint" if (self.planned or self.done) == 1 else "checkpoints"
        text = f"{self.name.replace('_', ' ')}: {self.done}{planned} {noun}"
        if self.failed:
            text += f", failed at step {', '.join(map(str, self.failed))}"
        return text


def read_status(folder: Path) -> list[Part]:
    """What a run has done and, if it has a plan, what is missing.

    Raises:
        ValueError: The folder holds no run.
    """
    _require_run(folder)
    measured = folder / "measured"
    kept = steps_in(folder / "checkpoints", ".safetensors")
    plan = read_plan(folder)
    if plan is None:
        names = sorted(path.parent.name for path in measured.glob("*/settings.json"))
        return [Part("training", len(kept), None), *(_part(measured / name) for name in names)]
    asked = [(name_of(a), a["steps"]) for a in plan["measurements"]]
    done = set(kept) & set(plan["checkpoints"])
    training = Part("training", len(done), len(plan["checkpoints"]))
    return [training, *(_part(measured / name, steps) for name, steps in asked)]


def _part(folder: Path, planned: Sequence[int] | None = None) -> Part:
    done = set(steps_in(folder, ".npz"))
    failed = set(steps_in(folder, ".failed")) - done
    if planned is not None:
        done, failed = done & set(planned), failed & set(planned)
    count = None if planned is None else len(planned)
    return Part(folder.name, len(done), count, tuple(sorted(failed)))


def read_run(folder: Path, burn_in: int | None = None) -> Report:
    """Read what was measured of a run and conclude from it; nothing is measured, nothing written.

    Args:
        folder: The run's folder. Its `plan.json`, if there is one, says what the run is called
            and what should have been measured.
        burn_in: Draws of each chain to leave out of averages; as many as the sampler's settings
            said if absent.

    Returns:
        The report; what is not there is absent, and named in `missing`.

    Raises:
        ValueError: The folder holds no run, or a file in it is damaged.
    """
    _require_run(folder)
    plan = read_plan(folder) or {}
    measured = folder / "measured"
    chains = load_records(Chains, measured / "sample_chains")
    curves = read_curves(measured)
    if chains:
        estimates = (
            estimate_llc(chains, burn_in),
            llc_by_position(chains, burn_in),
            initial_loss(chains),
        )
        curves |= {curve.name: curve for curve in estimates}
    refined = read_refined(measured)
    curves |= refined_curves(refined, burn_in)
    # The sampler's batches are many more than those of the metrics, and the same at every step.
    loss = curves.get("initial_loss", curves.get("loss"))
    prefix = str(plan.get("prefix", "S"))
    trajectory, reference_scores, set_aside = read_dynamics(measured)
    references = next(iter(load_records(References, measured / "record_references")), None)
    forms, form_distances = read_forms(references, trajectory)
    beside = Beside(
        loss=loss,
        metrics={name: curve for name, curve in curves.items() if not _told_elsewhere(name)},
        scores=plan.get("scores", ()),
        trajectory=trajectory,
        turns=turns_of(forms),
        measured=read_variants(measured, chains, burn_in),
    )
    found = read_development(curves.get("llc"), beside, prefix)
    points = read_critical_points(plan)
    if (known := llc_at_points(curves, points)) is not None:
        curves[AT_POINTS] = known
    return Report(
        title=str(plan.get("title", folder.name)),
        notes=(*plan.get("notes", ()), *set_aside, *found.notes),
        curves=curves,
        smooth_llc=found.smooth_llc,
        diagnoses=tuple(diagnose(c, burn_in) for c in chains),
        trajectory=trajectory,
        reference_scores=reference_scores,
        paths=read_paths(measured),
        forms=forms,
        form_distances=form_distances,
        references=references,
        milestones=found.milestones,
        stages=find_arrivals(found.stages, curves, points),
        critical_points=points,
        departure=arrival_at(found.stages[0].start, curves, points) if found.stages else None,
        probes=found.probes,
        variations=found.variations,
        settings=read_settings(folder),
        missing=tuple(_missing(folder)) if plan else (),
        traces=tuple(
            one if burn_in is None else replace(one, burn_in=burn_in)
            for one in (chains[i] for i in sorted({0, len(chains) // 2, len(chains) - 1}) if chains)
        ),
        refined={
            f"{weights or 'all'}{' on ' * bool(data)}{data}": tuple(
                diagnose(one, burn_in) for one in some
            )
            for (weights, data), some in refined.items()
        },
        passages=read_passages(measured, found.stages),
    )


def read_critical_points(plan: Mapping[str, Any]) -> tuple[CriticalPoint, ...]:
    """The critical points of the loss that a run's plan knows of.

    Raises:
        ValueError: The plan does not describe them as it should.
    """
    try:
        return tuple(CriticalPoint(**point) for point in plan.get("critical_points", ()))
    except TypeError as error:
        raise ValueError(f"plan.json describes critical points wrongly ({error})") from None


def _require_run(folder: Path) -> None:
    if not (folder / "run.json").exists():
        raise ValueError(f"{folder} holds no run: it has no run.json")


def read_curves(measured: Path) -> dict[str, Curve]:
    """The curves of every measurement that is a table of named quantities."""
    curves: dict[str, Curve] = {}
    for name in ("measure_metrics", "measure_curvature"):
        curves |= gather_curves(load_records(Measurements, measured / name))
    if (measured / "training_loss.npz").exists():
        curves["training_loss"] = load_record(Curve, measured / "training_loss.npz")
    return curves


def read_refined(measured: Path) -> dict[tuple[str, str], list[Chains]]:
    """The chains in which only some weights moved, or on other data: by weights and data."""
    refined = {}
    for path in sorted(measured.glob("sample_chains-*/settings.json")):
        settings = read_json(path).get("settings")
        if not isinstance(settings, dict):
            raise ValueError(f"{path} does not hold the settings that it should")
        what = str(settings.get("weights", "")), str(settings.get("data", ""))
        if chains := load_records(Chains, path.parent):
            refined[what] = chains
    return refined


def refined_curves(
    refined: Mapping[tuple[str, str], Sequence[Chains]], burn_in: int | None = None
) -> dict[str, Curve]:
    """The refined local learning coefficients as curves, one for each data set.

    Args:
        refined: The chains by the weights that moved and the data that they lived on, empty for all
            weights and for the problem's own data.
        burn_in: As for `estimate_llc`.

    Returns:
        `llc_by_component`, and for other data `llc_by_component_on_DATA`; their items are the
        weights, `all` for all of them. nan where one was not measured at a step.
    """
    rows: dict[tuple[str, int], list[tuple[str, float, float]]] = {}
    for (weights, data), chains in refined.items():
        llc, name = estimate_llc(chains, burn_in), f"llc_by_component{'_on_' * bool(data)}{data}"
        for step, value, stderr in zip(llc.steps, llc.values, llc.stderr, strict=True):
            row = weights or "all", float(value[0]), float(stderr[0])
            rows.setdefault((name, int(step)), []).append(row)
    curves: dict[str, Curve] = {}
    for name in dict.fromkeys(name for name, _ in rows):
        tables = []
        for step in sorted(step for other, step in rows if other == name):
            items, values, stderrs = zip(*rows[name, step], strict=True)
            table = Measurements(
                step, (name,) * len(items), items, np.array(values), np.array(stderrs)
            )
            tables.append(table)
        curves |= gather_curves(tables)
    return curves


def gather_curves(tables: Sequence[Measurements]) -> dict[str, Curve]:
    """Turn tables of named quantities, one for each checkpoint, into curves over training.

    Args:
        tables: In the order of their steps.

    Returns:
        For each name a curve over all the steps, nan where a table lacks it; items in the order
        in which they first appear.

    Examples:
        >>> first = Measurements(0, ("loss",), ("",), np.array([4.0]), np.array([0.1]))
        >>> later = Measurements(9, ("loss",), ("",), np.array([2.0]), np.array([0.1]))
        >>> gather_curves([first, later])["loss"].values[:, 0].tolist()
        [4.0, 2.0]
    """
    columns: dict[str, dict[str, int]] = {}
    for table in tables:
        for name, item in zip(table.names, table.items, strict=True):
            items = columns.setdefault(name, {})
            items.setdefault(item, len(items))
    shapes = {name: (len(tables), len(items)) for name, items in columns.items()}
    values = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    stderrs = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    for i, table in enumerate(tables):
        rows = zip(table.names, table.items, table.values, table.stderrs, strict=True)
        for name, item, value, stderr in rows:
            values[name][i, columns[name][item]] = value
            stderrs[name][i, columns[name][item]] = stderr
    steps = np.array([table.step for table in tables], dtype=int)
    return {
        name: Curve(name, "", steps, values[name], stderrs[name], tuple(items))
        for name, items in columns.items()
    }


def _told_elsewhere(name: str) -> bool:
    """Whether a curve is the learning coefficient or the loss, which are no evidence of more."""
    return name in ("loss", "initial_loss", "training_loss") or name.split("_")[0] == "llc"


def read_dynamics(
    measured: Path,
) -> tuple[Trajectory | None, dict[str, Float[np.ndarray, " component"]], list[str]]:
    """Essential dynamics of the recorded outputs, with the known predictors in its space.

    Single checkpoints whose outputs are far from all others are left out; the third part says so.
    """
    outputs = read_outputs(measured / "record_outputs")
    if outputs is None:
        return None, {}, []
    wild, said = wild_rows(outputs.values), list[str]()
    if len(wild):
        said.append(f"Recorded outputs. {wild_sentence(outputs.steps[wild])}")
        steps, rows = outputs.steps, outputs.values
        outputs = Outputs(np.delete(steps, wild), np.delete(rows, wild, axis=0))
    if not _moves(outputs):
        said.append("The recorded outputs are the same at all checkpoints.")
        return None, {}, said
    trajectory = essential_dynamics(outputs)
    found = load_records(References, measured / "record_references")[:1]
    known = {
        name: scores
        for references in found
        for name, scores in zip(
            references.names, project(references.values, trajectory), strict=True
        )
    }
    return trajectory, known, said


def read_paths(measured: Path) -> dict[str, Trajectory]:
    """Essential dynamics of the recorded weights and gradients, as far as there are any."""
    recorded = {
        what: read_outputs(measured / f"record_{what}") for what in ("weights", "gradients")
    }
    return {
        what: essential_dynamics(rows)
        for what, rows in recorded.items()
        if rows is not None and _moves(rows)
    }


def _moves(outputs: Outputs) -> bool:
    return bool(np.ptp(outputs.values, axis=0).any())


def read_forms(
    references: References | None, trajectory: Trajectory | None
) -> tuple[WeighedForms | None, tuple[dict[str, float], ...]]:
    """The forms of a trajectory, and how far each is from known predictors.

    None from a trajectory that has too few checkpoints, or lies on a line.
    """
    if trajectory is None or len(trajectory.steps) < FEWEST_STEPS or trajectory.scores.shape[1] < 2:
        return None, ()
    forms = weigh_forms(trajectory.scores, trajectory.steps)
    if references is None:
        return forms, ()
    return forms, tuple(
        distances_to_references(lift(form, trajectory), references) for form in forms.forms
    )


def turns_of(forms: WeighedForms | None) -> list[Turn]:
    """The forms that chance does not explain, as milestones of essential dynamics."""
    found = filter(stands_out, forms.forms if forms else ())
    return [Turn("forms", form.step, form.low, form.high) for form in found]


def read_outputs(folder: Path) -> Outputs | None:
    """The recorded outputs of all checkpoints as one record, those that are not finite left out.

    They are read one after another into one array, because they can be gigabytes. None if there
    are fewer than two.
    """
    steps = steps_in(folder, ".npz")
    values, kept = np.empty((0, 0)), list[int]()
    for step in steps:
        row = load_record(Outputs, file_of(folder, step, ".npz")).values[0]
        if not kept:
            values = np.empty((len(steps), len(row)), row.dtype)
        if np.isfinite(row).all():
            values[len(kept)] = row
            kept.append(step)
    return Outputs(np.array(kept), values[: len(kept)]) if len(kept) > 1 else None


def read_passages(measured: Path, stages: Sequence[Stage]) -> tuple[Passages, ...]:
    """The rows of text at the recorded checkpoints that are nearest to the ends of stages."""
    folder = measured / "record_passages"
    recorded = np.array(steps_in(folder, ".npz"))
    if not len(recorded) or not stages:
        return ()
    ends = [stages[0].start, *(stage.end for stage in stages)]
    steps = [int(recorded[np.abs(recorded - end).argmin()]) for end in ends]
    return tuple(load_record(Passages, file_of(folder, step, ".npz")) for step in steps)


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Every setting that made the run: section, name, value."""
    path = folder / "run.json"
    sections: dict[str, dict[str, Any]] = {}
    try:
        run = read_json(path)
        sections["problem"] = {"name": run["problem"]["name"], **run["problem"]["settings"]}
        sections["training"] = dict(run["training"])
        for path in sorted((folder / "measured").glob("*/settings.json")):
            asked = read_json(path)
            name = path.parent.name.replace("_", " ")
            sections[name] = {**asked["settings"], "device": asked["device"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the settings that it should ({error})") from None
    made_with = (read_plan(folder) or {}).get("made_with")
    return sections | ({"made with": made_with} if isinstance(made_with, dict) else {})


def _missing(folder: Path) -> list[str]:
    return [
        f"Not all is measured yet: {part}."
        for part in read_status(folder)
        if part.planned and part.done < part.planned
    ]
