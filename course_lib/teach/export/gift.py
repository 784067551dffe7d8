"""GIFT, Moodle's plain-text format. Source: Moodle's question/format/gift and its manual."""

from __future__ import annotations

from collections.abc import Sequence

from course_lib.quiz import schema
from course_lib.teach.export.items import (
    Item,
    Refused,
    accepted,
    clean,
    number,
    one_unit,
    one_variant,
    plain,
    right_number,
)
from course_lib.teach.export.moodle import literal, nearly, share_of

SUFFIX = ".gift.txt"


def escape(text: str) -> str:
    """Take the meaning from GIFT's own characters; a line break becomes ``\\n``."""
    for mark in ("\\", "~", "=", "#", "{", "}", ":"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("\r", "").replace("\n", "\\n")


def write(title: str, groups: Sequence[tuple[str, Sequence[str]]]) -> bytes:
    """Give a file of questions in categories (see :func:`moodle.write`)."""
    parts = []
    for name, questions in groups:
        path = "/".join(clean(n).replace("/", "//") for n in (title, name) if n)
        parts += [f"$CATEGORY: $course$/top/{path}", *questions]
    return ("\n\n".join(parts) + "\n").encode()


def question(item: Item) -> str:
    """Give one question.

    Raises:
        Refused: for pictures, orders, points other than one and partial credit unknown there.
    """
    asked = item.question
    if item.picture:
        raise Refused("GIFT cannot carry pictures", "use --to moodle, qti21 or qti12")
    if isinstance(asked, schema.Ordering):
        raise Refused("GIFT cannot carry ordering questions", "use --to moodle or qti21")
    if asked.points != 1:
        item.loses(f"{asked.points:g} points", "every question of GIFT gives 1")
    one_variant(item)
    answers = _answers(item, asked)
    tags = f"// [id:{asked.id}] [tag:objective {asked.objective}]"
    body = "\n".join([*answers, f"####{escape(item.explanation)}"])
    stem = item.stem + one_unit(item)
    return f"{tags}\n::{escape(item.title)}::[html]{escape(stem)} {{\n{body}\n}}"


def _answers(item: Item, asked: schema.Question) -> list[str]:
    if isinstance(asked, schema.Single | schema.Multiple):
        return _choice(item, asked)
    if isinstance(asked, schema.Numeric):
        right, room = right_number(item)
        return [f"#=%100%{number(right)}:{number(room)}"]
    if isinstance(asked, schema.ShortText):
        right_words = accepted(asked.accept)
        every = [*right_words, *(words for _, words in nearly(asked, right_words))]
        if any("->" in words or words.startswith("[") for words in every):
            raise Refused("an answer holds '->' or starts with '[', which mean something in GIFT",
                          "use --to moodle")  # fmt: skip
        return [f"=%100%{escape(literal(words))}" for words in right_words] + [
            f"=%0%{escape(literal(words))}#{escape(item.block(near.feedback))}"
            for near, words in nearly(asked, right_words)
        ]
    if not isinstance(asked, schema.Matching):
        raise Refused(f"GIFT cannot carry {asked.type} questions", "use --to qti21")
    if asked.credit == "all_or_nothing":
        item.loses("all or nothing for pairs", "Moodle's own rule: each right pair earns its share")
    pairs = [(item.inline(p.left), p.right) for p in asked.pairs]
    pairs += [("", right) for right in asked.extra]
    return [f"={escape(left)} -> {escape(plain(item.inline(right)))}" for left, right in pairs]


def _choice(item: Item, asked: schema.Single | schema.Multiple) -> list[str]:
    right = sum(o.correct for o in asked.options)
    single = isinstance(asked, schema.Single)
    if isinstance(asked, schema.Multiple) and asked.credit != "penalty":
        item.loses(
            f"the credit {asked.credit!r} of several options",
            "Moodle's own rule: each right option adds, each wrong one takes away",
        )
    lines = []
    for o in asked.options:
        words = item.inline(o.text)
        if words[:1] in ("%", "["):  # a share or a format to GIFT
            words = f"&#{ord(words[0])};{words[1:]}"
        mark = "=" if o.correct else "~"
        if not single:
            mark = f"~%{share_of(right)}%" if o.correct else f"~%-{share_of(right)}%"
        lines.append(f"{mark}{escape(words)}#{escape(item.block(o.feedback))}")
    return lines
