"""What formed in a stage, and which other probes see its ends: a second opinion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ontogeny.analysis.curves import FEWEST_POINTS, smooth_curve
from ontogeny.analysis.milestones import find_milestones, holds
from ontogeny.records import Curve, Evidence, Milestone, Stage

# A curve moved if it changed by this many standard errors.
MOVED = 5.0
# A change of less than this share of the whole range of a curve is no movement, however precise.
FINEST = 0.01
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
    the lines through their neighbours, but at least 1 % of its range. Of a curve of several items
    only the one that moved most is named; a curve of more than 32 items is passed over.

    Args:
        stages: As found.
        curves: Measured curves that may say what formed; items are told apart.
        scores: Names of those that say it most plainly: where they moved, they come first, in this
            order.

    Returns:
        The stages, each with up to three pieces of evidence of at least five standard errors, the
        clearest first, and a sentence.

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
    noises = {name: _noise(curve) for name, curve in curves.items()}
    rank = {name: place for place, name in enumerate(scores)}
    explained = []
    for stage in stages:
        moved = [
            (rank.get(name, len(rank)), max(found, key=lambda one: abs(one.z)))
            for name, curve in curves.items()
            if (found := list(_changes(stage, curve, noises[name])))
        ]
        clear = [(place, one) for place, one in moved if abs(one.z) >= MOVED]
        ranked = sorted(clear, key=lambda pair: (pair[0], -abs(pair[1].z)))
        evidence = tuple(one for _, one in ranked[:MOST])
        explained.append(replace(stage, evidence=evidence, formed=_sentence(evidence)))
    return tuple(explained)


def ask_probes(
    curves: Mapping[str, Curve], stages: Sequence[Stage] = ()
) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
    """The milestones of other probes, by the same rule as those of the learning coefficient.

    Args:
        curves: Probes of one item each.
        stages: If given, only the curves that are evidence of one of them are asked, the
            clearest first, six at most.

    Returns:
        Which probes were asked, and their milestones that hold.
    """
    named = sorted((one for stage in stages for one in stage.evidence), key=lambda one: -abs(one.z))
    chosen = list(dict.fromkeys(one.curve for one in named))[:PROBES] if stages else list(curves)
    asked = [
        name
        for name in chosen
        if len(np.unique(curves[name].steps[np.isfinite(curves[name].values[:, 0])]))
        >= FEWEST_POINTS
    ]
    turns = [
        Turn(name, one.step, one.low, one.high)
        for name in asked
        for one in find_milestones(
            smooth_curve(curves[name], grid=200, draws=DRAWS, most_points=POINTS)
        )
        if holds(one) and one.low is not None and one.high is not None
    ]
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


def _noise(curve: Curve) -> Float[np.ndarray, " item"]:
    """How far the values of each item lie from the lines through their neighbours, typically.

    At least a share of the range of the item with the largest range: items have one unit.
    """
    roughness = np.array([_roughness(curve, k) for k in range(len(curve.items))])
    finite = curve.values[np.isfinite(curve.values).all(axis=1)]
    widest = float(np.ptp(finite, axis=0).max()) if len(finite) else 0.0
    noise: np.ndarray = np.maximum(roughness, max(FINEST * widest, float(np.finfo(float).tiny)))
    return noise


def _roughness(curve: Curve, item: int) -> float:
    finite = np.isfinite(curve.values[:, item])
    x, values = np.log1p(curve.steps[finite]), curve.values[finite, item]
    if len(x) < FEWEST_POINTS:
        return np.nan
    gaps = np.diff(x)
    share = gaps[:-1] / np.maximum(gaps[:-1] + gaps[1:], np.finfo(float).tiny)
    line = (1 - share) * values[:-2] + share * values[2:]
    away = np.abs(values[1:-1] - line) / np.sqrt(1 + share**2 + (1 - share) ** 2)
    return 1.4826 * float(np.median(away))


def _changes(stage: Stage, curve: Curve, noises: Float[np.ndarray, " item"]) -> Iterator[Evidence]:
    """How far each item of a curve moved within a stage."""
    for k, item in enumerate(curve.items):
        finite = np.isfinite(curve.values[:, k])
        if not np.isfinite(noises[k]):
            continue
        x, padded = np.log1p(curve.steps[finite]), np.pad(curve.values[finite, k], 1, mode="edge")
        # A single value far off, such as a failed estimate, is no movement.
        values = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), axis=1)
        before, after = np.interp(np.log1p([stage.start, stage.end]), x, values).tolist()
        z = (after - before) / (np.sqrt(2) * noises[k])
        yield Evidence(f"{curve.name} {item}".strip(), before, after, float(z))


def _sentence(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return "Nothing else that was measured moved clearly."
    parts = [
        f"{one.curve} {'rose' if one.z > 0 else 'fell'} from {one.before:.3g} to {one.after:.3g}"
        for one in evidence
    ]
    before = f"{', '.join(parts[:-1])} and " if len(parts) > 1 else ""
    return f"{before}{parts[-1]}."
