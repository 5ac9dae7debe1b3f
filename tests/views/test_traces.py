import json
from dataclasses import replace

import numpy as np
import pytest
from plotly.utils import PlotlyJSONEncoder

from ontogeny.analysis.llc import estimate_llc
from ontogeny.views.marks import INK, VERDICT_COLORS
from ontogeny.views.traces import MOST_POINTS, plot_traces
from tests.views.reports import EMPTY, chains_at, full

RNG = np.random.default_rng(0)
RISES = RNG.normal(5.0, 1.0, (3, 40))


def picture(*chains, width=1060, **more):
    return plot_traces(replace(EMPTY, traces=chains, **more), width)


def of_panel(figure, number):
    axis = f"y{number}" if number > 1 else "y"
    return [trace for trace in figure.data if trace.yaxis == axis]


def chain_lines(figure, number):
    return [t for t in of_panel(figure, number) if (t.name or "").startswith("chain")]


def titles(figure):
    return [axis.title.text for axis in figure.select_yaxes() if axis.title.text]


def test_the_first_row_is_the_excess_of_each_chain():
    lines = chain_lines(picture(chains_at(3, RISES)), 1)
    assert [line.name for line in lines] == ["chain 0", "chain 1", "chain 2"]
    np.testing.assert_allclose([line.y for line in lines], RISES, rtol=1e-3)  # four digits
    assert list(lines[0].x) == list(range(40))


def test_a_running_estimate_starts_after_burn_in_and_ends_at_the_estimate():
    chains = chains_at(3, RISES, burn_in=10)
    figure, llc = picture(chains), estimate_llc([chains])
    lines = chain_lines(figure, 2)
    (mean,) = [trace for trace in of_panel(figure, 2) if trace.name == "all chains"]
    (band,) = [trace for trace in of_panel(figure, 2) if trace.fill == "toself"]
    assert {line.x[0] for line in [*lines, mean]} == {10}
    np.testing.assert_allclose([line.y[-1] for line in lines], llc.chains[0], rtol=1e-3)
    np.testing.assert_allclose(mean.y[-1], llc.values[0, 0], rtol=1e-3)
    ends = llc.values[0, 0] + llc.stderr[0, 0] * np.array([-1, 1])
    np.testing.assert_allclose([min(band.y), max(band.y)], ends)
    assert (mean.line.color, band.fillcolor) == (INK, INK)


def test_a_chain_that_is_paired_now_and_then_has_a_point_for_each_pair():
    chains = chains_at(3, RISES)
    chains = replace(chains, initial_losses=chains.initial_losses[:, ::5])
    assert list(chain_lines(picture(chains), 1)[0].x) == list(range(0, 40, 5))


def test_distances_start_at_the_checkpoint_unless_groups_start_apart():
    distances = np.array([[1.0, 2.0], [1.5, 2.5], [1.0, 3.0], [1.0, 1.0]])
    chains = chains_at(3, np.ones((4, 40)), distances=distances)
    (line, *_) = chain_lines(picture(chains), 3)
    assert (list(line.x), list(line.y)) == ([0, 20, 40], [0, 1, 2])
    (line, *_) = chain_lines(picture(replace(chains, groups=2)), 3)
    assert (list(line.x), list(line.y)) == ([20, 40], [1, 2])


def test_without_distances_there_are_two_rows():
    known = chains_at(9, RISES, distances=np.ones((3, 2)))
    assert len(titles(picture(chains_at(3, RISES)))) == 2
    assert len(titles(picture(known))) == 3
    figure = picture(chains_at(3, RISES), known)  # and an empty panel where only one has them
    assert not of_panel(figure, 5)
    assert len(chain_lines(figure, 6)) == 3


def test_burn_in_is_shaded_in_every_panel():
    figure = picture(chains_at(3, RISES, burn_in=10), chains_at(9, RISES, burn_in=20))
    shades = [(shape.xref, shape.x0, shape.x1) for shape in figure.layout.shapes]
    assert shades == [("x", 0, 10), ("x2", 0, 20), ("x3", 0, 10), ("x4", 0, 20)]


def test_checkpoints_have_their_own_number_of_draws():
    figure = picture(chains_at(3, RISES), chains_at(9, RISES[:, :20]))
    assert [axis.range[1] for axis in figure.select_xaxes()] == [40, 20, 40, 20]


def test_a_failed_chain_is_red_ends_where_it_failed_and_spoils_no_axis():
    rises = RISES.copy()
    rises[1, 10:20] = np.geomspace(10, 1e12, 10)
    rises[1, 20:] = np.nan
    figure = picture(chains_at(3, rises))
    for panel in (1, 2):
        line = chain_lines(figure, panel)[1]
        assert line.name == "chain 1, failed"
        assert line.line.color == VERDICT_COLORS["failed"]
        assert np.isfinite(np.array(line.y[:20], float)).all()
        assert set(line.y[20:]) == {None}
    assert figure.layout.yaxis.range[1] < 12
    assert figure.layout.yaxis2.range[1] < 12


def test_where_every_chain_failed_there_is_no_mean():
    figure = picture(chains_at(3, np.where(np.arange(40) < 20, RISES, np.nan)))
    assert {trace.name for trace in figure.data} == {f"chain {i}, failed" for i in range(3)}


def test_chains_that_failed_at_once_make_a_picture():
    figure = picture(chains_at(3, np.full((2, 8), np.nan)))
    assert all(value is None for trace in figure.data for value in trace.y)


def test_values_that_never_change_have_room_around_them():
    low, high = picture(chains_at(3, np.zeros((1, 8)))).layout.yaxis.range
    assert low < 0 < high


@pytest.mark.parametrize("draws", [MOST_POINTS, 5000])
def test_long_chains_are_thinned_from_their_first_draw_on(draws):
    line = chain_lines(picture(chains_at(3, np.ones((1, draws)))), 1)[0]
    assert line.x[0] == 0
    assert MOST_POINTS / 2 < len(line.x) <= MOST_POINTS


def test_columns_are_named_by_their_step_and_its_verdict():
    report = full()
    first, second = (note.text for note in plot_traces(report).layout.annotations)
    assert "step 0" in first
    assert "ok" in first
    assert "step 50" in second
    assert "suspect" in second
    assert VERDICT_COLORS["suspect"] in second


def test_a_narrow_picture_has_the_same_traces_in_one_column_with_a_title_each():
    chains = [chains_at(step, RISES, distances=np.ones((3, 2))) for step in (3, 1016, 9999)]
    wide, narrow = picture(*chains), picture(*chains, width=330)

    def traces(figure):
        return json.dumps(figure.to_plotly_json()["data"], cls=PlotlyJSONEncoder)

    assert traces(wide) == traces(narrow)
    assert len(wide.layout.annotations) == 3
    assert "step 1,016" in wide.layout.annotations[1].text
    assert len(narrow.layout.annotations) == 9
    assert len({axis.domain for axis in narrow.select_xaxes()}) == 1
