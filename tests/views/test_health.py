from dataclasses import replace

import numpy as np
import pytest

from ontogeny.records import Diagnosis
from ontogeny.views.health import HEALTH_COLUMNS, health_summary, health_table, refined_summary
from tests.views.reports import EMPTY, full

OLD = Diagnosis(0, 3.0, 0.2, 1.0, 800.0, 4, (), "ok", ())
NEW = replace(
    OLD,
    step=1000,
    draws=400,
    relaxation=999.5,
    drift=-2.14,
    nested_rhat=1.012,
    below=0.125,
    distance=0.8461,
    drift_ratio=0.0138,
    acceptance=0.976,
)


def cells(diagnosis):
    table = health_table([diagnosis])
    headings = [column.heading for column in table.columns]
    return dict(zip(headings, table.rows[0].cells, strict=True))


def test_what_is_known_stands_under_its_heading():
    assert cells(NEW) == {
        "Step": "1,000",
        "LLC": "3.00 ± 0.20",
        "Failed": "0 of 4",
        "Draws": "400 (1,000)",
        "R-hat": "1.000",
        "nested": "1.012",
        "ESS": "800",
        "Drift": "−2.1",
        "< L(w*)": "12 %",
        "|w − w*|": "0.846",
        "Pull/noise": "0.0138",
        "MALA": "0.98",
    }


def test_columns_of_older_runs_are_left_out_and_single_gaps_are_dashes():
    assert list(cells(OLD)) == ["Step", "LLC", "Failed", "R-hat", "ESS"]
    both = health_table([OLD, NEW])
    assert len(both.columns) == len(HEALTH_COLUMNS)
    old = dict(zip((column.heading for column in both.columns), both.rows[0].cells, strict=True))
    assert {old[name] for name in ("Draws", "nested", "Drift", "< L(w*)", "MALA")} == {"—"}


def test_an_estimate_that_failed_is_a_dash_even_alone():
    lost = replace(OLD, llc=np.nan, stderr=np.nan, failed=(0, 1, 2, 3), verdict="failed")
    assert cells(lost)["LLC"] == "—"
    assert cells(lost)["Failed"] == "4 of 4"


@pytest.mark.parametrize(
    ("relaxation", "shown"), [(52.6, "400 (53)"), (np.inf, "400 (∞)"), (np.nan, "400")]
)
def test_draws_stand_beside_those_in_which_flat_directions_relax(relaxation, shown):
    assert cells(replace(NEW, relaxation=relaxation))["Draws"] == shown


def test_every_column_has_a_hint_that_is_a_sentence():
    assert all(column.hint[0].isupper() and column.hint[-1] == "." for column in HEALTH_COLUMNS)


def test_reasons_are_sentences():
    reasons = ("only 9 draws; try more", "still climbing")
    (row,) = health_table([replace(OLD, verdict="suspect", reasons=reasons)]).rows
    assert row.reasons == "Only 9 draws; try more. Still climbing."


def test_the_summary_counts_verdicts():
    assert health_summary(full()) == "10 of 12 estimates are ok; 1 suspect, 1 failed."


def test_the_summary_knows_chains_of_different_lengths():
    short = replace(NEW, step=2000, draws=150)
    end = "a flat direction of the loss forgets its start in about 1,000."
    said = health_summary(replace(EMPTY, diagnoses=(NEW, short)))
    assert said.endswith(f"Each chain makes 150 to 400 draws; {end}")


def test_without_localization_a_flat_direction_never_relaxes():
    said = health_summary(replace(EMPTY, diagnoses=(replace(NEW, relaxation=np.inf),)))
    assert said.endswith("never forgets its start, because nothing pulls it back.")


def test_refined_parts_with_equal_verdicts_stand_together():
    sick = replace(OLD, verdict="suspect")
    parts = {"head.1.1": (OLD, sick), "head.1.2": (OLD, OLD), "head.2.1": (sick, OLD)}
    assert refined_summary(replace(EMPTY, refined=parts)) == (
        "Refined estimates: head.1.1, head.2.1: 1 ok, 1 suspect each; head.1.2: 2 ok."
    )
    assert refined_summary(EMPTY) == ""
