r"""The ground-truth suite: the sampler beside answers that are known, as a table.

Each row of `ontogeny.ground_truths` is held to two things. The sampler's λ̂ must be within three
standard errors and one percent of the exact mean of nβ(L(w) − L(w*)) at the row's own nβ and γ, and
its standard error at most one percent. And this mean must be within a tenth of the learning
coefficient λ: what the sampler gets wrong and what is owed to a finite nβ stand apart.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from ontogeny.ground_truths import PAIRS, ROWS, Outcome, dashed
from ontogeny.workers import hidden_main, threads, worker_pool

PERCENT = 0.01  # that a standard error may be of the exact answer, and the estimate may be off
TENTH = 0.1  # that the exact answer, and half of the deep networks' estimates, may be from λ
SPREAD = 0.015  # of the estimates over the factors by which layers are rescaled
CORRELATION = 0.99  # of the deep networks' estimates with λ, at least


@dataclass(frozen=True)
class Summary:
    """What is concluded of several rows together.

    Attributes:
        name: Of the outcome.
        group: Of which rows.
        conclude: From their outcomes, in the order of the table.
    """

    name: str
    group: str
    conclude: Callable[[Sequence[Outcome]], Outcome]


def validate(quick: bool = False) -> Iterator[Outcome]:
    """Run the suite, as many rows side by side as there are cores.

    Args:
        quick: Only the rows that take seconds, and what is concluded of them alone.

    Yields:
        The outcome of each row as it ends, and of each summary after the last of its rows. A row
        that cannot be measured has failed, with the reason as its note.
    """
    rows = [row for row in ROWS if row.quick or not quick]
    found: dict[str, Outcome] = {}
    with worker_pool() as pool:
        with hidden_main():  # the slow ones first, lest one be left alone at the end
            futures = {
                pool.submit(measure_row, row.name): row
                for row in sorted(rows, key=lambda row: row.quick)
            }
        for future in as_completed(futures):
            row = futures[future]
            try:
                found[row.name] = Outcome(**json.loads(future.result()))
            except BrokenProcessPool:
                found[row.name] = Outcome(row.name, note="its process was killed")
            yield found[row.name]
            yield from concluded(row.group, found)


def measure_row(name: str) -> str:
    """The outcome of a row, as JSON: between processes only text is passed."""
    row = next(row for row in ROWS if row.name == name)
    start = time.perf_counter()
    try:
        with threads(1):
            outcome = judged(row.measure())
    except Exception as error:
        outcome = Outcome(name, note=f"{type(error).__name__}: {error}")
    return json.dumps(asdict(replace(outcome, name=name, seconds=time.perf_counter() - start)))


def concluded(group: str, found: Mapping[str, Outcome]) -> Iterator[Outcome]:
    """The summaries of a group, once the outcomes of all of its rows are there."""
    members = [row.name for row in ROWS if row.group == group]
    if not group or not all(name in found for name in members):
        return
    broken = [name for name in members if found[name].estimate is None]
    for summary in SUMMARIES:
        if summary.group == group and broken:
            yield Outcome(summary.name, note=f"{broken[0]} could not be measured")
        elif summary.group == group:
            outcome = summary.conclude([found[name] for name in members])
            yield replace(outcome, name=summary.name)


# Bars --------------------------------------------------------------------------------------------


def judged(row: Outcome) -> Outcome:
    """A row with what its numbers say: its error, its bar, and whether it passed.

    Examples:
        >>> row = Outcome("", exact=2.0, learning_coefficient=2.1, estimate=2.05, stderr=0.01)
        >>> round(judged(row).relative_error, 6), judged(row).bar, judged(row).passed
        (0.025, 0.025, True)
        >>> judged(replace(row, stderr=0.03)).note
        'its standard error is 1.5 %'
    """
    if row.exact is None or row.estimate is None or row.stderr is None:
        return replace(row, note="it has no estimate, no error or no exact answer")
    exact, both = row.exact, math.hypot(row.stderr, row.exact_stderr or 0.0)
    error, bar = abs(row.estimate - exact) / exact, 3 * both / exact + PERCENT
    faults = []
    if not error <= bar * (1 + 1e-9):
        faults.append(f"it is {percent(error)} off")
    for whose, stderr in (("its", row.stderr), ("the exact answer's", row.exact_stderr or 0.0)):
        if not stderr <= PERCENT * exact:
            faults.append(f"{whose} standard error is {percent(stderr / exact)}")
    limit = row.learning_coefficient
    if limit is not None and not abs(exact - limit) <= TENTH * limit:
        faults.append(f"the exact answer is {percent(abs(exact / limit - 1))} from λ")
    note = "; ".join(filter(None, [*faults, row.note]))
    return replace(row, relative_error=error, bar=bar, passed=not faults, note=note)


# What is concluded of several rows ---------------------------------------------------------------


def told_apart(pair: Sequence[Outcome]) -> Outcome:
    """Two minima of one network: is the difference of their estimates seen, and the right one?"""
    exact, limit, estimate = (
        getattr(pair[1], name) - getattr(pair[0], name)
        for name in ("exact", "learning_coefficient", "estimate")
    )
    stderr = math.hypot(pair[0].stderr or 0.0, pair[1].stderr or 0.0)
    unsure = math.hypot(stderr, pair[0].exact_stderr or 0.0, pair[1].exact_stderr or 0.0)
    error, bar = abs(estimate - exact) / exact, 3 * unsure / exact + PERCENT
    return Outcome(
        "",
        point="second − first",
        nbeta=pair[0].nbeta,
        localization=pair[0].localization,
        exact=exact,
        learning_coefficient=limit,
        estimate=estimate,
        stderr=stderr,
        relative_error=error,
        bar=bar,
        passed=error <= bar and estimate > 3 * stderr,
        note="" if estimate > 3 * stderr else "the two are not three standard errors apart",
    )


def off_by(networks: Sequence[Outcome]) -> Float[np.ndarray, " network"]:
    """Relative errors of estimates against λ."""
    pairs = np.array([(one.estimate, one.learning_coefficient) for one in networks], dtype=float)
    errors: np.ndarray = abs(pairs[:, 0] / pairs[:, 1] - 1)
    return errors


def median_error(networks: Sequence[Outcome]) -> Outcome:
    """Of the estimates against λ."""
    error = float(np.median(off_by(networks)))
    note = f"over {len(networks)} networks, at most {percent(off_by(networks).max())}"
    return Outcome("", relative_error=error, bar=TENTH, passed=error <= TENTH, note=note)


def rank_correlation(networks: Sequence[Outcome]) -> Outcome:
    """Spearman's, of the estimates with λ."""
    pairs = np.array([(one.estimate, one.learning_coefficient) for one in networks], dtype=float)
    rho = float(spearmanr(pairs).statistic)
    return Outcome(
        "",
        exact=1.0,
        estimate=rho,
        relative_error=1 - rho,
        bar=1 - CORRELATION,
        passed=rho >= CORRELATION,
    )


