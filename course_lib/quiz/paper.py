"""A quiz without its key: all a page, a student's disk and a browser may hold.

Questions are shown from their sheet alone (:func:`course_lib.quiz.variants.present`), so
what is not on the sheet cannot reach the page. Lists that would give the key away by
their order (items to be ordered, right-hand sides) are sorted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from course_lib import files
from course_lib.errors import DataError
from course_lib.quiz import schema

Kind = Literal[
    "single", "multiple", "numeric", "text", "ordering", "matching", "experiment", "code",
    "artefact",
]  # fmt: skip


class Sheet(BaseModel):
    """A question as anyone may see it.

    Attributes:
        options, lefts: in the file's order. items, rights: sorted.
        variables: what numbers are drawn from; the stem names them.
        exercise, run: what a code, experiment or artefact question looks at.
        hints: how many there are; their texts stay behind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    type: Kind
    part: str = ""
    pool: str = ""
    objective: str
    section: str = ""
    points: float = Field(gt=0)
    stem: str
    image: schema.Image | None = None
    options: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    lefts: tuple[str, ...] = ()
    rights: tuple[str, ...] = ()
    variables: dict[str, tuple[float, ...]] = {}
    unit: str = ""
    shuffle: bool = True
    exercise: str = ""
    run: str = ""
    hints: int = 0


class Paper(BaseModel):
    """A quiz as it is handed out to be graded."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    title: str
    lesson: str
    version: int
    parts: tuple[schema.Part, ...] = ()
    draw: dict[str, int] = {}
    questions: tuple[Sheet, ...] = Field(min_length=1)


def sheet_of(question: schema.Question) -> Sheet:
    """Leave out of a question all that its key holds."""
    same = ("id", "type", "part", "pool", "objective", "section", "points", "stem", "image",
            "variables", "unit", "shuffle", "exercise", "run")  # fmt: skip
    found: dict[str, Any] = {k: getattr(question, k) for k in same if hasattr(question, k)}
    if isinstance(question, schema.Single | schema.Multiple):
        found["options"] = tuple(o.text for o in question.options)
    elif isinstance(question, schema.Ordering):
        found["items"] = tuple(sorted(question.items))
    elif isinstance(question, schema.Matching):
        found["lefts"] = tuple(p.left for p in question.pairs)
        found["rights"] = tuple(sorted([*(p.right for p in question.pairs), *question.extra]))
    return Sheet(**found, hints=len(question.hints))


def paper_of(quiz: schema.Quiz) -> Paper:
    """Leave the key out of a quiz; ids, version and draws stay."""
    return Paper(
        id=quiz.id, title=quiz.title, lesson=quiz.lesson, version=quiz.version,
        parts=quiz.parts, draw=quiz.draw, questions=tuple(map(sheet_of, quiz.questions)),
    )  # fmt: skip


def dump(paper: Paper) -> str:
    """Give a paper as YAML, as it is handed out; defaults are left out."""
    content = paper.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text


def load_paper(path: Path | str) -> Paper:
    """Read a paper.

    Raises:
        DataError: when the file is no paper; every fault is named.
    """
    try:
        return Paper.model_validate(files.read_yaml(Path(path)))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise DataError(
            "this is not an assessment paper: " + "; ".join(faults[:5]),
            where=str(path),
            next_step="get the course's release again",
        ) from None
