"""A learner's session: kept across kernels, hints paid for, own runs recomputed."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_lib.errors import DataError, UnknownNameError
from course_lib.quiz import evidence, lint, session
from course_lib.quiz.preview import preview
from course_lib.quiz.session import RECEIPT, Session


@pytest.fixture()
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "lesson.ipynb"))
    monkeypatch.delenv("COURSE_RUNS", raising=False)
    session._open.clear()
    return tmp_path


def right(opened: Session, question: str) -> str:
    asked = opened.questions[question]
    return next(f"o{i}" for i, o in enumerate(asked.options, 1) if o.correct)  # type: ignore[union-attr]


def single(opened: Session) -> str:
    return next(q for q, asked in opened.questions.items() if asked.type == "single")


def test_a_new_kernel_knows_what_was_answered(beside: Path) -> None:
    first = Session("03")
    asked = single(first)
    state = first.submit(asked, right(first, asked))
    assert state["outcome"] == "correct" and state["explanation"]
    again = Session("03")
    assert again.state(asked)["value"] == right(first, asked)
    assert again.summary()["answered"] == 1 and again.summary()["earned"] == 1
    assert again.submit(asked, None)["message"].startswith("Choose or write")
    assert again.summary()["answered"] == 1


def test_a_hint_costs_its_share_and_stays_open(beside: Path) -> None:
    first = Session("03")
    asked = next(q for q, a in first.questions.items() if a.type == "single" and a.hints)
    first.hint(asked)
    first.submit(asked, right(first, asked))
    cost = first.questions[asked].hints[0].cost
    assert first.earned(asked) == pytest.approx(1 - cost)
    assert Session("03").earned(asked) == pytest.approx(1 - cost)


def test_an_answer_that_cannot_be_saved_is_not_called_saved(beside: Path) -> None:
    (beside / "answers").write_text("in the way")
    opened = Session("03")
    asked = single(opened)
    state = opened.submit(asked, right(opened, asked))
    assert "could not be saved" in state["message"] and not state["outcome"]
    (beside / "answers").unlink()
    assert opened.submit(asked, right(opened, asked))["outcome"] == "correct"


def test_the_page_is_given_no_key(beside: Path) -> None:
    opened = Session("03")
    for question in opened.questions:
        asked = opened.questions[question]
        text = json.dumps(opened.view(question)) + json.dumps(opened.state(question))
        assert '"correct"' not in text and asked.explanation[:40] not in text
        told = [o.feedback[:40] for o in getattr(asked, "options", ())]
        assert not any(json.dumps(t)[1:-1] in text for t in told)


def test_a_receipt_alone_brings_the_answers_back(beside: Path, tmp_path: Path) -> None:
    opened = session.session("03")
    asked = single(opened)
    assert "<table" not in session.receipt("03")._repr_mimebundle_()["text/html"]
    opened.submit(asked, right(opened, asked))
    data = session.receipt("03")._repr_mimebundle_()
    assert asked in data["text/html"] and str(tmp_path) not in json.dumps(data)
    cell = nbformat.v4.new_code_cell("receipt('03')", outputs=[
        nbformat.v4.new_output("display_data", data=json.loads(json.dumps(data)))
    ])  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), elsewhere / "lesson.ipynb")
    os.environ["JPY_SESSION_NAME"] = str(elsewhere / "lesson.ipynb")
    assert Session("03").summary()["answered"] == 1
    (elsewhere / "lesson.ipynb").write_text("{torn")
    assert Session("03").summary()["answered"] == 0
    assert RECEIPT in data


def test_unknown_names_offer_close_matches(beside: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown question '03\.q99'"):
        session.ask("03.q99")
    with pytest.raises(UnknownNameError, match="unknown quiz '77'"):
        session.quiz("77")


def test_own_runs_are_recomputed(tmp_path: Path) -> None:
    run = tmp_path / "03-intents-cpu-0"
    run.mkdir()
    rows = [{"id": str(i), "gold": "a", "prediction": "ab"[i % 4 == 0]} for i in range(8)]
    (run / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    stored = {
        "metrics": {"after": {"accuracy": 0.99}},
        "steps": 7,
        "settings": {"epochs": {"value": 3}},
    }
    (run / "run.json").write_text(json.dumps(stored))
    assert evidence.figure(tmp_path, "03-*", "metrics.after.accuracy") == 0.75
    assert evidence.figure(tmp_path, "03-*", "steps") == 7
    assert evidence.figure(tmp_path, "03-*", "settings.epochs") == 3
    assert evidence.figure(tmp_path, "03-*", "metrics.after.f2") is None
    assert evidence.figure(tmp_path, "04-*", "steps") is None
    (run / "predictions.jsonl").write_text("{torn\n")
    assert evidence.figure(tmp_path, "03-*", "metrics.after.accuracy") is None


def test_an_edited_gold_answer_is_no_evidence(tmp_path: Path) -> None:
    """Gold labels beside the predictions must be those of the course's data set."""
    data = session.files.course_root() / "datasets" / "support_tickets" / "test.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    run = tmp_path / "03-x"
    run.mkdir()
    stored = {"data": {"name": "support_tickets"}, "metrics": {"after": {"accuracy": 0.9}}}
    (run / "run.json").write_text(json.dumps(stored))

    def handed_in(gold: list[str]) -> Any:
        made = ({"id": r["id"], "gold": g, "prediction": "feedback"}
                for r, g in zip(rows, gold, strict=True))  # fmt: skip
        (run / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in made))
        return evidence.figure(tmp_path, "03-x", "metrics.after.accuracy")

    assert handed_in([r["intent"] for r in rows]) == 0.125
    assert handed_in([r["urgency"] for r in rows]) == 0.0
    assert handed_in(["feedback"] * len(rows)) is None


