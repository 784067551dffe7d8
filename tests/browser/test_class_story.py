"""A class from release to corrected key, by the commands alone: one test from end to end.

The roster's tokens and the students' bundle are handed out; Ada works in a real JupyterLab and
Chromium on her unpacked bundle, Bob and Cyd by commands in theirs, the rest of the class through
the bundle's library. Grading, the analysis that finds the wrong key, regrading and the exports
are the instructor's; the exports are read by programs of others.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html
from playwright.sync_api import Page, expect
from readers.programs import old_score, read_gift, read_moodle, read_qti
from test_quiz import form, submit, verdict

from conftest import ROOT, open_notebook, started_lab
from course_lib.quiz import identity, render, schema, variants

LESSON = "03_text_classification"
ITEM = "03.q2"
GOOD = ["ada", "bob", *(f"good{n}" for n in range(8))]
WEAK = ["cyd", *(f"weak{n}" for n in range(8))]
ANSWER = """
import json, sys
from pathlib import Path
import course_lib
from course_lib.quiz import identity, state, submission
assert Path(course_lib.__file__).is_relative_to(Path.cwd()), "the bundle's own library"
for student in json.load(sys.stdin):
    work = Path(student["work"])
    if student["token"]:
        work.mkdir(parents=True)
        identity.enroll(work, student["token"])
    session = state.Session("03", folder=work)
    for question, option in student["answers"].items():
        session.submit(question, option)
    if student["token"]:
        submission.submit(work, Path(student["inbox"]), identity=identity.current(work))
"""
RUN = """async (wanted) => {
  const app = window.jupyterapp, cells = app.shell.currentWidget.content;
  cells.activeCellIndex = cells.widgets.findIndex(
    c => c.model.type === 'code' && c.model.sharedModel.getSource().includes(wanted));
  await app.commands.execute('notebook:run-cell');
}"""


def options(quiz: schema.Quiz) -> dict[str, tuple[str, str]]:
    """The right option of each one-option question, and a wrong one."""
    found = {}
    for q in quiz.questions:
        if isinstance(q, schema.Single):
            marks = {o.correct: f"o{i}" for i, o in reversed([*enumerate(q.options, 1)])}
            found[q.id] = marks[True], marks[False]
    return found


def course(*words: str, here: Path | None = None, code: int = 0, put: str = "") -> Any:
    """Run `course`, the instructor's or a student's in their bundle ``here``; give what it says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COURSE_")}
    if here:  # a student has the bundle and the environment, and nothing of the clone
        environment |= {"PYTHONPATH": str(here), "COURSE_WORK": str(here / "work")}
    start = ["-c", ANSWER] if put else ["-m", "course_lib"]
    done = subprocess.run(
        [sys.executable, *start, *words], cwd=here or Path.cwd(), env=environment,
        input=put, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return json.loads(done.stdout) if "--json" in words else done.stdout


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The instructor's folder: keys, one of them wrong, and the list of the class."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "quizzes" / "assessment" / "keys", "keys")
    lines = (ROOT / "quizzes" / f"{LESSON}.yaml").read_text(encoding="utf-8").split("\n")
    start = next(i for i, line in enumerate(lines) if line.strip() == f"- id: {ITEM}")
    marked = next(i for i in range(start, len(lines)) if lines[i].strip() == "correct: true")
    moved = lines.pop(marked)
    first = next(i for i in range(start, len(lines)) if lines[i].strip().startswith("- text:"))
    lines.insert(first + 1, moved)
    (tmp_path / "keys" / f"{LESSON}.yaml").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "class.csv").write_text(
        "student,name\n" + "".join(f"{s},{s.title()}\n" for s in GOOD + WEAK)
    )
    return tmp_path


def handed_out(desk: Path) -> dict[str, str]:
    """Release the bundle, unpack it for three students, give everybody's token."""
    course("roster", "class.csv", "--course", "story")
    course("release", "--keys", "keys", "--out", "bundle.zip")
    for student in ("ada", "bob", "cyd"):
        with zipfile.ZipFile("bundle.zip") as packed:
            packed.extractall(desk / student)
    with open("roster-tokens.csv", newline="") as source:
        return {row["student"]: row["token"] for row in csv.DictReader(source)}


def home_of(student: str) -> Path:
    return Path(student, "fine-tuning-gpt").resolve()


def in_the_browser(page: Page, quiz: schema.Quiz, answers: dict[str, str]) -> None:
    """Open the lesson in the bundle's own JupyterLab, answer its quiz, keep the receipt."""
    home = home_of("ada")
    with started_lab(home, home, PYTHONPATH=str(home)) as (address, work):
        seed = identity.current(work).seed
        open_notebook(page, address, f"{LESSON}.ipynb")
        page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
        page.evaluate(RUN, f'quiz("{quiz.lesson}")')
        for question in quiz.questions:
            if question.id in answers:
                shown = [c.id for c in variants.present(question, seed).choices]
                place = shown.index(answers[question.id])
                form(page, question.id).get_by_role("radio").nth(place).check()
                submit(page, question.id)
                expect(verdict(page, question.id)).to_contain_text("Correct")
        page.evaluate(RUN, f'receipt("{quiz.lesson}")')
        expect(page.locator(".jp-RenderedHTML", has_text="attempts kept")).to_be_visible()
        page.evaluate("async () => window.jupyterapp.commands.execute('docmanager:save')")
        page.close()
    assert "application/vnd.course.receipt+json" in (work / f"{LESSON}.ipynb").read_text()


