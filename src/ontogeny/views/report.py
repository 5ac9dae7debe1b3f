"""The one page about a run: a single file that opens anywhere, without a network.

The page is a pure function of the report and of the installed plotly: the same report gives the
same bytes. `stage_table` and `finding` are the parts in plain text that a terminal shows as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from ontogeny.analysis.milestones import holds
from ontogeny.analysis.reading import Report
from ontogeny.records import Arrival, Milestone, Stage
from ontogeny.storage import whole_file
from ontogeny.views.attention import patterns_caption, plot_patterns, plot_positions
from ontogeny.views.catalog import REFINED
from ontogeny.views.dynamics import plot_dynamics, plot_scores
from ontogeny.views.figures import kept_milestones, plot_stages
from ontogeny.views.forms import FORM_HEADINGS, form_table, form_texts, null_sentence
from ontogeny.views.health import health_summary, health_table, refined_summary
from ontogeny.views.marks import (
    PAGE_WIDTH,
    UNKNOWN,
    VERDICT_COLORS,
    VERDICT_MARKS,
    measured,
)
from ontogeny.views.panels import plot_metrics
from ontogeny.views.passages import shown_passages
from ontogeny.views.points import points_caption
from ontogeny.views.traces import plot_traces

LONG_TABLE = 12
"""A table of health with more rows than this starts folded."""

REFINED_SECTION = "sample chains-"
"""How sections of settings begin that are folded: those of refined estimates are many and alike."""

PHONE_WIDTH = 330
"""Pixels that a page on a phone leaves for a picture."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class StageRow(NamedTuple):
    """One row of the table of stages, as text."""

    stage: str
    start: str
    end: str
    type: str
    delta_loss: str
    delta_llc: str
    milestone: str
    probability: str
    agrees: str
    formed: str
    arrival: str
    caution: str


STAGE_HEADINGS = StageRow(
    stage="Stage",
    start="From step",
    end="To step",
    type="Type",
    delta_loss="Change of loss",
    delta_llc="Change of LLC",
    milestone="End, 90 % interval",
    probability="Probability",
    agrees="Probes that agree on the end",
    formed="What moved most",
    arrival="Critical point at its end",
    caution="Caution",
)


def finding(report: Report) -> str:
    """What the run showed, in one sentence.

    Examples:
        >>> from ontogeny.records import Stage
        >>> first = Stage("LR1", 0, 93, "A", -0.3, 21.4, 1.0)
        >>> then = Stage("LR2", 93, 1999, "B", 0.0, -9.0, 1.0)
        >>> finding(Report("", stages=(first, then)))
        'Two stages: LR1 (A) to step 93, LR2 (B) to step 1,999.'
        >>> finding(Report(""))
        'No stages: the local learning coefficient has not been measured.'
    """
    if not report.stages:
        if "llc" not in report.curves:
            return "No stages: the local learning coefficient has not been measured."
        return "No stages were found in the local learning coefficient."
    count = len(report.stages)
    number = NUMBERS[count].capitalize() if count < len(NUMBERS) else str(count)
    parts = [f"{stage.name} ({stage.type}) to step {stage.end:,}" for stage in report.stages]
    return f"{number} stage{'s' if count > 1 else ''}: {', '.join(parts)}."


def stage_table(report: Report) -> list[StageRow]:
    """The stages as rows of text, under `STAGE_HEADINGS`.

    Args:
        report: What is known about the run.

    Returns:
        A row for each stage, in order; a dash stands for what is not known.

    Examples:
        >>> from ontogeny.records import Stage
        >>> stages = (Stage("LR1", 0, 1500, "A", -0.32, 21.4, 0.8),)
        >>> ends = (Milestone(1500, 1300, 1800, 0.97, "plateau", ("loss",)),)
        >>> report = Report("", milestones=ends, stages=stages, probes=("loss", "PC1"))
        >>> stage_table(report)[0][4:]
        ('−0.320', '+21.40 ± 0.80', '1,300 to 1,800', '0.97', 'loss (1 of 2 probes)', '', '', '')
    """
    ends = {milestone.step: milestone for milestone in report.milestones}
    return [
        StageRow(
            stage=stage.name,
            start=f"{stage.start:,}",
            end=f"{stage.end:,}",
            type=stage_type(stage),
            delta_loss=measured(stage.delta_loss, stage.delta_loss_stderr, signed=True),
            delta_llc=measured(stage.delta_llc, stage.delta_llc_stderr, signed=True),
            formed=stage.formed,
            arrival=arrival_sentence(stage.arrival),
            caution=" ".join(filter(None, (_doubts(report, stage), _lost(report, stage)))),
            **_end_of_stage(ends.get(stage.end), report.probes),
        )
        for stage in report.stages
    ]


def _doubts(report: Report, stage: Stage) -> str:
    """How many of the estimates in a stage are in doubt, if it is more than half."""
    inside = [one for one in report.diagnoses if stage.start <= one.step <= stage.end]
    doubtful = sum(one.verdict != "ok" for one in inside)
    if 2 * doubtful <= len(inside):
        return ""
    return f"{doubtful} of {len(inside)} estimates in it are in doubt."


