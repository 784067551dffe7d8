"""Quiz files: what may stand in one, and every error at once with file, line and question.

The published JSON Schema (``course check --schema``) is made from these models.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from course_lib import files
from course_lib.errors import DataError
from course_lib.quiz import expressions
from course_lib.quiz.faults import describe

Credit = Literal["all_or_nothing", "per_option", "penalty"]
Text = Annotated[str, Field(min_length=1, max_length=4000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Option(_Strict):
    """One option of a choice question."""

    text: Text
    correct: bool = False
    feedback: Text


class Hint(_Strict):
    """A nudge, and the share of the points it costs."""

    text: Text
    cost: float = Field(default=0.25, ge=0, le=1)


class Image(_Strict):
    """A picture beside the stem, with what a reader who cannot see it is told."""

    file: Text
    alt: Text


class Tolerance(_Strict):
    """How far a number may lie off: by an amount, or by a share of the right value."""

    absolute: float = Field(default=0.0, ge=0)
    relative: float = Field(default=0.0, ge=0)


class Near(_Strict):
    """A wrong short answer that deserves feedback of its own."""

    text: Text
    feedback: Text


class Pair(_Strict):
    """Two things that belong together."""

    left: Text
    right: Text
    feedback: str = ""


class _Question(_Strict):
    id: str = Field(pattern=r"^[0-9]{2}\.[qa][0-9]+$")
    part: str = ""
    pool: str = ""
    objective: str = Field(pattern=r"^[0-9]{2}\.[0-9]+$")
    section: Text
    points: float = Field(default=1, gt=0, le=100)
    stem: Text
    image: Image | None = None
    hints: tuple[Hint, ...] = ()
    explanation: Text

    @model_validator(mode="after")
    def _hints_cost_no_more_than_all(self) -> _Question:
        if sum(h.cost for h in self.hints) > 1:
            raise ValueError("the hints together cost more than the question gives")
        return self


def _distinct(texts: list[str], what: str) -> None:
    plain = [re.sub(r"\s+", " ", t).strip().casefold() for t in texts]
    if len(set(plain)) < len(plain):
        raise ValueError(f"two {what} are the same")


class Single(_Question):
    """One option is right."""

    type: Literal["single"]
    options: tuple[Option, ...] = Field(min_length=2, max_length=8)
    shuffle: bool = True

    @model_validator(mode="after")
    def _one_right(self) -> Single:
        right = sum(o.correct for o in self.options)
        if right != 1:
            raise ValueError(f"exactly one option must be correct, {right} are")
        _distinct([o.text for o in self.options], "options")
        return self


class Multiple(_Question):
    """Any number of options is right, at least one."""

    type: Literal["multiple"]
    options: tuple[Option, ...] = Field(min_length=2, max_length=10)
    credit: Credit = "per_option"
    shuffle: bool = True

    @model_validator(mode="after")
    def _some_right(self) -> Multiple:
        if not any(o.correct for o in self.options):
            raise ValueError("at least one option must be correct")
        _distinct([o.text for o in self.options], "options")
        return self


class Numeric(_Question):
    """A number, or an expression over variables drawn for each learner."""

    type: Literal["numeric"]
    answer: float | str
    variables: dict[str, tuple[float, ...]] = {}
    tolerance: Tolerance = Tolerance()
    unit: str = ""
    units: dict[str, float] = {}

    @model_validator(mode="after")
    def _computable(self) -> Numeric:
        if any(not values for values in self.variables.values()):
            raise ValueError("a variable has no values")
        first = {name: values[0] for name, values in self.variables.items()}
        expressions.evaluate(self.answer, first)
        used = set(re.findall(r"(?<!\{)\{(\w+)\}(?!\})", self.stem))
        if missing := used - set(self.variables):
            raise ValueError(f"the stem names unknown variables: {', '.join(sorted(missing))}")
        if unused := set(self.variables) - used:
            raise ValueError(f"the stem never shows: {', '.join(sorted(unused))}")
        return self


class ShortText(_Question):
    """A word or two; case and spacing do not matter; ``rate{s|}`` accepts both spellings."""

    type: Literal["text"]
    accept: tuple[Text, ...] = Field(min_length=1)
    near: tuple[Near, ...] = ()

    @model_validator(mode="after")
    def _few_variants(self) -> ShortText:
        for pattern in (*self.accept, *(n.text for n in self.near)):
            expressions.spellings(pattern)
        return self


class Ordering(_Question):
    """Items to be put in the order they are written in."""

    type: Literal["ordering"]
    items: tuple[Text, ...] = Field(min_length=3, max_length=10)
    credit: Literal["all_or_nothing", "per_option"] = "per_option"

    @model_validator(mode="after")
    def _differ(self) -> Ordering:
        _distinct(list(self.items), "items")
        return self


class Matching(_Question):
    """Pairs to be found again, with right-hand sides that belong to nothing."""

    type: Literal["matching"]
    pairs: tuple[Pair, ...] = Field(min_length=2, max_length=10)
    extra: tuple[Text, ...] = ()
    credit: Literal["all_or_nothing", "per_option"] = "per_option"

    @model_validator(mode="after")
    def _differ(self) -> Matching:
        _distinct([p.left for p in self.pairs], "left-hand sides")
        _distinct([*(p.right for p in self.pairs), *self.extra], "right-hand sides")
        return self


class Experiment(_Question):
    """Graded against the learner's own run: a path into its ``run.json``."""

    type: Literal["experiment"]
    run: Text
    answer: str = Field(pattern=r"^[A-Za-z_][\w.-]*$")
    tolerance: Tolerance = Tolerance()
    unit: str = ""


