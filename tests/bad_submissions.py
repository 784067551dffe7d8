"""What strangers send, made in code: each input with the codes and the outcome it must give.

A maker writes one file or folder below the folder it is given. ``codes`` are those of all fault
rows of that file; ``outcome`` is that of question 03.q1 (whose right answer is ``o2``), or None
where nothing can be marked.
"""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.quiz import notebook

QUIZ = """
id: "03"
title: Sorting text
lesson: "03"
version: 1
questions:
  - {id: 03.q1, type: single, objective: "03.1", section: s, stem: "Which **one**?",
     explanation: "It is two.", hints: [{text: h, cost: 0.25}], options: [
       {text: one, feedback: "No, one."}, {text: two, correct: true, feedback: "Yes, two."},
       {text: three, feedback: "No, three."}]}
  - {id: 03.q2, type: multiple, objective: "03.1", section: s, stem: "Which?", explanation: e,
     points: 2, options: [{text: a, correct: true, feedback: fa}, {text: b, feedback: fb},
       {text: c, correct: true, feedback: fc}]}
  - {id: 03.q3, type: numeric, objective: "03.2", section: s, stem: "What is {x} + 1?",
     explanation: "It is {x} and one.", answer: "x + 1", variables: {x: [0, 10, 20, 30]}}
  - {id: 03.q4, type: text, objective: "03.2", section: s, stem: "Name it", explanation: e,
     accept: ["perplexity"]}
  - {id: 03.q5, type: ordering, objective: "03.2", section: s, stem: "Order", explanation: e,
     items: [first, second, third]}
  - {id: 03.q6, type: matching, objective: "03.2", section: s, stem: "Match", explanation: e,
     pairs: [{left: l, right: r}, {left: m, right: s}], extra: [t]}
  - {id: 03.q7, type: experiment, objective: "03.3", section: s, stem: "Your accuracy?",
     explanation: e, run: "03-*", answer: metrics.after.accuracy, tolerance: {absolute: 0.01}}
  - {id: 03.q8, type: code, objective: "03.3", section: s, stem: "Is it right?", explanation: e,
     exercise: 03.e1}
  - {id: 03.a1, type: artefact, objective: "03.3", section: s, stem: "Predict", explanation: e,
     points: 4, run: final, gold: gold.jsonl, field: label, metric: accuracy,
     bands: [{at_least: 0.5, share: 0.5}, {at_least: 1.0, share: 1}]}
"""
EXERCISES = """
lesson: "03"
exercises:
  - id: 03.e1
    title: Sort numbers
    objective: "03.1"
    function: f
    prompt: Sort.
    start: "def f(x):\\n    raise NotImplementedError\\n"
    solution: "def f(x):\\n    return sorted(x)\\n"
    cases: [[[3, 1, 2]], [[]], [[5, 5, 1]]]
    wrong: [{name: same, code: "def f(x): return x"}, {name: none, code: "def f(x): return []"}]
"""
GOLD = '{"id": "a", "label": "x"}\n{"id": "b", "label": "y"}\n'


def course(root: Path) -> Path:
    """Write a small course with one quiz, one exercise and one hidden label file; give the keys."""
    keys = root / "keys"
    for folder in (root / "quizzes" / "exercises", root / "datasets", keys):
        folder.mkdir(parents=True)
    (root / "quizzes" / "03_text.yaml").write_text(QUIZ)
    (root / "quizzes" / "exercises" / "03_text.yaml").write_text(EXERCISES)
    (keys / "gold.jsonl").write_text(GOLD)
    return keys


Row = Mapping[str, Any]


def stamp(student: str, number: int) -> str:
    """A time no two students share."""
    seconds = int(files.sha256_bytes(student.encode())[:8], 16) % 10**6
    return f"2026-11-0{1 + number % 9}T10:00:00.{seconds:06}+00:00"


def row(student: str, question: str, value: Any, number: int = 1, **more: Any) -> dict[str, Any]:
    """One answer, as a notebook keeps it."""
    return {
        "quiz": "03", "question": question, "version": 1, "attempt": 1, "value": value,
        "time": stamp(student, number), "hints": 0, "outcome": "incorrect", "share": 0.0,
        "session": "s", "number": number,
    } | more  # fmt: skip


