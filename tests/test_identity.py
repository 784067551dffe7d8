"""Who learns: tokens read whole or not at all, and the order of what names a learner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import DataError, StorageError, UsageError
from course_lib.quiz import variants
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.identity import (
    ENROLMENT,
    check_student,
    current,
    enroll,
    read_token,
    token_for,
)

SECRET = b"a secret of the course"
MIA = token_for(SECRET, "mia", "Mia Ødegård", "Spring")
BEN = token_for(SECRET, "ben", "Ben", "Spring")
NAMES = ("COURSE_STUDENT_ID", "COURSE_STUDENT_TOKEN", "JUPYTERHUB_USER")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_a_token_holds_the_seed_and_not_the_secret() -> None:
    found = read_token(MIA)
    assert (found.student, found.name, found.course) == ("mia", "Mia Ødegård", "Spring")
    assert found.seed == variants.student_seed(SECRET, "mia")
    assert found.seed.hex() not in repr(found)
    assert read_token(f"  {MIA[:40]}\n{MIA[40:]}\n").student == "mia", "as a mail breaks it"


@given(st.integers(0, len(MIA) - 1), st.sampled_from("aZ0-_. ="))
def test_one_wrong_letter_never_passes(place: int, letter: str) -> None:
    wrong = MIA[:place] + letter + MIA[place + 1 :]
    if wrong != MIA:
        with pytest.raises(UsageError, match=r"not a course token|token is damaged"):
            read_token(wrong)


@pytest.mark.parametrize("text, message", [
    ("", "not a course token"),
    ("mia", r"not a course token; got 'mia'; expected a text that begins with larkspur1\."),
    ("larkspur2" + MIA[9:], "not a course token"),
    (MIA[:-1], r"token is damaged(.|\n)*copy it whole"),
    (MIA[:30], "token is damaged"),
    (MIA + ".x", "token is damaged"),
    ("larkspur1." + "a" * 5000, "not a course token"),
])  # fmt: skip
def test_bad_tokens_say_what_to_do(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_token(text)


@pytest.mark.parametrize("student", ["", "a b", "x" * 65, "ä", "a/b", "a\n"])
def test_odd_student_ids_are_refused(student: str) -> None:
    with pytest.raises(UsageError, match=r"JUPYTERHUB_USER: this is no student id; got"):
        check_student(student, "JUPYTERHUB_USER")
    with pytest.raises(UsageError, match="this is no student id"):
        token_for(SECRET, student, "N", "C")


@pytest.mark.parametrize("set_, student, seeded, source", [
    ({}, "mia", True, "student.json"),
    ({"JUPYTERHUB_USER": "ben"}, "ben", False, "JUPYTERHUB_USER"),
    ({"JUPYTERHUB_USER": "mia"}, "mia", True, "JUPYTERHUB_USER"),
    ({"COURSE_STUDENT_ID": "ben", "JUPYTERHUB_USER": "mia"}, "ben", False, "COURSE_STUDENT_ID"),
    ({"COURSE_STUDENT_ID": "ben", "COURSE_STUDENT_TOKEN": BEN}, "ben", True, "COURSE_STUDENT_ID"),
    ({"COURSE_STUDENT_ID": "cy", "COURSE_STUDENT_TOKEN": BEN}, "cy", False, "COURSE_STUDENT_ID"),
    ({"JUPYTERHUB_USER": "ben", "COURSE_STUDENT_TOKEN": BEN}, "ben", True, "JUPYTERHUB_USER"),
    ({"COURSE_STUDENT_TOKEN": BEN}, "mia", True, "student.json"),
    ({"COURSE_STUDENT_ID": " "}, "mia", True, "student.json"),
])  # fmt: skip
def test_the_order_of_what_names_a_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    set_: dict[str, str], student: str, seeded: bool, source: str,
) -> None:  # fmt: skip
    enroll(tmp_path, MIA)
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    found = current(tmp_path)
    assert found.student == student and found.source.endswith(source)
    seed = variants.student_seed(SECRET, student) if seeded else variants.PRACTICE
    assert found.seed == seed


def test_variables_that_hold_nonsense_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_STUDENT_ID", "no such id")
    with pytest.raises(UsageError, match="COURSE_STUDENT_ID: this is no student id"):
        current(tmp_path)
    monkeypatch.setenv("COURSE_STUDENT_ID", "mia")
    monkeypatch.setenv("COURSE_STUDENT_TOKEN", MIA[:-2])
    with pytest.raises(UsageError, match="token is damaged"):
        current(tmp_path)


def test_an_enrolment_is_found_from_three_folders_below(tmp_path: Path) -> None:
    assert current(tmp_path).source == "none" and current(tmp_path).seed == variants.PRACTICE
    enroll(tmp_path, MIA)
    deep = tmp_path / "a" / "b" / "c"
    (deep / "d").mkdir(parents=True)
    assert current(deep).student == "mia"
    assert current(deep / "d").student == ""


def test_another_student_does_not_take_over_by_mistake(tmp_path: Path) -> None:
    enroll(tmp_path, MIA)
    store = Store(tmp_path / "answers", "03", "s")
    store.add(Attempt("03", "03.q1", 1, 1, "o1", ""))
    before = store.path.read_bytes()
    with pytest.raises(UsageError, match=r"another student is enrolled here; got 'ben'"):
        enroll(tmp_path, BEN)
    assert current(tmp_path).student == "mia"
    assert enroll(tmp_path, BEN, replace=True).source == str(tmp_path / ENROLMENT)
    assert current(tmp_path).student == "ben" and store.path.read_bytes() == before
    assert enroll(tmp_path, BEN).student == "ben", "the same student may enrol again"


@pytest.mark.parametrize("content", ["{torn", "[]", '{"student": "mia"}', '"x"', "\udcff",
                                     json.dumps({"student": "a b", "name": "", "course": "",
                                                 "seed": "0" * 64})])  # fmt: skip
def test_a_damaged_enrolment_says_enroll_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / ENROLMENT
    path.parent.mkdir()
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"enrolment is damaged(.|\n)*enroll again"):
        current(tmp_path)
    assert enroll(tmp_path, MIA).student == "mia"
    assert current(tmp_path).name == "Mia Ødegård"


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / ".course").write_text("in the way")
    with pytest.raises(StorageError, match="could not write"):
        enroll(tmp_path, MIA)
