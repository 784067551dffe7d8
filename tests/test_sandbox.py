"""A stranger's code in the sandbox: it harms nothing, and only what is right is marked right."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from course_lib import files
from course_lib.quiz.exercise import Exercise, load_exercises
from course_lib.quiz.schema import Artefact
from course_lib.teach.grading import execute, sandbox

SHORT = sandbox.Limits(seconds=3.0)  # for what is to run out of time
ENOUGH = sandbox.Limits(seconds=30.0)  # for the rest, on a busy machine too
EXERCISES = {
    name: exercise
    for path in sorted((files.course_root() / "quizzes" / "exercises").glob("[0-9]*.yaml"))
    for name, exercise in load_exercises(path).items()
}


def go(code: str, *cases: Any, limits: sandbox.Limits = ENOUGH) -> sandbox.Ran:
    return sandbox.run(code, function="f", cases=[[c] for c in cases or (1,)], limits=limits)


def test_isolation_works_here() -> None:
    """CI installs bubblewrap; where this fails, code is refused and its marks wait."""
    assert sandbox.available() == ""


def test_honest_code_gives_its_results() -> None:
    ran = go("import math\nprint('hello')\ndef f(x): return [x, math.sqrt(x)]", 4, 9)
    assert (ran.outcome, ran.results) == ("ran", [[4, 2.0], [9, 3.0]])


@pytest.mark.parametrize(
    ("code", "outcome", "told"),
    [
        ("def f(x):\n  while True: pass", "timeout", "longer than allowed"),
        ("def f(x):\n  while True: print('x' * 1000)", "flood", "more than allowed"),
        ("def f(x): return 'a' * 10**7", "flood", "more than allowed"),
        ("def f(x): return len('x' * 10**11)", "memory", "more memory"),
        ("x = 'x' * 10**11\ndef f(x): return 1", "memory", "more memory"),
        ("import os\ndef f(x): os._exit(0)", "killed", "before the last case"),
        ("import os\ndef f(x): os.kill(os.getpid(), 9)", "killed", "before the last case"),
        ("def f(x:", "error", "SyntaxError"),
        ("def g(x): return x", "error", "no function f"),
        ("raise SystemExit", "error", "SystemExit"),
        ("f = 1\n" * 60_000, "flood", "characters"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_named(code: str, outcome: str, told: str) -> None:
    ran = go(code, limits=SHORT if outcome == "timeout" else ENOUGH)
    assert ran.outcome == outcome
    assert told in ran.told


@pytest.mark.parametrize(
    "body",
    [
        "open({own!r}).read()",
        "open('/etc/passwd').read()",
        "open('/usr/lib/planted', 'w')",
        "__import__('socket').create_connection(('127.0.0.1', {port}), 1)",
        "__import__('socket').create_connection(('1.1.1.1', 53), 1)",
        "open('/tmp/a', 'wb').write(b'x' * 10**9)",
        "__import__('os').setuid(0)",
        "__import__('os').kill(1, 9) or 1/0",
        "__import__('course_lib')",
    ],
)
def test_nothing_outside_can_be_reached(body: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        own = str(files.course_root() / "quizzes" / "03_text_classification.yaml")
        ran = go(f"def f(x):\n  {body.format(own=own, port=port)}\n  return 'reached'")
    assert ran.results != ["reached"]
    assert not ran.results or "error" in ran.results[0]


def test_a_fork_bomb_ends_with_its_sandbox() -> None:
    bomb = "import os\ndef f(x):\n  while True:\n    try: os.fork()\n    except OSError: pass"
    began = time.monotonic()
    assert go(bomb, limits=SHORT).outcome == "timeout"
    assert time.monotonic() - began < 20
    until = time.monotonic() + 20  # the kernel takes a moment to end them all
    while _inside() and time.monotonic() < until:
        time.sleep(0.1)
    assert _inside() == 0


def _inside() -> int:
    """Processes of sandboxes that are still there."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            count += b"answer.py" in (process / "cmdline").read_bytes()
    return count


def test_results_before_an_endless_loop_are_kept() -> None:
    ran = go("def f(x):\n  while x > 1: pass\n  return x", 0, 1, 2, limits=SHORT)
    assert (ran.outcome, ran.results) == ("timeout", [0, 1])


