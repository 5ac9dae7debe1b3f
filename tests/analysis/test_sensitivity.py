"""A turn stays whatever the constants are; a pause that is half flat comes and goes with them."""

from __future__ import annotations

import numpy as np

from ontogeny.analysis.milestones import find_milestones
from ontogeny.analysis.sensitivity import RULES, vary
from ontogeny.records import Curve

STEPS = np.unique(np.geomspace(1, 100_000, 120).astype(int))
X = np.log1p(STEPS)


def llc(values):
    return Curve("llc", "", STEPS, values[:, None], np.full((len(X), 1), np.nan))


def test_variations_tell_what_is_firm():
    noise = 0.1 * np.random.default_rng(0).normal(size=len(X))
    # The slope falls from 11 to 4.5 and rises to 11; then it turns at 9.
    bend = 7.75 * X + 3.25 * np.sin(X - 1) * (X < 8.8) - 60 * np.maximum(X - 9, 0)
    curve = llc(bend + noise)
    found = find_milestones(curve)
    late = llc(-((X - 7) ** 2))
    table = {one.what: one for one in vary(curve, found, {"another measurement": late})}
    assert list(table)[2:] == [*RULES, "another measurement"]
    top = [k for k, one in enumerate(found) if one.kind == "maximum"][-1]
    for what, one in table.items():
        assert len(one.steps) == len(found)
        if what != "another measurement":
            assert one.steps[top] is not None
    assert len(table["another measurement"].others) == 1


def test_a_measurement_with_too_few_points_is_passed_over():
    short = Curve("llc", "", STEPS[:3], np.ones((3, 1)), np.ones((3, 1)))
    assert [one.what for one in vary(llc(X), (), {"short": short})][-1] == list(RULES)[-1]
