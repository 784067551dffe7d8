"""The final assessment: fair draws, a paper without a key, and a check that covers the key.

After a change of the key write its paper again:

    python -c "from course_lib.quiz import paper, schema; from pathlib import Path; f = Path(
    'quizzes/assessment'); (f / 'paper.yaml').write_text(paper.dump(paper.paper_of(
    schema.load_quiz(f / 'keys' / 'assessment.yaml'))))"
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from course_lib import files
from course_lib.finetune.capstone import handin
from course_lib.quiz import evidence, lint, paper, schema, variants
from course_lib.quiz.grade import grade
from course_lib.quiz.state import find_quiz

FOLDER = files.course_root() / "quizzes" / "assessment"
GOLD = FOLDER / "keys" / "assessment_hidden.jsonl"
LESSONS = [f"{n:02}" for n in range(1, 10)]


@pytest.fixture(scope="module")
def quiz() -> schema.Quiz:
    return schema.load_quiz(FOLDER / "keys" / "assessment.yaml")


def test_the_paper_is_the_one_this_key_makes_and_holds_no_key(quiz: schema.Quiz) -> None:
    text = files.read_text(FOLDER / "paper.yaml")
    assert text == paper.dump(paper.paper_of(quiz))
    flat = " ".join(text.split())
    for asked in quiz.questions:
        kept = [asked.explanation, *(o.feedback for o in getattr(asked, "options", ()))]
        kept += [n.feedback for n in getattr(asked, "near", ())]
        kept += [p.feedback for p in getattr(asked, "pairs", ())]
        assert not any(" ".join(k.split())[:50] in flat for k in kept), asked.id
    told = set().union(*yaml.safe_load(text)["questions"])
    assert told <= {"id", "type", "part", "pool", "objective", "section", "points", "stem", "run",
                    "options", "items", "lefts", "rights", "variables", "unit"}  # fmt: skip
    found, _ = find_quiz("assessment")
    assert isinstance(found, paper.Paper), "a notebook shows the paper, never the key"


def test_every_student_gets_25_questions_on_all_lessons_and_both_tasks(quiz: schema.Quiz) -> None:
    sheet, seen = paper.load_paper(FOLDER / "paper.yaml"), Counter[str]()
    for student in range(200):
        seed = variants.student_seed(b"class", f"student {student}")
        drawn = variants.drawn(sheet, seed)
        asked = [q for q in drawn if q.type != "artefact"]
        lessons = Counter(q.objective[:2] for q in asked)
        assert len(asked) == 25 and len(drawn) - len(asked) == 2
        assert sorted(lessons) == LESSONS and min(lessons.values()) >= 2
        assert [q.id for q in drawn] == [q.id for q in variants.drawn(quiz, seed)]
        seen.update(q.id for q in asked)
    pool = [q for q in quiz.questions if q.type != "artefact"]
    assert 62 <= len(pool) <= 66 and len(seen) == len(pool), "every question is given to somebody"
    assert len({q.stem for q in pool}) == len(pool)


def test_the_bank_is_spread_over_lessons_objectives_and_types(quiz: schema.Quiz) -> None:
    pool = [q for q in quiz.questions if q.type != "artefact"]
    by_lesson = Counter(q.objective[:2] for q in pool)
    assert all(6 <= by_lesson[n] <= 8 for n in LESSONS)
    assert all(q.pool == f"lesson-{q.objective[:2]}" and q.id[4] == q.objective[1] for q in pool)
    for lesson in LESSONS:
        own = [q for q in pool if q.objective[:2] == lesson]
        assert len({q.objective for q in own}) >= 4 and len({q.type for q in own}) >= 3, lesson
    types = {q.type for q in pool}
    assert types == {"single", "multiple", "numeric", "text", "ordering", "matching"}


def test_check_covers_the_key_its_links_its_habits_and_its_paper(
    quiz: schema.Quiz, tmp_path: Path
) -> None:
    keyed, stale = lint.load_assessment()
    assert list(keyed.values()) == [quiz] and not stale
    lessons = lint.lesson_sources()
    assert lint.lint(keyed, lessons) == [], "also its own habits, apart from the other quizzes"
    broken = {n: t.replace("- **05.2**", "- **05.9**") for n, t in lessons.items()}
    assert any("no objective 05.2" in p for p in lint.lint(keyed, broken))
    moved = {n: t.replace("## 4 Writing text", "## 4 Writing") for n, t in lessons.items()}
    assert any("no section '4 Writing text" in p for p in lint.lint(keyed, moved))
    shutil.copytree(FOLDER, tmp_path / "assessment")
    path = tmp_path / "assessment" / "paper.yaml"
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    assert "is not what its key makes" in lint.load_assessment(tmp_path)[1][0]
    assert lint.load_assessment(tmp_path / "elsewhere") == ({}, [])


def test_positions_are_even_and_the_tasks_reward_work_not_tricks(
    quiz: schema.Quiz, tmp_path: Path
) -> None:
    single = [q for q in quiz.questions if isinstance(q, schema.Single)]
    places = Counter(next(i for i, o in enumerate(q.options) if o.correct) for q in single)
    assert max(places.values()) - min(places.values()) <= 2
    intents, answers = (q for q in quiz.questions if isinstance(q, schema.Artefact))
    rows, asked = handin.tickets(), handin.questions()
    one = handin.hand_in(tmp_path / "one", rows, ["payment"] * len(rows), None)
    silent = handin.hand_in(tmp_path / "silent", asked, [""] * len(asked), None)
    for task, folder in ((intents, one), (answers, silent)):
        figure = evidence.artefact(folder, GOLD, task.metric, task.field)
        assert grade(task, folder.name, truth=figure).share == 0, task.id
        assert grade(task, folder.name, truth=1.0).share == 1
    assert grade(intents, "x", truth=0.715).share == 0.8, "what the embedded base reached"
    assert grade(answers, "x", truth=0.080).share == 0.8
