"""Forms lifted to outputs, and what stands at the ends of them."""

import math

import numpy as np
import pytest

from ontogeny.analysis.dynamics import essential_dynamics
from ontogeny.analysis.lifting import (
    Sample,
    begins_with_space,
    describe_outputs,
    describe_samples,
    distances_to_references,
    is_induction,
    lift,
)
from ontogeny.records import Form, Outputs, References


def test_a_form_at_a_checkpoint_lifts_to_its_outputs():
    values = np.random.default_rng(0).normal(size=(9, 3)) @ np.random.default_rng(1).normal(
        size=(3, 40)
    )
    trajectory = essential_dynamics(Outputs(np.arange(9), values), components=3)
    form = Form(4, 4, 4, tuple(trajectory.scores[4]), 1.0)
    np.testing.assert_allclose(lift(form, trajectory), values[4], atol=1e-9)
    origin = Form(4, 4, 4, (0.0, 0.0), 1.0)
    np.testing.assert_allclose(lift(origin, trajectory), values.mean(axis=0), atol=1e-9)


def test_distances_count_only_what_a_predictor_says():
    values = np.array([[np.nan, 1.0, 1.0], [0.0, 0.0, 0.0], [np.nan, np.nan, np.nan]])
    known = References(("x",), np.arange(3)[:, None], ("ridge", "zero", "mute"), values)
    found = distances_to_references(np.array([9.0, 1.0, 2.0]), known)
    assert list(found) == ["ridge", "zero"]
    assert found["ridge"] == pytest.approx(0.5**0.5)
    assert found["zero"] == pytest.approx((86 / 3) ** 0.5)


def samples_of(tokens):
    return [Sample(tuple(tokens[:i]), tokens[i]) for i in range(1, len(tokens))]


def test_beginnings_of_words_and_induction_are_told_from_text():
    tokens = [" the", " cat", " s", "at", ",", " the", " cat"]
    samples = samples_of(tokens)
    assert [begins_with_space(one) for one in samples] == [True, True, False, False, True, True]
    assert [is_induction(one) for one in samples] == [False, False, False, False, False, True]
    assert not is_induction(Sample((), "x"))
    assert begins_with_space(Sample((), "Ġcat"))


def test_what_stands_at_the_ends_is_counted_as_by_hand():
    """30 of 120 samples are induction: 15 of the 20 highest, none of the 20 lowest."""
    induction, other = Sample(("A", "B", "A"), "B"), Sample(("A", "B"), " C")
    samples = [induction] * 15 + [other] * 90 + [induction] * 15
    values = np.concatenate([np.full(15, 9.0), -np.arange(90.0), np.full(15, 0.5)])
    values[15:20] = 8.0
    extremes = describe_samples(values, samples)
    assert set(extremes.highest) == set(range(20))
    assert set(extremes.lowest) == set(range(85, 105))
    spaces, found = extremes.enriched_highest
    assert (found.kind, found.found, found.ratio) == ("induction", 15, 3.0)
    tail = sum(math.comb(30, k) * math.comb(90, 20 - k) for k in range(15, 21))
    assert found.p_value == pytest.approx(tail / math.comb(120, 20), rel=1e-9)
    assert (spaces.kind, spaces.found) == ("begins with a space", 5)
    assert extremes.enriched_lowest[1].ratio == 0
    assert extremes.enriched_lowest[1].p_value == 1


def test_a_kind_that_is_nowhere_has_no_ratio():
    extremes = describe_samples(np.arange(50.0), [Sample(("A",), "B")] * 50)
    assert math.isnan(extremes.enriched_highest[0].ratio)
    assert extremes.enriched_highest[0].p_value == 1


def test_a_hundredth_of_many_samples_is_looked_at():
    extremes = describe_samples(np.arange(5000.0), [Sample(("A",), "B")] * 5000)
    assert extremes.highest.tolist() == list(range(4999, 4949, -1))


def test_samples_that_do_not_fit_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="3 values and 40 samples"):
        describe_samples(np.zeros(3), [Sample((), "x")] * 40)
    with pytest.raises(ValueError, match="extremes need 40 samples or more, not 39"):
        describe_samples(np.zeros(39), [Sample((), "x")] * 39)


def text_labels(n=60):
    """Outputs of which every third completes an induction, and the first ten begin a word."""
    following = np.where(np.arange(n) < 10, 1, 0)
    labels = np.stack([np.zeros(n, int), following, np.arange(n) % 3 == 0], axis=1)
    return References(
        ("token", "next_token", "induction"), labels, (), np.empty((0, n)), ("a", " b")
    )


def test_labels_say_what_outputs_have_in_common():
    references = text_labels()
    extremes = describe_outputs(-np.arange(60.0), references)
    spaces, found = extremes.enriched_highest
    assert (spaces.kind, spaces.found, spaces.ratio) == ("begins with a space", 10, 3.0)
    assert (found.kind, found.found) == ("induction", 7)
    assert extremes.enriched_lowest[0].found == 0


def test_outputs_without_tokens_have_no_kinds():
    known = References(("position",), np.zeros((60, 1), int), (), np.empty((0, 60)))
    with pytest.raises(ValueError, match="are not those of a text"):
        describe_outputs(np.zeros(60), known)