class Code(_Question):
    """The verdict of a code exercise."""

    type: Literal["code"]
    exercise: str = Field(pattern=r"^[0-9]{2}\.e[0-9]+$")


class Band(_Strict):
    """A figure to be reached, and the share of the points it earns."""

    at_least: float
    share: float = Field(gt=0, le=1)


class Artefact(_Question):
    """A file of predictions on rows whose labels the learner does not have.

    The figure is computed from the predictions and the gold file when it is marked.
    """

    type: Literal["artefact"]
    run: Text
    gold: Text
    field: Text
    metric: Literal["accuracy", "f1_macro", "exact_match", "f1"]
    bands: tuple[Band, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> Artefact:
        pairs = [(b.at_least, b.share) for b in self.bands]
        if pairs != sorted(set(pairs)) or len({a for a, _ in pairs}) < len(pairs):
            raise ValueError("the bands must rise, in what they ask for and in what they earn")
        return self


Question = (
    Single | Multiple | Numeric | ShortText | Ordering | Matching | Experiment | Code | Artefact
)


class Part(_Strict):
    """A part of a quiz."""

    id: Text
    title: Text


class Quiz(_Strict):
    """A quiz file."""

    id: str = Field(pattern=r"^[0-9]{2}$|^assessment$")
    title: Text
    lesson: str = Field(pattern=r"^[0-9]{2}$")
    version: int = Field(ge=1)
    status: Literal["draft", "ready"] = "ready"
    parts: tuple[Part, ...] = ()
    draw: dict[str, int] = {}
    questions: tuple[Annotated[Question, Field(discriminator="type")], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Quiz:
        ids = [q.id for q in self.questions]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"ids used twice: {', '.join(twice)}")
        parts = {p.id for p in self.parts}
        if unknown := sorted({q.part for q in self.questions} - parts - {""}):
            raise ValueError(f"unknown parts: {', '.join(unknown)}")
        for pool, count in self.draw.items():
            there = sum(q.pool == pool for q in self.questions)
            if not 0 < count <= there:
                raise ValueError(f"cannot draw {count} from the {there} questions of {pool!r}")
        return self


def load_quiz(path: Path | str) -> Quiz:
    """Read and check a quiz file.

    Raises:
        DataError: with every fault of the file, each as ``file:line question: what``.
    """
    path = Path(path)
    content = files.read_yaml(path)
    node = yaml.compose(files.read_text(path), Loader=yaml.SafeLoader)
    try:
        return Quiz.model_validate(content)
    except ValidationError as error:
        errors = [
            e for e in error.errors() if e["loc"] != ("questions",) or error.error_count() == 1
        ]
        found = [describe(path, node, content, e) for e in errors]
        raise DataError(
            f"{len(found)} {'fault' if len(found) == 1 else 'faults'} in the quiz\n"
            + "\n".join(f"  {line}" for line in sorted(set(found))),
            where=str(path),
            next_step="correct them; 'course preview FILE' shows the quiz",
        ) from None
