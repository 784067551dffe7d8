"""`course analyze`: what the marks say about the questions.

Difficulty is the mean share of an item's points; discrimination is the point-biserial correlation
of an item with the rest of its quiz (the item itself left out); reliability is Cronbach's alpha.
Sources: Cronbach (1951); Crocker & Algina, *Introduction to Classical and Modern Test Theory*.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from course_lib.quiz import schema
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.grading.keys import Keys

FEWEST = 10  # students below whom a figure says too little
HARD, EASY, FLAT = 0.2, 0.95, 0.1
UNUSED = 0.02  # share of a class below which a wrong option draws nobody
PAUSE = 600.0  # seconds; a longer gap between two answers is a break


@dataclass(frozen=True, slots=True)
class Item:
    """The figures of one question or exercise.

    Attributes:
        quiz, item, type, objective: which. students: that were asked.
        difficulty: mean share, 0 hard to 1 easy. discrimination: -1 to 1; nan where all are equal.
        blank: share that left it out.
        options: chosen how often by all, and by the best and the weakest third, by option id.
        flags: what to look at, one sentence each.
    """

    quiz: str
    item: str
    type: str
    objective: str
    students: int
    difficulty: float
    discrimination: float
    blank: float
    options: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuizFigures:
    """One quiz: students, mean share, Cronbach's alpha, median minutes, and its items."""

    quiz: str
    students: int
    mean: float
    alpha: float
    minutes: float
    shares: tuple[float, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """All quizzes, and the mean share of each objective's points."""

    quizzes: tuple[QuizFigures, ...]
    objectives: Mapping[str, float]


def analyze(book: Gradebook, keys: Keys) -> Analysis:
    """Compute the figures of every quiz in a gradebook; voided marks are left out.

    Args:
        book: the gradebook.
        keys: for types, objectives and right options.
    """
    questions = {q.id: q for quiz in keys.quizzes.values() for q in quiz.questions}
    names = [q for (q,) in book.db.execute("SELECT DISTINCT quiz FROM marks ORDER BY quiz")]
    quizzes = tuple(_quiz(book, name, questions) for name in names)
    earned: dict[str, list[float]] = defaultdict(list)
    for quiz in quizzes:
        for item in quiz.items:
            if item.objective:
                earned[item.objective].append(item.difficulty)
    objectives = {o: float(np.mean(v)) for o, v in sorted(earned.items())}
    return Analysis(quizzes, objectives)


def _quiz(book: Gradebook, quiz: str, questions: Mapping[str, Any]) -> QuizFigures:
    found: dict[str, dict[str, float]] = defaultdict(dict)
    blank: Counter[str] = Counter()
    for mark in book.marks("WHERE quiz=? AND kind='question' AND outcome NOT IN ('void','queued')",
                           (quiz,)):  # fmt: skip
        found[mark.student][mark.item] = mark.share
        blank[mark.item] += mark.outcome == "blank"
    students = sorted(found)
    ids = sorted({i for shares in found.values() for i in shares}, key=_number)
    table = np.full((len(students), len(ids)), np.nan)
    for row, student in enumerate(students):
        for column, item in enumerate(ids):
            table[row, column] = found[student].get(item, np.nan)
    totals = np.nanmean(table, axis=1) if table.size else np.array([])
    chosen = _chosen(book, quiz)
    items = tuple(
        _item(quiz, item, questions.get(item), table, n, students, totals, blank[item], chosen)
        for n, item in enumerate(ids)
    )
    mean = float(totals.mean()) if totals.size else float("nan")
    return QuizFigures(quiz, len(students), mean, alpha(table), _minutes(book, quiz),
                       tuple(map(float, totals)), items)  # fmt: skip


def _number(item: str) -> tuple[str, int]:
    head, _, tail = item.rpartition("q")
    return head, int(tail) if tail.isdigit() else 0


def alpha(table: np.ndarray) -> float:
    """Give Cronbach's alpha of shares ``[students, items]``; nan where it is not defined.

    Only items that every student was asked count; with drawn questions those are few.
    """
    whole = table[:, ~np.isnan(table).any(axis=0)] if table.size else table
    if whole.shape[0] < 2 or whole.shape[1] < 2:
        return float("nan")
    spread = whole.sum(axis=1).var(ddof=1)
    count = whole.shape[1]
    parts = float(whole.var(axis=0, ddof=1).sum())
    return count / (count - 1) * (1 - parts / float(spread)) if spread > 0 else float("nan")


def discrimination(item: np.ndarray, table: np.ndarray, column: int) -> float:
    """Correlate an item's shares with the mean of the student's other items; nan if undefined."""
    rest = np.delete(table, column, axis=1)
    if not rest.shape[1]:
        return float("nan")
    known = ~np.isnan(item) & ~np.isnan(rest).all(axis=1)
    if known.sum() < 3:
        return float("nan")
    others = np.nanmean(rest[known], axis=1)
    if item[known].std() == 0 or others.std() == 0:
        return float("nan")
    return float(np.corrcoef(item[known], others)[0, 1])


def _chosen(book: Gradebook, quiz: str) -> dict[tuple[str, str], Any]:
    """The value of the answer that counts, by student and item."""
    rows = book.db.execute(
        "SELECT m.student, m.item, a.value FROM marks m JOIN answers a ON a.id = m.answer "
        "WHERE m.quiz=? AND m.kind='question'", (quiz,),
    )  # fmt: skip
    return {(student, item): json.loads(value) for student, item, value in rows}


def _item(
    quiz: str, item: str, question: Any, table: np.ndarray, column: int, students: Sequence[str],
    totals: np.ndarray, blank: int, chosen: Mapping[tuple[str, str], Any],
) -> Item:  # fmt: skip
    shares = table[:, column]
    asked = ~np.isnan(shares)
    count = int(asked.sum())
    difficulty, linked = float(shares[asked].mean()), discrimination(shares, table, column)
    options = _options(item, question, students, totals, chosen)
    return Item(
        quiz, item, getattr(question, "type", "unknown"), getattr(question, "objective", ""),
        count, difficulty, linked, blank / count if count else 0.0, options,
        tuple(_flags(question, count, difficulty, linked, options)),
    )  # fmt: skip


def _options(
    item: str, question: Any, students: Sequence[str], totals: np.ndarray,
    chosen: Mapping[tuple[str, str], Any],
) -> dict[str, tuple[int, int, int]]:  # fmt: skip
    """How often each option was chosen: by all, by the best and by the weakest third."""
    if not isinstance(question, schema.Single | schema.Multiple):
        return {}
    order = [students[i] for i in np.argsort(-totals, kind="stable")]
    third = max(1, len(order) // 3)
    counts = []
    for group in (order, order[:third], order[-third:]):
        given = (chosen.get((student, item)) for student in group)
        listed = ((v if isinstance(v, list) else [v]) for v in given if v is not None)
        counts.append(Counter(str(o) for o in itertools.chain.from_iterable(listed)))
    names = [f"o{i}" for i in range(1, len(question.options) + 1)]
    return {n: (counts[0][n], counts[1][n], counts[2][n]) for n in names}


def _flags(
    question: Any, count: int, difficulty: float, linked: float,
    options: Mapping[str, tuple[int, int, int]],
) -> list[str]:  # fmt: skip
    if count < FEWEST:
        return []
    found = []
    if difficulty < HARD:
        found.append("hardly anybody is right")
    if difficulty > EASY:
        found.append("nearly everybody is right")
    if linked < FLAT:
        found.append("the better students are no better here")
    if isinstance(question, schema.Single):
        keyed = {f"o{i}" for i, o in enumerate(question.options, 1) if o.correct}
        best = {o: n[1] for o, n in options.items()}
        top = max(best, key=lambda o: best[o])
        draws = best[top] > 1.5 * max(best[k] for k in keyed) and best[top] >= options[top][2]
        if top not in keyed and draws and not linked >= FLAT:
            found.append(f"the best third chooses {top}: is the key right?")
        for option, (all_of_them, _, _) in options.items():
            if option not in keyed and all_of_them < UNUSED * count:
                found.append(f"{option} draws nobody")
    return found


def _minutes(book: Gradebook, quiz: str) -> float:
    """The median over students of the time between their answers, breaks left out."""
    rows = book.db.execute(
        "SELECT student, time FROM answers WHERE quiz=? ORDER BY student, time", (quiz,)
    )
    found = []
    for _, group in itertools.groupby(rows, key=lambda r: r[0]):
        told = (datetime.fromisoformat(t) for _, t in group)
        times = sorted({t if t.tzinfo else t.replace(tzinfo=UTC) for t in told})
        gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
        found.append(sum(g for g in gaps if g <= PAUSE) / 60)
    return float(np.median(found)) if found else float("nan")
