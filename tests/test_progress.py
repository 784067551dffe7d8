"""Progress: graded again from what was kept, never above or below what is true."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import files
from course_lib.quiz import identity, notebook, variants
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.progress import LessonProgress, Progress, dashboard, learner_progress

QUESTION = """
  - id: {id}
    type: single
    objective: "{objective}"
    section: s
    points: {points}
    stem: Which?
    explanation: Because of this and of that.
    options: [{{text: A, feedback: not a}}, {{text: B, correct: true, feedback: it is b}}]
    hints: [{{text: Think., cost: 0.25}}, {{text: More., cost: 0.5}}]
"""
RUN = """
  - {id: 90.q5, type: experiment, objective: "90.3", section: s, points: 1, stem: How much is it,
     explanation: By looking., run: "90-*", answer: metrics.after.accuracy}
  - {id: 90.q6, type: code, objective: "90.3", section: s, points: 1, stem: Do it.,
     explanation: By doing., exercise: 90.e1}
"""
EXERCISES = """
lesson: "90"
exercises:
  - id: 90.e1
    title: Twice
    objective: "90.1"
    function: twice
    prompt: Double it.
    start: "def twice(x):\\n    ...\\n"
    solution: "def twice(x):\\n    return 2 * x\\n"
    cases: [[1], [5]]
    wrong: [{name: a, code: "def twice(x): return x"}, {name: b, code: "def twice(x): return 2"}]
"""
ASSESSMENT = """
  - {id: 90.a1, type: text, objective: "90.1", section: s, points: 2, stem: What is it,
     explanation: So it is., accept: [yes it is]}
  - {id: 90.a2, type: artefact, objective: "90.1", section: s, points: 2, stem: Hand in.,
     explanation: So it is., run: "final-*", gold: gold.jsonl, field: label, metric: accuracy,
     bands: [{at_least: 0.5, share: 0.5}, {at_least: 0.9, share: 1}]}
