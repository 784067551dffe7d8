"""A class from roster to corrected key: release, enrol, answer, submit, grade, analyze, regrade.

One student works in the unpacked bundle with the bundle's own library; the one in a browser is
in tests/browser.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from course_lib import cli, files
from course_lib.quiz import identity, schema, state, submission

QUIZ = "03_text_classification.yaml"
ITEM = "03.q2"
GOOD = [f"good{n:02}" for n in range(10)]
WEAK = [f"weak{n:02}" for n in range(9)]
IN_BUNDLE = """
import sys
from pathlib import Path
from course_lib.quiz import state
session = state.Session("03", folder=Path(sys.argv[1]))
for pair in sys.argv[2:]:
    question, _, option = pair.partition("=")
    session.submit(question, option)
"""


def options(quiz: schema.Quiz) -> dict[str, tuple[str, str]]:
    """The right option of each one-option question, and a wrong one."""
    found = {}
    for q in quiz.questions:
        if isinstance(q, schema.Single):
            marks = {o.correct: f"o{i}" for i, o in reversed([*enumerate(q.options, 1)])}
            found[q.id] = marks[True], marks[False]
    return found


def course(*words: str, code: int = 0) -> None:
    assert cli.main(list(words)) == code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    root = files.course_root()
    shutil.copytree(root / "quizzes" / "assessment" / "keys", "keys")
    right = (root / "quizzes" / QUIZ).read_text(encoding="utf-8")
    lines = right.split("\n")
    start = next(i for i, line in enumerate(lines) if line.strip() == f"- id: {ITEM}")
    marked = next(i for i in range(start, len(lines)) if lines[i].strip() == "correct: true")
    moved = lines.pop(marked)
    first = next(i for i in range(start, len(lines)) if lines[i].strip().startswith("- text:"))
    lines.insert(first + 1, moved)  # the key is wrong: the first option
    (tmp_path / "keys" / QUIZ).write_text("\n".join(lines), encoding="utf-8")
    schema.load_quiz(tmp_path / "keys" / QUIZ)
    return tmp_path


def hand_in(student: str, token: str, answers: dict[str, str]) -> None:
    work = Path("students") / student
    work.mkdir(parents=True)
    identity.enroll(work, token)
    session = state.Session("03", folder=work)
    for question, option in answers.items():
        session.submit(question, option)
    submission.submit(work, Path("inbox"), identity=identity.current(work))


def hand_in_from_the_bundle(token: str, answers: dict[str, str]) -> None:
    with zipfile.ZipFile("bundle.zip") as packed:
        packed.extractall("unpacked")
    home = Path("unpacked/fine-tuning-gpt").resolve()
    work = home / "work"
    environment = {"PYTHONPATH": str(home), "COURSE_WORK": str(work), "PATH": "/usr/bin:/bin"}
    python = [sys.executable, "-m", "course_lib"]
    script = [sys.executable, "-c", IN_BUNDLE, str(work), *map("=".join, answers.items())]
    for step in ([*python, "enroll", token], script,
                 [*python, "submit", "--out", str(Path("inbox").resolve())]):  # fmt: skip
        work.mkdir(exist_ok=True)
        subprocess.run(step, cwd=home, env=environment, check=True, capture_output=True)


def points() -> dict[tuple[str, str], float]:
    with open("marks.csv", newline="", encoding="utf-8") as source:
        return {(r["student"], r["item"]): float(r["points"]) for r in csv.DictReader(source)}


def test_a_class_from_roster_to_corrected_key(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = options(schema.load_quiz(files.course_root() / "quizzes" / QUIZ))
    assert ITEM in right
    wrong_key = options(schema.load_quiz(here / "keys" / QUIZ))[ITEM][0]
    assert wrong_key != right[ITEM][0]
    Path("class.csv").write_text("student,name\n" + "".join(f"{s},{s}\n" for s in GOOD + WEAK))
    course("roster", "class.csv", "--course", "story")
    course("release", "--keys", "keys", "--out", "bundle.zip")
    with open("roster-tokens.csv", newline="") as source:
        tokens = {row["student"]: row["token"] for row in csv.DictReader(source)}

    knows = {q: pair[0] for q, pair in right.items()}
    hand_in_from_the_bundle(tokens[GOOD[0]], knows)
    for student in GOOD[1:]:
        hand_in(student, tokens[student], knows)
    for place, student in enumerate(WEAK):
        guesses = {q: pair[place % 2] if place < 3 else pair[1] for q, pair in right.items()}
        guesses[ITEM] = wrong_key
        hand_in(student, tokens[student], guesses)

    graded = ["--secret", "course-secret.txt", "--gradebook", "book.sqlite"]
    course("grade", "inbox", *graded, "--keys", "keys", "--roster", "class.csv",
           "--csv", "marks.csv")  # fmt: skip
    before = points()
    assert {before[s, ITEM] for s in GOOD} == {0.0}
    assert {before[s, ITEM] for s in WEAK} == {1.0}

    capsys.readouterr()
    course("analyze", "--gradebook", "book.sqlite", "--keys", "keys", "--json")
    figures = json.loads(capsys.readouterr().out)
    item = next(i for q in figures["quizzes"] for i in q["items"] if i["item"] == ITEM)
    assert item["discrimination"] < -0.5
    assert any(f"chooses {right[ITEM][0]}: is the key right?" in flag for flag in item["flags"])

    shutil.copy(files.course_root() / "quizzes" / QUIZ, "keys")
    capsys.readouterr()
    course("regrade", *graded, "--keys", "keys", "--why", "the key was wrong", "--json")
    changed = json.loads(capsys.readouterr().out)
    assert {c["student"] for c in changed["changes"]} == set(GOOD)
    assert {c["student"] for c in changed["kept"]} == set(WEAK)  # nobody falls unasked
    assert {(c["item"], c["before"], c["after"]) for c in changed["changes"]} == {(ITEM, 0, 1)}

    course("grade", "inbox", *graded, "--keys", "keys", "--csv", "marks.csv")
    after = points()
    assert {after[s, ITEM] for s in GOOD + WEAK} == {1.0}
    assert {k: v for k, v in after.items() if k[1] != ITEM} == {
        k: v for k, v in before.items() if k[1] != ITEM
    }
