"""Work that two students share: told, never marked down.

Five kinds of flags:

* ``same file``: one file, handed in by several students.
* ``same answers``: answers kept at the very same microsecond with the same content: copied files.
* ``same code``: an exercise solved with the same code but for names, comments, layout and
  docstrings. Short or common solutions say nothing: only code of at least ``LEAST_CODE`` syntax
  nodes counts, unlike the reference, and shared by no more than ``COMMON`` of those who solved it.
* ``same predictions``: one predictions file below an artefact mark. Equal recipes and seeds give
  equal files, so ask before you conclude anything.
* ``same mistakes``: two students with far more equal wrong answers than chance gives. Of the
  questions both got wrong, question *i* agrees by chance with p_i, the sum over its wrong
  answers of the squared share of the class's wrong answers. The number that agree is compared
  with a binomial distribution with the mean of the p_i, whose upper tail lies above that of the
  true sum (Hoeffding 1956). A pair is flagged when that tail, multiplied by the number of pairs
  in the class (Bonferroni), is below ``CHANCE``.
"""

from __future__ import annotations

import ast
import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from course_lib import files
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.grading.keys import Keys

Flag = tuple[str, list[str], dict[str, Any]]
CHANCE, LEAST_SAME, LEAST_CLASS = 0.01, 4, 10
LEAST_CODE, COMMON = 40, 0.05
LEAST_ANSWERS = 2  # of the same microsecond
MOST = 200  # flags of a kind
ROWS, COLUMNS = 64, 512  # students compared at a time
ALONE = 1  # stands for a wrong answer that nobody else gave
_WRONG = (
    "FROM marks m JOIN answers a ON a.id = m.answer "
    "WHERE m.quiz=? AND m.kind='question' AND m.outcome IN ('wrong', 'partial')"
)


def find(book: Gradebook, keys: Keys) -> list[Flag]:
    """Give every flag of a gradebook: kind, students and evidence; no mark is changed."""
    kinds = (_files(book), _answers(book), _predictions(book), _code(book, keys))
    found = [flag for kind in kinds for flag in itertools.islice(kind, MOST)]
    pairs = (pair for quiz in _quizzes(book) for pair in _mistakes(book, quiz))
    return found + heapq.nsmallest(MOST, pairs, key=lambda f: f[2]["chance"])


def _quizzes(book: Gradebook) -> list[str]:
    return [q for (q,) in book.db.execute("SELECT DISTINCT quiz FROM marks ORDER BY quiz")]


def _files(book: Gradebook) -> Iterator[Flag]:
    for sha256, students in book.db.execute(
        "SELECT sha256, json_group_array(student) FROM submissions GROUP BY sha256 "
        "HAVING count(DISTINCT student) > 1"
    ):
        yield "same file", sorted(set(json.loads(students))), {"sha256": sha256}


def _answers(book: Gradebook) -> Iterator[Flag]:
    rows = book.db.execute(
        "SELECT json_group_array(DISTINCT student), quiz FROM answers "
        "GROUP BY time, quiz, question, value HAVING count(DISTINCT student) > 1"
    )
    found: Counter[tuple[str, ...]] = Counter(tuple(sorted(json.loads(s))) for s, _ in rows)
    for students, count in found.most_common():
        if count >= LEAST_ANSWERS:
            yield "same answers", list(students), {"answers": count}


def _predictions(book: Gradebook) -> Iterator[Flag]:
    for item, sha256, students in book.db.execute(
        "SELECT item, json_extract(detail, '$.predictions') AS sha, json_group_array(student) "
        "FROM marks WHERE kind='artefact' AND sha IS NOT NULL GROUP BY item, sha "
        "HAVING count(DISTINCT student) > 1"
    ):
        yield "same predictions", json.loads(students), {"item": item, "sha256": sha256}


def _code(book: Gradebook, keys: Keys) -> Iterator[Flag]:
    for name, exercise in sorted(keys.exercises.items()):
        rows = book.db.execute(
            "SELECT m.student, a.value FROM marks m JOIN answers a ON a.id = m.answer "
            "WHERE m.item=? AND m.kind='exercise' AND m.outcome<>'blank'", (name,),
        )  # fmt: skip
        groups: dict[str, list[str]] = defaultdict(list)
        count = 0
        for student, value in rows:
            source = json.loads(value)
            source = source.get("source") if isinstance(source, dict) else None
            count += 1
            if isinstance(source, str) and (shape := normal(source)):
                groups[shape].append(student)
        known = {normal(exercise.solution), normal(exercise.start)}
        for shape, students in groups.items():
            if 1 < len(students) <= max(2, COMMON * count) and shape not in known:
                yield "same code", sorted(students), {"exercise": name, "sha256": shape}


