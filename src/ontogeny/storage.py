"""Records and settings on disk: whole or not at all, never executed, never replaced."""

import json
import os
import platform
import re
import time
import typing
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from ontogeny.records import fields_of

R = TypeVar("R")

HOST = re.sub(r"\W", "-", platform.node()) or "unknown"  # several may share a folder
ABANDONED = 86_400.0  # seconds after which a file that nobody finished is nobody's


# Files -------------------------------------------------------------------------------------------


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when it is complete.

    It is written to a private name beside `path`, flushed to the disk and then renamed, so a file
    that is there is whole, whatever was killed and whenever.

    Args:
        path: Where the file will be. Its folder is made if it is missing.

    Yields:
        The open file, for bytes.

    Raises:
        OSError: The disk is full or may not be written to; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.partial")
    try:
        with open(private, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(private, path)
    finally:
        private.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed had not finished writing.

    Whether a process lives is known on its own machine only; what another machine began and has not
    touched for a day is taken for left over.
    """
    for path in folder.glob(".*.partial"):
        owner = re.search(r"\.([^.]+)\.(\d+)\.partial$", path.name)
        if owner is None:
            continue
        with suppress(FileNotFoundError):  # its owner may just have finished
            here = owner[1] == HOST
            left = not _is_alive(int(owner[2])) if here else _age(path) > ABANDONED
            if left:
                path.unlink()


def _age(path: Path) -> float:
    """Seconds since a file was written to."""
    return time.time() - path.stat().st_mtime


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def file_of(folder: Path, step: int, suffix: str) -> Path:
    """Where the file of one step is."""
    return folder / f"{step:08d}{suffix}"


def steps_in(folder: Path, suffix: str) -> list[int]:
    """The steps that a folder has files for, increasing."""
    names = (path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}"))
    return sorted(int(name) for name in names if name.isdigit())


# Records -----------------------------------------------------------------------------------------


def save_record(record: Any, path: Path, key: str = "") -> None:
    """Write a record as one `.npz` file, whole or not at all.

    Args:
        record: Any record made of arrays, numbers and names.
        path: The file to write.
        key: Hash of everything that the record depends on, for `load_key`.

    Raises:
        OSError: The file cannot be written.
    """
    entries = {"record": np.array(type(record).__name__), "key": np.array(key)}
    for name in fields_of(type(record)):
        value = getattr(record, name)
        if value is not None:
            entries[name] = np.array(value, dtype=str) if isinstance(value, tuple) else value
    with whole_file(path) as file:
        np.savez(file, allow_pickle=False, **entries)


def _read(path: Path, read: Callable[[Any], R]) -> R:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entries:
            return read(entries)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a whole record ({error}); delete it and measure again"
        ) from None


def load_key(path: Path) -> str:
    """The key that a record was saved with.

    Raises:
        ValueError: The file is truncated or is not a record.
    """
    return _read(path, lambda entries: str(entries["key"]))


def load_record(kind: type[R], path: Path) -> R:
    """Load one record; nothing in the file is ever executed.

    Args:
        kind: The class of the record, such as `Chains`: any made of arrays, numbers and names.
        path: The file to read.

    Returns:
        The record, equal to the one that was saved.

    Raises:
        ValueError: The file is truncated or holds another kind of record.
    """

    def read(entries: Any) -> R:
        if str(entries["record"]) != kind.__name__:
            raise ValueError(f"it holds {entries['record']}, not {kind.__name__}")
        values: dict[str, Any] = {}
        for name, hint in fields_of(kind).items():
            if name not in entries:
                continue  # None when it was saved, or younger than the file: the default
            if hint in (int, float, str):
                values[name] = hint(entries[name][()])
            elif hint == int | None:
                values[name] = int(entries[name][()])
            elif typing.get_origin(hint) is tuple:
                values[name] = tuple(str(text) for text in entries[name])
            else:
                values[name] = entries[name]
        return kind(**values)

    return _read(path, read)


def load_records(kind: type[R], folder: Path) -> list[R]:
    """Every record of one measurement, in the order of their steps; none if there is no folder."""
    return [load_record(kind, file_of(folder, step, ".npz")) for step in steps_in(folder, ".npz")]


# Claims: settings beside what they made, compared and never silently replaced ---------------------


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or one clear sentence."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return value


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What a run is called and what should be measured; None where no plan says.

    Raises:
        ValueError: The plan is damaged.
    """
    path = folder / "plan.json"
    if not path.exists():
        return None
    plan = read_json(path)
    if not _is_plan(plan):
        raise ValueError(f"{path} is not a plan; train again with the same command")
    return plan


def _is_plan(plan: Mapping[str, Any]) -> bool:
    asked = plan.get("measurements")
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        return False
    texts = [plan.get("title"), plan.get("prefix"), *(one.get("probe") for one in asked)]
    texts += [one.get("name", "") for one in asked]
    lists = [plan.get("notes"), plan.get("checkpoints"), *(one.get("steps") for one in asked)]
    if not all(isinstance(found, list) for found in lists):
        return False
    notes, *steps = lists
    return (
        all(isinstance(text, str) for text in [*texts, *notes])
        and all(isinstance(step, int) for some in steps for step in some)
        and all(isinstance(one.get("settings"), dict) for one in asked)
    )


def name_of(asked: Mapping[str, Any]) -> str:
    """What the measurement of a plan is called: the name of its folder."""
    probe: str = asked["probe"]
    return asked.get("name") or probe.rpartition(":")[2]


def claim(path: Path, description: Mapping[str, Any]) -> None:
    """Write what a folder is for, or check that it is for this.

    Raises:
        ValueError: It is for something else; the first setting that differs is named with both
            its values.
    """
    if not path.exists():
        with whole_file(path) as file:
            file.write((json.dumps(description, indent=2) + "\n").encode())
        return
    found = read_json(path)
    wanted = json.loads(json.dumps(description))
    if difference := next(differences(found, wanted), None):
        name, there, here = difference
        raise ValueError(
            f"{path.parent} was made with {name} = {there}, not {here}; choose another folder, or "
            "the settings that it was made with"
        )


def differences(a: Any, b: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: a dotted name, and both values.

    Examples:
        >>> list(differences({"x": 1, "y": {"z": 2}}, {"x": 1, "y": {"z": 3}}))
        [('y.z', 2, 3)]
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            inner = f"{name}.{key}" if name else key
            yield from differences(a.get(key, "absent"), b.get(key, "absent"), inner)
    elif a != b:
        yield name, a, b
