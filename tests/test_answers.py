"""Answers are never lost: real processes killed, disks filled, files edited."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_lib.errors import DataError, StorageError
from course_lib.quiz.answers import Attempt, Store, receipt

SUBMIT = """
import sys
from course_lib.quiz.answers import Attempt, Store
store = Store(sys.argv[1], "03", sys.argv[2])
for i in range(10**6):
    one = store.add(Attempt("03", f"03.q{i % 9}", 1, i, {"text": "x" * (i % 300)}, ""))
    print(one.number, flush=True)
"""


def attempt(question: str = "03.q1", value: object = "o1", time: str = "") -> Attempt:
    return Attempt("03", question, 1, 1, value, time)


def test_no_acknowledged_answer_is_lost_when_the_kernel_is_killed(tmp_path: Path) -> None:
    rng = random.Random(0)
    known: dict[str, int] = {}
    for turn in range(200):
        name = f"k{turn}"
        with subprocess.Popen(
            [sys.executable, "-S", "-c", PATHS + SUBMIT, str(tmp_path), name],
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.01)
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")
        known[name] = max([1, *(int(line) for line in rest[:-1] if line)])
    loaded = Store(tmp_path, "03").load()
    found: dict[str, set[int]] = {}
    for one in loaded.attempts:
        found.setdefault(one.session, set()).add(one.number)
    for name, count in known.items():
        assert set(range(1, count + 1)) <= found[name], name
    assert all("last line is not complete" in line for line in loaded.damage)


PATHS = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"


def test_two_kernels_at_once_lose_nothing(tmp_path: Path) -> None:
    code = SUBMIT.replace("10**6", "150")
    running = [
        subprocess.Popen([sys.executable, "-c", PATHS + code, str(tmp_path), name],
                         stdout=subprocess.DEVNULL)
        for name in ("a", "b", "c")
    ]  # fmt: skip
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    loaded = Store(tmp_path, "03").load()
    assert len(loaded.attempts) == 450 and not loaded.damage


def test_damage_is_shown_and_the_rest_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path, "03", "s")
    for i in range(4):
        store.add(attempt(f"03.q{i}"))
    lines = store.path.read_text().split("\n")
    edited = lines.copy()
    edited[1] = lines[1].replace('"o1"', '"o2"')
    store.path.write_text("\n".join(edited))
    loaded = store.load()
    assert len(loaded.attempts) == 4 and loaded.attempts[1].value == "o2"
    assert loaded.damage == ("03.s.jsonl:3 does not follow the line before it: edited?",)
    store.path.write_text("\n".join([lines[0], "{torn", lines[2], lines[3], '{"quiz": "0']))
    loaded = store.load()
    assert len(loaded.attempts) == 3
    assert any("03.s.jsonl:2 is not an answer" in d for d in loaded.damage)
    assert any("last line is not complete" in d for d in loaded.damage)
    store.path.write_text("\n".join([lines[0], lines[2], lines[3], ""]))
    assert "03.s.jsonl:2 does not follow" in store.load().damage[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("time", 7), ("time", "yesterday"), ("number", "one"), ("share", True), ("question", None)],
)
def test_a_line_of_wrong_kinds_is_left_out(tmp_path: Path, field: str, value: object) -> None:
    store = Store(tmp_path, "03", "s")
    store.add(attempt("03.q1"))
    kept = store.add(attempt("03.q2"))
    lines = store.path.read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), field: value})
    store.path.write_text("\n".join(lines) + "\n")
    loaded = store.load([{**json.loads(lines[0]), "session": "other"}])
    assert loaded.attempts == (kept,)
    assert "03.s.jsonl:1 is not an answer" in loaded.damage[0]


def test_receipts_in_the_notebook_fill_in_for_lost_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "a", "03", "s")
    kept = receipt([store.add(attempt("03.q1")), store.add(attempt("03.q2"))])
    kept = json.loads(json.dumps(kept))
    alone = Store(tmp_path / "elsewhere", "03").load(kept)
    assert [a.question for a in alone.attempts] == ["03.q1", "03.q2"]
    both = store.load(kept)
    assert len(both.attempts) == 2, "the same answers are counted once"
    assert len(store.load([{"odd": 1}, *kept]).attempts) == 2


def test_a_clock_set_back_changes_no_order(tmp_path: Path) -> None:
    store = Store(tmp_path, "03", "s")
    store.add(attempt(value="first", time="2026-05-02T10:00:00.000000+00:00"))
    store.add(attempt(value="second", time="2026-05-01T10:00:00.000000+00:00"))
    later = Store(tmp_path, "03", "a")
    later.load()
    later.add(attempt(value="third", time="2026-04-01T10:00:00.000000+00:00"))
    assert [a.value for a in later.load().attempts] == ["first", "second", "third"]


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "answers"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"could not be saved; got (.|\n)*submit again"):
        Store(blocked, "03").add(attempt())
    with pytest.raises(DataError, match="too long to keep"):
        Store(tmp_path / "ok", "03").add(attempt(value="x" * 100_000))


def test_a_full_disk_takes_nothing_that_was_saved(tmp_path: Path) -> None:
    code = PATHS + (
        "import os\n"
        "from course_lib.errors import StorageError\n"
        "from course_lib.quiz.answers import Attempt, Store\n"
        "store = Store('{full}/answers', '03', 's')\n"
        "saved = 0\n"
        "try:\n"
        "    for i in range(1000):\n"
        "        store.add(Attempt('03', '03.q1', 1, i, 'x' * 5000, ''))\n"
        "        saved += 1\n"
        "except StorageError as error:\n"
        "    print(error)\n"
        "print(saved, len(store.load().attempts), store.load().damage)\n"
        "os.remove('{full}/ballast')\n"
        "store.add(Attempt('03', '03.q1', 1, 0, 'again', ''))\n"
        "print(len(store.load().attempts), store.load().damage)\n"
    )
    fill = "open('{full}/ballast', 'wb').write(b'x' * 200_000)\nstore = Store"
    code = code.replace("store = Store", fill).replace("{full}", str(tmp_path))
    size = str(1_000_000)
    done = subprocess.run(
        ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--size", size,
         "--tmpfs", str(tmp_path), sys.executable, "-c", code],
        capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the answer could not be saved" in done.stdout and "free some space" in done.stdout
    saved, kept, damage = done.stdout.splitlines()[-2].split(maxsplit=2)
    assert int(saved) == int(kept) > 50 and damage == "()"
    assert done.stdout.splitlines()[-1] == f"{int(saved) + 1} ()"
