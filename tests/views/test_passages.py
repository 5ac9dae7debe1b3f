"""Text is coloured by the change of what the network makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from ontogeny.records import Passages
from ontogeny.views.passages import MOST_TOKENS, shown_passages
from ontogeny.views.report import render_report
from tests.views.reports import EMPTY, full, stages_between

VOCABULARY = ("a", " b", "\n")
TOKENS = np.array([[0, 1, 2, 0, 1, 0]])


def at(step, losses, tokens=TOKENS):
    return Passages(step, VOCABULARY, tokens, np.asarray(losses, dtype=float))


@pytest.fixture
def report():
    """Two stages: in the first all tokens are learnt, in the second one is and one is forgotten."""
    rows = [[[3.0] * 5], [[1.0] * 5], [[1.0, 1.0, 1.0, 0.0, 1.5]]]
    passages = tuple(at(step, losses) for step, losses in zip((0, 20, 500), rows, strict=True))
    return replace(EMPTY, stages=stages_between([20, 500], "AB"), passages=passages)


def test_tokens_have_the_change_of_their_log_probability(report):
    first, second = shown_passages(report)
    assert (first.start, first.end, second.end) == ("0", "20", "500")
    assert [token.change for token in first.rows[0]] == ["", *["+2.00"] * 5]
    assert [token.change for token in second.rows[0]][-2:] == ["+1.00", "−0.50"]
    assert [token.text for token in first.rows[0]] == ["a", " b", "↵", "a", " b", "a"]


def test_better_and_worse_have_their_colours_on_one_scale(report):
    first, second = shown_passages(report)
    assert first.rows[0][0].color == "transparent"
    assert first.rows[0][1].color == "rgba(222, 96, 60, 1.00)"
    assert second.rows[0][-2].color == "rgba(222, 96, 60, 0.50)"
    assert second.rows[0][-1].color == "rgba(62, 122, 190, 0.25)"


def test_what_stood_behind_the_same_token_before_is_marked(report):
    (row,) = shown_passages(report)[0].rows
    assert [token.seen for token in row] == [False, False, False, False, True, False]


def test_long_texts_are_cut_at_whole_rows():
    tokens = np.zeros((9, MOST_TOKENS // 4), dtype=int)
    losses = np.ones((9, tokens.shape[1] - 1))
    report = replace(
        EMPTY,
        stages=stages_between([9], "A"),
        passages=(at(0, losses, tokens), at(9, 0 * losses, tokens)),
    )
    assert len(shown_passages(report)[0].rows) == 4


def test_nothing_changed_is_no_colour():
    same = at(0, [[1.0] * 5])
    report = replace(EMPTY, stages=stages_between([9], "A"), passages=(same, replace(same, step=9)))
    (row,) = shown_passages(report)[0].rows
    assert all(token.color.endswith(", 0.00)") for token in row[1:])


def test_the_page_shows_text_where_there_is_some(report):
    page = render_report(report)
    assert "<h2>Text</h2>" in page
    assert 'class="seen" title="+1.00"' in page
    assert "<h2>Text</h2>" not in render_report(full())