def test_the_environment_of_the_grader_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADING_SECRET", "s3cret")
    ran = go("import os\ndef f(x): return sorted(os.environ)")
    assert "GRADING_SECRET" not in ran.results[0]
    everything = go("import glob\ndef f(x): return [open(p,'rb').read().decode('latin1') "
                    "for p in glob.glob('/proc/*/environ')]")  # fmt: skip
    assert "s3cret" not in json.dumps(everything.results)


@pytest.mark.parametrize("name", EXERCISES)
def test_reference_right_and_wrong_attempts_wrong(name: str) -> None:
    exercise = EXERCISES[name]
    assert execute.mark_exercise(exercise, exercise.solution).outcome == "right"
    assert execute.mark_exercise(exercise, exercise.start).outcome == "blank"
    for attempt in exercise.wrong:
        found = execute.mark_exercise(exercise, attempt.code)
        assert (found.outcome, found.share) == ("wrong", 0.0), attempt.name
        assert found.told


ADD = Exercise(
    id="03.e9", title="t", objective="03.1", function="f", prompt="p", start="def f(x):\n    ...",
    solution="def f(x):\n    return sorted(x)", cases=(([2, 1],), ([3],)),
    wrong=({"name": "a", "code": "x"}, {"name": "b", "code": "y"}),
)  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "def f(x): raise SystemExit(0)",
        "import os\ndef f(x): os._exit(0)",
        "import builtins\nbuiltins.sorted = lambda x: x\ndef f(x): return x",
        "class Same(list):\n  def __eq__(self, other): return True\ndef f(x): return Same()",
        "def f(x): x.sort(); return x",
        "import os, sys\nos.write(int(sys.argv[1]), b'{\"done\": true}\\n')\ndef f(x): return 0",
        "import sys\nsys.modules['json'].dumps = lambda *a, **k: '{}'\ndef f(x): return 0",
    ],
    ids=[
        "exits",
        "dies",
        "patches sorted",
        "equals all",
        "changes input",
        "forges",
        "patches json",
    ],
)
def test_tricks_earn_nothing(code: str) -> None:
    assert execute.mark_exercise(ADD, code).outcome == "wrong"


def test_without_isolation_code_waits_and_is_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: "no bubblewrap here")
    planted = tmp_path / "planted"
    found = execute.mark_exercise(ADD, f"open({str(planted)!r}, 'w')\ndef f(x): return sorted(x)")
    assert found.outcome == "queued"
    assert "no bubblewrap" in found.told
    assert not planted.exists()


def test_an_artefact_is_measured_against_hidden_labels(tmp_path: Path) -> None:
    question = Artefact.model_validate({
        "id": "10.a1", "type": "artefact", "objective": "10.1", "points": 4,
        "stem": "s", "section": "s", "run": "final", "gold": "gold.jsonl", "field": "intent",
        "metric": "accuracy", "bands": [{"at_least": 0.5, "share": 0.5},
                                        {"at_least": 0.9, "share": 1}],
        "explanation": "The more of the messages are sorted right, the more it earns.",
    })  # fmt: skip
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"id": "a", "intent": "x"}\n{"id": "b", "intent": "y"}\n')
    run = tmp_path / "final"
    run.mkdir()
    file = run / "predictions.jsonl"
    file.write_text('{"id": "a", "prediction": "x"}\n{"id": "b", "prediction": "y"}\n')
    assert execute.mark_artefact(question, run, gold).outcome == "right"
    file.write_text('{"id": "a", "prediction": "x", "gold": "x"}\n')
    found = execute.mark_artefact(question, run, gold)
    assert (found.outcome, found.share, found.detail["accuracy"]) == ("partial", 0.5, 0.5)
    file.write_text("not json\n")
    assert execute.mark_artefact(question, run, gold).outcome == "needs_review"


def test_it_runs_for_an_ordinary_user_too(tmp_path: Path) -> None:
    """What root drops to is what a grader without root is: another user in a new namespace."""
    if os.geteuid() == 0:
        assert "root" not in go("import getpass, os\ndef f(x): return str(os.getuid())").results
        assert int(go("import os\ndef f(x): return os.getuid()").results[0]) > 1000
    else:
        assert go("def f(x): return x").results == [1]
