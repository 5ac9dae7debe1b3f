"""Rows of a table by step, and what is refused; `test_plain` and `test_scores` have the rest."""

from __future__ import annotations

import numpy as np
import pytest

from ontogeny.analysis.tables import by_step, check_unit, read_table


def test_what_has_no_cell_is_nan(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step;b\n1\n\n2;5\n")
    np.testing.assert_array_equal(read_table(path, lambda _: [0, 1]), [[1, np.nan], [2, 5]])
    np.testing.assert_array_equal(read_table(path, lambda _: [0, None])[:, 1], [np.nan, np.nan])


def test_a_folder_and_what_is_absent_get_the_same_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match="is not a file"):
            read_table(path, lambda _: [0])


def test_values_in_order_are_not_changed():
    rows = np.column_stack([np.arange(50), np.random.default_rng(0).normal(size=(50, 2))])
    steps, values, said = by_step(rows)
    np.testing.assert_array_equal(steps, rows[:, 0])
    np.testing.assert_array_equal(values, rows[:, 1:])
    assert said == []
    assert by_step(rows[:0])[1].shape == (0, 2)


def test_zeros_are_in_any_unit(tmp_path):
    check_unit(tmp_path, np.zeros(3), "values")
    with pytest.raises(ValueError, match="has values up to 1e-120; give them in another unit"):
        check_unit(tmp_path, np.full(3, 1e-120), "values")
