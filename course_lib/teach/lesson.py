"""A lesson's source as a record: cells in order, each with its section, tags and text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib import files

NOTES = "notes"
_CODE_SPAN = re.compile(r"```.*?```|`[^`]*`|\$[^$]*\$", re.S)
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its place in the file, ``code`` or ``markdown``, tags, text, and its section."""

    number: int
    kind: str
    tags: tuple[str, ...]
    text: str
    section: str
    slide: str = ""

    @property
    def prose(self) -> str:
        """The text without code, formulas and link targets; empty for a code cell."""
        if self.kind != "markdown":
            return ""
        return _LINK.sub(r"\1", _CODE_SPAN.sub(" ", self.text))

    @property
    def links(self) -> list[tuple[str, str]]:
        """``(words, target)`` of each Markdown link outside of code."""
        plain = _CODE_SPAN.sub(" ", self.text) if self.kind == "markdown" else ""
        return [(m[1], m[2]) for m in _LINK.finditer(plain)]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson: its number (``03``), its source file and its cells."""

    number: str
    path: Path
    cells: tuple[Cell, ...]

    @property
    def sections(self) -> list[str]:
        """The title and the headings down to level three, in order, speaker notes left out."""
        return [h for c in self.cells if NOTES not in c.tags for h in headings(c)]

    @property
    def objectives(self) -> list[str]:
        """Ids of the learning objectives it promises, such as ``03.2``."""
        found = re.findall(rf"^- \*\*({self.number}\.\d+)\*\*", self.markdown(), re.M)
        return list(dict.fromkeys(found))

    def markdown(self) -> str:
        """All prose cells as one text, speaker notes left out."""
        return "\n\n".join(
            c.text for c in self.cells if c.kind == "markdown" and NOTES not in c.tags
        )

    def tagged(self, tag: str) -> list[Cell]:
        """The cells that carry ``tag``."""
        return [c for c in self.cells if tag in c.tags]


def headings(cell: Cell) -> list[str]:
    """Give the headings down to level three in a prose cell."""
    if cell.kind != "markdown":
        return []
    return [h.strip() for h in re.findall(r"^#{1,3} (.+)$", cell.text, re.M)]


def read_lesson(path: Path) -> Lesson:
    """Read one source file.

    Raises:
        DataError: when it is no readable text.
    """
    import jupytext

    book = jupytext.reads(files.read_text(path), fmt="md:myst")
    return Lesson(path.name[:2], path, tuple(_cells(book)))


def _cells(book: object) -> Iterator[Cell]:
    section = ""
    for number, cell in enumerate(book.cells):  # type: ignore[attr-defined]
        tags = tuple(cell.metadata.get("tags", ()))
        slide = str(cell.metadata.get("slideshow", {}).get("slide_type", ""))
        kind = "code" if cell.cell_type == "code" else "markdown"
        read = Cell(number, kind, tags, cell.source, section, slide)
        if found := headings(read):
            section = found[-1]
            read = Cell(number, kind, tags, cell.source, section, slide)
        yield read


def read_lessons(root: Path | None = None) -> list[Lesson]:
    """Read every lesson under ``notebooks/source``, in order."""
    folder = (root or files.course_root()) / "notebooks" / "source"
    return [read_lesson(p) for p in sorted(folder.glob("[0-9][0-9]_*.md"))]
