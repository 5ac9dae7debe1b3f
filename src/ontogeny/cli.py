"""The same verbs, from a shell."""

import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = App(
    name="ontogeny",
    help="Watch a neural network develop: train it, measure it, find its stages.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

# Short enough for a terminal of 80 columns.
STAGE_HEADINGS = ("Stage", "From", "To", "Type", "Δ loss", "Δ LLC", "End, 90 %", "P(end)")

System = Literal["regression", "language", "superposition", "linear"]
Size = Literal["quick", "standard", "paper"]
Seed = Annotated[
    int,
    Parameter(
        help="Seed of the initial weights, the training data and the sampler; what is measured on "
        "is the same for every seed."
    ),
]
Folder = Annotated[
    Path | None, Parameter(help="Where the run lives; runs/SYSTEM-PRESET-seedN by default.")
]
Device = Annotated[str, Parameter(help="Where to compute: cpu, cuda, cuda:1, ...")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of the sampler, each in the place of what the run's plan says."""

    method: Literal["sgld", "rmsprop", "underdamped"] | None = None
    "How a chain moves."
    step_size: float | None = None
    "ε, the variance of the noise in one step of SGLD."
    nbeta: float | None = None
    "nβ, multiplies the loss: the resolution at which it is looked at."
    localization: float | None = None
    "γ, strength of the pull towards the checkpoint."
    momentum: float | None = None
    "Share of its velocity that an underdamped chain keeps in one step."
    chains: int | None = None
    "Independent chains."
    draws: int | None = None
    "Draws of each chain, burn-in included; with --precision, at most."
    burn_in: int | None = None
    "Draws left out of averages."
    batch_size: int | None = None
    "Fresh examples in the minibatch of each draw."
    pairing: int | None = None
    "On the minibatch of every how many draws the checkpoint's own loss is measured too."
    block: int | None = None
    "How many draws one mean of the losses by position covers; a multiple of the pairing."
    precision: str | None = None
    "Relative standard error, such as 2%, to reach; by default with up to ten times the draws."
    groups: int | None = None
    "Groups of chains with starting points of their own, compared by nested R-hat."
    batched: int | None = None
    "Checkpoints in one batched computation, with all their chains; 0 for a plain loop."

    def given(self) -> dict[str, Any]:
        """The settings that were given."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        if self.precision is not None:
            found["precision"] = share_of(self.precision)
        return found


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, and how."""

    preset: Size = "quick"
    seed: Seed = 0
    device: Device = "cpu"
    mixed_precision: Annotated[bool, Parameter(negative="")] = False
    "Train with products of matrices in bfloat16: faster on a GPU, and another run."
    corpus: str | None = None
    "Language only, standard and paper: a text, as a file or folder of .txt or .jsonl, or hub:NAME."
    tokenizer: str | None = None
    "Language only: the file of the text's tokenizer; by default one is trained on the text."
    d_vocab: int | None = None
    "Language only: how many tokens that tokenizer has; by default 1,024 and 5,000."
    start: str | None = None
    "Superposition only: the critical point that training begins near, such as 4++."

    def plan(self, system: System) -> Any:
        """The plan of a run of a system.

        Raises:
            ValueError: Something was given that is of another system.
        """
        from ontogeny.presets import SYSTEMS

        own = ("corpus", "tokenizer", "d_vocab", "start")
        given = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        for name, value in given.items():
            option = f"--{name}".replace("_", "-")
            owner = "superposition" if name == "start" else "language"
            if system != owner:
                raise ValueError(f"{option} is for {owner}, not for {system}")
            if value == "":
                raise ValueError(f"{option} must not be empty")
        plan = SYSTEMS[system](self.preset, self.seed, self.device, **given)
        return replace(plan, training=replace(plan.training, mixed_precision=self.mixed_precision))

    def folder(self, system: System) -> Path:
        """Where the run lives unless a folder is given."""
        near = f"-from-{self.start}" if self.start else ""
        return Path("runs") / f"{system}-{self.preset}{near}-seed{self.seed}"


def share_of(text: str) -> float:
    """A share, written as 2% or as 0.02.

    Raises:
        ValueError: It is neither.
    """
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"precision must be a share such as 2% or 0.02, not {text!r}") from None


@app.command
def run(
    system: System,
    *,
    folder: Folder = None,
    recipe: Recipe = Recipe(),
    sampling: Sampling = Sampling(),
) -> None:
    """Train, measure, find the stages, write the report; go on where it was interrupted."""
    from ontogeny.plans import check_sampler

    check_sampler(recipe.plan(system), sampling.given())
    path = train(system, folder=folder, recipe=recipe)
    try:
        measure(path, device=recipe.device, sampling=sampling)
    except (RuntimeError, ValueError):
        with suppress(ValueError):  # what went wrong first is what counts
            report(path)  # of what could be measured
        raise
    report(path)


@app.command
def train(system: System, *, folder: Folder = None, recipe: Recipe = Recipe()) -> Path:
    """Train a system and keep dense checkpoints."""
    from ontogeny.plans import train_as_planned

    path = folder or recipe.folder(system)
    train_as_planned(recipe.plan(system), path)
    return path


@app.command
def measure(
    folder: Path,
    *,
    device: Device = "cpu",
    sampling: Sampling = Sampling(),
    weights: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="Refined learning coefficients: let only these weights move, such as 'head.*'. "
            "Each component that matches is measured by itself; names joined by a comma move "
            "together.",
        ),
    ] = None,
    data: Annotated[
        str, Parameter(help="Refined learning coefficients: on another data set of the problem.")
    ] = "",
    checkpoints: Annotated[
        int | None,
        Parameter(
            help="At about how many of the run's checkpoints, spread over log-step with the first "
            "and the last among them; by default at all that the plan names."
        ),
    ] = None,
    again: Annotated[
        bool, Parameter(negative="", help="Put chains with other settings aside, and measure anew.")
    ] = False,
) -> None:
    """Measure what a run's plan asks for and is not measured yet.

    Settings of the sampler change the plan; weights and data add to it.
    """
    from ontogeny.plans import measure_as_planned, plan_chains
    from ontogeny.workers import check_device

    check_device(device)
    if sampling.given() or weights or data or checkpoints is not None:
        plan_chains(folder, sampling.given(), weights or (), data, checkpoints, again)
    measure_as_planned(folder, device)


