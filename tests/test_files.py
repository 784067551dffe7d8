"""Strict reading and atomic writing, with what strangers and power cuts do to files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import files
from course_lib.errors import DataError, EnvironmentProblem, StorageError

BAD_JSON = {
    "nan": ('{"a": NaN}', "NaN is not JSON"),
    "infinity": ('{"a": -Infinity}', "Infinity is not JSON"),
    "duplicate": ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' appears twice"),
    "surrogate": ('{"a": "\\ud800"}', "surrogates not allowed"),
    "surrogate key": ('{"\\udfff": 1}', "surrogates not allowed"),
    "torn": ('{"a": [1, 2', "not valid JSON"),
    "single quotes": ("{'a': 1}", "double quotes"),
    "nested": ("[" * 200_000, "not valid JSON"),
    "long number": ("1" * 5000, "not valid JSON"),
    "empty": ("", "not valid JSON"),
}


@pytest.mark.parametrize(("text", "said"), BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
                                                                     allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(values)
def test_json_comes_back_as_it_was(value: object) -> None:
    assert files.parse_json(json.dumps(value), where="x") == value
    assert files.parse_json(json.dumps(value, ensure_ascii=False), where="x") == value


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_json(path) == {"a": 1}
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}')
    assert list(files.read_jsonl(lines)) == [(1, {"a": 1}), (3, {"a": 2})]


@pytest.mark.parametrize("data", [b"caf\xe9", '{"a": 1}'.encode("utf-16")], ids=["latin", "utf16"])
def test_other_encodings_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte \d: 0x.*(.|\n)*iconv"):
        files.read_text(path)


def test_missing_and_oversized_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file(.|\n)*check the spelling"):
        files.read_text(tmp_path / "none.txt")
    big = tmp_path / "big.txt"
    big.write_bytes(b"x" * 101)
    with pytest.raises(DataError, match=r"too large; got 101 bytes; expected at most 100"):
        files.read_text(big, max_bytes=100)


@pytest.mark.parametrize("line", ["[1]", '"text"', "3", "null"])
def test_a_jsonl_line_is_an_object(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a JSON object"):
        list(files.read_jsonl(path))


def test_jsonl_streams_and_bounds_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "' + b"x" * files.MAX_LINE_BYTES + b'"}\n')
    rows = files.read_jsonl(path)
    assert next(rows) == (1, {"a": 1})  # the first row comes before the bad one is read
    with pytest.raises(DataError, match=r"a\.jsonl:2: the line is too long"):
        next(rows)


BAD_YAML = {
    "alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", r"aliases \(\*a\)"),
    "merge": ("a: &a {x: 1}\nb:\n  <<: *a\n", "aliases"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' appears twice"),
    "python object": ("a: !!python/object/apply:os.system ['true']\n", "could not determine"),
    "torn": ("a: [1, 2\n", "not valid YAML"),
    "deep": ("[" * 5000 + "]" * 5000, "not valid YAML"),
}


@pytest.mark.parametrize(("text", "said"), BAD_YAML.values(), ids=BAD_YAML)
def test_bad_yaml_is_refused_quickly(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(DataError, match=said):
        files.read_yaml(path)
    assert time.monotonic() - began < 10


def test_good_yaml(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("id: q1\noptions:\n  - {text: ja, correct: true}\n", encoding="utf-8")
    assert files.read_yaml(path) == {"id": "q1", "options": [{"text": "ja", "correct": True}]}


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert files.sha256_bytes(b"abc") == files.sha256_file(tmp_path / "a.txt") == known
    before = files.sha256_tree(tmp_path)
    (tmp_path / "b.md").write_bytes(b"x")
    assert files.sha256_tree(tmp_path) != before
    assert files.sha256_tree(tmp_path, suffixes=(".txt",)) == before
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    assert files.sha256_tree(tmp_path, suffixes=(".txt",)) != before


def test_course_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="this is not a course folder"):
        files.course_root()
    (tmp_path / "datasets").mkdir()
    assert files.course_root() == tmp_path
    monkeypatch.delenv("COURSE_ROOT")
    assert (files.course_root() / "course_lib" / "files.py").is_file()


def test_writing_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"é": [1, 2]})
    files.write_json(path, {"é": [3]})
    assert path.read_text(encoding="utf-8") == '{\n  "é": [\n    3\n  ]\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"é": [3]}


WRITER = """
import sys
from course_lib import files
body = [str(i) * 200 for i in range(2000)]
n = 0
while True:
    n += 1
    files.write_json(sys.argv[1], {"n": n, "body": body, "end": n})
    if n == 1:
        print("going", flush=True)
"""


def test_kill_9_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for round_number in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "going\n"
            time.sleep(0.003 * round_number)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        found = files.read_json(path)
        assert found["n"] == found["end"]
        assert len(found["body"]) == 2000


FULL = """
import resource, signal, sys
from course_lib import files
from course_lib.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_bytes(sys.argv[1], b"new" * 1000)
except StorageError as error:
    print(error)
"""


def test_a_write_that_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert "could not write" in done.stdout
    assert "free some space" in done.stdout
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_path_through_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(StorageError, match=r"could not write(.|\n)*choose another folder"):
        files.write_bytes(tmp_path / "a" / "b", b"x")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with files.new_folder(target) as folder:
        (folder / "a.txt").write_text("1", encoding="utf-8")
        assert not target.exists()
    with pytest.raises(ValueError, match="broke off"), files.new_folder(target) as folder:
        (folder / "b.txt").write_text("2", encoding="utf-8")
        raise ValueError("broke off")
    assert [p.name for p in target.iterdir()] == ["a.txt"]
    with files.new_folder(target) as folder:
        (folder / "c.txt").write_text("3", encoding="utf-8")
    assert [p.name for p in target.iterdir()] == ["c.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
