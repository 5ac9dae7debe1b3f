"""What formed in a stage, and which other probes see its ends: a second opinion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.changepoints import find_changepoints
from ontogeny.analysis.curves import FEWEST_POINTS, smooth_curve
from ontogeny.analysis.milestones import find_milestones, holds
from ontogeny.analysis.robust import running_median, scatter
from ontogeny.records import Curve, Evidence, Milestone, Stage

# A curve moved if it changed by this many standard errors.
MOVED = 5.0
# A change of less than this share of the whole range of a curve is no movement, however precise.
FINEST = 0.01
# Metrics see one sample at all checkpoints, so that most of its error is no error of a change.
SHARED = 2.5
# How many curves are named for each stage.
MOST = 3
# A curve with more items is a table to look up, such as one row for each head and position.
MOST_ITEMS = 32
# How many probes are asked at most for a second opinion.
PROBES = 6
# How many functions are drawn, and points smoothed, for each: enough to tell where it turns.
DRAWS = 60
POINTS = 100


class Turn(NamedTuple):
    """Where a probe has a milestone of its own, and between which steps it may be."""

    name: str
    step: int
    low: int
    high: int


def single_curves(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Every item of every curve as a curve of its own, under its name and item.

    Examples:
        >>> ones = np.ones((2, 2))
        >>> heads = Curve("score", "", np.arange(2), ones, ones, ("1.1", "1.2"))
        >>> list(single_curves({"score": heads}))
        ['score 1.1', 'score 1.2']
    """
    return {
        f"{name} {item}".strip(): replace(
            curve,
            name=f"{name} {item}".strip(),
            values=curve.values[:, [k]],
            stderr=curve.stderr[:, [k]],
            items=("",),
            chains=curve.chains if len(curve.items) == 1 else None,
        )
        for name, curve in curves.items()
        for k, item in enumerate(curve.items)
    }


def explain_stages(
    stages: Sequence[Stage], curves: Mapping[str, Curve], scores: Sequence[str] = ()
) -> tuple[Stage, ...]:
    """The stages with what moved most in each of them.

    The standard error of a change is √2 times the noise of the curve: how far its values lie from
    the lines through their neighbours, outliers apart, but at least 1 % of its range, and two
    fifths of its standard errors, since the sample behind them is the same at all checkpoints. Of a
    curve of several items only the one that moved most is named; a curve of more than 32 items is
    passed over.

    Args:
        stages: As found.
        curves: Measured curves that may say what formed; items are told apart.
        scores: Names of those that say it most plainly: where they moved, they come first.

    Returns:
        The stages, each with up to three pieces of evidence of at least five standard errors, what
        made most of its way there first, and a sentence; it says so where there is no curve at all.

    Examples:
        >>> steps = np.arange(1, 100)
        >>> score = np.where(steps > 50, 0.8, 0.1)[:, None]
        >>> curve = Curve("score", "", steps, score, np.full_like(score, np.nan))
        >>> ends = [(1, 40), (40, 99)]
        >>> stages = [Stage("", start, end, "A", 0.0, 1.0, 0.1) for start, end in ends]
        >>> [stage.formed for stage in explain_stages(stages, {"score": curve})]
        ['Nothing else that was measured moved clearly.', 'score rose from 0.1 to 0.8.']
    """
    curves = {name: one for name, one in curves.items() if len(one.items) <= MOST_ITEMS}
    ways = {name: _way(curve) for name, curve in curves.items()}
    noises = {name: _noise(curve, ways[name]) for name, curve in curves.items()}

    def order(moved: tuple[str, Evidence]) -> tuple[bool, float]:
        name, one = moved
        return name not in scores, -_length(one) / ways[name]

    explained = []
    for stage in stages:
        moved = [
            (name, max(found, key=_length))
            for name, curve in curves.items()
            if (found := list(_changes(stage, curve, noises[name])))
        ]
        evidence = tuple(one for _, one in sorted(moved, key=order)[:MOST])
        formed = _sentence(evidence) if curves else "There is no other curve to say what formed."
        explained.append(replace(stage, evidence=evidence, formed=formed))
    return tuple(explained)


