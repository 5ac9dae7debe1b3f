"""What moved in a stage, and who agrees on its end, where both are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ontogeny.analysis.evidence import (
    MOST,
    Turn,
    ask_probes,
    compare,
    explain_stages,
    single_curves,
)
from ontogeny.records import Curve, Milestone, Stage

STEPS = np.unique(np.geomspace(1, 100_000, 120).astype(int))
X = np.log1p(STEPS)


def curve(name, *columns, items=("",)):
    values = np.stack(columns, axis=1)
    return Curve(name, "", STEPS, values, np.full_like(values, np.nan), items)


def stage(start, end):
    return Stage("S", start, end, "A", 0.0, 1.0, 0.1)


def step_at(place):
    return 1 / (1 + np.exp(-6 * (X - place)))


def test_the_item_that_moved_is_named_where_it_moved():
    noise = 0.002 * np.random.default_rng(0).normal(size=(3, len(X)))
    heads = curve(
        "score", 0.03 + 0.3 * step_at(4) + noise[0], 0.03 + noise[1], 0.03 + 0.2 * step_at(8)
        + noise[2], items=("1.1", "1.2", "2.1"),
    )  # fmt: skip
    early, late = explain_stages([stage(1, 400), stage(400, 100_000)], {"score": heads})
    assert [one.curve for one in early.evidence] == ["score 1.1"]
    assert [one.curve for one in late.evidence] == ["score 2.1"]
    assert early.evidence[0].before == pytest.approx(0.03, abs=0.01)
    assert early.evidence[0].after == pytest.approx(0.33, abs=0.01)
    assert early.formed.startswith("score 1.1 rose from 0.0")
    # A standard error is at least √2 of a hundredth of the range.
    assert early.evidence[0].z == pytest.approx(0.3 / (np.sqrt(2) * 0.003), rel=0.1)


def test_noise_is_no_evidence_and_few_curves_are_named():
    rng = np.random.default_rng(1)
    noisy = {f"n{k}": curve(f"n{k}", rng.normal(size=len(X))) for k in range(20)}
    (quiet,) = explain_stages([stage(1, 100_000)], noisy)
    assert quiet.evidence == ()
    assert quiet.formed == "Nothing else that was measured moved clearly."
    moving = {f"m{k}": curve(f"m{k}", (k + 1) * step_at(6)) for k in range(5)}
    (busy,) = explain_stages([stage(1, 100_000)], noisy | moving)
    assert len(busy.evidence) == MOST


def test_a_change_within_the_error_of_its_sample_is_no_evidence():
    smooth = curve("score", 0.5 * step_at(6))
    for error, clear in ((0.1, True), (0.2, False)):
        sampled = replace(smooth, stderr=np.full_like(smooth.values, error))
        (found,) = explain_stages([stage(1, 100_000)], {"score": sampled})
        assert bool(found.evidence) is clear


def test_what_made_most_of_its_way_comes_first():
    curves = {
        "far": curve("far", 100 * step_at(3) + 20 * step_at(8)),
        "near": curve("near", 0.1 * step_at(8)),
    }
    early, late = explain_stages([stage(1, 400), stage(400, 100_000)], curves)
    assert [one.curve for one in early.evidence] == ["far"]
    assert [one.curve for one in late.evidence] == ["near", "far"]


def test_of_several_items_the_longest_change_is_named():
    noise = 0.02 * np.random.default_rng(0).normal(size=len(X))
    heads = curve("score", 0.5 * step_at(6), step_at(6) + noise, items=("1.1", "1.2"))
    (found,) = explain_stages([stage(1, 100_000)], {"score": heads})
    assert [one.curve for one in found.evidence] == ["score 1.2"]


def test_the_scores_that_a_system_names_come_first():
    moving = {f"m{k}": curve(f"m{k}", step_at(6) + k * 1e-3 * X) for k in range(5)}
    telling = {"icl": curve("icl", -step_at(6)), "bigram": curve("bigram", 0 * X + 1)}
    (found,) = explain_stages([stage(1, 100_000)], moving | telling, ("bigram", "icl"))
    assert found.evidence[0].curve == "icl"
    assert found.formed.startswith("icl fell from ")
    assert len(found.evidence) == MOST


def test_one_failed_estimate_silences_no_evidence_and_names_are_words():
    values = -50 * step_at(6)
    values[20] = 1e15
    (found,) = explain_stages([stage(1, 100_000)], {"icl_score": curve("icl_score", values)})
    assert found.evidence[0].curve == "icl_score"
    assert found.formed.startswith("icl score fell from −")
    # √2 of a hundredth of a range of 50.
    assert found.evidence[0].z == pytest.approx(-100 / np.sqrt(2), rel=0.05)


def test_without_any_curve_the_sentence_says_so():
    (found,) = explain_stages([stage(1, 100_000)], {})
    assert found.formed == "There is no other curve to say what formed."


def test_an_item_that_hardly_moves_beside_others_is_not_named():
    pair = curve("weight", step_at(3), 1e-3 * step_at(9), items=("big", "small"))
    (late,) = explain_stages([stage(3000, 100_000)], {"weight": pair})
    assert late.evidence == ()


def test_gaps_and_short_curves_are_passed_over():
    gap = step_at(6)
    gap[::3] = np.nan
    short = Curve("short", "", STEPS[:3], np.ones((3, 1)), np.ones((3, 1)))
    empty = curve("empty", np.full(len(X), np.nan))
    curves = {"gap": curve("gap", gap), "short": short, "empty": empty}
    (found,) = explain_stages([stage(1, 100_000)], curves)
    assert [one.curve for one in found.evidence] == ["gap"]
    assert ask_probes(curves)[0] == ("gap",)


def test_probes_give_their_own_milestones():
    asked, turns = ask_probes({"bump": curve("bump", np.exp(-((X - 6) ** 2))), "rise": curve(
        "rise", step_at(5))})  # fmt: skip
    assert asked == ("bump", "rise")
    tops = [turn for turn in turns if turn.name == "bump" and turn.low <= np.expm1(6) <= turn.high]
    assert tops
    edges = [turn for turn in turns if turn.name == "rise"]
    assert len(edges) == 2  # it sets in and levels off, and has no milestone
    assert edges[0].high < np.expm1(5) < edges[1].low


def test_only_evidence_is_asked_if_there_are_stages():
    curves = {"a": curve("a", step_at(5)), "b": curve("b", 0 * X)}
    stages = explain_stages([stage(1, 100_000)], curves)
    assert ask_probes(single_curves(curves), stages)[0] == ("a",)


def test_agreement_needs_one_within_the_interval_of_the_other():
    ends = [Milestone(100, 80, 130, 0.9, "maximum"), Milestone(900, None, None, None, "plateau")]
    turns = [Turn("in", 120, 119, 121), Turn("around", 50, 40, 110), Turn("beside", 140, 125, 150),
             Turn("late", 950, 800, 1000)]  # fmt: skip
    assert [one.agrees for one in compare(ends, turns)] == [("in", "around"), ("late",)]
