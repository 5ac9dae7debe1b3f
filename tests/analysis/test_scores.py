"""Tables of scores: what is read, what is mended and said, and what is refused in a sentence."""

import numpy as np
import pytest

from ontogeny.analysis.scores import read_scores


def table(folder, text):
    path = folder / "scores.csv"
    path.write_text(text)
    return path


def test_columns_are_found_by_name_and_others_are_left(tmp_path):
    text = "\ufeffPC2, note ,step,pc1\n2,x,0,1\n\n4,y,10,3.5\n"
    scores = read_scores(table(tmp_path, text))
    assert scores.steps.tolist() == [0, 10]
    assert scores.values.tolist() == [[1, 2], [3.5, 4]]
    assert scores.notes == ("Columns that are not used: note.",)


def test_steps_are_sorted_and_what_cannot_be_used_is_left_out_and_said(tmp_path):
    text = "step,pc1,pc2\n30,1,1\n10,2,2\n10,3,3\n20,,4\n25,nan,1\n26,inf,1\n"
    scores = read_scores(table(tmp_path, text))
    assert scores.steps.tolist() == [10, 30]
    assert scores.values.tolist() == [[2.5, 2.5], [1, 1]]
    assert scores.notes == (
        "3 rows were left out: not a finite number in every column.",
        "The steps are not in order; sorted.",
        "1 steps have several values; averaged.",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no step in: an empty line"),
        ("1,2,3\n4,5,6\n", "columns step, pc1, pc2, ...; there is no step in: 1, 2, 3"),
        ("step,pc1\n1,2\n", "there is no pc2 in: step, pc1"),
        ("step,pc1,pc3\n1,2,3\n", "there is no pc2 in"),
        ("step,pc1,pc2,pc1\n1,2,3,4\n", "more than one column pc1"),
        (
            "step,pc1,pc2\n1,2,3\n2,x,3\n",
            "line 3 of .* holds '2', 'x', '3'; these should be numbers",
        ),
        ("step,pc1,pc2\n-1,2,3\n", "the step '-1' is negative"),
        ("step,pc1,pc2\n1.5,2,3\n", "the step '1.5' is no whole number"),
        (
            "step,pc1,pc2\n1e30,2,3\n",
            "the step '1e30' is too large; steps go up to 9,007,199,254,740,991",
        ),
    ],
)
def test_what_is_no_table_of_scores_is_refused(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_scores(table(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.csv is not a file"):
        read_scores(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"step,pc1,pc2\n\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.csv is not a table"):
        read_scores(tmp_path / "binary.csv")


@pytest.mark.parametrize("size", [1e160, 1e-200])
def test_scores_whose_squares_would_be_lost_are_refused(tmp_path, size):
    text = "step,pc1,pc2\n" + "\n".join(f"{k},{k * size},{size}" for k in range(9))
    with pytest.raises(ValueError, match=r"has scores up to .*; give them in another unit"):
        read_scores(table(tmp_path, text))


def test_a_row_that_is_alone_far_off_is_left_out_and_said(tmp_path):
    text = "step,pc1,pc2\n" + "\n".join(f"{k},{k if k != 5 else 1e300},1" for k in range(20))
    scores = read_scores(table(tmp_path, text))
    assert 5 not in scores.steps
    assert len(scores.steps) == 19
    assert scores.notes == ("Far from all others, and alone with that: step 5. It is left out.",)


def test_what_was_written_is_read(tmp_path):
    steps = np.arange(0, 1000, 10)
    values = np.random.default_rng(0).normal(size=(100, 4))
    path = tmp_path / "scores.csv"
    rows = np.column_stack([steps, values])
    np.savetxt(path, rows, delimiter=",", header="step,pc1,pc2,pc3,pc4", comments="", fmt="%.17g")
    scores = read_scores(path)
    np.testing.assert_array_equal(scores.steps, steps)
    np.testing.assert_array_equal(scores.values, values)
    assert not scores.notes