def ask_probes(
    curves: Mapping[str, Curve], stages: Sequence[Stage] = ()
) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    """The milestones of other probes: by the rule of the learning coefficient, and changepoints.

    Args:
        curves: Probes of one item each.
        stages: If given, only the curves that are evidence of one of them are asked, the
            clearest first, six at most.

    Returns:
        Which probes were asked, their milestones that hold, and where they bend.
    """
    named = sorted((one for stage in stages for one in stage.evidence), key=lambda one: -abs(one.z))
    chosen = list(dict.fromkeys(one.curve for one in named))[:PROBES] if stages else list(curves)
    asked = [
        name
        for name in chosen
        if len(np.unique(curves[name].steps[np.isfinite(curves[name].values[:, 0])]))
        >= FEWEST_POINTS
    ]
    turns = []
    for name in asked:
        smooth = smooth_curve(curves[name], grid=200, draws=DRAWS, most_points=POINTS)
        held = [one for one in find_milestones(smooth) if holds(one)]
        turns += [Turn(name, one.step, one.low or one.step, one.high or one.step) for one in held]
        turns += [Turn(name, *bend) for bend in find_changepoints(smooth)]
    return tuple(asked), tuple(turns)


def compare(milestones: Sequence[Milestone], turns: Iterable[Turn]) -> tuple[Milestone, ...]:
    """The milestones with the names of the probes that agree.

    Two agree if one lies within the interval of the other.

    Examples:
        >>> top = Milestone(100, 80, 130, 0.9, "maximum")
        >>> compare([top], [Turn("loss", 120, 110, 125), Turn("norm", 9, 5, 12)])[0].agrees
        ('loss',)
    """
    turns = list(turns)
    return tuple(
        replace(
            one,
            agrees=tuple(
                dict.fromkeys(
                    turn.name
                    for turn in turns
                    if turn.low <= one.step <= turn.high
                    or (one.low or one.step) <= turn.step <= (one.high or one.step)
                )
            ),
        )
        for one in milestones
    )


def _noise(curve: Curve, way: float) -> Float[np.ndarray, " item"]:
    """How far the values of each item may be off, typically.

    How far they lie from the lines through their neighbours; at least a part of their standard
    error, and a share of the way of the curve. Single values far off count for neither.
    """
    items = [_finite(curve, k) for k in range(len(curve.items))]
    roughness = [scatter(x, rows) if len(x) >= FEWEST_POINTS else np.nan for x, rows in items]
    known = np.isfinite(curve.stderr)
    errors = [
        np.median(some[finite]) if finite.any() else 0.0
        for some, finite in zip(curve.stderr.T, known.T, strict=True)
    ]
    return np.maximum(np.maximum(roughness, np.array(errors) / SHARED), FINEST * way)


def _way(curve: Curve) -> float:
    """The range of the item with the largest range: items have one unit.

    Outliers do not count, nor do the ends, unless there is nothing else; 1 if nothing moves at all.
    """
    items = [_finite(curve, k) for k in range(len(curve.items))]
    ranges = [np.ptp(running_median(rows)[1:-1]) for _, rows in items if len(rows) > 2]
    whole = [np.ptp(rows) for _, rows in items if len(rows)]
    return float(max(ranges, default=0.0) or max(whole, default=0.0) or 1.0)


def _finite(
    curve: Curve, item: int
) -> tuple[Float[np.ndarray, " finite"], Float[np.ndarray, " finite"]]:
    """Times and values of an item, where it could be measured."""
    finite = np.isfinite(curve.values[:, item])
    return np.log1p(curve.steps[finite]), curve.values[finite, item]


def _length(change: Evidence) -> float:
    return abs(change.after - change.before)


def _changes(stage: Stage, curve: Curve, noises: Float[np.ndarray, " item"]) -> Iterator[Evidence]:
    """How far the items of a curve moved within a stage that moved clearly."""
    for k, item in enumerate(curve.items):
        if not np.isfinite(noises[k]):
            continue
        x, values = _finite(curve, k)
        # A single value far off, such as a failed estimate, is no movement.
        ends = np.interp(np.log1p([stage.start, stage.end]), x, running_median(values))
        before, after = ends.tolist()
        z = (after - before) / (np.sqrt(2) * noises[k])
        if abs(z) >= MOVED:
            yield Evidence(f"{curve.name} {item}".strip(), before, after, float(z))


def _sentence(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return "Nothing else that was measured moved clearly."
    parts = [
        f"{one.curve.replace('_', ' ')} {'rose' if one.z > 0 else 'fell'} "
        f"from {_number(one.before)} to {_number(one.after)}"
        for one in evidence
    ]
    before = f"{', '.join(parts[:-1])} and " if len(parts) > 1 else ""
    return f"{before}{parts[-1]}."


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
