"""``course export``: quizzes with their keys for other systems.

What a format cannot carry is listed by question, format and what to do; the rest is written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import UnknownNameError, UsageError
from course_lib.quiz import schema, variants
from course_lib.teach.export import gift, moodle, qti12, qti21
from course_lib.teach.export.items import Item, Refused, make_item
from course_lib.teach.grading.keys import OWN

FORMATS = ("qti12", "qti21", "moodle", "gift")
_WRITERS: dict[str, Any] = {"qti12": qti12, "qti21": qti21, "moodle": moodle, "gift": gift}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A question that does not go along: which, of which quiz, why, and what to do."""

    quiz: str
    question: str
    format: str
    why: str
    next_step: str


@dataclass
class Report:
    """What an export wrote.

    Attributes:
        files: written, one for each quiz. carried: how many questions went along.
        refused: which did not. notes: what changed on the way, by question.
    """

    files: list[Path] = field(default_factory=list)
    carried: int = 0
    refused: list[Refusal] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def find_quiz(name: str, keys: Path | None = None) -> Path:
    """Find a quiz file by its path, its id such as ``03`` or its name.

    Args:
        name: what was asked for. keys: a folder whose files come first.

    Raises:
        UnknownNameError: when there is none.
        UsageError: when ``keys`` is no folder.
    """
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return Path(name)
    root = files.course_root()
    if keys and not keys.is_dir():
        raise UsageError("there is no folder of keys", where=str(keys),
                         next_step="name it with --keys DIR")  # fmt: skip
    places = [root / "quizzes", keys or root / OWN]
    known = {p.stem: p for place in places for p in sorted(place.glob("*.yaml"))}
    found = [p for stem, p in known.items() if name in (stem, stem.partition("_")[0])]
    if not found:
        raise UnknownNameError("quiz", name, known)
    return found[0]


def seed_of(variant: int) -> bytes:
    """Give the seed of a variant: 0 is the one shown for practice."""
    if variant == 0:
        return variants.PRACTICE
    return hashlib.sha256(f"export:{variant}".encode()).digest()


def export(
    names: Sequence[str],
    to: str,
    out: Path,
    *,
    keys: Path | None = None,
    variant: int = 0,
    lossy: bool = False,
    strict: bool = False,
) -> Report:
    """Write quizzes in a format of another system.

    Args:
        names: of quizzes (see :func:`find_quiz`). to: one of :data:`FORMATS`.
        out: a folder, or for one quiz a file with the format's suffix.
        keys: the instructor's folder. variant: whose numbers, where one draw goes along.
        lossy: let partial credit and points be lost, with a note.
        strict: write nothing when a question is refused.

    Raises:
        UsageError: for an unknown quiz or format, or a file named for several quizzes.
        DataError: for a quiz file with faults.
        StorageError: when a file cannot be written.
    """
    if to not in _WRITERS:
        raise UnknownNameError("format", to, FORMATS)
    paths = list(dict.fromkeys(find_quiz(name, keys) for name in names))
    one_file = out.suffix != "" and not out.is_dir()
    if one_file and len(paths) > 1:
        raise UsageError("several quizzes do not go into one file", where=str(out),
                         next_step="name a folder with --out")  # fmt: skip
    report = Report()
    made: dict[Path, bytes] = {}
    for path in paths:
        quiz = schema.load_quiz(path)
        asked = _items(quiz, path, to, seed_of(variant), lossy, report)
        if asked:
            target = out if one_file else out / f"{path.stem}{_WRITERS[to].SUFFIX}"
            made[target] = _assemble(quiz, to, asked, report)
            report.carried += len(asked)
    if strict and report.refused:
        return Report(refused=report.refused, notes=report.notes)
    for target, data in made.items():
        files.write_bytes(target, data)
        report.files.append(target)
    return report


def _items(
    quiz: schema.Quiz, path: Path, to: str, seed: bytes, lossy: bool, report: Report
) -> list[tuple[Item, Any]]:
    """Write every question that the format can carry; list the others."""
    write: Callable[[Item], Any] = _WRITERS[to].question
    done = []
    for question in quiz.questions:
        try:
            item = make_item(question, path.parent, seed, lossy=lossy)
            done.append((item, write(item)))
        except Refused as refused:
            report.refused.append(Refusal(quiz.id, question.id, to, refused.why, refused.next_step))
        else:
            report.notes += [(question.id, note) for note in item.notes]
    return done


def _groups(
    quiz: schema.Quiz, asked: Iterable[tuple[Item, Any]]
) -> list[tuple[str, list[tuple[Item, Any]]]]:
    """Give the questions that everybody gets, then those of each pool that is drawn from."""
    found: dict[str, list[tuple[Item, Any]]] = {"": [], **{pool: [] for pool in quiz.draw}}
    for item, made in asked:
        pool = item.question.pool
        found[pool if pool in quiz.draw else ""].append((item, made))
    return [(name, listed) for name, listed in found.items() if listed]


def _assemble(quiz: schema.Quiz, to: str, asked: list[tuple[Item, Any]], report: Report) -> bytes:
    title, identifier = f"{quiz.id} {quiz.title}", re.sub(r"\W", "-", f"quiz-{quiz.id}")
    groups = _groups(quiz, asked)
    hinted = sum(bool(item.question.hints) for item, _ in asked)
    if hinted and to != "moodle":
        report.notes.append((quiz.id, f"the hints of {hinted} questions stay behind"))
    drawn = {name: min(quiz.draw.get(name, 0), len(listed)) for name, listed in groups}
    for name, count in drawn.items():
        if name and count < quiz.draw[name]:
            report.notes.append((quiz.id, f"{count} questions of {name!r} can be drawn, not "
                                          f"{quiz.draw[name]}"))  # fmt: skip
        if name and to in ("moodle", "gift"):
            report.notes.append((quiz.id, f"let the quiz draw {count} of the category {name!r}"))
    if to == "qti21":
        return qti21.write(identifier, title, [(n, drawn[n], listed) for n, listed in groups])
    plain = [(name, [made for _, made in listed]) for name, listed in groups]
    if to == "qti12":
        pictures = [item.picture for item, _ in asked if item.picture]
        return qti12.write(identifier, title, [(n, drawn[n], m) for n, m in plain], pictures)
    return moodle.write(title, plain) if to == "moodle" else gift.write(title, plain)