def chained(rows: Iterable[Row | bytes]) -> bytes:
    """Answers as a file: each line names the hash of the one before; bytes go in as they are."""
    before, out = "0" * 64, b""
    for one in rows:
        line = one if isinstance(one, bytes) else json.dumps({**one, "previous": before}).encode()
        out += line + b"\n"
        before = files.sha256_bytes(line + b"\n")
    return out


def good(student: str, value: Any = "o2") -> bytes:
    """One answer to the first question."""
    return chained([row(student, "03.q1", value)])


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """An entry of a zip file."""
    made = zipfile.ZipInfo(name)
    made.compress_type, made.create_system, made.external_attr = 8, 3, mode << 16
    return made


def pack(
    student: str, content: Mapping[str, bytes], *, manifest: bytes | None = None,
    extra: Iterable[tuple[zipfile.ZipInfo, bytes]] = (), **fields: Any,
) -> bytes:  # fmt: skip
    """A submission as 'course submit' makes it, but for what is given."""
    target = io.BytesIO()
    listed = {n: {"bytes": len(d), "sha256": files.sha256_bytes(d)} for n, d in content.items()}
    told = {"schema": 1, "student": student, "course": "Spring", "left_out": [], "files": listed,
            "time": "2026-11-20T10:00:00+00:00", "course_version": "1"} | fields  # fmt: skip
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        warnings.simplefilter("ignore")  # of doubled names
        for name, data in content.items():
            packed.writestr(entry(name), data)
        for made, data in extra:
            packed.writestr(made, data)
        packed.writestr(entry("manifest.json"),
                        json.dumps(told).encode() if manifest is None else manifest)  # fmt: skip
    return target.getvalue()


@dataclass(frozen=True)
class Bad:
    """One input: who it is from, what it gives, how it is made."""

    name: str
    codes: frozenset[str]
    outcome: str | None
    make: Callable[[Path], None]

    @property
    def student(self) -> str:
        return self.name


BAD: list[Bad] = []
A = "answers/03.s.jsonl"


def _file(name: str, codes: str, outcome: str | None, data: Callable[[], bytes],
          suffix: str = ".zip") -> None:  # fmt: skip
    BAD.append(
        Bad(
            name,
            frozenset(codes.split()),
            outcome,
            lambda folder: (folder / f"{name}{suffix}").write_bytes(data()) and None,
        )
    )


def _answers(name: str, codes: str, outcome: str | None, *rows: Row | bytes) -> None:
    _file(name, codes, outcome, lambda: pack(name, {A: chained(rows)}))


def _manifest(name: str, codes: str, data: bytes) -> None:
    _file(name, codes, None, lambda: pack(name, {A: good(name)}, manifest=data))


def _extra(name: str, codes: str, inside: str, mode: int = 0o100644, data: bytes = b"x") -> None:
    more = [(entry(inside, mode), data)]
    _file(name, codes, None, lambda: pack(name, {A: good(name)}, extra=more))


def _made(name: str, codes: str, outcome: str | None, make: Callable[[Path], None]) -> None:
    BAD.append(Bad(name, frozenset(codes.split()), outcome, make))


# --- containers
_file("empty", "not-a-zip", None, lambda: b"")
BAD[-1] = Bad("empty", frozenset({"not-a-zip"}), None, lambda f: (f / "empty.zip").touch())
_file("text", "not-a-zip", None, lambda: b"hello " * 100)
_file("truncated", "not-a-zip", None, lambda: pack("truncated", {A: good("truncated")})[:200])


def _flipped() -> bytes:
    data = bytearray(pack("flipped", {A: good("flipped")}))
    data[80] ^= 0xFF
    return bytes(data)


