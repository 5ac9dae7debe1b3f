import json
import re
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from markupsafe import escape
from plotly.offline import get_plotlyjs

from ontogeny.analysis.reading import Report
from ontogeny.records import Milestone, Variation
from ontogeny.views.health import health_table
from ontogeny.views.report import (
    LONG_TABLE,
    STAGE_HEADINGS,
    finding,
    render_report,
    stage_table,
    write_report,
)
from tests.views.reports import EMPTY, STEPS, curve, full, stages_between, without

COLLECTIONS = [field.name for field in fields(Report) if field.name != "title"]


@cache
def page_of_full():
    return render_report(full())


def own_part(page):
    """The page without plotly itself."""
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


def figure_data(page):
    """The data of the figures, read as strictly as a browser reads them."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    texts = re.findall(
        r'<script type="application/json" id="(.*?)-data">(.*?)</script>', page, re.S
    )
    return {name: json.loads(text, parse_constant=refuse) for name, text in texts}


# The page


def test_the_same_report_gives_the_same_bytes(tmp_path):
    write_report(full(), tmp_path / "deep" / "one.html")
    assert (tmp_path / "deep" / "one.html").read_bytes() == render_report(full()).encode()


def test_the_page_loads_nothing():
    page = own_part(page_of_full())
    assert not re.search(r"https?:|\bsrc\s*=|\bhref\s*=|url\(|@import|<link|<iframe|<img", page)
    assert "default-src 'none'" in page  # and the browser holds it, and plotly, to that


def test_every_stage_note_gap_setting_and_verdict_is_there():
    page = own_part(page_of_full())
    for row in stage_table(full()):
        assert all(f">{cell}<" in page for cell in row[:8])
    for word in ("ok", "suspect", "failed", "R-hat 1.2 is too large", "Chains blew up"):
        assert word in page
    for text in (finding(full()), "A note to read first", "The Hessian", "step_size", "0.0003"):
        assert text in page


def test_the_caption_warns_of_random_walks_and_gives_the_shares():
    page = own_part(page_of_full())
    assert "random walk" in page
    assert "60.8, 15.2 and 6.8 %" in page
    assert "56.3, 15.2 and 6.8\N{NO-BREAK SPACE}%" in page


def test_five_figures_are_valid_json_in_a_wide_and_a_narrow_layout():
    figures = figure_data(page_of_full())
    assert list(figures) == [
        f"figure-{name}" for name in ("stages", "dynamics", "scores", "metrics", "traces")
    ]
    for figure in figures.values():
        assert figure["data"]
        assert figure["wide"]["height"] > 0
        assert figure["narrow"]["height"] > 0


def test_the_paths_of_weights_and_gradients_are_folded_figures():
    report = full()
    page = render_report(replace(report, paths={"weights": report.trajectory}))
    assert "<summary>Essential dynamics of the weights</summary>" in page
    drawn, outputs = (figure_data(page)[f"figure-{name}"] for name in ("weights", "dynamics"))
    assert drawn["wide"]["xaxis"]["title"] == outputs["wide"]["xaxis"]["title"]
    assert "form and its step" not in [trace["name"] for trace in drawn["data"]]


def test_values_that_are_not_finite_stay_out_of_the_json():
    wild = np.where(np.arange(len(STEPS)) % 3 == 0, np.inf, np.nan)
    curves = {name: curve(name, wild, stderr=np.inf) for name in ("loss", "llc", "weight_norm")}
    many = curve("many", np.full((len(STEPS), 30), np.nan), tuple(map(str, range(30))))
    report = replace(full(), curves=curves | {"many": many})
    assert len(figure_data(render_report(report))) == 5


@pytest.mark.parametrize("part", COLLECTIONS)
def test_each_part_may_be_absent(part):
    assert full().title in render_report(without(full(), part))


def test_an_empty_report_says_what_is_missing():
    page = own_part(render_report(EMPTY))
    assert not figure_data(page)
    for words in (
        "No stages: the local learning coefficient has not been measured.",
        "Neither the loss nor the learning coefficient has been measured.",
        "Essential dynamics has not been measured.",
        "No metric has been measured.",
        "has not been estimated at any checkpoint",
        "The settings that made this run are not recorded.",
    ):
        assert words in page


def test_text_of_users_is_shown_letter_by_letter():
    evil = "<b>bold</b></script><script>alert(1)</script>"
    report = full()
    stage = replace(report.stages[0], name=evil)
    page = own_part(
        render_report(
            replace(
                report,
                title=evil,
                notes=(evil,),
                missing=(evil,),
                settings={evil: {evil: evil}},
                stages=(stage, *report.stages[1:]),
                curves=report.curves | {evil: curve(evil, STEPS)},
                reference_scores={evil: np.zeros(3)},
            )
        )
    )
    assert "<b>bold" not in page
    assert "alert(1)</script>" not in page
    assert "&lt;b&gt;bold" in page
    assert len(figure_data(page)) == 5


def test_a_long_table_of_health_is_folded_but_its_troubles_are_not():
    report = replace(full(), refined={})
    more = tuple(replace(report.diagnoses[0], step=10_000 + i) for i in range(LONG_TABLE))
    short = own_part(render_report(report))
    long = own_part(render_report(replace(report, diagnoses=report.diagnoses + more)))
    assert "<details>" not in short
    visible, folded = long.split("<details>")
    assert visible.count("Chains blew up") == folded.count("Chains blew up") == 1
    assert "10,011" in folded
    assert "10,011" not in visible


def test_refined_estimates_are_counted_and_their_table_is_folded():
    visible, folded = own_part(page_of_full()).split("<details>")
    assert "Refined estimates: mlp.1: 1 suspect." in visible
    assert "It is short." not in visible
    assert "It is short." in folded


def test_settings_of_refined_estimates_are_folded():
    settings = {"sample chains": {"seed": "seed 17"}, "sample chains-mlp.1": {"seed": "seed 18"}}
    page = own_part(render_report(replace(full(), refined={}, settings=settings)))
    visible, folded = page.split("<details>")
    assert "seed 17" in visible
    assert "seed 18" in folded


def test_headings_of_the_health_table_explain_themselves():
    page = own_part(page_of_full())
    for column in health_table(full().diagnoses).columns:
        assert f'<th title="{escape(column.hint)}">{escape(column.heading)}</th>' in page


@pytest.mark.parametrize("refined", [True, False])
def test_refined_curves_are_explained_where_there_are_any(refined):
    more = {"llc_by_component": curve("llc_by_component", STEPS, ("mlp.1",))} if refined else {}
    page = own_part(render_report(replace(full(), curves=full().curves | more)))
    assert ("only its weights move" in page) == refined


# Its parts in plain text


@pytest.mark.parametrize(
    ("n", "start"),
    [(1, "One stage: LR1 (A)"), (2, "Two stages: LR1 (A)"), (12, "12 stages: LR1 (A)")],
)
def test_the_finding_counts_in_words(n, start):
    stages = stages_between(range(1, n + 1), "A" * n)
    assert finding(replace(EMPTY, stages=stages)).startswith(start)


def test_an_llc_without_stages_is_another_finding_than_no_llc():
    flat = replace(EMPTY, curves={"llc": curve("llc", np.zeros(len(STEPS)))})
    assert finding(flat) == "No stages were found in the local learning coefficient."


def test_what_formed_who_agrees_and_what_it_depends_on_are_there():
    plain = full()
    report = replace(
        plain,
        milestones=(
            replace(plain.milestones[0], agrees=("icl_score", "PC1")),
            *plain.milestones[1:],
            Milestone(1500, 1400, 1600, 0.2, "plateau"),
        ),
        stages=(replace(plain.stages[0], formed="icl_score fell <fast>."), *plain.stages[1:]),
        probes=("icl_score", "PC1", "loss"),
        variations=(Variation("half the length scale", (10, 100, None, 1000), (7,)),),
    )
    page = own_part(render_report(report))
    assert "icl score fell &lt;fast&gt;." in page
    assert "Also end there: icl score, PC1 (2 of 3 probes)." in page
    assert "Candidates that end no stage: plateau at step 1,500 (1,400 to 1,600" in page
    assert "<td>half the length scale</td><td>10</td><td>100</td><td>—</td>" in page
    marks = figure_data(page)["figure-stages"]["wide"]["shapes"]
    assert len(marks) == len(figure_data(page_of_full())["figure-stages"]["wide"]["shapes"])


def test_a_stage_says_what_in_it_is_in_doubt():
    report = full()
    ends = tuple(Milestone(stage.end, 1, 2, 0.9, "plateau") for stage in report.stages[:-1])
    gone = (None, *(one.step for one in ends[1:]))
    doubtful = tuple(replace(one, verdict="suspect") for one in report.diagnoses)
    report = replace(report, milestones=ends, variations=(Variation("4 SE", gone, ()),))
    assert stage_table(report)[0].caution == "Its end is not there with 4 SE."
    assert stage_table(report)[1].caution == ""
    every = stage_table(replace(report, diagnoses=doubtful))[-1]
    inside = sum(one.step >= report.stages[-1].start for one in doubtful)
    assert every.caution == f"{inside} of {inside} estimates in it are in doubt."


def test_the_stage_table_knows_how_each_stage_ends():
    rows = stage_table(full())
    assert len(rows[0]) == len(STAGE_HEADINGS)
    assert [row.milestone for row in rows] == [
        "8 to 12",
        "—",
        "400 to 600",
        "900 to 1,100",
        "end of the run",
    ]
    assert [row.probability for row in rows] == ["0.97", "—", "0.80", "0.90", "—"]
    assert rows[0].delta_llc == "+10.00 ± 0.25"
