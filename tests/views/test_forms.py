"""Forms in words, in tables, and in files for machines."""

import json
from dataclasses import replace

import numpy as np

from ontogeny.records import Form, References
from ontogeny.views.forms import (
    FORM_HEADINGS,
    component_notes,
    form_table,
    form_texts,
    null_sentence,
    variance_shares,
    write_forms,
)
from ontogeny.views.report import render_report
from tests.views.reports import EMPTY, forms, full, trajectory


def test_a_row_has_the_chance_under_each_null_model_and_the_nearest_predictor():
    first, then = form_table(forms().forms, full().form_distances)
    assert first == ("20", "10 to 50", "16", "0.001", "0.002", "0.060", "ridge (0.25)")
    assert then == ("500", "200 to 1,000", "0.31", "0.600", "—", "—", "zero (0.1)")
    assert form_table(forms().forms)[0].nearest == "—"
    assert len(FORM_HEADINGS) == len(first)


def test_the_null_that_is_assumed_is_said():
    text = null_sentence(forms())
    assert "999 surrogates" in text
    assert "about 48 dimensions" in text
    assert "white noise" not in text
    many = null_sentence(replace(forms(), dimensions=1e7, noise=0.031))
    assert "very many dimensions" in many
    assert "white noise of 3.1 %" in many


def test_one_plane_and_too_many_components_are_said():
    assert "make one plane" in component_notes(2)[0]
    assert component_notes(7) == ["The first 3 of 7 components are used."]
    assert component_notes(3) == []


def test_shares_are_those_of_the_given_components():
    scores = np.array([[2.0, 1.0], [-2.0, -1.0]])
    np.testing.assert_allclose(variance_shares(scores), [0.8, 0.2])


def test_forms_are_json(tmp_path):
    write_forms(forms(), tmp_path / "forms.json", shares=[0.5])
    found = json.loads((tmp_path / "forms.json").read_text())
    assert found["forms"][0] == {
        "step": 20,
        "low": 10,
        "high": 50,
        "point": [1.0, 2.0, 0.5],
        "score": 15.7,
        "p_value": 0.001,
        "p_values": {"brownian": 0.001, "ornstein_uhlenbeck": 0.002, "phase_randomised": 0.06},
    }
    assert found["null"]["dimensions"] == 48
    assert found["shares"] == [0.5]
    np.testing.assert_allclose(found["lissajous_shares"], [0.608, 0.152, 0.068], atol=5e-4)


def test_the_page_has_a_table_of_forms_or_says_that_there_is_none():
    page = render_report(full())
    assert "<td>10 to 50</td>" in page
    assert "ridge (0.25)" in page
    assert "60.8, 15.2 and 6.8" in page
    none = render_report(replace(full(), forms=replace(forms(), forms=()), form_distances=()))
    assert "No form: nowhere do the outputs turn in every plane at once." in none
    assert "No form" not in render_report(EMPTY)


def test_a_form_of_a_language_model_is_told_by_its_tokens():
    """60 outputs along the one component: the first are highest at a form at 1."""
    n = 60
    labels = np.stack([np.zeros(n, int), np.arange(n) < 10, np.arange(n) < 20], axis=1)
    names = ("token", "next_token", "induction")
    known = References(names, labels.astype(int), (), np.empty((0, n)), ("x", " y"))
    run = replace(
        trajectory(np.arange(4.0)[:, None]), loadings=-np.arange(n)[None] / n, mean=np.zeros(n)
    )
    (text,) = form_texts([Form(7, 5, 9, (1.0,), 1.0)], run, known)
    assert (text.step, text.highest, text.lowest) == ("7", ["x| y", "x|x"], ["x|x"])
    assert len(text.sentences) == 2
    assert "Of the 20 highest 20 are of the kind “induction”: 3 times" in text.sentences[1]
    assert form_texts([], run, None) == []