def _lost(report: Report, stage: Stage) -> str:
    """The readings in which the end of a stage is not there."""
    ends = [one.step for one in kept_milestones(report)]
    if stage.end not in ends:
        return ""
    k = ends.index(stage.end)
    lost = [one.what for one in report.variations if one.steps[k] is None]
    return f"Its end is not there with {' or '.join(lost)}." if lost else ""


def arrival_sentence(arrival: Arrival | None) -> str:
    """The critical point that is nearest, how near, and its learning coefficient beside the exact.

    Examples:
        >>> from ontogeny.records import CriticalPoint
        >>> point = CriticalPoint("rank 1", 0.25, 8.0, minimum=False, data="rank_1")
        >>> there = Arrival(point, 99, 0.1, True, 0.255, 7.0, 0.1, llc_step=90)
        >>> arrival_sentence(there).split("; ")[:2]
        ['near rank 1, 0.1 away, loss 2 % above', 'not a minimum']
        >>> arrival_sentence(there).split("; ")[2]
        'on rank 1 the LLC at step 90 is 7.00 ± 0.10, exact 8'
        >>> arrival_sentence(Arrival(point, 99, 0.1, near=False))
        'far from every known point, of which rank 1 is the nearest, 0.1 away'
        >>> arrival_sentence(None)
        ''
    """
    if arrival is None:
        return ""
    point = arrival.point
    away = f"{arrival.distance:.2g} away".replace("e-", "e−")
    if not arrival.near:
        return f"far from every known point, of which {point.name} is the nearest, {away}"
    parts = [f"near {point.name}, {away}"]
    if math.isfinite(arrival.loss) and point.loss > 0:
        parts[0] += f", loss {percent_above(arrival.loss / point.loss - 1)}"
    if not point.minimum:
        parts.append("not a minimum")
    exact = point.learning_coefficient
    if math.isfinite(arrival.llc):
        on_data = f"on {point.data.replace('_', ' ')} the" if point.data else "the"
        known = "" if exact is None else f", exact {exact:g}"
        value = measured(arrival.llc, arrival.llc_stderr)
        parts.append(f"{on_data} LLC at step {arrival.llc_step:,} is {value}{known}")
    elif exact is not None and point.minimum:
        parts.append(f"exact LLC {exact:g}")
    return "; ".join(parts)


def percent_above(share: float) -> str:
    """By how much a value is above another, in words.

    Examples:
        >>> percent_above(0.0213), percent_above(-0.3), percent_above(1e-9)
        ('2.1 % above', '30 % below', 'the same')
    """
    if abs(share) < 5e-5:
        return "the same"
    return f"{100 * abs(share):.2g} % {'above' if share > 0 else 'below'}"


def stage_type(stage: Stage) -> str:
    """The type of a stage, with its probability where that is not near one.

    Examples:
        >>> from ontogeny.records import Stage
        >>> stage_type(Stage("S1", 0, 9, "A", 0.0, 1.0, 1.0, 0.84))
        'A 0.84'
        >>> stage_type(Stage("S1", 0, 9, "A", 0.0, 9.0, 1.0, 1.0))
        'A'
    """
    return f"{stage.type} {stage.type_probability:.2f}" * (stage.type_probability < 0.99) or (
        stage.type
    )


def _end_of_stage(milestone: Milestone | None, probes: Sequence[str]) -> dict[str, str]:
    if milestone is None:
        return {"milestone": "end of the run", "probability": UNKNOWN, "agrees": UNKNOWN}
    known = milestone.low is not None and milestone.high is not None
    chance, agreeing = milestone.probability, milestone.agrees
    names = ", ".join(plain_name(name) for name in agreeing) or "none"
    return {
        "milestone": f"{milestone.low:,} to {milestone.high:,}" if known else UNKNOWN,
        "probability": UNKNOWN if chance is None else f"{chance:.2f}",
        "agrees": f"{names} ({len(agreeing)} of {len(probes)} probes)" if probes else UNKNOWN,
    }


def plain_name(name: str) -> str:
    """The name of a curve as words.

    Examples:
        >>> plain_name("previous_token_score 1.2")
        'previous token score 1.2'
    """
    return name.replace("_", " ")


def candidate_sentence(report: Report) -> str:
    """Milestones that do not hold, in words; empty if there are none.

    Examples:
        >>> weak = Milestone(41000, 39000, 46000, 0.16, "maximum")
        >>> candidate_sentence(Report("", milestones=(weak,)))
        'Candidates that end no stage: maximum at step 41,000 (39,000 to 46,000, probability 0.16).'
    """
    weak = [one for one in report.milestones if not holds(one)]
    parts = [
        f"{one.kind} at step {one.step:,} ({one.low:,} to {one.high:,}, "
        f"probability {one.probability:.2f})"
        for one in weak
    ]
    return f"Candidates that end no stage: {'; '.join(parts)}." if parts else ""