def _encrypted() -> bytes:
    data = bytearray(pack("encrypted", {A: good("encrypted")}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        data[at + place] |= 1
    return bytes(data)


def _forged_size() -> bytes:
    data = bytearray(pack("forgedsize", {A: good("forgedsize") * 50}))
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(data)


_file("flipped", "damaged-zip", None, _flipped)
_file("encrypted", "encrypted", None, _encrypted)
_file("forgedsize", "damaged-zip", None, _forged_size)
_extra("climbs", "path-traversal", "../../evil.py")
_extra("rooted", "path-traversal", "/etc/cron.d/evil")
_extra("climbsin", "path-traversal", "runs/../run.json")
_extra("drive", "path-traversal", "answers/C:evil.jsonl")
_extra("linked", "symlink", "answers/04.s.jsonl", stat.S_IFLNK | 0o777, b"/etc/passwd")
_extra("piped", "symlink", "answers/04.s.jsonl", stat.S_IFIFO | 0o644)
_extra("doubled", "duplicate-entry", A)
_extra("nested", "odd-entry", "answers/inner.zip", data=pack("x", {}))
_extra("pickle", "odd-entry", "runs/final/model.pkl", data=b"cos\nsystem\n(S'id'\ntR.")
_extra("script", "odd-entry", "conftest.py")
_file("ratio", "zip-bomb", None, lambda: pack("ratio", {A: b"\0" * 60 * 10**6}))
_file("many", "zip-bomb", None,
      lambda: pack("many", {f"answers/03.s{n}.jsonl": b"" for n in range(2001)}))  # fmt: skip
_file("fat", "too-large", None, lambda: pack("fat", {A: b"[" * 21 * 10**6}))
_file("lines", "too-large", None, lambda: pack("lines", {A: b"x\n" * 200_000}))
_file("fatrun", "too-large", None, lambda: pack("fatrun", {
    A: good("fatrun"), "runs/a/run.json": b'{"a": "' + b"x" * 6 * 10**6 + b'"}'}))  # fmt: skip
_file("mismatch", "hash-mismatch", None, lambda: pack("mismatch", {A: good("mismatch")}, files={
    A: {"bytes": 3, "sha256": "0" * 64}}))  # fmt: skip
_file("missing", "hash-mismatch", None, lambda: pack("missing", {}, files={
    A: {"bytes": 3, "sha256": "0" * 64}}))  # fmt: skip
_file("badreceipt", "bad-receipt", None,
      lambda: pack("badreceipt", {"receipts/a.json": b'{"receipts": [7]}'}))  # fmt: skip
_file("badrun", "bad-run", None,
      lambda: pack("badrun", {A: good("badrun"), "runs/a/run.json": b"[]"}))  # fmt: skip


def _headless() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        packed.writestr(entry(A), good("headless"))
    return target.getvalue()


_file("headless", "no-manifest", None, _headless)
_manifest("m_utf16", "not-utf8", '{"schema": 1}'.encode("utf-16"))
_manifest("m_latin", "not-utf8", '{"student": "é"}'.encode("latin-1"))
_manifest("m_twice", "duplicate-key", b'{"student": "a", "student": "b"}')
_manifest("m_nan", "not-finite", b'{"schema": NaN}')
_manifest("m_deep", "deep-nesting", b"[" * 100_000)
_manifest("m_lone", "lone-surrogate", b'{"student": "\\ud800"}')
_manifest("m_two", "wrong-version", b'{"schema": 2}')
_manifest("m_list", "bad-manifest", b"[]")
_manifest("m_text", "not-json", b"schema: 1")
_file("m_path", "bad-manifest", None, lambda: pack("../../etc/passwd", {A: good("m_path")}))
_file("m_time", "bad-manifest", None, lambda: pack("m_time", {A: good("m_time")}, time="soon"))

# --- what is no file


def _socket(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # the path of a socket may be 107 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("sock")
    finally:
        os.chdir(here)


def _folder(folder: Path, name: str, data: bytes | None = None) -> Path:
    (folder / name / "answers").mkdir(parents=True)
    (folder / name / "answers" / "03.s.jsonl").write_bytes(data or good(name))
    return folder / name


_made("link", "symlink", None, lambda f: (f / "link").symlink_to("/etc/passwd"))
_made("dangling", "symlink", None, lambda f: (f / "dangling.zip").symlink_to("/nowhere"))
_made("linkdir", "symlink", None, lambda f: (f / "linkdir").symlink_to("/etc"))
_made("fifo", "fifo", None, lambda f: os.mkfifo(f / "fifo.zip"))
_made("sock", "not-a-file", None, _socket)
_made(
    "d_link",
    "symlink",
    None,
    lambda f: (_folder(f, "d_link") / "answers" / "04.s.jsonl").symlink_to("/etc/passwd"),
)
_made("d_fifo", "fifo", None,
      lambda f: os.mkfifo(_folder(f, "d_fifo") / "answers" / "04.s.jsonl"))  # fmt: skip
_made("bad id", "bad-student", None, lambda f: _folder(f, "bad id") and None)
_made("\x1b[31mred", "not-a-zip", None, lambda f: (f / "\x1b[31mred.zip").touch())
_made("raw", "not-a-zip", None, lambda f: (f / os.fsdecode(b"raw\xff\xfe.zip")).touch())

# --- notebooks


def receipt(student: str, *rows: Row) -> dict[str, Any]:
    """A cell whose output keeps answers; its source is of the wrong kind."""
    kept = {"schema": 1, "lesson": "03", "attempts": list(rows), "sha256": ""}
    return {
        "cell_type": "code",
        "source": 7,
        "outputs": [{"output_type": "display_data", "data": {notebook.RECEIPT: kept}}],
    }


def _book(name: str, codes: str, outcome: str | None, data: bytes) -> None:
    _made(name, codes, outcome, lambda f: (f / f"{name}__03.ipynb").write_bytes(data) and None)


_book("n_text", "not-json", None, b"import os")
_book("n_utf16", "not-utf8", None, '{"cells": []}'.encode("utf-16"))
_book("n_cells", "not-a-notebook", None, b'{"cells": 7}')
_book("n_deep", "deep-nesting", None, b'{"cells": ' + b"[" * 100_000)
_book("n_nan", "not-finite", None, b'{"cells": [NaN]}')
_book("n_none", "no-answers", None,
      b'{"cells": [7, {"outputs": 7}, {"outputs": [{"data": null}]}]}')  # fmt: skip
_book(
    "n_seven",
    "",
    "right",
    json.dumps({"cells": [7, receipt("n_seven", row("n_seven", "03.q1", "o2"))]}).encode(),
)

# --- answers
_answers("honest", "", "right", row("honest", "03.q1", "o2"))
_answers("forged", "", "wrong",
         row("forged", "03.q1", "o1", outcome="correct", share=99.0, attempt=1))  # fmt: skip
_answers("edited", "broken-chain", "right", row("edited", "03.q2", ["o1"]),
         json.dumps(row("edited", "03.q1", "o2", 2) | {"previous": "1" * 64}).encode())  # fmt: skip
_file("torn", "torn-line", "right", lambda: pack("torn", {A: good("torn") + b'{"quiz": "03"'}))
_file("bom", "", "right", lambda: pack("bom", {A: b"\xef\xbb\xbf" + good("bom")}))
_file("utf16", "not-utf8 torn-line not-json", None,
      lambda: pack("utf16", {A: good("utf16").decode().encode("utf-16")}))  # fmt: skip
BAD[-1] = Bad("utf16", frozenset({"not-utf8", "torn-line"}), "blank", BAD[-1].make)


def _line(name: str, old: bytes, new: bytes) -> bytes:
    line = json.dumps(row(name, "03.q2", "HERE", 1) | {"previous": "0" * 64}).encode()
    return line.replace(old, new)


def _with(name: str, codes: str, outcome: str, new: bytes, old: bytes = b'"HERE"') -> None:
    """An odd line before a sound one; the sound one counts."""
    first = _line(name, old, new)
    _answers(name, codes, outcome, first, row(name, "03.q1", "o2", 2))


_with("latin", "not-utf8 broken-chain", "right", '"é"'.encode("latin-1"))
_with("lone", "lone-surrogate broken-chain", "right", b'"\\udfff"')
_with("nan", "not-finite broken-chain", "right", b"NaN")
_with("infinite", "not-finite", "right", b"1e999")
_with("twice", "duplicate-key broken-chain", "right", b'"o1", "value": "o2"')
_with("digits", "huge-number broken-chain", "right", b"9" * 5000)
_with("big", "huge-number", "right", b"1" + b"0" * 30)
_with("version", "bad-field", "right", b'"version": ' + b"9" * 30, b'"version": 1')
_with("hints", "bad-field", "right", b'"hints": -3', b'"hints": 0')
_with("deep", "deep-nesting broken-chain", "right", b"[" * 50_000 + b"]" * 50_000)
_with("deeper", "deep-nesting", "right", b"[" * 60 + b"]" * 60)
_with("long", "too-large", "right", b'"' + b"x" * 100_000 + b'"')
_with("wide", "too-large", "right", b"[" + b"1," * 9000 + b"1]")
_with("kinds", "not-an-answer broken-chain", "right", b'"question": 7', b'"question": "03.q2"')
_with("field", "not-an-answer broken-chain", "right", b'"grade": 1, "value": 1', b'"value": "HERE"')
_with("array", "not-an-answer broken-chain", "right", b"[7]", _line("array", b"", b""))
_with("oddid", "bad-field", "right", b"03.q2" * 100, b"03.q2")
_answers("older", "wrong-version", "right", row("older", "03.q1", "o2", version=7))
_answers("true", "", "needs_review", row("true", "03.q1", True))
_answers("object", "", "needs_review", row("object", "03.q1", {"o2": {"o2": "o2"}}))
_answers("listed", "", "needs_review", row("listed", "03.q1", ["o2"]))
_answers("html", "", "needs_review", row("html", "03.q1", "<script>alert(1)</script>"))
_answers("regex", "", "blank", row("regex", "03.q4", "a" * 199 + "!"),
         row("regex", "03.q3", "1," * 29 + "x", 2))  # fmt: skip
_answers("ansi", "", "needs_review", row("ansi", "03.q1", "\x1b[2J\x1b]0;owned\x07"))
_answers("ahead", "odd-time", "right", row("ahead", "03.q1", "o2", time="2027-01-01T00:00:00"))
_file("notes", "unknown-lesson", "right",
      lambda: pack("notes", {A: good("notes"), "answers/notes.s.jsonl": b"mine\n"}))  # fmt: skip
_file("lesson", "unknown-quiz", "right", lambda: pack("lesson", {
    A: good("lesson"),
    "answers/77.s.jsonl": chained([row("lesson", "77.q1", "o1", 1, quiz="77")])}))  # fmt: skip
_file("z_replay", "replayed", "right", lambda: pack("z_replay", {A: good("honest")}))
_file("z_stranger", "unknown-student", "right", lambda: pack("z_stranger", {A: good("z_stranger")}))
_file("norun", "damaged-run", "right", lambda: pack("norun", {
    A: chained([row("norun", "03.q1", "o2"), row("norun", "03.q7", "0.5", 2)]),
    "runs/03-x/run.json": b'{"metrics": {"after": {"accuracy": 0.5}}, "data": []}'}))  # fmt: skip
_file("predicts", "", "right", lambda: pack("predicts", {
    A: good("predicts"), "runs/final/run.json": b"{}",
    "runs/final/predictions.jsonl": b'{"id": "a", "prediction": NaN}\n'}))  # fmt: skip

# --- code: the outcome told by the notebook is forged to 'correct'; that of 03.e1 must be 'wrong'
HOSTILE = {
    "loops": ("def f(x):\n  while True: pass", "longer than allowed"),
    "forks": ("import os\ndef f(x):\n  while True: os.fork()", ""),
    "hoards": ("def f(x): return len('x' * 10**11)", "memory"),
    "floods": ("def f(x):\n  while True: print('x' * 10**6)", "more than allowed"),
    "patches": ("import builtins\nbuiltins.sorted = lambda x: x\n"
                "builtins.AssertionError = Exception\ndef f(x): return x", "should give"),
    "equals": ("class Any(list):\n  def __eq__(self, o): return True\n"
               "def f(x): return Any()", "should give"),
    "exits": ("import os\ndef f(x): os._exit(0)", "before the last case"),
    "calls": ("import socket\ndef f(x):\n  socket.create_connection(('1.1.1.1', 53), 1)\n"
              "  return sorted(x)", "raised"),
    "peeks": ("def f(x): return sorted(open('KEYS').read())", "raised"),
    "digits": ("def f(x): return 10**400", "should give"),
    "escapes": ("def f(x): raise ValueError('\\x1b[2J<script>alert(1)</script>')", "raised"),
    "syntax": ("def f(x:", "SyntaxError"),
    "nul": ("def f(x): return 1\0", ""),
}  # fmt: skip


def hostile(student: str, source: str, outcome: str = "correct") -> bytes:
    """A submission with code whose outcome is forged."""
    rows = [row(student, "03.e1", {"source": source}, 1, outcome=outcome, share=1.0)]
    return pack(student, {A: chained(rows)})