"""
RIGHT, WRONG, SEED = "o2", "o1", variants.PRACTICE


def quiz_file(lesson: str, title: str, questions: str, status: str = "ready") -> str:
    lines = (f'id: "{lesson}"', f"title: {title}", 'lesson: "90"', "version: 1",
             f"status: {status}", f"questions:{questions}")  # fmt: skip
    return "\n".join(lines)


def make_course(root: Path, *, assessment: bool = False) -> Path:
    (root / "quizzes" / "exercises").mkdir(parents=True)
    (root / "quizzes" / "assessment" / "keys").mkdir(parents=True)
    (root / "datasets").mkdir()
    objectives = {"90.q1": "90.1", "90.q2": "90.1", "90.q3": "90.2", "90.q4": "90.2"}
    asked = "".join(QUESTION.format(id=k, objective=v, points=2) for k, v in objectives.items())
    (root / "quizzes" / "90_own.yaml").write_text(quiz_file("90", "Own <b>", asked + RUN))
    draft = QUESTION.format(id="91.q1", objective="91.1", points=1)
    (root / "quizzes" / "91_draft.yaml").write_text(quiz_file("91", "Later", draft, "draft"))
    (root / "quizzes" / "exercises" / "90_own.yaml").write_text(EXERCISES)
    if assessment:
        keys = root / "quizzes" / "assessment" / "keys"
        (keys / "assessment.yaml").write_text(quiz_file("assessment", "Final", ASSESSMENT))
        rows = [{"id": f"r{i}", "label": "ab"[i % 2]} for i in range(10)]
        (keys / "gold.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return root


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    return make_course(tmp_path / "course")


@pytest.fixture()
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def answer(work: Path, question: str, value: Any, lesson: str = "90", **more: Any) -> Attempt:
    store = Store(work / "answers", lesson)
    store.load()
    fields = {"time": "", **more}
    return store.add(Attempt(lesson, question, 1, 1, value, **fields))


def own(work: Path, root: Path) -> LessonProgress:
    return learner_progress(work, SEED, root).lessons[0]


def do_all(work: Path) -> None:
    for n in (1, 2, 3, 4):
        answer(work, f"90.q{n}", RIGHT)
    answer(work, "90.e1", {"source": "..."}, outcome="correct")
    answer(work, "90.q6", "done")
    run = work / "runs" / "90-x"
    run.mkdir(parents=True)
    rows = [{"id": str(i), "gold": "a", "prediction": "aaab"[i]} for i in range(4)]
    (run / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (run / "run.json").write_text(json.dumps({"metrics": {"after": {"accuracy": 0.75}}}))
    answer(work, "90.q5", "0.75")


def test_nothing_answered_yet(work: Path, root: Path) -> None:
    found = learner_progress(work, SEED, root)
    assert [one.lesson for one in found.lessons] == ["90", "91"]
    first = found.lessons[0]
    assert (first.answered, first.questions, first.earned, first.points) == (0, 6, 0, 10)
    assert (first.exercises_done, first.exercises, first.minutes) == (0, 1, 0)
    assert not any(first.objectives.values()) and not found.damage and not found.complete
    assert found.next_step == "Lesson 90, Own <b>: 90.q1, 90.q2, 90.q3 and 4 more."
    assert found.missing == (
        "lesson 90: 0 of 10 points; at least 7 points are needed",
        "lesson 90: exercises not correct yet: 90.e1",
    ), "a draft is nobody's duty"


def test_half_answered(work: Path, root: Path) -> None:
    answer(work, "90.q1", RIGHT, outcome="incorrect", share=0.0)
    answer(work, "90.q2", RIGHT)
    answer(work, "90.q3", WRONG, outcome="correct", share=1.0)
    found = own(work, root)
    assert (found.answered, found.earned) == (3, 4), "verdicts told at the time are not trusted"
    assert found.objectives == {"90.1": True, "90.2": False, "90.3": False}
    assert found.open == ("90.q4", "90.q5", "90.q6", "90.e1")
    answer(work, "90.q1", WRONG)
    assert own(work, root).earned == 2 and not own(work, root).objectives["90.1"]


def test_everything_done_is_complete(work: Path, root: Path) -> None:
    do_all(work)
    found = learner_progress(work, SEED, root)
    assert found.complete and not found.missing and found.lessons[0].earned == 10
    assert "make your certificate" in found.next_step
    answer(work, "90.e1", {"source": "..."}, outcome="incorrect")
    broken = learner_progress(work, SEED, root)
    assert broken.missing == ("lesson 90: exercises not correct yet: 90.e1",)
    assert broken.lessons[0].earned == 9, "the code question follows the exercise"


def test_hints_cost_points_and_no_objective(work: Path, root: Path) -> None:
    answer(work, "90.q1", RIGHT, hints=1)
    answer(work, "90.q2", RIGHT, hints=2)
    answer(work, "90.q2", RIGHT)
    found = own(work, root)
    assert found.earned == pytest.approx(2 * 0.75 + 2 * 0.25)
    assert found.objectives["90.1"]


@pytest.mark.parametrize("question, value, kept", [
    ("", ["90.q1", "90.q2", "90.q3"], 0.0),
    ("", ["90.q1"], 1.0),
    ("", None, 0.0),
    ("90.reset", "", 0.0),
])  # fmt: skip
def test_a_reset_starts_anew(
    work: Path, root: Path, question: str, value: Any, kept: float
) -> None:
    answer(work, "90.q1", RIGHT, hints=2)
    answer(work, "90.q2", RIGHT, hints=1)
    answer(work, "90.q2", RIGHT, hints=2)
    answer(work, "90.e1", {}, outcome="correct")
    assert own(work, root).earned == pytest.approx(1.0)
    outcome = "" if question else "reset"
    answer(work, question, value, outcome=outcome)
    after = own(work, root)
    assert after.earned == pytest.approx(kept / 2) and after.exercises_done == 1
    answer(work, "90.q1", RIGHT)
    assert own(work, root).earned == pytest.approx(2 + kept / 2), "hints are closed again"


@pytest.mark.parametrize("times, minutes", [
    ([], 0.0),
    (["10:00"], 0.0),
    (["10:00", "10:03", "10:13"], 13.0),
    (["10:00", "10:10:01", "10:12:01"], 2.0),
    (["10:00", "22:00"], 0.0),
])  # fmt: skip
def test_minutes_leave_out_long_gaps(
    work: Path, root: Path, times: list[str], minutes: float
) -> None:
    for number, clock in enumerate(times):
        full = f"2026-05-01T{clock if clock.count(':') == 2 else clock + ':00'}.000000+00:00"
        answer(work, f"90.q{number + 1}", RIGHT, time=full)
    found = learner_progress(work, SEED, root)
    assert found.lessons[0].minutes == found.minutes == minutes


def test_damage_is_shown_and_the_rest_counts(work: Path, root: Path) -> None:
    answer(work, "90.q1", RIGHT)
    with next((work / "answers").iterdir()).open("a") as file:
        file.write('{"quiz": "<i>90')
    found = learner_progress(work, SEED, root)
    assert found.lessons[0].answered == 1 and "last line is not complete" in found.damage[0]
    assert "last line is not complete" in repr(dashboard_of(work, root))


def dashboard_of(work: Path, root: Path) -> Any:
    from course_lib.quiz.progress import Dashboard

    return Dashboard(learner_progress(work, SEED, root))


def test_receipts_alone_count(work: Path, root: Path) -> None:
    kept = asdict(answer(work, "90.q1", RIGHT))
    (work / "answers").rename(work / "lost")
    assert own(work, root).answered == 0
    inside = {"schema": 1, "lesson": "90", "attempts": [kept, {"question": []}, 3]}
    cell = nbformat.v4.new_code_cell("receipt('90')", outputs=[
        nbformat.v4.new_output("display_data", data={notebook.RECEIPT: inside})])  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), work / "90_own.ipynb")
    (work / "torn.ipynb").write_text("{" + notebook.RECEIPT)
    assert own(work, root).answered == 1
    (work / "lost").rename(work / "answers")
    assert own(work, root).answered == 1


def test_the_assessment_counts_and_keeps_its_verdict_till_the_end(
    work: Path, tmp_path: Path
) -> None:
    root = make_course(tmp_path / "graded", assessment=True)
    do_all(work)
    answer(work, "90.a1", "yes it is", "assessment")
    half = learner_progress(work, SEED, root)
    told = "the assessment: 1 of 2 questions are answered; at least 2.4 points are needed"
    assert half.missing == (told,) and half.next_step == "The assessment, Final: 90.a2."
    assert "2 points" not in repr(dashboard_of(work, root)).splitlines()[3]
    assert "told at the end" in repr(dashboard_of(work, root))
    run = work / "runs" / "final-1"
    run.mkdir()
    rows = [{"id": f"r{i}", "prediction": "ab"[i % 2] if i < 6 else "c"} for i in range(10)]
    (run / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    answer(work, "90.a2", "handed in", "assessment")
    found = learner_progress(work, SEED, root)
    assert found.complete and found.lessons[-1].earned == 3, "60% right earns half of the band"
    answer(work, "90.a1", "no", "assessment")
    assert learner_progress(work, SEED, root).missing == (
        "the assessment: 1 of 4 points; at least 2.4 points are needed",
    )


def test_a_course_without_a_ready_quiz_is_never_complete(tmp_path: Path, work: Path) -> None:
    (tmp_path / "empty" / "quizzes").mkdir(parents=True)
    found = learner_progress(work, SEED, tmp_path / "empty")
    assert not found.complete and "no quiz that is ready" in found.missing[0]
    assert found.next_step == "Nothing is open." and found.lessons == ()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["o1", "o2", "90.q1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)  # fmt: skip
records = st.fixed_dictionaries({
    "question": st.sampled_from([*(f"90.q{n}" for n in range(1, 7)), "90.e1", "", "x"]) | values,
    "value": values, "hints": values, "outcome": st.sampled_from(["reset", "correct"]) | values,
    "time": st.sampled_from(["", "2026-05-01T10:00:00+00:00", "2026-05-01T10:01:00", "noon"]),
})  # fmt: skip


@given(st.lists(records, max_size=6))
@settings(max_examples=25, deadline=None)
def test_whatever_is_in_the_files_nothing_is_negative(lines: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name) / "answers", COURSE
        folder.mkdir()
        made = ({"quiz": "90", "version": 1, "attempt": 1, "share": 0.0, "session": "s",
                 "previous": "", "number": n, **one} for n, one in enumerate(lines))  # fmt: skip
        text = "".join(json.dumps(one) + "\n" for one in made)
        (folder / "90.s.jsonl").write_text(text)
        found = learner_progress(Path(name), SEED, root)
    for one in found.lessons:
        assert 0 <= one.earned <= one.points and 0 <= one.answered <= one.questions
        assert one.minutes >= 0 and 0 <= one.exercises_done <= one.exercises
    assert found.minutes >= 0 and not found.complete


_kept = tempfile.TemporaryDirectory()
COURSE = make_course(Path(_kept.name) / "course")


def test_the_dashboard_is_a_plain_table_with_all_escaped(
    work: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COURSE_STUDENT_ID", "COURSE_STUDENT_TOKEN", "JUPYTERHUB_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_ROOT", str(root))
    monkeypatch.setenv("JPY_SESSION_NAME", str(work / "90_own.ipynb"))
    answer(work, "90.q1", RIGHT, hints=1)
    data = dashboard()._repr_mimebundle_()
    page = data["text/html"]
    assert "Own &lt;b&gt;" in page and "<b>" not in page and "<meter" not in page
    assert "<td>1 of 6, 1.5 points</td><td>0 of 1</td><td>0 of 3</td><td>0</td>" in page
    assert '<th scope="row" style="text-align:left">91 Later (draft)</th>' in page
    assert page.count("<caption>") == 1
    assert "<p>Next: Lesson 90, Own &lt;b&gt;: 90.q2, " in page
    assert data["text/plain"].splitlines()[0].startswith("lesson")
    assert "1 of 6, 1.5 points" in data["text/plain"]


def test_the_learners_own_variant_is_graded(
    work: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are drawn from the seed: what is right for one is wrong for another."""
    many = "\n".join((
        '  - {id: 92.q1, type: numeric, objective: "92.1", section: s, stem: "Of {n}?",',
        "     explanation: So., answer: n, variables: {n: [" + ", ".join(map(str, range(50)))
        + "]}}"))  # fmt: skip
    (root / "quizzes" / "92_own.yaml").write_text(quiz_file("92", "Numbers", "\n" + many))
    monkeypatch.setenv("COURSE_ROOT", str(root))
    identity.enroll(work, identity.token_for(b"secret", "mia", "Mia", "C"))
    seed = identity.current(work).seed
    from course_lib.quiz.schema import load_quiz

    asked = load_quiz(root / "quizzes" / "92_own.yaml").questions[0]
    right = variants.values(asked, seed)["n"]
    assert right != variants.values(asked, SEED)["n"]
    answer(work, "92.q1", right, "92")
    assert learner_progress(work, seed).lessons[-1].earned == 1
    assert learner_progress(work, SEED).lessons[-1].earned == 0
    assert "1 of 1, 1 points" in repr(dashboard(work))


def test_the_courses_own_files_load(tmp_path: Path) -> None:
    found = learner_progress(tmp_path, SEED)
    assert isinstance(found, Progress) and not found.complete
    there = {p.name[:2] for p in (files.course_root() / "quizzes").glob("[0-9][0-9]_*.yaml")}
    assert there <= {one.lesson for one in found.lessons}
