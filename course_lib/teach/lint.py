"""What `course check` asks of the lessons: coverage, form, references, and numbers in prose.

The questions themselves are checked by :mod:`course_lib.quiz.lint`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.quiz import exercise, schema
from course_lib.teach import glossary
from course_lib.teach.lesson import NOTES, Cell, Lesson, read_lessons
from course_lib.teach.new_lesson import TODO

SECTIONS = ("Learning objectives", "Quiz", "Key takeaways", "Where to read more")
TRAINING_SECTIONS = ("Your turn", "What goes wrong", "Play")  # of the lessons that train
NO_TRAINING = ("00", "10")
MOST_LINES = 15
SLIDE_WORDS = 110  # what a projector shows, with a heading
WRITTEN = ("notebooks/source/[0-9][0-9]_*.md", "notebooks/source/glossary/*.yaml",
           "quizzes/*.yaml", "quizzes/exercises/*.yaml")  # fmt: skip
_TODO = re.compile(rf"\b{TODO}\b")
_NUMBER = re.compile(
    r"(?<![\w.\-/])\d+\.\d+(?![\w.]*\d|\w)|(?<![\w.])\d+(?:\.\d+)?\s?(?:%|percent\b|points?\b)"
)


def check(root: Path | None = None) -> list[str]:
    """Check every lesson of a course.

    Args:
        root: the course's folder; found when None.

    Returns:
        One line a problem, with file and cell; empty when all is well.
    """
    root = root or files.course_root()
    source = root / "notebooks" / "source"
    lessons = read_lessons(root)
    bank = {p.name: schema.load_quiz(p) for p in sorted((root / "quizzes").glob("*.yaml"))}
    terms = glossary.read_terms(source / "glossary")
    allowed = files.read_yaml(source / "numbers.yaml") or {}
    found = coverage(lessons, bank.values(), files.read_yaml(source / "topics.yaml"))
    found += unfinished(root)
    for lesson in lessons:
        found += form(lesson)
        found += references(lesson, root)
        found += typed_numbers(lesson, allowed.get(lesson.number) or {})
        found += figures(lesson, root / "notebooks" / f"{lesson.path.stem}.ipynb")
    found += glossary.problems(terms, lessons) + glossary.bad_links(terms, lessons)
    written = source.parent / glossary.PAGE
    if not written.is_file() or files.read_text(written) != glossary.page(terms):
        found.append(f"{written.name} is not what the glossary files make; run `course build`")
    return found


def unfinished(root: Path) -> list[str]:
    """List the lines that still say TODO, as `course new lesson` leaves them to be filled in.

    Args:
        root: the course's folder.

    Returns:
        One line a place, with file and line: of lessons, glossary, questions and exercises.
    """
    found = []
    for pattern in WRITTEN:
        for path in sorted(root.glob(pattern)):
            for number, line in enumerate(files.read_text(path).splitlines(), 1):
                if _TODO.search(line):
                    told = " ".join(line.split())[:60]
                    found.append(f"{path.relative_to(root)}:{number}: still to be filled in "
                                 f"({told!r})")  # fmt: skip
    return found


def coverage(
    lessons: Sequence[Lesson],
    bank: Iterable[schema.Quiz],
    topics: Mapping[str, Mapping[str, str]],
) -> list[str]:
    """Check that every topic and objective is taught in a tagged cell and asked about."""
    questions = [(quiz.lesson, q) for quiz in bank for q in quiz.questions]
    by_number = {lesson.number: lesson for lesson in lessons}
    found = [f"lesson {n} of topics.yaml is not written" for n in topics if n not in by_number]
    for lesson in lessons:
        for objective in lesson.objectives:
            if not lesson.tagged(f"objective-{objective}"):
                found.append(f"{lesson.path.name}: no cell is tagged objective-{objective}")
        if not lesson.objectives:
            found.append(
                f"{lesson.path.name}: no objective of the form '- **{lesson.number}.1** …'"
            )
        known = topics.get(lesson.number) or {}
        tagged = {t[6:] for c in lesson.cells for t in c.tags if t.startswith("topic-")}
        found += [f"{lesson.path.name}: {t} belongs to another lesson" for t in tagged - set(known)]
        asked = [q for number, q in questions if number == lesson.number]
        for topic, title in known.items():
            cells = lesson.tagged(f"topic-{topic}")
            if not cells:
                found.append(f"{lesson.path.name}: no cell is tagged topic-{topic} ({title})")
            elif not _is_asked(cells, asked):
                found.append(f"{lesson.path.name}: no question is about topic {topic} ({title})")
    return found


def _is_asked(cells: Sequence[Cell], asked: Sequence[Any]) -> bool:
    sections = {c.section for c in cells}
    objectives = {t[10:] for c in cells for t in c.tags if t.startswith("objective-")}
    return any(q.section in sections or q.objective in objectives for q in asked)


def form(lesson: Lesson) -> list[str]:
    """Check the parts a lesson has, its cells' length, and its slides."""
    name = lesson.path.name
    wanted = SECTIONS if lesson.number in NO_TRAINING else SECTIONS + TRAINING_SECTIONS
    found = [
        f"{name}: no section {part!r}"
        for part in wanted
        if not any(re.search(rf"(?:^|\d\s){part}\b", s) for s in lesson.sections)
    ]
    if "**Predict.**" not in lesson.markdown():
        found.append(f"{name}: no paragraph that begins with **Predict.**")
    run = 0
    for cell in lesson.cells:
        asks = re.search(r"\b(ex|quiz|receipt)\(", cell.text)
        run = run + 1 if cell.kind == "code" and not asks else 0
        if cell.kind == "code" and len(cell.text.splitlines()) > MOST_LINES:
            found.append(f"{name}, cell {cell.number}: more than {MOST_LINES} lines of code")
        if run == 4:
            found.append(f"{name}, cell {cell.number}: four code cells without a word between")
        words = len(cell.prose.split())
        if cell.slide in ("slide", "subslide") and cell.kind == "markdown" and words > SLIDE_WORDS:
            found.append(f"{name}, cell {cell.number}: {words} words on one slide")
    slides = [c for c in lesson.cells if c.slide == "slide" and c.section]
    spoken = [c for c in lesson.cells if c.slide == "notes"]
    if len(spoken) < len(slides) // 2:
        found.append(f"{name}: {len(slides)} slides and only {len(spoken)} cells of speaker notes")
    found += [
        f"{name}, cell {c.number}: speaker notes carry the tag {NOTES!r}"
        for c in spoken
        if NOTES not in c.tags
    ]
    return found


