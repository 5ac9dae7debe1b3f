from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ontogeny.views.catalog import (
    LONGEST_KEY,
    MOST_BANDS,
    PANELS,
    component_panels,
    letters,
    measured_panels,
    packed,
)
from tests.views.reports import EMPTY, STEPS, curve, full

PARTS = ("embedding", "head.1.1", "head.1.2", "mlp.1", "head.2.1", "norms.1", "unembedding", "a.*")


def test_panels_without_a_curve_are_left_out_and_unnamed_curves_come_last():
    titles = [panel.title for panel in measured_panels(full())]
    assert titles == ["In-context learning score", "My metric"]


def test_no_curve_is_named_by_two_panels():
    names = [name for panel in PANELS for name in (*panel.curves, panel.behind) if name]
    assert len(names) == len(set(names))


def refined(items, name="llc_by_component"):
    return {name: curve(name, np.ones((len(STEPS), len(items))), items)}


def test_heads_stand_by_layer_and_other_components_follow():
    assert [panel.items for panel in component_panels(refined(PARTS))] == [
        ("head.1.1", "head.1.2"),
        ("head.2.1",),
        ("embedding", "mlp.1", "norms.1", "unembedding"),
        ("a.*",),
    ]


def test_other_data_have_panels_of_their_own_that_name_them():
    curves = refined(PARTS[:2]) | refined(("all", "mlp.1"), "llc_by_component_on_large_inputs")
    assert [panel.title for panel in component_panels(curves)] == [
        "LLC of heads in layer 1",
        "LLC of other components",
        "LLC on large inputs",
        "LLC of other components on large inputs",
    ]


def test_refined_estimates_follow_those_by_position():
    curves = refined(PARTS[1:2])
    for name in ("token_singular_values", "llc_by_position", "loss_by_position"):
        curves[name] = curve(name, np.ones((len(STEPS), 2)), ("1", "2"))
    titles = [panel.title for panel in measured_panels(replace(EMPTY, curves=curves))]
    assert titles == [
        "Loss by position",
        "LLC by position",
        "LLC of heads in layer 1",
        "Token embedding: shares of σ²",
    ]


@given(st.lists(st.text("abc", min_size=1, max_size=70)))
def test_packed_labels_keep_their_order_and_fit(labels):
    groups = packed(labels)
    assert [label for group in groups for label in group] == labels
    for group in groups:
        assert len(group) == 1 or letters(group) <= LONGEST_KEY
        assert 1 <= len(group) <= MOST_BANDS