def variation_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """What becomes of each milestone if the curve is read in another way: headings and rows.

    Examples:
        >>> from ontogeny.records import Variation
        >>> top = (Milestone(100, 80, 130, 0.9, "maximum"),)
        >>> ways = (Variation("half the length scale", (95,), (7,)), Variation("4 SE", (None,), ()))
        >>> variation_table(Report("", milestones=top, variations=ways))
        (['Read with', '100', 'New'], [['half the length scale', '95', '7'], ['4 SE', '—', '']])
    """
    kept = kept_milestones(report)
    headings = ["Read with", *(f"{one.step:,}" for one in kept), "New"]
    rows = [
        [
            one.what,
            *(UNKNOWN if step is None else f"{step:,}" for step in one.steps),
            ", ".join(f"{step:,}" for step in one.others),
        ]
        for one in report.variations
    ]
    return headings, rows


def render_report(report: Report) -> str:
    """The page about a run, as one string of html.

    Args:
        report: What is known about the run; any part may be absent, and the page says so.

    Returns:
        A whole page that loads nothing: scripts, styles and data are inside.

    Examples:
        >>> page = render_report(Report("Run <1>"))
        >>> page[:15], "Run &lt;1&gt;" in page
        ('<!doctype html>', True)
    """
    refined = {name for name in report.settings if name.startswith(REFINED_SECTION)}
    source = resources.files("ontogeny.views").joinpath("report.html.j2").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown_forms = report.forms.forms if report.forms else ()
    return environment.from_string(source).render(
        report=report,
        finding=finding(report),
        stage_headings=STAGE_HEADINGS,
        stages=stage_table(report),
        departure=arrival_sentence(report.departure),
        candidates=candidate_sentence(report),
        variations=variation_table(report),
        stage_figure=_figure_data(plot_stages, report),
        dynamics_figure=_figure_data(plot_dynamics, report),
        path_figures={
            what: _figure_data(plot_dynamics, Report("", stages=report.stages, trajectory=path))
            for what, path in report.paths.items()
        },
        scores_figure=_figure_data(plot_scores, report),
        form_headings=FORM_HEADINGS,
        forms=form_table(report.forms.forms, report.form_distances) if report.forms else [],
        form_texts=form_texts(shown_forms, report.trajectory, report.references),
        null_sentence=null_sentence(report.forms) if report.forms else "",
        metrics_figure=_figure_data(plot_metrics, report),
        positions_figure=_figure_data(plot_positions, report),
        passages=shown_passages(report),
        patterns_figure=_figure_data(plot_patterns, report),
        patterns_caption=patterns_caption(report),
        shares=_shares(report),
        points_caption=points_caption(report),
        has_refined=any(name.startswith(REFINED) for name in report.curves),
        health_summary=health_summary(report),
        refined_summary=refined_summary(report),
        has_distances=any(chains.distances is not None for chains in report.traces),
        traces_figure=_figure_data(plot_traces, report),
        health=health_table(report.diagnoses),
        troubled=health_table([d for d in report.diagnoses if d.verdict != "ok"]),
        refined={name: health_table(some) for name, some in report.refined.items()},
        settings={k: v for k, v in report.settings.items() if k not in refined},
        refined_settings={k: v for k, v in report.settings.items() if k in refined},
        long_table=LONG_TABLE,
        verdict_colors=VERDICT_COLORS,
        verdict_marks=VERDICT_MARKS,
        plotly=Markup(get_plotlyjs()),
    )


def write_report(report: Report, path: Path) -> None:
    """Write the page about a run, whole or not at all.

    Args:
        report: What is known about the run.
        path: The html file to write. Its folder is made if it is missing.

    Raises:
        OSError: The file cannot be written.
    """
    with whole_file(path) as file:
        file.write(render_report(report).encode())


def _figure_data(plot: Callable[[Report, int], go.Figure], report: Report) -> dict[str, Any]:
    """A picture as the page holds it, or the words that stand for it.

    The traces are the same in a wide and in a narrow window; only the layout is told apart.
    """
    wide, narrow = (plot(report, width).to_plotly_json() for width in (PAGE_WIDTH, PHONE_WIDTH))
    if not wide["data"]:
        return {"words": wide["layout"]["annotations"][0]["text"]}
    parts = {"data": wide["data"], "wide": wide["layout"], "narrow": narrow["layout"]}
    text = json.dumps(parts, cls=PlotlyJSONEncoder, sort_keys=True, separators=(",", ":"))
    return {"json": Markup(text.replace("<", "\\u003c")), "height": wide["layout"]["height"]}


def _shares(report: Report) -> str:
    """The first three shares of variance, as in 56.3, 15.2 and 6.8 %."""
    if report.trajectory is None:
        return UNKNOWN
    shares = [f"{100 * share:.1f}" for share in report.trajectory.explained_variance_ratio[:3]]
    before = f"{', '.join(shares[:-1])} and " if len(shares) > 1 else ""
    return f"{before}{shares[-1]}\N{NO-BREAK SPACE}%"
