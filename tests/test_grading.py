"""`course grade`, `regrade`, `analyze`: fair marks from files nobody can trust."""

from __future__ import annotations

import functools
import html
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import nh3
import numpy as np
import pytest
from bad_submissions import BAD, HOSTILE, A, Bad, chained, course, good, hostile, pack, row

from course_lib.cli import main
from course_lib.errors import DataError, StorageError, UnknownNameError, UsageError
from course_lib.quiz import evidence, schema, variants
from course_lib.quiz.answers import Attempt
from course_lib.teach.grading import (
    analysis,
    codes,
    execute,
    feedback_page,
    gradebook,
    marking,
    report,
    sandbox,
    shared_work,
    summary,
    tables,
    waiting,
)
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.grading.keys import Keys, load_keys
from course_lib.teach.grading.marker import Marker
from course_lib.teach.grading.policy import Policy, read_policy
from course_lib.teach.grading.regrade import regrade

SECRET = b"s" * 32


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("course")
    course(place)
    return place


@pytest.fixture(scope="module")
def keys(root: Path) -> Keys:
    return load_keys(root, root / "keys")


@pytest.fixture()
def book(tmp_path: Path) -> Any:
    with Gradebook(tmp_path / "g.sqlite") as made:
        yield made


def hand_in(folder: Path, student: str, *rows: dict[str, Any], name: str = "", **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name or student}.zip"
    path.write_bytes(pack(student, {A: chained(rows)}, **more))
    return path


def points(book: Gradebook, item: str) -> dict[str, float]:
    return {m.student: m.points for m in book.marks("WHERE item=?", (item,))}


def outcomes(book: Gradebook, item: str) -> dict[str, str]:
    return {m.student: m.outcome for m in book.marks("WHERE item=?", (item,))}


# --- what strangers send


@pytest.fixture(scope="module")
def graded(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "in").mkdir()
    for bad in BAD:
        bad.make(folder / "in")
    roster = {bad.student: "=cmd()" for bad in BAD if bad.name != "z_stranger"}
    marker = Marker(keys, run_code=False)
    with Gradebook(folder / "g.sqlite") as made:
        began = time.monotonic()
        found = marking.grade_all([folder / "in"], marker, made, roster=roster)
        yield made, found, time.monotonic() - began, marker


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: codes.plain(bad.name))
def test_a_bad_input_gives_its_row_and_no_other(graded: Any, bad: Bad) -> None:
    made, *_ = graded
    own = [f for f in made.faults()
           if re.split(r"\.zip|__|\\udc", f.file)[0] == codes.plain(bad.name)]  # fmt: skip
    assert {f.code for f in own} == bad.codes
    assert outcomes(made, "03.q1").get(bad.student) == bad.outcome
    for fault in own:
        assert fault.message and fault.next_step
        assert all(t.isprintable() for t in (fault.file, fault.field, fault.message))
        assert len(fault.message) <= codes.LONGEST


def test_one_bad_file_never_stops_the_rest(graded: Any) -> None:
    made, found, seconds, _ = graded
    assert found.graded == sum(bad.outcome is not None for bad in BAD)
    assert len(found.faults) == sum(len(bad.codes) for bad in BAD)
    assert seconds < 30
    assert made.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert outcomes(made, "03.q4")["regex"] == "wrong"
    assert outcomes(made, "03.q3")["regex"] == "needs_review"
    assert outcomes(made, "03.a1")["predicts"] == "needs_review"
    assert outcomes(made, "03.q7")["norun"] == "needs_review"


TAGS = {*nh3.ALLOWED_TAGS, "section", "math", "mrow", "mi", "mn", "mo", "msup", "msub", "mfrac"}


def sanitised(page: str) -> None:
    body = page.split("<body>", 1)[1].rsplit("</body>", 1)[0]
    allowed = {k: set(v) for k, v in nh3.ALLOWED_ATTRIBUTES.items()}
    allowed |= {tag: allowed.get(tag, set()) | {"class"} for tag in TAGS}
    cleaned = nh3.clean(body, tags=TAGS, attributes=allowed, link_rel=None)
    assert html.unescape(cleaned) == html.unescape(body)
    assert not re.search(r"<script|<img|<link|<iframe|\son\w+=|url\(|src=", body)


