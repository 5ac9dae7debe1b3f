"""Whether the estimates of the learning coefficient are to be trusted, as tables and sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ontogeny.analysis.reading import Report
from ontogeny.records import Diagnosis
from ontogeny.views.marks import UNKNOWN, measured


class HealthColumn(NamedTuple):
    """A column of the table of estimates.

    Attributes:
        heading: Its short heading.
        hint: What it shows, in a sentence.
        text: What stands in the row of a diagnosis.
    """

    heading: str
    hint: str
    text: Callable[[Diagnosis], str]


class HealthRow(NamedTuple):
    """One estimate: a text for each column, the verdict, and the reasons for it as sentences."""

    cells: tuple[str, ...]
    verdict: str
    reasons: str


@dataclass(frozen=True)
class HealthTable:
    """Estimates of the learning coefficient with all that is known about their health.

    Attributes:
        columns: Those in which anything is known.
        rows: One for each estimate.
    """

    columns: tuple[HealthColumn, ...]
    rows: tuple[HealthRow, ...]


def health_table(diagnoses: Sequence[Diagnosis]) -> HealthTable:
    """The health of each estimate of the learning coefficient as a table of texts.

    Args:
        diagnoses: Of the estimates, in the order of the rows.

    Returns:
        A row for each diagnosis. A dash stands for what is not known, and a column of dashes is
        left out.

    Examples:
        >>> sick = Diagnosis(7, 3.0, 0.2, 1.3, 80.0, 4, (2,), "suspect", ("chain 2 diverged",))
        >>> table = health_table([sick])
        >>> [column.heading for column in table.columns]
        ['Step', 'LLC', 'Failed', 'R-hat', 'ESS']
        >>> table.rows[0].cells, table.rows[0].reasons
        (('7', '3.00 ± 0.20', '1 of 4', '1.300', '80'), 'Chain 2 diverged.')
    """
    columns = tuple(
        column
        for place, column in enumerate(HEALTH_COLUMNS)
        if place < 2 or any(column.text(diagnosis) != UNKNOWN for diagnosis in diagnoses)
    )
    rows = tuple(
        HealthRow(
            cells=tuple(column.text(diagnosis) for column in columns),
            verdict=diagnosis.verdict,
            reasons=" ".join(f"{why[:1].upper()}{why[1:]}." for why in diagnosis.reasons),
        )
        for diagnosis in diagnoses
    )
    return HealthTable(columns, rows)


def health_summary(report: Report) -> str:
    """How many estimates can be believed, and how long chains were beside what they should be.

    Examples:
        >>> health_summary(Report(""))
        'The learning coefficient has not been estimated at any checkpoint.'
        >>> fine = Diagnosis(0, 3.0, 0.2, 1.0, 800.0, 4, (), "ok", (), 400, 999.5)
        >>> print(health_summary(Report("", diagnoses=(fine,))).split(". ")[1])
        Each chain makes 400 draws; a flat direction of the loss forgets its start in about 1,000.
    """
    counts = Counter(diagnosis.verdict for diagnosis in report.diagnoses)
    total = len(report.diagnoses)
    if not total:
        return "The learning coefficient has not been estimated at any checkpoint."
    bad = [f"{counts[word]} {word}" for word in ("suspect", "failed") if counts[word]]
    tail = ", ".join(bad) if bad else "none is suspect or failed"
    sentences = [f"{counts['ok']} of {total} estimates are ok; {tail}."]
    return " ".join([*sentences, *_lengths(report.diagnoses)])


def _lengths(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """How many draws chains make and in how many a flat direction relaxes, if that is known."""
    draws = sorted({diagnosis.draws for diagnosis in diagnoses if diagnosis.draws})
    times = [d.relaxation for d in diagnoses if not math.isnan(d.relaxation)]
    if not draws or not times:
        return []
    number = f"{draws[0]:,}" if len(draws) == 1 else f"{draws[0]:,} to {draws[-1]:,}"
    slowest = max(times)
    relaxes = f"forgets its start in about {significant(slowest)}"
    if math.isinf(slowest):
        relaxes = "never forgets its start, because nothing pulls it back"
    return [f"Each chain makes {number} draws; a flat direction of the loss {relaxes}."]


def refined_summary(report: Report) -> str:
    """The verdicts on refined estimates, those with equal counts together; empty without any.

    Examples:
        >>> fine = Diagnosis(0, 3.0, 0.2, 1.0, 800.0, 4, (), "ok", ())
        >>> sick = Diagnosis(9, 3.0, 0.2, 1.3, 80.0, 4, (), "suspect", ("not mixed",))
        >>> refined_summary(Report("", refined={"head.1.1": (fine, sick), "mlp.1": (fine,)}))
        'Refined estimates: head.1.1: 1 ok, 1 suspect; mlp.1: 1 ok.'
    """
    groups: dict[str, list[str]] = {}
    for name, diagnoses in report.refined.items():
        counts = Counter(diagnosis.verdict for diagnosis in diagnoses)
        found = (f"{counts[word]} {word}" for word in ("ok", "suspect", "failed") if counts[word])
        groups.setdefault(", ".join(found), []).append(name)
    parts = [
        f"{', '.join(names)}: {counts}{' each' * (len(names) > 1)}"
        for counts, names in groups.items()
    ]
    return f"Refined estimates: {'; '.join(parts)}." if parts else ""


# Columns ------------------------------------------------------------------------------------------


def significant(value: float) -> str:
    """A count to two digits, as of something that is known about.

    Examples:
        >>> significant(999.5), significant(52.6), significant(math.inf), significant(math.nan)
        ('1,000', '53', '∞', '—')
    """
    if math.isnan(value):
        return UNKNOWN
    return f"{float(f'{value:.2g}'):,.0f}" if math.isfinite(value) else "∞"


def _number(value: float, form: str) -> str:
    return format(value, form).replace("-", "−") if math.isfinite(value) else UNKNOWN


def _draws(diagnosis: Diagnosis) -> str:
    if not diagnosis.draws:
        return UNKNOWN
    relaxes = significant(diagnosis.relaxation)
    return f"{diagnosis.draws:,}" + (f" ({relaxes})" if relaxes != UNKNOWN else "")


HEALTH_COLUMNS = (
    HealthColumn("Step", "Training step of the checkpoint w*.", lambda d: f"{d.step:,}"),
    HealthColumn(
        "LLC",
        "Estimate of the local learning coefficient, with one standard error.",
        lambda d: measured(d.llc, d.stderr),
    ),
    HealthColumn(
        "Failed",
        "Chains that diverged; they are left out of everything.",
        lambda d: f"{len(d.failed)} of {d.chains}",
    ),
    HealthColumn(
        "Draws",
        "Draws of each chain, burn-in included. In brackets: in about how many of them a direction "
        "in which the loss is flat forgets its start.",
        _draws,
    ),
    HealthColumn(
        "R-hat",
        "Split R-hat: near 1 where the halves of all chains agree; suspect above 1.05.",
        lambda d: _number(d.rhat, ".3f"),
    ),
    HealthColumn(
        "nested",
        "Nested R-hat: near 1 where groups of chains that started apart agree; suspect above 1.05.",
        lambda d: _number(d.nested_rhat, ".3f"),
    ),
    HealthColumn(
        "ESS",
        "Effective number of draws of all chains together; suspect below 25 for each chain.",
        lambda d: _number(d.ess, ",.0f"),
    ),
    HealthColumn(
        "Drift",
        "Second half of the draws less the first half, in standard errors; suspect beyond ±3.",
        lambda d: _number(d.drift, "+.1f"),
    ),
    HealthColumn(
        "< L(w*)",
        "Share of the draws whose loss is below that of the checkpoint, minibatch noise included: "
        "where it is large, the checkpoint is no minimum or the noise hides it.",
        lambda d: _number(100 * d.below, ".0f") + (" %" if math.isfinite(d.below) else ""),
    ),
    HealthColumn(
        "|w − w*|",
        "Distance of the chains from the checkpoint at their end, the mean over the chains.",
        lambda d: measured(d.distance),
    ),
    HealthColumn(
        "Pull/noise",
        "Length of the drift of one step of the sampler over that of its noise.",
        lambda d: measured(d.drift_ratio),
    ),
    HealthColumn(
        "MALA",
        "Probability that a Metropolis test would accept a step of the sampler if it were one of "
        "MALA: well below 1 where steps are too long.",
        lambda d: _number(d.acceptance, ".2f"),
    ),
)
"""All columns; the first two are shown even if nothing is known in them."""
