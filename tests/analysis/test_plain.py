"""Plain tables: what is wrong is said in one sentence, what can be handled is handled and said."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ontogeny.analysis.plain import read_curve, read_curves_alone

STEPS = np.unique(np.geomspace(1, 10_000, 40).astype(int))


def table(path, rows, header="step,value"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def good_rows():
    return [(step, np.sin(np.log1p(step))) for step in STEPS]


def test_a_clean_table_is_read_as_it_is(tmp_path):
    rows = [(step, value, 0.5, "x") for step, value in good_rows()]
    curve = read_curve(table(tmp_path / "llc.csv", rows, "\ufeffStep, value ,stderr,note"))
    assert (curve.name, curve.warnings) == ("llc", ())
    np.testing.assert_array_equal(curve.steps, STEPS)
    np.testing.assert_allclose(curve.values[:, 0], np.sin(np.log1p(STEPS)))
    assert (curve.stderr == 0.5).all()


def test_disorder_repeats_and_gaps_are_handled_and_said(tmp_path):
    rows = [*good_rows()[::-1], (1, 5.0), (9999, ""), (9998, "nan"), (9997, "inf")]
    curve = read_curve(table(tmp_path / "a.csv", rows))
    assert curve.warnings == (
        f"3 of {len(rows)} values are not finite; left out",
        "the steps are not in order; sorted",
        "1 steps have several values; averaged",
    )
    np.testing.assert_array_equal(curve.steps, STEPS)
    assert curve.values[0, 0] == pytest.approx((5 + np.sin(np.log(2))) / 2)
    assert np.isnan(curve.stderr).all()


@pytest.mark.parametrize(
    ("header", "rows", "sentence"),
    [
        ("", [], "needs the columns step and value; its first line has no columns"),
        ("t,llc", [(1, 2)], "needs the columns step and value; its first line has t, llc"),
        ("step,item,value", [(1, "a", 2)], "keep the rows of one"),
        ("step,value", [(1, 2)] * 9, "has values at 1 steps; to find stages takes at least 8"),
        ("step,value", [(1, 2), (2, "high")], "line 3 of .* holds '2', 'high'"),
        ("step,value", [(1.5, 2)], "line 2 of .*: the step '1.5' is no whole number"),
        ("step,value", [(-1, 2)], "the step '-1' is no whole number"),
        ("step,value", [("", 2)], "the step '' is no whole number"),
        ("step,value,stderr", [(1, 2, -1)], "the standard error -1 is negative"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, header, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_curve(table(tmp_path / "bad.csv", rows, header))


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="is not a table of comma-separated values"):
        read_curve(tmp_path / "binary.csv")
    with pytest.raises(ValueError, match="is not a file"):
        read_curve(tmp_path / "absent.csv")


def test_a_huge_table_is_handled_and_said(tmp_path):
    steps = np.arange(200_000)
    values = np.sin(np.log1p(steps)) + 0.1 * np.random.default_rng(0).normal(size=len(steps))
    path = tmp_path / "huge.csv"
    np.savetxt(path, np.stack([steps, values], axis=1), "%d,%.6g", header="step,value", comments="")
    started = time.process_time()
    report = read_curves_alone(path)
    assert time.process_time() - started < 10
    assert "huge: 200,000 steps are averaged over 400 cells of log-step to smooth them." in (
        report.notes
    )
    # The maximum at pi/2, where there is hardly a step, may be missed; the others may not.
    steps_found = np.log1p([one.step for one in report.milestones if one.probability >= 0.5])
    for turn in (1.5 * np.pi, 2.5 * np.pi, 3.5 * np.pi):
        assert np.abs(steps_found - turn).min() < 0.1


def test_a_curve_and_a_loss_give_every_part(tmp_path):
    rows = [(step, 20 * value) for step, value in good_rows()]
    losses = [(step, 4 - 0.3 * np.log1p(step)) for step in STEPS]
    report = read_curves_alone(
        table(tmp_path / "llc.csv", rows), table(tmp_path / "loss.csv", losses), "P"
    )
    assert [stage.name for stage in report.stages][:2] == ["P1", "P2"]
    assert all(np.isfinite(stage.delta_loss) for stage in report.stages)
    assert all(stage.evidence and stage.formed for stage in report.stages)
    assert all(stage.type_probability > 0.5 for stage in report.stages)
    assert report.probes == ("loss", "llc")
    assert report.variations
