"""Patterns and positions are drawn as they were recorded, each at its step."""

from dataclasses import replace

import numpy as np
import pytest

from ontogeny.records import Passages
from ontogeny.views.attention import (
    COLUMNS,
    GAP,
    MOST_HEADS,
    patterns_caption,
    plot_patterns,
    plot_positions,
)
from ontogeny.views.panels import plot_metrics
from ontogeny.views.report import render_report
from tests.views.reports import EMPTY, STEPS, TYPES, chains_at, curve, stages_between

TOKENS = np.array([[0, 1, 2, 0], [1, 1, 1, 1]])
PREVIOUS = np.eye(4, k=-1) + np.diag([1.0, 0, 0, 0])
UNIFORM = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]


def at(step, patterns):
    heads = tuple(f"1.{i + 1}" for i in range(len(patterns)))
    attention = np.array(patterns, dtype=np.float16)
    return Passages(step, ("a", "<b>", "\n"), TOKENS, np.ones((2, 3)), heads, attention)


def report_of(*passages):
    ends = [one.step for one in passages[1:]]
    return replace(EMPTY, stages=stages_between(ends, TYPES[: len(ends)]), passages=passages)


@pytest.fixture
def report():
    """The first of two heads learns in the first stage to attend to the previous token."""
    return report_of(
        at(0, [UNIFORM, UNIFORM]), at(20, [PREVIOUS, UNIFORM]), at(500, [PREVIOUS, UNIFORM])
    )


def tile(figure, end, head):
    """One pattern, cut out of the picture."""
    band, column = divmod(head, COLUMNS)
    z, size = np.array(figure.data[band].z, dtype=object), 4 + GAP
    return z[end * size :, column * size :][:4, :4].astype(float) / 100


def test_each_pattern_stands_at_its_head_and_step(report):
    figure = plot_patterns(report)
    assert np.allclose(tile(figure, 0, 0), UNIFORM, atol=0.005)
    assert np.array_equal(tile(figure, 1, 0), PREVIOUS)
    assert np.array_equal(tile(figure, 2, 0), PREVIOUS)
    assert np.allclose(tile(figure, 2, 1), UNIFORM, atol=0.005)
    shown = sum(value is not None for row in figure.data[0].z for value in row)
    assert shown == 3 * 2 * 16
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 100)


def test_places_say_which_token_of_which_head_and_step(report):
    trace = plot_patterns(report).data[0]
    assert trace.x[:4] == tuple(
        f"head 1.1, key {t}" for t in ("1: a", "2: &lt;b&gt;", "3: ↵", "4: a")
    )
    assert trace.y[4 + GAP] == "step 20, query 1: a"
    assert len(set(trace.x)) == len(trace.x) == len(trace.z[0])
    assert len(set(trace.y)) == len(trace.y) == len(trace.z)


def test_heads_and_steps_are_named(report):
    texts = [label.text for label in plot_patterns(report).layout.annotations]
    assert texts == ["head 1.1", "head 1.2", "step 0", "step 20", "step 500"]
    narrow = [label.text for label in plot_patterns(report, 330).layout.annotations]
    assert narrow == ["1.1", "1.2", "0", "20", "500"]


def test_further_heads_stand_below():
    patterns = [UNIFORM] * (COLUMNS + 1) + [PREVIOUS]
    figure = plot_patterns(report_of(at(0, patterns), at(9, patterns)))
    assert len(figure.data) == 2
    assert np.array_equal(tile(figure, 1, COLUMNS + 1), PREVIOUS)


def test_of_many_heads_those_that_changed_are_shown():
    before, after = [UNIFORM] * 40, [UNIFORM] * 40
    after[30] = PREVIOUS
    report = report_of(at(0, before), at(9, after))
    figure = plot_patterns(report)
    assert len(figure.data) * COLUMNS == MOST_HEADS
    assert np.array_equal(tile(figure, 1, MOST_HEADS - 1), PREVIOUS)
    assert "the 24 of 40 heads whose patterns changed most attend to" in patterns_caption(report)


