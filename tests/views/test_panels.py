from dataclasses import replace

import numpy as np

from ontogeny.views.catalog import MOST_BANDS, PANELS, measured_panels
from ontogeny.views.marks import INK
from ontogeny.views.panels import MOST_LINES, plot_metrics
from tests.views.reports import EMPTY, STEPS, curve, full, stages_between

N = len(STEPS)


def numbered(n):
    return tuple(str(i) for i in range(1, n + 1))


def report_of(*curves, stages=()):
    return replace(EMPTY, curves={c.name: c for c in curves}, stages=stages)


def keys(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def test_the_curves_of_figure_one_are_not_drawn_again():
    report = full()
    only = replace(report, curves={name: report.curves[name] for name in ("loss", "llc")})
    assert not plot_metrics(only).data


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


# Refined learning coefficients

HEADS = ("head.1.1", "head.1.2", "head.2.1", "head.2.2")


def refined(values, items=HEADS, name="llc_by_component", stderr=0.5):
    return report_of(curve(name, values, items, stderr))


def bands(figure):
    return [trace for trace in figure.data if trace.fill == "toself"]


def lines(figure):
    return [trace for trace in figure.data if trace.fill is None]


def test_heads_look_as_in_the_panels_of_attention():
    attention = plot_metrics(
        report_of(curve("self_attention", np.zeros((N, 4)), ("1.1", "1.2", "2.1", "2.2")))
    )
    figure = plot_metrics(refined(np.zeros((N, 4))))
    assert [(t.name, t.line.color, t.line.dash) for t in lines(figure)] == [
        (t.name, t.line.color, t.line.dash) for t in attention.data
    ]


def test_each_refined_estimate_has_the_band_of_its_error_in_its_colour():
    values = np.arange(4.0 * N).reshape(N, 4)
    figure = plot_metrics(refined(values))
    for column, (band, line) in enumerate(zip(bands(figure), lines(figure), strict=True)):
        assert band.fillcolor == line.line.color
        assert np.allclose(line.y, values[:, column])
        assert np.allclose(band.y[:N], values[:, column] - 0.5)


def test_more_heads_than_can_have_a_band_have_none():
    items = tuple(f"head.1.{head}" for head in numbered(MOST_BANDS + 1))
    assert not bands(plot_metrics(refined(np.zeros((N, len(items))), items)))


def test_layers_share_one_scale_of_values():
    figure = plot_metrics(refined(np.ones((N, 4))))
    assert figure.layout.yaxis2.matches == figure.layout.yaxis.matches == "y"


def test_a_component_that_was_measured_at_fewer_steps_is_joined_over_the_others():
    values = np.ones((N, 2))
    values[1::2, 1] = np.nan
    figure = plot_metrics(refined(values, ("mlp.1", "mlp.2")))
    assert [len(line.x) for line in lines(figure)] == [N, N // 2]
    assert lines(figure)[1].mode == "lines+markers"  # a step with gaps beside it is a point


def test_very_many_heads_keep_to_the_panel_of_their_layer():
    items = [f"head.{layer}.{head}" for layer in "12" for head in numbered(MOST_LINES + 1)]
    figure = plot_metrics(refined(np.ones((N, len(items))), items))
    names = [[t.name for t in lines(figure) if t.yaxis == axis] for axis in ("y", "y2")]
    assert names == [[f"{layer}.{head}" for head in numbered(MOST_LINES + 1)] for layer in "12"]


def test_a_component_without_any_estimate_keeps_its_name_and_colour():
    values = np.ones((N, 4))
    values[:, 1] = np.nan
    with_gap, whole = plot_metrics(refined(values)), plot_metrics(refined(np.ones((N, 4))))
    assert len(lines(with_gap)[1].x) == 0
    assert keys(with_gap) == keys(whole)


def test_all_weights_on_other_data_are_one_black_line():
    figure = plot_metrics(refined(np.ones(N), ("all",), "llc_by_component_on_large_inputs"))
    assert [line.line.color for line in lines(figure)] == [INK]
    assert "LLC on large inputs" in keys(figure)[0]
    assert "all weights" in keys(figure)[0]
