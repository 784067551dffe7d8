"""Mark one student: each answer graded again with the instructor's key, under the rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.quiz import evidence, schema, variants
from course_lib.quiz.answers import Attempt
from course_lib.quiz.grade import grade
from course_lib.quiz.replay import Replay
from course_lib.teach.grading import execute
from course_lib.teach.grading.gradebook import Mark
from course_lib.teach.grading.keys import Keys
from course_lib.teach.grading.policy import Policy, Rule

OUTCOMES = {"correct": "right", "partial": "partial", "incorrect": "wrong",
            "unanswered": "blank", "needs review": "needs_review"}  # fmt: skip
REMEMBERED = 50_000  # verdicts on answers that many students share
NOTHING = execute.Verdict("blank", 0.0, "not attempted")
FAILED = execute.Verdict("wrong", 0.0, "failed in the notebook")
WAITS = execute.Verdict("queued", 0.0, "not run yet")


@dataclass(frozen=True, slots=True)
class _Item:
    """What of a question does not change from student to student."""

    asked: Any
    id: str
    points: float
    kind: str
    digest: str
    costs: tuple[float, ...]  # of none, one, two ... opened hints
    alone: bool  # the verdict depends on the answer alone


class Marker:
    """Marks one student after the other with one set of keys.

    Args:
        keys: the instructor's.
        policy: the rules of the class.
        secret: of the course; decides each student's questions. None: everybody's practice
            variant, as for those who never enrolled.
        run_code: run code exercises in the sandbox; else they wait as ``queued``.
    """

    def __init__(
        self, keys: Keys, policy: Policy | None = None, *, secret: bytes | None = None,
        run_code: bool = True,
    ) -> None:  # fmt: skip
        self.keys, self.policy = keys, policy or Policy()
        self.secret, self.run_code = secret, run_code
        self._items = {
            q.id: _item(q, keys.digests[q.id]) for z in keys.quizzes.values() for q in z.questions
        }
        self._exercises: dict[str, list[str]] = {}
        for name in sorted(keys.exercises):
            self._exercises.setdefault(name.split(".")[0], []).append(name)
        self._seen: dict[tuple[str, str], tuple[float, str]] = {}

    def seed(self, student: str) -> bytes:
        """Give what decides a student's questions."""
        return variants.student_seed(self.secret, student) if self.secret else variants.PRACTICE

    def marks(
        self, student: str, attempts: Mapping[str, Sequence[Attempt]], runs: Path | None,
        late: Callable[[Rule], int] = lambda rule: 0,
    ) -> Iterator[tuple[Mark, Attempt | None]]:  # fmt: skip
        """Yield a mark for each item of each quiz a student answered, with the answer it is for.

        Args:
            student: whose.
            attempts: by lesson, in order of time.
            runs: the student's run folders, or None.
            late: gives the seconds after a rule's deadline.
        """
        seed = self.seed(student)
        for lesson, given in attempts.items():
            quiz, rule = self.keys.quizzes.get(lesson), self.policy.of(lesson)
            kept = rule.keeps(late(rule))
            asked = variants.drawn(quiz, seed) if quiz else ()
            played = Replay([q.id for q in asked])
            for one in given:
                played.take(one)
            for question in asked:
                item = self._items[question.id]
                chosen = self._chosen(item, played, rule, seed, runs)
                yield self._mark(student, lesson, item, chosen, played, rule, kept, seed, runs)
            for name in self._exercises.get(lesson, ()):
                yield self._exercise(student, lesson, name, played.sources.get(name), kept)

    def _mark(
        self, student: str, quiz: str, item: _Item, chosen: Attempt | None, played: Replay,
        rule: Rule, kept: float, seed: bytes, runs: Path | None,
    ) -> tuple[Mark, Attempt | None]:  # fmt: skip
        share, outcome = 0.0, "blank"
        if chosen is not None or item.kind == "artefact":
            share, outcome = self._verdict(item, chosen, played, seed, runs)
        opened = played.hints.get(item.id, 0) if rule.hints and item.costs else 0
        cost = item.costs[min(opened, len(item.costs) - 1)] if opened else 0.0
        points = item.points * share
        if cost or kept != 1.0:
            points = round(points * (1 - cost) * kept, 6)
        detail = _detail(opened, kept) if opened or kept != 1.0 else "{}"
        version = chosen.version if chosen is not None else 0
        return Mark(student, quiz, item.id, item.kind, points, item.points, share, outcome,
                    item.digest, version, None, detail), chosen  # fmt: skip

    def _chosen(
        self, item: _Item, played: Replay, rule: Rule, seed: bytes, runs: Path | None
    ) -> Attempt | None:
        """The attempt that counts under the rule."""
        if rule.attempts == "last":
            return played.latest.get(item.id)
        every = played.every.get(item.id, [])
        if rule.attempts == "first" or not every:
            return every[0] if every else None
        return max(every, key=lambda a: self._verdict(item, a, played, seed, runs)[0])

    def _verdict(
        self, item: _Item, one: Attempt | None, played: Replay, seed: bytes, runs: Path | None
    ) -> tuple[float, str]:
        """Share and outcome; what depends on the answer alone is remembered."""
        if item.alone and one is not None:
            value = one.value
            key = item.id, value if type(value) is str else _plain(value)
            if found := self._seen.get(key):
                return found
            verdict = grade(item.asked, value, seed)
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            self._seen[key] = found = verdict.share, OUTCOMES.get(verdict.outcome, "needs_review")
            return found
        if isinstance(item.asked, schema.Artefact):
            return self._artefact(item.asked, runs)
        assert one is not None
        truth: Any = None
        if isinstance(item.asked, schema.Experiment):
            truth = evidence.figure(runs, item.asked.run, item.asked.answer) if runs else None
        elif isinstance(item.asked, schema.Code):
            truth = self._code(item.asked, played)
        verdict = grade(item.asked, one.value, seed, truth=truth)
        return verdict.share, OUTCOMES.get(verdict.outcome, "needs_review")

    def _artefact(self, asked: schema.Artefact, runs: Path | None) -> tuple[float, str]:
        if runs is None:
            return 0.0, "blank"
        gold = self.keys.folder / asked.gold
        found = [execute.mark_artefact(asked, p.parent, gold)
                 for p in sorted(runs.glob(f"{asked.run}/predictions.jsonl"))]  # fmt: skip
        best = max(found, key=lambda v: v.share, default=None)
        return (best.share, best.outcome) if best else (0.0, "blank")

    def _code(self, asked: schema.Code, played: Replay) -> str | None:
        exercise, one = self.keys.exercises.get(asked.exercise), played.sources.get(asked.exercise)
        if exercise is None or one is None or not self.run_code:
            return None
        found = execute.mark_exercise(exercise, _source(one))
        return {"right": "correct", "wrong": "incorrect"}.get(found.outcome)

    def _exercise(
        self, student: str, lesson: str, name: str, one: Attempt | None, kept: float
    ) -> tuple[Mark, Attempt | None]:
        exercise = self.keys.exercises[name]
        verdict = NOTHING
        if one is not None:
            if one.outcome != "correct":  # what failed in the student's own kernel earns nothing
                verdict = FAILED
            elif not self.run_code:
                verdict = WAITS
            else:
                verdict = execute.mark_exercise(exercise, _source(one))
        points = round(exercise.points * verdict.share * kept, 6)
        return Mark(student, lesson, name, "exercise", points, exercise.points, verdict.share,
                    verdict.outcome, self.keys.digests[name], 0, None,
                    json.dumps({"told": verdict.told[:400]})), one  # fmt: skip


def _item(q: Any, digest: str) -> _Item:
    costs = [0.0]
    for hint in q.hints:
        costs.append(min(1.0, costs[-1] + hint.cost))
    apart = (schema.Artefact, schema.Experiment, schema.Code)
    alone = not isinstance(q, apart) and not getattr(q, "variables", None)
    kind = "artefact" if isinstance(q, schema.Artefact) else "question"
    return _Item(q, q.id, q.points, kind, digest, tuple(costs), alone)


def _plain(value: Any) -> str:
    """The answer as JSON, marked as not being a text itself."""
    try:
        return "\0" + json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return "\0" + repr(type(value))


def _detail(hints: int, kept: float) -> str:
    found: dict[str, Any] = {"hints": hints} if hints else {}
    return json.dumps(found | ({"kept": kept} if kept != 1.0 else {}))


def _source(one: Attempt) -> str:
    source = one.value.get("source") if isinstance(one.value, dict) else None
    return source if isinstance(source, str) else ""
