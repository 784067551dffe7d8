"""What goes on which slide: a slide has 960 x 700 pixels, and a lesson's cells are taller.

Heights are estimated from the text at the sizes of ``slides.css``. Cells that do not fit are
continued on a slide below; what is too tall even alone is made smaller by the page, then scrolls.
"""

from __future__ import annotations

import copy
import re
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any

from course_lib.teach.lesson import NOTES

ROOM = 660  # pixels of a slide's height that are used
MOST_LINES = 14  # of one text output
PROSE_LINE, PROSE_LETTERS, HEADING = 35, 76, 64
CODE_LINE, CODE_LETTERS, CODE_PAD = 22, 88, 30
ROW, ROW_LETTERS = 34, 64
PICTURE_WIDTH, PICTURE_HEIGHT = 900, 430
HIDDEN_TAGS = {"parameters"}
ONLY_OUTPUT = "slides-only-output"


def kind_of(cell: Any) -> str:
    """Give a cell's slide type; ``-`` goes on with the slide before."""
    if NOTES in cell.metadata.get("tags", []):
        return "notes"
    return str(cell.metadata.get("slideshow", {}).get("slide_type") or "-")


def set_kind(cell: Any, kind: str) -> None:
    """Set a cell's slide type."""
    cell.metadata["slideshow"] = {"slide_type": kind}


def laid_out(cells: Iterable[Any]) -> list[Any]:
    """Give the cells of a lesson with slide types such that each slide fits where that can be.

    The settings' cell and receipts are not shown. Long text outputs are cut, and say so. Each
    question of a quiz stands on a slide of its own. Speaker notes are repeated where a slide is
    continued below, so that the speaker keeps them in view.
    """
    found: list[Any] = []
    used, notes = 0, None
    for cell in _pieces(_shown(cells)):
        kind = kind_of(cell)
        if kind == "notes":
            notes = cell
            found.append(cell)
            continue
        if kind in ("slide", "subslide"):
            used, notes = 0, None if kind == "slide" else notes
        tall = height(cell)
        if kind in ("-", "fragment") and used and used + tall > ROOM:
            set_kind(cell, "subslide")
            used = 0
            found.append(cell)
            if notes is not None:
                found.append(_with(notes, [], f"-{len(found)}"))
        else:
            found.append(cell)
        used += tall
    return found


def _shown(cells: Iterable[Any]) -> Iterator[Any]:
    """Leave out what is skipped: a cell, or from a skipped heading to the next slide."""
    skipping = False
    for cell in cells:
        kind = kind_of(cell)
        if kind == "skip":
            skipping = skipping or cell.source.lstrip().startswith("#")
            continue
        skipping = skipping and kind in ("-", "notes")
        if not skipping:
            yield cell


def _pieces(cells: Iterable[Any]) -> Iterator[Any]:
    """Cut outputs; part code from a tall output, and a quiz into its questions."""
    for cell in cells:
        if cell.cell_type != "code":
            yield cell
            continue
        if HIDDEN_TAGS & set(cell.metadata.get("tags", [])) or "receipt(" in cell.source:
            continue
        cell.outputs = [_short(o) for o in cell.outputs]
        parts = _questions(cell)
        if not parts and cell.outputs and height(cell) > ROOM:
            parts = _tables(cell.outputs)
        yield _with(cell, cell.outputs if not parts else [])
        for number, outputs in enumerate(parts):
            alone = _with(cell, outputs, f"-{number}")
            alone.metadata["tags"] = [*cell.metadata.get("tags", []), ONLY_OUTPUT]
            set_kind(alone, "subslide" if len(parts) > 1 else "-")
            yield alone


def _with(cell: Any, outputs: list[Any], suffix: str = "") -> Any:
    made = copy.deepcopy(cell)
    made["id"] = cell["id"] + suffix
    if cell.cell_type == "code":
        made.outputs = outputs
    return made


def _short(output: Any) -> Any:
    """Cut a long text output."""
    where = output if output.get("output_type") == "stream" else output.get("data", {})
    key = "text" if "text" in where else "text/plain"
    if key in where:
        text = where[key] if isinstance(where[key], str) else "".join(where[key])
        lines = text.rstrip("\n").split("\n")
        if len(lines) > MOST_LINES:
            kept = lines[: MOST_LINES - 1]
            kept.append(f"… {len(lines) - len(kept)} more lines in the notebook")
            where[key] = "\n".join(kept) + "\n"
    return output