def test_predictions_on_hidden_rows_are_measured_by_the_key(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    keys: list[dict[str, Any]] = [{"id": f"t{i}", "intent": "ab"[i % 2]} for i in range(4)]
    keys += [{"id": "q1", "answers": ["the red one", "red"]}, {"id": "q2", "answers": []}]
    gold.write_text("".join(json.dumps(k) + "\n" for k in keys))
    run = tmp_path / "run"
    run.mkdir()
    given = {"t0": "a", "t1": "b", "t2": "b", "q1": "The red one.", "q2": ""}
    lines = (json.dumps({"id": k, "prediction": v, "gold": "made up"}) for k, v in given.items())
    (run / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    assert evidence.artefact(run, gold, "accuracy", "intent") == 0.5, "t3 is missing, so wrong"
    assert evidence.artefact(run, gold, "f1", "answers") == 1.0
    assert evidence.artefact(tmp_path / "none", gold, "f1", "answers") is None
    (run / "predictions.jsonl").write_text('{"id": "other", "prediction": "a"}\n')
    assert evidence.artefact(run, gold, "accuracy", "intent") is None


OWN = """
id: "90"
title: Own
lesson: "90"
version: 1
status: draft
questions:
  - id: 90.q1
    type: single
    objective: "90.1"
    section: 1 First things
    stem: Which?
    explanation: Because of this and of that.
    image: {file: images/dot.png, alt: a dot}
    options: [{text: A, feedback: no a}, {text: B, correct: true, feedback: yes b}]
    hints: [{text: Think., cost: 0.5}]
  - {id: 90.q2, type: code, objective: "90.1", section: s, stem: Do it., explanation: By doing
      it., exercise: 90.e1}
"""
EXERCISES = """
lesson: "90"
exercises:
  - id: 90.e1
    title: Twice
    objective: "90.1"
    function: twice
    prompt: Double it.
    start: "def twice(x):\n    ...\n"
    solution: "def twice(x):\n    return 2 * x\n"
    cases: [[1], [5]]
    wrong: [{name: one, code: "def twice(x):\n    return x\n"}, {name: two, code: "def
        twice(x):\n    return 2\n"}]
"""
DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture()
def own(beside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("datasets", "quizzes/images", "quizzes/exercises"):
        (beside / folder).mkdir(parents=True)
    (beside / "quizzes/90_own.yaml").write_text(OWN)
    (beside / "quizzes/exercises/90_own.yaml").write_text(EXERCISES)
    (beside / "quizzes/images/dot.png").write_bytes(base64.b64decode(DOT))
    monkeypatch.setenv("COURSE_ROOT", str(beside))
    return beside


def test_a_code_question_takes_the_exercises_verdict(own: Path) -> None:
    opened = session.session("90")
    assert opened.submit("90.q2", "done")["outcome"] == "needs review"
    session.ex("90.e1").check(lambda x: x)
    assert opened.state("90.q2")["outcome"] == "incorrect"
    session.ex("90.e1").check(lambda x: x + x)
    assert opened.state("90.q2")["outcome"] == "correct"
    assert Session("90").state("90.q2")["outcome"] == "correct"


def test_starting_again_empties_the_quiz_and_deletes_nothing(own: Path) -> None:
    opened = Session("90")
    opened.hint("90.q1")
    opened.submit("90.q1", "o1")
    assert opened.reset(["90.q1"]) == ""
    for one in (opened, Session("90")):
        assert one.summary()["answered"] == 0
        assert one.state("90.q1")["hints"] == [] and one.state("90.q1")["attempts"] == 0
    opened.submit("90.q1", "o2")
    again = Session("90")
    assert again.earned("90.q1") == 1 and again.state("90.q1")["attempts"] == 1
    assert len(again.store.load().attempts) == 3
    shutil.rmtree(own / "answers")
    (own / "answers").write_text("in the way")
    assert "could not be saved" in opened.reset(["90.q1"]) and opened.earned("90.q1") == 1


def test_the_review_says_what_to_read_again(own: Path) -> None:
    opened = Session("90")
    opened.submit("90.q1", "o1")
    first, second = opened.review(["90.q1", "90.q2"])
    assert (first["outcome"], first["section"]) == ("incorrect", "1 First things")
    assert "Because of this" in first["explanation"]
    assert second["outcome"] == "unanswered" and second["explanation"] == ""


def test_pictures_are_shown_or_named(own: Path) -> None:
    view = Session("90").view("90.q1")
    assert view["image"] == {"src": f"data:image/png;base64,{DOT}", "alt": "a dot"}
    assert DOT in session.quiz("90")._repr_mimebundle_()[0]["text/html"]
    path = own / "quizzes/90_own.yaml"
    path.write_text(OWN.replace("images/dot.png", "../../secret.png"))
    with pytest.raises(DataError, match=r"secret\.png.*below the quiz's folder"):
        Session("90").view("90.q1")
    assert "secret.png" in " ".join(lint.lint(lint.load_bank(), {}))


def test_the_preview_shows_the_key_to_the_author(own: Path) -> None:
    page = preview(own / "quizzes/90_own.yaml")
    assert "✓ B" in page and "no a" in page and "costs 50%" in page and DOT in page
