import json

import pytest


@pytest.fixture
def texts():
    """Documents of a few lines each."""
    line = "The cat number {} sat on the mat, and the dog saw the cat.\n"
    return [line.format(number) * 5 for number in range(120)]


@pytest.fixture
def source(texts, tmp_path, monkeypatch):
    """A file of them, and a cache of its own."""
    monkeypatch.setenv("ONTOGENY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return str(path)