def spread(factors: Sequence[Outcome]) -> Outcome:
    """Largest less smallest estimate over their mean, for the same network at several scales."""
    estimates, exact = (
        np.array([getattr(one, name) for one in factors]) for name in ("estimate", "exact")
    )
    found, owed = (float(np.ptp(values) / values.mean()) for values in (estimates, exact))
    note = (
        f"γ is the same and ε follows the stiffness; that of the exact answers is {percent(owed)}"
    )
    return Outcome("", relative_error=found, bar=SPREAD, passed=found <= SPREAD, note=note)


SUMMARIES = (
    *(
        Summary(
            f"{dashed(widths)}, rank {rank}: told apart",
            f"{dashed(widths)}, rank {rank}",
            told_apart,
        )
        for widths, rank, _ in PAIRS
    ),
    Summary("deep linear: median error against λ", "deep linear", median_error),
    Summary("deep linear: rank correlation with λ", "deep linear", rank_correlation),
    Summary("layers rescaled: spread", "rescaling", spread),
)

# For readers -------------------------------------------------------------------------------------

HEADINGS = ("Row", "nβ", "γ", "λ", "Exact", "Estimate", "SE", "Off by", "Bar", "s", "")


def cells(outcome: Outcome) -> tuple[str, ...]:
    """A row of a printed table, under `HEADINGS`.

    Examples:
        >>> cells(Outcome("½w²", nbeta=10.0, exact=0.5, estimate=0.51, passed=True))
        ('½w²', '10', '–', '–', '0.5', '0.51', '–', '–', '–', '0', 'passed')
    """
    numbers = (
        outcome.nbeta,
        outcome.localization,
        outcome.learning_coefficient,
        outcome.exact,
        outcome.estimate,
        outcome.stderr,
    )
    shares = (outcome.relative_error, outcome.bar)
    return (
        outcome.name,
        *("–" if number is None else f"{number:.4g}" for number in numbers),
        *("–" if share is None else percent(share) for share in shares),
        f"{outcome.seconds:.0f}",
        "passed" if outcome.passed else "FAILED",
    )


def percent(share: float) -> str:
    """A share in words.

    Examples:
        >>> percent(0.0312)
        '3.1 %'
    """
    return f"{100 * share:.2g} %"


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Outcomes for a machine, in the order of the table; what is not a number is null."""
    names = [*(row.name for row in ROWS), *(summary.name for summary in SUMMARIES)]
    ordered = sorted(outcomes, key=lambda one: names.index(one.name))
    plain = [
        {
            "lambda" if key == "learning_coefficient" else key: None
            if isinstance(value, float) and not math.isfinite(value)
            else value
            for key, value in asdict(one).items()
        }
        for one in ordered
    ]
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
