"""What every format starts from: a question of one variant, its texts as HTML.

A format raises :class:`Refused` for what it cannot carry; the composer lists it by name.
"""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.errors import DataError
from course_lib.quiz import render, schema, variants
from course_lib.quiz.expressions import evaluate, spellings

LONGEST_TITLE = 200  # characters
_UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not XML 1.0
Plain = schema.Single | schema.Multiple | schema.Numeric | schema.ShortText
Carried = Plain | schema.Ordering | schema.Matching


class Refused(Exception):
    """A question that a format cannot carry.

    Args:
        why: what cannot be carried, without a full stop.
        next_step: what to do about it.
        lossy: whether it could be carried at a loss, with ``--lossy``.
    """

    def __init__(self, why: str, next_step: str, *, lossy: bool = False) -> None:
        super().__init__(why)
        self.why, self.next_step, self.lossy = why, next_step, lossy


@dataclass(frozen=True)
class Picture:
    """A picture: a name of its own in the export, its bytes, and what it shows in words."""

    name: str
    data: bytes
    alt: str


@dataclass
class Item:
    """A question to be written.

    Attributes:
        question: with its key. seed: decides its numbers. values: the numbers.
        picture: beside the stem. lossy: whether partial credit and points may be lost.
        notes: what the writer changed or left behind.
    """

    question: Carried
    seed: bytes
    values: dict[str, float]
    picture: Picture | None = None
    lossy: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The id and where in the lesson it belongs; the id comes first."""
        return clean(f"{self.question.id} {self.question.section}")[:LONGEST_TITLE]

    @property
    def stem(self) -> str:
        """The stem as HTML, numbers filled in."""
        return self.block(self.question.stem)

    def block(self, text: str) -> str:
        """Give Markdown as HTML paragraphs, numbers filled in."""
        return no_picture(render.block(clean(variants.fill(text, self.values))))

    def inline(self, text: str) -> str:
        """Give one line of Markdown as HTML."""
        return no_picture(render.inline(clean(text)))

    @property
    def explanation(self) -> str:
        """The explanation as HTML, with what is told of each pair of a matching question."""
        made = self.block(self.question.explanation)
        if isinstance(self.question, schema.Matching):
            told = [f"<li>{self.inline(p.left)}: {self.inline(p.feedback)}</li>"
                    for p in self.question.pairs if p.feedback]  # fmt: skip
            made += f"\n<ul>{''.join(told)}</ul>" if told else ""
        return made

    def loses(self, what: str, instead: str) -> None:
        """Note a loss that was agreed to.

        Raises:
            Refused: when it was not.
        """
        if not self.lossy:
            raise Refused(
                f"cannot carry {what}", f"use another format, or --lossy for {instead}", lossy=True
            )
        self.notes.append(f"{what} was lost: {instead}")


def clean(text: str) -> str:
    """Put U+FFFD in the place of characters that XML cannot hold."""
    return _UNFIT.sub("\ufffd", text)


def no_picture(made: str) -> str:
    """Let HTML pass that shows no picture from elsewhere.

    Raises:
        Refused: when a text holds a picture.
    """
    if "<img" in made:
        raise Refused("a picture stands inside a text", "name it under 'image' of the question")
    return made


def plain(made: str) -> str:
    """Give the words of a piece of HTML, for fields that show no markup.

    Raises:
        Refused: when it holds maths.
    """
    if "<math" in made:
        raise Refused(
            "maths stands where only plain text is shown", "put it in words, or use qti21"
        )
    return html.unescape(re.sub(r"<[^>]*>", "", made)).strip()


def make_item(question: schema.Question, folder: Path, seed: bytes, *, lossy: bool) -> Item:
    """Prepare a question.

    Args:
        question: with its key. folder: where its picture lies. seed: decides its numbers.
        lossy: whether partial credit and points may be lost.

    Raises:
        Refused: when no other system can ask it.
        DataError: when its picture cannot be read.
    """
    if isinstance(question, schema.Experiment | schema.Code | schema.Artefact):
        raise Refused(
            f"{question.type} questions look at the learner's own work",
            "let 'course grade' mark it and take its marks along with --to canvas-csv",
        )
    picture = None
    if question.image:
        path = folder / question.image.file
        render.picture(folder, question.image.model_dump())
        name = f"{question.id.replace('.', '-')}{path.suffix.lower()}"
        picture = Picture(name, path.read_bytes(), clean(question.image.alt))
    return Item(question, seed, variants.values(question, seed), picture, lossy)


def right_number(item: Item) -> tuple[float, float]:
    """Give the right answer of a numeric question and how far an answer may lie off.

    Raises:
        DataError: when the question is of another type.
    """
    question = item.question
    if not isinstance(question, schema.Numeric):
        raise DataError("not a numeric question", where=question.id)
    right = evaluate(question.answer, item.values)
    room = max(question.tolerance.absolute, question.tolerance.relative * abs(right))
    return right, room


def one_variant(item: Item) -> None:
    """Note that a question with drawn numbers goes along with one draw of them."""
    if item.values:
        shown = ", ".join(f"{k} = {v:g}" for k, v in item.values.items())
        item.notes.append(f"its numbers are fixed in this export: {shown}")


def one_unit(item: Item) -> str:
    """Give the unit to answer in, as a sentence of HTML; other units are noted."""
    question = item.question
    if not isinstance(question, schema.Numeric):
        return ""
    others = [u for u in question.units if u not in ("", question.unit)]
    if others:
        item.notes.append(f"answers in {', '.join(others)} are not read; only plain numbers")
    return f"<p>Unit: {html.escape(clean(question.unit))}</p>" if question.unit else ""


def accepted(patterns: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Give every spelling once, whatever its case, without those already taken."""
    seen = {t.casefold() for t in taken}
    found = []
    for text in (clean(s).strip() for p in patterns for s in spellings(p)):
        if text and text.casefold() not in seen:
            seen.add(text.casefold())
            found.append(text)
    return found


def number(value: float) -> str:
    """Give a number as short as it can be read back, never with a thousands mark."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def sub(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    """Add an element; everything is escaped when it is written."""
    made = ET.SubElement(parent, tag, attributes)
    made.text = text
    return made


def document(root: ET.Element) -> bytes:
    """Give an XML document as bytes."""
    made: str = ET.tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{made}\n'.encode()
