from dataclasses import replace

import numpy as np

from ontogeny.views.marks import INK
from ontogeny.views.panels import MOST_LINES, PANELS, measured_panels, plot_metrics
from tests.views.reports import EMPTY, STEPS, curve, full, stages_between

N = len(STEPS)


def numbered(n):
    return tuple(str(i) for i in range(1, n + 1))


def report_of(*curves, stages=()):
    return replace(EMPTY, curves={c.name: c for c in curves}, stages=stages)


def keys(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def test_panels_without_a_curve_are_left_out_and_unnamed_curves_come_last():
    titles = [panel.title for panel in measured_panels(full())]
    assert titles == ["In-context learning score", "My metric"]


def test_the_curves_of_figure_one_are_not_drawn_again():
    report = full()
    only = replace(report, curves={name: report.curves[name] for name in ("loss", "llc")})
    assert not plot_metrics(only).data


def test_no_curve_is_named_by_two_panels():
    names = [name for panel in PANELS for name in (*panel.curves, panel.behind) if name]
    assert len(names) == len(set(names))


def test_every_value_of_every_curve_is_drawn():
    rng = np.random.default_rng(1)
    names = [name for panel in PANELS if not panel.squared_shares for name in panel.curves]
    curves = [curve(name, rng.normal(size=(N, 3)), numbered(3)) for name in [*names, "mine"]]
    figure = plot_metrics(report_of(*curves))
    drawn = np.concatenate([np.asarray(trace.y, float) for trace in figure.data])
    measured = np.concatenate([c.values.ravel() for c in curves])
    assert np.array_equal(np.sort(drawn), np.sort(measured))


def test_singular_values_are_shown_as_shares_of_their_squares():
    values = np.tile([3.0, 4.0], (N, 1))
    figure = plot_metrics(report_of(curve("token_singular_values", values, ("1", "2"))))
    assert np.allclose([trace.y[0] for trace in figure.data], [9 / 25, 16 / 25])


def test_bands_stand_behind_every_panel():
    stages = stages_between([100, 2000], "AB")
    figure = plot_metrics(report_of(curve("a", STEPS), curve("b", STEPS), stages=stages))
    assert [(s.xref, s.x0, s.x1) for s in figure.layout.shapes] == [
        ("x", 0.5, 100),
        ("x", 100, 2000),
        ("x2", 0.5, 100),
        ("x2", 100, 2000),
    ]


def test_a_logarithmic_panel_stays_linear_where_a_value_has_no_logarithm():
    fine, zero = np.full(N, 2.0), np.arange(N) * 1.0
    gappy = np.where(np.arange(N) == 3, np.nan, fine)
    kinds = [
        plot_metrics(report_of(curve("distance_to_ridge", v))).layout.yaxis.type
        for v in (fine, gappy, zero)
    ]
    assert kinds == ["log", "log", None]


def test_heads_have_a_colour_each_and_a_dash_by_layer():
    items = ("1.1", "1.2", "2.1", "2.2")
    figure = plot_metrics(report_of(curve("self_attention", np.zeros((N, 4)), items)))
    lines = [trace.line for trace in figure.data]
    assert lines[0].color == lines[2].color != lines[1].color == lines[3].color
    assert lines[0].dash == lines[1].dash != lines[2].dash == lines[3].dash
    assert keys(figure)[0].count("dashed") == 1


def test_many_heads_and_positions_run_along_one_scale():
    items = tuple(f"{layer}.{head}" for layer in "123" for head in "123")
    figure = plot_metrics(report_of(curve("self_attention", np.zeros((N, 9)), items)))
    assert len({trace.line.color for trace in figure.data}) == 9


def test_the_mean_is_black_among_its_positions():
    figure = plot_metrics(
        report_of(
            curve("prediction_norm", np.ones(N)),
            curve("prediction_norm_by_position", np.ones((N, 8)), numbered(8)),
        )
    )
    colors = [trace.line.color for trace in figure.data]
    assert colors[0] == INK
    assert INK not in colors[1:]
    assert all(f"color:{color}" in keys(figure)[0] for color in colors)


def test_very_many_items_are_one_bundle_of_lines():
    n = MOST_LINES + 1
    values = np.arange(N * n).reshape(N, n)
    figure = plot_metrics(report_of(curve("many", values, numbered(n))))
    (bundle,) = figure.data
    y = np.asarray(bundle.y, float).reshape(n, N + 1)
    np.testing.assert_allclose(y[:, :N], values.T, rtol=1e-3)  # four digits are drawn
    assert np.isnan(y[:, N]).all()
    assert f"{n} lines" in keys(figure)[0]


def test_scores_by_position_stand_faintly_behind_those_of_heads():
    heads = curve("self_attention", np.ones((N, 2)), ("1.1", "1.2"))
    behind = curve("self_attention_by_position", np.ones((N, 6)), numbered(6))
    assert len(measured_panels(report_of(heads, behind))) == 1
    assert plot_metrics(report_of(heads, behind)).data[0].opacity == 0.1
    assert len(measured_panels(report_of(behind))) == 1  # and alone, in a panel of their own


def test_long_labels_are_cut_to_their_ends():
    items = tuple(f"a long name {i}" for i in range(9))
    key = keys(plot_metrics(report_of(curve("x", np.ones((N, 9)), items))))[0]
    assert "long name 0" in key
    assert "long name 8" in key
    assert "long name 4" not in key


def test_names_are_shown_letter_by_letter():
    assert "A&lt;b&gt;c" in keys(plot_metrics(report_of(curve("a<b>c", np.ones(N)))))[0]


def test_a_narrow_picture_has_the_same_traces_in_one_column():
    wide, narrow = plot_metrics(full(), 1060), plot_metrics(full(), 330)
    assert wide.data == narrow.data
    assert len({axis.domain for axis in narrow.select_xaxes()}) == 1
