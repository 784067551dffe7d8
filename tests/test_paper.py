"""The assessment's paper: no key in it, and still the same questions, ids and grades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from course_lib.errors import DataError
from course_lib.quiz import paper, schema, session, variants
from course_lib.quiz.grade import grade
from course_lib.quiz.state import Session

ROOT = Path(__file__).resolve().parent.parent
BANK = sorted((ROOT / "quizzes").glob("*.yaml"))
ASSESSMENT = """
id: assessment
title: Final assessment
lesson: "10"
version: 1
draw: {easy: 2}
questions:
  - {id: 10.a1, type: single, pool: easy, objective: "10.1", section: s, stem: "One?",
      explanation: "secretly one", options: [{text: A, feedback: "secretly a"}, {text: B,
      correct: true, feedback: "secretly b"}]}
  - {id: 10.a2, type: ordering, pool: easy, objective: "10.1", section: s, stem: "Order?",
      explanation: "secretly two", items: [zulu, alpha, mike]}
  - {id: 10.a3, type: text, pool: easy, objective: "10.1", section: s, stem: "Word?",
      explanation: "secretly three", accept: [secretword]}
  - {id: 10.a4, type: numeric, objective: "10.1", section: s, stem: "Twice {n}?", explanation:
      "secretly four", variables: {n: [20, 21, 22]}, answer: "n * 2"}
  - {id: 10.a5, type: matching, objective: "10.1", section: s, stem: "Pairs?", explanation:
      "secretly five", pairs: [{left: cat, right: meows}, {left: dog, right: barks}], extra:
      [moos]}
  - {id: 10.a6, type: artefact, objective: "10.1", section: s, stem: Predict., explanation:
      "secretly six", run: "hidden-*", gold: hidden.jsonl, field: intent, metric: accuracy,
      bands: [{at_least: 0.5, share: 0.5}, {at_least: 0.7, share: 1}]}
"""


def right_answer(asked: schema.Question, sheet: paper.Sheet, seed: bytes) -> Any:
    """Give the right answer in the ids that the paper alone shows."""
    shown = variants.present(sheet, seed)
    ids = {c.text: c.id for c in shown.choices}
    if isinstance(asked, schema.Single):
        return next(ids[o.text] for o in asked.options if o.correct)
    if isinstance(asked, schema.Multiple):
        return [ids[o.text] for o in asked.options if o.correct]
    if isinstance(asked, schema.Ordering):
        return [ids[i] for i in asked.items]
    if isinstance(asked, schema.Matching):
        rights = {c.text: c.id for c in shown.targets}
        return {ids[p.left]: rights[p.right] for p in asked.pairs}
    if isinstance(asked, schema.Numeric):
        return repr(variants.right_number(asked, seed))
    return asked.accept[0] if isinstance(asked, schema.ShortText) else None


def keys(content: Any) -> set[str]:
    """Give every key of nested mappings."""
    if isinstance(content, list):
        return set().union(*map(keys, content))
    return set(content).union(*map(keys, content.values())) if isinstance(content, dict) else set()


@pytest.mark.parametrize("path", BANK, ids=lambda p: p.stem)
def test_a_paper_holds_no_key_and_its_ids_are_those_of_the_key(path: Path, tmp_path: Path) -> None:
    quiz = schema.load_quiz(path)
    written = tmp_path / "paper.yaml"
    written.write_text(paper.dump(paper.paper_of(quiz)))
    read = paper.load_paper(written)
    assert read == paper.paper_of(quiz)
    text = " ".join(written.read_text().split())
    for asked in quiz.questions:
        kept = [asked.explanation, *(h.text for h in asked.hints)]
        kept += [o.feedback for o in getattr(asked, "options", ())]
        assert not any(" ".join(k.split())[:60] in text for k in kept), asked.id
    assert not keys(yaml.safe_load(written.read_text())) & {"correct", "accept", "answer", "pairs"}
    for student in range(200):
        seed = variants.student_seed(b"secret", str(student))
        both = zip(variants.drawn(quiz, seed), variants.drawn(read, seed), strict=True)
        for asked, sheet in both:
            assert isinstance(sheet, paper.Sheet) and not isinstance(asked, paper.Sheet)
            answer = right_answer(asked, sheet, seed)
            if answer is not None:
                assert grade(asked, answer, seed).outcome == "correct", asked.id


@pytest.fixture()
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("datasets", "quizzes/assessment", "work"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "key.yaml").write_text(ASSESSMENT)
    quiz = schema.load_quiz(tmp_path / "key.yaml")
    (tmp_path / "quizzes/assessment/paper.yaml").write_text(paper.dump(paper.paper_of(quiz)))
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "work" / "lesson.ipynb"))
    session._open.clear()
    return tmp_path


def test_an_assessment_is_kept_and_tells_nothing(course: Path) -> None:
    opened = Session("assessment")
    assert len(opened.questions) == 5, "two of the pool and three others"
    told = []
    for question in opened.questions:
        told += [opened.view(question), opened.submit(question, "42"), opened.hint(question)]
        assert told[-1]["outcome"] == "recorded"
    assert "secret" not in json.dumps(told) + repr(session.quiz("assessment")._repr_mimebundle_())
    assert "not started again" in opened.reset(list(opened.questions))
    again = Session("assessment")
    assert again.summary() == {"answered": 5, "questions": 5, "earned": 0, "points": 5,
                               "recorded": True}  # fmt: skip
    line = session.receipt("assessment")._repr_mimebundle_()["text/plain"]
    assert line == "Quiz assessment: 5 of 5 answered, 5 attempts kept, at questions and exercises"
    on_disk = "".join(
        p.read_text() for p in course.rglob("*") if p.is_file() and p.name != "key.yaml"
    )
    assert "secret" not in on_disk


def test_a_damaged_paper_is_named(course: Path) -> None:
    path = course / "quizzes/assessment/paper.yaml"
    path.write_text(path.read_text().replace("type: single", "type: riddle"))
    with pytest.raises(DataError, match=r"paper\.yaml.*type"):
        Session("assessment")


@pytest.mark.parametrize(("figure", "share"), [(0.49, 0), (0.5, 0.5), (0.7, 1), (None, None)])
def test_predictions_earn_by_bands(course: Path, figure: float | None, share: float | None) -> None:
    asked = schema.load_quiz(course / "key.yaml").questions[-1]
    found = grade(asked, "hidden-1", truth=figure)
    if share is None:
        assert found.outcome == "needs review"
    else:
        assert found.share == share
