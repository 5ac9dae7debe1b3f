"""Records declare their axes once, and survive the disk."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ontogeny import records
from ontogeny.records import Chains, Curve, Measurements, Outputs, axes_of, to_xarray
from ontogeny.storage import load_key, load_record, save_record

MEASURED = [
    records.Chains,
    records.Outputs,
    records.References,
    records.Passages,
    records.Measurements,
    records.Curve,
    records.Trajectory,
    records.Circles,
]
SIZES = st.integers(1, 4)


def example(kind, sizes):
    """A record with the given size of each of its axes, found in its annotations."""
    axes = axes_of(kind)
    values = {}
    for name, hint in records.fields_of(kind).items():
        if name in axes:
            shape = [int(axis) if axis.isdigit() else sizes.get(axis, 2) for axis in axes[name]]
            numbers = np.arange(float(np.prod(shape))).reshape(shape)
            is_int = "Int" in str(hint)
            values[name] = numbers.astype(np.int64) if is_int else numbers
        elif hint in (int, float, str, int | None):
            values[name] = str(3) if hint is str else 3.0 if hint is float else 3
        else:
            values[name] = ("a", "b", "ü")
    return kind(**values)


def equal(a, b):
    for name in records.fields_of(type(a)):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert type(getattr(a, name)) is type(getattr(b, name))


@pytest.mark.parametrize("kind", MEASURED)
@given(data=st.data())
def test_save_then_load_is_the_identity(kind, data, tmp_path_factory):
    names = {axis for axes in axes_of(kind).values() for axis in axes}
    record = example(kind, {name: data.draw(SIZES) for name in names})
    path = tmp_path_factory.mktemp("records") / "record.npz"
    save_record(record, path, key="abc")
    equal(load_record(kind, path), record)
    assert load_key(path) == "abc"


@given(values=hnp.arrays(np.float64, (1, 3), elements=st.floats(allow_nan=True)))
def test_every_float_survives_nan_and_infinities_included(values, tmp_path_factory):
    record = Outputs(np.array([0]), values)
    path = tmp_path_factory.mktemp("records") / "record.npz"
    save_record(record, path)
    np.testing.assert_array_equal(load_record(Outputs, path).values, values)


def test_the_same_record_has_the_same_bytes(tmp_path):
    record = example(Measurements, {"row": 3})
    for name in ("a", "b"):
        save_record(record, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_absent_stays_absent(tmp_path):
    curve = Curve("loss", "nat", np.array([0]), np.zeros((1, 1)), np.zeros((1, 1)))
    save_record(curve, tmp_path / "curve.npz")
    assert load_record(Curve, tmp_path / "curve.npz").chains is None


def test_a_record_from_before_a_field_was_there_is_read(tmp_path):
    passages = records.Passages(0, ("a", "b"), np.array([[0, 1]]), np.array([[2.0]]))
    save_record(passages, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as entries:
        older = {name: entries[name] for name in entries if name not in ("heads", "attention")}
    np.savez(tmp_path / "old.npz", **older)
    equal(load_record(records.Passages, tmp_path / "old.npz"), passages)


@pytest.mark.parametrize("kind", MEASURED)
def test_records_are_frozen(kind):
    sizes = {axis: 1 for axes in axes_of(kind).values() for axis in axes}
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(example(kind, sizes), next(iter(records.fields_of(kind))), 0)


def test_a_curve_becomes_a_labelled_dataset():
    curve = Curve("x", "", np.array([1, 5]), np.eye(2), np.zeros((2, 2)), ("a", "b"))
    dataset = to_xarray(curve)
    assert dataset["values"].sel(step=5, item="b").item() == 1
    assert dataset.attrs["name"] == "x"


def test_chains_become_what_arviz_expects():
    sizes = {"chain": 2, "draw": 4, "block": 2, "position": 3}
    assert to_xarray(example(Chains, sizes))["losses"].dims == ("chain", "draw")
