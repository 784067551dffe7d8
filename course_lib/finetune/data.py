"""Data in: a name, a file, a folder or a Hub id becomes three checked splits of examples."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from course_lib.errors import DataError, UnknownNameError
from course_lib.finetune import formats, sources, splits, store
from course_lib.finetune.records import TASKS, Example, Splits

TEXT = ("text", "sentence", "body", "content", "message", "review", "utterance", "document")
LABEL = ("label", "intent", "class", "category", "sentiment", "target", "tag")
PROMPT = ("prompt", "instruction", "input", "source", "document", "question", "mr")
TARGET = ("completion", "output", "target", "response", "summary", "answer", "reply", "text")


def load(
    task: str,
    data: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    revision: str | None = None,
) -> Splits:
    """Load a data set for a task.

    Args:
        task: one of ``records.TASKS``.
        data: the name of a course data set, a file, a folder with
            ``train``/``validation``/``test`` files, or a Hub id (``ID@REVISION`` pins it).
        text_column: the column of the text (for completion: of the prompt).
        label_column: the column of the label (for completion: of the target).
        seed: of the cut, where splits are missing.
        revision: commit or tag of a Hub data set.

    Raises:
        UnknownNameError: for an unknown task or data set, with close matches.
        DataError: for anything wrong in a file: which, where, what to do.
        OfflineError: for a Hub id that is not cached when the Hub cannot be reached.
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    source = sources.find(data, revision)
    builder = _Builder(task, text_column or source.text, label_column or source.label)
    built: dict[str, Sequence[Example]] = {
        name: store.keep(builder.examples(rows)) for name, rows in source.parts.items()
    }
    notes = builder.notes
    if "train" not in built:
        raise DataError(
            "there are no training rows",
            where=data,
            got=", ".join(built) or "nothing",
            expected="a file named train, such as train.jsonl, or one single file",
        )
    if task == "classification":
        splits.check_classes(built["train"], data)
    built = splits.cut(task, built, seed, notes)
    labels = splits.labels(task, built, data)
    name = Path(data).name if Path(data).expanduser().exists() else data
    return Splits(
        task,
        name,
        source.sha256,
        built["train"],
        built["validation"],
        built["test"],
        labels,
        tuple(notes),
        {r: c for r, c in (("text", text_column), ("label", label_column)) if c is not None},
    )


def _place(where: str) -> str:
    """Give a row's file and line without the path they have on this machine."""
    return re.split(r"[\\/]", where)[-1]


class _Builder:
    """Turns rows into examples of one task, guessing columns once and noting each guess."""

    def __init__(self, task: str, text: str | None, label: str | None) -> None:
        self.task, self.notes = task, []  # type: tuple[str, list[str]]
        self.columns: dict[str, str | None] = {"text": text, "label": label}

    def column(self, role: str, guesses: Sequence[str], row: dict[str, Any], where: str) -> str:
        named = self.columns.get(role)
        if named is None:
            lower = {str(k).lower(): k for k in row}
            taken = set(self.columns.values())
            named = next((lower[g] for g in guesses if g in lower and lower[g] not in taken), None)
            if named is None:
                raise DataError(
                    f"no column for the {role} was recognised",
                    where=where,
                    got=", ".join(map(str, row)),
                    expected="one of " + ", ".join(guesses),
                    next_step=f"name it with --{role}-column",
                )
            if named != role:  # else there was nothing to guess
                self.notes.append(f"column {named!r} taken as the {role}")
            self.columns[role] = named
        if named not in row:
            raise UnknownNameError("column", f"{named} ({where})", map(str, row))
        return named

    def value(self, role: str, guesses: Sequence[str], row: dict[str, Any], where: str) -> str:
        column = self.column(role, guesses, row, where)
        found = row[column]
        if found is None or not str(found).strip():
            raise DataError(
                f"the {role} is empty",
                where=f"{where}, column {column!r}",
                got=repr(found),
                next_step="fill it in or delete the row",
            )
        return str(found).strip() if role == "label" else str(found)

    def examples(self, rows: Iterable[formats.Row]) -> Iterator[Example]:
        make = getattr(self, "_" + self.task.replace("-", "_"))
        return (make(where, row) for where, row in rows)

    def _classification(self, where: str, row: dict[str, Any]) -> Example:
        return Example(
            id=str(row.get("id", _place(where))),
            text=self.value("text", TEXT, row, where),
            label=self.value("label", LABEL, row, where),
        )

    def _language_modeling(self, where: str, row: dict[str, Any]) -> Example:
        return Example(id=_place(where), text=self.value("text", TEXT, row, where))

    def _completion(self, where: str, row: dict[str, Any]) -> Example:
        turns = row.get("messages")
        if isinstance(turns, list):
            return Example(id=_place(where), turns=tuple((t["role"], t["content"]) for t in turns))
        return Example(
            id=_place(where),
            text=self.value("text", PROMPT, row, where),
            target=self.value("label", TARGET, row, where),
        )

    def _token_classification(self, where: str, row: dict[str, Any]) -> Example:
        tokens, tags = row.get("tokens"), row.get("tags", row.get("ner_tags"))
        if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            raise DataError(
                "words and tags do not pair up",
                where=where,
                got=f"{tokens!r:.40}, {tags!r:.40}",
                expected="lists 'tokens' and 'tags' of one length",
            )
        before = "O"
        for tag in map(str, tags):
            opened = before[:1] in "BI" and before[2:] == tag[2:]
            if not re.fullmatch(r"O|[BI]-\S+", tag) or (tag[:1] == "I" and not opened):
                raise DataError(
                    "not an IOB2 tag sequence",
                    where=where,
                    got=f"{tag!r} after {before!r}",
                    expected="O, B-TYPE, or I-TYPE after B-TYPE or I-TYPE",
                )
            before = tag
        return Example(id=_place(where), tokens=tuple(map(str, tokens)), tags=tuple(map(str, tags)))

    def _question_answering(self, where: str, row: dict[str, Any]) -> Example:
        passage, question = row.get("context") or row.get("passage"), row.get("question")
        if not passage or not question:
            raise DataError(
                "a question needs a context and a question",
                where=where,
                got=", ".join(map(str, row)),
            )
        answers, starts = tuple(row.get("answers") or ()), tuple(row.get("answer_starts") or ())
        for answer, start in zip(answers, starts, strict=False):
            if passage[start : start + len(answer)] != answer:
                raise DataError(
                    "the answer is not at its place in the passage",
                    where=where,
                    got=repr(passage[start : start + len(answer)]),
                    expected=repr(answer),
                )
        starts = starts or tuple(max(0, passage.find(a)) for a in answers)
        group = str(row.get("group") or hashlib.sha256(passage.encode()).hexdigest()[:16])
        return Example(
            id=str(row.get("id", _place(where))),
            text=passage,
            question=question,
            answers=answers,
            answer_starts=starts,
            group=group,
        )