def test_pages_hold_nothing_that_runs_and_are_small(graded: Any, tmp_path: Path) -> None:
    made, _, _, marker = graded
    written = feedback_page.write_pages(made, marker, tmp_path / "pages")
    assert len(written) == sum(bad.outcome is not None for bad in BAD)
    for path in written.values():
        text = path.read_text()
        assert path.stat().st_size < 40_000
        sanitised(text)
        assert "default-src 'none'" in text
    page = written["html"].read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in written["ansi"].read_text()


@pytest.mark.parametrize(
    "student", [".", "..", "con", "CON", "com1", "aux", "a/b", "-rf", "Mia", "é" * 60, "x" * 64]
)
def test_a_page_has_a_safe_name_of_its_own(student: str) -> None:
    name = feedback_page.file_name(student)
    assert re.fullmatch(r"[a-z0-9_][a-z0-9_-]*\.[0-9a-f]{12}\.html", name)
    assert name.split(".")[0] not in ("con", "aux", "com1") or len(name) > 16
    assert feedback_page.file_name("mia-lee") == "mia-lee.html"
    assert len({feedback_page.file_name(s) for s in ("Mia", "mia", "MIA")}) == 3


def test_no_cell_of_the_table_is_a_formula(graded: Any) -> None:
    made, *_ = graded
    text = tables.marks_csv(made)
    assert "'=cmd()" in text
    assert not re.search(r"(^|,)[=+@]", text, re.M)


def test_the_summary_lists_faults_and_waiting(graded: Any, tmp_path: Path) -> None:
    made, *_ = graded
    summary.write(made, tmp_path / "s.html")
    summary.write(made, tmp_path / "s.txt")
    sanitised((tmp_path / "s.html").read_text())
    for text in ((tmp_path / "s.html").read_text(), (tmp_path / "s.txt").read_text()):
        assert "path-traversal" in text
        assert "\x1b" not in text


