"""Code exercises: write a function, have it checked against the reference on many inputs.

The check runs in the learner's own kernel and is for learning; marking runs the kept
source again, elsewhere. Files lie in ``quizzes/exercises``; each exercise carries its
reference solution, an untouched start and named wrong attempts that a test proves fail.
"""

from __future__ import annotations

import ast
import copy
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from course_lib import files
from course_lib.errors import DataError, UnknownNameError
from course_lib.quiz.answers import Attempt

NOT_ATTEMPTED, CORRECT, INCORRECT = "not attempted", "correct", "incorrect"
CRASHED, UNCHECKABLE = "crashed", "uncheckable"
SHOWN = 160  # characters of a value in a message


class Wrong(BaseModel):
    """An attempt that must fail, and what is wrong with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    code: str


class Exercise(BaseModel):
    """One exercise of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[0-9]{2}\.e[0-9]+$")
    title: str
    objective: str = Field(pattern=r"^[0-9]{2}\.[0-9]+$")
    function: str = Field(pattern=r"^[a-z_][a-z0-9_]*$")
    prompt: str
    start: str
    solution: str
    cases: tuple[tuple[Any, ...], ...] = Field(min_length=2)
    tolerance: float = Field(default=0.0, ge=0)
    points: float = Field(default=1.0, gt=0)
    hints: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = Field(min_length=2)


class ExerciseFile(BaseModel):
    """The exercises of a lesson."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    lesson: str = Field(pattern=r"^[0-9]{2}$")
    exercises: tuple[Exercise, ...] = Field(min_length=1)


def load_exercises(path: Path) -> dict[str, Exercise]:
    """Read an exercise file, by id.

    Raises:
        DataError: with every fault of the file.
    """
    try:
        found = ExerciseFile.model_validate(files.read_yaml(path))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise DataError("faults in the exercises: " + "; ".join(faults), where=str(path)) from None
    return {e.id: e for e in found.exercises}


def build(code: str, function: str) -> Callable[..., Any]:
    """Give the function that ``code``, the course's own, defines."""
    space: dict[str, Any] = {}
    exec(compile(code, f"<{function}>", "exec"), space)
    made: Callable[..., Any] = space[function]
    return made


def judge(exercise: Exercise, attempt: Any) -> tuple[str, str]:
    """Check an attempt on every case.

    Args:
        exercise: with its reference solution.
        attempt: the learner's function.

    Returns:
        The outcome, and a sentence saying what differs on which input.
    """
    name = exercise.function
    if not callable(attempt):
        return UNCHECKABLE, f"give the function itself: .check({name}), without a call"
    if _untouched(exercise, attempt):
        return NOT_ATTEMPTED, "this is still the untouched start"
    reference = build(exercise.solution, name)
    for case in exercise.cases:
        shown = f"{name}({', '.join(_short(a) for a in case)})"
        expected = reference(*copy.deepcopy(case))
        given = copy.deepcopy(case)
        try:
            found = attempt(*given)
        except NotImplementedError:
            return NOT_ATTEMPTED, f"{name} is not written yet"
        except Exception as error:  # whatever the learner's code raises is told, not raised
            return CRASHED, f"{shown} raised {type(error).__name__}: {error}"
        if list(given) != list(copy.deepcopy(case)):
            return INCORRECT, f"{shown} changed what it was given; work on a copy"
        if not same(found, expected, exercise.tolerance):
            hint = " (did you forget 'return'?)" if found is None and expected is not None else ""
            return INCORRECT, f"{shown} should give {_short(expected)}, gave {_short(found)}{hint}"
    return CORRECT, f"right on all {len(exercise.cases)} inputs"


def same(found: Any, expected: Any, tolerance: float) -> bool:
    """Tell whether two results agree; lists and tuples may stand for each other."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return type(found) is type(expected) and found == expected
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return math.isclose(found, expected, rel_tol=tolerance, abs_tol=max(tolerance, 1e-12))
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        pairs = list(zip(found, expected, strict=False))
        return len(found) == len(expected) and all(same(f, e, tolerance) for f, e in pairs)
    return type(found) is type(expected) and bool(found == expected)


def _untouched(exercise: Exercise, attempt: Callable[..., Any]) -> bool:
    """Tell whether the function's body is still that of the start, comments aside."""
    try:
        found = ast.parse(source_of(attempt)).body[0]
    except (SyntaxError, IndexError):
        return False
    start = ast.parse(exercise.start).body[0]
    if not isinstance(found, ast.FunctionDef) or not isinstance(start, ast.FunctionDef):
        return False
    return [ast.dump(n) for n in found.body] == [ast.dump(n) for n in start.body]


def source_of(attempt: Any) -> str:
    """Give a function's source; empty where Python does not know it."""
    try:
        return textwrap.dedent(inspect.getsource(attempt))
    except (OSError, TypeError):
        return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


class Handle:
    """What ``ex("03.e1")`` gives: the task, ``check``, ``hint`` and ``solution``.

    Args:
        exercise: the exercise.
        keep: stores an attempt and gives it back; may raise when the disk is full.
        told: hints shown so far, by exercise; shared by the handles of one kernel.
    """

    def __init__(
        self, exercise: Exercise, keep: Callable[[Attempt], Any], told: dict[str, int]
    ) -> None:
        self._exercise, self._keep, self._told = exercise, keep, told

    def check(self, attempt: Any) -> str:
        """Check a function, keep the attempt, and say how it went."""
        outcome, told = judge(self._exercise, attempt)
        mark = {CORRECT: "✓", NOT_ATTEMPTED: "…"}.get(outcome, "✗")
        if outcome not in (NOT_ATTEMPTED, UNCHECKABLE):
            lesson = self._exercise.id.split(".")[0]
            self._keep(
                Attempt(lesson, self._exercise.id, 1, 0, {"source": source_of(attempt)}, "",
                        self._told.get(self._exercise.id, 0), outcome, float(outcome == CORRECT))
            )  # fmt: skip
        if not told.startswith(self._exercise.function):  # a name in Python keeps its letters
            told = f"{told[:1].upper()}{told[1:]}"
        return Told(f"{mark} {self._exercise.title}: {outcome}. {told}.")

    def hint(self) -> str:
        """Give the next hint."""
        hints: Sequence[str] = self._exercise.hints
        told = self._told.get(self._exercise.id, 0)
        if told >= len(hints):
            return Told("There are no more hints; .solution() shows one way.")
        self._told[self._exercise.id] = told + 1
        return Told(f"Hint {told + 1} of {len(hints)}: {hints[told].strip()}")

    def solution(self) -> Any:
        """Show the reference solution."""
        return Shown(self._exercise.solution)

    def _repr_markdown_(self) -> str:
        e = self._exercise
        return f"**Exercise {e.id} · {e.title}**\n\n{e.prompt}"

    def __repr__(self) -> str:
        return f"exercise {self._exercise.id}: {self._exercise.title}"


class Told(str):
    """A sentence, shown without quotation marks at the end of a cell."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Shown:
    """Code, shown as code."""

    def __init__(self, code: str) -> None:
        self.code = code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}```"

    def __repr__(self) -> str:
        return self.code


def find(folder: Path, exercise: str) -> Exercise:
    """Find an exercise by id.

    Raises:
        UnknownNameError: when there is none, with close matches.
    """
    known: dict[str, Exercise] = {}
    for path in sorted(folder.glob("*.yaml")):
        known |= load_exercises(path)
    if exercise not in known:
        raise UnknownNameError("exercise", exercise, known)
    return known[exercise]
