import pytest

from ontogeny.problems.texts import count_documents, documents


def test_lines_end_where_json_says(tmp_path):
    path = tmp_path / "lines.JSONL"
    path.write_bytes('\ufeff{"text": "one\u2028two"}\n\n{"text": "three"}\n'.encode())
    assert list(documents(str(path))) == ["one\u2028two", "three"]
    path.write_text('{"text": "one"}\n\n{"text": null}\n')
    with pytest.raises(ValueError, match="line 3 of"):
        list(documents(str(path)))


def test_folders_are_searched_for_text_in_files(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "folder.txt" / "A.TXT").write_text("a text")
    assert list(documents(str(tmp_path))) == ["a text"]


def test_documents_are_counted_without_being_read(tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    (tmp_path / "book.txt").write_text("three\n\nfour")
    assert count_documents(str(tmp_path)) == len(list(documents(str(tmp_path)))) == 3


def test_bad_sources_get_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no text at"):
        list(documents(str(tmp_path / "nowhere")))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"colour": 1}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* is not a JSON object with a text"):
        list(documents(str(broken)))