RUN = {"metrics": {"after": {"accuracy": 0.5}}, "data": {"name": ""}}
ROWS = '{"id": "a", "gold": "x", "prediction": "x"}\n'
DAMAGED: dict[str, tuple[dict[str, bytes], str]] = {
    "no predictions": ({"run.json": json.dumps(RUN).encode()}, "predictions.jsonl: No such file"),
    "data is text": ({"run.json": json.dumps(RUN | {"data": "x"}).encode(),
                      "predictions.jsonl": ROWS.encode()}, "not what a run writes"),
    "torn": ({"run.json": json.dumps(RUN).encode(), "predictions.jsonl": b'{"id'},
             "not valid JSON"),
    "a list": ({"run.json": b'{"metrics": []}', "predictions.jsonl": b""}, "not what a run writes"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_run_is_told_and_stops_nothing(
    keys: Keys, book: Gradebook, tmp_path: Path, case: str
) -> None:
    inside, told = DAMAGED[case]
    given = (row("mia", "03.q1", "o2"), row("mia", "03.q7", "0.5", 2))
    packed = {f"runs/03-x/{name}": data for name, data in inside.items()}
    (tmp_path / "mia.zip").write_bytes(pack("mia", {A: chained(given), **packed}))
    for name, data in packed.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert evidence.figure(tmp_path / "runs", "03-*", "metrics.after.accuracy") is None
    found = marking.grade_all([tmp_path / "mia.zip"], Marker(keys), book)
    assert (found.graded, outcomes(book, "03.q1")["mia"]) == (1, "right")
    assert outcomes(book, "03.q7")["mia"] == "needs_review"
    (fault,) = book.faults()
    assert (fault.code, fault.student, fault.field) == ("damaged-run", "mia", "runs, for 03.q7")
    assert "03-x: " in fault.message and told in fault.message
    assert str(tmp_path) not in fault.message and "/tmp" not in fault.message


# --- code


def test_hostile_code_earns_nothing_and_harms_nothing(
    root: Path, keys: Keys, book: Gradebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = functools.partial(sandbox.Limits, seconds=10.0, memory=2**30)
    monkeypatch.setattr(sandbox, "Limits", short)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (source, _) in HOSTILE.items():
        source = source.replace("KEYS", str(root / "keys" / "gold.jsonl"))
        (folder / f"h_{name}.zip").write_bytes(hostile(f"h_{name}", source))
    (folder / "fine.zip").write_bytes(hostile("fine", "def f(x): return sorted(x)"))
    (folder / "admits.zip").write_bytes(
        hostile("admits", "def f(x): return sorted(x)", outcome="incorrect")
    )
    found = marking.grade_all([folder], Marker(keys), book, jobs=4)
    got = outcomes(book, "03.e1")
    assert got.pop("fine") == "right"
    assert got.pop("admits") == "wrong"  # what failed in the student's own kernel earns nothing
    assert set(got.values()) == {"wrong"} and len(got) == len(HOSTILE)
    told = {m.student: json.loads(m.detail)["told"] for m in book.marks("WHERE item='03.e1'")}
    for name, (_, words) in HOSTILE.items():
        assert words in told[f"h_{name}"]
    assert "\x1b" not in told["h_escapes"]
    assert found.ran == len(HOSTILE) + 1 and not found.faults
    sanitised(feedback_page.page(book, Marker(keys), "h_escapes"))


def test_code_that_waited_is_run_once_isolation_is_there(
    keys: Keys, book: Gradebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def counted(exercise: Any, source: str) -> execute.Verdict:
        ran.append(source)
        return execute.Verdict("right", 1.0, "right on all 3 inputs")

    monkeypatch.setattr(execute, "mark_exercise", counted)
    monkeypatch.setattr(sandbox, "available", lambda: "no bubblewrap")
    for n in range(5):
        source = f"def f(x): return sorted(x)  # {n % 2}"
        rows = [row(f"s{n}", "03.e1", {"source": source}, 1, outcome="correct"),
                row(f"s{n}", "03.q8", "yes", 2)]  # fmt: skip
        hand_in(tmp_path / "in", f"s{n}", *rows, time="2026-11-20T12:00:00+00:00")
    late = Policy.model_validate({"deadline": "2026-11-20T00:00Z", "per_day": 0.5})
    first = marking.grade_all([tmp_path / "in"], Marker(keys, late), book)
    assert (first.ran, ran) == (0, [])
    assert first.outcomes["queued"] == 10
    # another submission that earns nothing does not take the waiting one's place
    hand_in(tmp_path / "in", "s0", row("s0", "03.e1", {"source": "x"}, 3), name="again")
    marking.grade_all([tmp_path / "in" / "again.zip"], Marker(keys, late), book)
    monkeypatch.setattr(sandbox, "available", lambda: "")
    second = marking.grade_all([], Marker(keys, late), book, jobs=3)
    assert (second.ran, len(ran), waiting.waiting(book)) == (10, 2, 0)
    assert set(points(book, "03.e1").values()) == {0.5}
    assert set(outcomes(book, "03.q8").values()) == {"right"}
    assert marking.grade_all([], Marker(keys, late), book).ran == 0


# --- killed, and two at once


def a_class(folder: Path, students: int) -> None:
    rng = random.Random(5)
    for n in range(students):
        name = f"s{n:03}"
        hand_in(folder, name, row(name, "03.q1", f"o{rng.randint(1, 3)}", 1),
                row(name, "03.q2", ["o1"], 2), row(name, "03.q4", "perplexity", 3))  # fmt: skip


def grade(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"COURSE_ROOT": str(root), "COURSE_RESTARTED": "1"}
    command = [sys.executable, "-m", "course_lib", "grade", *arguments, "--no-code",
               "--keys", str(root / "keys")]  # fmt: skip
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)  # fmt: skip


def content(path: Path) -> tuple[list[Any], int, int]:
    """Marks without times, lines of history, kept answers."""
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        marks = db.execute("SELECT student, item, points, outcome FROM marks ORDER BY 1, 2")
        counts = [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
                  for t in ("history", "answers")]  # fmt: skip
        return marks.fetchall(), counts[0], counts[1]


def kept(path: Path) -> int:
    """How many submissions a gradebook, perhaps one being made, holds."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM submissions").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_killed_at_any_moment_the_gradebook_is_whole(root: Path, tmp_path: Path) -> None:
    a_class(tmp_path / "in", 300)
    whole, path = tmp_path / "whole.sqlite", tmp_path / "killed.sqlite"
    process = grade(root, str(tmp_path / "in"), "--gradebook", str(whole))
    assert process.communicate(timeout=120) and process.returncode == 0
    killed = []
    for pause in (0.0, 0.01, 0.05):  # after something was written: at once, and a little later
        before = kept(path)
        process = grade(root, str(tmp_path / "in"), "--gradebook", str(path))
        while process.poll() is None and kept(path) == before:
            time.sleep(0.002)
        time.sleep(pause)
        killed.append(process.poll() is None)
        seen = kept(path)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert kept(path) >= seen > before  # a finished batch stays: only the open one is lost
        marks, lines, _ = content(path)
        assert len(marks) == lines == 10 * kept(path) > 0  # whole submissions only
    assert killed[0] and kept(path) > before
    process = grade(root, str(tmp_path / "in"), "--gradebook", str(path))
    assert process.communicate(timeout=120) and process.returncode == 0
    assert content(path) == content(whole)
    assert content(path)[1] == 3000  # each mark once


def test_two_graders_at_once_mark_everything_once(root: Path, tmp_path: Path) -> None:
    a_class(tmp_path / "in", 100)
    path = tmp_path / "g.sqlite"
    both = [grade(root, str(tmp_path / "in"), "--gradebook", str(path)) for _ in range(2)]
    ended = [p.communicate(timeout=60) for p in both]
    for process, (_, told) in zip(both, ended, strict=True):
        assert process.returncode == 0 or b"let the other process end" in told
    assert len(content(path)[0]) == content(path)[1] == 1000


def test_memory_does_not_grow_with_the_class(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's and numpy's own peak; SQLite has a cache of fixed size."""
    monkeypatch.setattr(shared_work, "COLUMNS", 100)  # so that the smaller class fills it too
    peaks = []
    for size in (100, 700):
        a_class(tmp_path / f"in{size}", size)
        with Gradebook(tmp_path / f"{size}.sqlite") as made:
            marker = Marker(keys, run_code=False)
            marking.grade_all([tmp_path / "in100"], marker, made)  # what is imported and cached
            tracemalloc.start()
            assert marking.grade_all([tmp_path / f"in{size}"], marker, made).flags == {}
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 600 * 300, "bytes a student"


def test_long_answers_are_not_kept_in_memory(keys: Keys) -> None:
    marker = Marker(keys)
    tracemalloc.start()
    for n in range(200):
        given = Attempt("03", "03.q4", 1, 1, f"{n} " + "x" * 20_000, "2026-11-01T10:00:00+00:00")
        assert {m.outcome for m, _ in marker.marks("mia", {"03": [given]}, None)} >= {
            "needs_review"
        }
        del given
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < 10**6


def test_an_older_gradebook_is_written_on(
    keys: Keys, book: Gradebook, tmp_path: Path, root: Path
) -> None:
    a_class(tmp_path / "in", 12)
    marking.grade_all([tmp_path / "in"], Marker(keys, run_code=False), book)
    book.db.executescript(
        "DROP INDEX answers_by_submission; DROP INDEX faults_by_file;"
        "CREATE INDEX answers_by_question ON answers(quiz, question, student);"
    )
    with Gradebook(book.path) as again:
        assert marking.grade_all([tmp_path / "in"], Marker(keys, run_code=False), again).known == 12
        plan = again.db.execute("EXPLAIN QUERY PLAN SELECT * FROM answers WHERE submission=1")
        assert "answers_by_submission" in str(plan.fetchall())


def test_a_second_writer_is_told(book: Gradebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradebook, "WAIT", 0.2)
    with (
        book.transaction(), Gradebook(book.path) as other,
        pytest.raises(StorageError, match=r"cannot be written(.|\n)*other process"),
        other.transaction(),
    ):  # fmt: skip
        raise AssertionError("two write at once")


# --- the rules


def test_a_resubmission_keeps_the_better_mark(keys: Keys, book: Gradebook, tmp_path: Path) -> None:
    one = hand_in(tmp_path, "mia", row("mia", "03.q1", "o2"), row("mia", "03.q2", ["o2"], 2))
    two = hand_in(tmp_path, "mia", row("mia", "03.q1", "o1"), row("mia", "03.q2", ["o1", "o3"], 2),
                  name="two")  # fmt: skip
    marker = Marker(keys)
    assert marking.grade_all([one], marker, book).graded == 1
    assert marking.grade_all([one], marker, book).known == 1
    assert marking.grade_all([two, one], marker, book).known == 1
    assert points(book, "03.q1") == {"mia": 1.0}
    assert points(book, "03.q2") == {"mia": 2.0}


@pytest.mark.parametrize(("rule", "earned"), [("last", 0.0), ("first", 0.75), ("best", 0.75)])
def test_which_attempt_counts(
    keys: Keys, book: Gradebook, tmp_path: Path, rule: str, earned: float
) -> None:
    """The hint, opened after the first answer, costs a quarter whichever answer counts."""
    rows = [row("mia", "03.q1", "o2"), row("mia", "03.q1", "o1", 2, hints=1)]
    path = hand_in(tmp_path, "mia", *rows)
    marking.grade_all([path], Marker(keys, Policy(attempts=rule)), book)  # type: ignore[arg-type]
    assert points(book, "03.q1") == {"mia": earned}


@pytest.mark.parametrize(
    ("time", "earned"),
    [("2026-11-19T23:00:00+00:00", 1.0), ("2026-11-20T00:00:30+00:00", 1.0),
     ("2026-11-20T00:02:00+00:00", 0.9), ("2026-11-21T10:00:00+00:00", 0.8),
     ("2026-11-21T02:00:00", 0.8), ("2026-11-29T00:00:00+00:00", 0.0)],
)  # fmt: skip
def test_lateness(keys: Keys, book: Gradebook, tmp_path: Path, time: str, earned: float) -> None:
    (tmp_path / "p.yaml").write_text(
        "quizzes:\n  '03': {deadline: 2026-11-20T01:00+01:00, grace: 60, per_day: 0.1, most: 0.3, "
        "closes_after: 7}\n"
    )
    path = hand_in(tmp_path, "mia", row("mia", "03.q1", "o2"), time=time)
    marker = Marker(keys, read_policy(tmp_path / "p.yaml"))
    marking.grade_all([path], marker, book)
    assert points(book, "03.q1")["mia"] == pytest.approx(earned)
    page = feedback_page.page(book, marker, "mia")
    assert ("late" in page) == (earned < 1)


def test_the_clock_of_the_file_cannot_be_set_by_the_student(
    keys: Keys, book: Gradebook, tmp_path: Path
) -> None:
    path = hand_in(tmp_path, "mia", row("mia", "03.q1", "o2"), time="2020-01-01T00:00:00+00:00")
    strict = Policy.model_validate({"deadline": "2026-11-20T00:00Z", "per_day": 1, "clock": "file"})
    os.utime(path, (1.8e9, 1.8e9))
    assert {f.code for f in marking.grade_all([path], Marker(keys, strict), book).faults} == {
        "odd-time"
    }
    assert points(book, "03.q1") == {"mia": 0.0}


@pytest.mark.parametrize(
    ("text", "match"),
    [("deadline: 2026-11-20T01:00\n", "time zone"), ("deadlin: 1\n", "cannot be read"),
     ("per_day: 2\n", "per_day"), ("attempts: worst\n", "attempts")],
)  # fmt: skip
def test_a_policy_with_a_fault_is_refused(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(DataError, match=match):
        read_policy(tmp_path / "p.yaml")


def test_each_student_is_marked_on_their_own_numbers(
    keys: Keys, book: Gradebook, tmp_path: Path
) -> None:
    asked = keys.question("03", "03.q3")
    assert isinstance(asked, schema.Numeric)
    for name in ("ann", "ben", "cem", "dua"):
        right = variants.right_number(asked, variants.student_seed(SECRET, name))
        hand_in(tmp_path / "in", name, row(name, "03.q3", f"{right:g}"))
    marker = Marker(keys, secret=SECRET)
    marking.grade_all([tmp_path / "in"], marker, book)
    assert set(outcomes(book, "03.q3").values()) == {"right"}
    stems = {
        found[1]
        for name in ("ann", "ben", "cem", "dua")
        if (found := re.search(r"What is (\d+) \+ 1", feedback_page.page(book, marker, name)))
    }
    assert len(stems) > 1


def test_a_page_tells_what_a_student_needs(keys: Keys, book: Gradebook, tmp_path: Path) -> None:
    rows = [row("mia", "03.q1", "o1", hints=1), row("mia", "03.q5", ["i2", "i1", "i3"], 2),
            row("mia", "03.q6", {"l1": "r1", "l2": "r3"}, 3),
            row("mia", "03.q2", ["o1"], 4)]  # fmt: skip
    marker = Marker(keys)
    marking.grade_all([hand_in(tmp_path, "mia", *rows)], marker, book)
    regrade(book, marker, why="the stem was <unclear>", void=["03.q1"])
    page = feedback_page.page(book, marker, "mia", "Mia <Lee>")
    plain = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for told in ("Mia <Lee>", "No, one.", "It is two.", "everybody has its points", "fa",
                 "hints opened: 1, at 25%", "not answered", "was <unclear>"):  # fmt: skip
        assert told in plain
    assert "No, three." not in page and "fb" not in plain
    sanitised(page)


# --- regrading


def changed(keys: Keys, root: Path, tmp_path: Path, old: str, new: str) -> Keys:
    shutil.copytree(root, tmp_path / "changed")
    path = tmp_path / "changed" / "quizzes" / "03_text.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return load_keys(tmp_path / "changed", tmp_path / "changed" / "keys")


def regraded_class(keys: Keys, book: Gradebook, tmp_path: Path) -> None:
    given = (("ann", "o1", "perplexity"), ("ben", "o2", "loss"), ("cem", "o3", "x"))
    for name, one, word in given:
        hand_in(tmp_path / "in", name, row(name, "03.q1", one), row(name, "03.q4", word, 2))
    marking.grade_all([tmp_path / "in"], Marker(keys), book)


def test_a_corrected_key_raises_and_lowers_only_when_asked(
    root: Path, keys: Keys, book: Gradebook, tmp_path: Path
) -> None:
    regraded_class(keys, book, tmp_path)
    shutil.copytree(root, tmp_path / "c")
    path = tmp_path / "c" / "quizzes" / "03_text.yaml"
    text = path.read_text().replace("{text: two, correct: true,", "{text: two,")
    path.write_text(text.replace("{text: one,", "{text: one, correct: true,"))
    right = load_keys(tmp_path / "c", tmp_path / "c" / "keys")
    dry = regrade(book, Marker(right), why="one is right", dry_run=True)
    assert [(c.student, c.after, c.written) for c in dry.changes] == [("ann", 1.0, False)]
    assert points(book, "03.q1") == {"ann": 0.0, "ben": 1.0, "cem": 0.0}
    found = regrade(book, Marker(right), why="one is right")
    assert found.items == ["03.q1"] and found.looked_at == 3
    assert [(c.student, c.before, c.after) for c in found.kept] == [("ben", 1.0, 0.0)]
    assert points(book, "03.q1") == {"ann": 1.0, "ben": 1.0, "cem": 0.0}
    lower = regrade(book, Marker(right), why="one is right", allow_lower=True)
    assert points(book, "03.q1") == {"ann": 1.0, "ben": 0.0, "cem": 0.0}
    assert [c.student for c in lower.changes] == ["ben"]
    assert not regrade(book, Marker(right), why="again", allow_lower=True).changes
    lines = book.db.execute(
        "SELECT student, before, after, why FROM history WHERE action='regrade' ORDER BY id"
    ).fetchall()
    assert lines == [("ann", 0.0, 1.0, "one is right"), ("ben", 1.0, 0.0, "one is right")]


def test_a_widened_and_a_voided_item(
    root: Path, keys: Keys, book: Gradebook, tmp_path: Path
) -> None:
    regraded_class(keys, book, tmp_path)
    wide = changed(keys, root, tmp_path, 'accept: ["perplexity"]', 'accept: ["perplexity", "loss"]')
    found = regrade(book, Marker(wide), why="loss counts too", void=["03.q1"])
    assert points(book, "03.q4") == {"ann": 1.0, "ben": 1.0, "cem": 0.0}
    assert points(book, "03.q1") == {"ann": 1.0, "ben": 1.0, "cem": 1.0}
    assert {c.item for c in found.changes} == {"03.q1", "03.q4"}
    # a file handed in later never takes a voided item's points away
    path = hand_in(tmp_path, "ann", row("ann", "03.q1", "o3"), name="later")
    marking.grade_all([path], Marker(wide), book)
    assert points(book, "03.q1")["ann"] == 1.0
    with pytest.raises(UnknownNameError, match=r"unknown item '03.q99'"):
        regrade(book, Marker(wide), why="x", void=["03.q99"])
    with pytest.raises(UsageError, match="needs its reason"):
        regrade(book, Marker(wide), why=" ")


def test_the_history_cannot_be_changed(keys: Keys, book: Gradebook, tmp_path: Path) -> None:
    regraded_class(keys, book, tmp_path)
    for statement in ("UPDATE history SET after=9", "DELETE FROM history"):
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            book.db.execute(statement)


# --- shared work

CODE = """
def f(x):
    '''Sorts.'''
    done = []
    for number in x:  # one by one
        place = 0
        while place < len(done) and done[place] < number:
            place += 1
        done.insert(place, number)
    return done
"""


def test_code_is_the_same_under_other_names(keys: Keys, book: Gradebook, tmp_path: Path) -> None:
    renamed = re.sub(r"\bdone\b", "out", re.sub(r"\bnumber\b", "v", CODE))
    renamed = renamed.replace("# one by one", "")
    renamed = renamed.replace("'''Sorts.'''", "'''Mine.'''").replace("x)", "x) ")
    other = CODE.replace("<", "<=", 2)
    for name, source in (("ann", CODE), ("ben", renamed), ("cem", other)):
        rows = [row(name, "03.e1", {"source": source}, outcome="correct")]
        hand_in(tmp_path / "in", name, *rows)
    short = "def f(x): return sorted(x)"
    for name in ("dua", "eli"):
        hand_in(tmp_path / "in", name, row(name, "03.e1", {"source": short}, outcome="correct"))
    marking.grade_all([tmp_path / "in"], Marker(keys, run_code=False), book)
    assert [(k, s) for k, s, _ in shared_work.find(book, keys)] == [("same code", ["ann", "ben"])]


def test_copied_answers_are_flagged_and_marked_as_all_others(
    keys: Keys, book: Gradebook, tmp_path: Path
) -> None:
    rows = [row("ann", "03.q1", "o2"), row("ann", "03.q4", "perplexity", 2)]
    hand_in(tmp_path / "in", "ann", *rows)
    hand_in(tmp_path / "in", "ben", *rows, row("ben", "03.q2", ["o1"], 3))
    hand_in(tmp_path / "in", "cem", row("cem", "03.q1", "o2"), row("cem", "03.q4", "perplexity", 2))
    found = marking.grade_all([tmp_path / "in"], Marker(keys), book)
    assert found.flags == {"same answers": 1}
    assert [f[1] for f in summary.flags(book)] == ["ann, ben"]
    assert set(points(book, "03.q1").values()) == {1.0}


QUIZ30 = """
id: "04"
title: Thirty
lesson: "04"
version: 1
questions:
""" + "".join(
    f"""
  - {{id: 04.q{n}, type: single, objective: "04.{1 + n % 3}", section: s, stem: "{n}?",
     explanation: e, options: [{{text: a, correct: true, feedback: a}}, {{text: b, feedback: b}},
     {{text: c, feedback: c}}, {{text: d, feedback: d}}]}}"""
    for n in range(1, 31)
)


def drawn_class(
    root: Path, folder: Path, students: int, *, copies: bool, wrong_key: int = 0
) -> tuple[Keys, Path]:
    """A class with abilities; s000 and s001 share what they get wrong where asked to."""
    shutil.copytree(root, folder / "course")
    (folder / "course" / "quizzes" / "04_thirty.yaml").write_text(QUIZ30)
    rng = np.random.default_rng(7)
    kept: list[str] = []
    for s in range(students):
        ability, rows = rng.normal() if s else -2.0, []
        for n in range(1, 31):
            right = rng.random() < 1 / (1 + np.exp(-(ability - (n - 15) / 8)))
            value = "o1" if right else str(rng.choice(["o2", "o3", "o4"], p=[0.5, 0.3, 0.2]))
            if n == wrong_key:  # the key says o1; who knows chooses o3
                value = {"o1": "o3", "o3": "o1"}.get(value, value)
            rows.append(value)
        if s == 1 and copies:
            rows = [*kept[:28], *rows[28:]]
        kept = rows
        name = f"s{s:03}"
        given = [row(name, f"04.q{n}", v, n, quiz="04") for n, v in enumerate(rows, 1)]
        path = folder / "in" / f"{name}.zip"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pack(name, {"answers/04.s.jsonl": chained(given)}))
    return load_keys(folder / "course", folder / "course" / "keys"), folder / "in"


@pytest.mark.parametrize("copies", [True, False])
def test_shared_mistakes_beyond_chance(
    root: Path, book: Gradebook, tmp_path: Path, copies: bool
) -> None:
    keys, folder = drawn_class(root, tmp_path, 90, copies=copies)
    marking.grade_all([folder], Marker(keys), book)
    found = shared_work.find(book, keys)
    assert [s for _, s, _ in found] == ([["s000", "s001"]] if copies else [])


# --- analysis


def test_the_figures_are_those_computed_another_way(
    root: Path, book: Gradebook, tmp_path: Path
) -> None:
    from scipy import stats

    keys, folder = drawn_class(root, tmp_path, 80, copies=False, wrong_key=12)
    marking.grade_all([folder], Marker(keys), book)
    found = next(q for q in analysis.analyze(book, keys).quizzes if q.quiz == "04")
    table = np.array([
        [m.share for m in sorted(book.marks("WHERE student=?", (f"s{s:03}",)),
                                 key=lambda m: int(m.item[4:]))] for s in range(80)
    ])  # fmt: skip
    assert table.shape == (80, 30)
    for n, item in enumerate(found.items):
        rest = [sum(r) - r[n] for r in table]
        assert item.difficulty == pytest.approx(sum(table[:, n]) / 80)
        linked = stats.pointbiserialr(table[:, n].astype(bool), rest).statistic
        assert item.discrimination == pytest.approx(linked)
    # alpha by the covariances between items, not by the variances
    between = np.cov(table.T, ddof=1)
    mean_between = (between.sum() - np.trace(between)) / (30 * 29)
    assert found.alpha == pytest.approx(30**2 * mean_between / between.sum())
    flagged = {i.item for i in found.items if any("is the key right?" in f for f in i.flags)}
    assert flagged == {"04.q12"}
    assert found.minutes == 0.0  # the answers lie days apart
    page = report.page(analysis.analyze(book, keys))
    assert "o3: is the key right?" in page and 'alt="Histogram' in page


def test_the_wrong_key_is_found_and_put_right(root: Path, book: Gradebook, tmp_path: Path) -> None:
    keys, folder = drawn_class(root, tmp_path, 60, copies=False, wrong_key=5)
    marking.grade_all([folder], Marker(keys), book)
    path = tmp_path / "course" / "quizzes" / "04_thirty.yaml"
    lines = path.read_text().split("  - {id: ")
    lines[5] = (lines[5].replace("{text: a, correct: true,", "{text: a,")
                .replace("{text: c,", "{text: c, correct: true,"))  # fmt: skip
    path.write_text("  - {id: ".join(lines))
    right = load_keys(tmp_path / "course", tmp_path / "course" / "keys")
    raised = regrade(book, Marker(right), why="c is right in question 5")
    assert raised.items == ["04.q5"] and len(raised.changes) > 20
    assert all(c.after > c.before for c in raised.changes)
    found = analysis.analyze(book, right).quizzes[0].items[4]
    assert not any("is the key right?" in f for f in found.flags)


# --- the commands


def test_the_commands(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSE_ROOT", str(root))
    monkeypatch.chdir(tmp_path)
    hand_in(tmp_path / "in", "mia", row("mia", "03.q1", "o2"))
    (tmp_path / "roster.csv").write_text("student,name\nmia,Mia\n")
    shared = ["--keys", str(root / "keys")]
    rest = ["--no-code", "--roster", "roster.csv", "--csv", "marks.csv", "--feedback", "pages",
            "--summary", "summary.html", *shared]  # fmt: skip
    assert main(["grade", "in", *rest]) == 0
    assert "1 submissions of 1 students marked" in capsys.readouterr().out
    for name in ("marks.csv", "marks-totals.csv", "summary.html", "gradebook.sqlite"):
        assert (tmp_path / name).stat().st_size > 0
    assert [p.name for p in (tmp_path / "pages").iterdir()] == [feedback_page.file_name("mia")]
    (tmp_path / "in" / "bad.zip").write_text("x")
    assert main(["grade", "in", "--json", *rest]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["known"], told["faults"][0]["code"]) == (1, "not-a-zip")
    assert main(["grade", *rest]) == 2
    assert main(["grade", "nowhere", *rest]) == 2
    assert main(["grade", "--queued", "--gradebook", "none.sqlite", *rest]) == 2
    assert main(["grade", "in", "--jobs", "0", *rest]) == 2
    assert main(["grade", "--queued", *rest]) == 0
    assert main(["analyze", *shared, "--out", "a.html"]) == 0
    assert main(["regrade", "--why", "x", "--void", "03.q2", *shared]) == 0
    assert "1 changed" in capsys.readouterr().out
    (tmp_path / "text.sqlite").write_text("no database, but long enough to be read as one" * 30)
    assert main(["grade", "in", "--gradebook", "text.sqlite", *rest]) == 2


def test_a_folder_of_notebooks_and_folders_of_students(
    keys: Keys, book: Gradebook, tmp_path: Path
) -> None:
    from bad_submissions import receipt

    books = tmp_path / "in"
    books.mkdir()
    for name in ("ann", "ben"):
        cells = {"cells": [receipt(name, row(name, "03.q1", "o2"))]}
        (books / f"{name}__03_text.ipynb").write_text(json.dumps(cells))
    (books / "cem" / "answers").mkdir(parents=True)
    (books / "cem" / "answers" / "03.s.jsonl").write_bytes(good("cem"))
    found = marking.grade_all([books], Marker(keys), book)
    assert outcomes(book, "03.q1") == {"ann": "right", "ben": "right", "cem": "right"}
    assert not found.faults
