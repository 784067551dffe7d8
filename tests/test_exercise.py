"""Exercises: the solution passes, the start and every named wrong attempt do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from course_lib.errors import DataError, UnknownNameError
from course_lib.quiz import exercise as ex
from course_lib.quiz import session

FOLDER = Path(__file__).resolve().parent.parent / "quizzes" / "exercises"
EVERY = {k: e for path in sorted(FOLDER.glob("*.yaml")) for k, e in ex.load_exercises(path).items()}


@pytest.mark.parametrize("name", EVERY)
def test_only_the_right_answer_is_right(name: str) -> None:
    one = EVERY[name]
    assert ex.judge(one, ex.build(one.solution, one.function))[0] == "correct"
    assert len(one.wrong) >= 2
    for wrong in one.wrong:
        outcome, told = ex.judge(one, ex.build(wrong.code, one.function))
        assert outcome in ("incorrect", "crashed"), wrong.name
        assert one.function in told, "it says on which input"
    start = ex.build(one.start, one.function)
    assert ex.judge(one, start)[0] in ("not attempted", "incorrect")


def last_real(mask):  # type: ignore[no-untyped-def]
    ...


def test_what_goes_wrong_is_told() -> None:
    one = EVERY["03.e1"]
    assert ex.judge(one, last_real) == ("not attempted", "this is still the untouched start")
    assert ex.judge(one, 3)[0] == "uncheckable"
    outcome, told = ex.judge(one, lambda mask: 1 / 0)
    assert outcome == "crashed" and "ZeroDivisionError" in told and "last_real([[1" in told
    outcome, told = ex.judge(one, lambda mask: [len(r) - 1 for r in mask])
    assert (outcome, told) == (
        "incorrect",
        "last_real([[1, 1, 1, 0, 0]]) should give [2], gave [4]",
    )
    assert "forget 'return'" in ex.judge(one, lambda mask: None)[1]

    def empties(mask: list[list[int]]) -> list[int]:
        found = [max(i for i, real in enumerate(row) if real) for row in mask]
        mask.clear()
        return found

    assert "changed what it was given" in ex.judge(one, empties)[1]


def test_checks_are_kept_and_hints_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "lesson.ipynb"))
    session._open.clear()
    handle = session.ex("03.e1")
    wrong = handle.check(lambda mask: [0])
    assert wrong.startswith("✗ The last real token: incorrect. last_real([["), "its own name"
    one = EVERY["03.e1"]
    assert handle.check(ex.build(one.solution, one.function)).startswith("✓")
    kept = session.session("03").store.load().attempts
    assert [(a.question, a.outcome) for a in kept] == [("03.e1", "incorrect"), ("03.e1", "correct")]
    assert "lambda mask: [0]" in kept[0].value["source"]
    told = [session.ex("03.e1").hint() for _ in range(3)]  # as a learner calls it, cell by cell
    assert repr(wrong) == str(wrong), "the end of a cell shows it without quotation marks"
    assert told[0].startswith("Hint 1 of 2") and told[2].startswith("There are no more hints")
    with pytest.raises(UnknownNameError, match=r"unknown exercise '03\.e9'"):
        session.ex("03.e9")


def test_a_faulty_file_names_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("lesson: '03'\nexercises:\n  - id: e1\n    title: T\n")
    with pytest.raises(DataError, match=r"x\.yaml: faults in the exercises: exercises\.0\.id"):
        ex.load_exercises(path)
