"""A learner's session: kept across kernels, hints paid for, own runs recomputed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest

from course_lib.errors import UnknownNameError
from course_lib.quiz import evidence, session
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
