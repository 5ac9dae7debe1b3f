"""Without a terminal, progress is plain lines that say what is done and what is left."""

import re

from ontogeny import progress as module
from ontogeny.progress import progress


def test_plain_lines_say_what_when_and_how_long(capfd, monkeypatch):
    clock = iter(float(second) for second in range(0, 1000, 6))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress("sample chains", total=10, done=4) as advance:
        for _ in range(6):
            advance(1)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "sample chains: 6 to do, 4 done before"
    assert re.fullmatch(r"sample chains: 6 of 10, about 24 s left", lines[1])
    assert lines[-1].startswith("sample chains: done in")
    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_a_terminal_gets_a_bar(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("training", total=3) as advance:
        advance(3)
    shown = capfd.readouterr().err
    assert "training" in shown
    assert "3/3" in shown
