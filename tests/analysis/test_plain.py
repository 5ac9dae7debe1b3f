"""Plain tables: what is wrong is said in one sentence, what can be handled is handled and said."""

from __future__ import annotations

import os
import threading
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
        (
            "step,value",
            [(1, 2)] * 9,
            "has values at 1 steps .*averaged.*; to find stages takes at least 8",
        ),
        ("step,value", [(1, 2), (2, "high")], "line 3 of .* holds '2', 'high'"),
        ("step,value", [(1.5, 2)], "line 2 of .*: the step '1.5' is no whole number"),
        ("step,value", [(-1, 2)], "the step '-1' is negative"),
        ("step,value", [(10**16, 2)], "the step '10000000000000000' is too large"),
        ("step,value,value", [(1, 2, 3)], "has more than one column value"),
        ("step,value", [(k, 1e302) for k in range(9)], r"has values up to 1e\+302; give them in"),
        (
            "step,value,stderr",
            [(k, k, 1e300) for k in range(9)],
            r"at 0 steps \(9 of 9 values have",
        ),
        ("step,value", [("", 2)], "the step '' is no whole number"),
        ("step,value,stderr", [(1, 2, -1)], "has a standard error of -1; none can be negative"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, header, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_curve(table(tmp_path / "bad.csv", rows, header))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_read(tmp_path, separator):
    path = table(tmp_path / "a.csv", good_rows())
    path.write_text(path.read_text().replace(",", separator))
    np.testing.assert_allclose(read_curve(path).values[:, 0], np.sin(np.log1p(STEPS)))


def test_a_pipe_is_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = table(tmp_path / "a.csv", good_rows()).read_text()
    writer = threading.Thread(target=path.write_text, args=[text])
    writer.start()
    assert len(read_curve(path).steps) == len(STEPS)
    writer.join()


def test_single_absurd_values_are_taken_for_failed_estimates(tmp_path):
    rows = [*((step, value, 0.1) for step, value in good_rows()), (333, 1e300, 0.1), (334, 1, 1e20)]
    curve = read_curve(table(tmp_path / "a.csv", rows, "step,value,stderr"))
    assert not {333, 334} & set(curve.steps.tolist())
    assert curve.warnings[:2] == (
        f"1 of {len(rows)} values are 1e+100 or larger: taken for failed estimates; left out",
        f"1 of {len(rows)} values have a standard error of more than 1e+09 times the largest of "
        "them; left out",
    )


def test_an_infinite_error_is_one_that_is_not_known(tmp_path):
    rows = [(*row, "inf") for row in good_rows()]
    assert read_curve(table(tmp_path / "a.csv", rows, "step,value,stderr")).warnings == ()


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="is not a table of comma-separated values"):
        read_curve(tmp_path / "binary.csv")
    with pytest.raises(ValueError, match="is not a file"):
        read_curve(tmp_path / "absent.csv")


def test_a_huge_table_is_handled_and_said(tmp_path):
    steps = np.arange(50_000)
    values = np.sin(np.log1p(steps)) + 0.1 * np.random.default_rng(0).normal(size=len(steps))
    path = tmp_path / "huge.csv"
    np.savetxt(path, np.stack([steps, values], axis=1), "%d,%.6g", header="step,value", comments="")
    started = time.process_time()
    report = read_curves_alone(path)
    assert time.process_time() - started < 10
    assert "huge: 50,000 steps are averaged over 400 cells of log-step to smooth them." in (
        report.notes
    )
    # The maximum at pi/2, where there is hardly a step, may be missed; the others may not.
    steps_found = np.log1p([one.step for one in report.milestones if one.probability >= 0.5])
    for turn in (1.5 * np.pi, 2.5 * np.pi):
        assert np.abs(steps_found - turn).min() < 0.1


def test_a_curve_and_a_loss_give_every_part(tmp_path):
    rows = [(step, 20 * value) for step, value in good_rows()]
    losses = [(step, 4 - 0.3 * np.log1p(step)) for step in STEPS]
    report = read_curves_alone(
        table(tmp_path / "llc.csv", rows), table(tmp_path / "loss.csv", losses), "P"
    )
    assert [stage.name for stage in report.stages][:2] == ["P1", "P2"]
    assert all(np.isfinite(stage.delta_loss) for stage in report.stages)
    assert all(np.isfinite(stage.delta_loss_stderr) for stage in report.stages)
    assert all(stage.type_probability > 0.5 for stage in report.stages)
    # The curve is no witness to itself, and the loss has one name, whatever its file's.
    assert report.probes == ("loss",)
    assert all(one.curve == "loss" for stage in report.stages for one in stage.evidence)
    assert any(stage.formed.startswith("loss fell from ") for stage in report.stages)
    assert not any("given at other steps" in note for note in report.notes)
    assert report.variations


def test_a_curve_alone_has_nobody_to_ask(tmp_path):
    rows = [(step, 20 * value) for step, value in good_rows()]
    report = read_curves_alone(table(tmp_path / "llc.csv", rows))
    assert report.probes == ()
    assert not any(one.agrees for one in report.milestones)
    for stage in report.stages:
        assert stage.formed == "There is no other curve to say what formed."


def test_a_loss_at_other_steps_is_said(tmp_path):
    losses = [(step + 1, 4.0 - 0.1 * step) for step in range(20)]
    report = read_curves_alone(
        table(tmp_path / "llc.csv", good_rows()), table(tmp_path / "short.csv", losses)
    )
    assert (
        "The loss is given at other steps: its changes are interpolated in log-step, and not known "
        "outside of steps 1 to 20."
    ) in report.notes
