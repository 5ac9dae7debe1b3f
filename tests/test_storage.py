"""Files are whole or not there, whatever fails and whenever."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ontogeny.records import Chains, Measurements, fields_of
from ontogeny.storage import (
    HOST,
    claim,
    load_record,
    load_records,
    name_of,
    read_json,
    read_plan,
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


CHAINS = Chains(
    7, np.ones((2, 4)), np.ones((2, 2)), np.ones((2, 1, 3)), np.ones((2, 1, 3)), 9.0, 1e-3, 1.0, 2
)
LATER = {
    "parameters": 12,
    "paired_position_losses": np.zeros((2, 1, 3)),
    "distances": np.array([[1.0], [np.nan]]),
    "drift_ratios": np.full((2, 1), 0.5),
    "acceptances": np.ones((2, 1)),
    "relaxation": 70.5,
    "groups": 2,
}


@pytest.mark.parametrize("record", [CHAINS, replace(CHAINS, **LATER)])
def test_chains_survive_the_disk(record, tmp_path):
    save_record(record, tmp_path / "record.npz")
    found = load_record(Chains, tmp_path / "record.npz")
    for name in fields_of(Chains):
        before, after = getattr(record, name), getattr(found, name)
        assert type(after) is type(before)
        np.testing.assert_array_equal(after, before)


def test_chains_from_before_there_was_more_to_say_have_the_defaults(tmp_path):
    save_record(replace(CHAINS, **LATER), tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as entries:
        np.savez(tmp_path / "old.npz", **{n: a for n, a in entries.items() if n not in LATER})
    found = load_record(Chains, tmp_path / "old.npz")
    for name in LATER:
        np.testing.assert_array_equal(getattr(found, name), getattr(CHAINS, name))


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
    dead, living = (
        tmp_path / f".a.npz.{HOST}.{process}.partial" for process in (999999999, os.getpid())
    )
    elsewhere, forgotten = (
        tmp_path / f".{name}.npz.another-host.999999999.partial" for name in ("b", "c")
    )
    for path in (dead, living, elsewhere, forgotten):
        path.touch()
    os.utime(forgotten, (0, 0))
    remove_leftovers(tmp_path)
    assert {*tmp_path.iterdir()} == {living, elsewhere}


# Plans -------------------------------------------------------------------------------------------

ASKED = {"probe": "m:sample_chains", "settings": {"draws": 3}, "steps": [0, 5]}
PLAN = {
    "title": "A run",
    "notes": ["Know this."],
    "prefix": "S",
    "checkpoints": [0, 5],
    "measurements": [ASKED, {**ASKED, "name": "sample_chains-head.1.1"}],
}

DAMAGED = {
    "no title": {**PLAN, "title": None},
    "prefix of another kind": {**PLAN, "prefix": 3},
    "notes as one text": {**PLAN, "notes": "Know this."},
    "a note that is none": {**PLAN, "notes": [1]},
    "no checkpoints": {name: value for name, value in PLAN.items() if name != "checkpoints"},
    "a checkpoint without number": {**PLAN, "checkpoints": [0, "5"]},
    "measurements of another kind": {**PLAN, "measurements": {"sample_chains": ASKED}},
    "a measurement of another kind": {**PLAN, "measurements": ["sample_chains"]},
    "no probe": {**PLAN, "measurements": [{**ASKED, "probe": None}]},
    "no settings": {**PLAN, "measurements": [{**ASKED, "settings": None}]},
    "no steps": {**PLAN, "measurements": [{**ASKED, "steps": 5}]},
    "a step that is none": {**PLAN, "measurements": [{**ASKED, "steps": [0.5]}]},
    "a name of another kind": {**PLAN, "measurements": [{**ASKED, "name": 1}]},
}


def test_a_plan_is_read_as_it_was_written(tmp_path):
    assert read_plan(tmp_path) is None
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    assert read_plan(tmp_path) == PLAN
    names = [name_of(asked) for asked in PLAN["measurements"]]
    assert names == ["sample_chains", "sample_chains-head.1.1"]


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_plan_is_refused_in_one_sentence(how, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(DAMAGED[how]))
    with pytest.raises(ValueError, match=r"plan\.json is not a plan; train again") as refusal:
        read_plan(tmp_path)
    assert len(str(refusal.value).splitlines()) == 1


def test_no_damaged_plan_is_read_by_an_optimised_python(tmp_path):
    """Where assertions are switched off."""
    for number, plan in enumerate(DAMAGED.values()):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "plan.json").write_text(json.dumps(plan))
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ontogeny.storage import read_plan\n"
        "for folder in Path(sys.argv[1]).iterdir():\n"
        "    try:\n"
        "        read_plan(folder)\n"
        "    except ValueError:\n"
        "        print('refused')\n"
    )
    command = [sys.executable, "-O", "-c", program, str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["refused"] * len(DAMAGED)
