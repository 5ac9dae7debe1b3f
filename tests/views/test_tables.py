"""Files for machines hold what was found, and null where nothing is known."""

import json
from dataclasses import replace

import numpy as np

from ontogeny.records import Curve, Evidence, Milestone, Stage, Variation
from ontogeny.views.tables import curve_csv, write_stages
from tests.views.reports import EMPTY


def test_a_curve_without_items_has_three_columns():
    curve = Curve("llc", "", np.array([0, 10]), np.array([[1.5], [np.nan]]), np.full((2, 1), 0.25))
    assert curve_csv(curve) == "step,value,stderr\n0,1.5,0.25\n10,,0.25\n"


def test_a_curve_with_items_has_a_row_for_each():
    values = np.array([[1.0, 2.0]])
    curve = Curve("heads", "", np.array([7]), values, np.full((1, 2), np.nan), ("1.1", "1.2"))
    assert curve_csv(curve) == "step,item,value,stderr\n7,1.1,1,\n7,1.2,2,\n"


def test_stages_are_json_with_null_for_what_is_not_known(tmp_path):
    moved = Evidence("score 1.2", 0.03, 0.29, 25.0)
    found = replace(
        EMPTY,
        milestones=(Milestone(9, None, None, None, "maximum", ("loss",)),),
        stages=(Stage("LR1", 0, 9, "A", float("nan"), 3.0, 0.5, 0.98, evidence=(moved,)),),
        probes=("loss", "PC1"),
        variations=(Variation("half the length scale", (None,), (7,)),),
    )
    write_stages(found, tmp_path / "stages.json")
    assert json.loads((tmp_path / "stages.json").read_text()) == {
        "milestones": [
            {
                "step": 9,
                "low": None,
                "high": None,
                "probability": None,
                "kind": "maximum",
                "agrees": ["loss"],
            }
        ],
        "stages": [
            {
                "name": "LR1",
                "start": 0,
                "end": 9,
                "type": "A",
                "delta_loss": None,
                "delta_llc": 3.0,
                "delta_llc_stderr": 0.5,
                "type_probability": 0.98,
                "delta_loss_stderr": None,
                "evidence": [{"curve": "score 1.2", "from": 0.03, "to": 0.29, "z": 25.0}],
                "formed": "",
                "arrival": None,
            }
        ],
        "probes": ["loss", "PC1"],
        "variations": [{"what": "half the length scale", "steps": [None], "others": [7]}],
        "notes": [],
    }
