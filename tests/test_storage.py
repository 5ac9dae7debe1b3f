"""Files are whole or not there, whatever fails and whenever."""

import errno
import json
import os

import numpy as np
import pytest

from ontogeny.records import Chains, Measurements
from ontogeny.storage import (
    claim,
    load_record,
    load_records,
    read_json,
    remove_leftovers,
    save_record,
    steps_in,
    whole_file,
)

TABLE = Measurements(3, ("a",), ("",), np.array([1.0]), np.array([np.nan]))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_when_the_disk_is_full_the_old_file_stays(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        save_record(TABLE, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_when_the_writer_fails_nothing_appears(tmp_path):
    def write_half():
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [0, 1, 30, 200, -1])
def test_a_truncated_record_is_named_in_one_sentence(length, tmp_path):
    path = tmp_path / "record.npz"
    save_record(TABLE, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"record\.npz is not a whole record"):
        load_record(Measurements, path)


def test_a_record_of_another_kind_is_refused(tmp_path):
    save_record(TABLE, tmp_path / "record.npz")
    with pytest.raises(ValueError, match="it holds Measurements, not Chains"):
        load_record(Chains, tmp_path / "record.npz")


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "record.npz"
    np.savez(path, record=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is not a whole record"):
        load_record(Measurements, path)


def test_records_come_in_the_order_of_their_steps(tmp_path):
    for step in (100, 7, 20):
        table = Measurements(step, ("a",), ("",), np.zeros(1), np.zeros(1))
        save_record(table, tmp_path / f"{step:08d}.npz")
    (tmp_path / "settings.json").write_text("{}")
    assert [table.step for table in load_records(Measurements, tmp_path)] == [7, 20, 100]
    assert steps_in(tmp_path / "absent", ".npz") == []


def test_a_claim_is_kept_and_compared(tmp_path):
    path = tmp_path / "settings.json"
    claim(path, {"a": {"b": 1}, "c": (1, 2)})
    claim(path, {"a": {"b": 1}, "c": (1, 2)})
    with pytest.raises(ValueError, match=r"made with a\.b = 1, not 2"):
        claim(path, {"a": {"b": 2}, "c": (1, 2)})
    with pytest.raises(ValueError, match="made with d = absent, not 4"):
        claim(path, {"a": {"b": 1}, "c": (1, 2), "d": 4})
    assert json.loads(path.read_text())["a"] == {"b": 1}


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_damaged_json_gets_one_sentence(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    dead, living = tmp_path / ".a.npz.999999999.partial", tmp_path / f".a.{os.getpid()}.partial"
    dead.touch()
    living.touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [living]