@app.command
def calibrate(
    folder: Path,
    *,
    nbeta: Annotated[
        float | None,
        Parameter(help="nβ; by default what the plan asks for, or m/ln m for minibatches of m."),
    ] = None,
    method: Annotated[
        Literal["sgld", "underdamped"] | None, Parameter(help="By default that of the plan.")
    ] = None,
    dynamic_range: Annotated[
        float,
        Parameter(help="κ: how many times flatter than the stiffest a direction may be to count."),
    ] = 200.0,
    draws: Annotated[
        int | None,
        Parameter(
            help="Draws of each short chain, half of them burn-in; by default enough to relax."
        ),
    ] = None,
    steps: Annotated[
        list[int] | None,
        Parameter(negative="", help="Checkpoints to look at; some over log-step by default."),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Find settings of the sampler for a whole run: curvature, a rule, a map, one cell."""
    from ontogeny.analysis.calibration import explain
    from ontogeny.probes.calibration import calibrate, short_chains
    from ontogeny.runs import open_run
    from ontogeny.storage import read_plan, save_record
    from ontogeny.views.calibration import python_line, shell_line, write_calibration

    sampler = short_chains(folder, nbeta, draws, method, dynamic_range)
    run = open_run(folder)
    found = calibrate(run, sampler, steps=steps or (), dynamic_range=dynamic_range, device=device)
    save_record(found, folder / "calibration.npz")
    title = (read_plan(folder) or {"title": folder.name})["title"]
    path = write_calibration(found, title, folder)
    lines = [shell_line(found, str(folder)), python_line(found)] if found.row is not None else []
    for sentence in (explain(found), *lines, f"Map: {path}"):
        Console().print(Text(sentence), soft_wrap=True)


@app.command
def validate(
    *,
    quick: Annotated[
        bool, Parameter(negative="", help="Only the rows that take seconds: two minutes in all.")
    ] = False,
    json: Annotated[Path | None, Parameter(help="Write the outcomes to this file as well.")] = None,
) -> None:
    """Hold the sampler to problems whose answer is known exactly."""
    from ontogeny.storage import whole_file
    from ontogeny.validation import HEADINGS, as_json, cells, validate

    _require_writable(json)  # before an hour of measuring
    outcomes = []
    for outcome in validate(quick):
        outcomes.append(outcome)
        note = f": {outcome.note}" if outcome.note else ""
        verdict = "passed" if outcome.passed else "FAILED"
        print(f"{verdict}  {outcome.name}{note}", file=sys.stderr, flush=True)
    table = Table(*HEADINGS, box=box.SIMPLE_HEAD, pad_edge=False)
    for outcome in outcomes:
        table.add_row(*map(Text, cells(outcome)))
    console = Console()
    console = Console(width=max(console.width, 130))  # a row is worth a line
    console.print(table)
    if json is not None:
        with whole_file(json) as file:
            file.write(as_json(outcomes).encode())
    failed = sum(not outcome.passed for outcome in outcomes)
    if failed:
        raise RuntimeError(f"{failed} of {len(outcomes)} rows failed")
    console.print(f"All {len(outcomes)} rows passed.")


@app.command
def report(folder: Path) -> None:
    """Find the stages in what was measured, and write the report: seconds, no GPU, no torch."""
    from ontogeny.analysis import read_run
    from ontogeny.views import finding, write_curves, write_forms, write_report, write_stages
    from ontogeny.views.forms import forms_finding

    found = read_run(folder)
    write_curves(found, folder / "curves")
    write_stages(found, folder / "stages.json")
    if found.forms and found.trajectory:
        shares = found.trajectory.explained_variance_ratio.tolist()
        distances = [dict(known) for known in found.form_distances]
        write_forms(found.forms, folder / "forms.json", shares=shares, distances=distances)
    write_report(found, folder / "report.html")
    _print_stages(found)
    console = Console()
    formed = [forms_finding(found.forms)] if found.forms else []
    for sentence in (finding(found), *formed, *found.notes, *found.missing):
        console.print(Text(sentence))
    console.print(Text(f"Report: {folder / 'report.html'}"), soft_wrap=True)


@app.command
def stages(
    curve: Path,
    *,
    loss: Annotated[Path | None, Parameter(help="The test loss, in the same shape.")] = None,
    json: Annotated[
        Path | None, Parameter(help="Write what stages.json of a run holds, and print no table.")
    ] = None,
    prefix: Annotated[str, Parameter(help="What the names of the stages begin with.")] = "S",
) -> None:
    """Find the stages of any curve: a CSV file with columns step, value and, if known, stderr."""
    from ontogeny.analysis.plain import read_curves_alone
    from ontogeny.views import write_stages

    _require_writable(json)
    found = read_curves_alone(curve, loss, prefix)
    if json is None:
        _print_stages(found)
    else:
        write_stages(found, json)
    for sentence in found.notes:
        Console(stderr=json is not None).print(Text(sentence), soft_wrap=True)


@app.command
def forms(
    scores: Path,
    *,
    json: Annotated[
        Path | None, Parameter(help="Write the forms to this file, and do not print them.")
    ] = None,
) -> None:
    """Find forms in principal component scores: a CSV file with columns step, pc1, pc2, ...

    A form is a place that the path turns around in every plane of two components. Its p-value is
    how often a random walk as rough as the path draws one as good.
    """
    from ontogeny.analysis.nulls import weigh_forms
    from ontogeny.analysis.scores import read_scores
    from ontogeny.views.forms import (
        FORM_HEADINGS,
        NO_FORM,
        component_notes,
        form_table,
        null_sentence,
        variance_shares,
        write_forms,
    )

    _require_writable(json)
    path = read_scores(scores)
    found = weigh_forms(path.values, path.steps)
    components = path.values.shape[1]
    notes = [*path.notes, *component_notes(components)]
    if json is not None:
        shares = variance_shares(path.values).tolist()
        write_forms(found, json, components=components, shares=shares, warnings=notes)
    elif found.forms:
        table = Table(*FORM_HEADINGS[:-1], box=box.SIMPLE_HEAD, pad_edge=False)
        for row in form_table(found.forms):
            table.add_row(*map(Text, row[:-1]))
        Console().print(table)
        notes.append(null_sentence(found))
    if not found.forms:
        notes.append(NO_FORM)
    for sentence in notes:
        Console().print(Text(sentence), soft_wrap=json is not None)


@app.command
def joint(
    *folders: Path,
    html: Annotated[Path, Parameter(help="The page to write.")] = Path("joint.html"),
) -> None:
    """Show several runs of one problem in one space: seeds, say, with known predictors in it.

    Give the folders of two runs or more, whose outputs were recorded on the same inputs.
    """
    from ontogeny.analysis.joint import read_joint
    from ontogeny.views.joint import joint_summary, write_joint

    _require_writable(html)
    found = read_joint(folders)
    write_joint(found, html)
    for sentence in (joint_summary(found), *found.notes, f"Page: {html}"):
        Console().print(Text(sentence), soft_wrap=True)


@app.command
def status(folder: Path) -> None:
    """Say what a run has done and what is missing."""
    from ontogeny.analysis import read_status

    for part in read_status(folder):
        print(part)


def _require_writable(path: Path | None) -> None:
    """Refuse a file that cannot be written, before anything takes long."""
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {path}: {error.strerror}") from None


def _print_stages(found: Any) -> None:
    from ontogeny.views import arrival_sentence, stage_table

    if found.stages:
        title = Text(found.title, style="table.title")
        table = Table(*STAGE_HEADINGS, title=title, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in stage_table(found):
            table.add_row(*map(Text, row[: len(STAGE_HEADINGS)]))
        console = Console()
        console.print(table)
        if begins := arrival_sentence(found.departure):
            console.print(Text(f"The run begins {begins}."))
        for row in stage_table(found):
            if row.arrival:
                console.print(Text(f"{row.stage} ends {row.arrival}."))
            if row.formed:
                console.print(Text(f"{row.stage}: {row.formed}"))


def main(words: list[str] | None = None) -> None:
    """Run a command; bad input gets one clear sentence and a non-zero exit.

    Args:
        words: The command and its options; those that the shell gave if absent.
    """
    try:
        app(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        _stop("interrupted; what was done is kept, the same command goes on from here", 130)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        _stop(f"{error.filename}: {error.strerror}")
    except OSError as error:
        _stop(
            f"{error.strerror or error}: {error.filename or 'while writing'}; nothing that was "
            "measured is lost, the same command goes on from here"
        )
    except (ValueError, RuntimeError) as error:
        _stop(str(error))


def _stop(sentence: str, code: int = 1) -> None:
    Console(stderr=True).print(Text(f"ontogeny: {sentence}"), soft_wrap=True)
    sys.exit(code)
