"""Mark one student: each answer graded again with the instructor's key, under the rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.quiz import evidence, schema, variants
from course_lib.quiz.answers import Attempt
from course_lib.quiz.grade import grade
from course_lib.quiz.replay import Replay
from course_lib.teach.grading import execute
from course_lib.teach.grading.codes import plain
from course_lib.teach.grading.gradebook import Mark
from course_lib.teach.grading.keys import Keys
from course_lib.teach.grading.policy import Policy, Rule

OUTCOMES = {"correct": "right", "partial": "partial", "incorrect": "wrong",
            "unanswered": "blank", "needs review": "needs_review"}  # fmt: skip
REMEMBERED = 50_000  # verdicts on code that was run
ANSWERS, SHORT = 5000, 200  # verdicts on answers that many share, and characters of such an answer
LONGEST_TOLD = 400  # characters
NOTHING = execute.Verdict("blank", 0.0, "not attempted")
FAILED = execute.Verdict("wrong", 0.0, "failed in the notebook")
WAITS = execute.Verdict("queued", 0.0, "not run yet")
_ALONE, _DRAWN, _CODE, _EXPERIMENT, _ARTEFACT = range(5)


@dataclass(frozen=True, slots=True)
class _Item:
    """What of a question does not change from student to student."""

    asked: Any
    id: str
    points: float
    kind: str
    digest: str
    costs: tuple[float, ...]  # of none, one, two ... opened hints
    way: int  # how its verdict is found


@dataclass(slots=True)
class _Sitting:
    """One student's quiz while it is marked."""

    student: str
    quiz: str
    played: Replay
    rule: Rule
    kept: float
    seed: bytes
    runs: Path | None
    told: dict[str, Any] = field(default_factory=dict)