def _questions(cell: Any) -> list[list[Any]]:
    """Give one list of outputs a question, where the cell shows a quiz of several."""
    from bs4 import BeautifulSoup, Tag

    found = []
    for output in cell.outputs:
        page = output.get("data", {}).get("text/html")
        if not page:
            continue
        soup = BeautifulSoup(page if isinstance(page, str) else "".join(page), "html.parser")
        for block in soup.find_all("div", recursive=False):
            first = next(iter(block.children), None)
            if isinstance(first, Tag) and first.name == "strong":
                alone = copy.deepcopy(output)
                alone["data"] = {"text/html": str(block)}
                found.append([alone])
    return found if len(found) > 1 else []


def _tables(outputs: list[Any]) -> list[list[Any]]:
    """Cut a table too tall for a slide into several, each under the heads of its columns."""
    parts: list[list[Any]] = [[]]
    for output in outputs:
        pieces = [output] if _output(output) <= ROOM else _table(output)
        parts[-1].append(pieces[0])
        parts.extend([piece] for piece in pieces[1:])
    return parts


def _table(output: Any) -> list[Any]:
    """Cut an output that is one Markdown table; anything else stays whole."""
    text = "".join(output.get("data", {}).get("text/markdown", ""))
    lines = text.strip().split("\n")
    if len(lines) < 3 or not all(line.startswith("|") for line in lines):
        return [output]
    head, rows = lines[:2], lines[2:]
    cut, used = [head.copy()], _prose("\n".join(head))
    for row in rows:
        if used + (tall := ROW * ceil(len(row) / ROW_LETTERS)) > ROOM:
            cut.append(head.copy())
            used = _prose("\n".join(head))
        cut[-1].append(row)
        used += tall
    made = [copy.deepcopy(output) for _ in cut]
    for piece, part in zip(made, cut, strict=True):
        piece["data"] = {"text/markdown": "\n".join(part)}
    return made


def height(cell: Any) -> int:
    """Estimate a cell's height on a slide, in pixels."""
    if cell.cell_type != "code":
        return _prose(cell.source)
    tall = 0
    if ONLY_OUTPUT not in cell.metadata.get("tags", []):
        tall = CODE_PAD + CODE_LINE * _lines(cell.source, CODE_LETTERS)
    return tall + sum(map(_output, cell.get("outputs", [])))


def _lines(text: str, letters: int) -> int:
    return sum(max(1, ceil(len(line) / letters)) for line in text.rstrip("\n").split("\n"))


def _prose(text: str) -> int:
    tall = 0
    for part in re.split(r"\n\s*\n", re.sub(r"\]\([^)]*\)", "]", text.strip())):
        lines = part.split("\n")
        if part.startswith("#"):
            tall += HEADING + 35 * (len(part) > 46)
        elif part.lstrip().startswith(("|", "-", "*  ", "1.")) or part.startswith("```"):
            tall += sum(PROSE_LINE * max(1, ceil(len(line) / PROSE_LETTERS)) for line in lines) + 18
        else:
            tall += PROSE_LINE * ceil(len(" ".join(lines)) / PROSE_LETTERS) + 18
    return tall


def _output(output: Any) -> int:
    data = output.get("data", {})
    if "image/png" in data:
        return _picture(data["image/png"]) + 16
    for kind in ("text/markdown", "text/html"):
        if kind in data:
            text = data[kind] if isinstance(data[kind], str) else "".join(data[kind])
            if kind == "text/markdown":
                return _prose(text)
            items = len(re.findall(r"<(?:li|tr|p|h\d)\b", text))
            return ROW * max(items, ceil(len(re.sub(r"<[^>]*>", "", text)) / PROSE_LETTERS)) + 20
    text = output.get("text") or data.get("text/plain") or ""
    return CODE_PAD + CODE_LINE * _lines(text if isinstance(text, str) else "".join(text), 92)


def _picture(data: str | list[str]) -> int:
    """Give a PNG's height as shown; its size stands in bytes 16 to 24 of the file (RFC 2083)."""
    raw = b64decode("".join(data)[:64])
    wide, tall = struct.unpack(">II", raw[16:24])
    return min(PICTURE_HEIGHT, int(tall * min(1.0, PICTURE_WIDTH / max(wide, 1))))
