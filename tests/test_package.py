"""The public surface: what is exported, documented and typed."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ontogeny

ROOT = Path(__file__).parent.parent
FOLDERS = ["analysis", "metrics", "probes", "problems", "views"]
MODULES = [
    f"ontogeny.{'.'.join(path.relative_to(ROOT / 'src/ontogeny').with_suffix('').parts)}"
    for path in sorted((ROOT / "src/ontogeny").rglob("*.py"))
    if path.stem != "__init__"
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_folder_exports_is_a_sorted_list_and_all_of_it_is_there(folder):
    module = importlib.import_module(f"ontogeny.{folder}")
    assert module.__all__ == sorted(module.__all__)
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(module.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_thing_has_a_docstring_and_types(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for thing in vars(module).values():
        is_ours = getattr(thing, "__module__", None) == name
        if not is_ours or getattr(thing, "__name__", "_").startswith("_"):
            continue
        assert thing.__doc__, thing
        if inspect.isfunction(thing):
            parameters = set(inspect.signature(thing).parameters)
            assert parameters | {"return"} <= set(thing.__annotations__) | {"self"}, thing


@pytest.mark.parametrize("name", ["records", "storage", "analysis", "views", "cli"])
def test_reading_never_brings_torch(name):
    program = f"import sys, ontogeny.{name}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_changelog_knows_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    top = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert top.split()[1] == ontogeny.__version__
