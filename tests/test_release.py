"""What is handed out: no key in the bundle, the same bytes again, and a roster that holds."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from course_lib import cli, files
from course_lib.errors import DataError, UsageError
from course_lib.quiz import identity, variants
from course_lib.teach.release import bundle, roster

KEYED = """\
id: assessment
title: Final
lesson: "10"
version: 3
questions:
  - id: 10.q1
    type: single
    objective: "10.1"
    section: s
    points: 1
    stem: Which one?
    options:
      - {text: This one here, correct: CORRECT1, feedback: FEEDBACK one}
      - {text: That one there, correct: CORRECT2, feedback: FEEDBACK two}
    hints: [{text: HINT, cost: 0.25}]
    explanation: EXPLAINED at some length, so that nobody needs to ask.
  - id: 10.q2
    type: numeric
    objective: "10.1"
    section: s
    points: 2
    stem: How many?
    answer: NUMBER
    explanation: EXPLAINED at some length, so that nobody needs to ask.
"""
ONE = {"CORRECT1": "true", "CORRECT2": "false", "FEEDBACK": "Yes", "NUMBER": "17"}
OTHER = {"CORRECT1": "false", "CORRECT2": "true", "FEEDBACK": "Hm", "NUMBER": "23",
         "HINT": "Think", "EXPLAINED": "Told"}  # fmt: skip


def keyed(folder: Path, words: dict[str, str], labels: str) -> Path:
    folder.mkdir(parents=True)
    text = KEYED
    for old, new in words.items():
        text = text.replace(old, new)
    (folder / "assessment.yaml").write_text(text)
    (folder / "assessment_hidden.jsonl").write_text(labels)
    (folder / "exercises").mkdir()
    return folder


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course with the real practice quizzes and library, and one notebook."""
    root = tmp_path / "course"
    real = files.course_root()
    for name in ("quizzes", "course_lib"):
        ignored = shutil.ignore_patterns("keys", "__pycache__", "base")
        shutil.copytree(real / name, root / name, ignore=ignored)
    (root / "notebooks").mkdir()
    (root / "datasets").mkdir()
    (root / "datasets" / "manifest.json").write_text("{}")
    shutil.copy(real / "notebooks" / "00_start_here.ipynb", root / "notebooks")
    (root / "notebooks" / "source").mkdir()
    (root / "notebooks" / "source" / "00_start_here.md").write_text("NOTES for the instructor")
    (root / "README.md").write_text("read me")
    (root / "INSTRUCTORS.md").write_text("for instructors")
    (root / "tests").mkdir()
    (root / "tests" / "test_x.py").write_text("x")
    return root


