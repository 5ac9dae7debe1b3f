"""The documents tell the truth: what they show runs, and what they link to is there.

A page is run from top to bottom in a folder of its own: python blocks in one namespace, and the
lines of sh blocks where they stand. A block that should not run is not a python block.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {
    "pip ": "installs",
    "make ": "sets up an environment",
    "ontogeny run ": "presets take minutes to days",
    "ontogeny train regression": "takes a minute",
    "ontogeny calibrate ": "takes minutes",
    "ontogeny validate": "takes minutes",
    "ontogeny measure ": "takes minutes",
    "ontogeny report runs/regression-": "a preset's run, which is not there",
    "ontogeny report runs/language-": "a preset's run, which is not there",
    "ontogeny status runs/regression-": "a preset's run, which is not there",
}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int
    text: str


def blocks_of(page):
    blocks, opened = [], None
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if opened is None and (fence := re.fullmatch(r"(```+)(\w*).*", line)):
            opened, language, first, lines = fence[1], fence[2], number, []
        elif opened is not None and line == opened:
            blocks.append(Block(language, first, "\n".join(lines)))
            opened = None
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{page}: the block at line {first} has no end"
    return blocks


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for block in blocks_of(page):
        if block.language == "python":
            source = "\n" * block.line + block.text  # so that a traceback has the page's lines
            exec(compile(source, str(page), "exec"), namespace)
        elif block.language == "sh":
            for line in block.text.splitlines():
                run_in_shell(line, f"{name_of(page)}, block at line {block.line}")


def run_in_shell(line, place):
    command = line.partition(" #")[0].strip()
    if not command or command.startswith(("#", *NOT_RUN)):
        return
    program, *arguments = shlex.split(command)
    assert program == "ontogeny", (
        f"{place}: is {command!r} to be run, or does it belong in NOT_RUN?"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ontogeny", *arguments],
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{place}: {command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_number_on_a_page_is_filled_in(page):
    assert not re.findall(r"\b[A-Z]{9,}\b", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_links_to_is_there(page):
    prose = re.sub(r"(?ms)^(```+).*?^\1$", "", page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose))
    relative = [target for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in relative if not (page.parent / target.split("#")[0]).exists()]
    assert not missing


def test_every_page_of_the_site_is_in_its_menu():
    menu = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert menu == {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}


@pytest.mark.parametrize("start", NOT_RUN)
def test_what_is_not_run_is_somewhere(start):
    blocks = [block for page in PAGES for block in blocks_of(page) if block.language == "sh"]
    assert any(line.startswith(start) for block in blocks for line in block.text.splitlines())