def test_patterns_that_are_not_finite_are_empty(report):
    broken = replace(report.passages[2], attention=np.full((2, 4, 4), np.nan))
    figure = plot_patterns(replace(report, passages=(*report.passages[:2], broken)))
    assert not tile(figure, 2, 0).any()


def test_two_ends_at_one_checkpoint_are_one_row(report):
    first, last = report.passages[0], report.passages[2]
    figure = plot_patterns(replace(report, passages=(first, last, last)))
    assert len(figure.data[0].y) == 2 * (4 + GAP)


def test_the_page_shows_attention_where_it_was_recorded(report):
    older = [replace(one, heads=(), attention=None) for one in report.passages]
    traces = (chains_at(0, np.linspace([0, 0], [1, 2], 8).T),)
    page = render_report(replace(report, traces=traces))
    assert "<h2>Attention</h2>" in page
    assert "<b>Figure 5.</b> What each head attends to in the first row of text." in page
    assert "<b>Figure 6.</b> The chains" in page
    page = render_report(replace(report, traces=traces, passages=tuple(older)))
    assert "<h2>Attention</h2>" not in page
    assert "<b>Figure 5.</b> The chains" in page


@pytest.fixture
def placed():
    """Two components of three positions: the first grows in proportion to the step."""
    items = ("1.1", "1.2", "1.3", "2.1", "2.2", "2.3")
    values = np.outer(STEPS, [1, 0, -1, 0, 0, 0]) + np.array([0, 0, 0, 0.5, -1, 0.5])
    curves = {
        "position_component": curve("position_component", values, items),
        "position_variance_ratio": curve(
            "position_variance_ratio", np.tile([0.75, 0.25], (len(STEPS), 1)), ("1", "2")
        ),
    }
    return replace(EMPTY, curves=curves, stages=stages_between([21, 500], "AB"))


def test_components_stand_over_positions_at_the_ends_of_stages(placed):
    figure = plot_positions(placed)
    assert [trace.name for trace in figure.data] == 2 * ["step 0", "step 20", "step 500"]
    assert [trace.showlegend for trace in figure.data] == 3 * [True] + 3 * [False]
    assert [tuple(trace.y) for trace in figure.data[:3]] == [
        (0, 0, 0),
        (20, 0, -20),
        (500, 0, -500),
    ]
    assert all(tuple(trace.y) == (0.5, -1, 0.5) for trace in figure.data[3:])
    assert all(tuple(trace.x) == (1, 2, 3) for trace in figure.data)
    assert [label.text for label in figure.layout.annotations] == [
        "<b>Component 1</b>, 75 % of the variance at the end",
        "<b>Component 2</b>, 25 % of the variance at the end",
    ]


def test_without_stages_the_first_and_the_last_step_are_shown(placed):
    names = [trace.name for trace in plot_positions(replace(placed, stages=())).data]
    assert names[:2] == ["step 0", "step 2,000"]
    assert len(names) == 4


def test_steps_without_components_are_passed_over(placed):
    curves = {name: replace(one, values=one.values.copy()) for name, one in placed.curves.items()}
    for one in curves.values():
        one.values[[0, -1]] = np.nan
    figure = plot_positions(replace(placed, curves=curves))
    assert [trace.name for trace in figure.data[:3]] == ["step 1", "step 20", "step 500"]
    for one in curves.values():
        one.values[:] = np.nan
    assert not plot_positions(replace(placed, curves=curves)).data


def test_components_of_positions_are_not_drawn_over_training_too(placed):
    drawn = np.concatenate([np.asarray(trace.y, float) for trace in plot_metrics(placed).data])
    assert set(drawn) == {0.75, 0.25}
    assert 'id="figure-positions"' in render_report(placed)
    assert 'id="figure-positions"' not in render_report(EMPTY)