class Marker:
    """Marks one student after the other with one set of keys.

    Args:
        keys: the instructor's.
        policy: the rules of the class.
        secret: of the course; decides each student's questions. None: everybody's practice
            variant, as for those who never enrolled.
        run_code: run code exercises in the sandbox; else they wait as ``queued``.

    Attributes:
        verdicts: on code that was run, by exercise and SHA-256 of the source.
        defer: leave code without a verdict queued, and note it in ``wanted``.
        wanted: exercise and source of what was left, by the same key.
        damage: what was wrong with the runs of the student marked last, by question.
    """

    def __init__(
        self, keys: Keys, policy: Policy | None = None, *, secret: bytes | None = None,
        run_code: bool = True,
    ) -> None:  # fmt: skip
        self.keys, self.policy = keys, policy or Policy()
        self.secret, self.run_code, self.defer = secret, run_code, False
        self.verdicts: dict[tuple[str, str], execute.Verdict] = {}
        self.wanted: dict[tuple[str, str], tuple[str, str]] = {}
        self.damage: dict[str, str] = {}
        self._items = {
            q.id: _item(q, keys.digests[q.id]) for z in keys.quizzes.values() for q in z.questions
        }
        self._exercises: dict[str, list[str]] = {}
        for name in sorted(keys.exercises):
            self._exercises.setdefault(name.split(".")[0], []).append(name)
        self._whole = {
            name: ([self._items[q.id] for q in z.questions], frozenset(q.id for q in z.questions))
            for name, z in keys.quizzes.items()
            if not z.draw
        }
        self._seen: dict[Any, tuple[float, str]] = {}

    def seed(self, student: str) -> bytes:
        """Give what decides a student's questions."""
        return variants.student_seed(self.secret, student) if self.secret else variants.PRACTICE

    def _asked(self, quiz: str, seed: bytes) -> tuple[list[_Item], frozenset[str]]:
        """The items a student was asked, and their ids."""
        if found := self._whole.get(quiz):
            return found
        if quiz not in self.keys.quizzes:
            return [], frozenset()
        drawn = variants.drawn(self.keys.quizzes[quiz], seed)
        return [self._items[q.id] for q in drawn], frozenset(q.id for q in drawn)

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
        self.damage.clear()
        for lesson, given in attempts.items():
            rule = self.policy.of(lesson)
            items, ids = self._asked(lesson, seed)
            played = Replay(ids)
            take = played.take
            for one in given:
                take(one)
            kept = rule.keeps(late(rule))
            sitting = _Sitting(student, lesson, played, rule, kept, seed, runs)
            for item in items:
                yield self._mark(item, sitting)
            for name in self._exercises.get(lesson, ()):
                yield self._exercise(name, sitting)

    def _mark(self, item: _Item, at: _Sitting) -> tuple[Mark, Attempt | None]:
        if at.rule.attempts == "last":
            chosen = at.played.latest.get(item.id)
        else:
            chosen = self._chosen(item, at)
        share, outcome = 0.0, "blank"
        if chosen is not None or item.way == _ARTEFACT:
            share, outcome = self._verdict(item, chosen, at)
        points, opened = item.points * share, at.played.hints.get(item.id, 0)
        detail = "{}"
        if opened or at.kept != 1.0 or item.id in at.told:
            opened = opened if at.rule.hints else 0
            cost = item.costs[min(opened, len(item.costs) - 1)]
            points = round(points * (1 - cost) * at.kept, 6)
            detail = _detail(opened, cost, at.kept, at.told.get(item.id, {}))
        version = chosen.version if chosen is not None else 0
        return Mark(at.student, at.quiz, item.id, item.kind, points, item.points, share, outcome,
                    item.digest, version, None, detail), chosen  # fmt: skip

    def _chosen(self, item: _Item, at: _Sitting) -> Attempt | None:
        """The attempt that counts under the rule ``first`` or ``best``."""
        every = at.played.every.get(item.id, [])
        if at.rule.attempts == "first" or not every:
            return every[0] if every else None
        return max(every, key=lambda a: self._verdict(item, a, at)[0])

    def _verdict(self, item: _Item, one: Attempt | None, at: _Sitting) -> tuple[float, str]:
        """Share and outcome; what depends on answer and numbers alone is remembered."""
        if item.way == _ARTEFACT:
            return self._artefact(item, at)
        assert one is not None
        truth: Any = None
        if item.way <= _DRAWN:
            numbers = tuple(variants.values(item.asked, at.seed).values()) if item.way else ()
            key = item.id, numbers, _hashable(one.value)
            found = self._seen.get(key)
            if found is None:
                verdict = grade(item.asked, one.value, at.seed)
                found = verdict.share, OUTCOMES.get(verdict.outcome, "needs_review")
                self._remember(key, found)
            return found
        if item.way == _EXPERIMENT:
            truth = self._figure(item, at.runs)
        else:
            ran = self._ran(item.asked.exercise, at.played)
            if ran.outcome == "queued":
                return 0.0, "queued"
            truth = {"right": "correct", "wrong": "incorrect"}.get(ran.outcome)
        verdict = grade(item.asked, one.value, at.seed, truth=truth)
        return verdict.share, OUTCOMES.get(verdict.outcome, "needs_review")

    def _remember(self, key: Any, found: tuple[float, str]) -> None:
        """Keep a verdict, of a short answer only and not too many: a class may be large."""
        if len(self._seen) >= ANSWERS:
            self._seen.clear()
        if len(repr(key[2])) <= SHORT:
            self._seen[key] = found

    def _figure(self, item: _Item, runs: Path | None) -> Any:
        """The figure of a student's run; None where it cannot be had, whatever is wrong with it."""
        if runs is None:
            return None
        try:
            value, damage = evidence.examined(runs, item.asked.run, item.asked.answer)
        except Exception as error:  # a stranger's run folder
            value, damage = None, f"{type(error).__name__}: {error}"
        if damage:
            self.damage[item.id] = damage
        return value

    def _artefact(self, item: _Item, at: _Sitting) -> tuple[float, str]:
        if at.runs is None:
            return 0.0, "blank"
        gold, best, source = self.keys.folder / item.asked.gold, None, None
        for path in sorted(at.runs.glob(f"{item.asked.run}/predictions.jsonl")):
            found = execute.mark_artefact(item.asked, path.parent, gold)
            if best is None or found.share > best.share:
                best, source = found, path
        if best is None or source is None:
            return 0.0, "blank"
        at.told[item.id] = {"told": plain(best.told, LONGEST_TOLD),
                            "predictions": files.sha256_file(source)}  # fmt: skip
        return best.share, best.outcome

    def _ran(self, name: str, played: Replay) -> execute.Verdict:
        """The verdict on the newest code of an exercise; queued where it is not run here."""
        exercise, one = self.keys.exercises.get(name), played.sources.get(name)
        if exercise is None or one is None:
            return NOTHING
        if one.outcome != "correct":  # what failed in the student's own kernel earns nothing
            return FAILED
        source = _source(one)
        key = name, files.sha256_bytes(source.encode("utf-8", "replace"))
        if found := self.verdicts.get(key):
            return found
        if self.defer or not self.run_code:
            if self.defer:
                self.wanted[key] = name, source
            return WAITS
        found = execute.mark_exercise(exercise, source)
        self.learn(key, found)
        return found

    def learn(self, key: tuple[str, str], verdict: execute.Verdict) -> None:
        """Remember the verdict on code that was run."""
        if verdict.outcome != "queued":
            self.verdicts[key] = verdict

    def _exercise(self, name: str, at: _Sitting) -> tuple[Mark, Attempt | None]:
        verdict, out_of = self._ran(name, at.played), self.keys.exercises[name].points
        points, detail = round(out_of * verdict.share * at.kept, 6), _TOLD.get(id(verdict))
        if detail is None or at.kept != 1.0:
            detail = _detail(0, 0.0, at.kept, {"told": plain(verdict.told, LONGEST_TOLD)})
        mark = Mark(at.student, at.quiz, name, "exercise", points, out_of, verdict.share,
                    verdict.outcome, self.keys.digests[name], 0, None, detail)  # fmt: skip
        return mark, at.played.sources.get(name)


def _item(q: Any, digest: str) -> _Item:
    costs = [0.0]
    for hint in q.hints:
        costs.append(min(1.0, costs[-1] + hint.cost))
    apart = {schema.Artefact: _ARTEFACT, schema.Experiment: _EXPERIMENT, schema.Code: _CODE}
    ways: dict[Any, int] = dict(apart)
    way = ways.get(type(q), _DRAWN if getattr(q, "variables", None) else _ALONE)
    kind = "artefact" if way == _ARTEFACT else "question"
    return _Item(q, q.id, q.points, kind, digest, tuple(costs), way)


def _hashable(value: Any) -> Any:
    """A key that two answers share only where they are the same JSON; 1, 1.0 and true differ."""
    kind = type(value)
    if kind is str:
        return value
    try:
        if kind is list:
            "".join(value)  # raises unless all are texts
            return (kind, *value)
        if kind is dict:
            "".join(value.values())
            return kind, *value.items()
        return kind, json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return kind, repr(value)


def _detail(hints: int, cost: float, kept: float, more: Mapping[str, Any]) -> str:
    found: dict[str, Any] = {"hints": hints, "cost": cost} if hints else {}
    return json.dumps({**more, **found} | ({"kept": kept} if kept != 1.0 else {}))


_TOLD = {id(v): _detail(0, 0.0, 1.0, {"told": v.told}) for v in (NOTHING, FAILED, WAITS)}


def _source(one: Attempt) -> str:
    source = one.value.get("source") if isinstance(one.value, dict) else None
    return source if isinstance(source, str) else ""