def test_the_bundle_is_the_same_bytes_whatever_the_keys_say(course: Path, tmp_path: Path) -> None:
    one = keyed(tmp_path / "one", ONE, '{"id": "h1", "intent": "payment"}\n')
    other = keyed(tmp_path / "other", OTHER, '{"id": "h1", "intent": "account"}\n')
    (other / "exercises" / "10.yaml").write_text("another solution")
    made = [bundle.release(tmp_path / f"{k.name}.zip", keys=k, root=course) for k in (one, other)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert made[0].sha256 == hashlib.sha256(made[0].path.read_bytes()).hexdigest()


def test_nothing_of_the_instructor_is_inside(course: Path, tmp_path: Path) -> None:
    keys = keyed(tmp_path / "keys", ONE, '{"id": "h1", "intent": "payment"}\n')
    made = bundle.release(tmp_path, keys=keys, root=course)
    with zipfile.ZipFile(made.path) as packed:
        names = {n.removeprefix("fine-tuning-gpt/") for n in packed.namelist()}
        sheet = packed.read("fine-tuning-gpt/quizzes/assessment/paper.yaml").decode()
        everything = b"".join(packed.read(n) for n in packed.namelist())
    assert {"README.md", "notebooks/00_start_here.ipynb", "course_lib/cli/__init__.py"} <= names
    for hidden in ("INSTRUCTORS.md", "tests/test_x.py", "notebooks/source/00_start_here.md"):
        assert hidden not in names
    assert not any("keys" in n.split("/") or "__pycache__" in n for n in names)
    assert "Which one?" in sheet
    assert "This one here" in sheet
    for word in ("correct", "Yes one", "17", "HINT", "EXPLAINED"):
        assert word not in sheet
    assert b"NOTES for the instructor" not in everything


def test_a_copy_of_a_key_among_what_is_listed_is_refused(course: Path, tmp_path: Path) -> None:
    keys = keyed(tmp_path / "keys", ONE, '{"id": "h1", "intent": "payment"}\n')
    shutil.copy(keys / "assessment_hidden.jsonl", course / "datasets" / "innocent.jsonl")
    with pytest.raises(UsageError, match=r"innocent.jsonl.*key would be handed out"):
        bundle.release(tmp_path / "b.zip", keys=keys, root=course)
    assert not (tmp_path / "b.zip").exists()


def test_missing_keys_are_told(course: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of keys"):
        bundle.release(tmp_path / "b.zip", keys=tmp_path / "none", root=course)


def test_the_bundle_runs_for_a_student(course: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, the library in it lists the assessment's questions without key."""
    keys = keyed(tmp_path / "keys", ONE, "{}\n")
    made = bundle.release(tmp_path / "b.zip", keys=keys, root=course)
    with zipfile.ZipFile(made.path) as packed:
        packed.extractall(tmp_path / "student")
    code = (
        "from course_lib.quiz.state import find_quiz; import course_lib;"
        "print(course_lib.__file__); print(len(find_quiz('assessment')[0].questions))"
    )
    home = tmp_path / "student" / "fine-tuning-gpt"
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True,
                          check=True, env={"PYTHONPATH": str(home)})  # fmt: skip
    where, count = done.stdout.split("\n")[:2]
    assert where.startswith(str(home))
    assert count == "2"


def test_a_roster_makes_tokens_that_enrol_and_carry_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "class.csv"
    listed.write_bytes("\ufeffStudent;Name\nada;Ada Lovelace\nbob;=HYPERLINK(1)\n".encode())
    assert cli.main(["roster", "class.csv", "--course", "spring"]) == 0
    first = (tmp_path / "roster-tokens.csv").read_text()
    assert cli.main(["roster", "class.csv", "--course", "spring"]) == 0
    assert (tmp_path / "roster-tokens.csv").read_text() == first
    rows = list(csv.DictReader(io.StringIO(first)))
    assert rows[1]["name"] == "'=HYPERLINK(1)"
    key = roster.secret(tmp_path / "course-secret.txt")
    who = identity.read_token(rows[0]["token"])
    assert (who.student, who.name, who.course) == ("ada", "Ada Lovelace", "spring")
    assert who.seed == variants.student_seed(key, "ada")
    for name in ("course-secret.txt", "roster-tokens.csv"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    again = roster.read_roster(tmp_path / "roster-tokens.csv")
    assert again[1].name == "=HYPERLINK(1)"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name\nAda\n", "line 1.*names its columns"),
        (b"student,name\nada,A\nada,B\n", "line 3.*listed twice"),
        (b"student,name\nada lovelace,A\n", "line 2.*no student id"),
        (b"student,name\n", "lists nobody"),
        (b"student,name\n\xff\xfe,A\n", "UTF-8"),
        (b'student,name\nada,"A\n', "no readable CSV"),
    ],
)
def test_a_bad_roster_is_told_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "class.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s).*{told}"):
        roster.read_roster(path)


def test_a_wrong_secret_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no secret of the course"):
        roster.secret(tmp_path / "none")
    (tmp_path / "short").write_text("abcd")
    with pytest.raises(DataError, match="no secret of a course"):
        roster.secret(tmp_path / "short")