def points() -> dict[tuple[str, str], float]:
    with open("marks.csv", newline="", encoding="utf-8") as source:
        return {(r["student"], r["item"]): float(r["points"]) for r in csv.DictReader(source)}


def imported(desk: Path) -> dict[str, dict[str, str]]:
    """Export the lesson's quiz and give each format's right options, as others read them."""
    made: dict[str, Path] = {}
    for to in ("qti21", "qti12", "gift", "moodle"):
        # Some questions do not fit a format: they are listed, and the code is 1.
        report = course("export", "03", "--keys", "keys", "--to", to, "--out", to, "--json", code=1)
        assert report["refused"], to
        made[to] = desk / report["files"][0]
    quiz = schema.load_quiz(desk / "keys" / f"{LESSON}.yaml")
    asked = {q.id: q for q in quiz.questions if isinstance(q, schema.Single)}
    names = {k: [f"o{i}" for i in range(1, len(q.options) + 1)] for k, q in asked.items()}
    new = read_qti("2.1", [made["qti21"]], {LESSON: {f"q{k}": v for k, v in names.items()}})
    old = read_qti("1.2", [made["qti12"]], {})
    (gift,), (moodle,) = read_gift(made["gift"]), read_moodle(made["moodle"])
    by_id = {q["id"]: q for q in gift if q["type"] == "MC"}
    found: dict[str, dict[str, str]] = {to: {} for to in made}
    for k, q in asked.items():
        scored = zip(names[k], new[LESSON][f"q{k}"]["scored"], strict=True)
        found["qti21"][k] = only(n for n, s in scored if s["score"] == q.points)
        item = old[LESSON][f"q{k}"]
        found["qti12"][k] = only(n for n in names[k] if old_score(item, n) == 100)
        choices = zip(names[k], by_id[k]["choices"], strict=True)
        found["gift"][k] = only(n for n, c in choices if c["isCorrect"])
        texts = zip(names[k], q.options, strict=True)
        read = [said(t) for t in moodle[k]["right"]]
        found["moodle"][k] = only(n for n, o in texts if [said(render.inline(o.text))] == read)
    return found


def only(found: Any) -> str:
    """Give the one there is."""
    [one] = found
    return str(one)


def said(made: str) -> str:
    return " ".join(lxml_html.fromstring(f"<div>{made}</div>").text_content().split())


def test_a_class_from_release_to_corrected_key(desk: Path, page: Page) -> None:
    true = schema.load_quiz(ROOT / "quizzes" / f"{LESSON}.yaml")
    right = options(true)
    wrong_key = options(schema.load_quiz(desk / "keys" / f"{LESSON}.yaml"))[ITEM][0]
    assert wrong_key != right[ITEM][0]
    knows = {q: pair[0] for q, pair in right.items()}
    answers = {student: knows for student in GOOD}
    for place, student in enumerate(WEAK):
        guessed = {q: pair[place % 2] if place < 3 else pair[1] for q, pair in right.items()}
        answers[student] = guessed | {ITEM: wrong_key}

    tokens = handed_out(desk)
    for student in ("ada", "bob", "cyd"):
        course("lab", "--copy-only", here=home_of(student))
        course("enroll", tokens[student], here=home_of(student))
    in_the_browser(page, true, answers["ada"])
    for student in ("bob", "cyd"):
        one = {"work": "work", "token": "", "answers": answers[student]}
        course(here=home_of(student), put=json.dumps([one]))
    inbox = str(desk / "inbox")
    for student in ("ada", "bob", "cyd"):
        course("submit", "--out", inbox, here=home_of(student))
    rest = [
        {"work": str(desk / "rest" / s), "token": tokens[s], "answers": answers[s], "inbox": inbox}
        for s in answers if not (desk / s).exists()
    ]  # fmt: skip
    course(here=home_of("cyd"), put=json.dumps(rest))
    assert len(list((desk / "inbox").iterdir())) == len(tokens) == 19

    book = ("--secret", "course-secret.txt", "--gradebook", "book.sqlite", "--keys", "keys")
    course("grade", "inbox", *book, "--roster", "class.csv", "--csv", "marks.csv")
    before = points()
    assert {before[s, ITEM] for s in GOOD} == {0.0}
    assert {before[s, ITEM] for s in WEAK} == {1.0}

    figures = course("analyze", "--gradebook", "book.sqlite", "--keys", "keys", "--json")
    flags = {i["item"]: i for q in figures["quizzes"] for i in q["items"]}
    assert flags[ITEM]["discrimination"] < -0.5
    told = f"chooses {right[ITEM][0]}: is the key right?"
    assert [k for k, i in flags.items() if any(told in f for f in i["flags"])] == [ITEM]

    shutil.copy(ROOT / "quizzes" / f"{LESSON}.yaml", "keys")
    changed = course("regrade", *book, "--why", "the key was wrong", "--json")
    assert {c["student"] for c in changed["changes"]} == set(GOOD)
    assert {c["student"] for c in changed["kept"]} == set(WEAK)  # nobody falls unasked
    assert {(c["item"], c["before"], c["after"]) for c in changed["changes"]} == {(ITEM, 0, 1)}

    course("grade", "inbox", *book, "--csv", "marks.csv")
    after = points()
    assert {after[s, ITEM] for s in GOOD + WEAK} == {1.0}
    assert {k: v for k, v in after.items() if k[1] != ITEM} == {
        k: v for k, v in before.items() if k[1] != ITEM
    }

    assert imported(desk) == dict.fromkeys(("qti21", "qti12", "gift", "moodle"), knows)