def references(lesson: Lesson, root: Path) -> list[str]:
    """Check links to files, exercises, quizzes and receipts."""
    name, folder = lesson.path.name, root / "notebooks"
    found = []
    for cell in lesson.cells:
        for _, target in cell.links:
            place = target.split("#")[0]
            local = place and "://" not in target and place != glossary.PAGE
            if local and not (folder / place).exists():
                found.append(f"{name}, cell {cell.number}: {target} does not exist")
    code = "\n".join(c.text for c in lesson.cells if c.kind == "code")
    path = root / "quizzes" / "exercises" / f"{lesson.path.stem}.yaml"
    written = set(exercise.load_exercises(path)) if path.is_file() else set()
    used = set(re.findall(r"\bex\(\s*[\"'](\d\d\.e\d+)[\"']", code))
    found += [f"{name}: exercise {e} is not in {path.name}" for e in sorted(used - written)]
    found += [f"{name}: exercise {e} is never shown" for e in sorted(written - used)]
    for call in ("quiz", "receipt"):
        if not re.search(rf"\b{call}\(\s*[\"']{lesson.number}[\"']", code):
            found.append(f'{name}: no cell calls {call}("{lesson.number}")')
    return found


def typed_numbers(lesson: Lesson, allowed: Mapping[str, str]) -> list[str]:
    """List numbers in prose that look measured: shares, points, decimals.

    Args:
        lesson: the lesson.
        allowed: text -> reason, for those that are settings or definitions.
    """
    found = []
    for cell in lesson.cells:
        if cell.kind != "markdown" or cell.section in ("Learning objectives", "Where to read more"):
            continue
        prose = re.sub(rf"\*\*{lesson.number}\.\d+\*\*", " ", cell.prose)
        for match in _NUMBER.finditer(prose):
            around = " ".join(prose[max(0, match.start() - 40) : match.end() + 25].split())
            if not any(piece in around for piece in allowed):
                found.append(
                    f"{lesson.path.name}, cell {cell.number}: {match.group(0)!r} is typed "
                    f"({around!r}); print it from a run, or give the reason in numbers.yaml"
                )
    return found


def figures(lesson: Lesson, notebook: Path) -> list[str]:
    """Check in the built notebook that words follow each picture; they are its alt text."""
    if not notebook.is_file():
        return [f"{notebook.name} is not built"]
    cells = json.loads(files.read_text(notebook))["cells"]
    found = []
    for number, cell in enumerate(cells):
        pictures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        if pictures and not alt_text(cells, number):
            found.append(
                f"{notebook.name}, cell {number}: no paragraph '*The figure …*' follows the picture"
            )
    return found


def alt_text(cells: Sequence[Mapping[str, Any]], number: int) -> str:
    """Give the italic sentences that describe the picture of cell ``number``, or ``""``."""
    following = cells[number + 1 : number + 2]
    if not following or following[0]["cell_type"] != "markdown":
        return ""
    source = following[0]["source"]
    text = source if isinstance(source, str) else "".join(source)
    match = re.match(r"\s*\*(The figures?\b.*?)\*(?!\*)", text, re.S)
    return " ".join(match[1].split()) if match else ""
