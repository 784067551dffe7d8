"""Passages made shorter: the sentence that holds the answer, or the one closest to the question."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from course_lib import files
from course_lib.finetune.records import Example, Splits

_GAP = re.compile(r"(?<=[.!?])\s+")


def sentences(text: str) -> list[tuple[int, int]]:
    """Give begin and end of each sentence of a text, cut where white space follows . ! or ?."""
    edges = [0, *(place for m in _GAP.finditer(text) for place in m.span()), len(text)]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if text[a:b].strip()]


def nearest_sentence(row: Example) -> Example:
    """Keep the sentence that shares most words with the question, the first of equals.

    It looks at the question alone, so it can be used where the answer is not known. Accepted
    answers that do not lie in it are taken off: it may well be the wrong sentence.
    """
    asked = set(re.findall(r"\w+", row.question.lower()))

    def shared(place: tuple[int, int]) -> int:
        return len(asked & set(re.findall(r"\w+", row.text[slice(*place)].lower())))

    found = sentences(row.text)
    return keep(row, *max(found, key=shared)) if found else row


def answer_sentence(row: Example) -> Example:
    """Keep the sentence, or the few, that the first accepted answer lies in.

    This peeks at the answer: it shows what reading can do once the searching is done. Where
    there is no answer it is the nearest sentence.
    """
    if not row.answers:
        return nearest_sentence(row)
    begin = row.answer_starts[0]
    end = begin + len(row.answers[0])
    touched = [(a, b) for a, b in sentences(row.text) if a < end and b > begin]
    return keep(row, touched[0][0], touched[-1][1])


def first_words(row: Example, count: int) -> Example:
    """Keep the first ``count`` words of the passage, and the accepted answers that lie there."""
    words = list(re.finditer(r"\S+", row.text))[:count]
    return keep(row, 0, words[-1].end()) if words else row


def keep(row: Example, begin: int, end: int) -> Example:
    """Keep the passage from character ``begin`` to ``end``, and the answers that lie inside."""
    pairs = zip(row.answers, row.answer_starts, strict=True)
    inside = [(a, s - begin) for a, s in pairs if begin <= s and s + len(a) <= end]
    return dataclasses.replace(
        row,
        text=row.text[begin:end],
        answers=tuple(a for a, _ in inside),
        answer_starts=tuple(s for _, s in inside),
    )


def write_questions(folder: Path | str, splits: Splits | Mapping[str, Sequence[Example]]) -> Path:
    """Write questions as a data set folder that ``data.load`` reads.

    Args:
        folder: gets ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``, overwritten.
        splits: the rows, as splits or by split name.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "validation", "test"):
        rows = getattr(splits, name) if isinstance(splits, Splits) else splits[name]
        lines = (
            json.dumps(
                {
                    "id": r.id, "context": r.text, "question": r.question, "group": r.group,
                    "answers": list(r.answers), "answer_starts": list(r.answer_starts),
                },
                ensure_ascii=False,
            )
            for r in rows
        )  # fmt: skip
        files.write_text(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
    return folder
