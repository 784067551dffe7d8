"""Mark code and artefacts: run again or measured again, never taken on trust.

A code exercise is run in the sandbox on the exercise's cases; the reference runs outside, and the
results are compared outside. Where code cannot be isolated the mark waits (``queued``).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.quiz import evidence
from course_lib.quiz.exercise import Exercise, build, same
from course_lib.quiz.schema import Artefact
from course_lib.teach.grading import sandbox


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mark: its outcome (as in the gradebook), share of the points, and what to tell."""

    outcome: str  # right, wrong, blank, needs_review, queued
    share: float
    told: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def mark_exercise(exercise: Exercise, source: str, limits: sandbox.Limits | None = None) -> Verdict:
    """Mark the source of a code exercise.

    Args:
        exercise: with reference solution and cases.
        source: what the student handed in; empty where there is nothing.
        limits: of the sandbox.

    Returns:
        ``right`` when every case agrees, ``wrong`` with the first that does not, ``blank`` for
        the untouched start, ``queued`` where nothing can be isolated.
    """
    if not source.strip() or _body(source, exercise.function) == _body(
        exercise.start, exercise.function
    ):
        return Verdict("blank", 0.0, "not attempted")
    cases = [list(case) for case in exercise.cases]
    ran = sandbox.run(source, function=exercise.function, cases=cases, limits=limits)
    if ran.outcome == "refused":
        return Verdict("queued", 0.0, f"not run: {ran.told}")
    reference = build(exercise.solution, exercise.function)
    for number, case in enumerate(cases):
        if number >= len(ran.results):
            break
        expected, found = reference(*copy.deepcopy(case)), ran.results[number]
        call = f"{exercise.function}({', '.join(_short(a) for a in case)})"
        if isinstance(found, dict) and set(found) == {"error"} and not isinstance(expected, dict):
            return _wrong(f"{call} raised {found['error']}", ran, number)
        if not _agree(found, expected, exercise.tolerance):
            told = f"{call} should give {_short(expected)}, gave {_short(found)}"
            return _wrong(told, ran, number)
    if ran.outcome != "ran":
        return _wrong(ran.told, ran, len(ran.results))
    return Verdict("right", 1.0, f"right on all {len(cases)} inputs", {"seconds": ran.seconds})


def _agree(found: Any, expected: Any, tolerance: float) -> bool:
    try:
        return same(found, expected, tolerance)
    except (OverflowError, RecursionError, ValueError):  # such as a number no float can hold
        return False


def _wrong(told: str, ran: sandbox.Ran, case: int) -> Verdict:
    return Verdict("wrong", 0.0, told, {"run": ran.outcome, "case": case})


def _body(source: str, function: str) -> list[str]:
    """The statements of a function, comments aside; empty where there is no such function."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    return [ast.dump(n) for n in found[-1].body] if found else []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def mark_artefact(question: Artefact, run: Path, gold: Path) -> Verdict:
    """Mark predictions against labels that only the grader has.

    Args:
        question: names metric, field and the figure that earns the points.
        run: the student's run folder, with ``predictions.jsonl``.
        gold: the hidden labels, JSON Lines.

    Returns:
        ``right``, ``wrong`` or ``partial`` by the figure; ``needs_review`` where the
        predictions cannot be measured.
    """
    from course_lib.quiz.grade import grade

    try:
        figure = evidence.artefact(run, gold, question.metric, question.field)
    except Exception as error:  # a stranger's file: whatever is wrong with it is told
        return Verdict("needs_review", 0.0, f"the predictions cannot be measured: {error}"[:400])
    if figure is None:
        return Verdict("needs_review", 0.0, "there are no predictions that can be measured")
    found = grade(question, "handed in", truth=figure)
    outcome = "right" if found.share == 1 else "partial" if found.share else "wrong"
    told = " ".join(found.feedback) or f"{question.metric} {figure:.3f}"
    return Verdict(outcome, found.share, told, {question.metric: figure})