class _Plain(ast.NodeTransformer):
    """Names by order of appearance; docstrings and annotations gone."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self.names.setdefault(name, f"n{len(self.names)}")

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [s for s in body if not _is_text(s)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        for field in ("id", "name", "arg"):
            if isinstance(given := getattr(node, field, None), str):
                setattr(node, field, self._name(given))
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, None)
        return super().generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def normal(source: str) -> str:
    """Give the SHA-256 of code without names, comments and layout; empty for short or broken."""
    try:
        tree = ast.parse(source)
        if sum(1 for _ in ast.walk(tree)) < LEAST_CODE:
            return ""
        return files.sha256_bytes(ast.dump(_Plain().visit(tree)).encode("utf-8", "replace"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _mistakes(book: Gradebook, quiz: str) -> Iterator[Flag]:
    """Pairs whose wrong answers agree far more often than chance gives."""
    students = [s for (s,) in book.db.execute(
        "SELECT DISTINCT student FROM marks WHERE quiz=? ORDER BY student", (quiz,)
    )]  # fmt: skip
    size = len(students)
    if size < LEAST_CLASS:
        return
    given, agree = _wrong(book, quiz, students)
    pairs = size * (size - 1) / 2
    for first, second, count, mean, chance in _unlikely(given, agree, pairs):
        yield "same mistakes", [students[first], students[second]], {
            "quiz": quiz, "same": count, "by chance": round(mean, 2), "chance": chance,
        }  # fmt: skip


def _wrong(book: Gradebook, quiz: str, students: list[str]) -> tuple[Any, Any]:
    """Give each student's wrong answers as small numbers, and each question's chance to agree.

    Returns:
        ``[questions, students]`` of whole numbers: 0 where the answer was not wrong, ``ALONE``
        where nobody else gave it, else the answer's number. And ``[questions]`` of chances.
    """
    numbers = dict[tuple[str, str], int]()
    items, squares, wrong = dict[str, int](), list[int](), list[int]()
    for item, value, count in book.db.execute(
        f"SELECT m.item, a.value, count(*) {_WRONG} GROUP BY m.item, a.value", (quiz,)
    ):
        if item not in items:
            items[item] = len(items)
            squares.append(0)
            wrong.append(0)
        squares[items[item]] += count**2
        wrong[items[item]] += count
        if count > 1:
            numbers[item, value] = ALONE + 1 + len(numbers)
    row = {student: n for n, student in enumerate(students)}
    kind = np.min_scalar_type(ALONE + 1 + len(numbers))
    given = np.zeros((len(items), len(students)), dtype=kind)
    for student, item, value in book.db.execute(f"SELECT m.student, m.item, a.value {_WRONG}",
                                                (quiz,)):  # fmt: skip
        given[items[item], row[student]] = numbers.get((item, value), ALONE)
    return given, np.array(squares, dtype=float) / np.maximum(np.array(wrong, dtype=float), 1) ** 2


def _unlikely(
    given: Any, agree: Any, pairs: float
) -> Iterator[tuple[int, int, int, float, float]]:  # fmt: skip
    """Yield two students, what they share, what chance gives and its adjusted probability."""
    size = given.shape[1]
    for start, later in itertools.product(range(0, size, ROWS), range(0, size, COLUMNS)):
        if later + COLUMNS <= start:
            continue
        counts, means = _agreement(given[:, start : start + ROWS],
                                   given[:, later : later + COLUMNS], agree)  # fmt: skip
        # at a deviation above the mean the tail is still far above what is looked for
        rows, columns = np.nonzero((counts >= LEAST_SAME) & (counts > means + np.sqrt(means)))
        found, ahead = counts[rows, columns], columns + later > rows + start
        if ahead.any():
            yield from _tails(rows[ahead] + start, columns[ahead] + later,
                              found[ahead].astype(float), given, agree, pairs)  # fmt: skip


def _agreement(first: Any, second: Any, agree: Any) -> tuple[Any, Any]:
    """Give ``[students, students]``: how many wrong answers they share, and how many by chance."""
    counts = np.zeros((first.shape[1], second.shape[1]), dtype=np.uint16)
    nothing = np.iinfo(first.dtype).max  # no answer's number
    for mine, theirs in zip(first, second, strict=True):
        counts += np.where(mine > ALONE, mine, nothing)[:, None] == theirs
    weighed = (first > 0) * agree[:, None].astype(np.float32)
    return counts, weighed.T @ (second > 0).astype(np.float32)


def _tails(
    rows: Any, columns: Any, found: Any, given: Any, agree: Any, pairs: float
) -> Iterator[tuple[int, int, int, float, float]]:  # fmt: skip
    """Of candidates, those whose agreement chance gives too seldom."""
    from scipy.special import betainc

    both = (given[:, rows] > 0) & (given[:, columns] > 0)
    tried, mean = both.sum(axis=0), agree @ both
    share = np.minimum(mean / tried, 1.0)
    chance = betainc(found, tried - found + 1, share) * pairs  # the tail from ``found`` on
    for i in np.nonzero(chance < CHANCE)[0]:
        yield (int(rows[i]), int(columns[i]), int(found[i]), float(mean[i]), float(chance[i]))
