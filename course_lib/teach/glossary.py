"""The glossary: one file a lesson under ``notebooks/source/glossary``, one page for the reader.

A term is defined in one section of one lesson. Used earlier, it is an error, unless the
first use links to the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import DataError
from course_lib.teach.lesson import NOTES, Lesson

PAGE = "glossary.md"
_KEYS = {"term", "forms", "section", "definition", "common"}


@dataclass(frozen=True, slots=True)
class Term:
    """A term: how it is written, where it is defined and what it means.

    ``common`` terms are everyday words too (*batch*, *step*): their use before the
    definition is not an error.
    """

    term: str
    forms: tuple[str, ...]
    lesson: str
    section: str
    definition: str
    common: bool = False

    @property
    def anchor(self) -> str:
        """The anchor on the page, as Markdown viewers make it from the heading."""
        return re.sub(r"[^\w\- ]", "", self.term.lower()).strip().replace(" ", "-")

    def used_in(self, text: str) -> re.Match[str] | None:
        """Find the term or one of its forms as whole words."""
        words = "|".join(re.escape(w) for w in sorted((self.term, *self.forms), key=len)[::-1])
        return re.search(rf"(?<![\w-])(?:{words})(?![\w-])", text, re.I)


def read_terms(folder: Path) -> list[Term]:
    """Read all glossary files of a folder, in the order of the lessons.

    Raises:
        DataError: with file and entry, for a field that is missing, unknown or empty, and
            for a term defined twice.
    """
    found: dict[str, Term] = {}
    for path in sorted(folder.glob("[0-9][0-9].yaml")):
        entries = files.read_yaml(path)
        if not isinstance(entries, list):
            raise DataError("a glossary file is a list of entries", where=str(path))
        for number, entry in enumerate(entries, 1):
            term = _term(entry, path.stem, f"{path}, entry {number}")
            if term.anchor in found:
                raise DataError(
                    f"{term.term!r} is defined twice", where=f"{path}, entry {number}",
                    got=f"also in lesson {found[term.anchor].lesson}",
                    next_step="keep the one of the lesson that teaches it",
                )  # fmt: skip
            found[term.anchor] = term
    return list(found.values())


def _term(entry: object, lesson: str, where: str) -> Term:
    if not isinstance(entry, Mapping):
        raise DataError("an entry is a map", where=where, expected=", ".join(sorted(_KEYS)))
    if unknown := set(entry) - _KEYS:
        raise DataError("unknown fields", where=where, got=", ".join(map(str, sorted(unknown))))
    for key in ("term", "section", "definition"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise DataError(f"the field {key!r} is missing or empty", where=where)
    forms = entry.get("forms") or []
    if not isinstance(forms, list) or not all(isinstance(f, str) for f in forms):
        raise DataError("'forms' is a list of texts", where=where)
    return Term(
        entry["term"].strip(), tuple(forms), lesson, entry["section"].strip(),
        " ".join(entry["definition"].split()), bool(entry.get("common", False)),
    )  # fmt: skip


def page(terms: Iterable[Term]) -> str:
    """Give the reader's page, in Markdown: terms by alphabet, each with its lesson."""
    lines = ["# Glossary", "", "Every term of the course, and the section that explains it.", ""]
    for term in sorted(terms, key=lambda t: t.term.lower()):
        lines += [f"## {term.term}", "", term.definition, ""]
        lines += [f"*Lesson {term.lesson}, section “{term.section}”.*", ""]
    return "\n".join(lines)


def problems(terms: Sequence[Term], lessons: Sequence[Lesson]) -> list[str]:
    """List terms used before they are defined, and definitions that are not where they say."""
    by_number = {lesson.number: lesson for lesson in lessons}
    found = []
    for term in terms:
        lesson = by_number.get(term.lesson)
        if lesson is None:
            continue
        if term.section not in lesson.sections:
            found.append(f"glossary {term.lesson}, {term.term!r}: no section {term.section!r}")
        elif not _defined(term, lesson):
            found.append(f"glossary {term.lesson}, {term.term!r}: not in bold in {term.section!r}")
        elif not term.common:
            found += _early(term, lessons)
    return found


def _defined(term: Term, lesson: Lesson) -> bool:
    bold = [b for c in lesson.cells if c.section == term.section and c.kind == "markdown"
            for b in re.findall(r"\*\*(.+?)\*\*", c.text, re.S)]  # fmt: skip
    return any(term.used_in(" ".join(b.split())) for b in bold)


def _early(term: Term, lessons: Sequence[Lesson]) -> list[str]:
    """The first use before the definition, unless it links to the glossary."""
    for lesson in lessons:
        if lesson.number > term.lesson:
            break
        for cell in lesson.cells:
            if lesson.number == term.lesson and cell.section == term.section:
                return []
            if cell.kind != "markdown" or NOTES in cell.tags or _outside(cell.section):
                continue
            if any(PAGE in target and term.used_in(words) for words, target in cell.links):
                return []  # the reader was sent to the page
            if used := term.used_in(_plain(cell.prose)):
                return [
                    f"{lesson.path.name}, cell {cell.number}: {used.group(0)!r} is used before "
                    f"lesson {term.lesson} defines it; avoid it or link it to {PAGE}#{term.anchor}"
                ]
    return []


def _plain(prose: str) -> str:
    """Prose without titles of works (in italics in the reading list) and heading lines."""
    return re.sub(r"^#+ .*$", "", prose, flags=re.M)


def _outside(section: str) -> bool:
    """Whether a section announces or closes: title, objectives, takeaways, reading."""
    title = re.match(r"\d\d · ", section)
    return bool(title) or section in (
        "",
        "Learning objectives",
        "Key takeaways",
        "Where to read more",
    )


def bad_links(terms: Sequence[Term], lessons: Sequence[Lesson]) -> list[str]:
    """List links to the glossary's page whose anchor does not exist."""
    anchors = {t.anchor for t in terms}
    return [
        f"{lesson.path.name}, cell {cell.number}: the glossary has no entry {target!r}"
        for lesson in lessons
        for cell in lesson.cells
        for _, target in cell.links
        if target.startswith(PAGE + "#") and target.split("#", 1)[1] not in anchors
    ]
