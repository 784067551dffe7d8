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
import json
from array import array
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
ROWS = 20  # students compared with the class at a time


def find(book: Gradebook, keys: Keys) -> list[Flag]:
    """Give every flag of a gradebook: kind, students and evidence; no mark is changed."""
    found: list[Flag] = []
    for kind in (_files, _answers, _predictions):
        found += list(kind(book))[:MOST]
    found += list(_code(book, keys))[:MOST]
    pairs = (pair for quiz in _quizzes(book) for pair in _mistakes(book, quiz))
    return found + sorted(pairs, key=lambda f: f[2]["chance"])[:MOST]


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
    (size,) = book.db.execute("SELECT count(DISTINCT student) FROM marks WHERE quiz=?",
                              (quiz,)).fetchone()  # fmt: skip
    if size < LEAST_CLASS:
        return
    students, same, expected, both = _tables(book, quiz)
    pairs = size * (size - 1) / 2
    for first, second, count, mean, chance in _unlikely(same, expected, both, pairs):
        yield "same mistakes", [students[first], students[second]], {
            "quiz": quiz, "same": count, "by chance": round(mean, 2), "chance": chance,
        }  # fmt: skip


def _tables(book: Gradebook, quiz: str) -> tuple[list[str], Any, Any, Any]:
    """Give the students, and three sparse tables with a row for each.

    Their products with their transposes give, for two students, how many wrong answers they
    share, how many chance lets them share, and how many questions both got wrong.
    """
    students, values = dict[str, int](), dict[tuple[str, str], int]()
    items = dict[str, int]()
    cells = [array("l"), array("l"), array("l")]  # student, value, item of each wrong answer
    for student, item, value in book.db.execute(
        "SELECT m.student, m.item, a.value FROM marks m JOIN answers a ON a.id = m.answer "
        "WHERE m.quiz=? AND m.kind='question' AND m.outcome IN ('wrong', 'partial')", (quiz,),
    ):  # fmt: skip
        cells[0].append(students.setdefault(student, len(students)))
        cells[1].append(values.setdefault((item, value), len(values)))
        cells[2].append(items.setdefault(item, len(items)))
    row, column, of = (np.array(c, dtype=np.int64) for c in cells)
    given, wrong = np.bincount(column), np.bincount(of)
    belongs = np.array([items[item] for item, _ in values], dtype=np.int64)
    agree = np.bincount(belongs, weights=given**2) / wrong**2 if len(items) else given
    shared = given[column] > 1 if column.size else column > 0
    ones = np.ones(int(shared.sum()))
    return (
        list(students),
        _sparse(row[shared], column[shared], ones, (len(students), len(values))),
        _sparse(row, of, np.sqrt(agree[of]) if of.size else ones, (len(students), len(items))),
        _sparse(row, of, np.ones(of.size), (len(students), len(items))),
    )


def _sparse(row: Any, column: Any, values: Any, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((values, (row, column)), shape=shape, dtype=np.float64)


def _unlikely(
    same: Any, expected: Any, both: Any, pairs: float
) -> Iterator[tuple[int, int, int, float, float]]:
    """Yield pairs of rows, what they share, what chance gives and its adjusted probability."""
    from scipy.special import betainc

    for start in range(0, same.shape[0], ROWS):
        counts = (same[start : start + ROWS] @ same.T).toarray()
        means = (expected[start : start + ROWS] @ expected.T).toarray()
        # at a deviation above the mean the tail is still far above what is looked for
        rows, columns = np.nonzero((counts >= LEAST_SAME) & (counts > means + np.sqrt(means)))
        later = columns > rows + start
        rows, columns = rows[later], columns[later]
        found, mean = counts[rows, columns], means[rows, columns]
        tried = (both[start : start + ROWS] @ both.T).toarray()[rows, columns]
        share = np.minimum(mean / tried, 1.0)
        chance = betainc(found, tried - found + 1, share) * pairs  # the tail from ``found`` on
        for i in np.nonzero(chance < CHANCE)[0]:
            yield (int(rows[i]) + start, int(columns[i]), int(found[i]), float(mean[i]),
                   float(chance[i]))  # fmt: skip
